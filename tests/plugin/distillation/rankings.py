"""A fixed teacher's lists, a stage that distils them, and the list-wise loss as its formula is written."""

from dataclasses import dataclass

import torch

from recbole_ccd.data.sparse import pairs_matrix
from recbole_ccd.plugin.distillation import TeacherDistillation
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.trainer import StageTrainer
from tests.model.small_models import small_model
from tests.plugin.stages import stage_trainer

TOP = 6


@dataclass
class Distilling:
    """A stage 1, and the lists that it distils."""

    trainer: StageTrainer
    rankings: TeacherRankings


def fixed_teacher(block, seed=0):
    """Scores of users of three kinds for items of three kinds, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    users, items = torch.arange(block.n_users)[:, None], torch.arange(block.n_items)[None]
    return (users % 3 == items % 3) * 3.0 + torch.randn(block.n_users, block.n_items, generator=generator)


def rankings_of(block, scores, excluded=2, short=()):
    """The teacher's lists, by sorting; the rows in ``short`` hold two entries only."""
    seen = torch.from_numpy(block.train_matrix.toarray()) > 0
    scores = scores.masked_fill(seen, -torch.inf)
    scores[0], scores[:, 0] = -torch.inf, -torch.inf
    order, by_user = scores.argsort(dim=1, descending=True), scores.argsort(dim=0, descending=True).T
    top_items, top_users = order[:, :TOP].clone(), by_user[:, :TOP].clone()
    top_items[0], top_users[0] = 0, 0
    for row in short:
        top_items[row, 2:], top_users[row, 2:] = 0, 0
    # items of places 10, 11, … are excluded without being listed
    taken = torch.cat([top_items, order[:, 10 : 10 + excluded]], dim=1)
    excluded = pairs_matrix([taken], block.n_users, block.n_items)
    groups, grouped = in_groups(block, order, scores)
    return TeacherRankings(top_items, top_users, excluded, taken, None, groups, grouped)


def in_groups(block, order, scores):
    """Two groups of items, odd and even ones, and each user's three best of each, row by row."""
    groups = torch.arange(block.n_items) % 2
    groups[0] = -1
    lists = torch.zeros(block.n_users, 2, TOP // 2, dtype=torch.int64)
    for user in range(1, block.n_users):
        for group in (0, 1):
            best = [i for i in order[user].tolist() if groups[i] == group and scores[user, i] > -torch.inf]
            lists[user, group, : len(best[: TOP // 2])] = torch.tensor(best[: TOP // 2])
    return groups, lists


def distilling(make_config, block, name="BPR", short=(4,), **keys):
    """Stage 1 of a small model with a fixed teacher's lists of a block."""
    config, model = small_model(make_config, name, block, **keys)
    rankings = rankings_of(block, fixed_teacher(block), short=short)
    plugin = TeacherDistillation(rankings)
    excluded = rankings.excluded
    trainer = stage_trainer(config, model, block, "student_generation", plugin, excluded=excluded)
    return Distilling(trainer, rankings)


def naive_rrd(scores, listed, uninteresting, score_max=10.0):
    """The list-wise loss of one row, as the formula is written."""
    scores = scores.clamp(max=score_max)
    listed = [j for j in listed.tolist() if j]
    rest = scores[uninteresting].exp().sum()
    loss = 0.0
    for r, column in enumerate(listed):
        loss = loss - (scores[column] - torch.log(scores[listed[r:]].exp().sum() + rest))
    return loss


def eligible(block, rankings, row, swapped):
    """Columns that are neither train nor listed nor excluded."""
    ineligible = block.train_matrix.toarray() + rankings.excluded.toarray()
    line = ineligible[:, row] if swapped else ineligible[row]
    listed = (rankings.top_users if swapped else rankings.top_items)[row].tolist()
    return {j for j in range(1, len(line)) if not line[j] and j not in listed}


def vectors_of(model, layer):
    """What a model scores by, of one layer."""
    if layer == "ego":
        return model.user_embedding.weight, model.item_embedding.weight
    return model()
