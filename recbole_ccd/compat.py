"""Repairs of RecBole 1.2.1, each for one confirmed fault; nothing here patches a global.

Some faults are RecBole's own, the others are of its age: names and habits of numpy, scipy and pandas that are
gone by now.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.metrics import GAUC, MAP, MRR, NDCG, ShannonEntropy
from recbole.model.abstract_recommender import ContextRecommender, GeneralRecommender
from recbole.model.layers import FMFirstOrderLinear
from recbole.trainer import Trainer
from recbole.utils import FeatureType
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.owned_folder import OwnedFolder


class SilentLogger:
    """Stands for RecBole's ``WandbLogger`` until a stage is given one of its own."""

    def __init__(self, config: Any) -> None:
        """Begins nothing.

        Args:
            config: the configuration.
        """

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Drops what a trainer logs."""

    def log_eval_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Drops what an evaluation logs."""


class SilentWriter:
    """Stands for a TensorBoard writer where nothing is to be written."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drops a point of a curve."""

    def add_hparams(self, *args: Any, **kwargs: Any) -> None:
        """Drops the hyper-parameters."""

    def close(self) -> None:
        """Does nothing."""


def _no_curves_yet(logger: Any) -> SilentWriter:
    return SilentWriter()


def _no_folder(path: str) -> None:
    """Best weights are held in memory, so that there is nothing to keep there."""


def _with_other_names(function: FunctionType, **names: Any) -> FunctionType:
    """A function of the same code for which some global names stand for something else."""
    same = (function.__name__, function.__defaults__, function.__closure__)
    return FunctionType(function.__code__, {**function.__globals__, **names}, *same)


def _with(module: ModuleType, **names: Any) -> SimpleNamespace:
    """What a module holds, and names that it lacks."""
    return SimpleNamespace(**{**vars(module), **names})


# numpy took away np.float in 1.24, np.bool and np.long until 2.0; RecBole puts them back into numpy itself
_NUMPY = _with(np, float=np.float64, bool=np.bool_, long=np.int64)


class _FirstOrder(FMFirstOrderLinear):
    """``FMFirstOrderLinear`` reads np.long."""

    __init__ = _with_other_names(FMFirstOrderLinear.__init__, np=_NUMPY)


class TodaysContextRecommender(ContextRecommender):
    """A context-aware model of RecBole's, whose constructor reads np.long too."""

    __init__ = _with_other_names(ContextRecommender.__init__, np=_NUMPY, FMFirstOrderLinear=_FirstOrder)


class NumpyLeftAlone(Config):
    """A RecBole configuration that assigns nothing on numpy.

    RecBole's assigns np.float, np.bool and others, from np.float_, np.complex_ and np.unicode_, which numpy 2
    has not. What of RecBole reads them, and is used here, has them from this module.
    """

    def compatibility_settings(self) -> None:
        """Does nothing."""


# RecBole's own constructor opens log_tensorboard/<log name> in the working folder, the same one for every
# trainer and every process there, and makes checkpoint_dir; with log_wandb it begins a run of Weights &
# Biases. Three names of its module decide about that.
_construct = _with_other_names(
    Trainer.__init__, get_tensorboard=_no_curves_yet, ensure_dir=_no_folder, WandbLogger=SilentLogger
)


class ContainedTrainer(Trainer):
    """A RecBole trainer whose construction leaves the working folder alone."""

    def __init__(self, config: Any, model: GeneralRecommender) -> None:
        """A trainer that writes no curves until it is given a writer.

        Args:
            config: the configuration.
            model: the model to train.
        """
        _construct(self, config, model)


def curves_in(run_dir: str | os.PathLike[str] | None, label: str) -> SummaryWriter | SilentWriter:
    """A TensorBoard writer for one stage of a run; curves of several stages do not overlay each other.

    Args:
        run_dir: the run directory; where there is none, nothing is written.
        label: the stage's name.

    Raises:
        RunError: If what should be a folder of the run leads elsewhere.
    """
    # one that was moved away is not made again
    if run_dir is None or not os.path.isdir(run_dir):
        return SilentWriter()
    return SummaryWriter(str(OwnedFolder(run_dir).folder(f"tensorboard/{label.replace(' ', '-')}")))


class CandidateCollector(Collector):
    """RecBole's collector, for lists of candidates alone.

    Where fewer candidates are left than a list is long, ``Collector`` fills it with masked items: one of them
    that is wanted is a hit there, ranks among the candidates in GAUC, and counts as recommended.
    """

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Collects a batch; masked positives are wanted and never hit, masked places of lists hold [PAD].

        Args:
            scores_tensor: scores of users × items, -inf where masked.
            interaction: the users.
            positive_u: rows of the positives.
            positive_i: their items.
        """
        open_to = scores_tensor[positive_u, positive_i] > -torch.inf
        super().eval_batch_collect(scores_tensor, interaction, positive_u[open_to], positive_i[open_to])
        batch, struct = slice(-len(scores_tensor), None), self.data_struct
        if "rec.topk" in struct:
            missed = torch.bincount(positive_u[~open_to], minlength=len(scores_tensor))
            struct["rec.topk"][batch, -1] += missed.to(struct["rec.topk"])
        if "rec.items" in struct:
            items = struct["rec.items"][batch]
            items[scores_tensor.gather(1, items) == -torch.inf] = 0


class _MRR(MRR):
    """``MRR`` reads np.float."""

    metric_info = _with_other_names(MRR.metric_info, np=_NUMPY)


class _MAP(MAP):
    """``MAP`` reads np.float."""

    metric_info = _with_other_names(MAP.metric_info, np=_NUMPY)


class _NDCG(NDCG):
    """``NDCG`` reads np.float."""

    metric_info = _with_other_names(NDCG.metric_info, np=_NUMPY)


class _RoundedGAUC(GAUC):
    """``GAUC`` computes in float32, whose two decimals are 0.5199999809; of nobody it makes NaN."""

    # it reads np.bool
    _of_all = _with_other_names(GAUC.metric_info, np=_NUMPY)

    def metric_info(
        self, pos_rank_sum: np.ndarray, user_len_list: np.ndarray, pos_len_list: np.ndarray
    ) -> float:
        parts = [part.astype(np.float64) for part in (pos_rank_sum, user_len_list, pos_len_list)]
        _, candidates, positives = parts
        if not np.any((positives > 0) & (candidates > positives)):
            raise RunError(
                "GAUC is of users with candidates both wanted and not, and there is none; leave it out of "
                "metrics"
            )
        return float(self._of_all(*parts))


class _WholeEntropy(ShannonEntropy):
    """``ShannonEntropy`` divides the entropy by the number of distinct items."""

    def get_entropy(self, item_matrix: np.ndarray) -> float:
        counts = np.unique(item_matrix[item_matrix > 0], return_counts=True)[1]
        shares = counts / max(counts.sum(), 1)
        return float(-np.sum(shares * np.log(shares)))


_REPAIRED = {"mrr": _MRR, "map": _MAP, "ndcg": _NDCG, "gauc": _RoundedGAUC, "shannonentropy": _WholeEntropy}


def repaired_evaluator(config: Any) -> Evaluator:
    """RecBole's evaluator, with metrics of its own definitions in the place of those that miss them.

    Args:
        config: a RecBole Config.
    """
    evaluator = Evaluator(config)
    for name in evaluator.metric_class.keys() & _REPAIRED.keys():
        evaluator.metric_class[name] = _REPAIRED[name](config)
    return evaluator


class _FilledAtOnce(sp.dok_matrix):
    """A matrix of scipy's with ``_update``, which scipy took away in 1.13 and RecBole fills its graphs by."""

    def _update(self, entries: Mapping[tuple[int, int], float]) -> None:
        for place, value in entries.items():
            # the only one of a dictionary's methods that all versions of scipy offer and do not check
            self.setdefault(place, value)


_SPARSE = _with(sp, dok_matrix=_FilledAtOnce)


def with_todays_scipy(method: FunctionType) -> FunctionType:
    """A method by which a model of RecBole's builds its normalised graph, for any version of scipy.

    Args:
        method: RecBole's, which fills the graph by ``dok_matrix._update``.
    """
    return _with_other_names(method, sp=_SPARSE)


def _lengths(column: Any) -> Any:
    """``len``, but of a column the length of each entry."""
    return column.map(len) if isinstance(column, pd.Series) else len(column)


class TodaysDataset(Dataset):
    """A RecBole data set for pandas 3 too."""

    # RecBole asks for column.agg(len), and means the length of each sequence; pandas 3 gives the column's
    _remap = _with_other_names(Dataset._remap, len=_lengths)
    _normalize = _with_other_names(Dataset._normalize, len=_lengths)
    _discretization = _with_other_names(Dataset._discretization, len=_lengths)

    def _fill_nan(self) -> None:
        """Fills gaps: those of ids by 0, which is [PAD], of numbers by the mean, of sequences by empty ones.

        RecBole writes into a column that it has taken out of its table: where pandas copies on write, as
        pandas 3 always does, nothing arrives there, and NaN is learned in silence. For sequences it reads
        np.float.
        """
        for name in self.feat_name_list:
            feat = getattr(self, name)
            for field in feat:
                feat[field] = _filled(feat[field], self.field2type[field])

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        """RecBole's, which makes tensors of a table that is let go then.

        Columns of pandas 3 cannot be written to, of which torch warns once for each process.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            return super()._dataframe_to_interaction(data)


def _filled(column: pd.Series, kind: FeatureType) -> pd.Series | list[Any]:
    if kind == FeatureType.TOKEN:
        return column.fillna(0).astype(np.int64)
    if kind == FeatureType.FLOAT:
        return column.fillna(column.mean())
    nothing = np.array([], dtype=np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
    return [nothing if isinstance(entry, float) else entry for entry in column]
