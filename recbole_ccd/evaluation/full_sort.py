"""Full-sort evaluation of any RecBole model with RecBole's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.utils import set_color
from torch import Tensor, nn
from torch.nn.functional import pad
from tqdm import tqdm

from recbole_ccd.errors import RunError
from recbole_ccd.model.scoring import score_rows

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
        collector = Collector(self._config)
        parts: list[dict[str, Tensor]] = []
        n_items = 0
        with torch.no_grad():
            for batch in _with_bar(loader, progress):
                scores = self._scores(model, batch[0], name)
                n_items = scores.shape[1]
                parts.append(self._collect(collector, scores, batch, name))
        if not parts:
            raise RunError(f"{name}: there is nothing to evaluate; give the block a test part (eval_args)")
        struct = _join(parts)
        _add_counts(struct, collector, n_items, train_data, name)
        return {metric: float(value) for metric, value in self._evaluator.evaluate(struct).items()}

    def _scores(self, model: nn.Module, interaction: Any, name: str) -> Tensor:
        users = interaction[self._config["USER_ID_FIELD"]].to(self._config["device"])
        scores = self._score(model, users)
        if scores.isnan().any():
            raise RunError(f"{name}: the model's scores contain NaN; lower learning_rate")
        return scores

    def _collect(self, collector: Collector, scores: Tensor, batch: Any, name: str) -> dict[str, Tensor]:
        interaction, history, positive_u, positive_i = batch
        positive_u, positive_i = positive_u.to(scores.device), positive_i.to(scores.device)
        if len(positive_i) and int(positive_i.max()) >= scores.shape[1]:
            raise RunError(
                f"{name}: item {int(positive_i.max())} is unknown to the model, which scores items below "
                f"{scores.shape[1]}; grow the model to this block first"
            )
        masked = self._mask(scores, history)
        reachable = masked[positive_u, positive_i] > -torch.inf
        collector.eval_batch_collect(masked, interaction, positive_u[reachable], positive_i[reachable])
        # Emptied batch by batch: the collector itself would copy all earlier batches at each one.
        struct = collector.get_data_struct()
        collected = {key: struct[key] for key in ("rec.topk", "rec.items", "rec.meanrank") if key in struct}
        if "rec.topk" in collected:
            # A masked test item cannot be hit, but it still counts among what the user wanted.
            missed = torch.bincount(positive_u[~reachable], minlength=len(scores))
            collected["rec.topk"][:, -1] += missed.to(collected["rec.topk"])
        return collected

    def _mask(self, scores: Tensor, history: tuple[Tensor, Tensor] | None) -> Tensor:
        missing = max(max(self._config["topk"]) - scores.shape[1], 0)
        # Padding copies; without it a copy is needed too, for the scores may be a tensor the model keeps.
        masked = pad(scores, (0, missing), value=-torch.inf) if missing else scores.clone()
        masked[:, 0] = -torch.inf
        if history is not None:
            masked[history[0].to(scores.device), history[1].to(scores.device)] = -torch.inf
        return masked


def _with_bar(loader: FullSortEvalDataLoader, progress: str | None) -> Iterable[Any]:
    if progress is None:
        return loader
    desc = set_color(progress, "pink")
    return tqdm(loader, total=len(loader), ncols=100, desc=desc, leave=False, disable=None)


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
