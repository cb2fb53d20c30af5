"""Continual learning of a single model that keeps near what was near."""

from __future__ import annotations

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.strategy.continual import ContinualStrategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.trainer.student_update import RetainingStudentTrainer


class LWCKD(ContinualStrategy):
    """LWC-KD (Wang et al., CIKM 2021): contrastive terms of the student's layers with its own past.

    A student without such layers holds on to its scores of past interactions instead.
    """

    name = "lwc_kd"

    def learn(self, stage: Stage, student: GeneralRecommender, old: GeneralRecommender) -> None:
        """Training on the block under the terms."""
        stage.trainer(RetainingStudentTrainer, student).retain(frozen=old).run(self.config["show_progress"])
