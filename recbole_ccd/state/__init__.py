"""The run directory: its documents, its checkpoints, and how a run goes on from them."""

from recbole_ccd.state.directory import RunDirectory, check_vacant, create_folder, default_run_directory
from recbole_ccd.state.journal import Journal
from recbole_ccd.state.lock import RunLock
from recbole_ccd.state.manifest import Manifest
from recbole_ccd.state.outcome import Outcome

__all__ = [
    "Journal",
    "Manifest",
    "Outcome",
    "RunDirectory",
    "RunLock",
    "check_vacant",
    "create_folder",
    "default_run_directory",
]
