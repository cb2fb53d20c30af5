"""How well the models of a stream do: full-sort metrics, the matrix R and what it says."""

from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.evaluation.summary import (
    DEFINITIONS,
    backward_transfer,
    definitions,
    forgetting,
    harmonic_mean,
    learning_average,
    retained_average,
    summarise,
)

__all__ = [
    "DEFINITIONS",
    "Comparison",
    "FullSortEvaluator",
    "StreamResult",
    "backward_transfer",
    "definitions",
    "forgetting",
    "harmonic_mean",
    "learning_average",
    "retained_average",
    "summarise",
]
