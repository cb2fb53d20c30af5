"""Who began a run and went on with it: what the manifest has of these processes, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def session_terms(sessions: Iterable[Any]) -> list[list[tuple[str, str]]]:
    """What a page shows of the processes that have worked on a run.

    Args:
        sessions: as :func:`~recbole_ccd.checkpoint.session.session` gave them, oldest first; they may have
            been edited since.

    Returns:
        For each of them words and what they say.
    """
    return [_terms(one, n) for n, one in enumerate(sessions) if isinstance(one, Mapping)]


def _terms(session: Mapping[str, Any], number: int) -> list[tuple[str, str]]:
    versions = session.get("versions")
    packages = sorted(versions.items()) if isinstance(versions, Mapping) else ()
    entries = {
        "Gone on with" if number else "Begun": _when(session.get("began")),
        "Command": session.get("command"),
        "Versions": ", ".join(f"{name} {version}" for name, version in packages),
        "Machine": session.get("machine"),
        "Device": session.get("device"),
        "Threads": session.get("threads"),
    }
    return [(name, str(value)) for name, value in entries.items() if value not in (None, "")]


def _when(moment: Any) -> str:
    """A time in ISO 8601 as people write it."""
    return str(moment or "").replace("T", " ").removesuffix("+00:00")
