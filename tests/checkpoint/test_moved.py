"""A run directory that somebody moves or removes while the run goes on."""

import os
import shutil
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from recbole_ccd import compare, resume, run_ccd
from recbole_ccd.checkpoint import RunLock
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.cli import main
from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.owned_folder import OwnedFolder
from tests.checkpoint.cases import assert_same_run, settings_of


def moved(folder, away):
    folder.rename(away)


def removed(folder, away):
    shutil.rmtree(folder)


def replaced(folder, away):
    folder.rename(away)
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")


@contextmanager
def after_saves(number, do):
    """Calls something once so many manifests have been written."""
    counted, write = iter(range(1, number + 1)), FileStore.write

    def watched(self, manifest):
        write(self, manifest)
        if next(counted, None) == number:
            do()

    with patch.object(FileStore, "write", watched):
        yield


@pytest.mark.parametrize("saves", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [moved, removed, replaced])
def test_the_run_ends_in_one_line_and_makes_no_other_folder(how, saves, tiny_folder, tmp_path, tensorboard):
    folder, away = tmp_path / "runs" / "run", tmp_path / "away"
    settings = settings_of("ccd-bpr", tiny_folder, folder)
    with pytest.raises(RunError, match="run was moved or removed while it was in use; go on with it") as told:
        with after_saves(saves, lambda: how(folder, away)):
            run_ccd(config_dict=settings)
    assert "\n" not in str(told.value)
    if how is replaced:
        assert os.listdir(folder) == ["mine.txt"]
    else:
        assert not folder.exists()


def test_it_is_gone_on_with_where_it_is_now(place, tiny_folder, tmp_path):
    folder, away = tmp_path / "run", tmp_path / "away"
    with pytest.raises(RunError, match="was moved"), after_saves(4, lambda: moved(folder, away)):
        run_ccd(config_dict=settings_of("ccd-bpr", tiny_folder, folder))
    resume(away)
    assert_same_run(place / "whole", away)


def saves_of(do):
    """How many manifests are written while something is done."""
    written, write = [], FileStore.write
    with patch.object(FileStore, "write", lambda *given: written.append(write(*given))):
        do()
    return len(written)


# of the last three manifests, one says that the last run is finished and the last one that all are
@pytest.mark.parametrize(
    ("which", "before_the_end"),
    [
        ("several", 1),
        *(pytest.param(which, 2, marks=pytest.mark.slow) for which in ("several", "several/fine_tune-2020")),
    ],
)
def test_so_does_a_comparison(which, before_the_end, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {**settings_of("static", tiny_folder, "several"), "base": "plain", "block_ratios": [0.6, 0.4]}
    settings["strategy"] = ["static", "fine_tune"]
    saves = saves_of(lambda: compare(config_dict={**settings, "run_dir": "other"})) - before_the_end
    with pytest.raises(RunError), after_saves(saves, lambda: moved(tmp_path / which, tmp_path / "away")):
        compare(config_dict=settings)
    assert not (tmp_path / which).exists()


def test_the_program_says_so_and_ends_with_code_2(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = settings_of("ccd-bpr", tiny_folder, "run")
    with after_saves(2, lambda: removed(tmp_path / "run", None)):
        assert main([f"--{key}={'~' if value is None else value}" for key, value in settings.items()]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: run was moved or removed while")
    assert not (tmp_path / "run").exists()


def test_a_lock_of_the_folder_that_took_its_place_is_left_alone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with RunLock(folder):
        replaced(folder, tmp_path / "away")
        with RunLock(folder):
            pass
        (folder / "lock").write_text("of another")
    assert (folder / "lock").read_text() == "of another"


def test_a_folder_that_was_never_there_is_made(tmp_path):
    own = OwnedFolder(tmp_path / "new")
    own.make()
    own.make()
    (tmp_path / "new").rmdir()
    with pytest.raises(RunError, match="new was moved or removed"):
        own.make()
