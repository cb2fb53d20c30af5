"""Losses that look at what the student itself ranks highest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.ranking.topk import list_length


class GuidedLoss(DistillationLoss):
    """A loss that knows the student's own lists, renewed every ``uninteresting_redraw`` epochs."""

    from_the_start: ClassVar[bool] = True
    """Whether the first epoch has lists of the student already; otherwise the first redraw makes them."""
    _own: Tensor | None = None

    @property
    def own_length(self) -> int:
        """How long the student's lists are; by default as long as the teacher's."""
        return self.lists.shape[1]

    def before_epoch(self, epoch: int) -> None:
        """Renews the student's lists when they are due."""
        super().before_epoch(epoch)
        if (epoch or self.from_the_start) and epoch % self.config["uninteresting_redraw"] == 0:
            self.renew()

    def renew(self) -> None:
        """Finds what the student ranks highest now."""
        self._own = self.top_items(list_length(self.own_length, self.n_items))

    def own_lists(self, users: Tensor) -> Tensor:
        """The student's lists of some users.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            Shape ``(B, D)``, best first, 0-padded; D is 0 where there are none yet.
        """
        return self.lists[users, :0] if self._own is None else self._own[users]

    def state_dict(self) -> dict[str, Any]:
        """The student's lists, from the first time that they are made."""
        return {"own": self._own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these lists."""
        own = state["own"]
        self._own = None if own is None else own.to(self.lists.device)
