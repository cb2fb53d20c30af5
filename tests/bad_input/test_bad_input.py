"""Every row of docs/errors.md, as a user meets it: exit code 2, one line, and nothing left lying about."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_ccd import CCDError
from recbole_ccd.cli import main
from recbole_ccd.quick_start import create_stream
from recbole_ccd.trainer import StageTrainer
from tests.bad_input.config_cases import CONFIG_CASES
from tests.bad_input.data_cases import DATA_CASES, LINES, TIMED, one, text, written
from tests.bad_input.folder_cases import FOLDER_CASES, PYTHON_CASES
from tests.conftest import SMALL, SMALL_CCD
from tests.powers import permissions_count

REPOSITORY = Path(__file__).parents[2]
# each a function that prepares a folder and returns the wrong arguments
CASES = {
    **{case: lambda folder, case=case: CONFIG_CASES[case] for case in CONFIG_CASES},
    **DATA_CASES,
    **FOLDER_CASES,
}


def rows():
    """The table's cells, row by row."""
    lines = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in lines
        if line.startswith("| `")
    ]


FORMS = {case: f"{message}; {remedy}" for case, _, message, remedy in rows()}


def expect(message, case):
    """The message is the one of the case's row, in which … stands for any text."""
    assert "\n" not in message
    pattern = ".*".join(map(re.escape, FORMS[case].split("…")))
    assert re.fullmatch(pattern, message), f"\n{message}\n{FORMS[case]}"


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A property file of what is right."""
    keys = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR", "MultiVAE"], "block_ratios": [0.6, 0.4]}
    file = tmp_path_factory.mktemp("settings") / "small.yaml"
    file.write_text(yaml.safe_dump({**keys, "teacher_args": {}}), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def powerless():
    with permissions_count():
        yield


@pytest.fixture
def arguments_of(settings, tiny_folder, tmp_path, monkeypatch):
    """Prepares the working folder for a case and returns all arguments, the wrong ones among them."""
    monkeypatch.chdir(tmp_path)
    right = {
        "--config_files": settings,
        "--data_path": tiny_folder,
        "--dataset": "tiny",
        "--model": "BPR",
        "--run_dir": "run",
    }

    def arguments(case):
        wrong = CASES[case](tmp_path)
        replaced = {argument.partition("=")[0] for argument in wrong}
        return [f"{key}={value}" for key, value in right.items() if key not in replaced] + wrong

    return arguments


def test_every_case_has_its_row():
    documented = [case for case, *_ in rows()]
    assert sorted(documented) == sorted([*CASES, *PYTHON_CASES])
    assert len(documented) == len(CONFIG_CASES) + len(DATA_CASES) + len(FOLDER_CASES) + len(PYTHON_CASES)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_with_two_and_one_line(case, arguments_of, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    arguments = arguments_of(case)
    before = everything_in(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and shown.err.endswith("\n")
    expect(shown.err[len("error: ") : -1], case)
    # outside of pytest these would stand on stderr too
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert everything_in(tmp_path) == before


# of every kind one; a process of its own shows what third parties print on import and on loading, as one in
# tests/test_cli.py does
APART = [
    "row-too-long",
    *("argument-not-utf8", "unknown-metric", "interval-backwards", "load-and-unload", "settings-not-yaml"),
    *("no-time-column", "nul-in-a-token", "not-utf8", "filtered-away", "features-without-ids", "one-moment"),
    *("student-settings", "no-negatives", "one-of-several-runs", "run-directory-name"),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", APART)
def test_a_process_of_its_own_says_no_more(case, arguments_of, tmp_path):
    arguments = arguments_of(case)
    before = everything_in(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONWARNINGS", None)
    done = subprocess.run(
        [sys.executable, "-m", "recbole_ccd", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.endswith("\n")
    expect(done.stderr[len("error: ") : -1], case)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("case", PYTHON_CASES)
def test_bad_input_from_python_is_an_error_of_one_line(case, tmp_path):
    with pytest.raises(CCDError) as caught:
        PYTHON_CASES[case](tmp_path)
    expect(str(caught.value), case)


# times that differ, so that there is one right order
ORDERED = [f"{line.rpartition(chr(9))[0]}\t{n}" for n, line in enumerate(LINES)]


@pytest.fixture
def stream_of(make_config, tmp_path):
    """The stream of a case that is no error."""

    def stream_of(write):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        write(folder)
        return create_stream(make_config(dataset="own", data_path=folder / "data"))

    return stream_of


def rows_of(stream):
    feat, ids = stream.dataset.inter_feat, stream.dataset.field2id_token
    tokens = (ids[field][feat[field].numpy()].tolist() for field in ("user_id", "item_id"))
    return list(zip(feat["timestamp"].tolist(), *tokens, strict=True))


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(one(f"{TIMED}\r", [f"{line}\r" for line in ORDERED]), id="line ends of Windows"),
        pytest.param(one(TIMED, ["", *ORDERED, "", ""]), id="blank lines"),
        pytest.param(one(f"{TIMED}\tnote:token", [f'{line}\t"' for line in ORDERED]), id="quote marks"),
        pytest.param(one(f"{TIMED}\tnote:token", [f"{line}\t" for line in ORDERED]), id="another column"),
    ],
)
def test_what_is_no_error(written, stream_of):
    right, odd = stream_of(one(TIMED, ORDERED)), stream_of(written)
    assert rows_of(odd) == rows_of(right)
    assert [repr(block) for block in odd] == [repr(block) for block in right]


def test_features_of_what_never_occurs_are_left_alone(make_config, stream_of, tmp_path):
    features = [f"i{n}\t{n}" for n in range(60)] + ["nothing\t1"]
    data = {"inter": text(TIMED, ORDERED), "item": text("item_id:token\tprice:float", features)}
    written(data)(tmp_path)
    keys = {"load_col": {"inter": "*", "item": "*"}}
    odd = create_stream(make_config(dataset="own", data_path=tmp_path / "data", **keys))
    right = stream_of(one(TIMED, ORDERED))
    assert rows_of(odd) == rows_of(right)
    assert [repr(block) for block in odd] == [repr(block) for block in right]


def test_unsorted_rows_are_sorted_by_time(stream_of):
    right, odd = stream_of(one(TIMED, ORDERED)), stream_of(one(TIMED, ORDERED[::-1]))
    assert rows_of(odd) == sorted(rows_of(odd)) and len(odd) == len(right) == 3
    # which rows are held out is drawn in the file's order, so that a few others are dropped
    blocks = [dict(zip(rows_of(s), s.dataset.block_of_row.tolist(), strict=True)) for s in (odd, right)]
    common = blocks[0].keys() & blocks[1].keys()
    assert len(common) > 0.8 * len(ORDERED)
    assert all(blocks[0][row] == blocks[1][row] for row in common)


def test_a_message_is_one_line_whatever_a_file_is_called(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([f"--config_files={settings}", "--dataset=new\nline", "--data_path=data"]) == 2
    assert capsys.readouterr().err == (
        "error: data/new line: no such folder; point data_path at the folder that holds 'new line/', "
        "or name another dataset\n"
    )


def test_a_time_line_with_a_blank_first_row_counts_rows_of_data(make_config, tmp_path):
    one(TIMED, ["", *ORDERED[:3], "u1\ti1\tnan"])(tmp_path)
    with pytest.raises(CCDError, match="timestamp of data row 4 is missing"):
        create_stream(make_config(dataset="own", data_path=tmp_path / "data"))
