"""What users have done since a model was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix


class FoldedInUsers:
    """Interactions added to a served model, by users whom it knows and by new ones.

    Attributes:
        new: ids of the new users by token, those after the known ones.
    """

    def __init__(self, vocabulary: Mapping[str, Sequence[str]]) -> None:
        """Begins without any interaction.

        Args:
            vocabulary: tokens of ``users`` and ``items`` by id, the first being [PAD].
        """
        self._users, self._items = (
            {token: i for i, token in enumerate(vocabulary[name]) if i} for name in ("users", "items")
        )
        self._shape = len(vocabulary["users"]), len(vocabulary["items"])
        self._interactions: dict[str, frozenset[int]] = {}
        self.new: dict[str, int] = {}

    def with_more(self, interactions: Mapping[str, Sequence[str]]) -> FoldedInUsers:
        """These and further ones; items that are not known are passed over.

        Args:
            interactions: item tokens by user token.
        """
        more = object.__new__(FoldedInUsers)
        more._users, more._items, more._shape = self._users, self._items, self._shape
        more._interactions = dict(self._interactions)
        for token, items in interactions.items():
            known = {self._items[item] for item in items if item in self._items}
            if known:
                more._interactions[token] = more._interactions.get(token, frozenset()) | known
        arrived = [token for token in more._interactions if token not in self._users]
        more.new = {token: self._shape[0] + i for i, token in enumerate(arrived)}
        return more

    def unknown_in(self, interactions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """The items that are not known, by user, of users who have such.

        Args:
            interactions: item tokens by user token.
        """
        unknown = {
            token: [item for item in dict.fromkeys(items) if item not in self._items]
            for token, items in interactions.items()
        }
        return {token: items for token, items in unknown.items() if items}

    def id_of(self, token: str) -> int:
        """A user's id, known or new; 0 of one of whom nothing is known."""
        return self._users.get(token) or self.new.get(token, 0)

    def rows_of_known(self) -> csr_matrix:
        """What known users have done, as 0/1, shape ``(n_users, n_items)``."""
        rows = {
            self._users[token]: items for token, items in self._interactions.items() if token in self._users
        }
        return self._matrix(rows, self._shape[0])

    def rows_of_new(self) -> csr_matrix:
        """What new users have done, as 0/1, shape ``(new users, n_items)``."""
        rows = {i - self._shape[0]: self._interactions[token] for token, i in self.new.items()}
        return self._matrix(rows, len(rows))

    def _matrix(self, rows: Mapping[int, frozenset[int]], n_rows: int) -> csr_matrix:
        users = np.repeat(np.fromiter(rows, dtype=np.int64), [len(items) for items in rows.values()])
        items = np.array([item for items in rows.values() for item in sorted(items)], dtype=np.int64)
        values = np.ones(len(users), dtype=np.float32)
        return csr_matrix((values, (users, items)), shape=(n_rows, self._shape[1]))
