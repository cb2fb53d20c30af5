"""Rankings of a block, made once and held in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from recbole_ccd.data.block import Block

Ranked = TypeVar("Ranked")


class RankingStore:
    """What models have said about a block, for whoever asks again.

    Each slot is about one block at a time: a question about another block empties it, as rankings are as many
    as users and items.
    """

    def __init__(self) -> None:
        self._slots: dict[str, tuple[Block, list[tuple[object, Any]]]] = {}

    def get(self, slot: str, model: object, block: Block, make: Callable[[], Ranked]) -> Ranked:
        """What a model says about a block, made now or before.

        Args:
            slot: what the rankings are for.
            model: who ranks.
            block: the block, or the piece of it.
            make: makes them.
        """
        held, entries = self._slots.get(slot, (None, []))
        if held is not block:
            entries = []
            self._slots[slot] = block, entries
        for known, rankings in entries:
            if known is model:
                return rankings
        entries.append((model, make()))
        return entries[-1][1]

    def discard(self, *slots: str) -> None:
        """Empties slots, so that their lists are made anew when they are asked for."""
        for slot in slots:
            self._slots.pop(slot, None)
