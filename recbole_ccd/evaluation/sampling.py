"""Standard errors of what is measured on a sample of users (``eval_users``).

The users of a block are a simple random sample without replacement out of all that it would be measured on. A
metric is a mean over them, whose standard error is ``s / sqrt(n) * sqrt(1 - n / N)`` (Cochran, "Sampling
Techniques", 3rd ed. 1977, section 2.6), 0 where nobody is left out.

Blocks are sampled independently of each other, while one block's users are the same at any moment. So the
errors of different blocks add up as squares, and those of one block in full, which is exact where a quantity
reads one value of each block (LA, RA, next), and too large rather than too small where it reads two (H, BWT,
forgetting, FWT).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.collector import DataStruct

from recbole_ccd.evaluation.summary import Matrix, summarise

Error = float | None
Errors = Sequence[Sequence[Error]]


class Measurement(dict[str, float]):
    """Metrics by name.

    Attributes:
        errors: the standard error of each, None where one user tells none; empty where all were measured.
    """

    def __init__(
        self,
        metrics: Mapping[str, float] | Iterable[tuple[str, float]],
        errors: Mapping[str, Error] | None = None,
    ) -> None:
        """Metrics of all users, or with the errors of a sample's.

        Args:
            metrics: by name.
            errors: by name.
        """
        super().__init__(metrics)
        self.errors = dict(errors or {})


def sampled_line(eval_users: int | None) -> str:
    """What every table says of a sample; nothing where all users were measured."""
    if eval_users is None:
        return ""
    return (
        f"a sample: {eval_users} users drawn of each block, all where it has no more (eval_users); "
        "±: standard error of the sample, at most"
    )


def standard_errors(evaluator: Evaluator, struct: DataStruct, population: int) -> dict[str, Error]:
    """The standard error of each metric of a sample of users.

    Args:
        evaluator: whose metrics; those that are no means over users are left out.
        struct: what was collected of the sample.
        population: the users it was drawn from.
    """
    errors: dict[str, Error] = {}
    for name, metric in evaluator.metric_class.items():
        if isinstance(metric, TopkMetric):
            n_read = len(inspect.signature(metric.metric_info).parameters)
            values = metric.metric_info(*metric.used_info(struct)[:n_read])
            for k in metric.topk:
                error = _of_mean(values[:, k - 1], population)
                errors[f"{name}@{k}"] = None if error is None else round(error, metric.decimal_place)
    return errors


def _of_mean(values: np.ndarray, population: int) -> Error:
    n = len(values)
    if n >= population:
        return 0.0
    return float(values.std(ddof=1)) * math.sqrt((1 - n / population) / n) if n > 1 else None


def summary_errors(
    R: Matrix, errors: Errors, include_base: bool = True, include_current: bool = False
) -> dict[str, Any]:
    """Standard errors of all that :func:`~recbole_ccd.evaluation.summary.summarise` gives, in its form.

    Args:
        R: lower-triangular matrix of K + 1 rows.
        errors: of its entries.
        include_base: as there.
        include_current: as there.
    """
    found = summarise(R, include_base, include_current)
    first, last = int(not include_base), len(R) - 1
    la, ra, h = [], [], []
    for k in range(len(R)):
        of_la = _mean_of([(i, i) for i in range(first, k + 1)])
        of_ra = _mean_of([(k, j) for j in range(first, k + include_current)] if k else [])
        la.append(combined(of_la, errors))
        ra.append(combined(of_ra, errors))
        h.append(_of_harmonic_mean(found["LA"][k], found["RA"][k], of_la, of_ra, errors))
    # the row in which each block was best
    columns = [[row[j] for row in R[j:]] for j in range(last)]
    best = [j + column.index(max(column)) for j, column in enumerate(columns)]
    change = [(place, 1 / last) for j in range(last) for place in ((last, j), (j, j))]
    # what has never been better has lost nothing, of which there is no error
    lost = [
        (place, float(best[j] != last) / last) for j in range(last) for place in ((last, j), (best[j], j))
    ]
    return {
        "R": [list(row) for row in errors],
        "LA": la,
        "RA": ra,
        "H": h,
        "BWT": combined(change, errors) if last else None,
        "forgetting": combined(lost, errors) if last else None,
    }


Weights = Sequence[tuple[tuple[int, int], float]]


def _mean_of(places: Sequence[tuple[int, int]]) -> Weights:
    return [(place, 1 / len(places)) for place in places]


def _of_harmonic_mean(a: Error, b: Error, of_a: Weights, of_b: Weights, errors: Errors) -> Error:
    """By its derivatives ``2 b² / (a + b)²`` and ``2 a² / (a + b)²``."""
    if a is None or b is None:
        return None
    # of two zeros there is no error, if theirs are known
    squared = (a + b) ** 2 or 1.0
    weights = [(place, weight * 2 * b * b / squared) for place, weight in of_a]
    return combined([*weights, *((p, weight * 2 * a * a / squared) for p, weight in of_b)], errors)


def combined(weights: Weights, errors: Errors) -> Error:
    """The standard error of a weighted sum of entries of R: full within a block, as squares between blocks.

    Args:
        weights: (row, block) of each entry and its weight, of any sign.
        errors: of all entries.

    Returns:
        None where nothing is summed, or the error of an entry is not known.
    """
    of_block: dict[int, float] = {}
    for (row, block), weight in weights:
        error = errors[row][block]
        if error is None:
            return None
        of_block[block] = of_block.get(block, 0.0) + abs(weight) * error
    return math.hypot(*of_block.values()) if of_block else None


def next_errors(errors: Sequence[Error], random: Sequence[Error], measured: Sequence[bool]) -> dict[str, Any]:
    """Standard errors of all that :func:`~recbole_ccd.evaluation.summary.summarise_next` gives.

    Args:
        errors: of the metric on each block that is not yet learned.
        random: of that of a random order.
        measured: whether there is a value.
    """
    places = [k for k, there in enumerate(measured) if there]
    ours = combined(_mean_of([(0, k) for k in places]), [errors])
    both = [(place, 1 / len(places)) for k in places for place in ((0, k), (1, k))]
    return {"next": list(errors), "next_mean": ours, "FWT": combined(both, [errors, random])}


def with_error(value: Any, error: Error, form: str = ".4f") -> Any:
    """A value as tables show it, with its error beside it where there is one."""
    return value if value is None or error is None else f"{value:{form}} ± {error:.4f}"
