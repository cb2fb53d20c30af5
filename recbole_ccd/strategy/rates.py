"""Learning rates that a run chooses itself: ``learning_rate: auto``."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recbole_ccd.data.schedule import AUTO
from recbole_ccd.strategy.stage import StageContext, StageTask, run_stage, stage_settings
from recbole_ccd.trainer import LossError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# Adam's usual range, up to where embeddings of few dimensions still learn from nothing. A model that has
# learned before forgets at such a rate more than the first block's validation shows.
_FROM_NOTHING, _UPDATES = (0.002, 0.005, 0.01, 0.02), (0.002, 0.005, 0.01)
# a slower rate that is as good as this share of the best is taken: it has not had its time yet
_NEAR = 0.98
_RATE = "learning_rate"
# a trial leaves nothing behind
_TRIAL = {"run_dir": None, "show_progress": False, "log_wandb": False}


@dataclass(frozen=True)
class ChosenRate:
    """What a ladder of rates has given.

    Attributes:
        rate: the rate chosen.
        trials: each rate tried, and what early stopping's metric was after it.
    """

    rate: float
    trials: list[list[float]]


def chooses(task: StageTask) -> bool:
    """Whether the rate of a stage is left to the run."""
    return bool(_staged(task)[_RATE] == AUTO)


def with_rate(task: StageTask, rate: float) -> StageTask:
    """The stage with a rate in the place of ``auto``."""
    return replace(task, config=_with(task, {_RATE: rate}))


def tried(context: StageContext, task: StageTask) -> ChosenRate | None:
    """Trains a stage for a while with each rate, up to its first validation; nothing of it is kept.

    Args:
        context: what the stage has in common with others.
        task: a stage that :func:`chooses` its rate.

    Returns:
        The choice; None where there is nothing to validate on, or no rate has a finite loss.
    """
    staged = stage_settings(task.config, task.name.stage, context.block)
    epochs = min(staged["eval_start"] or staged["eval_step"], staged["epochs"])
    bigger: bool = task.config["valid_metric_bigger"]
    scores: list[float | None] = []
    rates = ladder(task)
    for rate in rates:
        values = {"eval_step": epochs, "eval_start": epochs, "epochs": epochs, _RATE: rate}
        short = replace(task, config=_with(task, values, _TRIAL), checkpoints=None)
        try:
            record = run_stage(context, short).record
        except LossError:
            scores.append(None)
            continue
        seen = [score for _, score in record.get("valid_score", ())]
        scores.append(seen[-1] if seen else None)
    return choose_rate(dict(zip(rates, scores, strict=True)), bigger)


def ladder(task: StageTask) -> tuple[float, ...]:
    """The rates to try: fewer where a model goes on from what it has learned."""
    return _UPDATES if task.name.block else _FROM_NOTHING


def choose_rate(scores: Mapping[float, float | None], bigger: bool) -> ChosenRate | None:
    """The slowest rate that is nearly as good as the best.

    Args:
        scores: early stopping's metric by rate; None where its loss was not finite or there was nothing to
            validate on.
        bigger: whether larger scores are better.

    Returns:
        The choice; None if no rate has a score.
    """
    found = {rate: score for rate, score in scores.items() if score is not None}
    if not found:
        return None
    best = max(found.values()) if bigger else min(found.values())
    near = [r for r, s in found.items() if (s >= _NEAR * best if bigger else s <= best / _NEAR)]
    return ChosenRate(min(near, default=max(found)), [[rate, score] for rate, score in found.items()])


def known_rate(task: StageTask, records: Iterable[Mapping[str, Any]]) -> float | None:
    """The rate that a stage of the same kind has had before.

    The base block's stages and those of later blocks, which begin with what has been learned, are kinds of
    their own; so is each model.

    Args:
        task: the stage.
        records: what result.json has of the stages before.
    """
    kind = (task.name.stage, task.name.block == 0, task.name.model)
    for record in records:
        chosen = record.get("chosen_rate")
        if chosen and (record["stage"], record["block"] == 0, chosen["model"]) == kind:
            return float(chosen["rate"])
    return None


def _staged(task: StageTask) -> CCDConfig:
    return task.config.for_stage(task.name.stage)


def _with(task: StageTask, values: Mapping[str, Any], plain: Mapping[str, Any] | None = None) -> CCDConfig:
    config = copy.deepcopy(task.config)
    staged = {f"{task.name.stage}_{key}": value for key, value in values.items()}
    # not by assignment, which would make them settings of the user's
    config.final_config_dict.update({**staged, **(plain or {})})
    return config
