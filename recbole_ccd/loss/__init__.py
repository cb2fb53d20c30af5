"""Losses as pure functions of tensors; nothing here knows a model, a data set or a trainer."""

from recbole_ccd.loss.collaborative import best_places, collaborative_loss, in_order_of, places_in
from recbole_ccd.loss.comparative import mean_squared_difference, most_listed
from recbole_ccd.loss.correlation import correlation_loss, row_correlation, soft_ranks
from recbole_ccd.loss.dcd import too_low
from recbole_ccd.loss.ewc import anchored_penalty, squared_gradients
from recbole_ccd.loss.graphsail import (
    global_structure_loss,
    local_structure_loss,
    self_embedding_loss,
    share_of_past,
)
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.logits import logit_distance
from recbole_ccd.loss.lwc_kd import contrastive_terms
from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.loss.pisa import info_nce, interest_shift, interests
from recbole_ccd.loss.piw import ImitationWeight, cluster_loss, interest_assignment, soft_assignment
from recbole_ccd.loss.ranking_distillation import estimated_ranks, ranking_distillation, ranking_weights
from recbole_ccd.loss.rce import closing_weights, share_of_teacher, teacher_items_below
from recbole_ccd.loss.replay import adaptive_weight, annealed, replay_loss
from recbole_ccd.loss.soft_targets import listed_scores, place_scores, soft_target_kl, top_one_cross_entropy
from recbole_ccd.loss.speculative import finished_lists, verified
from recbole_ccd.loss.unkd import pair_loss, popularity_groups
from recbole_ccd.loss.windowed import Windows, windowed_ranking_loss

__all__ = [
    "ImitationWeight",
    "Windows",
    "adaptive_weight",
    "anchored_penalty",
    "annealed",
    "best_places",
    "closing_weights",
    "cluster_loss",
    "collaborative_loss",
    "contrastive_terms",
    "correlation_loss",
    "estimated_ranks",
    "finished_lists",
    "global_structure_loss",
    "in_order_of",
    "info_nce",
    "interest_assignment",
    "interest_shift",
    "interests",
    "list_wise_loss",
    "listed_scores",
    "local_structure_loss",
    "logit_distance",
    "masked_log_sum_exp",
    "mean_squared_difference",
    "most_listed",
    "output_kl",
    "pair_loss",
    "pairwise_kl",
    "place_scores",
    "places_in",
    "popularity_groups",
    "ranking_distillation",
    "ranking_weights",
    "replay_loss",
    "row_correlation",
    "self_embedding_loss",
    "share_of_past",
    "share_of_teacher",
    "soft_assignment",
    "soft_ranks",
    "soft_target_kl",
    "squared_gradients",
    "teacher_items_below",
    "too_low",
    "top_one_cross_entropy",
    "verified",
    "windowed_ranking_loss",
]
