"""How CI compares two default runs: by what the README says of how far they may differ."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def compare(tmp_path):
    def run(*hs):
        folders = []
        for h in hs:
            folders.append(tmp_path / str(len(folders)))
            folders[-1].mkdir()
            role = {"R": [[0.3, None], [0.3, 0.3]], "H": [None, h]}
            document = {
                "primary_metric": "recall@20",
                "metrics": {"recall@20": {"student": role, "teacher": role}},
            }
            folders[-1].joinpath("result.json").write_text(json.dumps(document), encoding="utf-8")
        return subprocess.run(
            [sys.executable, str(REPOSITORY / ".ci" / "figures.py"), *map(str, folders)],
            capture_output=True,
            text=True,
        )

    return run


def test_what_the_readme_says_is_the_limit(compare):
    done = compare(0.28, 0.28)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("largest difference in") == 3
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    for line in done.stdout.splitlines()[-3:]:
        limit = line.rpartition("README: ")[2].rstrip(")")
        assert 0 < float(limit) < 0.1 and limit in readme


def test_runs_further_apart_are_refused(compare):
    done = compare(0.28, 0.30)
    assert done.returncode == 1 and "largest difference in H student: 0.0200" in done.stdout


def test_one_run_alone_is_shown(compare):
    done = compare(0.28)
    assert (done.returncode, done.stdout.count("H of ")) == (0, 2)
