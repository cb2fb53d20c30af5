"""What serving leaves out it says."""

import logging

import pytest

from recbole_ccd import load_student
from recbole_ccd.cli import main
from tests.serving.test_command import read_csv, working_folder, write_users

__all__ = ["working_folder"]


def recommend(run, *more):
    return main([f"--recommend={run}", "--users=users.txt", "--output=out.csv", *more])


def lines(capsys):
    shown = capsys.readouterr()
    return shown.out.splitlines(), shown.err


def test_users_who_have_seen_everything_are_named(run_dir, served, capsys):
    everything = " ".join(served.item_tokens[1:])
    most = " ".join(served.item_tokens[3:])
    write_users("u1", f"u2\t{everything}", f"all\t{everything}", f"u3\t{most}")
    assert recommend(run_dir, "--k=4") == 0
    rows = read_csv()
    assert {row["user"] for row in rows} == {"u1", "u3"}
    out, error = lines(capsys)
    assert "4 users (2 student, 0 popular, 0 folded in, 2 without recommendations)" in out[0]
    assert out[1:] == [
        "no row is for users who have no item left: 'u2', 'all'",
        "fewer than 4 rows are for users who have no more items left: 'u3'",
    ]
    assert error == ""


def test_of_many_users_some_are_named(run_dir, served, capsys, monkeypatch):
    monkeypatch.setattr("recbole_ccd.serving.command._USERS", 2)
    everything = " ".join(served.item_tokens[1:])
    write_users(*(f"new {n}\t{everything}" for n in range(7)))
    assert recommend(run_dir) == 0
    out, _ = lines(capsys)
    assert out[1] == "no row is for users who have no item left: 'new 0', 'new 1', 'new 2' and 4 more"
    assert read_csv() == []


def test_unknown_items_among_known_ones_are_named(run_dir, capsys):
    write_users("somebody\ti3 nothing i4 no-item", "u1\ti5 nothing", "other\tnone", "fine\ti3")
    assert recommend(run_dir) == 0
    out, error = lines(capsys)
    assert "WARNING  4 items are not known and passed over: 'nothing' (of 'somebody'), " in error
    assert "'no-item' (of 'somebody'), 'nothing' (of 'u1') and 1 more\n" in error
    assert out[1] == "popular items are for users who are not known: 'other'"


def test_from_python_they_are_returned_and_logged(served, caplog):
    with caplog.at_level(logging.WARNING, "recbole_ccd"):
        assert served.fold_in({"a": ["i3", "x", "x"], "b": ["i4"], "c": []}) == {"a": ["x"]}
        assert caplog.messages == ["1 item is not known and passed over: 'x' (of 'a')"]
        assert served.fold_in({"b": ["i4"]}) == {} and len(caplog.messages) == 1


@pytest.mark.parametrize("k", ["61", "100000000000", "0" * 30 + "999999"])
def test_longer_lists_than_there_are_items(k, run_dir, capsys):
    write_users("u1", "nobody")
    assert recommend(run_dir, f"--k={k}", "--exclude_seen=none") == 0
    _, error = lines(capsys)
    assert f"WARNING  k is {int(k)} (command line), more than the 60 items, where lists end\n" in error
    assert [int(row["rank"]) for row in read_csv()] == [*range(1, 61)] * 2


def test_as_many_as_there_are_items_is_no_word_worth(run_dir, capsys):
    write_users("u1")
    assert recommend(run_dir, "--k=60") == 0
    out, error = lines(capsys)
    assert len(out) == 1 and error == ""


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (
            "1" * 19,
            "k is '1111111111111111111' (command line), more than any number of items; give a smaller one",
        ),
        ("00", "k is '00' (command line); give an integer >= 1"),
        ("1e3", "k is '1e3' (command line); give an integer >= 1"),
        ("-5", "k is '-5' (command line); give an integer >= 1"),
    ],
)
def test_no_number_of_items(k, message, run_dir, capsys):
    write_users("u1")
    assert recommend(run_dir, f"--k={k}") == 2
    assert lines(capsys) == ([], f"error: {message}\n")


def test_long_lists_are_written_a_few_users_at_a_time(run_dir, monkeypatch):
    sizes = []
    real = type(load_student(run_dir)).recommend

    def recommend_to(self, users, k, *more):
        sizes.append(len(users) * k)
        return real(self, users, k, *more)

    monkeypatch.setattr("recbole_ccd.serving.recommender.Recommender.recommend", recommend_to)
    monkeypatch.setattr("recbole_ccd.serving.command._ROWS", 100)
    write_users("u1", "u2", "u3", "u4", "u5")
    assert recommend(run_dir, "--k=30") == 0
    assert sizes == [90, 60] and len(read_csv()) > 100
