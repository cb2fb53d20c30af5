"""What a model must not forget while it learns a block: one file per family of terms."""

from recbole_ccd.trainer.retention.base import Retention
from recbole_ccd.trainer.retention.contrastive import ContrastiveRetention
from recbole_ccd.trainer.retention.graphsail import GraphSAILRetention
from recbole_ccd.trainer.retention.make import make_retention
from recbole_ccd.trainer.retention.outputs import OutputRetention, PairRetention

__all__ = [
    "ContrastiveRetention",
    "GraphSAILRetention",
    "OutputRetention",
    "PairRetention",
    "Retention",
    "make_retention",
]
