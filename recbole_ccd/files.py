"""Files that are whole or absent: documents and tensors."""

from __future__ import annotations

import hashlib
import os
import pickle
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from recbole_ccd.errors import ConfigError, RunError

_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
_CHUNK = 1 << 20


class Written(NamedTuple):
    """What a file holds, in short.

    Attributes:
        sha256: its digest, in hexadecimal digits.
        bytes: its size.
    """

    sha256: str
    bytes: int


class _Hashing:
    """A file to write to that knows what it was given, and what went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._size = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        size = memoryview(data).nbytes
        self._digest.update(data)
        self._size += size
        try:
            if self.error is None:
                self._file.write(data)
        except OSError as error:
            # not to be thrown through torch's writer, which would tell nothing of it
            self.error = error
        return size

    def flush(self) -> None:
        """Torch asks for it; the file is flushed when all is written."""

    @property
    def written(self) -> Written:
        return Written(self._digest.hexdigest(), self._size)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[_Hashing]:
    """A file to write to piece by piece that takes its name when all has been written.

    Args:
        path: The file; its folder must exist.

    Yields:
        What takes bytes by ``write``; an error in writing is raised at the end, and nothing is left then.

    Raises:
        OSError: If the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            hashing = _Hashing(file)
            yield hashing
            if hashing.error is not None:
                raise hashing.error
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that names given in a folder outlive a power cut."""
    # Windows opens no folders, and needs no such thing
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that a process which was killed has left half-written."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def digest_of(path: str | os.PathLike[str]) -> Written:
    """Digest and size of a file as it is now.

    Raises:
        OSError: If it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Written(digest.hexdigest(), size)


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> Written:
    """Write a file so that at any moment, power cut included, the path holds the old content or the new.

    Args:
        path: The file; its folder must exist.
        data: The content; text is written as UTF-8.

    Returns:
        Digest and size of what was written.

    Raises:
        OSError: If the file cannot be written; nothing is left behind then.
    """
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)
    return file.written


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> Written:
    """Save named tensors atomically, such as a state dict.

    Tensors are saved from the CPU and detached; of a view only what it shows is saved.

    Args:
        path: The file; its folder must exist.
        tensors: A flat mapping of names to tensors of any shape.

    Returns:
        Digest and size of what was written.

    Raises:
        TypeError: If a name is no string or a value no tensor.
        OSError: If the file cannot be written; nothing is left behind then.
    """
    wrong = [name for name, value in tensors.items() if not _is_entry(name, value)]
    if wrong:
        raise TypeError(f"only named tensors can be saved, and these are none: {', '.join(map(str, wrong))}")
    with replacing(path) as file:
        try:
            torch.save({name: _compact(tensor) for name, tensor in tensors.items()}, file)
        except RuntimeError as error:
            # torch's writer fails once more when it is closed after somebody has interrupted it
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise
    return file.written


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read what ``save_tensors`` wrote, onto the CPU, after verifying the file's checksums.

    Args:
        path: The file.

    Returns:
        The named tensors.

    Raises:
        RunError: If the file is missing, damaged, or holds anything but named tensors.
    """
    if not Path(path).is_file():
        raise RunError(f"{path} is missing; start the run anew or give another --run_dir")
    try:
        # torch.load does not look at the checksums that torch.save writes.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        loaded = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise RunError(
            f"{path} cannot be read ({first_line(error)}); delete it and start the run anew"
        ) from error
    if not isinstance(loaded, dict) or not all(_is_entry(*entry) for entry in loaded.items()):
        raise RunError(f"{path} is damaged or holds no named tensors; delete it and start the run anew")
    return loaded


def _is_entry(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _compact(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    if tensor.layout is not torch.strided:
        return tensor
    # torch.save writes the whole storage behind a view.
    shown = tensor.numel() * tensor.element_size()
    return tensor if tensor.untyped_storage().nbytes() == shown else tensor.clone()


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def given_path(name: str, value: object) -> Path:
    """The path that a function has been given.

    Args:
        name: the argument, for the message.
        value: what it has been given.

    Raises:
        ConfigError: If it is no path.
    """
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise ConfigError(f"{name} is a {type(value).__name__}; give a path")
