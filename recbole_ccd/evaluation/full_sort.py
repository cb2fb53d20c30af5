"""Full-sort evaluation of any RecBole model with RecBole's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.utils import set_color
from torch import Tensor, nn
from torch.nn.functional import pad
from tqdm import tqdm

from recbole_ccd.data.dataloader import BlockEvalDataLoader
from recbole_ccd.errors import RunError
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.ranking.topk import highest

ScoreRows = Callable[[nn.Module, Tensor], Tensor]


class FullSortEvaluator:
    """Ranks all items for the users of a loader and hands the ranks to RecBole's Collector and Evaluator.

    RecBole's ``Trainer.evaluate`` does the same for the one model it trains; this class evaluates any
    model, on the loader of any block, without a trainer, and keeps two promises that ``Trainer.evaluate``
    does not make: an item in the user's history is never a hit, even when fewer items are left than the list
    is long, and lists may be longer than the catalogue.

    Args:
        config: A RecBole Config: ``metrics``, ``topk``, ``metric_decimal_place``, ``eval_args``, ``device``
            and ``USER_ID_FIELD`` are read.
        score: ``(model, users) -> (B, n_items)`` scores of the users (B,) for every item, column 0 the
            padding item; ``recbole_ccd.model.scoring.score_rows`` when left out.
    """

    def __init__(self, config: Any, score: ScoreRows = score_rows) -> None:
        self._config = config
        self._score = score
        self._evaluator = Evaluator(config)

    def evaluate(
        self,
        model: nn.Module,
        loader: FullSortEvalDataLoader,
        progress: str | None = None,
        label: str | None = None,
        train_data: Any = None,
    ) -> dict[str, float]:
        """Evaluate a model on the test (or validation) part of a block.

        The padding item and the loader's history are masked. The model is left in eval mode, its weights
        untouched.

        Args:
            model: A RecBole model.
            loader: Yields ``(interaction, (history_u, history_i) or None, positive_u, positive_i)``, where
                ``*_u`` are row numbers within the batch and ``*_i`` item ids.
            progress: The label of a progress bar; no bar when left out.
            label: What error messages call this evaluation, such as ``block 3``; ``progress`` when left out.
            train_data: RecBole Dataset of what the model was trained on, needed only by metrics that weigh
                items by popularity (AveragePopularity, TailPercentage).

        Returns:
            One plain float per metric name, such as ``{"recall@20": 0.1234}``, rounded as RecBole rounds.

        Raises:
            RunError: If scores contain NaN, if the loader is empty, if a test item is unknown to the model,
                or if ``train_data`` is needed and missing.
        """
        name = label or progress or "evaluation"
        model.eval()
        measured = _Measured(self._config, name)
        with torch.no_grad():
            for batch in _with_bar(loader, progress):
                users = batch[0][self._config["USER_ID_FIELD"]]
                # a copy, for the scores may be a tensor that the model keeps
                measured.add(self._scores(model, users, name).clone(), batch)
        return measured.metrics(self._evaluator, train_data)

    def evaluate_parts(
        self,
        model: nn.Module,
        parts: Mapping[str, BlockEvalDataLoader],
        label: str,
        show_progress: bool = False,
        train_data: Any = None,
    ) -> dict[str, dict[str, float]]:
        """Evaluate a model on several parts of a stream at once.

        The same as :meth:`evaluate` on each, but users who are in several parts are scored once, and
        scores of a large ensemble are what an evaluation costs.

        Args:
            model: A RecBole model.
            parts: Loaders that rank the same items, by any name.
            label: What error messages and the progress bar call this evaluation.
            show_progress: Whether to draw a bar.
            train_data: See :meth:`evaluate`.

        Returns:
            Metrics of each part.

        Raises:
            RunError: See :meth:`evaluate`; the message names the part.
        """
        model.eval()
        measured = {name: _Measured(self._config, f"{label} on {name}") for name in parts}
        users = torch.unique(torch.cat([loader.uid_list for loader in parts.values()]))
        batches = users.split(min(loader.step for loader in parts.values()))
        with torch.no_grad():
            for batch in _with_bar(batches, f"Evaluate {label}" if show_progress else None):
                scores = self._scores(model, batch, label)
                for name, loader in parts.items():
                    places, found = loader.among(batch)
                    if len(places):
                        measured[name].add(scores[places.to(scores.device)], found)
        return {name: part.metrics(self._evaluator, train_data) for name, part in measured.items()}

    def _scores(self, model: nn.Module, users: Tensor, name: str) -> Tensor:
        scores = self._score(model, users.to(self._config["device"]))
        # the maximum is NaN where any score is, and is found in one pass
        if scores.numel() and scores.amax().isnan():
            raise RunError(f"{name}: the model's scores contain NaN; lower learning_rate")
        return scores


class _Measured:
    """What has been collected of one loader's batches."""

    def __init__(self, config: Any, name: str) -> None:
        self._collector, self._max_k, self._name = Collector(config), max(config["topk"]), name
        self._parts: list[dict[str, Tensor]] = []
        self._n_items = 0

    def add(self, scores: Tensor, batch: Any) -> None:
        """Collects a batch; ``scores`` is overwritten."""
        interaction, history, positive_u, positive_i = batch
        self._n_items = scores.shape[1]
        positive_u, positive_i = positive_u.to(scores.device), positive_i.to(scores.device)
        if len(positive_i) and int(positive_i.max()) >= self._n_items:
            raise RunError(
                f"{self._name}: item {int(positive_i.max())} is unknown to the model, which scores items "
                f"below {self._n_items}; grow the model to this block first"
            )
        masked = self._mask(scores, history)
        whole = self._collector.register.need("rec.meanrank")
        collect = self._collect_rows if whole else self._collect_lists
        self._parts.append(collect(masked, interaction, positive_u, positive_i))

    def _collect_rows(
        self, masked: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> dict[str, Tensor]:
        """For metrics of whole rankings."""
        reachable = masked[positive_u, positive_i] > -torch.inf
        missed = torch.bincount(positive_u[~reachable], minlength=len(masked))
        return self._hand_over(masked, interaction, positive_u[reachable], positive_i[reachable], missed)

    def _collect_lists(
        self, masked: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> dict[str, Tensor]:
        """For metrics of lists: RecBole makes a matrix of positives as wide as the scores it is given."""
        values, items = highest(masked, self._max_k)
        hits = (items[positive_u] == positive_i[:, None]) & (values[positive_u] > -torch.inf)
        pair, place = hits.nonzero(as_tuple=True)
        missed = torch.bincount(positive_u[~hits.any(dim=1)], minlength=len(masked))
        collected = self._hand_over(values, interaction, positive_u[pair], place, missed)
        if "rec.items" in collected:
            collected["rec.items"] = items.gather(1, collected["rec.items"])
        return collected

    def _hand_over(
        self, scores: Tensor, interaction: Any, rows: Tensor, columns: Tensor, missed: Tensor
    ) -> dict[str, Tensor]:
        """What RecBole collects of a batch whose positives are at some places of ``scores``."""
        self._collector.eval_batch_collect(scores, interaction, rows, columns)
        # Emptied batch by batch: the collector itself would copy all earlier batches at each one.
        struct = self._collector.get_data_struct()
        collected = {key: struct[key] for key in ("rec.topk", "rec.items", "rec.meanrank") if key in struct}
        if "rec.topk" in collected:
            # A test item that is masked or below the list is no hit, but counts among what the user wanted.
            collected["rec.topk"][:, -1] += missed.to(collected["rec.topk"])
        return collected

    def _mask(self, scores: Tensor, history: tuple[Tensor, Tensor] | None) -> Tensor:
        missing = max(self._max_k - scores.shape[1], 0)
        masked = pad(scores, (0, missing), value=-torch.inf) if missing else scores
        masked[:, 0] = -torch.inf
        if history is not None:
            masked[history[0].to(scores.device), history[1].to(scores.device)] = -torch.inf
        return masked

    def metrics(self, evaluator: Evaluator, train_data: Any) -> dict[str, float]:
        """RecBole's metrics of all that was collected."""
        if not self._parts:
            raise RunError(
                f"{self._name}: there is nothing to evaluate; give the block a test part (eval_args)"
            )
        struct = _join(self._parts)
        _add_counts(struct, self._collector, self._n_items, train_data, self._name)
        return {metric: float(value) for metric, value in evaluator.evaluate(struct).items()}


def _with_bar(batches: Any, progress: str | None) -> Iterable[Any]:
    if progress is None:
        return batches
    desc = set_color(progress, "pink")
    return tqdm(batches, total=len(batches), ncols=100, desc=desc, leave=False, disable=None)


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
