"""Writes docs/options.md, every key with its default and all that there is to know of it.

Default and meaning are those of properties/*.yaml; what a key may be, what it decides and where it is read
are those of recbole_ccd/config/schema.py; recbole_ccd/config/options.py reads both, for ``--help=TOPIC`` too.

``python docs/make_options.py`` after a change of either; a test tells when it has been forgotten.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from recbole_ccd.config.options import Option, Section, inline, recbole_options, sections, stage_of, values_of
from recbole_ccd.config.schema import SCHEMA, STAGES, Key, Scope
from recbole_ccd.config.unread import OF_OTHER_MODELS

HERE = Path(__file__).parent
PROPERTIES = HERE.parent / "properties"
PAGE = HERE / "options.md"

READ_IN = {
    "base": "base",
    "student_generation": "stage 1",
    "student_update": "stage 2",
    "teacher_update": "stage 3",
}
INTRODUCTION = """\
# Options

Every key of the package: what it may be, its default, what it means, what it decides and where it is read.
This page is made from the comments in [`properties/`](../properties) and the rows of
[`config/schema.py`](../recbole_ccd/config/schema.py) by [`docs/make_options.py`](make_options.py).

A key is set in a YAML file (`--config_files=my.yaml`), as `--key=value`, or in `config_dict` from Python.
Later ones win: RecBole's defaults, the files of `properties/` (overall, learning, strategy, model, dataset,
preset, `strategy_args`, ablation), your files in order, `config_dict`, the command line. Dictionaries are
merged key by key: `--teacher_args.embedding_size=32` leaves the rest of `teacher_args` as it is. `~` is
None. On the command line a list is `"--topk=[20, 50]"`, in quotes if there are spaces in it, and several
files are `"--config_files=a.yaml b.yaml"`. Other keys keep
[RecBole's meaning and default](#other-keys-of-recbole), but for
[some that have no effect here](#keys-of-recbole-that-have-no-effect-here) and are refused; so are unknown
keys and impossible values ([errors](errors.md)). Keys of one model (`n_layers`, `mlp_hidden_size` …) are in
RecBole's documentation of that model: given plainly they are the student's,
under `teacher_args` the members'.

Numbers are decimal. A key of text (`data_path`, `run_dir`, `field_separator` …) takes what stands behind `=`
as it is, `#` and quotes with it; `~` alone is None. In a file its words are text even if they look like
numbers, as are columns and tokens.

What a key decides:

{scopes}

Strategies that are compared share what decides `stream`, `measure` and `base`, and `strategy_args` holds
what decides `strategy`; a search tries `base` and `strategy`; a run is resumed and updated with the values
that it was begun with, but for `run`.
"""
PER_STAGE = """\
Each of RecBole's keys of training below can be set for one stage by putting the stage before it. `~`, the
default where the table shows nothing, takes the key without prefix. A key without prefix that you set
yourself replaces the defaults of its four keys per stage too, so that `--learning_rate=0.01` holds for
every stage. Those of `base` and `student_generation` decide `base`, those of the updates `strategy`.
"""


def cell(text: str) -> str:
    """Text in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


def code(text: str) -> str:
    """Code in a table; nothing for nothing."""
    return f"`{text}`" if text else ""


def readers(row: Key) -> str:
    """The stages that read a key."""
    training = set(STAGES) <= set(row.stages)
    words = [READ_IN.get(stage, stage) for stage in row.stages if not (training and stage in STAGES)]
    return ", ".join([*words, *(["training"] if training else [])])


def table(options: list[Option]) -> list[str]:
    """The keys as a table."""
    lines = ["| key | values | default | meaning | decides | read in |", "|---|---|---|---|---|---|"]
    for option in options:
        row = SCHEMA.get(option.key)
        cells = [code(option.key), cell(values_of(option)), code(option.default), cell(option.text)]
        cells += ["", ""] if row is None else [row.scope.name.lower(), readers(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def stage_table(options: list[Option], defaults: dict[str, str]) -> list[str]:
    """The keys of the stages, a row for the four of each.

    Args:
        options: these keys.
        defaults: defaults that a later file has in their place.
    """
    rows = {}
    for option in options:
        stage = stage_of(option)
        rows.setdefault(option.key.removeprefix(f"{stage}_"), {})[stage] = option
    head = " | ".join(f"`{stage}_…`" for stage in STAGES)
    lines = [f"| key | values | meaning | {head} |", "|---|---|---|" + "---|" * len(STAGES)]
    for key, of_stage in rows.items():
        first = of_stage[STAGES[0]]
        values = [defaults.get(option.key, option.default) for option in of_stage.values()]
        shown = " | ".join("" if value == "~" else code(value) for value in values)
        meaning = first.text.removeprefix("Base block: ")
        meaning = meaning[:1].upper() + meaning[1:]
        lines.append(f"| `{key}` | {cell(values_of(first))} | {cell(meaning)} | {shown} |")
    return [*lines, ""]


def link(path: Path) -> str:
    """A link to a properties file."""
    name = path.relative_to(PROPERTIES).as_posix()
    return f"[`properties/{name}`](../properties/{name})"


def file_part(name: str, title: str, later: dict[str, str] | None = None) -> list[str]:
    """The part of one file with headings of its own."""
    path = PROPERTIES / name
    about, *rest = sections(path)
    lines = [f"## {title}", "", f"{link(path)}. {' '.join(about.heading)}", ""]
    if about.options:
        rest = [Section([""], about.options), *rest]
    for section in rest:
        staged = [option for option in section.options if stage_of(option)] if later is not None else []
        heading, *more = section.heading
        if staged and len(staged) == len(section.options):
            lines += ["### Keys of training, per stage", "", PER_STAGE, *stage_table(staged, later)]
            continue
        lines += [f"### {heading}", ""] if heading else []
        lines += [" ".join(more), ""] if more else []
        lines += table(section.options)
    return lines


def small_files(folder: str, title: str, about: str, without: str | None = None) -> list[str]:
    """The part of a folder whose files hold a few keys each, without the one that has a part of its own."""
    lines = [f"## {title}", "", about, ""]
    for path in sorted((PROPERTIES / folder).glob("*.yaml")):
        if path.stem == without:
            continue
        found = sections(path)
        lines += [f"### `{path.stem}`", "", f"{' '.join(found[0].heading)} ({link(path)})", ""]
        for section in found:
            lines += [" ".join(section.heading), ""] if section is not found[0] else []
            lines += table(section.options) if section.options else []
    return lines


def ablations() -> list[str]:
    """The ablations in one table."""
    lines = ["## Ablations", "", "`--ablation=NAME` takes a part of `ccd` away; a list compares.", ""]
    lines += ["| ablation | what is taken away | settings |", "|---|---|---|"]
    for path in sorted((PROPERTIES / "ablation").glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings = ", ".join(f"`{key}: {inline(value)}`" for key, value in values.items())
        lines.append(f"| `{path.stem}` | {' '.join(sections(path)[0].heading)} | {settings} |")
    return [*lines, ""]


def presets() -> list[str]:
    """The presets, whose keys are explained above."""
    lines = ["## Presets", "", "`--preset=NAME` takes the settings of a published experiment.", ""]
    for path in sorted((PROPERTIES / "preset").glob("*.yaml")):
        found = sections(path)
        lines += [f"### `{path.stem}`", "", f"{' '.join(found[0].heading)} ({link(path)})", ""]
        for section in found:
            shown = ", ".join(f"`{option.key}: {option.default}`" for option in section.options)
            if section.apart and shown:
                lines += [f"* {section.heading[0]}: {shown}"]
            elif shown:
                lines[-1] += f", {shown}"
        lines.append("")
    return lines


def of_recbole() -> list[str]:
    """The keys that RecBole explains and our files do not, as far as they have an effect."""
    lines = [
        "## Other keys of RecBole",
        "",
        "In RecBole's own words, with its defaults unless a file of ours has another one.",
        "",
    ]
    return [*lines, *table(recbole_options())]


def without_effect() -> list[str]:
    """The keys that are refused when they are set, and what to do instead."""
    lines = [
        "## Keys of RecBole that have no effect here",
        "",
        "Setting one is refused, unless to RecBole's default or to what is done anyway, so that RecBole's",
        "own files can be given.",
        "",
        "| key | why | instead |",
        "|---|---|---|",
    ]
    rows = [(key, idle) for key, row in SCHEMA.items() for idle in row.idle]
    told = [
        (idle.when is None, f"| `{key}` | {cell(idle.reason)} | {cell(idle.remedy)} |") for key, idle in rows
    ]
    lines += [line for always, line in told if always]
    lines += ["", "The same beside others:", "", "| key | has no effect | instead |", "|---|---|---|"]
    lines += [line for always, line in told if not always]
    lines += [
        "",
        "Let pass with a warning in the log, unless `plugins` are used:",
        "",
        "| key | why |",
        "|---|---|",
    ]
    lines += [f"| `{key}` | {cell(reason)} |" for key, reason in OF_OTHER_MODELS.items()]
    return [*lines, ""]


def page() -> str:
    """The whole page."""
    learning = sections(PROPERTIES / "learning.yaml")
    later = {o.key: o.default for section in learning for o in section.options if stage_of(o)}
    scopes = "\n".join(f"* `{s.name.lower()}`: {s.value}" for s in Scope if s is not Scope.DERIVED)
    parts = [
        INTRODUCTION.format(scopes=scopes).splitlines(),
        [""],
        file_part("overall.yaml", "Run, stream, training, evaluation", later),
        file_part("learning.yaml", "Models, distillation, holding on to the past"),
        file_part("strategy/ccd.yaml", "Strategy `ccd`"),
        small_files(
            "strategy",
            "Other strategies",
            "What each has of its own, and the values that it changes above. "
            "What they do is in [strategies.md](strategies.md).",
            without="ccd",
        ),
        ablations(),
        small_files("dataset", "Data sets", "What is set where `--dataset` has this name."),
        presets(),
        of_recbole(),
        without_effect(),
    ]
    text = "\n".join(line for part in parts for line in part)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
