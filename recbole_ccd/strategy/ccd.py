"""Continual Collaborative Distillation (Lee, Kang, Kweon, Yu, KDD 2024), as the paper's algorithm reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix

from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.data.pairs import pairs_matrix
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.errors import ModelError
from recbole_ccd.model.growth import build, check_growable, grow
from recbole_ccd.model.initialization import embedding_tables
from recbole_ccd.model.proxy import update_proxy
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.ranking.topk import top_lists, users_at_a_time
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.trainer.base import StageTrainer
from recbole_ccd.trainer.distillation import DistillationTrainer, TeacherKnowledge
from recbole_ccd.trainer.replay import ReplaySource, top_candidates
from recbole_ccd.trainer.student_update import StudentUpdateTrainer
from recbole_ccd.trainer.teacher_update import TeacherUpdateTrainer

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.state import RunDirectory


ROLES = ("student", "teacher")


class CCD(Strategy):
    """A large teacher and a compact student that evolve together.

    Base block: train the teacher, distil the student. Then, for each block: distil a fresh student from
    the teacher of the block before (stage 1), update it on the block with replay from its proxies
    (stage 2), and update the teacher with replay from the student side (stage 3).
    """

    name = "ccd"

    def __init__(self, config: CCDConfig, run_directory: RunDirectory | None = None) -> None:
        """See :class:`~recbole_ccd.strategy.base.Strategy`."""
        super().__init__(config, run_directory)
        self.members = [config.for_member(m) for m in range(len(config["teacher_models"]))]
        self.stability: GeneralRecommender | None = None
        self.plasticity: GeneralRecommender | None = None
        self._lists: list[tuple[GeneralRecommender, Block, torch.Tensor]] = []

    def check(self, stream: BlockStream) -> None:
        """Refuses models that cannot play their role, and users for whom no negative can be drawn.

        Raises:
            ModelError: the student has no user and item embeddings, or a model cannot be grown.
            DataError: a user has interacted with every known item.
        """
        check_growable(self.config, "student")
        for config in self.members:
            check_growable(config, "teacher")
        student = build(self.config, stream[0])
        if not embedding_tables(student, stream[0].n_users, stream[0].n_items):
            raise ModelError(
                f"model: {self.config['model']} has no user and item embeddings, which the student needs; "
                "take LightGCN, BPR, NGCF, SGL, NeuMF or ENMF (it can be a member of the teacher)"
            )
        if all(learns_from_rows(config) for config in (self.config, *self.members)):
            return
        for block in stream:
            for piece in block.parts(self.config["student_updates_per_block"]) if block.index else [block]:
                piece.check_negatives()

    def models(self) -> Mapping[str, GeneralRecommender]:
        """Student, proxies and the teacher's members."""
        proxies = {"stability": self.stability, "plasticity": self.plasticity}
        members = {f"teacher-{m}": member for m, member in enumerate(self.teacher.members)}
        return {"student": self.student, **{n: p for n, p in proxies.items() if p is not None}, **members}

    def follow(self, block: Block) -> None:
        """Base training and distillation on block 0; the three stages on every other block."""
        if block.index == 0:
            self.teacher = self.train_base_teacher(block)
            self.student = self.generate_student(block)
            return
        if block.index > 1:
            self.student = self.generate_student(block.previous)
        self.update_proxies(block)
        pieces = block.parts(self.config["student_updates_per_block"])
        distilled = self.student
        for number, piece in enumerate(pieces):
            self.student = self.update_student(piece, distilled, number if len(pieces) > 1 else None)
        self.teacher = self.update_teacher(block)

    def update_proxies(self, block: Block) -> None:
        """Moves the proxies towards the distilled student, which is both of them at first."""
        keep = self.config.per_block
        if self.stability is None:
            self.stability = self.plasticity = update_proxy(None, self.student, keep=1.0)
            return
        self.stability = update_proxy(self.stability, self.student, keep("stability_ema", block.index))
        self.plasticity = update_proxy(self.plasticity, self.student, keep("plasticity_ema", block.index))

    def train_base_teacher(self, block: Block) -> TeacherEnsemble:
        """Trains every member on the base block with its own loss."""
        members = []
        for m, config in enumerate(self.members):
            with self.stage("base", block, config, member=m) as stage:
                member = build(stage.config, block)
                stage.trainer(StageTrainer, member).run(self.config["show_progress"])
                members.append(member)
        return self._ensemble(members, block)

    def generate_student(self, block: Block) -> GeneralRecommender:
        """Stage 1: a fresh student learns from the block and from the teacher's rankings."""
        with self.stage("student_generation", block, self.config) as stage:
            student = build(stage.config, block)
            trainer = stage.trainer(DistillationTrainer, student).learn_from(self.ask_teacher(block))
            trainer.run(self.config["show_progress"])
        return student

    def update_student(
        self, block: Block, distilled: GeneralRecommender, piece: int | None = None
    ) -> GeneralRecommender:
        """Stage 2: the student grows and learns what has arrived, replaying what its proxies remember."""
        with self.stage("student_update", block, self.config, piece=piece) as stage:
            student = grow(self.student, stage.config, block, self._initialize)
            trainer = stage.trainer(StudentUpdateTrainer, student)
            trainer.replay_from(
                self._proxies("student", block),
                rank_with=distilled if self.config["replay_rank_student"] == "distilled" else None,
            )
            trainer.without(self._exclusion(block))
            trainer.run(self.config["show_progress"])
        return student

    def update_teacher(self, block: Block) -> TeacherEnsemble:
        """Stage 3: every member grows and learns the block, its past and the student side's knowledge."""
        sources = [*self._proxies("teacher", block), self._source("teacher", "student", self.student, block)]
        members = []
        for m, (config, old) in enumerate(zip(self.members, self.teacher.members, strict=True)):
            with self.stage("teacher_update", block, config, member=m) as stage:
                member = grow(old, stage.config, block, self._initialize)
                trainer = stage.trainer(TeacherUpdateTrainer, member).replay_from(sources).retain(frozen=old)
                trainer.run(self.config["show_progress"])
                members.append(member)
        return self._ensemble(members, block)

    def ask_teacher(self, block: Block) -> TeacherKnowledge:
        """The teacher's top lists for a block, and what is neither negative nor uninteresting there."""
        k, n_excluded = self.config["distill_top_k"], self.config["exclusion_top_k"]
        self.teacher.eval()
        users = torch.arange(block.n_users, device=self.config["device"])
        top_items, top_users = top_lists(
            lambda batch: score_rows(self.teacher, batch).clone(),
            users,
            block.n_items,
            max(k, n_excluded),
            k,
            block.train_matrix,
            users_at_a_time(block.n_items),
        )
        self.teacher.eval()  # drops what its members cached for scoring
        self._teacher_top = top_items[:, :n_excluded]
        return TeacherKnowledge(top_items[:, :k], top_users, excluded=self._exclusion(block))

    @property
    def _initialize(self) -> bool:
        return self.config["new_entity_initialization"] != "random"

    def _ensemble(self, members: list[GeneralRecommender], block: Block) -> TeacherEnsemble:
        return TeacherEnsemble(self.config, block.train, members).to(self.config["device"])

    def _proxies(self, role: str, block: Block) -> list[ReplaySource]:
        proxies = {"stability": self.stability, "plasticity": self.plasticity}
        return [self._source(role, name, proxy, block) for name, proxy in proxies.items()]

    def _source(self, role: str, name: str, model: GeneralRecommender, block: Block) -> ReplaySource:
        n_candidates = self.config.per_block(f"{role}_replay_candidates", block.index)
        n_draws = self.config.per_block(f"{role}_replay_{name}", block.index)
        return ReplaySource(name, model, n_draws, self._top_items(model, block)[:, :n_candidates])

    def _exclusion(self, block: Block) -> csr_matrix:
        """Top items of the teacher, as stage 1 was told them, of the proxies and of the current student."""
        models = [model for model in (self.stability, self.plasticity, self.student) if model is not None]
        n_excluded = self.config["exclusion_top_k"]
        lists = [self._teacher_top, *(self._top_items(model, block)[:, :n_excluded] for model in models)]
        return pairs_matrix(lists, block.n_users, block.n_items)

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
