"""The teacher system: an ensemble of large models that ranks by mean reciprocal-power rank."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_ccd.config import given_config
from recbole_ccd.model.scoring import clear_cache, row_scorer, score_rows
from recbole_ccd.ranking.ensemble import ShallowEnsemble, ensemble_scores
from recbole_ccd.ranking.tiles import InnerProducts
from recbole_ccd.ranking.topk import ScoreFn

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.dataset import IncrementalDataset


class TeacherEnsemble(GeneralRecommender):
    """An ensemble of RecBole models as one RecBole model (CCD).

    The score of a user and an item is the mean over members of ``rank^-exponent``, with the rank from
    1 among the known items. Members may be of different classes; each is trained by itself.
    """

    input_type = InputType.PAIRWISE

    def __init__(
        self, config: CCDConfig, dataset: IncrementalDataset, members: Sequence[GeneralRecommender]
    ) -> None:
        """Puts members together.

        Args:
            config: the run's configuration, for ``ensemble_exponent`` and ``ensemble_rank_depth``.
            dataset: a view that knows what the members know.
            members: models of the same known prefix.
        """
        super().__init__(given_config(config), dataset)
        self.exponent, self.depth = config["ensemble_exponent"], config["ensemble_rank_depth"]
        self.members = nn.ModuleList(members)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Ensemble scores of all items, shape ``(B * n_items,)``; the [PAD] column is -inf."""
        users = interaction[self.USER_ID]
        member_scores = (score_rows(member, users) for member in self.members)
        return ensemble_scores(member_scores, self.exponent, self.depth).view(-1)

    def predict(self, interaction: Interaction) -> Tensor:
        """Ensemble scores of given pairs, shape ``(B,)``; each needs the ranks of the user's whole row."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return (
            self.full_sort_predict(interaction).view(len(users), -1).gather(1, items.unsqueeze(1)).squeeze(1)
        )

    def train(self, mode: bool = True) -> TeacherEnsemble:
        """Switches the members' mode and drops what they cached."""
        for member in self.members:
            clear_cache(member)
        return super().train(mode)


def teacher_scorer(teacher: TeacherEnsemble) -> ScoreFn:
    """The ensemble's scores as a function of users alone.

    Args:
        teacher: a teacher in eval mode.

    Returns:
        For a large catalogue, of which members that score by inner products rank a few items only
        (``ensemble_rank_depth``), a :class:`ShallowEnsemble`.
    """
    if teacher.depth is not None:
        scorers = [row_scorer(member) for member in teacher.members]
        products = [scorer for scorer in scorers if isinstance(scorer, InnerProducts)]
        if len(products) == len(scorers):
            return ShallowEnsemble(products, teacher.exponent, teacher.depth)
    return partial(score_rows, teacher)


def ordering_scorer(model: GeneralRecommender) -> ScoreFn:
    """Scores that put all items in a model's order for each user, found in the cheapest way.

    An ensemble of one that ranks all items orders them as its member does, without ranking them.

    Args:
        model: any RecBole general recommender, in eval mode.

    Returns:
        As of :func:`row_scorer`; comparable within a row only.
    """
    if not isinstance(model, TeacherEnsemble):
        return row_scorer(model)
    as_its_member = len(model.members) == 1 and model.depth is None
    return row_scorer(model.members[0]) if as_its_member else partial(score_rows, model)


def mixed_rows(teacher: TeacherEnsemble, pruned: TeacherEnsemble, share: float, users: Tensor) -> Tensor:
    r"""Scores of a teacher that is in part a pruned one.

    .. math:: (1 - c) \, s + c \, s_{\mathrm{pruned}}

    Source: the teacher of R2KD, Kim et al., TKDE 2024 (arXiv 2311.13934), with the scores of ensembles for
    logits.

    Args:
        teacher: a teacher.
        pruned: one whose members are pruned copies of its members.
        share: the c above.
        users: ids, shape ``(B,)``.

    Returns:
        Shape ``(B, n_items)``; what neither ranks is ``-inf``; what one of them does not rank is
        last there.
    """
    scores, others = score_rows(teacher, users), score_rows(pruned, users)
    ranked = torch.isfinite(scores) | torch.isfinite(others)
    last = float(scores.shape[1]) ** -teacher.exponent
    mixed = torch.lerp(scores.clamp(min=last), others.clamp(min=last), share)
    return mixed.masked_fill_(~ranked, -torch.inf)
