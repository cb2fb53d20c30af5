"""How a RecBole model scores, in the three forms the stages need: factors, rows and pairs.

Most general recommenders score by an inner product; for them a batch of rows is one matrix product
and a list of pairs a few dot products, without the model's own per-call overhead. The others fall
back on ``full_sort_predict`` and ``predict``.
"""

from __future__ import annotations

from functools import partial

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from recbole.model.general_recommender import BPR, CDAE, DMF, ENMF, NGCF, SGL, LightGCN, NeuMF
from recbole.utils import ModelType
from torch import Tensor

from recbole_ccd.data.block import reads_graph
from recbole_ccd.model.lightgcn import LightGCN as CSRLightGCN
from recbole_ccd.ranking.tiles import InnerProducts, is_large
from recbole_ccd.ranking.topk import ScoreFn

# pairs scored in one go where a model can only score pairs
PAIR_BATCH = 1 << 18


def is_autoencoder(model: GeneralRecommender) -> bool:
    """Whether the model reads users' rows of interactions (RecBole's ``AutoEncoderMixin``)."""
    return isinstance(model, AutoEncoderMixin)


def factors(model: GeneralRecommender, layer: str = "final") -> tuple[Tensor, Tensor] | None:
    """User and item vectors whose inner product is the model's score.

    Args:
        model: any RecBole general recommender.
        layer: ``final``, or ``ego`` for the parameters before any propagation.

    Returns:
        Differentiable tensors of shape ``(n_users, dim)`` and ``(n_items, dim)``, or None when the model
        does not score by an inner product.
    """
    if isinstance(model, BPR) or (layer == "ego" and isinstance(model, LightGCN | SGL | NGCF)):
        return model.user_embedding.weight, model.item_embedding.weight
    if isinstance(model, LightGCN | NGCF):
        return model()
    if isinstance(model, SGL):
        return model(model.train_graph)
    if isinstance(model, ENMF):
        return model.user_embedding.weight * model.H_i.weight, model.item_embedding.weight
    return None


def required_factors(model: GeneralRecommender, layer: str = "final") -> tuple[Tensor, Tensor]:
    """The :func:`factors` of a model that :func:`has_factors`.

    Args:
        model: the model.
        layer: as :func:`factors` has it.

    Raises:
        ValueError: the model does not score by an inner product.
    """
    found = factors(model, layer)
    if found is None:
        raise ValueError(f"{type(model).__name__} does not score by an inner product")
    return found


def has_factors(model_class: type[GeneralRecommender]) -> bool:
    """Whether models of this class score by an inner product :func:`factors` knows."""
    return issubclass(model_class, BPR | LightGCN | NGCF | SGL | ENMF)


def clear_cache(model: GeneralRecommender) -> None:
    """Drops what the model cached for prediction; needed whenever its weights changed.

    RecBole's graph models and DMF keep such tensors under ``other_parameter_name``; for its
    traditional models these are what was fitted, and stay.
    """
    # of the class: SGL keeps a setting of its own under the same name
    if type(model).type == ModelType.GENERAL:
        for name in getattr(model, "other_parameter_name", []):
            setattr(model, name, None)


def score_rows(model: GeneralRecommender, users: Tensor) -> Tensor:
    """Scores of all items for some users.

    Without gradients, graph models propagate once and answer from their cache until
    :func:`clear_cache` or a change of mode.

    Args:
        model: any RecBole general recommender.
        users: ids, shape ``(B,)``.

    Returns:
        Shape ``(B, n_items)``, the [PAD] column included. The receiver may
        overwrite it: it is no tensor that the model keeps.
    """
    if isinstance(model, BPR | ENMF) or (torch.is_grad_enabled() and has_factors(type(model))):
        user_vectors, item_vectors = required_factors(model)
        return user_vectors[users] @ item_vectors.T
    if not scores_pairs_only(model):
        scores = model.full_sort_predict(Interaction({model.USER_ID: users})).view(len(users), model.n_items)
        return scores if has_factors(type(model)) else scores.clone()
    step = max(PAIR_BATCH // model.n_items, 1)
    return torch.cat([_rows_by_pairs(model, part) for part in users.split(step)])


def row_logits(model: GeneralRecommender, users: Tensor) -> Tensor:
    """The :func:`score_rows` of which a softmax is a distribution over items.

    Args:
        model: any RecBole general recommender.
        users: ids, shape ``(B,)``.
    """
    if isinstance(model, CDAE):
        # its scores have been through a sigmoid, after which a softmax tells no item from another
        return model(model.get_rating_matrix(users), users)
    return score_rows(model, users)


def scores_pairs_only(model: GeneralRecommender) -> bool:
    """Whether the model has no way of its own to score all items at once, as NeuMF."""
    return type(model).full_sort_predict is GeneralRecommender.full_sort_predict


def _rows_by_pairs(model: GeneralRecommender, users: Tensor) -> Tensor:
    items = torch.arange(model.n_items, device=users.device)
    scores = score_pairs(model, users.repeat_interleave(model.n_items), items.repeat(len(users)))
    return scores.view(len(users), model.n_items)


def score_pairs(model: GeneralRecommender, users: Tensor, items: Tensor) -> Tensor:
    """Scores of given pairs, before any final sigmoid where the model has one.

    Args:
        model: any RecBole general recommender.
        users: ids, shape ``(P,)``.
        items: ids, shape ``(P,)``.

    Returns:
        Shape ``(P,)``, differentiable.
    """
    if isinstance(model, CSRLightGCN):
        user_vectors, item_vectors = model.rows(users, items)[0]
        return (user_vectors * item_vectors).sum(dim=1)
    vectors = factors(model)
    if vectors is not None:
        return (vectors[0][users] * vectors[1][items]).sum(dim=1)
    if isinstance(model, NeuMF | DMF):
        return model(users, items)
    return model.predict(Interaction({model.USER_ID: users, model.ITEM_ID: items}))


def row_scorer(model: GeneralRecommender) -> ScoreFn:
    """The :func:`score_rows` of a model as a function of users alone.

    Args:
        model: a model in eval mode; the vectors of a graph model are cached now, until :func:`clear_cache` or
            a change of mode.

    Returns:
        For a large catalogue and a model that scores by an inner product :class:`InnerProducts`.
    """
    if not (has_factors(type(model)) and is_large(model.n_items, model.device)):
        return partial(score_rows, model)
    with torch.no_grad():
        if reads_graph(type(model)):
            # as for whole rows, propagated once
            score_rows(model, torch.zeros(1, dtype=torch.int64, device=model.device))
            return InnerProducts(model.restore_user_e, model.restore_item_e)
        return InnerProducts(*required_factors(model))
