"""The run directory: its documents, its checkpoints and its name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from recbole_ccd.checkpoint.lock import LOCK
from recbole_ccd.checkpoint.manifest import MANIFEST, NEXT, PREVIOUS
from recbole_ccd.config.yaml_reader import BoundedLoader
from recbole_ccd.utils.atomic_files import first_line, is_temporary, parse_json, read_input
from recbole_ccd.utils.errors import RunError, one_line
from recbole_ccd.utils.owned_folder import OwnedFolder

# what YAML's constructors raise of a tag that does not fit, and both parsers of what is nested without end
_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)

# the name of a run's folder, which comes out of a file when a comparison is resumed
_FOLDER = re.compile(r"\w[\w.+-]*")


class DamagedFile(RunError):
    """A file of a run is missing, or holds what it should not.

    Attributes:
        what: that, without the remedy.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what


def create_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, with its parents.

    Args:
        path: a folder that does not exist yet, or is empty; what a run leaves that is killed before it has
            begun does not count.

    Returns:
        The folder.

    Raises:
        RunError: If it is not empty, is no folder, or cannot be created; no parent is left behind then.
    """
    folder = Path(path)
    missing = [part for part in (folder, *folder.parents) if not os.path.lexists(part)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = _is_occupied(folder)
    except (OSError, ValueError) as error:
        _remove_empty(missing)
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(f"{folder} cannot be created ({reason}); give another --run_dir") from error
    _refuse(folder, occupied)
    return folder


def check_vacant(path: str | os.PathLike[str]) -> None:
    """Refuse a folder of something else before there is work to lose; nothing is made.

    Args:
        path: a folder that may not be there yet. If it cannot be looked into, ``create_folder`` tells.

    Raises:
        RunError: If it is not empty.
    """
    with suppress(OSError, ValueError):
        _refuse(Path(path), _is_occupied(Path(path)))


def folder_name(top: Path, given: object) -> str:
    """The name of a run's folder, as a manifest has it.

    Args:
        top: the folder of the manifest, for the message.
        given: what stands there.

    Raises:
        RunError: If it is none, and might lead elsewhere.
    """
    if not isinstance(given, str) or not _FOLDER.fullmatch(given):
        raise RunError(f"{top}: {one_line(repr(given))} is no name of a run's folder; start anew")
    return given


def _is_occupied(folder: Path) -> bool:
    return folder.is_dir() and not all(map(_is_leftover, folder.iterdir()))


def _refuse(folder: Path, occupied: bool) -> None:
    # a run that is under way has, for a moment, the one before alone
    if occupied and any((folder / name).is_file() for name in (MANIFEST, PREVIOUS)):
        raise RunError(f"{folder} holds a run; go on with it by --resume={folder}, or give another --run_dir")
    if occupied:
        raise RunError(f"{folder} exists and is not empty; give another --run_dir")


def _is_leftover(path: Path) -> bool:
    """Whether a process that was killed while it made a run directory may have left this there."""
    if path.name == "checkpoints" and path.is_dir():
        return not any(path.iterdir())
    return path.name == LOCK or is_temporary(path)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders that are there and empty, in the order given."""
    for folder in folders:
        with suppress(OSError, ValueError):
            folder.rmdir()


def belongs_to_runs(folder: Path) -> bool:
    """Whether a folder is that of a run, a comparison, a search or base models, however far it has got.

    Args:
        folder: a folder; nothing in it need be readable.
    """
    if any(os.path.lexists(folder / name) for name in (PREVIOUS, NEXT)) or _is_of_runs(folder / MANIFEST):
        return True
    # one that has just been begun, or of an earlier version
    return (folder / "checkpoints").is_dir() and any(
        os.path.lexists(folder / name) for name in (LOCK, "config.yaml")
    )


def _is_of_runs(manifest: Path) -> bool:
    """Whether a manifest is one of ours, as other programs have files of that name too."""
    try:
        content = manifest.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content.startswith(b'{\n "blocks"')
    return isinstance(document, dict) and {"format", "kind"} <= document.keys()


class RunDirectory:
    """The folder of one run: its configuration, result, log and checkpoints.

    Args:
        path: the folder. Nothing is created or checked here: see ``create`` and ``prepare``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._own = OwnedFolder(path)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Make a new run directory, with its parents and an empty ``checkpoints/``.

        Args:
            path: a folder that does not exist yet, or is empty.

        Returns:
            The directory, ready to be written to.

        Raises:
            RunError: If the folder is not empty, is no folder, or cannot be written to.
        """
        run = cls(create_folder(path))
        try:
            run.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{run.path} is not writable ({error.strerror}); give another --run_dir"
            ) from error
        return run

    @classmethod
    def prepare(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """Make what is missing of a run directory, whatever an earlier process has left in it.

        Args:
            path: a folder that is known to be that of a run, or is not there yet.

        Returns:
            The directory, ready to be written to.

        Raises:
            RunError: If it cannot be written to.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run = cls(folder)
            run._own.folder("checkpoints")
        except OSError as error:
            raise RunError(f"{folder} is not writable ({error.strerror}); make it so") from error
        return run

    @property
    def config(self) -> Path:
        """``config.yaml``: every key the run was started with."""
        return self.path / "config.yaml"

    @property
    def result(self) -> Path:
        """``result.json``: what the run measured, in result format 1."""
        return self.path / "result.json"

    @property
    def log(self) -> Path:
        """``run.log``: every record, colours stripped."""
        return self.path / "run.log"

    @property
    def checkpoints(self) -> Path:
        """``checkpoints/``: tensors by block and stage, see ``CheckpointManager``."""
        return self.path / "checkpoints"

    def write_json(self, name: str, obj: Any) -> None:
        """Write a JSON document atomically, keys sorted, so that equal content gives equal bytes.

        Args:
            name: the file's name within the directory.
            obj: plain lists, dicts with string keys, strings, numbers, booleans and None.

        Raises:
            ValueError: If a number is NaN or infinite.
            TypeError: If a value has no JSON form.
        """
        text = json.dumps(obj, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        self.write_text(name, text + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file of this directory atomically.

        Args:
            name: its name within the directory.
            text: what it holds.

        Raises:
            RunError: If what has that name is a link or no file, or the directory was moved away.
            OSError: If it cannot be written.
        """
        self._own.write(name, text)

    def read_json(self, name: str) -> Any:
        """Read a JSON document of this directory.

        Raises:
            RunError: If it is missing or not JSON.
        """
        return self._read(self.path / name, parse_json)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.yaml`` atomically, keys in the order given.

        Args:
            config: plain values only.

        Raises:
            yaml.YAMLError: If a value has no plain YAML form.
        """
        self.write_text(self.config.name, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict[str, Any]:
        """Read ``config.yaml``.

        Raises:
            RunError: If it is missing or not a mapping.
        """
        config = self._read(self.config, partial(yaml.load, Loader=BoundedLoader))
        if not isinstance(config, dict):
            raise DamagedFile(f"{self.config} is not a mapping of keys to values", "start the run anew")
        return config

    @staticmethod
    def _read(path: Path, parse: Any) -> Any:
        try:
            return parse(read_input(path).decode())
        except PermissionError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}); make it readable") from error
        except (OSError, yaml.YAMLError, *_UNREADABLE) as error:
            raise DamagedFile(f"{path} cannot be read ({first_line(error)})", "start the run anew") from error


def default_run_directory(
    dataset: str, model: str, strategy: str, seed: int | None, root: str | os.PathLike[str] = "saved"
) -> Path:
    """The name a run directory gets when the user gives none. Creates nothing.

    Args:
        dataset: name of the data set.
        model: name of the student.
        strategy: name of the strategy, or several joined with ``+``.
        seed: the run's seed; None where there are several.
        root: the folder it lies in.

    Returns:
        ``root/<dataset>-<model>-<strategy>-<seed>-<time>``, the time to the microsecond; no such path exists
        yet.
    """
    known = [word for word in (dataset, model, strategy, seed) if word is not None]
    words = [re.sub(r"[^\w.+-]+", "_", str(word)) for word in known]
    while True:
        now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        path = Path(root) / "-".join([*words, now])
        if not path.exists():
            return path
