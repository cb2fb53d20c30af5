"""Files that are whole or absent: documents and tensors."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import pickle
import re
import stat
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, cast

import torch
from torch import Tensor

from recbole_ccd.utils.errors import ConfigError, RunError, one_line

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # a module is no variable that may be None

# what torch and zipfile raise of files that they or others have written
_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
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

    What processes that were killed have left of the same file is removed.

    Args:
        path: the file; its folder must exist.

    Yields:
        What takes bytes by ``write``; an error in writing is raised at the end, and nothing is left then.

    Raises:
        OSError: If the file cannot be written.
    """
    target = Path(path)
    _remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _held(temporary) as file:
            hashing = _Hashing(file)
            yield hashing
            if hashing.error is not None:
                raise hashing.error
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(temporary, target)
        if fcntl is None:  # Windows renames no open file
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


def _held(path: Path) -> BinaryIO:
    """A new file that this process holds until it is closed, however the process ends."""
    while True:
        file = open(path, "xb")
        with suppress(OSError):  # not every file system has locks
            if fcntl is not None:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        # another process may have taken it for a leftover before it was held
        if os.name != "posix" or os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _remove_leftovers(target: Path) -> None:
    """Removes half-written files of a name that no process holds any more, where that can be told."""
    if fcntl is None:
        return
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for path in [entry.path for entry in entries if pattern.fullmatch(entry.name)]:
            with suppress(OSError), open(path, "rb") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that a process which was killed has left half-written."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def open_input(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file that somebody else may have put there.

    Whatever is no regular file is refused: a device may never end, and a pipe may never begin.

    Args:
        path: the file, or a link to it.

    Returns:
        The file, to be read as bytes.

    Raises:
        OSError: If it cannot be opened or is no regular file; ``strerror`` says why.
    """
    try:
        # a pipe that nobody writes to would not even be opened otherwise
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        # a name with a null character, or one that is no text
        raise OSError(errno.EINVAL, first_line(error), os.fspath(path)) from error
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_input(path: str | os.PathLike[str]) -> bytes:
    """What a file holds; see :func:`open_input`."""
    with open_input(path) as file:
        return file.read()


def parse_json(text: str) -> Any:
    """A JSON document whose numbers are all finite, as ours are.

    Raises:
        ValueError: If it is none, is nested too deeply, or holds a number that is not finite.
    """

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"{digits} is no finite number")
        return value

    try:
        return json.loads(text, parse_constant=number, parse_float=number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def digest_of(path: str | os.PathLike[str]) -> Written:
    """Digest and size of a file as it is now.

    Raises:
        OSError: If it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open_input(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Written(digest.hexdigest(), size)


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> Written:
    """Write a file so that at any moment, power cut included, the path holds the old content or the new.

    Args:
        path: the file; its folder must exist.
        data: the content; text is written as UTF-8.

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
        path: the file; its folder must exist.
        tensors: a flat mapping of names to tensors of any shape.

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
            # torch writes and flushes, and wants nothing else of a file
            torch.save({name: _compact(tensor) for name, tensor in tensors.items()}, cast("IO[bytes]", file))
        except RuntimeError as error:
            # torch's writer fails once more when it is closed after somebody has interrupted it
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise
    return file.written


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read what ``save_tensors`` wrote, onto the CPU, after verifying the file's checksums.

    Args:
        path: the file.

    Returns:
        The named tensors.

    Raises:
        RunError: If the file is missing, damaged, or holds anything but named tensors.
    """
    # unlike a path's own method it takes every name
    if not os.path.isfile(path):
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


def given_path(name: str, value: object, wanted: str) -> Path:
    """The path that a function has been given.

    Args:
        name: the argument, for the message.
        value: what it has been given.
        wanted: what the path is of, for the message.

    Raises:
        ConfigError: If it is no path.
    """
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise ConfigError(f"{name} is {one_line(repr(value))}; give the path of {wanted}")
