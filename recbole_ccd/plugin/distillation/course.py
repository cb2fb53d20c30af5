"""The course of a member: its lists at several times of its training, from the first to the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_ccd.model.scoring import clear_cache, row_scorer
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.ranking.topk import list_length, top_k, users_at_a_time


class CourseRecorder(TrainerPlugin):
    """Writes down the lists of a member of the teacher while it is trained (``distill_curriculum``).

    At first after every epoch, then at times ever farther apart: never more than twice ``curriculum_lists``
    are held, evenly spaced, however long it takes. The training itself is left as it is.
    """

    name = "course"

    def bind(self, context: PluginContext) -> None:
        """Begins without a list.

        Args:
            context: a stage of a member.
        """
        super().bind(context)
        self._every = 1
        self._lists: dict[int, Tensor] = {}

    def before_epoch(self, epoch: int) -> None:
        """Writes down what the model ranks highest after so many epochs, when it is due."""
        if epoch == 0 or epoch % self._every:
            return
        self._lists[epoch] = self._top_items()
        if len(self._lists) > 2 * self.config["curriculum_lists"]:
            self._every *= 2
            self._lists = {at: lists for at, lists in self._lists.items() if at % self._every == 0}

    def course(self, best: int | None) -> Tensor:
        """The course of the trained member.

        Args:
            best: after how many epochs its weights were taken; None for the last one.

        Returns:
            (S, n_users, K) int32 item ids, 0-padded: at most ``curriculum_lists`` that were written down
            before that, evenly spaced, and last its list now.
        """
        passed = [lists for at, lists in self._lists.items() if best is None or at < best]
        n = min(self.config["curriculum_lists"], len(passed))
        chosen = [passed[len(passed) * place // n] for place in range(n)]
        return torch.stack([*chosen, self._top_items()])

    def _top_items(self) -> Tensor:
        model = self.model
        clear_cache(model)
        model.eval()
        users = torch.arange(model.n_users, device=model.device)
        k = list_length(self.config["distill_top_k"], model.n_items)
        score = row_scorer(model)
        lists = top_k(score, users, k, self.block.train_matrix, users_at_a_time(model.n_items, score, k))
        clear_cache(model)
        # nobody has interacted as [PAD]
        lists[0] = 0
        return lists.to("cpu", torch.int32)

    def state_dict(self) -> dict[str, Any]:
        """What has been written down, and how often it is."""
        return {"every": self._every, "lists": {str(at): lists for at, lists in self._lists.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on behind it."""
        self._every = state["every"]
        self._lists = {int(at): lists for at, lists in state["lists"].items()}
