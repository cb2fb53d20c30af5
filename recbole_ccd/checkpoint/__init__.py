"""The run directory: its documents, its checkpoints, and how a run goes on from them."""

from recbole_ccd.checkpoint.lock import RunLock
from recbole_ccd.checkpoint.manager import CheckpointManager
from recbole_ccd.checkpoint.manifest import Manifest
from recbole_ccd.checkpoint.run_directory import (
    RunDirectory,
    check_vacant,
    create_folder,
    default_run_directory,
)
from recbole_ccd.checkpoint.stage_checkpoint import StageCheckpoint

__all__ = [
    "CheckpointManager",
    "Manifest",
    "StageCheckpoint",
    "RunDirectory",
    "RunLock",
    "check_vacant",
    "create_folder",
    "default_run_directory",
]
