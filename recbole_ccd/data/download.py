"""Data sets of RecBole's list that are not on disk: fetched as an archive, and unpacked as atomic files."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from recbole.utils.url import rename_atomic_files
from tqdm import tqdm

from recbole_ccd.config.catalogue import properties, recbole_properties_dir
from recbole_ccd.utils.console import say
from recbole_ccd.utils.errors import DataError, one_line

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # a module is no variable that may be None

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

_SECONDS = 30.0
_CHUNK = 1 << 18
# RecBole asks before it fetches more
_MUCH = 1 << 30
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
# what a Mac adds to an archive
_IGNORED = ("__MACOSX", ".DS_Store")


class _NoDataSet(DataError):
    """What has been fetched is of no use, whatever is done about this machine."""


def known_urls() -> Mapping[str, str]:
    """RecBole's list: the address of an archive by the name of the data set."""
    return properties(recbole_properties_dir() / "dataset" / "url.yaml")


def fetch_missing(config: CCDConfig) -> None:
    """Fetches the configured data set if its folder is not there and it is known where it can be had.

    It comes from ``dataset_url``, or from where RecBole's list has it. What has been fetched of an archive
    stays beside the folder when a connection breaks, and the next call goes on from there.

    Args:
        config: the run's configuration.

    Raises:
        DataError: If it cannot be fetched or unpacked; there is no folder then.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    url = config["dataset_url"] or known_urls().get(name)
    # unlike a path's own method it takes every name
    if url is not None and not os.path.lexists(folder):
        try:
            _fetch(url, folder)
        except OSError as error:
            raise DataError(
                f"{folder}: it cannot be written ({error.strerror or one_line(error)}); free space, or let "
                "data_path be a folder that can be written to"
            ) from error


def _fetch(url: str, folder: Path) -> None:
    with _answer(url, folder) as response:
        size, part = _size(response), _part_of(url, folder, response)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(part, folder) as file:
        # another process may have been faster
        if not os.path.lexists(folder):
            _confirm(url, folder, size)
            _download(url, folder, file, size)
            _unpack(url, part, folder)
    # those of earlier versions of the archive with it
    for left in folder.parent.glob(f".{escape(folder.name)}.*.part"):
        left.unlink(missing_ok=True)


@contextmanager
def _answer(url: str, folder: Path, headers: Mapping[str, str] | None = None) -> Iterator[HTTPResponse]:
    """What a server says to a request.

    Raises:
        DataError: It says nothing, or that there is no such thing.
    """
    by_hand = f"put the data set's files into {folder} by hand"
    try:
        response = urlopen(Request(url, headers=dict(headers or {})), timeout=_SECONDS)
    except HTTPError as error:
        error.close()
        raise DataError(
            f"{folder.name}: {url} cannot be fetched (the server answers {error.code} "
            f"{one_line(error.reason)}); {by_hand}, or give another dataset_url"
        ) from error
    except (URLError, HTTPException, OSError) as error:
        raise DataError(
            f"{folder.name}: {url} cannot be reached ({_reason(error)}); connect to the network, or {by_hand}"
        ) from error
    with response:
        yield response


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, URLError) else error
    return one_line(getattr(inner, "strerror", None) or str(inner) or type(inner).__name__)


def _size(response: HTTPResponse) -> int | None:
    """Bytes of the whole archive; None if the server does not say."""
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _part_of(url: str, folder: Path, response: HTTPResponse) -> Path:
    """The file that an archive is written to; another version of the archive has another one."""
    version = [response.headers.get(name, "") for name in ("Content-Length", "ETag", "Last-Modified")]
    digest = hashlib.sha256("\n".join([url, *version]).encode()).hexdigest()[:16]
    return folder.with_name(f".{folder.name}.{digest}.part")


@contextmanager
def _alone(part: Path, folder: Path) -> Iterator[BinaryIO]:
    """The archive as far as it has come, held by this process alone.

    Raises:
        DataError: Another process is at it.
    """
    with open(part, "ab") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"{folder}: another process is fetching this data set; wait for it, and give the command "
                "again"
            ) from error
        except OSError:  # not every file system has locks
            pass
        yield file


def _confirm(url: str, folder: Path, size: int | None) -> None:
    """Tells what is fetched; asks before much is, as RecBole does.

    Raises:
        DataError: It is not wanted, or nobody can be asked.
    """
    say(f"{folder.name}: fetching {url} ({_shown(size)}) into {folder}", sys.stderr)
    if size is None or size <= _MUCH:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise DataError(
            f"{folder.name}: {url} has {_shown(size)}, and there is no terminal to ask whether that is "
            f"wanted; start it at one, or put the data set's files into {folder} by hand"
        )
    if input("That is a lot. Fetch it? (y/N) ").strip().lower() != "y":
        raise DataError(f"{folder.name}: it was not to be fetched; name another dataset")


def _shown(size: int | None) -> str:
    return "of unknown size" if size is None else f"{size / 1e6:.1f} MB"


def _download(url: str, folder: Path, file: BinaryIO, size: int | None) -> None:
    """Writes what is missing of an archive to the end of its file.

    Raises:
        DataError: The connection broke, or what came is not as long as was said.
    """
    done, broken = os.fstat(file.fileno()).st_size, "the connection was closed"
    if size is None or done > size:
        done = 0
    if done != size:
        headers = {"Range": f"bytes={done}-"} if done else {}
        with _answer(url, folder, headers) as response:
            # who knows no ranges sends all of it once more
            done = done if response.status == 206 and _begins_at(response, done) else 0
            file.truncate(done)
            bar = tqdm(total=size, initial=done, desc=folder.name, unit="B", unit_scale=True, disable=None)
            with bar:
                for chunk in _chunks(response):
                    if isinstance(chunk, Exception):
                        broken = _reason(chunk)
                        break
                    file.write(chunk)
                    bar.update(len(chunk))
            file.flush()
        done = os.fstat(file.fileno()).st_size
    if size is not None and done < size:
        raise DataError(
            f"{folder.name}: {url} broke off after {done} of {size} bytes ({broken}); the same command goes "
            "on from there"
        )
    if size is not None and done > size:
        file.truncate(0)
        raise DataError(
            f"{folder.name}: {url} has sent {done} bytes in the place of {size}; give the same command again"
        )


def _begins_at(response: HTTPResponse, done: int) -> bool:
    return response.headers.get("Content-Range", "").replace(" ", "").startswith(f"bytes{done}-")


def _chunks(response: HTTPResponse) -> Iterator[bytes | Exception]:
    """What comes in; at last the error that has ended it, if one has."""
    try:
        while chunk := response.read(_CHUNK):
            yield chunk
    except (HTTPException, OSError) as error:
        yield error


def _unpack(url: str, archive: Path, folder: Path) -> None:
    """Makes a data set's folder of an archive: its files under the data set's name, as RecBole does.

    Raises:
        DataError: The archive cannot be read, or an entry of it would lead elsewhere.
    """
    place = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir()
        with zipfile.ZipFile(archive) as opened:
            for entry, target in _targets(url, opened, folder).items():
                path = place / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as content, open(path, "xb") as file:
                    shutil.copyfileobj(content, file)
        stem = PurePosixPath(unquote(urlsplit(url).path)).stem
        if stem:
            rename_atomic_files(str(place), stem, folder.name)
        os.replace(place, folder)
    except _NoDataSet:
        archive.unlink(missing_ok=True)
        raise
    except _UNREADABLE as error:
        # it would be no better the next time
        archive.unlink(missing_ok=True)
        raise DataError(
            f"{folder.name}: what {url} holds is no archive that can be unpacked ({one_line(error)}); give "
            f"the same command again, or put the data set's files into {folder} by hand"
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _targets(url: str, opened: zipfile.ZipFile, folder: Path) -> dict[zipfile.ZipInfo, PurePosixPath]:
    """Where each file of an archive goes below the folder; one folder around all of them is left out.

    Raises:
        DataError: There is none, one is no plain file or would lie elsewhere, or there is no room for all.
    """
    targets = dict[zipfile.ZipInfo, PurePosixPath]()
    for entry in opened.infolist():
        target = PurePosixPath(entry.filename.replace("\\", "/"))
        kind = stat.S_IFMT(entry.external_attr >> 16)
        leads_away = target.is_absolute() or ".." in target.parts or ":" in entry.filename
        if leads_away or kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & 1:
            raise _NoDataSet(
                f"{folder.name}: the archive {url} holds {one_line(repr(entry.filename))}, which is no plain "
                "file within its folder; nothing of it was unpacked, get the data set elsewhere"
            )
        if not entry.is_dir() and not set(_IGNORED) & set(target.parts):
            targets[entry] = target
    around = {target.parts[0] if len(target.parts) > 1 else "" for target in targets.values()}
    if len(around) == 1 and "" not in around:
        targets = {entry: PurePosixPath(*target.parts[1:]) for entry, target in targets.items()}
    if not targets:
        raise _NoDataSet(f"{folder.name}: the archive {url} holds no file; get the data set elsewhere")
    needed, free = sum(entry.file_size for entry in targets), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise DataError(
            f"{folder.name}: its files need {_shown(needed)}, and there is room for {_shown(free)} in "
            f"{folder.parent}; free space, or give another data_path"
        )
    return targets
