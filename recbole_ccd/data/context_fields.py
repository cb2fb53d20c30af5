"""What a context-aware model reads of a block: ids and features of the users and items known by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.stored_stream import StoredDataset
from recbole_ccd.utils.errors import ModelError, one_line

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

_TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)


class ContextFields:
    """The fields of a block as RecBole's context-aware models ask a data set for them.

    These are user and item id and the token columns of ``.user`` and ``.item``; a column of ``.inter`` is
    never among them. Tokens are numbered anew in the order in which known users (or items) bring them, so
    that neither a number nor the size of a table depends on who arrives later.

    Attributes:
        uid_field: name of the user id.
        iid_field: name of the item id.
        users: features of the known users by field, row = user id, each ``(n_users,)`` or 0-padded
            ``(n_users, length)``.
        items: the same of the known items.
        field2type: the type of each field.
    """

    def __init__(self, dataset: IncrementalDataset) -> None:
        """Reads the features of the known ids.

        Args:
            dataset: a view of the stream.
        """
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self._sizes = {self.uid_field: dataset.user_num, self.iid_field: dataset.item_num}
        self.users = self._read(dataset, dataset.get_user_feature(), self.uid_field)
        self.items = self._read(dataset, dataset.get_item_feature(), self.iid_field)
        self.field2type = {field: dataset.field2type[field] for field in self._sizes}

    def _read(self, dataset: IncrementalDataset, feat: Interaction, own: str) -> dict[str, Tensor]:
        found = {}
        for field, values in feat.interaction.items():
            if field != own and dataset.field2type[field] in _TOKENS:
                found[field], self._sizes[field] = renumbered(values)
        return found

    def fields(self, source: Sequence[FeatureSource] | None = None) -> list[str]:
        """Names of all fields, ids first.

        Args:
            source: where RecBole's models look for fields; there is nothing else here.
        """
        return list(self._sizes)

    def num(self, field: str) -> int:
        """Tokens of a field, [PAD] included."""
        return self._sizes[field]


def renumbered(values: Tensor) -> tuple[Tensor, int]:
    """Token numbers in order of first appearance; 0 stays [PAD].

    Args:
        values: int64, one row per id, ``(n,)`` or 0-padded ``(n, length)``.

    Returns:
        The new numbers, of the same shape but for columns at the end that hold padding alone, and how many
        tokens there are, [PAD] included.
    """
    array = values.numpy()
    if array.ndim > 1:
        longest = int(np.flatnonzero(array.any(axis=0)).max(initial=0)) + 1
        array = array[:, :longest]
    tokens, first, inverse = np.unique(
        np.concatenate([[0], array.ravel()]), return_index=True, return_inverse=True
    )
    order = np.empty(len(tokens), dtype=np.int64)
    order[np.argsort(first)] = np.arange(len(tokens))
    return torch.from_numpy(order[inverse.ravel()][1:].reshape(array.shape)), len(tokens)


def check_fields(config: CCDConfig, dataset: IncrementalDataset) -> None:
    """Refuses columns that a context-aware model would read and must not, or cannot read here.

    Args:
        config: the model's configuration.
        dataset: the stream, or a view of it.

    Raises:
        ModelError: If a column of ``.inter`` would be an input, which tells what is known only once the
            interaction has happened; if numbers would be; or if features are not there.
    """
    model, load = config["model"], config["load_col"]
    of_inter = set(dataset.inter_feat.columns)
    ids = {dataset.uid_field, dataset.iid_field}
    numbers = config["numerical_features"] or []
    leaks = [field for field in numbers if field in of_inter]
    leaks += sorted(field for field in of_inter - ids if dataset.field2type[field] in _TOKENS)
    if leaks:
        key = "numerical_features" if leaks[0] in numbers else "load_col.inter"
        raise ModelError(
            f"{key} names {one_line(repr(leaks[0]))}, and {model} would read of an interaction what is known "
            "only once it has happened; leave it out, or give what is always known in .user or .item"
        )
    if numbers:
        raise ModelError(
            f"numerical_features is {one_line(repr(numbers))}, and {model} reads tokens alone here; give the "
            "column in classes, as name:token"
        )
    _check_there(model, load, dataset)


def _check_there(model: str, load: Mapping[str, Any] | None, dataset: IncrementalDataset) -> None:
    """Refuses features that have been asked for and are not there, or are no tokens."""
    tables = {"user": dataset.user_feat, "item": dataset.item_feat}
    for suffix, table in tables.items():
        wanted = (load or {}).get(suffix)
        if isinstance(dataset, StoredDataset) and (wanted or load is None):
            raise ModelError(
                f"model: {model} reads columns of .{suffix} files, which no run directory keeps; give "
                "load_col without user and item, or run the stream anew"
            )
        if wanted and table is None:
            raise ModelError(
                f"load_col.{suffix} is {one_line(repr(wanted))}, and there is no file {dataset.dataset_name}"
                f".{suffix}; put it beside the interactions, or leave load_col.{suffix} out"
            )
        names = [] if table is None or not isinstance(wanted, list) else wanted
        floats = [field for field in names if dataset.field2type.get(field, FeatureType.TOKEN) not in _TOKENS]
        if floats:
            raise ModelError(
                f"load_col.{suffix} names {one_line(repr(floats[0]))}, a column of numbers, and {model} "
                f"reads tokens alone here; write it in classes, as {floats[0]}:token, or leave it out"
            )
