"""What a page says first: in words, how it came out, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recbole_ccd.evaluation.comparison import METHOD
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.evaluation.seeds import Gain, Spread
from recbole_ccd.evaluation.stored import StoredComparison
from recbole_ccd.report.html.words import number

# strategies that show what room there is, and why they are no way of continual learning
_REFERENCES = {
    "static": "learns nothing after the base block",
    "distill": "learns nothing after the base block",
    "full_batch": "trains on the whole past again at every block",
}
_SEEDS = "--seed=2020,2021,2022"


def run_verdict(result: StreamResult) -> list[str]:
    """What a run says of its student: beside its teacher, and beside what it once knew.

    Args:
        result: a result with at least one row.
    """
    done = max(result.n_rows(role) for role in result.roles)
    sentences = [_beside_the_teacher(result), _of_the_past(result)]
    if done < result.n_blocks:
        sentences.append(f"The run is not finished: {done} of {result.n_blocks} blocks have been learned.")
    sentences.append(
        f"This is one run with one seed, {result.head['seed']}. How far another seed would be from it cannot "
        f"be told from one; {_SEEDS} runs three and gives means and deviations."
    )
    return [sentence for sentence in sentences if sentence]


def comparison_verdict(comparison: StoredComparison) -> list[str]:
    """Who won, by how much, and how sure that is, in H of the primary metric after the last block.

    With a base block alone, which has no H, it is the metric itself that is compared.

    Args:
        comparison: the comparison.
    """
    sentences = []
    for role in comparison.roles:
        sentences += _winner(comparison, role)
    return [*sentences, _how_sure(comparison)]


def share(value: float, whole: float) -> str:
    """A share in percent, with three digits."""
    percent = 100 * value / whole
    return f"{percent:.0f} %" if percent >= 100 else f"{percent:.3g} %"


def probability(p: float) -> str:
    """A p-value as text."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _beside_the_teacher(result: StreamResult) -> str:
    metric = result.primary_metric
    if "student" not in result.roles:
        return ""
    rows = min(result.n_rows(role) for role in result.roles)
    quantity, what = ("H", "H-mean of") if rows > 1 else ("LA", "")
    values = {role: result.summary(role, metric)[quantity][rows - 1] for role in result.roles}
    student, teacher = values["student"], values.get("teacher")
    what = f"{what} {metric}".strip()
    if student is None or (teacher is None and "teacher" in values):
        return ""
    if teacher is None:
        return f"After block {rows - 1} the student reaches {number(student)} in {what}; it has no teacher."
    size = _relative_size(result)
    if not teacher:
        return f"After block {rows - 1} the teacher reaches 0 in {what}, and the student {number(student)}."
    if student >= teacher:
        return (
            f"After block {rows - 1} the student{size} is as good as its teacher or better: {what} "
            f"{number(student)}, {share(student, teacher)} of the teacher's {number(teacher)}."
        )
    return (
        f"After block {rows - 1} the student{size} keeps {share(student, teacher)} of its teacher's "
        f"{what}: {number(student)} of {number(teacher)}."
    )


def _relative_size(result: StreamResult) -> str:
    sizes = result.sizes
    if not ({"student", "teacher"} <= sizes.keys() and sizes["teacher"]["parameters"]):
        return ""
    part = share(sizes["student"]["parameters"], sizes["teacher"]["parameters"])
    return f", with {part} of the parameters,"


def _of_the_past(result: StreamResult) -> str:
    """How much is left of what the student knew of earlier blocks when it had just learned them."""
    if "student" not in result.roles or result.n_rows("student") < 2:
        return ""
    R = result.summary("student", result.primary_metric)["R"]
    last = len(R) - 1
    once, now = [R[j][j] for j in range(last)], R[last][:last]
    before, after = sum(once) / last, sum(now) / last
    blocks = {1: "block 0", 2: "blocks 0 and 1"}.get(last, f"blocks 0 to {last - 1}")
    if not before:
        return f"Of {blocks} it knew nothing when it had just learned them ({result.primary_metric} was 0)."
    told = (
        f"{result.primary_metric} on {blocks} was {number(before)} when each had just been learned, and is "
        f"{number(after)} now"
    )
    if after >= before:
        told = f"Of the past nothing is lost on average: {told}"
    else:
        told = f"Of the past it keeps {share(after, before)}: {told}"
    left = {j: now[j] / once[j] for j in range(last) if once[j]}
    worst = min(left, key=left.__getitem__)
    if last > 1 and left[worst] < 1:
        told += f"; the least, {share(now[worst], once[worst])}, is left of block {worst}"
    return f"{told}."


def _winner(comparison: StoredComparison, role: str) -> list[str]:
    metric, labels = comparison.primary_metric, comparison.labels_of(role)
    quantity, what = ("H", "H-mean of ") if comparison.n_blocks > 1 else ("LA", "")
    ends = {label: comparison.spreads(role, metric, label, quantity)[-1] for label in labels}
    known = {label: end for label, end in ends.items() if end.mean is not None}
    if not known:
        return []
    ranked = sorted(known, key=lambda label: _mean(known[label]), reverse=True)
    first = ranked[0]
    what = f"{what}{metric} after block {comparison.n_blocks - 1}"
    if len(ranked) == 1:
        return [f"{first} alone has a {role} at the end, whose {what} is {number(known[first].mean)}."]
    sentences = [f"{first} has the best {role}: its {what} is {_over(comparison, role, ranked, known)}."]
    learning = [label for label in ranked if comparison.strategies[label] not in _REFERENCES]
    if learning and first not in learning:
        told = f"{first} {_REFERENCES[comparison.strategies[first]]} and is there to compare with"
        if len(learning) > 1:
            told += f"; of those that learn block by block {learning[0]} is the best, with "
            told += _over(comparison, role, learning, known)
        sentences.append(f"{told}.")
    return sentences


def _over(comparison: StoredComparison, role: str, ranked: Sequence[str], known: Mapping[str, Spread]) -> str:
    """By how much the first of several is ahead of the second, and how sure that is."""
    first, second = ranked[0], ranked[1]
    best, next_best = known[first], known[second]
    ahead = _mean(best) - _mean(next_best)
    if not ahead:
        return f"{number(best.mean)}, as that of {second}"
    relative = f" ({ahead / _mean(next_best):+.1%})" if next_best.mean else ""
    told = f"{number(best.mean)}, {ahead:+.4f}{relative} over {second} ({number(next_best.mean)})"
    gain = _tested(comparison, role, first, second)
    if gain is not None and gain.p is not None:
        return f"{told}; {_likely(gain.p)}, {probability(gain.p)} in a t-test paired by seed"
    if best.std is None or next_best.std is None:
        return told
    apart = "do not overlap" if ahead > best.std + next_best.std else "overlap, so this may be chance"
    return f"{told}; means ± one standard deviation ({best.std:.4f} and {next_best.std:.4f}) {apart}"


def _likely(p: float) -> str:
    if p < 0.01:
        return "hardly chance"
    return "probably not chance" if p < 0.05 else "this may be chance"


def _tested(comparison: StoredComparison, role: str, first: str, second: str) -> Gain | None:
    """The gain of our method over its best competitor, where these are the two."""
    if comparison.strategies[first] != METHOD:
        return None
    gains = comparison.gains(role, comparison.primary_metric).get(first) or [None]
    return gains[-1] if gains[-1] is not None and gains[-1].competitor == second else None


def _how_sure(comparison: StoredComparison) -> str:
    seeds = comparison.seeds
    if len(seeds) > 1:
        return f"All values are means over {len(seeds)} seeds, over the same blocks."
    return (
        f"This is one seed, {', '.join(map(str, seeds))}: how much of a difference is chance cannot be told "
        f"from it; {_SEEDS} runs three, with deviations and a test."
    )


def _mean(spread: Spread) -> float:
    return spread.mean if spread.mean is not None else 0.0
