"""What the property files and the schema say of keys, as ``--help=TOPIC`` and docs/options.md show it.

Default and meaning are read from ``properties/*.yaml``, where they stand in comments beside one another, and
what a key may be from its row of the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import wrap

import yaml

from recbole_ccd.config.catalogue import names_of, properties_dir, recbole_properties_dir
from recbole_ccd.config.schema import SCHEMA, STAGES
from recbole_ccd.utils.commands import TOPICS
from recbole_ccd.utils.errors import ConfigError, one_line

_KEY = re.compile(
    r"(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#\s].*?))?(?: +# (?:\((?P<type>[^)]*)\) )?(?P<text>.*))?"
)
_WIDTH = 100
_ABOUT = (
    "Set a key as --key=value or in a file (--config_files=my.yaml); ~ is None. A strategy, a data set, "
    "a preset or an ablation may have other defaults: --help=STRATEGY shows those of a strategy, and "
    "config.yaml in a run directory has what held there."
)
# the sections of each topic, by their file and how their heading begins
_SECTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "run": (("overall", "Run"),),
    "stream": (("overall", "Stream"),),
    "data": (("overall", "Data"),),
    "models": (("learning", "Roles"),),
    "training": (
        ("overall", "Training"),
        ("overall", "The same per stage"),
        ("learning", "Continual updates"),
    ),
    "distillation": (
        ("learning", "Stage 1"),
        ("learning", "Ways of distilling"),
        ("strategy/ccd", "Stages 2 and 3"),
    ),
    "new_entities": (("learning", "New users and items"),),
    "replay": (
        ("learning", "Replay and regularization"),
        ("strategy/ccd", "Stage 2"),
        ("strategy/ccd", "Stage 3"),
    ),
    "evaluation": (("overall", "Evaluation"),),
}


@dataclass
class Option:
    """A key as its file explains it.

    Attributes:
        key: the key; of an entry of a dictionary the dotted keys.
        default: the default as YAML, in one line.
        type: what the comment has in brackets.
        text: the rest of it.
    """

    key: str
    default: str
    type: str
    text: str


@dataclass
class Section:
    """Keys below one heading.

    Attributes:
        heading: lines of comments above the keys.
        options: the keys.
        apart: whether a blank line stands above it.
    """

    heading: list[str]
    options: list[Option] = field(default_factory=list)
    apart: bool = True


def inline(value: object) -> str:
    """A value as YAML has it in one line.

    Args:
        value: the value.
    """
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    return "~" if value is None else text.removesuffix("...").strip()


def sections(path: Path) -> list[Section]:
    """What a properties file explains; the first section's heading is about the whole file.

    Args:
        path: the file, ours or RecBole's.
    """
    found: list[Section] = []
    above: list[str] = []
    apart = True
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    parent = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            above.append(line[2:])
            continue
        if not line.strip():
            if above:
                found.append(Section(above, apart=apart))
            above, apart = [], True
            continue
        match = _KEY.fullmatch(line)
        if match is None:
            # an entry of a list
            continue
        if above or not found:
            found.append(Section(above, apart=apart))
            above = []
        apart = False
        nested = bool(match["indent"])
        parent = parent if nested else match["key"]
        written = match["value"] or inline(values[match["key"]] if not nested else None)
        if nested and not match["text"]:
            continue
        key = f"{parent}.{match['key']}" if nested else match["key"]
        option = Option(key, written, match["type"] or "", match["text"] or "")
        found[-1].options.append(option)
    if above:
        found.append(Section(above))
    return found


def values_of(option: Option) -> str:
    """What a key may be: by its check, or by its comment where a check knows no more than a name.

    Args:
        option: the key.
    """
    row = SCHEMA.get(option.key)
    return option.type if row is None or row.check is None or row.looked_up else row.check.allowed


def stage_of(option: Option) -> str | None:
    """The stage whose key of training this is, or None.

    Args:
        option: the key.
    """
    return next((stage for stage in STAGES if option.key.startswith(f"{stage}_")), None)


def recbole_options() -> list[Option]:
    """The keys that RecBole explains and our files do not, as far as they have an effect.

    Entries of a dictionary have the default that our files give them, where they do.
    """
    ours = [
        option
        for name in ("overall", "learning")
        for section in sections(_file(name))
        for option in section.options
    ]
    known = {option.key for option in ours}
    entries = {
        f"{option.key}.{entry}": inline(value)
        for option in ours
        if isinstance(values := yaml.safe_load(option.default), dict)
        for entry, value in values.items()
    }
    files = (recbole_properties_dir() / name for name in ("overall.yaml", "dataset/sample.yaml"))
    theirs = [option for path in files for section in sections(path) for option in section.options]
    return [
        replace(option, default=entries.get(option.key, option.default))
        for option in theirs
        if option.key not in known and option.key in SCHEMA and SCHEMA[option.key].is_read
    ]


def topics() -> list[str]:
    """What ``--help`` has a page of: groups of keys, and the strategies."""
    return list(dict.fromkeys([*TOPICS, *names_of("strategy")]))


def topic_sections(topic: str) -> list[Section]:
    """The keys of a topic, below their headings.

    Args:
        topic: one of :func:`topics`.

    Raises:
        ConfigError: If there is no such topic.
    """
    if topic not in topics():
        raise ConfigError(
            f"unknown topic {one_line(repr(topic))} of --help (command line); give one of: "
            f"{', '.join(topics())}"
        )
    if topic == "recbole":
        return [Section(["Other keys of RecBole, in its own words"], recbole_options())]
    found = [_section(name, start) for name, start in _SECTIONS.get(topic, ())]
    # a strategy may have the name of what it does
    return found + (sections(_file(f"strategy/{topic}")) if topic in names_of("strategy") else [])


def explained(topic: str) -> str:
    """What ``--help=TOPIC`` says: keys with what they may be, their default and their meaning.

    Args:
        topic: one of :func:`topics`.

    Raises:
        ConfigError: If there is no such topic.
    """
    lines = []
    for section in topic_sections(topic):
        lines += [*wrap(" ".join(section.heading), _WIDTH), ""] if section.heading else []
        lines += [line for option in section.options for line in (*_lines(option), "")]
    return "\n".join([*lines, *wrap(_ABOUT, _WIDTH)])


def _file(name: str) -> Path:
    """A file of our properties by its name without ending."""
    return properties_dir() / f"{name}.yaml"


def _section(name: str, start: str) -> Section:
    """The section of a file whose heading begins with some words and goes on, if at all, with a mark."""
    (found,) = (
        section
        for section in sections(_file(name))
        if re.match(rf"{re.escape(start)}(?!\w)", " ".join(section.heading))
    )
    if name != "overall":
        return found
    # a later file gives some keys of single stages a default
    later = {o.key: o.default for section in sections(_file("learning")) for o in section.options}
    options = [replace(o, default=later.get(o.key, o.default)) for o in found.options]
    return replace(found, options=options)


def _lines(option: Option) -> Iterator[str]:
    """The lines about a key."""
    yield f"  {option.key}"
    for words in (option.text, f"values: {values_of(option) or 'any'}; default: {option.default}"):
        yield from wrap(
            words, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False,
            break_long_words=False,
        )  # fmt: skip
