"""How much memory a block of code takes."""

import numpy as np
import pytest

from recbole_ccd.utils import memory
from recbole_ccd.utils.memory import MemoryWatch, peak_rss_mb


@pytest.mark.slow
def test_what_exceeds_all_before_is_seen_however_short_it_was():
    before = peak_rss_mb()
    with MemoryWatch() as watch:
        # more than there ever was, by all that is free by now
        np.ones(int((before + 50) * 1e6 / 8))
    assert watch.mb >= before + 50 - 1
    with MemoryWatch() as later:
        pass
    # what was freed counts no more
    assert 0 < later.mb < watch.mb
    assert peak_rss_mb() >= watch.mb - 1


def test_where_the_system_does_not_tell_the_peak_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", str(tmp_path / "nothing"))
    with MemoryWatch() as watch:
        pass
    assert watch.mb == peak_rss_mb()
    monkeypatch.setattr(memory, "peak_rss_mb", lambda: None)
    with MemoryWatch() as watch:
        pass
    assert watch.mb is None
