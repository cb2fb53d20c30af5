"""The teacher's lists, turned into losses of a student: RRD on users' and IR-RRD on items' side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.config.plugins import KEY, plugged
from recbole_ccd.config.plugins import USER_LOSSES as PLUGGED
from recbole_ccd.data.pairs import pairs_matrix
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.windowed import windowed_ranking_loss
from recbole_ccd.model.scoring import factors, has_factors, score_pairs
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.ranking.uninteresting import UninterestingSampler
from recbole_ccd.seeding import torch_generator
from recbole_ccd.trainer.distill_losses import USER_LOSSES

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@dataclass
class TeacherKnowledge:
    """What the teacher says about a block, all the student is taught with.

    Attributes:
        top_items: each user's best items that are not in the train part, shape ``(n_users, K)``, 0-padded.
        top_users: each item's best users, likewise, shape ``(n_items, K)``; K is 0 where no loss reads them
            (:func:`teaches_items`).
        excluded: pairs that are neither negatives nor uninteresting, users × items: the top items of
            teacher, proxies and current student.
    """

    top_items: Tensor
    top_users: Tensor
    excluded: csr_matrix


@dataclass
class _Side:
    """One direction of distillation: rows that rank columns.

    ``ineligible`` holds the pairs that are not uninteresting: known, excluded or interesting ones.
    """

    interesting: Tensor
    ineligible: csr_matrix
    sampler: UninterestingSampler
    weight: float
    swapped: bool


def teaches_items(config: CCDConfig) -> bool:
    """Whether there is an item side: it belongs to RRD, and needs a weight."""
    return config["distill_loss"] == "rrd" and config["distill_item_weight"] > 0


class Teaching:
    """Losses of a student that reads the teacher's lists.

    On the users' side RRD (Kang et al., DE-RRD, CIKM 2020), on the items' side CCD's IR-RRD. Any other
    ``distill_loss`` takes the place of RRD, and there is no item side then. The student may know more
    users and items than the lists do: those are left alone.

    Args:
        config: the stage's configuration.
        model: the student in training.
        knowledge: the teacher's word.
        seen: users × items of the lists' sizes that are neither listed nor uninteresting.
        seed: seed of what is drawn.
    """

    def __init__(
        self,
        config: CCDConfig,
        model: GeneralRecommender,
        knowledge: TeacherKnowledge,
        seen: csr_matrix,
        seed: int,
    ) -> None:
        self.config, self.model, self.seed = config, model, seed
        self._shared = torch_generator(seed, "shared", 0)
        self._alternative = self._items = None
        if (name := config["distill_loss"]) != "rrd":
            losses = {**plugged(config[KEY], PLUGGED), **USER_LOSSES}
            self._alternative = losses[name](config, model, knowledge.top_items, seen, seed)
            return
        taken = seen + knowledge.excluded
        self._users = self._side(knowledge.top_items, taken, "user", "items", swapped=False)
        if teaches_items(config):
            self._items = self._side(knowledge.top_users, taken.T, "item", "users", swapped=True)

    def _side(self, interesting: Tensor, taken: csr_matrix, who: str, what: str, swapped: bool) -> _Side:
        ineligible = (taken + pairs_matrix([interesting], *taken.shape)).tocsr()
        generator = torch_generator(self.seed, "uninteresting", what)
        n_rows, n_columns = ineligible.shape
        sampler = UninterestingSampler(n_columns, n_rows, self.config[f"n_uninteresting_{what}"], generator)
        return _Side(interesting, ineligible, sampler, self.config[f"distill_{who}_weight"], swapped)

    @property
    def has_users(self) -> bool:
        """Whether the users' side has a weight."""
        return self.config["distill_user_weight"] > 0

    @property
    def has_items(self) -> bool:
        """Whether there is an item side."""
        return self._items is not None

    def before_epoch(self, epoch_idx: int) -> None:
        """Draws the uninteresting sets anew every ``uninteresting_redraw`` epochs, shared ones per batch."""
        # an epoch is what a stage is taken up by, so this one need not be kept
        self._shared = torch_generator(self.seed, "shared", epoch_idx)
        if self._alternative is not None:
            self._alternative.before_epoch(epoch_idx)
        elif epoch_idx and epoch_idx % self.config["uninteresting_redraw"] == 0:
            self._users.sampler.redraw()
            if self._items is not None:
                self._items.sampler.redraw()

    def state(self) -> dict[str, Any]:
        """What is drawn at random and kept from one epoch to the next: plain values and tensors."""
        if self._alternative is not None:
            return {"alternative": self._alternative.state()}
        sides = {"users": self._users, "items": self._items}
        return {name: side.sampler.state_dict() for name, side in sides.items() if side is not None}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where a teaching was that gave :meth:`state`."""
        if self._alternative is not None:
            self._alternative.load_state(state["alternative"])
            return
        self._users.sampler.load_state_dict(state["users"])
        if self._items is not None:
            self._items.sampler.load_state_dict(state["items"])

    def of_users(self, users: Tensor) -> Tensor:
        """Weighted sum of the user-side losses of distinct users, shape ``(B,)``."""
        if self._alternative is None:
            return self._list_wise(self._users, users)
        return self.config["distill_user_weight"] * self._alternative(users)

    def of_items(self, items: Tensor) -> Tensor:
        """Weighted sum of the item-side losses of distinct items, shape ``(B,)``."""
        return self._list_wise(self._items, items)

    def _list_wise(self, side: _Side, rows: Tensor) -> Tensor:
        """Weighted sum of the list-wise losses of some rows."""
        interesting = side.interesting.to(rows.device)[rows]
        windows = side.sampler.windows(rows, side.ineligible)
        if not has_factors(type(self.model)):
            mask = windows.mask(side.sampler.n_columns)
            return side.weight * self._pairwise(side, rows, interesting, mask).sum()
        vectors = factors(self.model, self.config["distill_layer"])
        row_vectors, column_vectors = reversed(vectors) if side.swapped else vectors
        score_max, known = self.config["distill_score_max"], column_vectors[: side.sampler.n_columns]
        return side.weight * windowed_ranking_loss(row_vectors[rows], known, interesting, windows, score_max)

    def _pairwise(self, side: _Side, rows: Tensor, interesting: Tensor, mask: Tensor) -> Tensor:
        """The same loss for a model that can only score pairs, on a few shared uninteresting columns."""
        n_shared = list_length(self.config["n_uninteresting_pairs"], mask.shape[1])
        shared = torch.randint(1, mask.shape[1], (n_shared,), generator=self._shared)
        columns = torch.cat([interesting, shared.to(rows.device).expand(len(rows), -1)], dim=1)
        pair_rows = rows.repeat_interleave(columns.shape[1])
        pair = (columns.flatten(), pair_rows) if side.swapped else (pair_rows, columns.flatten())
        scores = (
            score_pairs(self.model, *pair).view(columns.shape).clamp(max=self.config["distill_score_max"])
        )
        listed, others = scores.split([interesting.shape[1], len(shared)], dim=1)
        usable = mask.gather(1, columns[:, interesting.shape[1] :])
        # the sample stands for all uninteresting columns
        scale = mask.sum(dim=1) / usable.sum(dim=1).clamp(min=1)
        lse = masked_log_sum_exp(others, usable) + torch.log(scale)
        return list_wise_loss(listed, lse, interesting > 0)
