"""Losses as pure functions of tensors; nothing here knows a model, a data set or a trainer."""

from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.lwc_kd import contrastive_loss, contrastive_terms
from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.loss.piw import ImitationWeight, cluster_loss, soft_assignment
from recbole_ccd.loss.replay import annealed, replay_loss
from recbole_ccd.loss.windowed import Windows, windowed_ranking_loss

__all__ = [
    "ImitationWeight",
    "Windows",
    "annealed",
    "cluster_loss",
    "contrastive_loss",
    "contrastive_terms",
    "list_wise_loss",
    "masked_log_sum_exp",
    "output_kl",
    "pairwise_kl",
    "replay_loss",
    "soft_assignment",
    "windowed_ranking_loss",
]
