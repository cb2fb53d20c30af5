"""RecBole's ``load_data_and_model``, ``full_sort_scores`` and ``full_sort_topk`` for a run directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import AbstractRecommender, GeneralRecommender
from torch import Tensor

from recbole_ccd.data.dataloader import BlockEvalDataLoader
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.model.scoring import clear_cache, score_rows
from recbole_ccd.serving.arguments import checked_integer, shown
from recbole_ccd.serving.loading import rebuilt_model
from recbole_ccd.utils.errors import ConfigError
from recbole_ccd.utils.seeding import exclusive

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

Loaded = tuple[
    "CCDConfig",
    GeneralRecommender,
    IncrementalDataset,
    AbstractDataLoader,
    BlockEvalDataLoader | None,
    BlockEvalDataLoader | None,
]


def load_data_and_model(run_dir: str | os.PathLike[str], role: str = "student") -> Loaded:
    """What RecBole's function of this name loads of a model file, of a run directory.

    Everything is as it was after the last finished block: the model is the deployed one, the loaders are
    those of that block. The run directory is all that is needed. It holds interactions and tokens, and no
    times, ratings or features; so the data set has no such columns.

    Args:
        run_dir: the run directory; it may have been moved, and the run need not be finished.
        role: ``student``, or ``teacher`` where the strategy has one.

    Returns:
        ``config``, ``model`` (on the CPU, in evaluation mode), ``dataset`` (all interactions up to the
        block), ``train_data``, ``valid_data`` and ``test_data`` (of the block; None where it has no such
        rows).

    Raises:
        ConfigError: If there is no such role, or what is given is no path.
        RunError: If the folder is no run directory, or what is needed is not there, damaged or foreign.
    """
    config, block, model = rebuilt_model(run_dir, role)
    dataset = block.whole
    # what RecBole's token2id looks up; views share it
    dataset.field2token_id.update(
        {field: {str(token): i for i, token in enumerate(of)} for field, of in dataset.field2id_token.items()}
    )
    of_model = config if role == "student" else config.for_member(0)
    # its generators are made from torch's
    with exclusive(), torch.random.fork_rng(devices=[]):
        train_data = block.train_loader(of_model, config["seed"])
    return config, model, dataset, train_data, block.valid_loader(config), block.test_loader(config)


@torch.no_grad()
def full_sort_scores(
    uid_series: Sequence[int] | np.ndarray | Tensor,
    model: GeneralRecommender,
    test_data: BlockEvalDataLoader,
    device: torch.device | None = None,
) -> Tensor:
    """The scores of all items for some users, as RecBole's function of this name gives them.

    Args:
        uid_series: ids of users, as ``dataset.token2id(dataset.uid_field, tokens)`` gives them.
        model: the model of :func:`load_data_and_model`.
        test_data: its ``test_data`` (or ``valid_data``), which knows what is masked.
        device: where the model is; None for the CPU.

    Returns:
        Shape ``(len(uid_series), n_items)``; -inf for [PAD] and the user's history.

    Raises:
        ConfigError: If an argument is of another kind, or there is no such user.
    """
    if not isinstance(model, AbstractRecommender):
        raise ConfigError(f"model is a {type(model).__name__}; give the model of load_data_and_model")
    if not isinstance(test_data, BlockEvalDataLoader):
        kind = type(test_data).__name__
        raise ConfigError(f"test_data is a {kind}; give the test_data of load_data_and_model")
    users = _users(uid_series, test_data)
    model.eval()
    clear_cache(model)
    scores = score_rows(model, users.to(device or torch.device("cpu")))
    scores[:, 0] = -torch.inf
    rows, items = (part.to(scores.device) for part in test_data.history_of(users))
    scores[rows, items] = -torch.inf
    return scores


def full_sort_topk(
    uid_series: Sequence[int] | np.ndarray | Tensor,
    model: GeneralRecommender,
    test_data: BlockEvalDataLoader,
    k: int,
    device: torch.device | None = None,
) -> tuple[Tensor, Tensor]:
    """The best items of some users, as RecBole's function of this name gives them.

    Args:
        uid_series: as of :func:`full_sort_scores`.
        model: as of :func:`full_sort_scores`.
        test_data: as of :func:`full_sort_scores`.
        k: length of the lists.
        device: as of :func:`full_sort_scores`.

    Returns:
        Scores and ids of the items, best first, shapes ``(len(uid_series), k)``;
        ``dataset.id2token(dataset.iid_field, ids)`` has their tokens.

    Raises:
        ConfigError: If an argument is of another kind, or there is no such user.
    """
    scores = full_sort_scores(uid_series, model, test_data, device)
    n_items = scores.shape[1]
    wanted = f"an integer from 1 to {n_items}, the items known with [PAD]"
    found = torch.topk(scores, checked_integer("k", k, wanted, 1, n_items))
    return found.values, found.indices


def _users(uid_series: Any, test_data: BlockEvalDataLoader) -> Tensor:
    """Ids of users, checked."""
    given = uid_series.tolist() if isinstance(uid_series, Tensor | np.ndarray) else uid_series
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise ConfigError(f"uid_series is {shown(uid_series)}; give a list of ids")
    last = test_data.dataset.user_num - 1
    remedy = f"an id from 1 to {last}, such as dataset.token2id(dataset.uid_field, tokens) gives"
    users = [checked_integer("an entry of uid_series", user, remedy, 1, last) for user in given]
    return torch.tensor(users, dtype=torch.int64)
