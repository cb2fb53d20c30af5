"""One run that ended and one that was killed, for all that can happen to them afterwards."""

import shutil

import pytest
import yaml

from recbole_ccd.quick_start import run_ccd
from tests.checkpoint.cases import Killed, killed_when, settings_of


@pytest.fixture(scope="session")
def place(tiny_folder, tmp_path_factory):
    """A folder with a settings file, the uninterrupted run ``whole`` and one killed in block 2, ``part``."""
    folder = tmp_path_factory.mktemp("runs")
    settings = settings_of("ccd-bpr", tiny_folder, "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_ccd(config_dict=settings)

        def under_way(manifest):
            """Block 1 is finished, and so is a stage after it, but not the next one."""
            return len(manifest.blocks) == 2 and manifest.stages and manifest.epochs is not None

        with pytest.raises(Killed), killed_when(under_way):
            run_ccd(config_dict={**settings, "run_dir": "part"})
    del settings["run_dir"]
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


@pytest.fixture
def part(place, tmp_path, monkeypatch):
    """The run that was killed, to be gone on with in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "part", tmp_path / "part")
    return tmp_path / "part"
