"""Continual Collaborative Distillation (Lee, Kang, Kweon, Yu, KDD 2024), as the paper's algorithm reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.data.sparse import pairs_matrix
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.model.growth import grow, rebuild
from recbole_ccd.model.proxy import update_proxy
from recbole_ccd.model.scoring import has_factors
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.plugin.base import TrainerPlugin
from recbole_ccd.plugin.distillation import (
    BridgeDistillation,
    PreviousTeacherDistillation,
    wants_item_lists,
)
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import MutualReplay, ReplaySource, chosen_scheme
from recbole_ccd.plugin.replay.proxy_guided import top_candidates
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.registry import register
from recbole_ccd.strategy.base import Strategy, grown_member
from recbole_ccd.strategy.stage import Prepare, Stage
from recbole_ccd.strategy.teacher_lists import GROWN_TEACHER
from recbole_ccd.strategy.turns import StageInTurns, trained
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ModelError
from recbole_ccd.utils.seeding import seed_stage

ROLES = ("student", "teacher")
_GENERATED = "student-generated"
# slots of the store of lists
STUDENT_SIDE, ALL_OF_STUDENT_SIDE = "student side", "all of the student side"


@register("ccd")
class CCD(Strategy):
    """A large teacher and a compact student that evolve together.

    Base block: train the teacher, distil the student. Then, for each block: distil a new student from
    the teacher of the block before (stage 1), update it on the block with replay from its proxies
    (stage 2), and update the teacher with replay from the student side (stage 3).

    Attributes:
        proxies: the proxies by name, from block 1 on.
        next_student: the student that the next block begins with, where stage 1 makes it ahead, whichever is
            deployed.
    """

    student_cycle = True
    keeps_teacher = True
    replays = has_proxies = True
    regularizes = "teacher"

    def prepare(self) -> None:
        """There are no proxies yet."""
        super().prepare()
        self.proxies: dict[str, GeneralRecommender] = {}
        self.next_student: GeneralRecommender | None = None

    def check_models(self, stream: BlockStream) -> None:
        """These, and what a bridge cannot stand between.

        Raises:
            ModelError: If there is to be a bridge, and the first member does not score by an inner product or
                the student does not learn from pairs; or as of :class:`Strategy`.
        """
        super().check_models(stream)
        if not self.config["mutual_bridge"]:
            return
        first, start = self.members[0], "mutual_bridge is True, and"
        if not has_factors(first.model_class):
            raise ModelError(
                f"{start} the first of teacher_models, {first['model']}, does not score by an inner product; "
                "put one that does before it, such as LightGCN or BPR, or leave mutual_bridge out"
            )
        if learns_from_rows(self.config):
            raise ModelError(
                f"{start} the student, {self.config['model']}, does not learn from pairs, as the bridge "
                "does; take LightGCN, BPR, NGCF, SGL or NeuMF, or leave mutual_bridge out"
            )

    def generation_plugins(self, block: Block, rankings: TeacherRankings) -> list[TrainerPlugin]:
        """Distillation and, if there is to be one, a bridge; the base student is that of all strategies."""
        plugins = super().generation_plugins(block, rankings)
        if block.index and self.config["mutual_bridge"]:
            plugins.append(BridgeDistillation(self._teaching.members[0], rankings.top_items))
        return plugins

    def models(self) -> Mapping[str, GeneralRecommender]:
        """Student, proxies, the teacher's members, and the next block's student where it is another."""
        following = self.next_student if self.generates_ahead else None
        another = {} if following is None or following is self.student else {_GENERATED: following}
        return {**super().models(), **self.proxies, **another}

    def restore(self, block: Block, states: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """These; a proxy is of the distilled student's size, which is that of the block before."""
        super().restore(block, states)
        state = states.get(_GENERATED)
        self.next_student = self.student if state is None else rebuild(self.config, block, state)
        self.proxies = {
            name: rebuild(self.config, block.before, states[name]).requires_grad_(False)
            for name in (self.config["proxies"] if block.index else ())
            if name in states
        }

    def train_block(self, block: Block) -> None:
        """Base training and distillation on block 0; the three stages on every other block."""
        if block.index == 0:
            self.student = self.next_student = self.train_base_student(block, distilled=True)
            return
        if self.config["mutual_learning"]:
            self.begin_block(block)
            self.student, self.teacher = self.update_mutually(block)
        else:
            self.train_block_by_student(block)
            self.teacher = self.update_teacher(block)
        self.discard_rankings()
        if self.generates_ahead:
            self.next_student = self.generate_student(block)
            # the teacher's lists serve the next block too, beside another student's
            self.rankings = None
            if self.deploys_generated(block):
                self.student = self.next_student

    def train_block_by_student(self, block: Block) -> None:
        """Stages 1 and 2: short cycles, several of which may pass before the teacher's long one."""
        self.begin_block(block)
        distilled, several = self.student, self.config["student_updates_per_block"] > 1
        for number, piece in enumerate(self.pieces(block)):
            # the first piece of a block may have been all of it when it was learned
            self.student = self.update_student(piece, distilled, number if number or several else None)

    def begin_block(self, block: Block) -> None:
        """Stage 1, unless it was gone through ahead, and the proxies of the student that it has made."""
        if block.index > 1:
            self.student = self.next_student if self.generates_ahead else self.generate_student(block.before)
        # a base student of another strategy, or of before an interruption, learned the same
        self.rankings = self.rankings or self.teacher_rankings(block.before)
        self.update_proxies(block)

    def prepare_next_block(self, block: Block) -> None:
        """The teacher's lists, and stage 1 where that has not been gone through."""
        self.teacher_lists.save(self._teaching, block)
        if block.index and not self.generates_ahead:
            self.generate_student(block)
        self.discard_rankings()

    @property
    def generates_ahead(self) -> bool:
        """Whether stage 1 follows the other two at once, and makes a student that can be deployed."""
        return self.config["deployed_student"] != "updated"

    def deploys_generated(self, block: Block) -> bool:
        """Whether the student that stage 1 has made is deployed after a block, and not that of stage 2.

        With ``deployed_student: better`` it is the one with the higher score on the validation parts, which
        both stages have looked at for their early stopping; that of stage 1 where there was nothing to look
        at.

        Args:
            block: the block, which all three stages have learned.
        """
        if self.config["deployed_student"] == "generated":
            return True
        stages = ("student_update", "student_generation")
        updated, generated = (self._best_score(stage, block) for stage in stages)
        self.logger.info("deployed: %s", "generated" if generated >= updated else "updated")
        return generated >= updated

    def _best_score(self, stage: str, block: Block) -> float:
        """The best that early stopping has seen in a stage, or in its last piece; larger is better."""
        records = [r for r in self.result.stages if r["stage"] == stage and r["block"] == block.index]
        scores = [score for _, score in records[-1]["valid_score"]]
        better = max if self.config["valid_metric_bigger"] else min
        return better(scores) * (1 if self.config["valid_metric_bigger"] else -1) if scores else -math.inf

    def pieces(self, block: Block) -> list[Block]:
        """The parts of a block that the student learns one after the other (short cycle)."""
        return block.parts(self.config["student_updates_per_block"]) if block.index else [block]

    def update_proxies(self, block: Block) -> None:
        """Moves the proxies towards the distilled student, which is each of them at first."""
        if not self.proxies:
            # one model, whose lists are made once
            self.proxies = dict.fromkeys(self.config["proxies"], self.student)
            return
        finals = self.config["growth"] == "predictions"
        self.proxies = {
            name: update_proxy(proxy, self.student, self.config.per_block(f"{name}_ema", block.index), finals)
            for name, proxy in self.proxies.items()
        }

    def update_student(
        self, block: Block, distilled: GeneralRecommender, piece: int | None = None
    ) -> GeneralRecommender:
        """Stage 2: the student grows and learns what has arrived, replaying from its proxies."""
        extended, known = self.extended(block, self.config)
        learn = trained(self._student_stage(block, distilled, known))
        return self.stage("student_update", extended, self.config, learn, piece=piece, built_on=known)

    def _student_stage(self, block: Block, distilled: GeneralRecommender, known: Block) -> Prepare:
        """What makes stage 2's student, built on a block that is ``known``, and its trainer."""
        previous = self.previous_rankings(block) if self.config["student_update_distill"] else None
        scheme, current = chosen_scheme(self.config), self.config["replay_rank_student"] == "current"

        def prepare(stage: Stage) -> StageTrainer:
            student = grow(self.student, stage.config, known)
            trainer = stage.trainer(student, previous=self.student)
            if scheme is not None:
                sources = self._proxies("student", block)
                trainer.add(scheme("student", sources, None if current else distilled))
            trainer.exclude(self.exclusion(block, self._ranked.excluded_items))
            if previous is not None:
                trainer.add(PreviousTeacherDistillation("student", previous))
            return trainer

        return prepare

    def update_teacher(self, block: Block) -> TeacherEnsemble:
        """Stage 3: every member learns the block, the past of all, and what the student side knows."""
        extended, _ = self.extended(block, self.config)
        learn = trained(self._member_stage(block, [self._updated_student(block)]))
        # the stage knows what it needs of them
        self.discard_rankings()
        members = self.stages.run(extended, learn, self.member_tasks(block), self.built_on(block, extended))
        return self.ensemble(members, block)

    def update_mutually(self, block: Block) -> tuple[GeneralRecommender, TeacherEnsemble]:
        """Stages 2 and 3 in one: student and member learn the block by turns, and from each other.

        With ``mutual_members: first`` the other members go through stage 3 afterwards.

        Args:
            block: the block that has arrived.

        Returns:
            The student and the teacher that have learned it.
        """
        extended, known = self.extended(block, self.config)
        tasks, builders = self.member_tasks(block), self.built_on(block, extended)
        n = len(tasks) if self.config["mutual_members"] == "all" else 1
        student, member = self._student_stage(block, self.student, known), self._member_stage(block, [])
        task = self.stages.task("student_update", block, self.config)
        parts = [StageInTurns(task, student, known)]
        pairs = zip(tasks[:n], builders[:n], strict=True)
        parts += [StageInTurns(task, member, builder) for task, builder in pairs]
        self.student, *members = self.stages.run_in_turns(extended, parts, meet_mutually)
        learn = trained(self._member_stage(block, [self._updated_student(block)]))
        members += self.stages.run(extended, learn, tasks[n:], builders[n:]) if tasks[n:] else []
        return self.student, self.ensemble(members, block)

    def _member_stage(self, block: Block, students: Sequence[ReplaySource]) -> Prepare:
        """What makes a member of stage 3, which replays from proxies and students, and its trainer.

        It may be sent to workers, with all that it knows; so it does not know the strategy.
        """
        sources = [*self._proxies("teacher", block), *students]
        previous = self.previous_rankings(block) if self.config["teacher_update_distill"] else None
        scheme, excluded = chosen_scheme(self.config), None
        if self.config["exclude_teacher_negatives"]:
            excluded = self.exclusion(block, self._ranked.excluded_items)

        def prepare(stage: Stage) -> StageTrainer:
            member = grown_member(stage, block)
            trainer = stage.trainer(member, previous=stage.old).exclude(excluded)
            if scheme is not None:
                trainer.add(scheme("teacher", sources))
            trainer.add(*chosen_regularizers(stage.config, member))
            if previous is not None and has_factors(type(member)):
                trainer.add(PreviousTeacherDistillation("teacher", previous))
            return trainer

        return prepare

    def previous_rankings(self, block: Block) -> TeacherRankings:
        """What stages 2 and 3 go on distilling: the rankings of the teacher before a block.

        They are those of stage 1, or those of the teacher grown to the block. A grown teacher has learned
        nothing, and yet knows the new users and items by their neighbours and, with a cumulative graph, what
        has happened by propagation.

        Args:
            block: the block that has arrived, or the piece of it.
        """
        if self.config["update_distill_teacher"] == "previous":
            return self._ranked
        return self.teacher_lists.store.get(
            GROWN_TEACHER, self.teacher, block, lambda: self._rankings_of_grown(block)
        )

    def _rankings_of_grown(self, block: Block) -> TeacherRankings:
        # before the stages, whose own seeds it must not move
        seed_stage(self.config["seed"], self.config["reproducibility"], "reminder", block.index)
        pairs = zip(self._teaching.members, self.members, strict=True)
        grown = self.ensemble([grow(old, config, block) for old, config in pairs], block)
        item_lists = wants_item_lists(self.config) and self.config["update_distill_users"] == "all"
        top_items, top_users = self.teacher_lists.make(grown, block, item_lists)
        excluded, listed = (top_items[:, : self.config[f"{key}_top_k"]] for key in ("exclusion", "distill"))
        return TeacherRankings(
            listed,
            top_users,
            pairs_matrix([excluded], block.n_users, block.n_items),
            excluded,
            **self.teacher_lists.make_beside(grown, block, listed),
        )

    def excluded_lists(self, block: Block) -> list[torch.Tensor]:
        """Top items of the proxies and of the current student; the base block comes before all of them."""
        if not block.index or not self.config["exclude_student_items"]:
            return []
        models, k = [*self.proxies.values(), self.student], self.config["exclusion_top_k"]
        return [self._top_items(model, block, self._lists_all)[:, :k] for model in models]

    @property
    def _lists_all(self) -> bool:
        """Whether lists of the student side may hold what a user has done."""
        return self.config["student_side_lists"] == "all"

    def _proxies(self, role: str, block: Block) -> list[ReplaySource]:
        """The proxies as sources of replay; in block 1, where all are one model, it is one source."""
        sources = [self._source(role, name, proxy, block) for name, proxy in self.proxies.items()]
        return [source for source in sources if source.n_draws][:1] if block.index == 1 else sources

    def _updated_student(self, block: Block) -> ReplaySource:
        """The student of stage 2 as a source of the members' replay."""
        return self._source("teacher", "student", self.student, block, self._lists_all)

    def _source(
        self, role: str, name: str, model: GeneralRecommender, block: Block, of_all: bool = False
    ) -> ReplaySource:
        n_candidates = self.config.per_block(f"{role}_replay_candidates", block.index)
        n_draws = list_length(self.config.per_block(f"{role}_replay_{name}", block.index), block.n_items)
        if not n_draws:
            return ReplaySource(name, model, 0)
        candidates = self._top_items(model, block, of_all)[:, :n_candidates]
        return ReplaySource(name, model, n_draws, candidates, of_all)

    def _top_items(self, model: GeneralRecommender, block: Block, of_all: bool = False) -> torch.Tensor:
        """A model's top items outside the train parts of a block and the one before, row = user id.

        Found once per block and shared by exclusion and replay; the model may know fewer users and items.

        Args:
            model: a frozen model.
            block: the block that has arrived, or the piece of it.
            of_all: whether items of these train parts may be among them.
        """
        sizes = (self.config.per_block(f"{role}_replay_candidates", block.index) for role in ROLES)
        k = max(self.config["exclusion_top_k"], *sizes)

        def make() -> torch.Tensor:
            seen, state = None if of_all else block.recent_train_matrix, self.run_state
            found = top_candidates(model, seen, k, state.workers, state.stop_if_asked)
            return found.to(torch.int32)

        slot = ALL_OF_STUDENT_SIDE if of_all else STUDENT_SIDE
        return self.teacher_lists.store.get(slot, model, block, make)


def meet_mutually(trainers: Sequence[StageTrainer]) -> None:
    """Lets the student, which comes first, and the members replay what the other side knows by now.

    Args:
        trainers: of the student and of the members, which are about to begin.
    """
    student, *members = trainers
    if not student.config["mutual_weight"]:
        return
    student.add(MutualReplay("student", [member.model for member in members]))
    for member in members:
        member.add(MutualReplay("teacher", [student.model]))
