"""Continual learning of a single model that keeps the structure of its graph."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("graphsail")
class GraphSAIL(ContinualStrategy):
    """GraphSAIL (Xu et al., CIKM 2020): local and global structure and the embeddings stay near the past."""

    needs_inner_product = True
