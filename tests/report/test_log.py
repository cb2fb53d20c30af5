"""RunLog: two handlers added, the same two removed."""

import logging
import sys
from pathlib import Path

import pytest
from recbole.utils import set_color
from tqdm import tqdm

from recbole_ccd.report import EPOCH_LOGGER, RunLog
from recbole_ccd.utils.errors import ConfigError, RunError


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_colours_and_nothing_else_has(
    terminal: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with RunLog(tmp_path / "run.log"):
        logging.getLogger().info(set_color("blue words", "blue"))
        logging.getLogger("recbole_ccd").warning("100%% of %s", "it")
    shown, kept = capsys.readouterr().err, (tmp_path / "run.log").read_text()
    assert ("\x1b[1;34mblue words" in shown and "\x1b[33m" in shown) is terminal
    assert ("\x1b" in shown) is terminal
    assert "INFO  blue words\n" in kept and "WARNING  100% of it\n" in kept and "\x1b" not in kept


@pytest.mark.parametrize("show", [True, False])
def test_epoch_lines(show: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path / "run.log", show_epochs=show):
        logging.getLogger(EPOCH_LOGGER).info("epoch 0 training")
    assert ("epoch 0" in capsys.readouterr().err) is show
    assert "epoch 0" in (tmp_path / "run.log").read_text()


def test_a_quiet_console_keeps_the_file_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path / "run.log", level="error", show_epochs=True):
        logging.getLogger(EPOCH_LOGGER).info("epoch 0 training")
        logging.getLogger().error("broken")
    shown = capsys.readouterr().err
    assert "broken" in shown and "epoch 0" not in shown
    assert "epoch 0" in (tmp_path / "run.log").read_text()


def test_root_logger_is_as_before_even_after_an_error(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stranger = logging.NullHandler()
    with pytest.raises(ZeroDivisionError), RunLog(tmp_path / "run.log", level="DEBUG"):
        assert root.level == logging.DEBUG and len(root.handlers) == len(before) + 2
        root.addHandler(stranger)
        raise ZeroDivisionError
    assert root.handlers == [*before, stranger] and root.level == level
    root.removeHandler(stranger)


def test_a_second_run_appends_and_another_has_its_own_file(tmp_path: Path) -> None:
    for name, words in (("a.log", "first"), ("b.log", "second"), ("a.log", "third")):
        with RunLog(tmp_path / name):
            logging.getLogger().info(words)
    kept = (tmp_path / "a.log").read_text()
    assert "first" in kept and "third" in kept and "second" not in kept


def test_a_record_does_not_break_a_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path / "run.log"), tqdm(total=2, ncols=60, mininterval=0, desc="bar") as bar:
        bar.update()
        logging.getLogger().info("in between")
    line = next(line for line in capsys.readouterr().err.split("\n") if "in between" in line)
    # what stands on the record's line once the terminal has gone back to its start for the last time
    assert "bar" in line and "bar" not in line.rsplit("\r", 1)[1]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LOUD"):
        RunLog(tmp_path / "run.log", level="LOUD")
    with pytest.raises(RunError, match="cannot be written"), RunLog(tmp_path / "nowhere" / "run.log"):
        pass
