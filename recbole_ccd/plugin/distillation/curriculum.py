"""The curriculum: each user's list goes from what is easy to rank to what the teacher knows at last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recbole_ccd.loss.curriculum import consensus_lists, list_distance

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# users whose lists are put together at a time
_TILE = 1 << 13


class Curriculum:
    r"""Where each user is on the members' courses (``distill_curriculum: hetcomp``).

    A member's course is its lists at several times of its base training; the first are easy for a student,
    the last is what the member knows. Each user begins with the first list of every member. Every
    ``uninteresting_redraw`` epochs a user goes on to a member's next list if the student is near enough to
    it, compared with the list that the user is at:

    .. math:: \frac{D(\pi^{v+1}, \pi^{v})}{D(\pi^{v+1}, \pi_S)} > \alpha \cdot \beta^{\mathrm{epoch}}

    with the distance of :func:`~recbole_ccd.loss.curriculum.list_distance` and the student's own list
    :math:`\pi_S`. What is distilled is the
    :func:`~recbole_ccd.loss.curriculum.consensus_lists` of where the user is, and the teacher's own list once
    all courses are at their end. The items' side, if there is one, has the teacher's lists from the
    beginning.

    Source: after HetComp, Kang et al., "Distillation from Heterogeneous Models for Top-K Recommendation", WWW
    2023: courses of checkpoints, a place on them for each user and member, transitions by :math:`1 -
    \mathrm{NDCG}` with a bound that loosens. Ours: the bound's very form; any loss in the place of a set-wise
    one that is followed by a rank-wise one; the base block alone, as later students begin with the one
    before.

    .. code-block:: yaml

        distill_curriculum: hetcomp
        curriculum_lists: 3       # of each member, beside its last one
        curriculum_alpha: 1.05    # alpha
        curriculum_decay: 0.995   # beta
    """

    def __init__(self, config: CCDConfig, courses: Sequence[Tensor], last: Tensor) -> None:
        """Everybody begins.

        Args:
            config: the stage's configuration.
            courses: of each member (S, n_users, K) item ids, 0-padded, the last of which are its own.
            last: the teacher's lists, (n_users, K).
        """
        self._config, self._last = config, last
        self._courses = [course.to(last.device, torch.int64) for course in courses]
        self.places = torch.zeros(len(last), len(courses), dtype=torch.int64, device=last.device)

    def advance(self, student: Tensor, epoch: int) -> bool:
        """Lets users go on for whom it is time.

        Args:
            student: the student's own lists, (n_users, K).
            epoch: the epoch that begins.

        Returns:
            Whether anybody has gone on.
        """
        bound = self._config["curriculum_alpha"] * self._config["curriculum_decay"] ** epoch
        before = self.places.clone()
        for m, course in enumerate(self._courses):
            now, following = self._of_member(m), self._of_member(m, 1)
            step, left = list_distance(following, now), list_distance(following, student)
            # from a list that is the next one already there is nowhere to go but on
            ready = (step > bound * left) | (step == 0)
            self.places[:, m] = (self.places[:, m] + ready).clamp(max=len(course) - 1)
        return not torch.equal(before, self.places)

    def _of_member(self, m: int, steps: int = 0) -> Tensor:
        """(n_users, K) where users are on a member's course, or so many steps on."""
        course = self._courses[m]
        at = (self.places[:, m] + steps).clamp(max=len(course) - 1)
        return course[at, torch.arange(len(at), device=at.device)]

    def lists(self) -> Tensor:
        """(n_users, K) what is distilled to each user now."""
        ends = torch.tensor([len(course) - 1 for course in self._courses], device=self.places.device)
        arrived = (self.places == ends).all(dim=1)
        if bool(arrived.all()):
            return self._last
        members = [self._of_member(m).split(_TILE) for m in range(len(self._courses))]
        exponent = self._config["ensemble_exponent"]
        shared = torch.cat([consensus_lists(parts, exponent) for parts in zip(*members, strict=True)])
        return torch.where(arrived[:, None], self._last, shared)
