"""What a message says is to be done is what helps."""

import errno

import pytest

from recbole_ccd import compare, resume
from recbole_ccd.checkpoint import Manifest, RunDirectory
from recbole_ccd.utils.errors import RunError, TrainingError
from recbole_ccd.utils.resource_errors import translate_resource_errors
from tests.conftest import SMALL, SMALL_CCD

NO_ROOM = OSError(errno.ENOSPC, "No space left on device", "top/run/x.pt")


@pytest.mark.parametrize("error", [NO_ROOM, MemoryError("none left")])
def test_of_nested_folders_the_outermost_is_gone_on_with(error):
    with pytest.raises(RunError) as exclusive, translate_resource_errors("top/run", lambda: "block 1"):
        raise error
    with pytest.raises(RunError) as nested, translate_resource_errors("top", lambda: "all"):
        with translate_resource_errors("top/run", lambda: "block 1"):
            raise error
    assert type(nested.value) is type(exclusive.value)
    assert str(nested.value) == str(exclusive.value).replace("--resume=top/run", "--resume=top")
    assert ("top/run/x.pt" in str(nested.value)) == (error is NO_ROOM)


def test_other_errors_of_a_run_are_left_alone():
    for error in (RunError("x"), TrainingError("y")):
        with pytest.raises(RunError) as caught, translate_resource_errors("top", lambda: "all"):
            raise error
        assert caught.value is error


@pytest.fixture
def keys(tiny_folder, tmp_path):
    run = {**SMALL, **SMALL_CCD, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "top")}
    return {**run, "base": "plain", "strategy": "static,fine_tune", "block_ratios": [0.6, 0.4]}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["a run", "the comparison"])
def test_a_comparison_on_a_full_disk_is_gone_on_with_as_a_whole(keys, tmp_path, monkeypatch, place):
    write_manifest, write_json = Manifest.write, RunDirectory.write_json

    def manifest_of_a_run(manifest, folder):
        if folder.name != "top":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_manifest(manifest, folder)

    def comparison(directory, name, document):
        if name == "comparison.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_json(directory, name, document)

    if place == "a run":
        monkeypatch.setattr(Manifest, "write", manifest_of_a_run)
    else:
        monkeypatch.setattr(RunDirectory, "write_json", comparison)
    remedy = f"free space there and go on with --resume={tmp_path / 'top'}"
    with pytest.raises(RunError) as caught:
        compare("BPR", "tiny", config_dict=keys)
    assert str(caught.value).endswith(remedy)
    with pytest.raises(RunError) as caught:
        resume(tmp_path / "top")
    assert str(caught.value).endswith(remedy)
    monkeypatch.undo()
    assert len(resume(tmp_path / "top").to_dict()["runs"]) == 2
