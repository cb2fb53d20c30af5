"""What the machine refuses is told in one line."""

import numpy as np
import pytest
import torch

from recbole_ccd.errors import RunError
from recbole_ccd.faults import is_out_of_memory, told_in_one_line


def told(error):
    with pytest.raises(RunError) as caught, told_in_one_line("here", lambda: "block 1, somewhere"):
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
        with pytest.raises(type(error)) as caught, told_in_one_line("here", lambda: "x"):
            raise error
        assert caught.value is error
