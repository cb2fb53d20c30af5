"""Train on the base block, then freeze."""

from __future__ import annotations

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy
from recbole_ccd.strategy.stage import Stage


@register("static")
class Static(ContinualStrategy):
    """The base student for ever; it grows, so that it can be asked about new users and items.

    What a graph model predicts changes with its graph (``graph``) all the same, unless ``growth:
    predictions`` keeps that.
    """

    replays = False
    regularizes = None

    def learn(self, stage: Stage, student: GeneralRecommender, old: GeneralRecommender) -> None:
        """Trains nothing: the student only grows."""
        student.eval()
