"""Continual learning of a single model that keeps the structure of its graph."""

from __future__ import annotations

from recbole_ccd.data.stream import BlockStream
from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("graphsail")
class GraphSAIL(ContinualStrategy):
    """GraphSAIL (Xu et al., CIKM 2020): local and global structure and the embeddings stay near the past."""

    def check_student(self, stream: BlockStream) -> None:
        """Refuses students that do not score by an inner product, which the terms are about.

        Raises:
            ModelError: If the student has no embeddings, cannot be grown, or scores in another way.
        """
        super().check_student(stream)
        self.check_inner_product("lwc_kd")
