"""Continual Collaborative Distillation (Lee, Kang, Kweon, Yu, KDD 2024), as the paper's algorithm reads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.data.pairs import pairs_matrix
from recbole_ccd.model.growth import rebuild
from recbole_ccd.model.proxy import update_proxy
from recbole_ccd.model.scoring import has_factors
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.seeding import seed_stage
from recbole_ccd.strategy.distilling import DistillingStrategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.trainer.replay import ReplaySource, top_candidates
from recbole_ccd.trainer.student_update import StudentUpdateTrainer
from recbole_ccd.trainer.teacher_update import TeacherUpdateTrainer
from recbole_ccd.trainer.teaching import TeacherKnowledge, teaches_items

ROLES = ("student", "teacher")


class CCD(DistillingStrategy):
    """A large teacher and a compact student that evolve together.

    Base block: train the teacher, distil the student. Then, for each block: distil a new student from
    the teacher of the block before (stage 1), update it on the block with replay from its proxies
    (stage 2), and update the teacher with replay from the student side (stage 3).

    Attributes:
        proxies: the proxies by name, from block 1 on.
    """

    name = "ccd"
    student_cycle = True
    keeps_teacher = True

    def prepare(self) -> None:
        """There are no proxies yet, and no lists."""
        super().prepare()
        self.proxies: dict[str, GeneralRecommender] = {}
        self._lists: list[tuple[GeneralRecommender, Block, torch.Tensor]] = []
        self._reminder: tuple[Block, TeacherKnowledge] | None = None

    def models(self) -> Mapping[str, GeneralRecommender]:
        """Student, proxies and the teacher's members."""
        return {**super().models(), **self.proxies}

    def restore(self, block: Block, states: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """These; a proxy is of the distilled student's size, which is that of the block before."""
        super().restore(block, states)
        self.proxies = {
            name: rebuild(self.config, block.previous, states[name]).requires_grad_(False)
            for name in (self.config["proxies"] if block.index else ())
            if name in states
        }

    def follow(self, block: Block) -> None:
        """Base training and distillation on block 0; the three stages on every other block."""
        if block.index == 0:
            self.student = self.train_base_student(block, distilled=True)
            return
        self.follow_by_student(block)
        self.teacher = self.update_teacher(block)
        self.forget_lists()
        if self.deploys_generated:
            self.student = self.generate_student(block)
            # the lists serve the next block too, beside another student's
            self.knowledge = None

    def follow_by_student(self, block: Block) -> None:
        """Stages 1 and 2: short cycles, several of which may pass before the teacher's long one."""
        if block.index > 1 and not self.deploys_generated:
            self.student = self.generate_student(block.previous)
        # a base student of another strategy, or of before an interruption, was told the same
        self.knowledge = self.knowledge or self.ask_teacher(block.previous)
        self.update_proxies(block)
        distilled, several = self.student, self.config["student_updates_per_block"] > 1
        for number, piece in enumerate(self.pieces(block)):
            # the first piece of a block may have been all of it when it was learned
            self.student = self.update_student(piece, distilled, number if number or several else None)

    def prepare_after(self, block: Block) -> None:
        """The teacher's lists, and stage 1 where that has not been gone through."""
        self.keep_lists(block)
        if block.index and not self.deploys_generated:
            self.generate_student(block)
        self.forget_lists()

    @property
    def deploys_generated(self) -> bool:
        """Whether stage 1 follows the other two at once, and makes the student that is deployed."""
        return self.config["deployed_student"] == "generated"

    def pieces(self, block: Block) -> list[Block]:
        """The parts of a block that the student learns one after the other (short cycle)."""
        return block.parts(self.config["student_updates_per_block"]) if block.index else [block]

    def update_proxies(self, block: Block) -> None:
        """Moves the proxies towards the distilled student, which is each of them at first."""
        if not self.proxies:
            names = self.config["proxies"]
            self.proxies = dict.fromkeys(names, update_proxy(None, self.student, keep=1.0)) if names else {}
            return
        finals = self.config["growth"] == "predictions"
        self.proxies = {
            name: update_proxy(proxy, self.student, self.config.per_block(f"{name}_ema", block.index), finals)
            for name, proxy in self.proxies.items()
        }

    def update_student(
        self, block: Block, distilled: GeneralRecommender, piece: int | None = None
    ) -> GeneralRecommender:
        """Stage 2: the student grows and learns what has arrived, replaying what its proxies remember."""
        reminder = self.remind(block) if self.config["student_update_distill"] else None

        def learn(stage: Stage) -> GeneralRecommender:
            student = self.grow(self.student, stage.config, block)
            trainer = stage.trainer(StudentUpdateTrainer, student)
            trainer.replay_from(
                self._proxies("student", block),
                rank_with=distilled if self.config["replay_rank_student"] == "distilled" else None,
            )
            trainer.without(self.exclusion(block))
            if reminder is not None:
                trainer.remember(reminder)
            trainer.run(self.config["show_progress"])
            return student

        return self.stage("student_update", block, self.config, learn, piece=piece)

    def update_teacher(self, block: Block) -> TeacherEnsemble:
        """Stage 3: every member learns the block, the past of all, and what the student side knows."""
        sources = [*self._proxies("teacher", block), self._source("teacher", "student", self.student, block)]
        reminder = self.remind(block) if self.config["teacher_update_distill"] else None

        def update(stage: Stage, member: GeneralRecommender, old: GeneralRecommender) -> None:
            trainer = stage.trainer(TeacherUpdateTrainer, member).replay_from(sources).retain(frozen=old)
            if reminder is not None and has_factors(type(member)):
                trainer.remember(reminder)
            trainer.run(stage.config["show_progress"])

        return self.update_members(block, update)

    def remind(self, block: Block) -> TeacherKnowledge:
        """What stages 2 and 3 are reminded of: the lists of the teacher before a block.

        They are those that stage 1 was told, or those of the teacher grown to the block. A grown teacher has
        learned nothing, and yet knows the new users and items by their neighbours and, with a cumulative
        graph, what has happened by propagation.

        Args:
            block: the block that has arrived, or the piece of it.
        """
        if self.config["update_distill_teacher"] == "previous":
            return self.knowledge
        if self._reminder is None or self._reminder[0] is not block:
            # before the stages, whose own seeds it must not move
            seed_stage(self.config["seed"], self.config["reproducibility"], "reminder", block.index)
            pairs = zip(self.teacher.members, self.members, strict=True)
            grown = self.ensemble([self.grow(old, config, block) for old, config in pairs], block)
            item_lists = teaches_items(self.config) and self.config["update_distill_users"] == "all"
            top_items, top_users = self.top_lists(grown, block, item_lists)
            excluded = [top_items[:, : self.config["exclusion_top_k"]]]
            known = TeacherKnowledge(
                top_items[:, : self.config["distill_top_k"]],
                top_users,
                excluded=pairs_matrix(excluded, block.n_users, block.n_items),
            )
            self._reminder = block, known
        return self._reminder[1]

    def forget_lists(self) -> None:
        """Lets go of the reminder as well."""
        super().forget_lists()
        self._reminder = None

    def excluded_lists(self, block: Block) -> list[torch.Tensor]:
        """Top items of the proxies and of the current student; the base block comes before all of them."""
        if not block.index or not self.config["exclude_student_items"]:
            return []
        models = [*self.proxies.values(), self.student]
        return [self._top_items(model, block)[:, : self.config["exclusion_top_k"]] for model in models]

    def _proxies(self, role: str, block: Block) -> list[ReplaySource]:
        return [self._source(role, name, proxy, block) for name, proxy in self.proxies.items()]

    def _source(self, role: str, name: str, model: GeneralRecommender, block: Block) -> ReplaySource:
        n_candidates = self.config.per_block(f"{role}_replay_candidates", block.index)
        n_draws = list_length(self.config.per_block(f"{role}_replay_{name}", block.index), block.n_items)
        if not n_draws:
            return ReplaySource(name, model, 0)
        return ReplaySource(name, model, n_draws, self._top_items(model, block)[:, :n_candidates])

    def _top_items(self, model: GeneralRecommender, block: Block) -> torch.Tensor:
        """A model's top items outside the train parts of a block and the one before, row = user id.

        Found once per block and shared by exclusion and replay; the model may know fewer users and items.
        """
        self._lists = [entry for entry in self._lists if entry[1] is block]
        for known, _, lists in self._lists:
            if known is model:
                return lists
        sizes = (self.config.per_block(f"{role}_replay_candidates", block.index) for role in ROLES)
        k = max(self.config["exclusion_top_k"], *sizes)
        lists = top_candidates(model, block.recent_train_matrix, k).to(torch.int32)
        self._lists.append((model, block, lists))
        return lists
