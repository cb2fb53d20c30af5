"""What strategies with a teacher have in common: base models, and a student distilled from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.data.sparse import pairs_matrix
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.loss.unkd import popularity_groups
from recbole_ccd.model.growth import build, check_buildable, check_growable, fitted, grow, rebuild
from recbole_ccd.model.initialization import embedding_tables
from recbole_ccd.model.pruning import pruned
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.model.teacher import TeacherEnsemble, mixed_rows
from recbole_ccd.plugin.base import TrainerPlugin
from recbole_ccd.plugin.distillation import (
    GradientAlignment,
    RelativeDifficulty,
    TeacherDistillation,
    check_ways,
    wants_grouped_items,
    wants_item_lists,
    wants_member_ranks,
)
from recbole_ccd.plugin.distillation.course import CourseRecorder
from recbole_ccd.plugin.distillation.relative_difficulty import member_ranks
from recbole_ccd.plugin.replay import ReplayScheme, chosen_scheme
from recbole_ccd.ranking.groups import grouped_lists
from recbole_ccd.ranking.lists import top_lists
from recbole_ccd.ranking.members import ranks_by_member
from recbole_ccd.ranking.store import RankingStore
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import ScoreFn, users_at_a_time
from recbole_ccd.strategy.base import Strategy, learn_plainly
from recbole_ccd.strategy.stage import Stage, StageTask
from recbole_ccd.utils.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


_SIDES = ("items", "users")
# slots of the ranking store
_TEACHER, _BESIDE_LISTS, GROWN_TEACHER = "teacher", "beside its lists", "grown teacher"
_POSITIVES = "positives"
# what a member's stage leaves beside its weights
_COURSE = "course"
STUDENT_SIDE, ALL_OF_STUDENT_SIDE = "student side", "all of the student side"


def _lists_of(block: Block) -> str:
    return f"block-{block.index}-lists"


class DistillingStrategy(Strategy):
    """A strategy whose student is distilled from a teacher, once or in every block.

    Attributes:
        members: the configuration of each member of the teacher.
        rankings: the teacher's rankings that were distilled last, until they have served.
    """

    def prepare(self) -> None:
        """Sets the members' configurations; there are no rankings yet."""
        super().prepare()
        self.members = [self.config.for_member(m) for m in range(len(self.config["teacher_models"]))]
        self.rankings: TeacherRankings | None = None
        self._courses: list[Tensor] | None = None
        self._store = RankingStore()

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
            check_buildable(config, stream[0])
        self.check_negatives(stream, self.config, *self.members)

    def check_block(self, block: Block) -> None:
        """Refuses a user for whom no negative can be drawn.

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
            for piece in self.pieces(block):
                piece.check_negatives()

    @property
    def _teaching(self) -> TeacherEnsemble:
        if self.teacher is None:
            raise ValueError(f"strategy {self.name} has no teacher at this point")
        return self.teacher

    @property
    def _ranked(self) -> TeacherRankings:
        if self.rankings is None:
            raise ValueError(f"strategy {self.name} has no rankings of the teacher at this point")
        return self.rankings

    def pieces(self, block: Block) -> list[Block]:
        """The parts of a block that the student learns one after the other."""
        return [block]

    def models(self) -> Mapping[str, GeneralRecommender]:
        """The student and, as long as there is a teacher, its members."""
        members = self.teacher.members if self.teacher is not None else ()
        return {**super().models(), **{f"teacher-{m}": member for m, member in enumerate(members)}}

    def restore(self, block: Block, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Student and teacher; see :class:`Strategy`."""
        super().restore(block, states)
        if "teacher-0" in states:
            members = [
                rebuild(config, block, states[f"teacher-{m}"]) for m, config in enumerate(self.members)
            ]
            self.teacher = self.ensemble(members, block)

    @property
    def replay_scheme(self) -> type[ReplayScheme] | None:
        """The configured replay scheme; None for none."""
        return chosen_scheme(self.config)

    def extended(self, block: Block, config: CCDConfig) -> tuple[Block, Block]:
        """A block as its stages learn it under the replay scheme, and the block that models are built on.

        Args:
            block: the block that has arrived, not the base block.
            config: the model's configuration.

        Returns:
            The two; earlier rows that are replayed are not propagated over, but a model that learns from
            whole rows reads them.
        """
        scheme = self.replay_scheme
        extended = block if scheme is None else scheme.extend(block, self.config)
        return extended, extended if learns_from_rows(config) else block

    def train_base_teacher(self, block: Block) -> TeacherEnsemble:
        """Trains every member on the base block with its own loss."""
        parts = {f"teacher-{m}": config for m, config in enumerate(self.members)}
        has_course = self.config["distill_curriculum"] is not None and self.config["curriculum_lists"] > 0

        def train(missing: Sequence[str]) -> list[GeneralRecommender]:
            places = [m for m, part in enumerate(parts) if part in missing]
            tasks = [self.task("base", block, self.members[m], m) for m in places]
            return self.stages(block, learn_with_course if has_course else learn_plainly, tasks)

        members = self.base_models_of(parts, block, train)
        self._courses = [extra[_COURSE] for extra in self._extras] if has_course else None
        return self.ensemble(members, block)

    def train_base_student(self, block: Block, distilled: bool) -> GeneralRecommender:
        """The student of the base block, distilled from the base teacher or trained by itself."""
        if not distilled:
            train = partial(self.train_plainly, block, self.config)
            return self.base_model("student-plain", self.config, block, train)
        self.teacher = self.train_base_teacher(block)
        train = partial(self.generate_student, block)
        student = self.base_model("student-distilled", self.config, block, train)
        self._courses = None
        return student

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

    def generation_plugins(self, block: Block, rankings: TeacherRankings) -> list[TrainerPlugin]:
        """What stage 1 is given beside the student's own loss.

        Args:
            block: the block.
            rankings: the teacher's rankings of it.
        """
        courses = None if block.index else self._courses
        plugins: list[TrainerPlugin] = [TeacherDistillation(rankings, courses)]
        if self.config["distill_weighting"] is not None:

            def make() -> torch.Tensor:
                return member_ranks(list(self._teaching.members), block.train_matrix)

            plugins.append(RelativeDifficulty(self._store.get(_POSITIVES, self.teacher, block, make)))
        if self.config["distill_gradient_alignment"] > 0:
            plugins.append(GradientAlignment(rankings.top_items, list(self._teaching.members)))
        return plugins

    def _new_student(self, config: CCDConfig, block: Block) -> GeneralRecommender:
        old = self.student if self.config["student_start"] == "previous" else None
        if old is None:
            return build(config, block)
        known = (block.n_users, block.n_items)
        brings_nobody = known == (block.n_old_users, block.n_old_items)
        if brings_nobody or (old.n_users, old.n_items) != known:
            return self.grow(old, config, block)
        # it is of this block already
        student = build(config, block)
        student.load_state_dict(old.state_dict())
        return student

    def update_members(
        self, block: Block, update: Callable[[Stage, GeneralRecommender, GeneralRecommender], None]
    ) -> TeacherEnsemble:
        """Grows every member of the teacher and lets it learn a block.

        Args:
            block: the block that has arrived.
            update: trains a member, called with the stage, the grown member and the one before. It may be
                sent to workers, with all that it knows; so it must not know the strategy.
        """
        begin = self.grown_member(block)

        def learn(stage: Stage) -> GeneralRecommender:
            member = begin(stage)
            update(stage, member, stage.old)
            return member

        extended, _ = self.extended(block, self.config)
        return self.ensemble(self.stages(extended, learn, self.member_tasks(block), built_on=block), block)

    def grown_member(self, block: Block) -> Callable[[Stage], GeneralRecommender]:
        """What grows the member of a stage to a block; it does not know the strategy."""
        at_random = self.config["new_entity_initialization"] == "random"

        def begin(stage: Stage) -> GeneralRecommender:
            known = stage.block if learns_from_rows(stage.config) else block
            return grow(stage.old, stage.config, known, not at_random)

        return begin

    def member_tasks(self, block: Block) -> list[StageTask]:
        """The stages in which the members learn a block."""
        pairs = enumerate(zip(self.members, self._teaching.members, strict=True))
        return [self.task("teacher_update", block, config, m, old=old) for m, (config, old) in pairs]

    def grow(self, model: GeneralRecommender, config: CCDConfig, block: Block) -> GeneralRecommender:
        """A model at the size of a block, new users and items initialised as configured."""
        return grow(model, config, block, self.config["new_entity_initialization"] != "random")

    def ensemble(self, members: list[GeneralRecommender], block: Block) -> TeacherEnsemble:
        """Members of a block put together."""
        return TeacherEnsemble(self.config, block.train, members).to(self.config["device"])

    def teacher_rankings(self, block: Block) -> TeacherRankings:
        """The teacher's top lists for a block, and what is neither negative nor uninteresting there."""
        top_items, top_users = self._teacher_lists(block)
        excluded_items = top_items[:, : self.config["exclusion_top_k"]]
        listed = top_items[:, : self.config["distill_top_k"]]
        seen_first = self.config["distill_lists"] == "seen_first"

        def make() -> dict[str, torch.Tensor]:
            return self.beside_lists(self._teaching, block, listed, seen_first)

        beside = self._store.get(_BESIDE_LISTS, self.teacher, block, make) if self.reads_more else {}
        excluded = self.exclusion(block, excluded_items)
        return TeacherRankings(listed, top_users, excluded, excluded_items, **beside)

    @property
    def reads_more(self) -> bool:
        """Whether a loss of this run reads of a teacher what is made for such losses alone."""
        return wants_member_ranks(self.config) or wants_grouped_items(self.config)

    def beside_lists(
        self, teacher: TeacherEnsemble, block: Block, listed: torch.Tensor, seen_first: bool = False
    ) -> dict[str, torch.Tensor]:
        """What the losses of this run read of a teacher beside its lists, for :class:`TeacherRankings`.

        Args:
            teacher: a teacher of the block's size.
            block: the block.
            listed: the lists that are distilled, row = user id.
            seen_first: whether pairs of the train part are among what is ranked.
        """
        found: dict[str, torch.Tensor] = {}
        users = torch.arange(block.n_users, device=self.config["device"])
        exclude, size = block.train_matrix, users_at_a_time(block.n_items)
        teacher.eval()
        if wants_member_ranks(self.config):
            members = [partial(score_rows, member) for member in teacher.members]
            ranked = None if seen_first else exclude
            found["member_ranks"] = ranks_by_member(members, users, listed, ranked, size)
        if wants_grouped_items(self.config):
            n_groups = min(self.config["unkd_groups"], listed.shape[1])
            counts = torch.from_numpy(block.train_so_far.getnnz(axis=0))
            groups = popularity_groups(counts, n_groups).to(users.device)
            k, score = max(listed.shape[1] // n_groups, 1), self._scores_of(teacher, block)
            found["item_groups"] = groups
            found["grouped_items"] = grouped_lists(
                score, users, groups, n_groups, k, exclude, size, seen_first
            )
        teacher.eval()  # drops what its members cached for scoring
        return found

    def _scores_of(self, teacher: TeacherEnsemble, block: Block) -> ScoreFn:
        """What a teacher's lists are made from: its scores, and in part those of a pruned copy of it."""
        rate, share = self.config["teacher_prune_rate"], self.config["teacher_prune_share"]
        if not rate or not share:
            return partial(score_rows, teacher)
        copies = self.ensemble([pruned(member, rate) for member in teacher.members], block).eval()
        return partial(mixed_rows, teacher, copies, share)

    def _teacher_lists(self, block: Block) -> tuple[torch.Tensor, torch.Tensor]:
        """The :meth:`top_lists` of the teacher after a block: made before, saved ahead, or made now."""

        def make() -> tuple[torch.Tensor, torch.Tensor]:
            saved = None if self.checkpoints is None else self.checkpoints.load_stage(_lists_of(block))
            if saved is None:
                seen_first = self.config["distill_lists"] == "seen_first"
                return self.top_lists(self._teaching, block, wants_item_lists(self.config), seen_first)
            items, users = (saved.state[side].to(self.config["device"]) for side in _SIDES)
            return items, users

        return self._store.get(_TEACHER, self.teacher, block, make)

    def save_rankings(self, block: Block) -> None:
        """Saves in the run directory the teacher's lists that the next block begins with.

        Raises:
            RunError: If they cannot be saved.
        """
        if self.checkpoints is not None and self.checkpoints.load_stage(_lists_of(block)) is None:
            lists = dict(zip(_SIDES, self._teacher_lists(block), strict=True))
            self.checkpoints.save_stage(_lists_of(block), block.index, None, lists)

    def top_lists(
        self, teacher: TeacherEnsemble, block: Block, item_lists: bool, seen_first: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a teacher ranks highest outside the train part of a block, or after it.

        Args:
            teacher: a teacher of the block's size.
            block: the block.
            item_lists: whether each item's users are wanted.
            seen_first: whether the pairs of the train part lead the lists, in the place of being left out.

        Returns:
            Each user's items, as many as the longer of the lists distilled and excluded, and each item's
            users, none where they are not wanted; 0-padded, row = id.
        """
        k = self.config["distill_top_k"]
        users = torch.arange(block.n_users, device=self.config["device"])
        teacher.eval()
        lists = top_lists(
            self._scores_of(teacher, block),
            users,
            block.n_items,
            max(k, self.config["exclusion_top_k"]),
            k if item_lists else 0,
            block.train_matrix,
            users_at_a_time(block.n_items),
            workers=self.workers,
            waiting=self._stop_if_asked,
            seen_first=seen_first,
        )
        teacher.eval()  # drops what its members cached for scoring
        return lists

    def discard_rankings(self) -> None:
        """Lets go of the teacher's rankings, which are as many as users and items, once they have served."""
        self.rankings = None
        self._store.discard(_TEACHER, _BESIDE_LISTS, GROWN_TEACHER, _POSITIVES)

    def exclusion(self, block: Block, teacher_items: torch.Tensor) -> csr_matrix:
        """Pairs that are no negatives: the teacher's top items, and those of :meth:`excluded_lists`.

        Args:
            block: the block to learn.
            teacher_items: the teacher's part.
        """
        return pairs_matrix([teacher_items, *self.excluded_lists(block)], block.n_users, block.n_items)

    def excluded_lists(self, block: Block) -> list[torch.Tensor]:
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
