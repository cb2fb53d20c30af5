import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ccd.utils.malloc import keep_freed_memory, return_freed_memory

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


HOLES = """
import numpy as np, os
from recbole_ccd.utils.malloc import keep_freed_memory, return_freed_memory
keep_freed_memory()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, kept = resident(), []
for _ in range(10):
    large = np.ones(5_000_000, dtype=np.float32)
    kept.append((large, np.ones(1_000, dtype=np.float32)))
kept, large = [small for _, small in kept], None
with_holes = resident()
return_freed_memory()
print(with_holes - before, resident() - before)
"""


def printed(script, *arguments):
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def page_faults(mode):
    return printed(SCRIPT, mode)[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_memory_taken_again_and_again_is_mapped_once():
    # 48 MB, which is more than glibc's dynamic threshold ever reaches
    assert page_faults("kept") < page_faults("returned") / 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_holes_in_the_heap_are_returned():
    with_holes, left = printed(HOLES)
    # ten of 20 MB, and a little that is kept above each
    assert with_holes > 150_000_000 and left < 30_000_000


def test_they_may_be_called_twice_and_elsewhere(monkeypatch):
    for platform in (sys.platform, sys.platform, "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        keep_freed_memory()
        return_freed_memory()
