"""Continual learning of a single model that keeps more of the past of some users than of others."""

from __future__ import annotations

from recbole_ccd.data.stream import BlockStream
from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("piw")
class PIW(ContinualStrategy):
    """LWC-KD with personalised imitation weights (Wang et al., AAAI 2023): ``lwc_kd`` with ``piw``."""

    def check_student(self, stream: BlockStream) -> None:
        """Refuses students that only their scores would keep near the past, where there is nothing to weigh.

        Raises:
            ModelError: If the student has no embeddings, cannot be grown, or does not score by an inner
                product.
        """
        super().check_student(stream)
        self.check_inner_product("lwc_kd")
