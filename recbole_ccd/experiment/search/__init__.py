"""Hyper-parameter search: RecBole's file of a space, trials over the stream, and the best of them."""

from recbole_ccd.experiment.search.outcome import SearchResult, TrialOutcome
from recbole_ccd.experiment.search.space import ALGORITHMS, Dimension, Space, read_space

__all__ = ["ALGORITHMS", "Dimension", "SearchResult", "Space", "TrialOutcome", "read_space"]
