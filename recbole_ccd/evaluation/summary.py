"""What a matrix of test scores says about learning and forgetting.

Every function takes ``R``, a lower-triangular list of lists of floats: ``R[i][j]`` (j ≤ i) is one metric on
the test part of block j of the model as it is after block i. Row i has i + 1 entries. A malformed ``R``
raises ``ValueError``.

Learning average, retained average and their harmonic mean follow CCD (Lee et al., "Continual Collaborative
Distillation for Recommender System", KDD 2024); backward transfer follows Lopez-Paz & Ranzato ("Gradient
Episodic Memory for Continual Learning", NeurIPS 2017), forgetting Chaudhry et al. ("Riemannian Walk for
Incremental Learning", ECCV 2018).

What a block says of a model that has not learned it is no entry of ``R``: see :func:`summarise_next`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

Matrix = Sequence[Sequence[float]]

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "R": "R[i][j]: the metric on block j's test part, of the model after block i (j <= i)",
        "LA": "learning average after block k: mean of R[i][i], 0 <= i <= k (plasticity)",
        "RA": "retained average after block k: mean of R[k][j], 0 <= j < k (stability)",
        "H": "H-mean: harmonic mean of LA and RA, 2*LA*RA/(LA+RA)",
        "BWT": "backward transfer: mean of R[K][j] - R[j][j] over j < K, K the last block",
        "forgetting": "mean over j < K of the best R[i][j] over j <= i <= K, minus R[K][j]",
        "next": "mean over k < K of the metric on block k+1 of the model after k; known ids, new pairs only",
        "FWT": "forward transfer: mean over k < K of the same, minus that of a random order of the items",
        "not served": "shares of block k+1 that are unknown after block k; interactions: with either unknown",
        "new users": "the metric over the users who first appear in this block",
        "new items": "the metric over the test items that first appear in this block",
    }
)
"""One line per reported quantity, under the default options; tables print these lines below themselves."""

_OF_VALID_PARTS = {
    "next": "mean over k < K of the metric on block k+1's valid part of the model after k; new pairs only",
    "not served": "shares of block k+1's valid part that are unknown after block k; interactions: either",
}


def definitions(
    include_base: bool = True, include_current: bool = False, part: str = "test"
) -> dict[str, str]:
    """The lines of ``DEFINITIONS``, worded for the options that R, LA and RA were computed with.

    Args:
        include_base: whether the base block (block 0) counts in LA and RA.
        include_current: whether RA counts the current block.
        part: the part of each block that R was measured on, ``test`` or ``valid``.

    Returns:
        One line per quantity, in the order of ``DEFINITIONS``.
    """
    first = 0 if include_base else 1
    upper = "<=" if include_current else "<"
    note = "" if include_base else "; base block left out"
    return {
        **DEFINITIONS,
        "LA": f"learning average after block k: mean of R[i][i], {first} <= i <= k (plasticity{note})",
        "RA": f"retained average after block k: mean of R[k][j], {first} <= j {upper} k (stability{note})",
        **{name: DEFINITIONS[name].replace("test", part) for name in ("R", "new items")},
        **(_OF_VALID_PARTS if part == "valid" else {}),
    }


def learning_average(R: Matrix, include_base: bool = True) -> list[float | None]:
    """LA_k = mean of R[i][i] over i ≤ k: how well each block was learned on arrival (CCD, KDD 2024).

    Args:
        R: Lower-triangular matrix of K + 1 rows.
        include_base: False starts the mean at i = 1; LA_0 is then None.

    Returns:
        K + 1 values in the unit of R.

    Raises:
        ValueError: If R is not lower triangular.
    """
    check_triangle(R)
    first = 0 if include_base else 1
    diagonal = [row[-1] for row in R]
    return [_mean(diagonal[first : k + 1]) for k in range(len(R))]


def retained_average(
    R: Matrix, include_current: bool = False, include_base: bool = True
) -> list[float | None]:
    """RA_k = mean of R[k][j] over j < k: how well earlier blocks are still served (CCD, KDD 2024).

    Args:
        R: Lower-triangular matrix of K + 1 rows.
        include_current: True adds j = k to the mean.
        include_base: False leaves j = 0 out of the mean.

    Returns:
        K + 1 values in the unit of R; None where the mean has no term, as at k = 0.

    Raises:
        ValueError: If R is not lower triangular.
    """
    check_triangle(R)
    first = 0 if include_base else 1
    # RA_0 would otherwise be LA_0 under include_current: a stability without a past.
    return [
        None if k == 0 else _mean(row[first : k + 1 if include_current else k]) for k, row in enumerate(R)
    ]


def harmonic_mean(la: Sequence[float | None], ra: Sequence[float | None]) -> list[float | None]:
    """H_k = 2·LA_k·RA_k / (LA_k + RA_k) (CCD, Lee et al., KDD 2024).

    Args:
        la: K + 1 learning averages.
        ra: K + 1 retained averages.

    Returns:
        K + 1 values; None where either is None, 0 where both are 0.

    Raises:
        ValueError: If the lengths differ.
    """
    return [_harmonic(a, b) for a, b in zip(la, ra, strict=True)]


def backward_transfer(R: Matrix) -> float | None:
    """BWT = mean over j < K of R[K][j] - R[j][j] (Lopez-Paz & Ranzato, NeurIPS 2017).

    Args:
        R: Lower-triangular matrix of K + 1 rows.

    Returns:
        The change since each block was learned, negative when it got worse; None for fewer than two blocks.

    Raises:
        ValueError: If R is not lower triangular.
    """
    check_triangle(R)
    return _mean([R[-1][j] - R[j][j] for j in range(len(R) - 1)])


def forgetting(R: Matrix) -> float | None:
    """Mean over j < K of max_{j≤i≤K} R[i][j] - R[K][j] (Chaudhry et al., ECCV 2018).

    The maximum here includes the last row (maximum over the history minus last), so that the value is never
    negative.

    Args:
        R: Lower-triangular matrix of K + 1 rows.

    Returns:
        The loss against the best there ever was; None for fewer than two blocks.

    Raises:
        ValueError: If R is not lower triangular.
    """
    check_triangle(R)
    return _mean([max(row[j] for row in R[j:]) - R[-1][j] for j in range(len(R) - 1)])


def forward_transfer(values: Sequence[float | None], random: Sequence[float | None]) -> float | None:
    """FWT = mean over k < K of N_k - b_k (after Lopez-Paz & Ranzato, NeurIPS 2017).

    There b_k is what a model at random initialization achieves on the next task; a recommender that knows
    nothing ranks the items at random.

    Args:
        values: N_k, a metric on block k + 1 of the model after block k; None where it was not measured.
        random: b_k, that of a random order of the same items.

    Returns:
        How much better than at random blocks are served before they are learned; None if there is none.

    Raises:
        ValueError: If the lengths differ.
    """
    pairs = zip(values, random, strict=True)
    return _mean([n - b for n, b in pairs if n is not None and b is not None])


def summarise_next(values: Sequence[float | None], random: Sequence[float | None]) -> dict[str, Any]:
    """What a metric on blocks that are not yet learned comes to.

    Args:
        values: as of :func:`forward_transfer`.
        random: as there.

    Returns:
        ``next`` (a copy of ``values``), ``next_mean``, the mean of those that were measured, and ``FWT``; the
        last two None if there is none.

    Raises:
        ValueError: If the lengths differ.
    """
    return {
        "next": list(values),
        "next_mean": _mean([value for value in values if value is not None]),
        "FWT": forward_transfer(values, random),
    }


def summarise(R: Matrix, include_base: bool = True, include_current: bool = False) -> dict[str, Any]:
    """Everything above in one dictionary.

    Args:
        R: Lower-triangular matrix of K + 1 rows.
        include_base: whether the base block counts in LA and RA.
        include_current: whether RA counts the current block.

    Returns:
        ``R`` (a copy), ``LA``, ``RA``, ``H`` (lists of K + 1), ``BWT`` and ``forgetting`` (a float or None).

    Raises:
        ValueError: If R is not lower triangular.
    """
    la = learning_average(R, include_base)
    ra = retained_average(R, include_current, include_base)
    return {
        "R": [list(row) for row in R],
        "LA": la,
        "RA": ra,
        "H": harmonic_mean(la, ra),
        "BWT": backward_transfer(R),
        "forgetting": forgetting(R),
    }


def check_triangle(R: Matrix) -> None:
    """Check that row i of R has i + 1 entries.

    Raises:
        ValueError: If it has not.
    """
    for i, row in enumerate(R):
        if len(row) != i + 1:
            raise ValueError(f"R is not lower triangular: row {i} has {len(row)} entries instead of {i + 1}")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _harmonic(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0
