"""What the machine refuses is told in one line."""

import pickle

import numpy as np
import pytest
import torch

import recbole_ccd.utils.atomic_files
from recbole_ccd import compare, resume
from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.resource_errors import is_out_of_memory, translate_resource_errors
from tests.conftest import SMALL


def told(error):
    with pytest.raises(RunError) as caught, translate_resource_errors("here", lambda: "block 1, somewhere"):
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_room():
    assert told(OSError(28, "No space left on device")) == (
        "here cannot be saved (No space left on device); free space there and go on with --resume=here"
    )
    assert told(PermissionError(13, "Permission denied", "here/x")).startswith(
        "here/x cannot be saved (Permission denied); see to it"
    )


def real_errors():
    for allocate in (
        lambda: torch.empty(2**60),
        lambda: np.empty(2**50, dtype=np.uint8),
        lambda: bytearray(2**62),
    ):
        try:
            allocate()
        except Exception as error:
            yield error
    yield torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")


def test_no_memory():
    errors = list(real_errors())
    assert len(errors) == 4
    for error in errors:
        assert is_out_of_memory(error)
        message = told(error)
        assert message.startswith("block 1, somewhere: out of memory (")
        for key in ("eval_batch_size", "train_batch_size", "lwc_kd_anchors", "n_uninteresting_items"):
            assert key in message


def test_other_errors_pass_unchanged():
    for error in (RuntimeError("size mismatch"), ValueError("x"), RunError("y"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, translate_resource_errors("here", lambda: "x"):
            raise error
        assert caught.value is error


def test_of_one_within_another_the_outer_one_is_gone_on_with():
    """A comparison is resumed as a whole, whichever of its runs had no room."""
    for error in (OSError(28, "No space left on device", "both/a/x"), MemoryError("none left")):
        with (
            pytest.raises(RunError, match="go on with --resume=both(, or start anew.*)?$") as caught,
            translate_resource_errors("both", lambda: "the comparison"),
            translate_resource_errors("both/a", lambda: "block 1"),
        ):
            raise error
        # workers send it
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_comparison_without_room_names_its_own_folder(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {**SMALL, "model": "BPR", "dataset": "tiny", "data_path": str(tiny_folder), "base": "plain"}
    keys |= {"strategy": ["static", "fine_tune"], "run_dir": "both", "block_ratios": [0.6, 0.4]}
    inner, names = recbole_ccd.utils.atomic_files.replacing, []

    def replacing(path):
        names.append(path.name)
        if path.name == "result-0.json" or names.count("config.yaml") > 1:
            raise OSError(28, "No space left on device", str(path))
        return inner(path)

    monkeypatch.setattr(recbole_ccd.utils.atomic_files, "replacing", replacing)
    with pytest.raises(RunError, match="No space left on device.*go on with --resume=both$"):
        compare(config_dict=keys)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert resume("both").labels == ["static", "fine_tune"]
