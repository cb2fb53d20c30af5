import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recbole_ccd

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_has_nothing_to_say(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
# stubs of numpy differ from version to version, and without ray nothing is known of it
@pytest.mark.skipif(
    np.__version__ >= "2", reason="types are checked with the packages pinned for Python 3.11"
)
def test_mypy_has_nothing_to_say(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def depth(found):
    """Classes of ours in the longest line from a class to its bases."""
    return found.__module__.startswith("recbole_ccd") + max(map(depth, found.__bases__), default=0)


def test_no_class_is_more_than_three_deep():
    names = [entry.name for entry in pkgutil.walk_packages(recbole_ccd.__path__, "recbole_ccd.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    classes = {found for module in modules for found in vars(module).values() if inspect.isclass(found)}
    # errors are told apart by their bases, which is what `except` looks at
    deep = [found for found in classes if depth(found) > 3 and not issubclass(found, Exception)]
    assert len(classes) > 100 and not deep
