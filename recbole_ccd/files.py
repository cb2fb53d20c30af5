"""Files that are whole or absent: documents and tensors."""

from __future__ import annotations

import os
import pickle
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from recbole_ccd.errors import RunError

_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can undo the renaming. Windows opens no folders, and needs no such thing.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that at any moment, power cut included, the path holds the old content or the new.

    Args:
        path: The file; its folder must exist.
        data: The content; text is written as UTF-8.

    Raises:
        OSError: If the file cannot be written; nothing is left behind then.
    """
    with _replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Save named tensors atomically, such as a state dict.

    Tensors are saved from the CPU and detached; of a view only what it shows is saved.

    Args:
        path: The file; its folder must exist.
        tensors: A flat mapping of names to tensors of any shape.

    Raises:
        TypeError: If a name is no string or a value no tensor.
        OSError: If the file cannot be written; nothing is left behind then.
    """
    wrong = [name for name, value in tensors.items() if not _is_entry(name, value)]
    if wrong:
        raise TypeError(f"only named tensors can be saved, and these are none: {', '.join(map(str, wrong))}")
    with _replacing(path) as file:
        torch.save({name: _compact(tensor) for name, tensor in tensors.items()}, file)


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
