"""Who does what can be done at the same time: this process, task by task, or the workers of a Ray cluster."""

from recbole_ccd.utils.parallel.choice import workers_of
from recbole_ccd.utils.parallel.workers import Sequential, Workers

__all__ = ["Sequential", "Workers", "workers_of"]
