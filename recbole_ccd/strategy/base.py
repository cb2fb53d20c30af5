"""What every strategy is: checks, stages, models of the base block, a student distilled from a teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, ClassVar

from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.config import MEMBER_STAGES
from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.data.sparse import pairs_matrix
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.model.growth import build, check_buildable, check_growable, fitted, grow, rebuild
from recbole_ccd.model.initialization import embedding_tables
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.plugin.base import TrainerPlugin
from recbole_ccd.plugin.distillation import (
    GradientAlignment,
    RelativeDifficulty,
    TeacherDistillation,
    check_ways,
)
from recbole_ccd.plugin.distillation.course import CourseRecorder
from recbole_ccd.plugin.regularization import check_regularizers
from recbole_ccd.plugin.replay import chosen_scheme
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.strategy.loop import BlockLoop
from recbole_ccd.strategy.run_state import RunState
from recbole_ccd.strategy.stage import BaseModels, Stage, StageTask
from recbole_ccd.strategy.stage_runner import StageRunner, learn_plainly
from recbole_ccd.strategy.teacher_lists import TeacherLists
from recbole_ccd.trainer.lazy_adam import check_lazy
from recbole_ccd.utils.errors import ConfigError, ModelError
from recbole_ccd.utils.guard import guarded
from recbole_ccd.utils.parallel import workers_of
from recbole_ccd.utils.seeding import exclusive

if TYPE_CHECKING:
    from recbole_ccd.checkpoint import RunDirectory
    from recbole_ccd.config import CCDConfig

# what a member's stage leaves beside its weights
_COURSE = "course"


class Strategy(ABC):
    """How a model follows a stream.

    A subclass says what happens when a block arrives (:meth:`train_block`), in stages (:meth:`stage`), for
    which there are a base teacher and a student distilled from it. :class:`BlockLoop` does the rest:
    evaluation after every block, tables, result.json and checkpoints.

    Attributes:
        student: the deployed model after the last block followed.
        teacher: the teacher system, or None where there is none.
        members: the configuration of each member of the teacher.
        rankings: the teacher's rankings that were distilled last, until they have served.
        run_state: where the run is at.
        stages: makes models in stages.
        teacher_lists: makes what is distilled of a teacher.
    """

    kind: ClassVar[str] = "strategy"
    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    """Of a strategy outside the package: its keys with their defaults, and the values it changes. Ours have a
    file in ``properties/strategy`` instead."""
    keeps_teacher: ClassVar[bool] = False
    """Whether there is a teacher after the base block, which follows the stream too."""
    student_cycle: ClassVar[bool] = False
    """Whether the student can learn a block before the teacher does."""
    replays: ClassVar[bool] = False
    """Whether an update visits the past by the configured ``replay``."""
    has_proxies: ClassVar[bool] = False
    """Whether there are proxies that can be replayed from."""
    learns_everything: ClassVar[bool] = False
    """Whether a block is learned with the train rows of all blocks before it."""
    regularizes: ClassVar[str | None] = None
    """Whose updates are under the configured ``regularizer``: ``student``, ``teacher``, or nobody's."""

    def __init__(
        self,
        config: CCDConfig,
        run_directory: RunDirectory | None = None,
        base_models: BaseModels | None = None,
    ) -> None:
        """Prepares the strategy; nothing is trained yet.

        Args:
            config: the run's configuration.
            run_directory: where results go, made before the stream is run; None keeps them in memory.
            base_models: models of the base block that strategies of the same seed share; None keeps none.
        """
        self.config, self.logger = config, getLogger("recbole_ccd")
        self.run_state = RunState(config, workers_of(config), run_directory)
        self.stages = StageRunner(self.run_state, base_models)
        self.teacher_lists = TeacherLists(self.run_state)
        self.members = [config.for_member(m) for m in range(len(config["teacher_models"]))]
        self._checked: CCDConfig | None = None
        self.prepare()

    def prepare(self) -> None:
        """Sets what the strategy has before its stream begins; the constructor calls it at its end.

        A subclass with attributes of its own overrides this method, and calls the overridden one first.
        """
        self.student: GeneralRecommender | None = None
        self.teacher: TeacherEnsemble | None = None
        self.rankings: TeacherRankings | None = None
        self._courses: list[Tensor] | None = None

    # the stream

    @exclusive()
    def run(self, stream: BlockStream, whole: bool = True) -> StreamResult:
        """Follows the whole stream, or the rest of it where the run directory holds its beginning.

        Args:
            stream: the blocks.
            whole: whether the teacher learns the last block too; if not, the student alone does
                (``student_cycle``), and has a row more.

        Returns:
            What was measured: the R matrices of every metric and all that follows from them.

        Raises:
            RunError: If training went wrong, or the run directory cannot be used.
        """
        return BlockLoop(self, stream).run(whole)

    @exclusive()
    def prepare_next(self, stream: BlockStream) -> None:
        """Does ahead what the next block begins with, as far as that needs nothing of it.

        It is saved among the finished stages of the run directory.

        Args:
            stream: the blocks, which have been followed.

        Raises:
            RunError: If training went wrong, or the run directory cannot be used.
        """
        recorded = list(self.result.stages)
        self.prepare_next_block(stream[len(stream) - 1])
        # it is part of the next block's result
        self.result.stages = recorded
        self.run_state.stop_if_asked()

    @property
    def result(self) -> StreamResult:
        """What has been measured and recorded so far."""
        return self.run_state.result

    @abstractmethod
    def train_block(self, block: Block) -> None:
        """Learns a block; afterwards ``student`` and ``teacher`` are those of the block."""

    def train_block_by_student(self, block: Block) -> None:
        """The student alone learns a block; :meth:`train_block` begins with just that (``student_cycle``)."""
        raise NotImplementedError(f"strategy {self.name} has no cycle of the student alone")

    def prepare_next_block(self, block: Block) -> None:
        """Does what :meth:`train_block` of the next block would begin with; nothing where it cannot."""
        return

    @property
    def student_stages(self) -> tuple[str, ...]:
        """The stages that train the student; that of the base block if it is not distilled there."""
        plain = ("base",) if self.config["base"] == "plain" else ()
        return (*plain, "student_generation", "student_update")

    def workload(self, block: Block) -> int:
        """How many interactions are gone through to learn a block, for the time that is left."""
        return len(block.train) + (sum(map(len, block.earlier_train_rows)) if self.learns_everything else 0)

    def pieces(self, block: Block) -> list[Block]:
        """The parts of a block that the student learns one after the other."""
        return [block.with_all_earlier() if self.learns_everything else block]

    def models(self) -> Mapping[str, GeneralRecommender]:
        """The models to keep in the run directory, by file name: all that :meth:`restore` needs.

        They are the student and, as long as there is a teacher, its members.
        """
        members = self.teacher.members if self.teacher is not None else ()
        return {"student": self.student, **{f"teacher-{m}": member for m, member in enumerate(members)}}

    def restore(self, block: Block, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Makes everything what it was after a block, but for what can be found again when it is needed.

        Args:
            block: the last block followed.
            states: weights of the :meth:`models` by their names.
        """
        if self.learns_everything:
            block = block.with_all_earlier()
        if "student" in states:
            self.student = rebuild(self.config, block, states["student"])
        if "teacher-0" in states:
            extended = self.extended(block, self.config)[0] if block.index else block
            pairs = zip(self.members, self.built_on(block, extended), strict=True)
            members = [
                rebuild(config, known, states[f"teacher-{m}"]) for m, (config, known) in enumerate(pairs)
            ]
            self.teacher = self.ensemble(members, block)

    def fit_again(self, block: Block) -> GeneralRecommender | None:
        """The student after a block, where its weights are not among the :meth:`models` that are saved.

        Args:
            block: the last block followed.

        Returns:
            The student; None where there is none to be had.
        """
        return None

    # checks

    def check(self, stream: BlockStream) -> None:
        """Refuses what cannot work, before anything is trained.

        Models are built for that, so it is done once: streams made with one configuration are equal, and
        of these only the first is looked at. :meth:`run` begins with it.

        Args:
            stream: the blocks.

        Raises:
            CCDError: As of :meth:`check_models`.
        """
        if self._checked is not stream.config:
            # models are built, whose weights are drawn
            with exclusive(), guarded(f"a model of strategy {self.config['strategy']}, or its settings,"):
                self.check_models(stream)
            if self.regularizes is not None:
                check_regularizers(self.config, self.regularizes)
            self._checked = stream.config

    def check_new_block(self, stream: BlockStream) -> None:
        """Refuses a last block that cannot be learned, where those before it have been.

        Args:
            stream: the blocks.

        Raises:
            CCDError: As of :meth:`check_block`.
        """
        self.check_block(stream[len(stream) - 1])
        self._checked = stream.config

    def check_models(self, stream: BlockStream) -> None:
        """Refuses models that cannot play their role, and users for whom no negative can be drawn.

        Raises:
            ModelError: If the student has no user and item embeddings, a model cannot be built or grown, or a
                way of distilling does not fit the models.
            DataError: If a user has interacted with every known item.
        """
        self.check_student(stream)
        check_ways(self.config)
        # members of one model have the same settings
        for config in {config["model"]: config for config in self.members}.values():
            check_growable(config, "teacher")
            check_lazy(config, "teacher", MEMBER_STAGES)
            check_buildable(config, stream[0])
        self.check_negatives(stream, self.config, *self.members)

    def check_block(self, block: Block) -> None:
        """Refuses a block that has arrived with a user for whom no negative can be drawn.

        Raises:
            DataError: If a user has interacted with every known item.
        """
        followers = self.members if self.keeps_teacher else []
        self.check_negatives([block], self.config, *followers)

    def check_student(self, stream: BlockStream) -> None:
        """Refuses a student that rankings cannot be distilled to, or that cannot be grown.

        Raises:
            ModelError: If the student has no user and item embeddings, or cannot be built or grown.
        """
        check_growable(self.config, "student")
        check_lazy(self.config, "student", self.student_stages)
        student = check_buildable(self.config, stream[0])
        if not embedding_tables(student, stream[0].n_users, stream[0].n_items):
            raise ModelError(
                f"model: {self.config['model']} has no user and item embeddings, which the student needs; "
                "take LightGCN, BPR, NGCF, SGL, NeuMF or ENMF (it can be a member of the teacher)"
            )

    def check_negatives(self, blocks: Iterable[Block], *configs: CCDConfig) -> None:
        """Refuses users for whom no negative can be drawn, where a model needs negatives.

        Raises:
            ConfigError: If negatives are needed and switched off.
            DataError: If a user has interacted with every known item.
        """
        drawing = [config for config in configs if not learns_from_rows(config)]
        for config in drawing:
            if config["train_neg_sample_args"]["distribution"] == "none":
                raise ConfigError(
                    f"train_neg_sample_args is without a distribution, and {config['model']} learns from "
                    "negatives; give it uniform or popularity"
                )
        if not drawing:
            return
        for block in blocks:
            pieces = self.pieces(block)
            # the members learn it as a whole
            for piece in [*pieces, block] if len(pieces) > 1 else pieces:
                learned = self.extended(piece, self.config)[0] if block.index else piece
                learned.check_negatives()

    # stages

    def stage(
        self,
        name: str,
        block: Block,
        config: CCDConfig,
        learn: Callable[[Stage], GeneralRecommender],
        piece: int | None = None,
        built_on: Block | None = None,
    ) -> GeneralRecommender:
        """Makes a model in a stage: seeds it, times it, records it and keeps what comes out.

        Whatever is built or drawn inside depends on the run's seed, the block, the stage and the piece alone.
        So a stage that an earlier process has finished need not be gone through again: its model is taken
        from the run directory, and what was recorded of it.

        Args:
            name: one of the configuration's stages.
            block: the block learned, or the piece of it.
            config: the model's configuration.
            learn: makes and trains the model.
            piece: which piece of the block, where it arrives in several.
            built_on: the block that the model is built on, where it is not the one learned.

        Returns:
            The model, in evaluation mode.

        Raises:
            LossError: If the loss became NaN or infinite.
            RunError: If the outcome cannot be saved.
        """
        task = self.stages.task(name, block, config, piece=piece)
        (model,) = self.stages.run(block, learn, [task], None if built_on is None else [built_on])
        return model

    def extended(self, block: Block, config: CCDConfig) -> tuple[Block, Block]:
        """A block as its stages learn it under the replay scheme, and the block that models are built on.

        Args:
            block: the block that has arrived, not the base block.
            config: the model's configuration.

        Returns:
            The two; earlier rows that are replayed are not propagated over, but a model that learns from
            whole rows reads them.
        """
        scheme = chosen_scheme(self.config)
        extended = block if scheme is None else scheme.extend(block, self.config)
        return extended, extended if learns_from_rows(config) else block

    # the base block

    def train_plainly(self, block: Block, config: CCDConfig) -> GeneralRecommender:
        """A fresh model learns a block with its own loss.

        Args:
            block: the block.
            config: the model's configuration.
        """
        return self.stage("base", block, config, learn_plainly)

    def train_base_teacher(self, block: Block) -> TeacherEnsemble:
        """Trains every member on the base block with its own loss."""
        parts = {f"teacher-{m}": config for m, config in enumerate(self.members)}
        has_course = self.config["distill_curriculum"] is not None and self.config["curriculum_lists"] > 0

        def train(missing: Sequence[str]) -> list[GeneralRecommender]:
            places = [m for m, part in enumerate(parts) if part in missing]
            tasks = [self.stages.task("base", block, self.members[m], m) for m in places]
            return self.stages.run(block, learn_with_course if has_course else learn_plainly, tasks)

        members = self.stages.base(parts, block, train)
        self._courses = [extra[_COURSE] for extra in self.stages.extras] if has_course else None
        return self.ensemble(members, block)

    def train_base_student(self, block: Block, distilled: bool) -> GeneralRecommender:
        """The student of the base block, distilled from the base teacher or trained by itself."""
        train = partial(self.train_plainly, block, self.config)
        if distilled:
            self.teacher = self.train_base_teacher(block)
            train = partial(self.generate_student, block)
        part = {f"student-{'distilled' if distilled else 'plain'}": self.config}
        (student,) = self.stages.base(part, block, lambda missing: [train()])
        self._courses = None
        return student

    # the teacher

    @property
    def _teaching(self) -> TeacherEnsemble:
        if self.teacher is None:
            raise ValueError(f"strategy {self.name} has no teacher at this point")
        return self.teacher

    def ensemble(self, members: list[GeneralRecommender], block: Block) -> TeacherEnsemble:
        """Members of a block put together."""
        return TeacherEnsemble(self.config, block.train, members).to(self.config["device"])

    def update_members(
        self, block: Block, update: Callable[[Stage, GeneralRecommender, GeneralRecommender], None]
    ) -> TeacherEnsemble:
        """Grows every member of the teacher and lets it learn a block.

        Args:
            block: the block that has arrived.
            update: trains a member, called with the stage, the grown member and the one before. It may be
                sent to workers, with all that it knows; so it must not know the strategy.
        """

        def learn(stage: Stage) -> GeneralRecommender:
            member = grown_member(stage, block)
            update(stage, member, stage.old)
            return member

        extended, _ = self.extended(block, self.config)
        members = self.stages.run(extended, learn, self.member_tasks(block), self.built_on(block, extended))
        return self.ensemble(members, block)

    def built_on(self, block: Block, extended: Block) -> list[Block]:
        """The block that each member is built on, when it learns a block or is taken up again.

        Args:
            block: the block that has arrived.
            extended: the same with the rows that are replayed; members that learn from whole rows read them.
        """
        return [extended if learns_from_rows(config) else block for config in self.members]

    def member_tasks(self, block: Block) -> list[StageTask]:
        """The stages in which the members learn a block."""
        pairs = enumerate(zip(self.members, self._teaching.members, strict=True))
        return [self.stages.task("teacher_update", block, config, m, old=old) for m, (config, old) in pairs]

    # stage 1

    def generate_student(self, block: Block) -> GeneralRecommender:
        """Stage 1: a student learns from the block and from the teacher's rankings."""

        def learn(stage: Stage) -> GeneralRecommender:
            student = self._new_student(stage.config, block)
            self.rankings = self.teacher_rankings(block)
            trainer = stage.trainer(student).exclude(self.rankings.excluded)
            trainer.add(*self.generation_plugins(block, self.rankings)).run(self.config["show_progress"])
            return student

        self.rankings = None
        config = self.config if block.index else self.config.for_base_student()
        student = self.stage("student_generation", block, config, learn)
        # a student that was finished before an interruption learned the same
        self.rankings = self.rankings or self.teacher_rankings(block)
        return student

    def _new_student(self, config: CCDConfig, block: Block) -> GeneralRecommender:
        old = self.student if self.config["student_start"] == "previous" else None
        if old is None:
            return build(config, block)
        known = (block.n_users, block.n_items)
        brings_nobody = known == (block.n_old_users, block.n_old_items)
        if brings_nobody or (old.n_users, old.n_items) != known:
            return grow(old, config, block)
        # it is of this block already
        student = build(config, block)
        student.load_state_dict(old.state_dict())
        return student

    def generation_plugins(self, block: Block, rankings: TeacherRankings) -> list[TrainerPlugin]:
        """What stage 1 is given beside the student's own loss.

        Args:
            block: the block.
            rankings: the teacher's rankings of it.
        """
        courses = None if block.index else self._courses
        plugins: list[TrainerPlugin] = [TeacherDistillation(rankings, courses)]
        if self.config["distill_weighting"] is not None:
            plugins.append(RelativeDifficulty(self.teacher_lists.ranks_of_positives(self._teaching, block)))
        if self.config["distill_gradient_alignment"] > 0:
            plugins.append(GradientAlignment(rankings.top_items, list(self._teaching.members)))
        return plugins

    def teacher_rankings(self, block: Block) -> TeacherRankings:
        """The teacher's top lists for a block, and what is neither negative nor uninteresting there."""
        top_items, top_users = self.teacher_lists.of(self._teaching, block)
        excluded_items = top_items[:, : self.config["exclusion_top_k"]]
        listed = top_items[:, : self.config["distill_top_k"]]
        beside = self.teacher_lists.beside(self._teaching, block, listed)
        excluded = self.exclusion(block, excluded_items)
        return TeacherRankings(listed, top_users, excluded, excluded_items, **beside)

    @property
    def _ranked(self) -> TeacherRankings:
        if self.rankings is None:
            raise ValueError(f"strategy {self.name} has no rankings of the teacher at this point")
        return self.rankings

    def discard_rankings(self) -> None:
        """Lets go of the teacher's rankings, once they have served."""
        self.rankings = None
        self.teacher_lists.discard()

    def exclusion(self, block: Block, teacher_items: Tensor) -> csr_matrix:
        """Pairs that are no negatives: the teacher's top items, and those of :meth:`excluded_lists`.

        Args:
            block: the block to learn.
            teacher_items: the teacher's part.
        """
        return pairs_matrix([teacher_items, *self.excluded_lists(block)], block.n_users, block.n_items)

    def excluded_lists(self, block: Block) -> list[Tensor]:
        """Further items of each user that are no negatives, row = user id, 0-padded."""
        return []


def learn_with_course(stage: Stage) -> GeneralRecommender:
    """As :func:`learn_plainly`, and what the model ranked highest on its way is left beside it."""
    model, recorder = fitted(stage.config, stage.block), CourseRecorder()
    stage.trainer(model).add(recorder).run(stage.config["show_progress"])
    scores = stage.history()["valid_score"]
    better = max if stage.config["valid_metric_bigger"] else min
    best = better(scores, key=lambda entry: entry[1])[0] if scores else None
    stage.extra[_COURSE] = recorder.course(best)
    return model


def grown_member(stage: Stage, block: Block) -> GeneralRecommender:
    """The member of a stage, grown to the block that has arrived.

    Args:
        stage: the stage; its own block may have rows that are replayed, which auto-encoders read.
        block: the block that has arrived.
    """
    return grow(stage.old, stage.config, stage.block if learns_from_rows(stage.config) else block)
