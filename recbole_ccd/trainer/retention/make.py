"""Which terms hold which model near its past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.model.scoring import has_factors, is_autoencoder
from recbole_ccd.trainer.retention.base import Retention
from recbole_ccd.trainer.retention.contrastive import ContrastiveRetention
from recbole_ccd.trainer.retention.outputs import OutputRetention, PairRetention

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def make_retention(
    config: CCDConfig,
    block: Block,
    frozen: GeneralRecommender,
    live: GeneralRecommender,
    seed: int,
    kind: type[Retention] | None = None,
) -> Retention | None:
    """The terms that hold a model near its past.

    Args:
        config: the model's configuration.
        block: the block being learned; not the base block.
        frozen: the model before the block, of the earlier prefix.
        live: the grown model in training.
        seed: seed of what is initialised or drawn for the terms.
        kind: the terms; default LWC-KD with PIW, or the divergence of outputs for models without factors.

    Returns:
        The terms, or None where all their weights are zero: nothing is prepared or computed then.
    """
    if kind is None:
        kind = _fitting(live)
    return kind(config, block, frozen, live, seed) if kind.is_wanted(config) else None


def _fitting(model: GeneralRecommender) -> type[Retention]:
    if is_autoencoder(model):
        return OutputRetention
    return ContrastiveRetention if has_factors(type(model)) else PairRetention
