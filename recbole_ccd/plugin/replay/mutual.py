"""Deep mutual learning: what the other model, in training too, ranks high and this one now ranks low (BD)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.model.growth import set_inference_history
from recbole_ccd.model.scoring import clear_cache, is_autoencoder
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin, TrainingPass
from recbole_ccd.plugin.replay.base import ReplaySource
from recbole_ccd.plugin.replay.proxy_guided import (
    ReplayDraws,
    own_scale,
    with_pseudo_interactions,
)
from recbole_ccd.plugin.replay.steps import Pairs, ReplaySteps
from recbole_ccd.ranking.gumbel import gumbel_top_k, tanh_top_k
from recbole_ccd.utils.seeding import derive_seed

# the student draws only what it ranks lower; the teacher, which knows better, what it ranks alike as well
LAWS = {"student": tanh_top_k, "teacher": gumbel_top_k}


class MutualReplay(TrainerPlugin):
    r"""Replays what a model in training beside this one ranks high.

    .. math:: L = -\lambda \sum_{(u,i)} \bigl[ y_{ui} \log\sigma(s_{ui}) +
              (1 - y_{ui}) \log(1 - \sigma(s_{ui})) \bigr], \qquad
              P(i \mid u) \propto \tanh(\max(\epsilon (r_{ui} - r^o_{ui}), 0)) \text{ or }
              e^{\epsilon (r_{ui} - r^o_{ui})}

    with live scores s, and the ranks of an item by this model and by the other one: the student draws by the
    first law, a member of the teacher by the second. Labels y are the other model's scores, brought to the
    mean and deviation of this one's own best ones. Items are drawn among the first
    ``*_replay_candidates`` of the other model; every ``replay_redraw`` epochs both are ranked and pairs are
    drawn anew, from several other models by turns. The steps that learn them, and what auto-encoders have in
    their place, are those of :class:`~recbole_ccd.plugin.replay.ProxyGuidedReplay`.

    Source: Kweon, Kang, Yu, "Bidirectional Distillation for Top-K Recommender System", WWW 2021.

    .. code-block:: yaml

        mutual_learning: True
        mutual_weight: 0.5           # lambda
        mutual_draws: 5
        mutual_temperature: 1.0e-4   # epsilon
    """

    name = "mutual"

    def __init__(self, role: str, others: Sequence[GeneralRecommender]) -> None:
        """Says whom to learn from.

        Args:
            role: ``student`` or ``teacher``, whose settings and law hold.
            others: models of the same block, which are trained meanwhile, by turns with this one.
        """
        self._role, self._others = role, others

    def bind(self, context: PluginContext) -> None:
        """Nothing is drawn before the first epoch."""
        super().bind(context)
        self._reads_rows = is_autoencoder(self.model)
        self._steps = ReplaySteps(context, self._role)
        self.propagates = self._steps.propagates
        self._count = 0

    def before_epoch(self, epoch: int) -> None:
        """Ranks both models and draws anew every ``replay_redraw`` epochs."""
        every: int = self.config["replay_redraw"]
        if epoch % every == 0:
            self._pairs = self._drawn(self._others[epoch // every % len(self._others)], epoch)
        self._count += len(self._pairs[0])
        if not self._reads_rows:
            self._steps.begin(self._pairs, self.config["mutual_weight"], self._pass_seed(epoch))

    def _drawn(self, other: GeneralRecommender, epoch: int) -> Pairs:
        config, block = self.config, self.block
        candidates = config.per_block(f"{self._role}_replay_candidates", block.index)
        # an epoch of its own may have left an auto-encoder with the rows that it learned
        set_inference_history(other, block, config)
        self.model.eval()
        draws = ReplayDraws(
            [ReplaySource(self.name, other, config["mutual_draws"])],
            block.recent_train_matrix,
            candidates,
            config["mutual_temperature"],
            derive_seed(self.seed, "mutual draws"),
            self.model.device,
            config["replay_rank_sample"],
            None if self._reads_rows else own_scale(self.model, block, candidates),
            LAWS[self._role],
        )
        pairs = draws.draw(self.model, epoch)
        for model in (self.model, other):
            clear_cache(model)
        return pairs

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The loss of the pairs that are learned with the batch."""
        return self._steps.batch_losses()

    def after_epoch(self, epoch: int) -> Iterator[TrainingPass]:
        """The pass over the pairs drawn, where they have optimizer steps of their own."""
        if not self._reads_rows:
            weight, seed = self.config["mutual_weight"], self._pass_seed(epoch)
            yield from self._steps.own_pass(self.name, self._pairs, weight, seed)

    def _pass_seed(self, epoch: int) -> int:
        return derive_seed(self.seed, "mutual pass", epoch)

    def visited_users(self) -> Tensor | None:
        """For auto-encoders everybody known."""
        return torch.arange(1, self.block.n_users) if self._reads_rows else None

    def training_rows(self, rows: csr_matrix) -> csr_matrix:
        """The rows and, with less weight, the pairs drawn."""
        return with_pseudo_interactions(rows, self._pairs, self.config["pseudo_interaction_value"])

    def state_dict(self) -> dict[str, Any]:
        """The pairs drawn last, and how many there have been."""
        return {"pairs": tuple(self._pairs), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._pairs = tuple(part.to(self.model.device) for part in state["pairs"])
        self._count = state["count"]

    def history(self) -> dict[str, Any]:
        """``mutual``: pairs of the other models, added up over the epochs."""
        return {"mutual": self._count}
