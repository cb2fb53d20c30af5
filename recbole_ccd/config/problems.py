"""All that is wrong with settings, told at once: one line for each key."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recbole_ccd.utils.errors import ConfigError


class _Undecided(Exception):
    """Something depends on a setting that is wrong itself, which is told by then."""


class Problems:
    """What is wrong so far.

    Attributes:
        wrong: the keys whose values cannot be used, so that nothing that depends on them can be looked at.
    """

    def __init__(self) -> None:
        """Nothing is wrong yet."""
        self._found: list[ConfigError] = []
        self.wrong: set[str] = set()

    @contextmanager
    def noted(self, key: str | None = None) -> Iterator[None]:
        """Notes a ConfigError of the block under it, and lets the program go on behind that.

        A check that asks :class:`SoundSettings` for one that is wrong ends there, and nothing is noted.

        Args:
            key: the key that cannot be used then, if it is known.
        """
        try:
            yield
        except _Undecided:
            pass
        except ConfigError as error:
            self._found.append(error)
            self.wrong |= error.keys if key is None else {key}

    def tell(self) -> None:
        """Ends the looking.

        Raises:
            ConfigError: If something was noted; it has a line for each problem.
        """
        if len(self._found) == 1:
            # with its cause
            self._found[0].keys |= self.wrong
            raise self._found[0]
        if self._found:
            lines = dict.fromkeys(line for error in self._found for line in error.problems)
            raise ConfigError(*lines, keys=self.wrong)


class SoundSettings(dict[str, Any]):
    """Settings without those that are wrong; whoever asks for one of these cannot decide, and is left."""

    def __init__(self, settings: Mapping[str, Any], wrong: Collection[str]) -> None:
        """Leaves the wrong ones out.

        Args:
            settings: all settings.
            wrong: keys whose values cannot be used.
        """
        super().__init__({key: value for key, value in settings.items() if key not in wrong})
        self._wrong = frozenset(wrong)

    def __missing__(self, key: str) -> Any:
        if key in self._wrong:
            raise _Undecided(key)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The setting, or the default where there is none.

        Args:
            key: the key.
            default: what else is returned.
        """
        return self[key] if key in self or key in self._wrong else default
