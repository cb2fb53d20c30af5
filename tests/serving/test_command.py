"""``--recommend`` and ``--export`` as a user meets them."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_ccd import load_student
from recbole_ccd.cli import main
from recbole_ccd.serving import export_vectors

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_users(*lines):
    Path("users.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def everything():
    return sorted(str(path) for path in Path().rglob("*"))


def read_csv(name="out.csv"):
    with open(name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def started_here(command, capsys):
    """Exit code and output of the program in this process."""
    code = main(command)
    shown = capsys.readouterr()
    return code, shown.err, shown.out


def started_apart(command, capsys):
    """The same in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONWARNINGS", None)
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "run_ccd.py"), *command],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr, done.stdout


@pytest.mark.parametrize("start", [started_here, pytest.param(started_apart, marks=pytest.mark.slow)])
def test_the_program_recommends(start, run_dir, capsys, served):
    write_users("u3", "nobody", "somebody\ti3 i4", "", "u5\ti9")
    before = sorted(path for path in run_dir.rglob("*"))
    command = [f"--recommend={run_dir}", "--users=users.txt", "--k=4", "--output=out.csv"]
    code, error, shown = start(command, capsys)
    assert (code, error) == (0, "")
    assert "4 users (2 student, 1 popular, 1 folded in)" in shown and "out.csv" in shown
    served.fold_in({"somebody": ["i3", "i4"], "u5": ["i9"]})
    table = served.recommend(["u3", "nobody", "somebody", "u5"], 4)
    rows = read_csv()
    assert list(rows[0]) == ["user", "rank", "item", "score", "source"]
    for column in ("user", "item", "source"):
        assert [row[column] for row in rows] == table[column].tolist()
    assert [int(row["rank"]) for row in rows] == table["rank"].tolist()
    np.testing.assert_allclose([float(row["score"]) for row in rows], table["score"], rtol=1e-5)
    assert everything() == ["out.csv", "users.txt"]
    assert sorted(path for path in run_dir.rglob("*")) == before


@pytest.mark.parametrize("exclude", ["none", "False", "evaluation", "all", "true"])
def test_what_is_left_out_can_be_chosen(exclude, run_dir, served):
    write_users("u3")
    arguments = [f"--recommend={run_dir}", "--users=users.txt", "--output=out.csv"]
    assert main([*arguments, f"--exclude_seen={exclude}", "--role=student"]) == 0
    mode = {"False": False, "true": True}.get(exclude, exclude)
    assert [row["item"] for row in read_csv()] == served.recommend(["u3"], 20, mode)["item"].tolist()


def test_many_users_are_written_part_by_part(run_dir, served, monkeypatch):
    monkeypatch.setattr("recbole_ccd.serving.command._USERS", 7)
    users = served.user_tokens[1:].tolist()
    write_users(*users)
    assert main([f"--recommend={run_dir}", "--users=users.txt", "--output=out.csv", "--k=3"]) == 0
    table = served.recommend(users, 3)
    assert [(row["user"], row["item"]) for row in read_csv()] == list(
        zip(table["user"], table["item"], strict=True)
    )


def test_tokens_with_commas_and_quotes_survive(run_dir):
    write_users('a "b", c')
    assert main([f"--recommend={run_dir}", "--users=users.txt", "--output=out.csv", "--k=1"]) == 0
    assert read_csv()[0]["user"] == 'a "b", c'


def test_export_needs_no_pickle(run_dir, served):
    assert main([f"--export={run_dir}", "--output=out.npz"]) == 0
    with np.load("out.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(
            f"{side}_{name}" for side in ("user", "item") for name in ("tokens", "ids", "embeddings")
        )
        for side, tokens, table in zip(
            ("user", "item"), (served.user_tokens, served.item_tokens), served.vectors, strict=True
        ):
            assert arrays[f"{side}_tokens"].tolist() == tokens[1:].tolist()
            assert arrays[f"{side}_ids"].tolist() == list(range(1, len(tokens)))
            assert arrays[f"{side}_embeddings"].dtype == np.float32
            assert np.array_equal(arrays[f"{side}_embeddings"], table[1:].numpy())
        scores = arrays["user_embeddings"] @ arrays["item_embeddings"].T
        best = arrays["item_tokens"][scores[2].argmax()]
    assert served.recommend([served.user_tokens[3]], 1, exclude_seen=False)["item"].tolist() == [best]


def test_a_model_without_embeddings_is_not_exported(run_of, tmp_path):
    run = run_of(strategy="full_batch", base="plain", model="MultiVAE", graph="block")
    with pytest.raises(Exception, match="MultiVAE does not score by an inner product"):
        export_vectors(load_student(run), tmp_path / "out.npz")
    assert not everything()


RIGHT = {"users": "users.txt", "output": "out.csv"}
REFUSED = {
    "no users": ({"users": None}, "--recommend needs --users=FILE (command line); give it"),
    "no output": ({"output": None}, "--recommend needs --output=FILE (command line); give it"),
    "unknown key": (
        {"user": "x"},
        "unknown key 'user' beside --recommend (command line); did you mean 'us",
    ),
    "a run's key": ({"epochs": "3"}, "unknown key 'epochs' beside --recommend (command line)"),
    "both": ({"export": "run"}, "--recommend and --export exclude each other"),
    "k": ({"k": "0"}, "k is '0' (command line); give an integer >= 1"),
    "many digits": ({"k": "1" * 5000}, "k is '1111"),
    "exclude": (
        {"exclude_seen": "some"},
        "exclude_seen is 'some' (command line); give one of: all, ",
    ),
    "role": ({"role": "proxy"}, "role is 'proxy'; give one of: student, teacher"),
    "no folder": ({"output": "nowhere/out.csv"}, "nowhere is no folder; make it, or give another --output"),
    "a folder": ({"output": "."}, ". is a folder; give --output the name of a file"),
    "no file": ({"users": "nobody.txt"}, "nobody.txt: No such file or directory; give --users a text file"),
    "no run": ({"recommend": "nowhere"}, "nowhere is not a run directory: it holds no manifest.json"),
    "empty": ({"users": b"\n\n"}, "users.txt: it names no user; write one token per line"),
    "not UTF-8": ({"users": b"u1\nu2\n\xff\n"}, "users.txt, line 3: it is not UTF-8; save the file as UTF-8"),
    "tabs": ({"users": b"u1\nu2\ti1\ti2\n"}, "users.txt, line 2: 2 tabs; write one between"),
    "no token": ({"users": b"u1\n\n\ti1 i2\n"}, "users.txt, line 3: there is no user before the tab"),
    "twice": ({"users": b"u1\nu2\r\nu1\n"}, "users.txt, line 3: user 'u1' stands in line 1 too; remove one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_ends_with_two_and_one_line(case, run_dir, capsys):
    wrong, message = REFUSED[case]
    write_users("u1")
    if isinstance(wrong.get("users"), bytes):
        Path("users.txt").write_bytes(wrong["users"])
        wrong = {}
    given = {"recommend": run_dir, **RIGHT, **wrong}
    before = everything()
    assert main([f"--{key}={value}" for key, value in given.items() if value is not None]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: {message}") and shown.err.count("\n") == 1
    assert everything() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recommend"], "the argument '--recommend' (command line) cannot be read"),
        (["--recommend="], "the argument '--recommend=' (command line) cannot be read"),
        (["--export=a", "--export=b"], "--export occurs twice (command line); give it once"),
        (["--export=a"], "--export needs --output=FILE"),
        (["--export=a", "--output=b", "--k=3"], "unknown key 'k' beside --export"),
    ],
)
def test_arguments_that_cannot_be_read(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize("name", ["result.json", "vocabulary.json", "checkpoints/block-2/serving.pt"])
def test_files_of_the_run_are_not_written_over(name, run_dir, capsys):
    copied = Path(shutil.copytree(run_dir, "copied"))
    before = (copied / name).read_bytes()
    write_users("u1")
    for command in (["--recommend=copied", "--users=users.txt"], ["--export=copied"]):
        assert main([*command, f"--output=copied/{name}"]) == 2
        assert capsys.readouterr().err == f"error: copied/{name} belongs to the run; give another --output\n"
        assert (copied / name).read_bytes() == before
    # what serving has left there is made anew
    for _ in range(2):
        assert main(["--export=copied", "--output=copied/vectors.npz"]) == 0


def test_the_users_are_not_written_over(run_dir, capsys):
    write_users("u1")
    assert main([f"--recommend={run_dir}", "--users=users.txt", "--output=./users.txt"]) == 2
    assert capsys.readouterr().err == "error: users.txt is the file that is read; give another --output\n"
    assert Path("users.txt").read_text() == "u1\n"


def test_unknown_users_are_named(run_dir, capsys):
    write_users("u1", "u2 ", "somebody\ti3", "nobody", "x", "y")
    assert main([f"--recommend={run_dir}", "--users=users.txt", "--output=out.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "popular items are for users who are not known: 'u2 ', 'nobody', 'x' and 1 more"
    ]


def test_a_full_disk_leaves_what_was_there(run_dir, monkeypatch, capsys):
    Path("out.csv").write_text("precious")
    write_users("u1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recbole_ccd.utils.atomic_files.os.fsync", full)
    assert main([f"--recommend={run_dir}", "--users=users.txt", "--output=out.csv"]) == 2
    assert "out.csv cannot be written (No space left on device); free space" in capsys.readouterr().err
    assert Path("out.csv").read_text() == "precious" and everything() == ["out.csv", "users.txt"]


def test_a_windows_file_is_read(run_dir, served):
    Path("users.txt").write_bytes("\ufeffu1\r\nsomebody\ti3 i4\r\n".encode())
    assert main([f"--recommend={run_dir}", "--users=users.txt", "--output=out.csv", "--k=2"]) == 0
    assert [row["source"] for row in read_csv()] == ["student"] * 2 + ["folded in"] * 2


def test_a_damaged_run_is_refused(run_dir, capsys):
    copied = shutil.copytree(run_dir, "copied")
    (Path(copied) / "checkpoints" / "block-2" / "serving.pt").write_bytes(b"")
    assert main([f"--export={copied}", "--output=out.npz"]) == 2
    assert "serving.pt is damaged (0 bytes instead of" in capsys.readouterr().err
    assert not Path("out.npz").exists()
