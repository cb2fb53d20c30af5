"""What a teacher ranks highest in a block: made once, by several workers, or saved ahead."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from recbole_ccd.data.block import Block
from recbole_ccd.loss.unkd import popularity_groups
from recbole_ccd.model.pruning import pruned
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.model.teacher import TeacherEnsemble, mixed_rows, teacher_scorer
from recbole_ccd.plugin.distillation import wants_grouped_items, wants_item_lists, wants_member_ranks
from recbole_ccd.plugin.distillation.relative_difficulty import member_ranks
from recbole_ccd.ranking.groups import grouped_lists
from recbole_ccd.ranking.lists import top_lists
from recbole_ccd.ranking.members import ranks_by_member
from recbole_ccd.ranking.store import RankingStore
from recbole_ccd.ranking.topk import ScoreFn, users_at_a_time
from recbole_ccd.strategy.run_state import RunState

_SIDES = ("items", "users")
# slots of the store
_TEACHER, _BESIDE, _POSITIVES, GROWN_TEACHER = "teacher", "beside its lists", "positives", "grown teacher"


def _key_of(block: Block) -> str:
    """What the lists of a block are saved by."""
    return f"block-{block.index}-lists"


class TeacherLists:
    """Makes what is distilled of a teacher: its lists, and what losses read beside them.

    Attributes:
        store: what models have said about a block, as long as it serves.
    """

    def __init__(self, state: RunState) -> None:
        """Prepares it.

        Args:
            state: where the run is at.
        """
        self.state, self.config, self.store = state, state.config, RankingStore()
        self._seen_first = self.config["distill_lists"] == "seen_first"

    def of(self, teacher: TeacherEnsemble, block: Block) -> tuple[Tensor, Tensor]:
        """The lists of the teacher of a block, as of :meth:`make`: made before, saved ahead, or made now."""

        def make() -> tuple[Tensor, Tensor]:
            checkpoints, key = self.state.checkpoints, _key_of(block)
            saved = None if checkpoints is None else checkpoints.load_stage(key)
            if saved is None:
                return self.make(teacher, block, wants_item_lists(self.config), self._seen_first)
            items, users = (saved.state[side].to(self.config["device"]) for side in _SIDES)
            return items, users

        return self.store.get(_TEACHER, teacher, block, make)

    def beside(self, teacher: TeacherEnsemble, block: Block, listed: Tensor) -> dict[str, Tensor]:
        """What is read beside them, as of :meth:`make_beside`: made before, or now."""
        make = partial(self.make_beside, teacher, block, listed, self._seen_first)
        return self.store.get(_BESIDE, teacher, block, make)

    def ranks_of_positives(self, teacher: TeacherEnsemble, block: Block) -> Tensor:
        """Where each member ranks the pairs of the train part: made before, or now."""
        make = partial(member_ranks, list(teacher.members), block.train_matrix)
        return self.store.get(_POSITIVES, teacher, block, make)

    def save(self, teacher: TeacherEnsemble, block: Block) -> None:
        """Saves in the run directory the teacher's lists that the next block begins with.

        Raises:
            RunError: If they cannot be saved.
        """
        checkpoints, key = self.state.checkpoints, _key_of(block)
        if checkpoints is not None and checkpoints.load_stage(key) is None:
            lists = dict(zip(_SIDES, self.of(teacher, block), strict=True))
            checkpoints.save_stage(key, block.index, None, lists)

    def discard(self) -> None:
        """Lets go of what has been made of the teacher, which is as much as there are users and items."""
        self.store.discard(_TEACHER, _BESIDE, _POSITIVES, GROWN_TEACHER)

    def make(
        self, teacher: TeacherEnsemble, block: Block, item_lists: bool, seen_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What a teacher ranks highest outside the train part of a block, or after it.

        Args:
            teacher: a teacher of the block's size.
            block: the block.
            item_lists: whether each item's users are wanted.
            seen_first: whether the pairs of the train part lead the lists, in the place of being left out.

        Returns:
            Each user's items, as many as the longer of the lists distilled and excluded, and each item's
            users, none where they are not wanted; 0-padded, row = id.
        """
        k = self.config["distill_top_k"]
        users = torch.arange(block.n_users, device=self.config["device"])
        teacher.eval()
        score, longest = self._scores_of(teacher, block), max(k, self.config["exclusion_top_k"])
        lists = top_lists(
            score,
            users,
            block.n_items,
            longest,
            k if item_lists else 0,
            block.train_matrix,
            users_at_a_time(block.n_items, None if seen_first else score, longest),
            workers=self.state.workers,
            waiting=self.state.stop_if_asked,
            seen_first=seen_first,
        )
        teacher.eval()  # drops what its members cached for scoring
        return lists

    def make_beside(
        self, teacher: TeacherEnsemble, block: Block, listed: Tensor, seen_first: bool = False
    ) -> dict[str, Tensor]:
        """What the losses of this run read of a teacher beside its lists, for :class:`TeacherRankings`.

        Args:
            teacher: a teacher of the block's size.
            block: the block.
            listed: the lists that are distilled, row = user id.
            seen_first: whether pairs of the train part are among what is ranked.
        """
        found: dict[str, Tensor] = {}
        users = torch.arange(block.n_users, device=self.config["device"])
        exclude, size = block.train_matrix, users_at_a_time(block.n_items)
        teacher.eval()
        if wants_member_ranks(self.config):
            members = [partial(score_rows, member) for member in teacher.members]
            ranked = None if seen_first else exclude
            found["member_ranks"] = ranks_by_member(members, users, listed, ranked, size)
        if wants_grouped_items(self.config):
            n_groups = min(self.config["unkd_groups"], listed.shape[1])
            counts = torch.from_numpy(block.train_so_far.getnnz(axis=0))
            groups = popularity_groups(counts, n_groups).to(users.device)
            k, score = max(listed.shape[1] // n_groups, 1), self._scores_of(teacher, block)
            found["item_groups"] = groups
            found["grouped_items"] = grouped_lists(
                score, users, groups, n_groups, k, exclude, size, seen_first
            )
        teacher.eval()  # drops what its members cached for scoring
        return found

    def _scores_of(self, teacher: TeacherEnsemble, block: Block) -> ScoreFn:
        """What a teacher's lists are made from: its scores, and in part those of a pruned copy of it."""
        rate, share = self.config["teacher_prune_rate"], self.config["teacher_prune_share"]
        if not rate or not share:
            return teacher_scorer(teacher)
        copies = TeacherEnsemble(self.config, block.train, [pruned(one, rate) for one in teacher.members])
        return partial(mixed_rows, teacher, copies.to(self.config["device"]).eval(), share)
