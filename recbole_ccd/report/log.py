"""One run's log: RecBole's colours on the console, plain text in the run directory."""

from __future__ import annotations

import logging
import os
import re
import sys
from contextlib import suppress
from io import TextIOWrapper
from types import TracebackType
from typing import cast

import colorlog
from recbole.utils.logger import log_colors_config
from tqdm import tqdm

from recbole_ccd.utils.errors import ConfigError, RunError
from recbole_ccd.utils.owned_folder import belonging, open_owned, unshare

EPOCH_LOGGER = "recbole_ccd.epoch"
"""Name of the logger of per-epoch lines."""

# The formats of recbole.utils.logger.init_logger.
_CONSOLE_FORMAT = "%(log_color)s%(asctime)-15s %(levelname)s  %(message)s"
_CONSOLE_DATE = "%d %b %H:%M"
_FILE_FORMAT = "%(asctime)-15s %(levelname)s  %(message)s"
_FILE_DATE = "%a %d %b %Y %H:%M:%S"
_ANSI = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class RunLog:
    """Sends what is logged while it is entered to the console and to a file.

    RecBole's ``init_logger`` chooses its own file below ``./log`` and keeps the first one for good; this one
    adds two handlers to the root logger and on leaving removes exactly those and restores the root's level.

    Records of the logger ``recbole_ccd.epoch`` reach the console only if ``show_epochs``; they are always in
    the file, as is every record from INFO on. The file is appended to.

    Args:
        path: the log file, which is no link; its folder must exist. None for none.
        level: the console's level, in RecBole's words (its key ``state``): DEBUG, INFO, WARNING, ERROR,
            CRITICAL.
        show_epochs: whether per-epoch lines are shown on the console.

    Raises:
        ConfigError: If the level is unknown.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, level: str = "INFO", show_epochs: bool = False
    ) -> None:
        if level.upper() not in _LEVELS:
            raise ConfigError(f"state: {level!r} is no log level; give one of {', '.join(_LEVELS)}")
        self._path = path
        self._level = logging.getLevelName(level.upper())
        self._show_epochs = show_epochs
        self._handlers: list[logging.Handler] = []
        self._root_level = logging.NOTSET

    def __enter__(self) -> RunLog:
        """Add the handlers.

        Raises:
            RunError: If the file cannot be opened.
        """
        file_level = min(self._level, logging.INFO)
        self._handlers = [self._file_handler(file_level), self._console_handler()]
        root = logging.getLogger()
        self._root_level = root.level
        root.setLevel(file_level)
        for handler in self._handlers:
            root.addHandler(handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the handlers, close the file and restore the root logger's level."""
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            handler.close()
        self._handlers = []
        root.setLevel(self._root_level)

    def _file_handler(self, level: int) -> logging.Handler:
        if self._path is None:
            return logging.NullHandler()
        try:
            unshare(self._path)
            handler = _FileHandler(self._path, encoding="utf-8")
        except OSError as error:
            remedy = belonging(self._path) or "give another --run_dir"
            raise RunError(f"{self._path} cannot be written ({error.strerror}); {remedy}") from error
        handler.setLevel(level)
        handler.setFormatter(_PlainFormatter(_FILE_FORMAT, _FILE_DATE))
        return handler

    def _console_handler(self) -> logging.Handler:
        handler = _ConsoleHandler(sys.stderr)
        handler.setLevel(self._level)
        coloured = colorlog.ColoredFormatter(_CONSOLE_FORMAT, _CONSOLE_DATE, log_colors=log_colors_config)
        # a pipe or a file wants no colours
        handler.setFormatter(
            coloured if sys.stderr.isatty() else _PlainFormatter(_FILE_FORMAT, _CONSOLE_DATE)
        )
        if not self._show_epochs:
            handler.addFilter(lambda record: record.name != EPOCH_LOGGER)
        return handler


class _FileHandler(logging.FileHandler):
    """Says nothing where there is no room for the log: what must be saved says so in one line."""

    def _open(self) -> TextIOWrapper:
        # of text, as every mode of a log is
        file = open(self.baseFilename, self.mode, encoding=self.encoding, opener=open_owned)
        return cast(TextIOWrapper, file)

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _ConsoleHandler(logging.StreamHandler):
    """Writes around progress bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=self.stream)
            self.flush()
        except Exception:
            self.handleError(record)


class _PlainFormatter(logging.Formatter):
    """Leaves colours out of the text only; RecBole's filter changes the record for all handlers."""

    def format(self, record: logging.LogRecord) -> str:
        return _ANSI.sub("", super().format(record))
