"""Serving from a run that goes on meanwhile, here or in another process."""

import shutil
import threading

import pytest
import torch

from recbole_ccd import RunError, load_student
from recbole_ccd.checkpoint.manifest import Manifest
from recbole_ccd.serving import loading
from recbole_ccd.utils.seeding import exclusive


@pytest.fixture
def one_behind(copied):
    """A run, and a function that takes a step on: the files that are named have other names then."""

    def step():
        manifest, _ = Manifest.read(copied)
        entry = manifest.blocks[-1]
        for file in entry.files.values():
            path = file.in_folder(copied)
            moved = path.with_name(f"x{path.name}")
            shutil.move(path, moved)
            object.__setattr__(file, "file", moved.relative_to(copied).as_posix())
        manifest.write(copied)

    return copied, step


@pytest.mark.parametrize("steps", [1, 3])
def test_files_that_go_while_they_are_read_are_looked_for_again(one_behind, steps, monkeypatch, served):
    folder, step = one_behind
    inner, left = loading._last_block, [steps]

    def last_block(*given):
        entry = inner(*given)
        if left[0]:
            left[0] -= 1
            step()
        return entry

    monkeypatch.setattr(loading, "_last_block", last_block)
    found = load_student(folder)
    assert not left[0]
    assert torch.equal(found.vectors[0], served.vectors[0])


def test_what_is_really_missing_is_told_at_once(copied, monkeypatch):
    manifest, _ = Manifest.read(copied)
    manifest.blocks[-1].files["serving"].in_folder(copied).unlink()
    asked, inner = [], loading._manifest
    monkeypatch.setattr(loading, "_manifest", lambda folder: asked.append(folder) or inner(folder))
    with pytest.raises(RunError, match=r"serving.pt is missing; restore it"):
        load_student(copied)
    assert len(asked) == 2


def test_a_model_is_not_built_while_a_run_draws_in_another_thread(run_dir, monkeypatch):
    monkeypatch.setattr(loading, "_PATIENCE", 0.01)
    refused = []

    def load():
        try:
            load_student(run_dir, "teacher")
        except RunError as error:
            refused.append(str(error))

    with exclusive():
        state = torch.get_rng_state()
        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
        assert torch.equal(torch.get_rng_state(), state)
    assert len(refused) == 1 and "another run is under way in this process" in refused[0]
    # what needs no model is served all the same, and the other when the run is over
    assert load_student(run_dir, "teacher")
