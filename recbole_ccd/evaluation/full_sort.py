"""Full-sort evaluation of any RecBole model with RecBole's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.utils import set_color
from torch import Tensor, nn
from torch.nn.functional import pad
from tqdm import tqdm

from recbole_ccd.compat import CandidateCollector, repaired_evaluator
from recbole_ccd.data.dataloader import BlockEvalDataLoader, EvaluatedUsers
from recbole_ccd.evaluation.sampling import Measurement, standard_errors
from recbole_ccd.model.scoring import row_scorer
from recbole_ccd.ranking.highest import highest_as_topk
from recbole_ccd.ranking.tiles import ROWS, TILE, InnerProducts, Part
from recbole_ccd.ranking.topk import ScoreFn
from recbole_ccd.utils.errors import RunError, TrainingError
from recbole_ccd.utils.malloc import return_freed_memory
from recbole_ccd.utils.parallel.shares import WORTH, batch_by_batch
from recbole_ccd.utils.parallel.workers import Workers, nothing

# batches between which freed memory is returned: what is kept of a batch lies between its scores, so that
# those of the next one find no place there
_KEPT = 32

Scorer = Callable[[Any], ScoreFn]


class FullSortEvaluator:
    """Ranks all items for the users of a loader and hands the ranks to RecBole's Collector and Evaluator.

    RecBole's ``Trainer.evaluate`` does the same for the one model it trains; this class evaluates any
    model, on the loader of any block, without a trainer, and keeps promises that ``Trainer.evaluate``
    does not make: an item in the user's history is never a hit and never counts as recommended, even when
    fewer items are left than the list is long, lists may be longer than the catalogue, and ShannonEntropy and
    GAUC are what they are defined as (:func:`~recbole_ccd.compat.repaired_evaluator`). ItemCoverage and
    GiniIndex, which no run offers, count [PAD] among the items, as in RecBole.

    Args:
        config: a RecBole Config: ``metrics``, ``topk``, ``metric_decimal_place``, ``eval_args``, ``device``
            and ``USER_ID_FIELD`` are read.
        scorer: gives the scores of a model in eval mode, column 0 those of the padding item;
            :func:`~recbole_ccd.model.scoring.row_scorer` when left out.
    """

    def __init__(self, config: Any, scorer: Scorer = row_scorer) -> None:
        self._config = config
        self._scorer = scorer
        self._evaluator = repaired_evaluator(config)
        self._max_k = max(config["topk"])
        self._whole_rows = Collector(config).register.need("rec.meanrank")

    def evaluate(
        self,
        model: nn.Module,
        loader: FullSortEvalDataLoader,
        progress: str | None = None,
        label: str | None = None,
        train_data: Any = None,
    ) -> Measurement:
        """Evaluate a model on the test (or validation) part of a block.

        The padding item and the loader's history are masked. The model is left in eval mode, its weights
        untouched.

        Args:
            model: a RecBole model.
            loader: yields ``(interaction, (history_u, history_i) or None, positive_u, positive_i)``, where
                ``*_u`` are row numbers within the batch and ``*_i`` item ids.
            progress: the label of a progress bar; no bar when left out.
            label: what error messages call this evaluation, such as ``block 3``; ``progress`` when left out.
            train_data: RecBole Dataset of what the model was trained on, needed only by metrics that weigh
                items by popularity (AveragePopularity, TailPercentage).

        Returns:
            One plain float per metric name, such as ``{"recall@20": 0.1234}``, rounded as RecBole rounds,
            with standard errors where the loader holds a sample of its users.

        Raises:
            RunError: If scores contain NaN, if the loader is empty, if a test item is unknown to the model,
                or if ``train_data`` is needed and missing.
        """
        name = label or progress or "evaluation"
        model.eval()
        measured, batches = _Measured(self._config, name, getattr(loader, "population", None)), []
        with torch.no_grad():
            score = self._scorer(model)
            for interaction, history, positive_u, positive_i in _with_bar(loader, len(loader), progress):
                scores = score(interaction[self._config["USER_ID_FIELD"]].to(self._config["device"]))
                ranked = self._rank(scores, history, name)
                batches.append(measured.collect(ranked, interaction, positive_u, positive_i))
        return measured.metrics(batches, self._evaluator, train_data)

    def evaluate_parts(
        self,
        model: nn.Module,
        parts: Mapping[str, BlockEvalDataLoader],
        label: str,
        show_progress: bool = False,
        train_data: Any = None,
        workers: Workers | None = None,
        worth: int = WORTH,
        waiting: Callable[[], None] = nothing,
    ) -> dict[str, Measurement]:
        """Evaluate a model on several parts of a stream at once.

        The same as :meth:`evaluate` on each, but users who are in several parts are scored once, and ranked
        once where the parts mask the same items: scores of a large ensemble are what an evaluation costs.

        Args:
            model: a RecBole model.
            parts: loaders that rank the same items, by any name.
            label: what error messages and the progress bar call this evaluation.
            show_progress: whether to draw a bar.
            train_data: as of :meth:`evaluate`.
            workers: who ranks; None for this process. Whoever does, the metrics are the same.
            worth: batches of users that each worker must get for several to share them.
            waiting: called now and then while workers are at it.

        Returns:
            Metrics of each part.

        Raises:
            RunError: As of :meth:`evaluate`; the message names the part.
        """
        model.eval()
        measured = {
            name: _Measured(self._config, f"{label} on {name}", part.population)
            for name, part in parts.items()
        }
        users = torch.unique(torch.cat([loader.uid_list for loader in parts.values()]))
        with torch.no_grad():
            score = self._scorer(model)
        rank, size = self._ranking(score, min(loader.step for loader in parts.values()))
        whole = _Pass(rank, score, users, size, _by_history(parts), measured, label)
        found: dict[int, dict[str, _Collected]] = {}
        n, bar = whole.n_batches, f"Evaluate {label}" if show_progress else None
        with closing(batch_by_batch(_collected_of, whole, n, workers, worth, waiting)) as batches:
            for number, collected in _with_bar(batches, n, bar):
                found[number] = collected
                if number % _KEPT == _KEPT - 1:
                    return_freed_memory()
        in_order = [found[number] for number in range(n)]
        return {
            name: part.metrics(
                [batch[name] for batch in in_order if name in batch], self._evaluator, train_data
            )
            for name, part in measured.items()
        }

    def _ranking(self, score: ScoreFn, step: int) -> tuple[_RankFn, int]:
        """How the users of a batch are ranked, and how many make one: ``step`` where rows are whole."""
        if isinstance(score, InnerProducts) and not self._whole_rows and score.in_tiles(self._max_k):
            return self._rank_by_tiles, min(ROWS, max(self._config["eval_batch_size"] // TILE, 1))
        return self._rank_by_rows, step

    def _rank_by_rows(
        self, score: ScoreFn, batch: Tensor, found: list[_Found], name: str
    ) -> Iterator[_Ranked]:
        scores = score(batch.to(self._config["device"]))
        for part in found:
            last = part is found[-1] and len(part.places) == len(batch)
            owned = scores if last else scores[part.places.to(scores.device)]
            yield self._rank(owned, part.history, name)

    def _rank_by_tiles(
        self, score: ScoreFn, batch: Tensor, found: list[_Found], name: str
    ) -> Iterator[_Ranked]:
        assert isinstance(score, InnerProducts), "as decided before"
        n_items = len(score.items)
        parts = []
        for part in found:
            known = part.history[1] < n_items
            masked = (part.history[0][known], part.history[1][known])
            parts.append(Part(part.places, masked, part is found[-1] and len(part.places) == len(batch)))
        for values, items in score.best(batch, self._max_k, parts, as_topk=True):
            yield _Ranked(values, items, n_items)

    def _rank(self, scores: Tensor, history: tuple[Tensor, Tensor] | None, name: str) -> _Ranked:
        """Masks scores, which are overwritten, and finds the lists."""
        n_items = scores.shape[1]
        missing = max(self._max_k - n_items, 0)
        masked = pad(scores, (0, missing), value=-torch.inf) if missing else scores
        masked[:, 0] = -torch.inf
        if history is not None:
            rows, known = (part.to(scores.device)[history[1] < n_items] for part in history)
            masked[rows, known] = -torch.inf
        items: Tensor | None
        if self._whole_rows:
            values, items = masked, None
        else:
            values, items = highest_as_topk(masked, self._max_k)
        # NaN ranks above all else: where a row has one, it is the maximum and heads the list
        if values.numel() and values.amax().isnan():
            raise TrainingError(f"{name}: the model's scores contain NaN; lower learning_rate")
        return _Ranked(values, items, n_items)


_RankFn = Callable[[ScoreFn, Tensor, list["_Found"], str], Iterator["_Ranked"]]


class _Found(NamedTuple):
    """Users of a batch who are in loaders that mask the same items.

    Attributes:
        places: (b,) their places in the batch, rising.
        history: places among these and items of the pairs masked.
        loaders: of each loader its users' places in the batch, and what it holds of them.
    """

    places: Tensor
    history: tuple[Tensor, Tensor]
    loaders: dict[str, tuple[Tensor, tuple[Any, Tensor, Tensor]]]

    @classmethod
    def among(cls, batch: Tensor, group: Mapping[str, EvaluatedUsers]) -> _Found:
        """Those of the users (B,)."""
        loaders = {name: loader.among(batch) for name, loader in group.items()}
        places = torch.unique(torch.cat([at for at, _ in loaders.values()]))
        return cls(places, next(iter(group.values())).history_of(batch[places]), loaders)


class _Ranked(NamedTuple):
    """Masked scores of some users.

    Attributes:
        values: (B, n) of all items, or (B, k) of each user's list, best first.
        items: (B, k) items of the lists; None where ``values`` are of all items.
        n_items: items ranked, [PAD] included.
    """

    values: Tensor
    items: Tensor | None
    n_items: int

    def rows(self, places: Tensor) -> _Ranked:
        """Those of some of the users."""
        places = places.to(self.values.device)
        items = None if self.items is None else self.items[places]
        return _Ranked(self.values[places], items, self.n_items)


class _Collected(NamedTuple):
    """What RecBole's collector has made of a batch.

    Attributes:
        n_items: items ranked, [PAD] included.
        values: a row for each user, by RecBole's name.
    """

    n_items: int
    values: dict[str, Tensor]


class _Measured:
    """Collects one loader's batches, and computes metrics of them."""

    def __init__(self, config: Any, name: str, population: int | None) -> None:
        self._name, self._collector, self._population = name, Collector(config), population
        if self._collector.register.need("rec.meanrank"):
            self._collector = CandidateCollector(config)

    def collect(
        self, ranked: _Ranked, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> _Collected:
        """Collects a batch: its users and their test items, as rows of the batch and item ids."""
        n_items, device = ranked.n_items, ranked.values.device
        positive_u, positive_i = positive_u.to(device), positive_i.to(device)
        if len(positive_i) and int(positive_i.max()) >= n_items:
            raise RunError(
                f"{self._name}: item {int(positive_i.max())} is unknown to the model, which scores items "
                f"below {n_items}; grow the model to this block first"
            )
        if ranked.items is None:
            collected = self._hand_over(ranked.values, interaction, positive_u, positive_i)
        else:
            collected = self._collect_lists(ranked, interaction, positive_u, positive_i)
        return _Collected(n_items, collected)

    def _collect_lists(
        self, ranked: _Ranked, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> dict[str, Tensor]:
        """For metrics of lists: RecBole makes a matrix of positives as wide as the scores it is given."""
        values, items, _ = ranked
        assert items is not None, "whole rows are counted elsewhere"
        # what is masked is not recommended
        items = items.masked_fill(values == -torch.inf, 0)
        hits = items[positive_u] == positive_i[:, None]
        pair, place = hits.nonzero(as_tuple=True)
        collected = self._hand_over(values, interaction, positive_u[pair], place)
        if "rec.topk" in collected:
            # a test item that is masked or below the list is no hit, but counts among what the user wanted
            missed = torch.bincount(positive_u[~hits.any(dim=1)], minlength=len(values))
            collected["rec.topk"][:, -1] += missed.to(collected["rec.topk"])
        if "rec.items" in collected:
            collected["rec.items"] = items.cpu().gather(1, collected["rec.items"])
        return collected

    def _hand_over(
        self, scores: Tensor, interaction: Any, rows: Tensor, columns: Tensor
    ) -> dict[str, Tensor]:
        """What RecBole collects of a batch whose positives are at some places of ``scores``."""
        self._collector.eval_batch_collect(scores, interaction, rows, columns)
        # Emptied batch by batch: the collector itself would copy all earlier batches at each one.
        struct = self._collector.get_data_struct()
        return {key: struct[key] for key in ("rec.topk", "rec.items", "rec.meanrank") if key in struct}

    def metrics(self, batches: list[_Collected], evaluator: Evaluator, train_data: Any) -> Measurement:
        """RecBole's metrics of all that was collected, with standard errors where it is of a sample."""
        if not batches:
            raise RunError(
                f"{self._name}: there is nothing to evaluate; give the block a test part (eval_args)"
            )
        struct = _join([batch.values for batch in batches])
        _add_counts(struct, self._collector, batches[-1].n_items, train_data, self._name)
        found = {metric: float(value) for metric, value in evaluator.evaluate(struct).items()}
        if self._population is None:
            return Measurement(found)
        return Measurement(found, standard_errors(evaluator, struct, self._population))


@dataclass(frozen=True)
class _Pass:
    """One pass over the users of several parts, a batch at a time.

    Attributes:
        rank: how the users of a batch are ranked.
        score: scores of all items for a batch of users.
        users: (n,) ids, each once.
        size: how many make a batch.
        groups: the parts by name, in groups that mask the same items.
        measured: who collects of each part.
        label: what error messages call it.
    """

    rank: _RankFn
    score: ScoreFn
    users: Tensor
    size: int
    groups: list[dict[str, EvaluatedUsers]]
    measured: dict[str, _Measured]
    label: str

    @property
    def n_batches(self) -> int:
        return -(-len(self.users) // self.size)

    @torch.no_grad()
    def collected(self, number: int) -> dict[str, _Collected]:
        """What is collected of a batch, of the parts that have users in it."""
        batch = self.users[number * self.size : (number + 1) * self.size]
        found, collected = [_Found.among(batch, group) for group in self.groups], {}
        for part, ranked in zip(found, self.rank(self.score, batch, found, self.label), strict=True):
            for name, (at, batch_of_part) in part.loaders.items():
                if len(at):
                    rows = ranked.rows(torch.searchsorted(part.places, at))
                    collected[name] = self.measured[name].collect(rows, *batch_of_part)
        return collected


def _collected_of(whole: _Pass, number: int) -> dict[str, _Collected]:
    return whole.collected(number)


def _by_history(parts: Mapping[str, BlockEvalDataLoader]) -> list[dict[str, EvaluatedUsers]]:
    """The users of loaders in groups that mask the same items."""
    groups: dict[int, dict[str, EvaluatedUsers]] = {}
    for name, loader in parts.items():
        groups.setdefault(id(loader.history), {})[name] = loader.evaluated
    return list(groups.values())


def _with_bar(batches: Any, n: int, progress: str | None) -> Iterable[Any]:
    if progress is None:
        return batches
    desc = set_color(progress, "pink")
    # as wide as the terminal, and none where nobody watches
    return tqdm(batches, total=n, dynamic_ncols=True, desc=desc, leave=False, disable=None)


def _join(parts: list[dict[str, Tensor]]) -> DataStruct:
    struct = DataStruct()
    for key in parts[0]:
        struct.set(key, torch.cat([part[key] for part in parts]))
    return struct


def _add_counts(struct: DataStruct, collector: Collector, n_items: int, train_data: Any, name: str) -> None:
    # Set after collecting: RecBole's collector calls .cpu() on all it holds, and these are no tensors.
    struct.set("data.num_items", n_items)
    if collector.register.need("data.count_items"):
        if train_data is None:
            raise RunError(f"{name}: metrics of item popularity need train_data; leave them out of metrics")
        struct.set("data.count_items", train_data.item_counter)
