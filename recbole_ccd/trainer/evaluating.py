"""How a model in training is measured: RecBole's evaluation, on the known items of one block or several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ccd.compat import ContainedTrainer
from recbole_ccd.data.block import Block
from recbole_ccd.model.growth import set_inference_history
from recbole_ccd.model.scoring import clear_cache, score_rows

Batch = tuple[Interaction, Any, Tensor, Tensor]


class EvaluatingTrainer(ContainedTrainer):
    """A RecBole trainer that ranks what is known in a block.

    Attributes:
        block: the block being learned; None before it is placed in the stream.
    """

    block: Block | None = None

    def evaluate(
        self,
        eval_data: AbstractDataLoader | Sequence[AbstractDataLoader],
        load_best_model: bool = False,
        **kwargs: Any,
    ) -> dict | None:
        """RecBole's ``evaluate`` on the current weights (best weights are restored by ``fit``).

        Args:
            eval_data: a loader, or several, such as one per block, whose metrics are averaged.
            load_best_model: has no effect.
            **kwargs: as RecBole's.
        """
        clear_cache(self.model)
        self._read_inference_rows()
        loaders = eval_data if isinstance(eval_data, Sequence) else [eval_data]
        # a validation takes a second; its bar would push the stage's away
        evaluate = partial(super().evaluate, load_best_model=False, **{**kwargs, "show_progress": False})
        results = [evaluate(loader) for loader in loaders]
        return {name: sum(result[name] for result in results) / len(results) for name in results[0]}

    def _full_sort_batch_eval(self, batched_data: Batch) -> tuple[Interaction, Tensor, Tensor, Tensor]:
        interaction, history, positive_u, positive_i = batched_data
        scores = score_rows(self.model, interaction.to(self.device)[self.model.USER_ID])
        scores[:, 0] = -torch.inf
        scores[history] = -torch.inf
        return interaction, scores, positive_u, positive_i

    def _read_inference_rows(self) -> None:
        if self.block is not None:
            set_inference_history(self.model, self.block, self.config)
