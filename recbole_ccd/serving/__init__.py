"""A trained model at work: recommendations, new users, and tables for a vector index."""

from recbole_ccd.serving.export import export_vectors
from recbole_ccd.serving.loading import load_student
from recbole_ccd.serving.recommender import Recommender

__all__ = ["Recommender", "export_vectors", "load_student"]
