"""Continual learning of a single model that follows the users who move and holds on to the others."""

from __future__ import annotations

from recbole_ccd.data.stream import BlockStream
from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("pisa")
class PISA(ContinualStrategy):
    """PISA (Yoo, Kang et al., SIGIR 2025): plasticity for users who move, stability for those who do not."""

    def check_student(self, stream: BlockStream) -> None:
        """Refuses students that do not score by an inner product, whose vectors the terms are about.

        Raises:
            ModelError: If the student has no embeddings, cannot be grown, or scores in another way.
        """
        super().check_student(stream)
        self.check_inner_product("lwc_kd")
