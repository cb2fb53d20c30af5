"""Made-up results with chosen values of H."""

from typing import Any

from torch import nn

from recbole_ccd.evaluation import StreamResult
from recbole_ccd.evaluation.stage_record import stage_record


class TinyConfig(dict):
    primary_metric = "recall@20"

    def metric_names(self) -> list[str]:
        return ["ndcg@20", "recall@20"]

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


def make_run(strategy="ccd", seed=1, levels=(0.2, 0.2), teacher=None, known=10, **keys) -> StreamResult:
    """A finished run whose R[i][j] is ``levels[i]``, NDCG half of it; the teacher likewise.

    With levels (a, b) R is [[a], [b, b]], so that LA_1 = (a + b)/2, RA_1 = b, BWT = b - a and forgetting
    max(a - b, 0). ``tomorrow`` is the student's next; a random order finds 0.01. ``memory`` is of stages.
    """
    tomorrow, memory = keys.pop("tomorrow", ()), keys.pop("memory", None)
    config = TinyConfig(
        dataset=keys.pop("dataset", "tiny"), model="BPR", strategy=strategy, seed=seed, **keys
    )
    result = StreamResult(
        config, len(levels), [{"users": known + k, "items": 20} for k in range(len(levels))]
    )
    for role, values in (("student", levels), ("teacher", teacher)):
        for k, value in enumerate(values or ()):
            result.add_row(role, k, [{"recall@20": value, "ndcg@20": value / 2}] * (k + 1))
    for k, value in enumerate(tomorrow):
        result.add_next("student", k, {"recall@20": value, "ndcg@20": value / 2})
        result.add_next("random", k, {"recall@20": 0.01, "ndcg@20": 0.005})
        result.add_unserved(k, {"users": 0.1 * (k + 1), "items": 0.25, "interactions": 0.3})
    for k in range(len(levels)):
        result.stages.append(
            stage_record(k, "student_update" if k else "base", None, 1, 2.0 + seed + k, rss_mb=memory)
        )
    result.set_size("student", nn.Linear(3, 2))
    return result


def runs(strategy, levels, first=1, **keys):
    """Runs with seeds first, first + 1, …, one per entry of ``levels``."""
    return [make_run(strategy, first + n, entry, **keys) for n, entry in enumerate(levels)]
