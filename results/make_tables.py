"""Keeps what the runs of results/ measured, and writes the tables of its pages out of that.

``python results/make_tables.py NAME FOLDER...`` takes the finished runs in folders of comparisons into
``runs/NAME.jsonl``, one line per run, in the place of those with the same label and seed.
``python results/make_tables.py`` writes every table anew: what stands between ``<!-- NAME: PART -->`` and
``<!-- end -->`` in a page here or in README.md. A test tells when that has been forgotten.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from recbole_ccd.checkpoint.compatibility import settings_of
from recbole_ccd.evaluation.comparison import COMPETITORS, Comparison
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.report.comparison import (
    MARKDOWN,
    NEXT,
    comparison_tables,
    cost_table,
    cost_tables,
    headlines,
    pipe_table,
)

HERE = Path(__file__).parent
RUNS = HERE / "runs"
PAGES = (*sorted(HERE.glob("*.md")), HERE.parent / "README.md")
METRICS = ("recall@20", "ndcg@20")

# runs of one label differ in the first, and in what is set for other labels beside it
_NOT_ITS_OWN = ("seed", "strategy_args")
NEXT_MEAN = "next_mean"
BOLD = "bold: the best, italics: the second best; ± after the last"
_PART = re.compile(r"(<!-- (?P<name>[\w-]+): (?P<part>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def kept(document: dict[str, Any]) -> dict[str, Any]:
    """Of a result.json what the tables need, and all settings: two metrics, and times."""
    metrics = {
        metric: {role: {"R": found["R"]} for role, found in document["metrics"][metric].items()}
        for metric in METRICS
    }
    new = {kind: {m: document[kind][m] for m in METRICS} for kind in ("new_users", "new_items")}
    # runs of earlier versions have measured less
    if "next" in document:
        found = document["next"]
        new["next"] = {**found, "metrics": {m: found["metrics"][m] for m in METRICS}}
    shown = ("block", "stage", "epochs", "seconds", "rss_mb")
    times = [{key: stage[key] for key in shown if key in stage} for stage in document["stages"]]
    settings = settings_of(document["config"])
    config = {key: value for key, value in settings.items() if key not in _NOT_ITS_OWN}
    return {**document, "metrics": metrics, **new, "stages": times, "config": config}


def read(file: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The runs kept in a file: their documents by label and seed."""
    entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {(entry["label"], entry["result"]["seed"]): entry["result"] for entry in entries}


def add(file: Path, folders: Iterable[Path]) -> None:
    """Keeps the finished runs of comparisons.

    Args:
        file: where, made if need be.
        folders: of comparisons; their runs lie in ``LABEL-SEED``.

    Raises:
        SystemExit: a folder holds no finished run, or runs of one label would differ in a setting.
    """
    runs = read(file) if file.exists() else {}
    for folder in folders:
        found = finished(folder)
        if not found:
            raise SystemExit(f"{folder}: no finished run in LABEL-SEED/result.json")
        print(f"{folder}: {', '.join(f'{label} {seed}' for label, seed in sorted(found))}")
        runs |= found
    for label in {label for label, _ in runs}:
        first, *others = [run["config"] for (of, _), run in runs.items() if of == label]
        for other in others:
            if different := [key for key in first.keys() & other.keys() if first[key] != other[key]]:
                raise SystemExit(f"{file.name}: runs of {label} differ in {', '.join(sorted(different))}")
    lines = [json.dumps({"label": label, "result": runs[label, seed]}) for label, seed in sorted(runs)]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def is_finished(document: dict[str, Any]) -> bool:
    """Whether a run has measured its last block, by its result.json."""
    return len(document["metrics"][METRICS[0]]["student"]["R"]) == document["n_blocks"]


def finished(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What is kept of a comparison: of its finished runs, by label and seed."""
    runs = {}
    for path in folder.glob("*/result.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        if is_finished(document):
            label = path.parent.name.removesuffix(f"-{document['seed']}")
            runs[label, document["seed"]] = kept(document)
    return runs


def comparison_of(file: Path) -> Comparison:
    """The runs kept in a file with seeds that all labels have, the worst label first."""
    runs = read(file)
    everybody = {label for label, _ in runs}
    seeds = [
        seed for seed in sorted({seed for _, seed in runs}) if all((one, seed) in runs for one in everybody)
    ]
    results = {label: [StreamResult.from_dict(runs[label, seed]) for seed in seeds] for label in everybody}

    def height(label: str) -> float:
        H = [run.summary("student", METRICS[0])["H"] for run in results[label]]
        return sum(of_run[-1] for of_run in H) / len(H)

    return Comparison({label: results[label] for label in sorted(results, key=height)})


def tables_of(comparison: Comparison, role: str, metric: str) -> list[str]:
    """The tables of a role in a metric: H by block, the averages after the last one, what ccd gains."""
    found = comparison_tables(comparison, role, metric, MARKDOWN, pipe_table)
    return [text for heading, text in found if NEXT not in heading]


def student(file: Path) -> list[str]:
    """Everything of the student: H of both metrics, averages, and what ccd gains over its competitors."""
    everyone = comparison_of(file)
    H, averages, gain = tables_of(everyone, "student", METRICS[0])
    competitors = sorted(COMPETITORS & set(everyone.labels))
    return [
        f"Student, H-mean of Recall@20 after each block, {_seeds(everyone)} ({BOLD}):",
        H,
        f"What `ccd` gains over the best of {_listed(competitors)}, p of a t-test paired by seed:",
        gain,
        "Student after the last block:",
        averages,
        "Student, H-mean of NDCG@20:",
        tables_of(everyone, "student", METRICS[1])[0],
    ]


def teacher(file: Path) -> list[str]:
    """H of the teacher's Recall@20, and what ccd's gains."""
    H, _, *gains = tables_of(comparison_of(file), "teacher", METRICS[0])
    return ["Teacher, H-mean of Recall@20:", H, *gains]


def brief(file: Path) -> list[str]:
    """H of the student's Recall@20 alone."""
    comparison = comparison_of(file)
    return [
        f"Student, H-mean of Recall@20 after each block, {_seeds(comparison)} ({BOLD}):",
        tables_of(comparison, "student", METRICS[0])[0],
    ]


def ablations(file: Path) -> list[str]:
    """What each ablation of ccd takes from its Recall@20 after the last block, in both roles."""
    return _beside_ccd(file, "what changes without a part of `ccd`")


def choices(file: Path) -> list[str]:
    """What each choice adds to ccd: Recall@20 after the last block, and on blocks before they are learned."""
    return _beside_ccd(file, "what changes with each choice", tomorrow=True)


def _beside_ccd(file: Path, what: str, tomorrow: bool = False) -> list[str]:
    """Differences from ccd after the last block, in the order of its student; - where there is no teacher."""
    comparison = comparison_of(file)
    shown = [(role, quantity) for role in comparison.roles for quantity in ("H", "LA", "RA")]
    shown += [("student", NEXT_MEAN)] if tomorrow else []

    def at_end(label: str) -> list[float | None]:
        return [
            comparison.spreads(role, METRICS[0], label, of)[-1].mean
            if label in comparison.labels_of(role)
            else None
            for role, of in shown
        ]

    whole = at_end("ccd")
    rows = []
    for label in ["ccd", *(label for label in comparison.labels if label != "ccd")]:
        pairs = zip(at_end(label), whole, strict=True)
        less = ["-" if value is None else f"{value - of_whole:+.4f}" for value, of_whole in pairs]
        cells = [f"{value:.4f}" for value in whole] if label == "ccd" else less
        rows.append([label, *cells])
    return [
        f"Recall@20 after the last block, {_seeds(comparison)}, and {what}:",
        pipe_table(rows, ["", *(f"{role} {of.removesuffix('_mean')}" for role, of in shown)]),
    ]


def size(file: Path) -> list[str]:
    """Parameters, bytes and seconds of training."""
    return [cost_table(comparison_of(file), pipe_table)]


def tomorrow(file: Path) -> list[str]:
    """How each role does on each block before it is learned, by Recall@20."""
    comparison, parts = comparison_of(file), []
    for role in comparison.roles:
        found = comparison_tables(comparison, role, METRICS[0], MARKDOWN, pipe_table)
        title = f"{role.capitalize()}, Recall@20 on each block before it is learned, {_seeds(comparison)}:"
        parts += [f"{title}\n\n{text}" for heading, text in found if NEXT in heading]
    return parts


def cost(file: Path) -> list[str]:
    """Quality beside cost, and what each block took; the share of retraining's quality where that was run."""
    comparison = comparison_of(file)
    found = [f"{heading}:\n\n{text}" for heading, text in cost_tables(comparison, pipe_table)]
    return [*(f"**{line}**" for line in headlines(comparison)), *found]


PARTS: dict[str, Callable[[Path], list[str]]] = {
    part.__name__: part for part in (student, teacher, brief, ablations, choices, size, tomorrow, cost)
}


def page(text: str, runs: Path = RUNS) -> str:
    """A page with its tables written anew, out of the files in a folder."""

    def made(match: re.Match[str]) -> str:
        parts = PARTS[match["part"]](runs / f"{match['name']}.jsonl")
        return match[1] + "\n" + "\n\n".join(parts) + "\n\n" + match[4]

    return _PART.sub(made, text)


def _seeds(comparison: Comparison) -> str:
    seeds = [str(seed) for seed in comparison.seeds]
    return f"seed {seeds[0]} alone" if len(seeds) == 1 else f"means over seeds {_listed(seeds, '')}"


def _listed(names: Iterable[str], mark: str = "`") -> str:
    *first, last = [f"{mark}{name}{mark}" for name in names]
    return f"{', '.join(first)} and {last}"


if __name__ == "__main__":
    if sys.argv[1:]:
        add(RUNS / f"{sys.argv[1]}.jsonl", map(Path, sys.argv[2:]))
    for found in PAGES:
        found.write_text(page(found.read_text(encoding="utf-8")), encoding="utf-8")
