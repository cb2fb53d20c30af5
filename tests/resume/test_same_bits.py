"""A run that was killed after every save, and gone on with, is the uninterrupted run."""

import pytest

from recbole_ccd.quick_start import resume, run_ccd
from tests.resume.cases import (
    CASES,
    Killed,
    assert_same_run,
    killed_after,
    run_in_parts,
    settings_of,
    weights_of,
)

# the others are slow only in their number
AT_ONCE = ("ccd", "lwc_kd", "full_batch", "replay")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "case", [case if case in AT_ONCE else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_killed_after_every_save(case, tiny_folder, tmp_path):
    run_ccd(config_dict=settings_of(case, tiny_folder, tmp_path / "whole"))
    kills, result = run_in_parts(settings_of(case, tiny_folder, tmp_path / "parts"))
    assert kills > (10 if case.startswith("ccd") else 2)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert result.n_rows("student") == 3
    if not case.startswith("full_batch-"):
        assert weights_of(tmp_path / "whole")
    # the last two blocks and nothing else is kept
    kept = {path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()}
    assert kept == {"block-1", "block-2"}


def test_without_checkpoints_inside_stages(tiny_folder, tmp_path):
    keys = {"checkpoint_every": None}
    run_ccd(config_dict={**settings_of("ccd-bpr", tiny_folder, tmp_path / "whole"), **keys})
    kills, _ = run_in_parts({**settings_of("ccd-bpr", tiny_folder, tmp_path / "parts"), **keys})
    assert kills > 5
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_moved_run_goes_on(tiny_folder, tmp_path):
    run_ccd(config_dict=settings_of("ccd-bpr", tiny_folder, tmp_path / "whole"))
    with pytest.raises(Killed), killed_after(9):
        run_ccd(config_dict=settings_of("ccd-bpr", tiny_folder, tmp_path / "here"))
    (tmp_path / "below").mkdir()
    (tmp_path / "here").rename(tmp_path / "below" / "there")
    result = resume(tmp_path / "below" / "there")
    assert_same_run(tmp_path / "whole", tmp_path / "below" / "there")
    assert result.settings["run_dir"] == str(tmp_path / "below" / "there")
    assert not (tmp_path / "here").exists()
