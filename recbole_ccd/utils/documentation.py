"""Where the documentation lies on this machine: it is installed with the package."""

from __future__ import annotations

from pathlib import Path


def documentation_dir() -> Path:
    """The folder of the pages: inside the package when installed, beside it in a working tree."""
    package = Path(__file__).parent.parent
    inside = package / "docs"
    return inside if inside.is_dir() else package.parent / "docs"
