"""A replay scheme: what of the past a stage visits again, chosen by the key ``replay``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor

from recbole_ccd.data.block import Block
from recbole_ccd.plugin.base import TrainerPlugin
from recbole_ccd.registry import registered

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@dataclass
class ReplaySource:
    """A frozen model whose knowledge is replayed.

    Attributes:
        name: for seeds and logs (``stability``, ``plasticity``, ``student``).
        model: the frozen model, of this or an earlier prefix.
        n_draws: items drawn per user.
        candidates: what is drawn from, shape ``(n_users, A)``, 0-padded; None lets the first stage that
            replays from this source find them.
        of_all: whether the train items of the block and the one before may be drawn too.
    """

    name: str
    model: GeneralRecommender
    n_draws: int
    candidates: Tensor | None = None
    of_all: bool = False


class ReplayScheme(TrainerPlugin):
    """A plugin that replays the past, by what earlier models know or by stored interactions.

    A scheme that replays interactions adds them to the block (:meth:`extend`); one that replays what models
    know adds losses or passes as any plugin does.
    """

    kind: ClassVar[str] = "replay scheme"
    name = "replay"
    settings: ClassVar[Mapping[str, Any]] = {}
    """Keys of the scheme with their defaults; those of ours are in ``properties/`` instead."""
    needs_proxies: ClassVar[bool] = False
    """Whether it replays from proxies, so that a strategy without them cannot have it."""
    visits_everybody: ClassVar[bool] = False
    """Whether auto-encoders, which read what is replayed in users' rows, visit others than the block's users;
    ``auto`` settings of a stage are then those for all who are known."""

    def __init__(
        self,
        role: str,
        sources: Sequence[ReplaySource] = (),
        rank_with: GeneralRecommender | None = None,
    ) -> None:
        """Says what may be replayed from.

        Args:
            role: ``student`` or ``teacher``, whose settings hold.
            sources: the frozen models that the strategy has; none where it has no proxies.
            rank_with: the model whose ranks count as current; default the one being trained.
        """
        self.role, self.sources, self.rank_with = role, sources, rank_with

    @classmethod
    def extend(cls, block: Block, config: CCDConfig) -> Block:
        """The block that a stage learns under this scheme.

        Args:
            block: the block that has arrived, not the base block.
            config: the run's configuration.

        Returns:
            The block itself, or one with earlier train rows
            (:meth:`~recbole_ccd.data.block.Block.with_earlier`).
        """
        return block


def chosen_scheme(config: CCDConfig) -> type[ReplayScheme] | None:
    """The configured replay scheme; None for none.

    Args:
        config: the run's configuration, or of one of its models.
    """
    name = config["replay"]
    return None if name is None else registered(ReplayScheme.kind, config["plugins"])[name]
