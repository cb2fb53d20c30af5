"""UnKD: the teacher's order within groups of items of the same popularity."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.data.sparse import contains
from recbole_ccd.loss.collaborative import places_in
from recbole_ccd.loss.unkd import pair_loss
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.ranking.gumbel import weighted_top_k
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.registry import register


@register("unkd")
class UnbiasedDistillation(DistillationLoss):
    r"""Unbiased distillation (UnKD): pairs of items of the same popularity, in the teacher's order.

    .. math:: L_u = -\sum_{g} \sum_{(i, j) \in P_{ug}} \log \sigma(s_i - s_j)

    Items are sorted by their train interactions so far and dealt into ``unkd_groups`` groups that have about
    as many of these each. Of each group a user has a list of the teacher's best items, ``distill_top_k`` in
    all groups together. Pairs :math:`P_{ug}`, ``distill_draws`` of a user in all groups together, are an item
    i of the list, drawn without replacement with probability proportional to :math:`e^{-r / \lambda}` in its
    place r, and an item j of the group that the teacher ranks lower, drawn uniformly; where it ranks j
    higher, or j is in the user's train part, there is no pair. Within a group popularity tells little, and so
    the student is not told to favour what is popular. ``unkd_groups: 1`` has the pairs without this.

    The lists are made of one more pass of the teacher over all users, once per block. The law of j is ours.

    Source: Chen, Chen, Feng, Wang, He, "Unbiased Knowledge Distillation for Recommendation", WSDM 2023
    (arXiv 2211.14729).

    .. code-block:: yaml

        distill_loss: unkd
        distill_user_weight: 0.05
        distill_draws: 20
        distill_rank_decay: 10.0    # lambda
        unkd_groups: 4
    """

    needs_grouped_items = True

    def prepare(self, rankings: TeacherRankings) -> None:
        """Takes the lists of the groups, and puts the items in the groups' order."""
        lists, groups = rankings.grouped_items, rankings.item_groups
        if lists is None or groups is None:
            raise ValueError("these rankings have no lists of groups, which wants_grouped_items asks for")
        self._group_lists, n_groups = lists.to(self.lists.device), lists.shape[1]
        groups = groups.to(self.lists.device)
        self._order = groups.argsort(stable=True)
        self._sizes = torch.bincount(groups + 1, minlength=n_groups + 1)
        self._starts = (self._sizes.cumsum(0) - self._sizes)[1:]
        self._sizes = self._sizes[1:]

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        better, worse, valid = (part.flatten(1) for part in self.draw(users))
        scores = self.scores(users, torch.cat([better, worse], dim=1))
        higher, lower = scores.split(better.shape[1], dim=1)
        return pair_loss(higher, lower, valid)

    def draw(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of items of some users; drawn anew on each call.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            For each group the better item, the worse one and whether they are a pair, each
            ``(B, unkd_groups, n)``.
        """
        lists = self._group_lists[users]
        n_groups, k = lists.shape[1:]
        n = max(list_length(self.config["distill_draws"], self.n_items) // n_groups, 1)
        flat, sharpness = lists.flatten(0, 1), 1 / self.config["distill_rank_decay"]
        places = torch.arange(1.0, k + 1, device=flat.device).expand(flat.shape)
        drawn = weighted_top_k(-sharpness * places, flat, n, self._generator)
        shares = torch.rand(drawn.shape, generator=self._generator).to(flat.device)
        sizes = self._sizes.repeat(len(users))[:, None]
        at = (shares * sizes).long().clamp(max=(sizes - 1).clamp(min=0))
        others = self._order[(self._starts.repeat(len(users))[:, None] + at).clamp(max=len(self._order) - 1)]
        valid = (drawn > 0) & (places_in(others, flat) > places_in(drawn, flat))
        shape = (len(users), n_groups, n)
        better, worse = drawn.view(shape), others.view(shape)
        return better, worse, valid.view(shape) & ~self._has_seen(users, worse)

    def _has_seen(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user has each of the items, (B, …), in the train part."""
        rows = users.view(-1, 1, 1).expand(items.shape).flatten().cpu().numpy()
        found = contains(self.seen, rows, items.flatten().cpu().numpy())
        return torch.from_numpy(found).view(items.shape).to(items.device)
