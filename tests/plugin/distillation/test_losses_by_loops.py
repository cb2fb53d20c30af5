"""Losses that draw or compare, by themselves: equal to loops on what they draw, and draw what they should."""

import math

import pytest
import torch

from tests.model.small_models import all_scores
from tests.plugin.distillation.rankings import TOP

USERS = torch.tensor([4, 9, 30])
# drawn for a user
N = 5


def entries(row):
    return [entry for entry in row.tolist() if entry]


def noted(loss, method):
    """What a method of a loss returns from now on."""
    seen, original = [], getattr(loss, method)

    def note(*args):
        seen.append(original(*args))
        return seen[-1]

    setattr(loss, method, note)
    return seen


def list_wise(listed, others):
    """The likelihood of scores in their order, before others."""
    rest = sum(map(math.exp, others))
    tails = [sum(map(math.exp, listed[r:])) for r in range(len(listed))]
    return -sum(s - math.log(tail + rest) for s, tail in zip(listed, tails, strict=True))


def squared_differences(scores, teacher):
    n = len(scores)
    pairs = [(a, b) for a in range(n) for b in range(n)]
    return sum((scores[a] - scores[b] - teacher[a] + teacher[b]) ** 2 for a, b in pairs) / n**2


def place_score(item, listed):
    return -math.log(listed.index(item) + 1 if item in listed else 2 * TOP)


def own_lists(loss, depth):
    """The student's best unseen items, by sorting."""
    scores = all_scores(loss.model)[: loss.n_users, : loss.n_items]
    scores[torch.from_numpy(loss.seen.toarray()) > 0] = -torch.inf
    scores[:, 0] = -torch.inf
    return scores.topk(depth, dim=1).indices.tolist()


def test_speculative(make_loss):
    keys = {"distill_draws": N, "distill_propose_depth": 8, "distill_accept_rank": 4}
    loss = make_loss("speculative", distill_rank_sample=9, **keys)
    drawn, sampled = noted(loss, "draw"), noted(loss, "sampled_items")
    value, scores, expected = loss.user_loss(USERS).item(), all_scores(loss.model), 0.0
    own, seen = own_lists(loss, 8), loss.seen.toarray()
    for user, finished, rejected in zip(USERS.tolist(), *drawn[0], strict=True):
        listed, finished, rejected = entries(loss.lists[user]), entries(finished), entries(rejected)
        first = listed[:4]
        # what is proposed is of the student's list: the rejected ones, and those of the others that it has
        assert set(rejected) <= set(own[user]) - set(first) and len(set(rejected)) == len(rejected)
        assert finished == sorted(finished, key=listed.index) and set(finished) <= set(first)
        assert N - len(rejected) <= len(finished) <= N
        assert len(finished) == min(N, len(first)) or set(finished) == set(first)
        rest = [z for z in sampled[0].tolist() if not seen[user, z] and z not in listed and z not in rejected]
        of = [[scores[user, item].item() for item in items] for items in (finished, rejected + rest)]
        expected += list_wise(*of)
    assert value == pytest.approx(expected, rel=1e-4)


def test_proposals_follow_the_students_scores_and_replacements_the_teachers_places(make_loss):
    keys = {"distill_propose_depth": 6, "distill_propose_temperature": 0.5, "distill_accept_rank": 3}
    loss = make_loss("speculative", distill_draws=1, distill_rank_decay=2.0, **keys)
    own, listed = own_lists(loss, 6)[9], entries(loss.lists[9])[:3]
    finished, rejected = (part.flatten() for part in loss.draw(torch.full((4000,), 9)))
    powers = {item: math.exp(2 * all_scores(loss.model)[9, item].item()) for item in own}
    total = sum(powers.values())
    for item in set(own) - set(listed):
        assert (rejected == item).float().mean().item() == pytest.approx(powers[item] / total, abs=0.04)
    # after a rejection, the first places by how high they are
    replaced = finished[rejected > 0]
    laws = [math.exp(-r / 2) for r in (1, 2, 3)]
    for item, law in zip(listed, laws, strict=True):
        assert (replaced == item).float().mean().item() == pytest.approx(law / sum(laws), abs=0.05)


def test_who_ranks_as_the_teacher_proposes_nothing_that_is_rejected(make_loss):
    loss = make_loss("speculative", distill_draws=N, distill_propose_depth=TOP, distill_accept_rank=TOP)
    loss._own = loss.lists.clone()
    finished, rejected = loss.draw(USERS)
    assert not rejected.any() and (finished[1:] > 0).all()


@pytest.mark.parametrize("side", ["user", "item"])
def test_correlation(make_loss, side):
    keys = {"correlation_value_weight": 0.5, "correlation_tau": 0.3, "distill_temperature": 3.0}
    loss = make_loss("correlation", **keys)
    lists = loss.lists if side == "user" else loss._user_lists
    value = getattr(loss, f"{side}_loss")(USERS).item()
    scores = all_scores(loss.model) if side == "user" else all_scores(loss.model).T
    expected = 0.0
    for row in USERS.tolist():
        some = scores[row, entries(lists[row])]
        places = torch.arange(1.0, len(some) + 1)
        p, q = (torch.softmax(part / 3, dim=0) for part in (-places.log(), some))
        ranks = torch.stack([0.5 + torch.sigmoid((some - s) / 0.3).sum() for s in some])
        of = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in ((p, q), (ranks, places))]
        expected += 9 * (0.5 * (1 - of[0]) + 1 - of[1])
    assert value == pytest.approx(expected, rel=1e-4)


def test_comparative_of_items(make_loss):
    loss = make_loss("comparative", comparative_scale=0.7)
    scores, expected = all_scores(loss.model), 0.0
    for user in USERS.tolist():
        listed = entries(loss.lists[user])
        teacher = [0.7 * place_score(item, listed) for item in listed]
        expected += squared_differences([scores[user, item].item() for item in listed], teacher)
    assert loss.user_loss(USERS).item() == pytest.approx(expected, rel=1e-4)


def test_comparative_of_users(make_loss):
    loss = make_loss("comparative", distill_compare="users", comparative_items=7)
    users = torch.tensor([4, 9, 30, 12, 5])
    loss.lists[5] = 0
    value, scores, seen = loss.user_loss(users).item(), all_scores(loss.model), loss.seen.toarray()
    lists = {user: entries(loss.lists[user]) for user in users.tolist() if loss.lists[user].any()}
    assert len(lists) == 4
    counts = {}
    for item in sum(lists.values(), []):
        counts[item] = counts.get(item, 0) + 1
    shared = sorted(counts, key=lambda item: (-counts[item], item))[:7]
    expected = 0.0
    for item in shared:
        samples = [user for user in lists if not seen[user, item]]
        teacher = [place_score(item, lists[user]) for user in samples]
        expected += squared_differences([scores[user, item].item() for user in samples], teacher)
    assert value == pytest.approx(4 / 7 * expected, rel=1e-4)
    # what all users agree on is no difference, and one user has none
    assert loss.user_loss(USERS[:1]).item() == 0
    # nor have users without lists one, of whom a batch may consist
    assert loss.user_loss(torch.tensor([5])).item() == 0


def test_logits_and_their_scale(make_loss):
    loss = make_loss("logits")
    shift, scale = loss.parameters()
    assert (shift.item(), scale.item()) == (0.0, 1.0)
    with torch.no_grad():
        shift.fill_(0.3), scale.fill_(0.6)
    scores, expected = all_scores(loss.model), 0.0
    for user in USERS.tolist():
        for place, item in enumerate(entries(loss.lists[user]), start=1):
            expected += (scores[user, item].item() - 0.3 + 0.6 * math.log(place)) ** 2
    assert loss.user_loss(USERS).item() == pytest.approx(expected, rel=1e-4)
    other = make_loss("logits")
    other.load_state_dict(loss.state_dict())
    assert [part.item() for part in other.parameters()] == pytest.approx([0.3, 0.6])


def test_rce(make_loss):
    keys = {"distill_draws": N, "distill_propose_depth": 9, "rce_beta": 2.0, "distill_temperature": 1.5}
    loss = make_loss("rce", rce_temperature=3.0, **keys)
    drawn, scores, own = noted(loss, "draw"), all_scores(loss.model), own_lists(loss, 9)
    value, expected, shares = loss.user_loss(USERS).item(), 0.0, []
    for user, extra in zip(USERS.tolist(), drawn[0], strict=True):
        listed, extra, first = entries(loss.lists[user]), entries(extra), own[user][:TOP]
        assert set(extra) <= set(own[user]) - set(listed) and len(set(extra)) == len(extra) > 0
        terms = []
        for items in (first, listed + extra):
            t = torch.tensor([place_score(item, listed) for item in items])
            p = torch.softmax(t / 1.5, dim=0)
            terms.append(-(p * torch.log_softmax(scores[user, items], dim=0)).sum().item())
        shares.append(math.exp(-2 * len(set(listed) & set(first)) / len(listed)))
        expected += (1 - shares[-1]) * terms[0] + shares[-1] * terms[1]
    assert value == pytest.approx(expected, rel=1e-4) and min(shares) < 1


def test_rce_draws_what_closes_the_set(make_loss):
    loss = make_loss("rce", distill_draws=1, distill_propose_depth=10, rce_temperature=2.0)
    own, listed = own_lists(loss, 10)[9], entries(loss.lists[9])
    drawn = loss.draw(torch.full((4000,), 9)).flatten()
    weights = {}
    for place, item in enumerate(own):
        below = [other for other in listed if other not in own or own.index(other) >= place]
        if item not in listed:
            weights[item] = math.exp((1 + len(below)) / 2)
    total = sum(weights.values())
    for item, weight in weights.items():
        assert (drawn == item).float().mean().item() == pytest.approx(weight / total, abs=0.04)


@pytest.mark.parametrize("side", ["user", "item"])
def test_dcd(make_loss, side):
    loss = make_loss("dcd", distill_draws=3, distill_item_weight=1.0)
    drawn = noted(loss, "draw")
    value, scores = getattr(loss, f"{side}_loss")(USERS).item(), all_scores(loss.model)
    if side == "user":
        lists, own = loss.lists, own_lists(loss, TOP)
    else:
        lists, scores, seen = loss._user_lists, scores.T, loss.seen.toarray().T
        own = [
            sorted((u for u in range(1, loss.n_users) if not seen[i, u]), key=lambda u: -scores[i, u])[:TOP]
            for i in range(loss.n_items)
        ]
    expected = 0.0
    for row, low, high in zip(USERS.tolist(), *drawn[0], strict=True):
        listed, low, high = entries(lists[row]), entries(low), entries(high)
        where = {e: own[row].index(e) + 1 if e in own[row] else 2 * TOP for e in listed}
        assert set(low) <= {e for e in listed if where[e] > listed.index(e) + 1}
        there = {e: listed.index(e) + 1 if e in listed else 2 * TOP for e in own[row]}
        assert set(high) <= {e for e in own[row] if there[e] > own[row].index(e) + 1} and high
        assert low == sorted(low, key=listed.index) and low
        expected += list_wise(*([scores[row, e].item() for e in some] for some in (low, high)))
    assert value == pytest.approx(expected, rel=1e-4)


def test_dcd_has_lists_of_users_where_items_have_a_side_alone(make_loss):
    assert make_loss("dcd", distill_item_weight=0.0)._own_users is None


def test_unkd(make_loss):
    loss = make_loss("unkd", distill_draws=6)
    drawn = noted(loss, "draw")
    value, scores, seen = loss.user_loss(USERS).item(), all_scores(loss.model), loss.seen.toarray()
    expected, n_pairs = 0.0, 0
    for row, user in enumerate(USERS.tolist()):
        for group in (0, 1):
            listed = entries(loss._group_lists[user, group])
            better, worse, valid = (part[row, group].tolist() for part in drawn[0])
            assert len(better) == 3 and len(set(better)) == 3 and set(better) <= set(listed)
            for i, j, used in zip(better, worse, valid, strict=True):
                assert j % 2 == group and j > 0
                lower = j not in listed or listed.index(j) > listed.index(i)
                assert used == (lower and not seen[user, j])
                if used:
                    n_pairs += 1
                    expected += math.log(1 + math.exp(scores[user, j].item() - scores[user, i].item()))
    assert value == pytest.approx(expected, rel=1e-4) and n_pairs > 6


def test_unkd_draws_any_item_of_the_group_to_compare_with(make_loss):
    loss = make_loss("unkd", distill_draws=2)
    _, worse, _ = loss.draw(torch.full((3000,), 9))
    for group in (0, 1):
        items = range(2 - group, loss.n_items, 2)
        counts = torch.bincount(worse[:, group].flatten(), minlength=loss.n_items)
        assert set(counts.nonzero().flatten().tolist()) == set(items)
        assert counts.max() < 2 * 3000 / len(items)
