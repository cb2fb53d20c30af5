"""Go on training on each block."""

from __future__ import annotations

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.strategy.continual import ContinualStrategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.trainer.student_update import PlainUpdateTrainer


class FineTune(ContinualStrategy):
    """The student learns each block with its own loss and nothing against forgetting."""

    name = "fine_tune"

    def learn(self, stage: Stage, student: GeneralRecommender, old: GeneralRecommender) -> None:
        """Plain training on the block."""
        stage.trainer(PlainUpdateTrainer, student).run(self.config["show_progress"])
