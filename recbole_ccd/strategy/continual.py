"""What strategies that update one student have in common."""

from __future__ import annotations

from abc import abstractmethod

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.errors import ModelError
from recbole_ccd.model.scoring import has_factors
from recbole_ccd.strategy.distilling import DistillingStrategy
from recbole_ccd.strategy.stage import Stage


class ContinualStrategy(DistillingStrategy):
    """A student that follows the stream by itself: grown and updated on each block.

    The student of the base block is the one that CCD starts from (``base: distilled``) or a plainly
    trained one (``base: plain``). A subclass says how a grown student learns a block (:meth:`learn`).
    """

    def check_models(self, stream: BlockStream) -> None:
        """Refuses models that cannot play their role, and users for whom no negative can be drawn.

        Raises:
            ModelError: a model lacks what its role needs.
            DataError: a user has interacted with every known item.
        """
        if self._is_taught:
            super().check_models(stream)
        else:
            self.check_student(stream)
            self.check_negatives(stream, self.config)

    def check_inner_product(self, other: str) -> None:
        """Refuses a student that does not score by an inner product, where the terms are about one.

        Args:
            other: a strategy for such a student.

        Raises:
            ModelError: it is one.
        """
        if not has_factors(self.config.model_class):
            start = f"model: {self.config['model']} does not score by an inner product, which strategy"
            raise ModelError(
                f"{start} {self.name} needs; take LightGCN, BPR, NGCF, SGL or ENMF, or strategy {other}"
            )

    @property
    def _is_taught(self) -> bool:
        return self.config["base"] == "distilled"

    def follow(self, block: Block) -> None:
        """The base student on block 0; growth and an update on every other block."""
        if block.index == 0:
            self.student = self.train_base_student(block, self._is_taught)
            # the teacher has done its part
            self.teacher = None
            self.forget_lists()
        else:
            self.student = self.update(block)

    def update(self, block: Block) -> GeneralRecommender:
        """The student grown to a block, after it has learned the block."""

        def learn(stage: Stage) -> GeneralRecommender:
            student = self.grow(self.student, stage.config, block)
            self.learn(stage, student, self.student)
            return student

        return self.stage("student_update", block, self.config, learn)

    @abstractmethod
    def learn(self, stage: Stage, student: GeneralRecommender, old: GeneralRecommender) -> None:
        """Trains the grown student on the stage's block.

        Args:
            stage: the open stage; gives trainers.
            student: the grown student.
            old: the student of the block before.
        """
