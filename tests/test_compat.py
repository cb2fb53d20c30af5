"""RecBole's trainers, where they would write what nobody asked for."""

import os

import pytest
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer

from recbole_ccd import run_ccd
from recbole_ccd.compat import SilentWriter, curves_in
from recbole_ccd.config import DERIVED_KEYS
from recbole_ccd.trainer import make_trainer
from recbole_ccd.utils.errors import RunError
from tests.powers import permissions_count, skip_if_writable


@pytest.fixture
def built(make_config, tiny_stream, tmp_path, monkeypatch):
    """Constructs a trainer in a working folder of its own, and returns both."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def build(model=BPR):
        config = make_config(model.__name__, checkpoint_dir="saved").for_stage("base")
        return make_trainer(config, model(config, tiny_stream[0].train))

    return folder, build


def test_recboles_own_constructor_would_write_into_the_working_folder(
    built, make_config, tiny_stream, monkeypatch
):
    config = make_config("BPR", checkpoint_dir="saved")
    Trainer(config, BPR(config, tiny_stream[0].train)).tensorboard.close()
    assert sorted(os.listdir()) == ["log_tensorboard", "saved"]


def empty_folder(path, elsewhere):
    path.mkdir()


def a_file(path, elsewhere):
    path.write_text("mine")


def a_link(path, elsewhere):
    elsewhere.mkdir()
    path.symlink_to(elsewhere)


def a_link_to_nothing(path, elsewhere):
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("left", [None, empty_folder, a_file, a_link, a_link_to_nothing])
def test_ours_leaves_it_as_it_is(left, built, tmp_path):
    folder, build = built
    if left is not None:
        left(folder / "log_tensorboard", tmp_path / "elsewhere")
    before = sorted((path, path.lstat().st_ino, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    trainer = build()
    # everything else is as RecBole makes it
    assert trainer.learner == "adam" and trainer.saved_model_file.startswith("saved/BPR-")
    after = sorted((path, path.lstat().st_ino, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert after == before


def test_a_working_folder_that_may_not_be_written_to_will_do(built):
    folder, build = built
    folder.chmod(0o500)
    with permissions_count():
        skip_if_writable(folder)
        build()


def test_curves_of_a_stage_go_into_the_run_directory(tmp_path, tensorboard):
    writer = curves_in(tmp_path, "block 0 base")
    writer.add_scalar("loss", 1.0, 0)
    writer.close()
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent == tmp_path / "tensorboard" / "block-0-base" and file.name.startswith("events")


def test_without_one_there_are_none(tmp_path):
    for folder in (None, tmp_path / "moved away"):
        assert isinstance(curves_in(folder, "block 0 base"), SilentWriter)
    assert not list(tmp_path.iterdir())


def test_they_do_not_follow_a_link(tmp_path, tensorboard):
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "tensorboard").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="run/tensorboard is a link"):
        curves_in(tmp_path / "run", "block 0 base")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_whole_run_needs_a_working_folder_no_more_than_to_be_there(make_config, tmp_path, monkeypatch):
    folder = tmp_path / "working"
    folder.mkdir()
    (folder / "log_tensorboard").write_text("mine")
    folder.chmod(0o500)
    monkeypatch.chdir(folder)
    settings = make_config("BPR", strategy="fine_tune", base="plain").to_dict()
    settings |= {"run_dir": str(tmp_path / "run"), "checkpoint_dir": "saved"}
    with permissions_count():
        skip_if_writable(folder)
        run_ccd(config_dict={key: value for key, value in settings.items() if key not in DERIVED_KEYS})
    assert [path.name for path in folder.iterdir()] == ["log_tensorboard"]
    assert (tmp_path / "run" / "result.json").is_file()
