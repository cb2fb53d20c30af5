"""Stages whose models are trained at the same time, epoch by epoch in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.strategy.stage import Prepare, Stage, StageContext, StageResult, StageTask
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.memory import MemoryWatch
from recbole_ccd.utils.seeding import deterministic, generator_states, seed_stage, set_generator_states


@dataclass(frozen=True)
class StageInTurns:
    """One of the stages that take turns.

    Attributes:
        task: which stage it is.
        prepare: makes the model and its trainer, with the plugins of a stage alone.
        built_on: the block that the model is built on.
    """

    task: StageTask
    prepare: Prepare
    built_on: Block


class _Training:
    """A stage under way, with generators and a clock of its own, as if it were alone."""

    def __init__(self, context: StageContext, part: StageInTurns) -> None:
        task, config = part.task, part.task.config
        seed_stage(config["seed"], config["reproducibility"], *task.name.purpose)
        start = perf_counter()
        # what it would be resumed from is that of all who take turns; so it begins anew
        self._stage = Stage(context, replace(task, checkpoints=None, stop=None))
        self.trainer: StageTrainer = part.prepare(self._stage)
        self._epochs = self.trainer.turns(self._stage.config["show_progress"])
        self._generators, self._seconds = generator_states(), perf_counter() - start
        self.is_done = False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What is drawn and the time that is taken are this stage's."""
        set_generator_states(self._generators)
        start = perf_counter()
        yield
        self._generators = generator_states()
        self._seconds += perf_counter() - start

    def take_turn(self) -> None:
        """An epoch and its validation; nothing where it is done."""
        if not self.is_done:
            with self.alone():
                self.is_done = next(self._epochs, self) is self

    def result(self, rss_mb: float | None) -> StageResult:
        return self._stage.result(self.trainer.model, self._seconds, rss_mb)


def run_in_turns(
    context: StageContext,
    parts: Sequence[StageInTurns],
    meet: Callable[[Sequence[StageTrainer]], None],
    waiting: Callable[[], None],
) -> list[StageResult]:
    """Trains the models of several stages at the same time: an epoch of each in turn, until all are done.

    One that is done stays with its best weights, while the others go on. Each stage draws from generators of
    its own, so that without anything that makes them meet it comes out as it would alone, bit for bit.

    Args:
        context: what the stages have in common, but for how they learn.
        parts: the stages, in the order of their turns.
        meet: gives the trainers, which have begun nothing yet, plugins that look at the others' models.
        waiting: called between turns; may raise to end it all.

    Raises:
        LossError: If a loss became NaN or infinite.
    """
    with deterministic(parts[0].task.config["reproducibility"]), MemoryWatch() as memory:
        trainings = [_Training(context, part) for part in parts]
        meet([training.trainer for training in trainings])
        while not all(training.is_done for training in trainings):
            for training in trainings:
                training.take_turn()
                waiting()
    return [training.result(memory.mb) for training in trainings]


def trained(prepare: Prepare) -> Callable[[Stage], GeneralRecommender]:
    """What learns in a stage alone.

    Args:
        prepare: makes the model and its trainer.
    """

    def learn(stage: Stage) -> GeneralRecommender:
        trainer = prepare(stage)
        trainer.run(stage.config["show_progress"])
        model: GeneralRecommender = trainer.model
        return model

    return learn
