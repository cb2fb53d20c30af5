import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ccd.utils.malloc import keep_freed_memory

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import resource, numpy as np, sys
from recbole_ccd.utils.malloc import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(12_000_000, dtype=np.float32)
before = faults()
for _ in range(20):
    np.ones(12_000_000, dtype=np.float32)
print(faults() - before)
"""


def page_faults(mode):
    command = [sys.executable, "-c", SCRIPT, mode]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_memory_taken_again_and_again_is_mapped_once():
    # 48 MB, which is more than glibc's dynamic threshold ever reaches
    assert page_faults("kept") < page_faults("returned") / 5


def test_it_may_be_called_twice_and_elsewhere(monkeypatch):
    keep_freed_memory()
    keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory()
