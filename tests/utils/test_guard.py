"""What no check has foreseen ends in one line before training, and in a traceback after its beginning."""

import pytest

import recbole_ccd.experiment.update
import recbole_ccd.quick_start
import recbole_ccd.serving.command
from recbole_ccd import RunError, run_ccd
from recbole_ccd.cli import main
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.strategy.static import Static
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError
from recbole_ccd.utils.guard import DEBUG, guarded, training_begins
from tests.conftest import SMALL, SMALL_CCD

KEYS = {**SMALL, **SMALL_CCD, "model": "BPR", "dataset": "tiny", "strategy": "static", "base": "plain"}


def broken(*given, **named):
    """Whatever it is called for, it is at fault."""
    raise ZeroDivisionError("by\nzero")


def test_an_error_is_told_with_what_was_read_and_is_its_cause():
    with pytest.raises(RunError) as caught, guarded("the outer thing"), guarded("the inner thing"):
        broken()
    assert str(caught.value).startswith("the inner thing cannot be used (ZeroDivisionError: by zero)")
    assert f"set {DEBUG}=1" in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_a_check_says_and_a_wish_to_end_pass():
    for error in (ConfigError("x is y; give z"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, guarded("a thing"):
            raise error
        assert caught.value is error


def test_once_training_has_begun_errors_are_what_they_are():
    with pytest.raises(ZeroDivisionError), guarded("the outer thing"):
        with guarded("the inner thing"):
            training_begins()
        broken()
    # and the next command begins at its door again
    with pytest.raises(RunError), guarded("a thing"):
        broken()
    training_begins()


@pytest.fixture
def arguments(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {**KEYS, "data_path": tiny_folder, "run_dir": "run"}
    return [f"--{key}={'~' if value is None else value}" for key, value in settings.items()]


# what is broken, what else is given, and what the line begins with
PLACES = {
    "settings": ((recbole_ccd.config.loading, "check_each"), [], "a setting"),
    "lists": ((recbole_ccd.config, "has_lists"), [], "what was given"),
    "data": ((IncrementalDataset, "_remap_ID_all"), [], "tiny: RecBole cannot prepare the data"),
    "blocks": ((recbole_ccd.quick_start, "BlockStream"), [], "the data of tiny"),
    "models": ((Static, "check_models"), [], "a model of strategy static, or its settings,"),
    "comparison": ((recbole_ccd.quick_start, "check_all"), ["--seed=1,2"], "what was given"),
    "lock": ((recbole_ccd.quick_start, "RunLock"), [], "what was given"),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_command_has_its_door(place, arguments, monkeypatch, capsys, tmp_path):
    where, more, start = PLACES[place]
    monkeypatch.setattr(*where, broken)
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    given = [text for text in arguments if text.split("=")[0] not in {more.split("=")[0] for more in more}]
    assert main([*given, *more]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {start}") and shown.err.count("\n") == 1
    assert "ZeroDivisionError: by zero" in shown.err and "Traceback" not in shown.err
    # the same with the switch
    monkeypatch.setenv(DEBUG, "1")
    assert main([*given, *more, "--run_dir=run"]) == 2
    shown = capsys.readouterr().err
    assert "in broken" in shown and shown.splitlines()[-1].startswith(f"error: {start}")


OTHERS = {
    "resume": (recbole_ccd.quick_start, "load_manifest", ["--resume=here"], "the run directory here"),
    "update": (
        recbole_ccd.experiment.update,
        "load_manifest",
        ["--update=here"],
        "the run directory, or the new block,",
    ),
    "tune": (recbole_ccd.quick_start, "read_space", ["--tune=here"], "what was given"),
    "serve": (
        *(recbole_ccd.serving.command, "load_student"),
        *(["--export=here", "--output=o.npz"], "the run directory, or the file of users,"),
    ),
    "report": (recbole_ccd.report.writing, "RunDirectory", ["--report=here"], "the run directory here"),
}


@pytest.mark.parametrize("command", OTHERS)
def test_so_have_those_that_read_a_folder(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    *where, arguments, start = OTHERS[command]
    monkeypatch.setattr(*where, broken)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {start} cannot be used (ZeroDivisionError: by zero)"), shown.err
    assert shown.err.count("\n") == 1


def test_a_fault_in_training_is_not_hidden(arguments, monkeypatch):
    monkeypatch.setattr(StageTrainer, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(arguments)


def test_from_python_the_error_has_its_cause(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Static, "check_models", broken)
    with pytest.raises(RunError, match="a model of strategy static") as caught:
        run_ccd(config_dict={**KEYS, "data_path": str(tiny_folder), "run_dir": "run"})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not (tmp_path / "run").exists()
