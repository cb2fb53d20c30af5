"""What strategies that update one student have in common."""

from __future__ import annotations

from typing import ClassVar

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.model.growth import grow
from recbole_ccd.model.scoring import has_factors
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import chosen_scheme
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.utils.errors import ModelError


class ContinualStrategy(Strategy):
    """A student that follows the stream by itself: grown and updated on each block.

    The student of the base block is the one that CCD starts from (``base: distilled``) or a plainly
    trained one (``base: plain``). It learns a block with its own loss under the configured ``regularizer``
    and ``replay``; a subclass may say otherwise (:meth:`learn`).
    """

    replays = True
    regularizes: ClassVar[str | None] = "student"
    needs_inner_product: ClassVar[bool] = False
    """Whether what the strategy adds is about vectors whose inner product is the student's score."""

    def check_models(self, stream: BlockStream) -> None:
        """Refuses models that cannot play their role, and users for whom no negative can be drawn.

        Raises:
            ModelError: If a model lacks what its role needs.
            DataError: If a user has interacted with every known item.
        """
        if self._is_distilled:
            super().check_models(stream)
        else:
            self.check_student(stream)
            self.check_negatives(stream, self.config)

    def check_student(self, stream: BlockStream) -> None:
        """Refuses a student that cannot follow the stream, or not by what the strategy adds.

        Raises:
            ModelError: If the student has no embeddings or cannot be grown, or does not score by an inner
                product where one is needed.
        """
        super().check_student(stream)
        if self.needs_inner_product and not has_factors(self.config.model_class):
            start = f"model: {self.config['model']} does not score by an inner product, which strategy"
            raise ModelError(
                f"{start} {self.name} needs; take LightGCN, BPR, NGCF, SGL or ENMF, or strategy lwc_kd"
            )

    @property
    def _is_distilled(self) -> bool:
        return self.config["base"] == "distilled"

    def train_block(self, block: Block) -> None:
        """The base student on block 0; growth and an update on every other block."""
        if block.index == 0:
            self.student = self.train_base_student(block, self._is_distilled)
            # the teacher has done its part
            self.teacher = None
            self.discard_rankings()
        else:
            self.student = self.update(block)

    def update(self, block: Block) -> GeneralRecommender:
        """The student grown to a block, after it has learned the block and what is replayed."""
        extended, known = self.extended(block, self.config)

        def learn(stage: Stage) -> GeneralRecommender:
            student = grow(self.student, stage.config, known)
            self.learn(stage, student, self.student)
            return student

        return self.stage("student_update", extended, self.config, learn, built_on=known)

    def learn(self, stage: Stage, student: GeneralRecommender, old: GeneralRecommender) -> None:
        """Trains the grown student on the stage's block.

        Args:
            stage: the open stage; gives trainers.
            student: the grown student.
            old: the student of the block before.
        """
        learn_update(stage, student, old, "student")


def learn_update(stage: Stage, model: GeneralRecommender, old: GeneralRecommender, role: str) -> None:
    """A grown model learns the stage's block under the configured regularizers, and what is replayed.

    Args:
        stage: the open stage.
        model: the grown model.
        old: the one of the block before.
        role: ``student`` or ``teacher``.
    """
    trainer, scheme = stage.trainer(model, previous=old), chosen_scheme(stage.config)
    if scheme is not None:
        trainer.add(scheme(role))
    trainer.add(*chosen_regularizers(stage.config, model)).run(stage.config["show_progress"])
