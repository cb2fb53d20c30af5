"""A model twice: what is learned is copied, what is constant is shared."""

from __future__ import annotations

import copy

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.model.scoring import clear_cache


def duplicate(model: GeneralRecommender) -> GeneralRecommender:
    """A second model with weights of its own.

    Args:
        model: any RecBole general recommender; what it has cached for scoring is dropped.

    Returns:
        A model of the same weights, in the same mode. Graphs and other constants are the first one's.
    """
    clear_cache(model)
    # torch cannot copy a CSR tensor
    constants = {id(value): value for name, value in vars(model).items() if not name.startswith("_")}
    return copy.deepcopy(model, constants)
