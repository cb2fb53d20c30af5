"""A model of a run directory that recommends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import pad

from recbole_ccd.checkpoint.serving_snapshot import ServingSnapshot
from recbole_ccd.data.splitting import TRAIN, VALID
from recbole_ccd.model.initialization import start_of_new_users
from recbole_ccd.ranking.topk import ScoreFn, top_scored, users_at_a_time
from recbole_ccd.serving.arguments import checked_integer, checked_interactions, checked_tokens, exclusion
from recbole_ccd.serving.fold_in import FoldedInUsers
from recbole_ccd.utils.errors import ModelError, one_line

POPULAR, FOLDED_IN = "popular", "folded in"
"""What recommendations may come from besides the model itself, which goes by its role."""

# unknown items that a warning names
_NAMED = 3
# rows from which on a product is rounded in the same way however many there are
_ROWS = 16


def steady(score: ScoreFn) -> ScoreFn:
    """Scores that do not depend on how many users are asked about at a time, to the last bit.

    BLAS has other kernels for the products of a few rows, with other roundings.

    Args:
        score: scores of all items for a batch of users.
    """

    def of_enough(users: Tensor) -> Tensor:
        missing = max(_ROWS - len(users), 0)
        return score(pad(users, (0, missing), value=int(users[0])) if missing else users)[: len(users)]

    return of_enough


@dataclass(frozen=True)
class ModelInfo:
    """What a served model is.

    Attributes:
        model: its name, such as ``LightGCN``.
        role: ``student`` or ``teacher``.
        settings: those of its run.
    """

    model: str
    role: str
    settings: Mapping[str, Any]


class Recommender:
    """A student (or a teacher) with all that it needs to recommend; see :func:`load_student`.

    Attributes:
        about: its name, its role and the settings of its run.
        block: the last block it has learned.
        user_tokens: tokens of the users known, by id; the first one is [PAD].
        item_tokens: likewise of the items.
        vectors: final embeddings of users and items, shapes ``(n_users, dim)`` and ``(n_items, dim)``, whose
            inner product is the score; None where the model does not score by one.
    """

    def __init__(
        self,
        about: ModelInfo,
        record: ServingSnapshot,
        vocabulary: Mapping[str, Sequence[str]],
        score: ScoreFn | None = None,
    ) -> None:
        """Made by :func:`load_student`.

        Args:
            about: what it is.
            record: interactions so far and final embeddings.
            vocabulary: tokens of ``users`` and ``items`` by id.
            score: scores of all items for a batch of users; None takes the record's embeddings.
        """
        self.about, self.block, self._record = about, record.block, record
        self.vectors = record.vectors if score is None else None
        self.user_tokens = np.array(vocabulary["users"], dtype=object)
        self.item_tokens = np.array(vocabulary["items"], dtype=object)
        self._folded_in = FoldedInUsers(vocabulary)
        self._score = score or steady(self._by_vectors)
        self._folded: Tensor | None = None
        self._masks: dict[tuple[str, int], sp.csr_matrix] = {}
        self._popular = record.popular()

    def __repr__(self) -> str:
        """The model's name, and how many users and items it knows."""
        return (
            f"Recommender({self.about.role} {self.about.model} after block {self.block}: "
            f"{len(self.user_tokens) - 1} users, {len(self.item_tokens) - 1} items)"
        )

    def recommend(
        self,
        user_tokens: Sequence[str],
        k: int = 20,
        exclude_seen: bool | str = True,
        batch_size: int | None = None,
        block: int | None = None,
    ) -> pd.DataFrame:
        """The items that suit each user best.

        Users whom the model does not know get the items with the most interactions in the last block, or
        recommendations of their own after :meth:`fold_in`.

        Args:
            user_tokens: users as the data set calls them, known or not; an entry may occur again.
            k: length of the lists; they are shorter where fewer items are left, and a user who has nothing
                left has no row.
            exclude_seen: True or ``all`` leaves out everything the user did so far; ``evaluation`` leaves
                out what the evaluation of a block masks there; False or ``none`` leaves out nothing.
            batch_size: users scored at a time; default as many as are scored fast.
            block: with ``evaluation``, which block's; default the last one.

        Returns:
            A row per recommendation, users in the order given: ``user``, ``rank`` from 1, ``item``,
            ``score`` (of popular items the number of interactions) and ``source``: ``student`` (or
            ``teacher``), ``popular`` or ``folded in``. Items in the order of the evaluation, ties included
            as far as its lists reach.

        Raises:
            ConfigError: If an argument is of the wrong type or impossible.
        """
        tokens = checked_tokens("user_tokens", user_tokens)
        k = min(checked_integer("k", k, "an integer >= 1", 1), len(self.item_tokens) - 1)
        exclude = self._excluded(exclusion(exclude_seen), block)
        if batch_size is not None:
            batch_size = checked_integer("batch_size", batch_size, "an integer >= 1, or None", 1)
        ids = np.array([self._folded_in.id_of(token) for token in tokens], dtype=np.int64)
        items, scores = np.zeros((len(tokens), k), dtype=np.int64), np.zeros((len(tokens), k))
        known = np.flatnonzero(ids)
        # of equal scores the evaluation's choice depends on how many it takes
        width = max(k, self._evaluated_k())
        batch = batch_size or users_at_a_time(len(self.item_tokens))
        best = top_scored(self._score, torch.from_numpy(ids[known]), width, exclude, batch)
        items[known], scores[known] = (part[:, :k].numpy() for part in best)
        items[ids == 0], scores[ids == 0] = (part[:k] for part in self._popular)
        return self._table(tokens, ids, items, scores)

    def fold_in(self, interactions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Takes in what users have done since the model was trained; nothing is trained.

        A new user gets an embedding by the initialisation of the method (CCD, Lee et al., KDD 2024): half
        the mean of the items' embeddings, half the mean of the most active users of the last block who
        share an item. These are final embeddings, those of the served inner product, so that nobody
        else's change. A known user keeps the trained embedding; the items are left out of further
        recommendations. Calls add up. Items that the model does not know are passed over, which a warning in
        the log tells, and a user who has no other remains unknown.

        Args:
            interactions: item tokens by user token.

        Returns:
            The items that are passed over, by user.

        Raises:
            ConfigError: If it is no dictionary of lists of tokens.
            ModelError: If there are new users, and the model does not score by an inner product.
        """
        interactions = checked_interactions(interactions)
        folded_in = self._folded_in.with_more(interactions)
        if folded_in.new and self.vectors is None:
            raise ModelError(
                f"{self.about.role} {self.about.model} does not score by an inner product, so that new users "
                "cannot be folded in; leave their items out, or serve a student such as LightGCN or BPR"
            )
        self._folded_in = folded_in
        self._masks.clear()
        self._folded = self._start_of(folded_in) if folded_in.new else None
        unknown = folded_in.unknown_in(interactions)
        if unknown:
            _warn_of(unknown)
        return unknown

    def _start_of(self, folded_in: FoldedInUsers) -> Tensor:
        settings = self.about.settings
        rows = sp.vstack([self._record.matrix((TRAIN,), self.block), folded_in.rows_of_new()], format="csr")
        two_hop = settings["new_entity_initialization"] != "one_hop"
        users, items = self._tables()
        return start_of_new_users(rows, users, items, settings["n_popular_neighbors"], two_hop)

    def _tables(self) -> tuple[Tensor, Tensor]:
        assert self.vectors is not None, "a model without vectors has scores of its own, and folds nobody in"
        return self.vectors

    def _by_vectors(self, users: Tensor) -> Tensor:
        table, items = self._tables()
        old = users < len(table)
        if old.all():
            return table[users] @ items.T
        assert self._folded is not None, "no id beyond the table is asked for before somebody is folded in"
        rows = table[torch.where(old, users, 0)]
        rows[~old] = self._folded[users[~old] - len(table)]
        return rows @ items.T

    def _evaluated_k(self) -> int:
        topk = self.about.settings["topk"]
        return max(topk) if isinstance(topk, list) else topk

    def _excluded(self, mode: str, block: int | None) -> sp.csr_matrix | None:
        """Users × items that are no candidates, those folded in among the users."""
        learned = f"one of those learned, from 0 to {self.block}"
        block = self.block if block is None else checked_integer("block", block, learned, 0, self.block)
        if mode == "none":
            return None
        if (mode, block) not in self._masks:
            # one is kept, as each is of the size of all interactions
            self._masks = {(mode, block): self._mask(mode, block)}
        return self._masks[mode, block]

    def _mask(self, mode: str, block: int) -> sp.csr_matrix:
        if mode == "all":
            done = self._record.matrix()
        else:
            settings = self.about.settings
            parts = (TRAIN,) if settings["eval_part"] == "valid" else (TRAIN, VALID)
            done = self._record.matrix(parts, None if settings["mask_history"] == "all" else block)
        return sp.vstack(
            [done + self._folded_in.rows_of_known(), self._folded_in.rows_of_new()], format="csr"
        )

    def _table(
        self, tokens: list[str], ids: np.ndarray, items: np.ndarray, scores: np.ndarray
    ) -> pd.DataFrame:
        rows, places = items.nonzero()
        sources = np.array([POPULAR, self.about.role, FOLDED_IN], dtype=object)
        kinds = (ids > 0).astype(np.int64) + (ids >= len(self.user_tokens))
        return pd.DataFrame(
            {
                "user": np.array(tokens, dtype=object)[rows],
                "rank": places + 1,
                "item": self.item_tokens[items[rows, places]],
                "score": scores[rows, places],
                "source": sources[kinds[rows]],
            }
        )


def _warn_of(unknown: Mapping[str, Sequence[str]]) -> None:
    pairs = [
        f"{one_line(repr(item))} (of {one_line(repr(user))})" for user in unknown for item in unknown[user]
    ]
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    verb = "1 item is" if len(pairs) == 1 else f"{len(pairs)} items are"
    named = ", ".join(pairs[:_NAMED])
    getLogger("recbole_ccd").warning("%s not known and passed over: %s%s", verb, named, more)
