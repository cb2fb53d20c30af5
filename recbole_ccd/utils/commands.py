"""The commands of the program: one table, of which arguments are read, help is written and errors are told.

Nothing else of the package is imported but what errors need, so that both sides can read the table: the
program (:mod:`recbole_ccd.cli`), and the check of keys, which tells of an argument without its command.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from recbole_ccd.utils.errors import ConfigError, one_line, suggestion

# of a number of items; nobody has more, and integers of thousands of digits are not read
_DIGITS = 18
_MOST_TRIALS = 10_000
_EXCLUDED_WORDS = {"true": "all", "false": "none"}
_NO_FOLDER = "no folder; give the run directory"
_NO_PICKLES = "no folder; give the one with the pickles"
_NOTHING = "nothing; give it a value, or leave it out"
# of RecBole's run script
_SHORT = re.compile(r"-(?P<name>[md])(?:=(?P<value>.*)|(?P<attached>[^=]+))?", re.DOTALL)
_NEGATIVE = re.compile(r"-\.?\d")


@dataclass(frozen=True)
class Argument:
    """One ``--name=METAVAR``.

    Attributes:
        name: its name.
        metavar: what stands behind it.
        help: what it does.
        empty: what it is without a value, and the remedy; None for what then cannot be read.
        check: turns name and text into the value, or raises a ConfigError; None leaves the text.
        choices: the values that there are; empty where it is not for the command line to say.
        default: the value where it is not given.
        needed: whether its command cannot do without it.
    """

    name: str
    metavar: str
    help: str
    empty: str | None = None
    check: Callable[[str, str], Any] | None = None
    choices: tuple[str, ...] = ()
    default: Any = None
    needed: bool = False

    def __str__(self) -> str:
        return f"--{self.name}={self.metavar}"

    def value(self, text: str) -> Any:
        """What a text stands for.

        Raises:
            ConfigError: it cannot be used.
        """
        value = text if self.check is None else self.check(self.name, text)
        if self.choices and value not in self.choices:
            raise _wrong(self.name, value, f"give one of: {', '.join(self.choices)}")
        return value


@dataclass(frozen=True)
class Command:
    """One thing that the program does.

    Attributes:
        name: its name.
        help: what it does.
        does: the function that does it, as ``module:function``; imported once the command is chosen, since
            torch and RecBole take seconds. It is called with the :class:`Request` and whoever may end it.
        word: the argument that chooses it; None of what is done without any.
        arguments: the other arguments that it takes.
        settings: whether all further ones are settings of a run; otherwise there are none.
        examples: settings that help shows.
        beside: the end of the message about this and another command at once, by the other's name.
    """

    name: str
    help: str
    does: str
    word: Argument | None = None
    arguments: tuple[Argument, ...] = ()
    settings: bool = True
    examples: tuple[Argument, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_arguments(self) -> tuple[Argument, ...]:
        """Those that are no settings, the word first."""
        return self.arguments if self.word is None else (self.word, *self.arguments)


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    Attributes:
        values: of the command's arguments by name; the default of those that are not given.
        rest: all others, in order.
    """

    values: dict[str, Any]
    rest: list[str]


def _wrong(name: str, value: object, remedy: str) -> ConfigError:
    return ConfigError(f"{name} is {one_line(repr(value))} (command line); {remedy}")


def _list_length(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and text.strip("0")):
        raise _wrong(name, text, "give an integer >= 1")
    if len(text.lstrip("0")) > _DIGITS:
        raise ConfigError(
            f"{name} is {one_line(repr(text))} (command line), more than any number of items; give a "
            "smaller one"
        )
    return int(text)


def _trials(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_TRIALS):
        raise _wrong(name, text, f"give an integer >= 1 and <= {_MOST_TRIALS}")
    return int(text)


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _wrong(name, text, "give True or False")
    return text.lower() == "true"


def _exclusion(_: str, text: str) -> str:
    return _EXCLUDED_WORDS.get(text.lower(), text.lower())


COMMANDS = (
    Command(
        "run",
        "follow a stream, or compare several ways of following it",
        "recbole_ccd.cli:run",
        examples=(
            Argument(
                "model",
                "LightGCN",
                "the student: any RecBole general recommender with embeddings of users and items",
            ),
            Argument("strategy", "ccd", "how it follows the stream"),
            Argument(
                "strategy",
                "static,fine_tune,ccd --seed=2020,2021,2022",
                "the same blocks, one run for each combination, and a comparison of them; "
                "--base=distilled,plain and --ablation=none,no_annealing,... may be lists too",
            ),
            Argument(
                "dataset",
                "ml-100k",
                "a RecBole data set; --data_path=DIR is the folder that holds <dataset>/",
            ),
            Argument("config_files", "a.yaml", "property files, separated by spaces"),
            Argument(
                "plugins", "MODULE", "strategies, losses and more of your own, registered in that module"
            ),
            Argument(
                "run_dir",
                "DIR",
                "where the run is kept (default saved/<dataset>-<model>-<strategy>-<seed>-<time>); of "
                "several runs each has a folder in it, and the comparison lies at the top",
            ),
            Argument(
                "seed",
                "2020 --epochs=100 --teacher_models=[LightGCN,MultiVAE] ...",
                "every other key of RecBole and of recbole_ccd's properties/*.yaml",
            ),
        ),
    ),
    Command(
        "tune",
        "search for the best settings, by H-mean on the validation parts, mean over seeds (tuning.md)",
        "recbole_ccd.cli:tune",
        Argument(
            "tune",
            "FILE",
            "a key and its values per line, as RecBole's HyperTuning has it",
            empty="no file; give the file of a search space",
        ),
        (
            Argument(
                "tune_algorithm",
                "exhaustive|random",
                "all combinations, or draws",
                _NOTHING,
                choices=("exhaustive", "random"),
                default="exhaustive",
            ),
            Argument("tune_trials", "N", "how many draws; 10 where it is left out", _NOTHING, _trials),
        ),
        beside={"resume": ", as the folder knows what is searched; leave --tune out"},
    ),
    Command(
        "resume",
        "go on with what was interrupted",
        "recbole_ccd.cli:resume",
        Argument("resume", "RUN_DIR", "the directory of a run, a comparison or a search", _NO_FOLDER),
    ),
    Command(
        "update",
        "go on with a finished run on a new block",
        "recbole_ccd.cli:update",
        Argument("update", "RUN_DIR", "the directory of the run", _NO_FOLDER),
        (
            Argument(
                "new_block",
                "FILE.inter",
                "the block, an atomic file, or three: A.train.inter,A.valid.inter,A.test.inter; without it "
                "the teacher follows where the student was updated alone",
                _NOTHING,
            ),
            Argument(
                "cycle",
                "full|student",
                "student updates the student alone, and the teacher learns the block later",
                _NOTHING,
                default="full",
            ),
            Argument(
                "replace",
                "True|False",
                "lets go of what has arrived and the teacher has not learned",
                _NOTHING,
                _truth,
                default=False,
            ),
            Argument(
                "allow_repeated",
                "True|False",
                "takes a block of which most pairs of user and item were given before",
                _NOTHING,
                _truth,
                default=False,
            ),
        ),
    ),
    Command(
        "report",
        "make report.html anew",
        "recbole_ccd.cli:report",
        Argument("report", "RUN_DIR", "the directory whose results it shows", _NO_FOLDER),
        settings=False,
    ),
    Command(
        "recommend",
        "recommend with the student of a run",
        "recbole_ccd.cli:recommend",
        Argument("recommend", "RUN_DIR", "the directory of the run"),
        (
            Argument(
                "users",
                "FILE",
                "a user per line, and after a tab the items of a new one, separated by spaces, or a JSON "
                'object per line, {"user": "...", "items": ["..."]}',
                needed=True,
            ),
            Argument("output", "FILE", "the CSV file that is written", needed=True),
            Argument("k", "N", "how many items for each user", check=_list_length, default=20),
            Argument(
                "exclude_seen",
                "all|evaluation|none",
                "what is left out: all that a user did, what the evaluation masks, or nothing",
                check=_exclusion,
                choices=("all", "evaluation", "none"),
                default="all",
            ),
            Argument("role", "student|teacher", "who recommends", default="student"),
        ),
        settings=False,
    ),
    Command(
        "export",
        "the student's embeddings and tokens for a vector index",
        "recbole_ccd.cli:export",
        Argument("export", "RUN_DIR", "the directory of the run"),
        (Argument("output", "FILE", "the NPZ file that is written", needed=True),),
        settings=False,
    ),
    Command(
        "convert",
        "make a data set of the pickles that the authors of CCD publish (data.md)",
        "recbole_ccd.cli:convert",
        Argument("convert", "FOLDER", "the folder with the pickles of the blocks", _NO_PICKLES),
        (
            Argument(
                "output",
                "DIR",
                "the folder of the data set, such as data/yelp-ccd, which is then --dataset=yelp-ccd "
                "--data_path=data",
                _NOTHING,
                needed=True,
            ),
        ),
        settings=False,
    ),
)
"""All commands; the first is what is done where no other is chosen."""

TOPICS = (
    "run",
    "stream",
    "data",
    "models",
    "training",
    "distillation",
    "new_entities",
    "replay",
    "evaluation",
    "recbole",
)
"""The groups of keys that ``--help=TOPIC`` explains; :mod:`recbole_ccd.config.options` says which keys."""

GOES_WITH = {
    argument.name: str(command.word).removeprefix("--")
    for command in reversed(COMMANDS)
    for argument in command.arguments
}
"""The arguments that are no settings, and the command that each goes with."""


class Parser(ArgumentParser):
    """Reads ``--name=value`` of some arguments and leaves all others as they are.

    Args:
        arguments: those that are read, each into the list of all texts it was given.
    """

    def __init__(self, arguments: Iterable[Argument]) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        for argument in arguments:
            # without a value they are read too, for a message that says how to write them
            self.add_argument(
                f"--{argument.name}", nargs="?", action="append", metavar=argument.metavar, help=argument.help
            )

    def error(self, message: str) -> NoReturn:
        """Raises what the program says in one line, where argparse would end the process.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{one_line(message)} (command line); --help shows what there is")


def with_values(argv: Sequence[str]) -> list[str]:
    """Arguments of RecBole's run script in the form that everything here reads, ``--key=value``.

    ``-m`` and ``-d`` are model and dataset, and a value may be the next argument instead of behind ``=``.

    Args:
        argv: all arguments.
    """
    found: list[str] = []
    for text in argv:
        last = found[-1] if found else ""
        if last.startswith("--") and "=" not in last and not _is_option(text):
            found[-1] = f"{last}={text}"
        else:
            found.append(_spelled_out(text))
    return found


def _spelled_out(text: str) -> str:
    """An argument with the whole name of its key: RecBole's ``-m BPR``, ``-mBPR`` and ``-m=BPR``."""
    match = _SHORT.fullmatch(text)
    if match is None or text in ("-model", "-dataset"):
        return text
    name = {"m": "model", "d": "dataset"}[match["name"]]
    value = match["attached"] if match["value"] is None else match["value"]
    return f"--{name}" if value is None else f"--{name}={value}"


def _is_option(text: str) -> bool:
    """Whether an argument begins with a key; a number may begin with a minus sign."""
    return text.startswith("-") and _NEGATIVE.match(text) is None


def chosen(argv: Sequence[str]) -> Command:
    """The command that arguments ask for.

    Raises:
        ConfigError: they ask for two.
    """
    first, *others = COMMANDS
    found, _ = Parser(command.word for command in others if command.word).parse_known_args(argv)
    asked = [command for command in others if getattr(found, command.name) is not None]
    if len(asked) > 1:
        one, other = asked[:2]
        remedy = one.beside.get(other.name, "; give one of them")
        raise ConfigError(f"--{one.name} and --{other.name} exclude each other (command line){remedy}")
    return asked[0] if asked else first


def request(command: Command, argv: Sequence[str]) -> Request:
    """Takes a command's arguments out of all.

    Args:
        command: the command.
        argv: all arguments.

    Raises:
        ConfigError: one of them is wrong, or missing, or not the command's.
    """
    for argument in command.all_arguments:
        if f"--{argument.name}" in argv:
            raise _unreadable(f"--{argument.name}", str(argument))
    found, rest = Parser(command.all_arguments).parse_known_args(argv)
    if not command.settings:
        _check_form(command, rest)
    given = {
        argument: text
        for argument in command.all_arguments
        if (text := _only(argument, getattr(found, argument.name), command)) is not None
    }
    if not command.settings:
        _check_complete(command, given, rest)
    values = {argument.name: argument.default for argument in command.all_arguments}
    return Request(values | {argument.name: argument.value(text) for argument, text in given.items()}, rest)


def named(name: str) -> Command:
    """The command of a name."""
    return next(command for command in COMMANDS if command.name == name)


def _unreadable(text: str, form: str) -> ConfigError:
    return ConfigError(f"the argument {one_line(text)!r} (command line) cannot be read; write it as {form}")


def _only(argument: Argument, texts: Sequence[str] | None, command: Command) -> str | None:
    """The one text that an argument was given; None if there is none."""
    if texts is None:
        return None
    different = list(dict.fromkeys(texts))
    if len(different) > 1:
        one, other = (one_line(repr(text)) for text in different[:2])
        shown = f", with {one} and {other}" if command.settings else ""
        raise ConfigError(f"--{argument.name} occurs twice (command line){shown}; give it once")
    if different[0].strip():
        return different[0]
    if argument.empty is None:
        raise _unreadable(f"--{argument.name}={different[0]}", str(argument))
    raise ConfigError(f"{argument.name} is '' (command line), which is {argument.empty}")


def _check_form(command: Command, rest: Sequence[str]) -> None:
    """Refuses, beside a command without settings, what is no argument at all, or stands beside one alone."""
    if rest and not command.arguments:
        shown = one_line(repr(rest[0]))
        raise ConfigError(f"--{command.name} stands by itself (command line), without {shown}; remove that")
    for text in rest:
        name, separator, value = text.partition("=")
        if not (name.startswith("--") and separator and value.strip()):
            raise _unreadable(text, "--key=value")


def _check_complete(command: Command, given: Iterable[Argument], rest: Sequence[str]) -> None:
    """Refuses arguments that a command without settings does not have, and misses those that it needs."""
    if rest:
        key = rest[0].partition("=")[0].removeprefix("--")
        known = sorted(argument.name for argument in command.all_arguments)
        remedy = suggestion(key, known, f"give one of: {', '.join(known)}")
        start = f"unknown key {one_line(key)!r} beside --{command.name} (command line)"
        raise ConfigError(f"{start}; {remedy}")
    for argument in command.arguments:
        if argument.needed and argument not in given:
            raise ConfigError(f"--{command.name} needs {argument} (command line); give it")
