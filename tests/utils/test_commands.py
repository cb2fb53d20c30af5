"""The table of commands: what it says is what the program does, what help shows and what errors tell."""

import subprocess
import sys
from pkgutil import resolve_name

import pytest

from recbole_ccd import CCDConfig, ConfigError
from recbole_ccd.checkpoint.manifest import STUDENT
from recbole_ccd.cli import main, usage
from recbole_ccd.experiment.search.space import ALGORITHMS, MOST_TRIALS
from recbole_ccd.experiment.update import CYCLES
from recbole_ccd.serving.arguments import EXCLUDED
from recbole_ccd.utils.commands import COMMANDS, GOES_WITH, Request, chosen, named, request

WITH_WORDS = [command for command in COMMANDS if command.word]


def argument(command, name):
    return next(entry for entry in named(command).arguments if entry.name == name)


def refused(message, command, *arguments):
    with pytest.raises(ConfigError) as caught:
        request(named(command), arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_is_chosen_by_its_word_and_done_by_its_function(command, monkeypatch):
    asked = []
    assert callable(resolve_name(command.does))
    monkeypatch.setattr(command.does.replace(":", "."), lambda given, stop: asked.append(given))
    needed = [entry for entry in command.all_arguments if entry.needed or entry is command.word]
    settings = ["--seed=1", "--note=a b", "--low=-5"] if command.settings else []
    assert main([*settings[:1], *(f"--{entry.name}=some where" for entry in needed), *settings[1:]]) == 0
    (given,) = asked
    assert given.rest == settings
    assert given.values == {
        entry.name: "some where" if entry in needed else entry.default for entry in command.all_arguments
    }


@pytest.mark.parametrize("one", WITH_WORDS, ids=lambda command: command.name)
def test_two_at_once_are_refused(one):
    for other in WITH_WORDS:
        if other is not one:
            with pytest.raises(ConfigError, match=r"exclude each other \(command line\).*; (give|leave) "):
                chosen([f"--{one.name}=a", f"--{other.name}=b"])


def test_choices_and_bounds_are_those_of_the_library():
    assert argument("tune", "tune_algorithm").choices == ALGORITHMS
    assert argument("tune", "tune_trials").value(str(MOST_TRIALS)) == MOST_TRIALS
    with pytest.raises(ConfigError):
        argument("tune", "tune_trials").value(str(MOST_TRIALS + 1))
    assert argument("recommend", "exclude_seen").choices == EXCLUDED
    assert argument("update", "cycle").metavar.split("|") == list(CYCLES) and STUDENT in CYCLES


def test_values_and_defaults():
    assert request(named("update"), ["--update=run", "--replace=TRUE"]).values == {
        "update": "run", "new_block": None, "cycle": "full", "replace": True, "allow_repeated": False,
    }  # fmt: skip
    given = request(named("recommend"), ["--recommend=r", "--users=u", "--output=o", "--exclude_seen=False"])
    assert (given.values["k"], given.values["exclude_seen"], given.values["role"]) == (20, "none", "student")


def test_the_same_twice_is_once():
    asked = request(named("resume"), ["--resume=a b", "--seed=1", "--resume=a b"])
    assert asked == Request({"resume": "a b"}, ["--seed=1"])
    refused(
        "--resume occurs twice (command line), with 'a' and 'b'; give it once",
        "resume",
        "--resume=a",
        "--resume=b",
    )
    refused("resume is '' (command line), which is no folder; give the run directory", "resume", "--resume=")


@pytest.mark.parametrize("command", WITH_WORDS, ids=lambda command: command.name)
def test_no_argument_is_shortened_or_stands_apart_from_its_value(command):
    for entry in command.all_arguments:
        form = f"the argument '--{entry.name}' (command line) cannot be read; write it as {entry}"
        refused(form, command.name, f"--{entry.name}", "value")
    if command.settings:
        short = f"--{command.name[:-1]}=x"
        assert request(command, [f"--{command.name}=a", short]).rest == [short]


@pytest.mark.parametrize("name", GOES_WITH)
def test_an_argument_without_its_command_is_told(name):
    with pytest.raises(
        ConfigError, match=f"'{name}' .*: it is an argument that goes with --{GOES_WITH[name]}; add"
    ):
        CCDConfig(argv=[f"--{name}=3"])


def test_help_is_all_of_the_table_in_a_hundred_columns():
    lines = usage("my-name").splitlines()
    assert max(map(len, lines)) <= 100 and lines[0] == "usage: my-name [--key=value ...]"
    starts = [line.strip() for line in lines]
    for command in COMMANDS:
        assert any(start.startswith(f"{command.name}: {command.help[:20]}") for start in starts)
        for entry in (*command.all_arguments, *command.examples):
            assert any(start.startswith(str(entry)) for start in starts), entry


def test_the_table_is_read_without_torch():
    code = "import sys, recbole_ccd.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
