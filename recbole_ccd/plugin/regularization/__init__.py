"""Regularizers: loss terms that keep a model near what it was before the block."""

from recbole_ccd.plugin.regularization.base import Regularizer, check_regularizers, chosen_regularizers
from recbole_ccd.plugin.regularization.ewc import EWCRegularizer
from recbole_ccd.plugin.regularization.graphsail import GraphSAILRegularizer
from recbole_ccd.plugin.regularization.lwc_kd_piw import LWCKDRegularizer
from recbole_ccd.plugin.regularization.output_kl import OutputKLRegularizer, PairKLRegularizer
from recbole_ccd.plugin.regularization.pisa import PISARegularizer

__all__ = [
    "EWCRegularizer",
    "GraphSAILRegularizer",
    "LWCKDRegularizer",
    "OutputKLRegularizer",
    "PISARegularizer",
    "PairKLRegularizer",
    "Regularizer",
    "check_regularizers",
    "chosen_regularizers",
]
