"""Who ranks where: batches of users × items are scored, reduced to ids or ranks, and dropped."""

from recbole_ccd.ranking.ensemble import ensemble_scores
from recbole_ccd.ranking.gumbel import gumbel_top_k, merge_pairs, tanh_top_k, tanh_weights, weighted_top_k
from recbole_ccd.ranking.lists import top_lists
from recbole_ccd.ranking.rank import ranks_of
from recbole_ccd.ranking.topk import ScoreFn, mask_rows, top_k, users_at_a_time
from recbole_ccd.ranking.uninteresting import UninterestingSampler

__all__ = [
    "ScoreFn",
    "UninterestingSampler",
    "gumbel_top_k",
    "ensemble_scores",
    "mask_rows",
    "merge_pairs",
    "ranks_of",
    "tanh_top_k",
    "tanh_weights",
    "top_k",
    "top_lists",
    "users_at_a_time",
    "weighted_top_k",
]
