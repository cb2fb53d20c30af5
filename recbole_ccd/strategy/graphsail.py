"""Continual learning of a single model that keeps the structure of its graph."""

from __future__ import annotations

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.stream import BlockStream
from recbole_ccd.strategy.continual import ContinualStrategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.trainer.retention import GraphSAILRetention
from recbole_ccd.trainer.student_update import RetainingStudentTrainer


class GraphSAIL(ContinualStrategy):
    """GraphSAIL (Xu et al., CIKM 2020): local and global structure and the embeddings stay near the past."""

    name = "graphsail"

    def check_student(self, stream: BlockStream) -> None:
        """Refuses students that do not score by an inner product, which the terms are about.

        Raises:
            ModelError: the student has no embeddings, cannot be grown, or scores in another way.
        """
        super().check_student(stream)
        self.check_inner_product("lwc_kd")

    def learn(self, stage: Stage, student: GeneralRecommender, old: GeneralRecommender) -> None:
        """Training on the block under the terms."""
        trainer = stage.trainer(RetainingStudentTrainer, student)
        trainer.retain(frozen=old, kind=GraphSAILRetention).run(self.config["show_progress"])
