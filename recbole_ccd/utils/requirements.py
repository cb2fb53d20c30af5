"""RecBole itself, which pip alone cannot install on every Python."""

from __future__ import annotations

from recbole_ccd.utils.errors import RunError

RECBOLE = "1.2.1"
"""The version that is extended."""

INSTALL_RECBOLE = f"pip install --no-deps recbole=={RECBOLE}"
"""What installs it on every Python.

Its metadata demand a ray of 2023, for which there is no wheel from Python 3.12 on; so there it is no
requirement of this package, whose own are all that it needs.
"""


def check_recbole() -> None:
    """Sees to it that RecBole is there, before anything imports it.

    Raises:
        RunError: If it is not, or is another version; the message says what to type.
    """
    try:
        import recbole
    except ImportError as error:
        raise RunError(f"RecBole is not installed ({error}); type: {INSTALL_RECBOLE}") from error
    found = getattr(recbole, "__version__", "unknown")
    if found != RECBOLE:
        raise RunError(f"RecBole is of version {found}, not {RECBOLE}; type: {INSTALL_RECBOLE}")
