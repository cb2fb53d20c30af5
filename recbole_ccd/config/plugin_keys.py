"""Whether a strategy has a use for what ``replay`` and ``regularizer`` choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_ccd.utils.errors import ConfigError, one_line


def check_plugin_keys(
    settings: Mapping[str, Any],
    strategy: type[Any],
    schemes: Mapping[str, type[Any]],
    source_of: Callable[[str], str],
) -> None:
    """Refuses plugins that a strategy has no place for, as they would have no effect.

    Args:
        settings: all settings, each checked by itself.
        strategy: the strategy's class.
        schemes: replay schemes by name.
        source_of: where a key was set.

    Raises:
        ConfigError: If there is such a plugin.
    """
    for key, has_place, what in (
        ("replay", strategy.replays, "replays"),
        ("regularizer", strategy.regularizes is not None, "regularizes"),
    ):
        if settings[key] is not None and not has_place:
            raise ConfigError(
                f"{_given(key, settings, source_of)}, and strategy {strategy.name} {what} nothing; leave it "
                f"out, or give it in strategy_args to a strategy that {what}"
            )
    scheme = schemes.get(settings["replay"])
    if scheme is not None and scheme.needs_proxies and not strategy.has_proxies:
        others = [name for name, other in schemes.items() if not other.needs_proxies]
        raise ConfigError(
            f"{_given('replay', settings, source_of)}, which replays from proxies, and strategy "
            f"{strategy.name} has none; choose one of: {', '.join(others)}, or leave it out"
        )


def _given(key: str, settings: Mapping[str, Any], source_of: Callable[[str], str]) -> str:
    return f"{key} is {one_line(repr(settings[key]))} ({source_of(key)})"
