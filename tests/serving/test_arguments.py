"""The functions of serving refuse what is of the wrong type in one line, and change nothing then."""

import numpy as np
import pandas as pd
import pytest

from recbole_ccd import load_student
from recbole_ccd.serving import export_vectors
from recbole_ccd.utils.errors import ConfigError
from tests.serving.test_command import everything, working_folder

__all__ = ["working_folder"]
STRANGE = [["all"], {"all"}, {"all": 1}, None, 3.5, b"all", np.array(["all", "none"]), object()]
NO_TOKENS = [None, 3, 3.5, b"u1", "u1", {"u1": 1}, np.array([["u1"]]), object()]
NO_TOKEN = [None, 1.5, True, b"u1", ["u1"], float("nan")]


def label(value):
    """What a case is called, the same in every process."""
    return "object" if type(value) is object else repr(value)


def refused(call, start, remedy):
    with pytest.raises(ConfigError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(start) and remedy in message and "\n" not in message and len(message) < 300


@pytest.mark.parametrize("value", [*STRANGE, "some", 1, 0], ids=label)
def test_exclude_seen(value, served):
    remedy = "; give True, False or one of ('all', 'evaluation', 'none')"
    refused(lambda: served.recommend(["u1"], 3, value), "exclude_seen is ", remedy)


@pytest.mark.parametrize("value", [*STRANGE, "3", True, 0, -1], ids=label)
def test_numbers(value, served):
    refused(lambda: served.recommend(["u1"], value), "k is ", "; give an integer >= 1")
    if value is not None:
        refused(
            lambda: served.recommend(["u1"], batch_size=value), "batch_size is ", "; give an integer >= 1"
        )
    # block 0 is one
    if value is not None and not isinstance(value, int):
        refused(lambda: served.recommend(["u1"], block=value), "block is ", "from 0 to 2")


@pytest.mark.parametrize("value", NO_TOKENS, ids=label)
def test_lists_of_tokens(value, served):
    refused(lambda: served.recommend(value), "user_tokens is ", "; give a list of tokens")
    refused(lambda: served.fold_in({"u1": value}), "the items of 'u1' are ", "; give a list of tokens")


@pytest.mark.parametrize("value", NO_TOKEN, ids=label)
def test_tokens(value, served):
    refused(lambda: served.recommend(["u1", value]), "user_tokens holds ", "; give tokens as text")
    refused(lambda: served.fold_in({"u1": ["i1", value]}), "the items of 'u1' hold ", "; give tokens as text")
    if value.__hash__:
        refused(lambda: served.fold_in({value: ["i1"]}), "interactions holds ", "; give tokens as text")


@pytest.mark.parametrize("value", [None, 3, "u1", ["u1"], pd.DataFrame({"u1": ["i1"]})], ids=type)
def test_interactions(value, served):
    refused(lambda: served.fold_in(value), "interactions is ", "; give a dictionary of items by user")


def test_nothing_is_folded_in_by_halves(served):
    before = served.recommend(["somebody", "u1"], 5)
    refused(lambda: served.fold_in({"somebody": ["i1"], "u1": 3}), "the items of 'u1' are 3", "")
    assert served.recommend(["somebody", "u1"], 5).equals(before)


@pytest.mark.parametrize("value", [None, 3, b"run", ["run"]], ids=label)
def test_paths(value, served):
    refused(lambda: load_student(value), "run_dir is ", "; give the path of a run directory")
    refused(lambda: export_vectors(served, value), "path is ", "; give the path of the file to write")
    refused(lambda: export_vectors(value, "out.npz"), "served is ", "; give what load_student returns")
    assert everything() == []


@pytest.mark.parametrize("value", STRANGE, ids=label)
def test_roles(value, run_dir):
    refused(lambda: load_student(run_dir, value), "role is ", "; give one of: student, teacher")


def test_what_is_as_good_as_a_list(served):
    wanted = served.recommend(["u1", "u2"], 4)
    for users in (("u1", "u2"), np.array(["u1", "u2"]), pd.Series(["u1", "u2"]), iter(["u1", "u2"])):
        assert served.recommend(users, np.int64(4), np.True_).equals(wanted)
    served.fold_in({"somebody": pd.Series(["i3", "i4"])})
    assert set(served.recommend(["somebody", 7], 2)["source"]) == {"folded in", "popular"}
