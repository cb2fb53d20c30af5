"""How torch's threads wait for one another."""

from __future__ import annotations

import os

SPIN_COUNT = "GOMP_SPINCOUNT"
_DEFAULT = "10000"
# whoever sets one of these has decided how threads wait
_WAITING = (SPIN_COUNT, "OMP_WAIT_POLICY")


def yield_to_other_programs() -> None:
    """Lets torch's threads sleep soon, instead of spinning, when they wait for each other.

    GNU OpenMP, which torch brings for Linux, lets a thread that has done its share of an operation spin
    300,000 times before it sleeps. Beside another program the thread that is waited for may not be running
    at all, and a run takes ten to fifty times as long as it does alone. ``benchmarks/busy.py`` measures what
    the number chosen here gives, beside others and alone. Results are the same bit for bit.

    The variable counts only if it is set before torch is imported. It holds for the whole process, and so is
    the program's to set and not the library's; a setting of the user's (``GOMP_SPINCOUNT``,
    ``OMP_WAIT_POLICY``) is left as it is.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ[SPIN_COUNT] = _DEFAULT


def waiting_settings() -> dict[str, str]:
    """The variables that decide how threads wait, as far as they are set, for workers elsewhere."""
    return {name: os.environ[name] for name in _WAITING if name in os.environ}
