"""Numbers in words: what captions say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from recbole_ccd.evaluation.sampling import sampled_line

QUANTITIES = {"H": "H-mean", "LA": "Learning average (LA)", "RA": "Retained average (RA)"}
STAGES = {
    "base": "base training",
    "student_generation": "student generation",
    "student_update": "student update",
    "teacher_update": "teacher update",
}


def ordered_metrics(names: Iterable[str], primary: str) -> list[str]:
    """The metrics: the primary one, the same on other lengths of lists, and the others by name."""
    family = primary.partition("@")[0]

    def place(name: str) -> tuple[bool, bool, list[int | str]]:
        parts = re.split(r"(\d+)", name)
        numbers = [int(part) if part.isdigit() else part for part in parts]
        return name != primary, name.partition("@")[0] != family, numbers

    return sorted(names, key=place)


def number(value: float | None) -> str:
    """The value of a metric as text."""
    return "none" if value is None else f"{value:.4f}"


def drawn(eval_users: int | None) -> str:
    """A sentence on the sample of users, to follow others; nothing where all were measured."""
    line = sampled_line(eval_users)
    return f" {sentence(line)}." if line else ""


def duration(seconds: float) -> str:
    """A time span, in two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def compared(values: Mapping[str, float | None]) -> str:
    """Whose value is the highest, and by how much over the second; those without one do not take part."""
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return "no value"
    ranked = sorted(known.items(), key=lambda entry: entry[1], reverse=True)
    (best, top), others = ranked[0], ranked[1:]
    if not others:
        return f"{best} {number(top)}"
    second, next_best = others[0]
    if top == next_best:
        return f"{best} and {second} {number(top)}"
    share = f" ({(top - next_best) / next_best:+.1%})" if next_best else ""
    return f"{best} {number(top)}, {top - next_best:+.4f}{share} over {second} {number(next_best)}"


def course(values: Sequence[float | None]) -> str:
    """How a value went along the blocks."""
    known = [(k, value) for k, value in enumerate(values) if value is not None]
    if not known:
        return "no value"
    (first, start), (last, end) = known[0], known[-1]
    if first == last:
        return f"{number(end)} in block {last}"
    return f"{number(start)} in block {first}, {number(end)} in block {last}"


def spread_out(entries: Iterable[str]) -> str:
    """Sentences one after the other, each with a capital letter and a full stop."""
    return " ".join(f"{sentence(entry)}." for entry in entries if entry)


def sentence(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]
