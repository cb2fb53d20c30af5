"""Losses as pure functions of tensors; nothing here knows a model, a data set or a trainer."""

from recbole_ccd.loss.collaborative import best_places, collaborative_loss, places_in
from recbole_ccd.loss.ewc import anchored_penalty, squared_gradients
from recbole_ccd.loss.graphsail import (
    global_structure_loss,
    local_structure_loss,
    self_embedding_loss,
    share_of_past,
)
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.lwc_kd import contrastive_terms
from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.loss.pisa import info_nce, interest_shift, interests
from recbole_ccd.loss.piw import ImitationWeight, cluster_loss, interest_assignment, soft_assignment
from recbole_ccd.loss.ranking_distillation import estimated_ranks, ranking_distillation, ranking_weights
from recbole_ccd.loss.replay import adaptive_weight, annealed, replay_loss
from recbole_ccd.loss.soft_targets import place_scores, soft_target_kl, top_one_cross_entropy
from recbole_ccd.loss.windowed import Windows, windowed_ranking_loss

__all__ = [
    "ImitationWeight",
    "Windows",
    "adaptive_weight",
    "anchored_penalty",
    "annealed",
    "best_places",
    "cluster_loss",
    "collaborative_loss",
    "contrastive_terms",
    "estimated_ranks",
    "global_structure_loss",
    "info_nce",
    "interest_assignment",
    "interest_shift",
    "interests",
    "list_wise_loss",
    "local_structure_loss",
    "masked_log_sum_exp",
    "output_kl",
    "pairwise_kl",
    "place_scores",
    "places_in",
    "ranking_distillation",
    "ranking_weights",
    "replay_loss",
    "self_embedding_loss",
    "share_of_past",
    "soft_assignment",
    "soft_target_kl",
    "squared_gradients",
    "top_one_cross_entropy",
    "windowed_ranking_loss",
]
