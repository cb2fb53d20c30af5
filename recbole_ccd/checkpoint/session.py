"""Who works on a run: the processes that began it and went on with it, for whoever reads its report.

They stand in the manifest and nowhere else: ``result.json`` does not depend on when, where and in how many
pieces a run was made.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from recbole_ccd.checkpoint.compatibility import versions


def session(device: torch.device | str) -> dict[str, Any]:
    """This process, as the manifest has it.

    Args:
        device: what the run computes on.

    Returns:
        ``began`` (UTC, ISO 8601), ``command``, ``versions``, ``machine`` (processor, cores and system, but
        not its name), ``device`` and ``threads`` that torch computes with.
    """
    return {
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": _command(),
        "versions": {"Python": platform.python_version(), **versions()},
        "machine": f"{_processor()}, {_cores()} cores, {platform.system()} {platform.machine()}",
        "device": _device(torch.device(device)),
        "threads": torch.get_num_threads(),
    }


def _command() -> str:
    """What this process was started with, without the folders of programs."""
    words = list(sys.orig_argv)
    return shlex.join([Path(words[0]).name, *words[1:]]) if words else "unknown"


def _processor() -> str:
    """The model of the processor; its kind where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or "processor unknown"


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _device(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
