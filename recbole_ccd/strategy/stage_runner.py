"""Makes the models of a run stage by stage, or finds them as an earlier process has left them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from logging import getLogger
from typing import Any

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color
from torch import Tensor

from recbole_ccd.config import CCDConfig
from recbole_ccd.data.block import Block
from recbole_ccd.data.schedule import FALLBACK_RATE
from recbole_ccd.model.growth import fitted, learns_by_steps, rebuild
from recbole_ccd.strategy.rates import chooses, known_rate, tried, with_rate
from recbole_ccd.strategy.run_state import RunState
from recbole_ccd.strategy.stage import (
    BaseModels,
    Stage,
    StageContext,
    StageName,
    StageResult,
    StageTask,
    run_stage,
)
from recbole_ccd.strategy.turns import StageInTurns, run_in_turns, trained
from recbole_ccd.trainer import LossError, StageTrainer
from recbole_ccd.utils.guard import training_begins
from recbole_ccd.utils.seeding import seed_stage

_Train = Callable[[Sequence[StageTask]], Generator[tuple[int, StageResult], None, None]]


class StageRunner:
    """Whatever a run trains: seeded, timed, recorded, saved, and not trained again where it is found.

    Attributes:
        base_models: models of the base block that strategies of the same seed share; None keeps none.
        extras: what the last stages have left beside their models, in their order.
    """

    def __init__(self, state: RunState, base_models: BaseModels | None = None) -> None:
        """Prepares it.

        Args:
            state: where the run is at; its records of stages are added to.
            base_models: models of the base block that strategies of the same seed share.
        """
        self.state, self.base_models = state, base_models
        self.extras: list[dict[str, Tensor]] = []
        self._logger = getLogger("recbole_ccd")

    def task(
        self,
        name: str,
        block: Block,
        config: CCDConfig,
        member: int | None = None,
        piece: int | None = None,
        old: GeneralRecommender | None = None,
    ) -> StageTask:
        """Describes a stage.

        Args:
            name: one of the configuration's stages.
            block: the block learned, or the piece of it.
            config: the model's configuration.
            member: which member of the teacher, where it is one.
            piece: which piece of the block, where it arrives in several.
            old: the model to be grown.
        """
        which = StageName(name, block.index, config["model"], member, piece)
        # what models without gradient steps have fitted is not in their state dict
        checkpoints = self.state.checkpoints if learns_by_steps(config) else None
        return StageTask(which, config, old, checkpoints, self.state.stop)

    def run(
        self,
        block: Block,
        learn: Callable[[Stage], GeneralRecommender],
        tasks: Sequence[StageTask],
        built_on: Sequence[Block] | None = None,
    ) -> list[GeneralRecommender]:
        """Makes models in stages that do not need one another, such as the members of a teacher.

        Args:
            block: the block learned, or the piece of it.
            learn: makes and trains a model. Where there are several it may be sent to workers, with all that
                it knows; so it must not know the strategy.
            tasks: the stages.
            built_on: the block that each model is built on, where it is not the one learned.

        Returns:
            The models, in evaluation mode.

        Raises:
            LossError: If the loss became NaN or infinite; it names the last good checkpoint.
            RunError: If the outcome cannot be saved.
        """
        state = self.state
        context = StageContext(block, learn, state.result.n_blocks - 1)

        def train(pending: Sequence[StageTask]) -> Generator[tuple[int, StageResult], None, None]:
            def at(number: int) -> None:
                state.doing = pending[number].name.label

            if len(pending) > 1 and state.workers.at_once > 1:
                label = set_color(f"block {block.index} {pending[0].name.stage}", "cyan")
                self._logger.info(f"{label}: {len(pending)} members, {state.workers.at_once} at a time")
            each = state.workers.each(run_stage, context, pending, at, state.stop_if_asked)
            with closing(each) as results:
                for result in results:
                    yield result
                    # it has been saved
                    state.stop_if_asked()

        builders = [block] * len(tasks) if built_on is None else built_on
        parts = [(context, task, builder) for task, builder in zip(tasks, builders, strict=True)]
        return self._made(parts, map(self._found, tasks), train)

    def run_in_turns(
        self,
        block: Block,
        parts: Sequence[StageInTurns],
        meet: Callable[[Sequence[StageTrainer]], None],
    ) -> list[GeneralRecommender]:
        """Makes models in stages that take turns, epoch by epoch.

        Where one of them has been finished by an earlier process, and not all, they begin anew together.

        Args:
            block: the block learned.
            parts: the stages.
            meet: as of :func:`~recbole_ccd.strategy.turns.run_in_turns`.

        Returns:
            The models; otherwise as :meth:`run`.
        """
        # each of them alone, to choose its rate
        last_block = self.state.result.n_blocks - 1
        contexts = [StageContext(block, trained(part.prepare), last_block) for part in parts]

        def train(pending: Sequence[StageTask]) -> Generator[tuple[int, StageResult], None, None]:
            self.state.doing = " and ".join(task.name.label for task in pending)
            ready = [replace(part, task=task) for part, task in zip(parts, pending, strict=True)]
            yield from enumerate(run_in_turns(contexts[0], ready, meet, self.state.stop_if_asked))
            # all of them have been saved
            self.state.stop_if_asked()

        found = [self._found(part.task) for part in parts]
        saved = [place for place, result in enumerate(found) if result is not None]
        if len(saved) < len(parts):
            found = [None] * len(parts)
        stages = [(c, part.task, part.built_on) for c, part in zip(contexts, parts, strict=True)]
        return self._made(stages, found, train, saved)

    def _made(
        self,
        parts: Sequence[tuple[StageContext, StageTask, Block]],
        found: Iterable[StageResult | None],
        train: _Train,
        saved: Sequence[int] = (),
    ) -> list[GeneralRecommender]:
        """The models of stages: rates are chosen, what is not found is trained, and all of it is recorded.

        Args:
            parts: the stages, and the block that each model is built on.
            found: what an earlier process has left of each.
            train: trains stages; gives the place of each among them and what came out of it.
            saved: the places of those that are trained though the same has been saved.
        """
        tasks = [task for _, task, _ in parts]
        chosen: dict[int, dict[str, Any]] = {}
        made, left = {}, []

        def keep(place: int, result: StageResult, words: str) -> None:
            task = tasks[place]
            self._logger.info(f"{set_color(task.name.label, 'cyan')}: {words}")
            made[place] = self._model(task, parts[place][2], result), result.record, result.extra

        for place, ((context, task, _), result) in enumerate(zip(parts, found, strict=True)):
            if result is not None:
                keep(place, result, "finished before")
                self.state.stop_if_asked()
                continue
            left.append(place)
            if chooses(task):
                beside = [record for _, record, _ in made.values()]
                beside += [{**vars(tasks[at].name), "chosen_rate": choice} for at, choice in chosen.items()]
                tasks[place], choice = self._with_rate(context, task, beside)
                chosen |= {place: choice} if choice else {}
        training_begins()
        try:
            with closing(train([tasks[place] for place in left])) as results:
                for number, result in results if left else ():
                    place, record = left[number], result.record
                    if place in chosen:
                        record["chosen_rate"] = chosen[place]
                    if place not in saved:
                        name = tasks[place].name
                        result.save(tasks[place].checkpoints, name.key, name.block)
                    keep(place, result, _told(record))
        except LossError as error:
            if self.state.checkpoints is None:
                raise
            last = self.state.checkpoints.last_good()
            raise LossError(f"{error} and start anew (last good checkpoint: {last})") from None
        models, records, extras = zip(*(made[place] for place in range(len(parts))), strict=True)
        self.extras = list(extras)
        self.state.result.stages += records
        return list(models)

    def _with_rate(
        self,
        context: StageContext,
        task: StageTask,
        beside: Sequence[Mapping[str, Any]],
    ) -> tuple[StageTask, dict[str, Any] | None]:
        """A stage with the rate of the first of its kind, or with one that is chosen now.

        Args:
            context: what the stage has in common with others.
            task: the stage.
            beside: records of the stages beside it that are finished, or of which a rate has been chosen.

        Returns:
            The stage, and what is recorded of the choice; None where it was made before.
        """
        rate = known_rate(task, [*self.state.result.stages, *beside])
        if rate is not None:
            return with_rate(task, rate), None
        self.state.doing = f"{task.name.label}, learning rate"
        training_begins()
        found = tried(context, task)
        self.state.stop_if_asked()
        if found is None:
            return with_rate(task, FALLBACK_RATE), None
        shown = ", ".join(f"{rate:g} {score:.4f}" for rate, score in found.trials)
        self._logger.info(
            f"{set_color(task.name.label, 'cyan')}: learning rate {found.rate:g} "
            f"({self.state.config.primary_metric} on the validation parts after a short training: {shown})"
        )
        record = {"model": task.name.model, "rate": found.rate, "trials": found.trials}
        return with_rate(task, found.rate), record

    def _found(self, task: StageTask) -> StageResult | None:
        """What an earlier process has left of a stage."""
        return StageResult.load(task.checkpoints, task.name.key)

    def _model(self, task: StageTask, block: Block, result: StageResult) -> GeneralRecommender:
        """The model that has come out of a stage, here or elsewhere."""
        if result.model is not None:
            return result.model
        config = self.state.config
        seed_stage(config["seed"], config["reproducibility"], *task.name.purpose)
        return rebuild(task.config.for_stage(task.name.stage), block, result.state)

    def base(
        self,
        parts: Mapping[str, CCDConfig],
        block: Block,
        train: Callable[[Sequence[str]], Sequence[GeneralRecommender]],
    ) -> list[GeneralRecommender]:
        """Models of the base block: trained here, or by the strategy that needed them first.

        Args:
            parts: the configuration of each, by what tells the models of a seed apart.
            block: the base block.
            train: trains some of them, each in one stage.
        """
        shared, records = self.base_models, self.state.result.stages
        models, extras, missing = {}, {}, []
        for part, config in parts.items():
            found = None if shared is None else shared.find(part)
            if found is None:
                missing.append(part)
                continue
            records += found.record
            models[part], extras[part] = rebuild(config, block, found.state), found.extra
        if missing:
            models |= zip(missing, train(missing), strict=True)
            extras |= zip(missing, self.extras, strict=True)
        for part, record in zip(missing, records[len(records) - len(missing) :], strict=True):
            if shared is not None:
                shared.add(part, models[part], [record], extras[part])
        self.extras = [extras[part] for part in parts]
        return [models[part] for part in parts]


def _told(record: Mapping[str, Any]) -> str:
    """What the log says of a stage that has been trained: how long, by what steps."""
    words = [f"{record['epochs']} epochs"]
    if "train_batch_size" in record:  # a strategy's own training may have none
        words += [f"batches of {record['train_batch_size']}", f"rate {record['learning_rate']:.3g}"]
    return ", ".join([*words, f"{record['seconds']:.1f}s"])


def learn_plainly(stage: Stage) -> GeneralRecommender:
    """A fresh model learns the stage's block with its own loss."""
    model = fitted(stage.config, stage.block)
    stage.trainer(model).run(stage.config["show_progress"])
    return model
