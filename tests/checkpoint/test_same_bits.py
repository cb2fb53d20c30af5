"""A run that was killed after every save, and gone on with, is the uninterrupted run."""

import pytest

from recbole_ccd.quick_start import resume, run_ccd
from tests.checkpoint.cases import CASES, assert_same_run, run_in_parts, settings_of, weights_of
from tests.conftest import few


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(case, tiny_folder, tmp_path, saves):
    """A run that is killed after so many manifests, and gone on with, against one that is left alone."""
    run_ccd(config_dict=settings_of(case, tiny_folder, tmp_path / "whole"))
    kills, result = run_in_parts(settings_of(case, tiny_folder, tmp_path / "parts"), saves)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert result.n_rows("student") == 3
    if not case.startswith("full_batch-"):
        assert weights_of(tmp_path / "whole")
    # the last two blocks and nothing else is kept
    kept = {path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()}
    assert kept == {"block-1", "block-2", "interactions"}
    return kills


@pytest.mark.parametrize("case", few(["ccd", "lwc_kd", "full_batch", "replay"], "ccd"))
def test_killed_now_and_then(case, tiny_folder, tmp_path):
    # the first manifest of each process is that of its beginning
    assert check(case, tiny_folder, tmp_path, saves=14 if case == "ccd" else 5) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_after_every_save(case, tiny_folder, tmp_path):
    assert check(case, tiny_folder, tmp_path, saves=2) > (10 if case.startswith("ccd") else 2)


@pytest.mark.slow
def test_without_checkpoints_inside_stages(tiny_folder, tmp_path):
    keys = {"checkpoint_every": None}
    run_ccd(config_dict={**settings_of("ccd-bpr", tiny_folder, tmp_path / "whole"), **keys})
    kills, _ = run_in_parts({**settings_of("ccd-bpr", tiny_folder, tmp_path / "parts"), **keys})
    assert kills > 5
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_moved_run_goes_on(part, place, tmp_path):
    (tmp_path / "below").mkdir()
    part.rename(tmp_path / "below" / "there")
    result = resume(tmp_path / "below" / "there")
    assert_same_run(place / "whole", tmp_path / "below" / "there")
    assert result.settings["run_dir"] == str(tmp_path / "below" / "there")
    assert not part.exists()
