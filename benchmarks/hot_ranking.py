"""The paths without gradients: ranks and replay, the teacher's lists, graphs, negatives, evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from common import measure
from comparison import Comparison, require
from machine import Limits, Work
from package_side import Scene, similarity_graph
from references import (
    CLOSE,
    ensemble_matrix,
    metrics_by_sorting,
    negatives_by_loop,
    ranks_by_sorting,
    replayed_pairs,
    score_matrix,
    similarity_by_bisection,
    top_lists_by_sorting,
    used_sets,
)
from scipy.sparse import csr_matrix
from torch import Tensor

N_CANDIDATES, N_DRAWS = 100, 5
# so few scores in a thousand may swap ranks because a product of another shape rounds otherwise
ROUNDED = 1e-3


def rank_and_draw(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """Candidates of two proxies, discrepancy of ranks and the draw, for all users of block 1."""
    block = scene.block(1)
    live, *proxies = (scene.student(1, seed) for seed in range(3))
    scene.replay(proxies, live, N_CANDIDATES, N_DRAWS)
    ours = measure(lambda: scene.replay(proxies, live, N_CANDIDATES, N_DRAWS), 1 if quick else 3)
    seen = block.recent_train_matrix

    def dense() -> dict[tuple[int, int], float]:
        matrices = [score_matrix(*scene.vectors(model), seen) for model in (live, *proxies)]
        temperature = scene.config["replay_temperature"]
        return replayed_pairs(matrices[0], matrices[1:], N_CANDIDATES, N_DRAWS, temperature, seed=0)

    reference = measure(dense)
    drawn = len(ours.result[0]), len(reference.result)
    require(abs(drawn[0] / drawn[1] - 1) < 0.01, f"{drawn[0]} pairs, the reference drew {drawn[1]}")
    checked = _check_ranks(scene, live, proxies, seen)
    checked += f"; {_check_draw(scene, proxies, ours.result)}, the reference {len(reference.result):,}"
    work, size = Work(limits), float(block.n_users) * block.n_items
    work.product(256, live.latent_dim, block.n_items, 3 * block.n_users / 256).moved(3 * 2 * 4 * size)
    yield Comparison("ranks and replay draw, 2 proxies, d = 8", ours, reference, checked, work)
    few = scene.config["replay_rank_sample"]
    quick_ranks = lambda: scene.replay(proxies, live, N_CANDIDATES, N_DRAWS, few)  # noqa: E731
    estimated = measure(quick_ranks, 1 if quick else 3)
    checked = _cost_of_estimating(scene, live, proxies[0], seen, few)
    yield Comparison(f"  the same, ranks estimated on {few:,} items", estimated, reference, checked)


def _cost_of_estimating(
    scene: Scene, live: torch.nn.Module, proxy: torch.nn.Module, seen: csr_matrix, few: int
) -> str:
    """What estimated ranks change in the probabilities of the draw."""
    users, temperature = torch.arange(1, live.n_users, 7), scene.config["replay_temperature"]
    scores = score_matrix(*scene.vectors(live), seen)[users]
    items = score_matrix(*scene.vectors(proxy), seen)[users].topk(N_CANDIDATES, dim=1).indices
    exact = scene.ranks(scores, items).float()
    estimated = scene.estimated_ranks(scores, items, few)
    chances = [torch.softmax(temperature * ranks, dim=1) for ranks in (exact, estimated)]
    variation = (chances[0] - chances[1]).abs().sum(1).mean() / 2
    error = (exact - estimated).square().mean().sqrt()
    return (
        f"root mean square error of a rank {error:.0f}, of a log-weight {temperature * error:.4f}; "
        f"total variation of the draw {variation:.4f}"
    )


def _check_ranks(scene: Scene, live: torch.nn.Module, proxies: list, seen: csr_matrix) -> str:
    """Candidates and ranks of some users, from the same scores, are those that full sorts give."""
    users = torch.arange(1, live.n_users, 7)
    scores = score_matrix(*scene.vectors(live), seen)[users]
    for proxy, found in zip(proxies, scene.candidates, strict=True):
        theirs = score_matrix(*scene.vectors(proxy), seen)[users]
        by_sorting = theirs.argsort(dim=1, descending=True)[:, :N_CANDIDATES]
        different = theirs.gather(1, found[users]) != theirs.gather(1, by_sorting)
        require(different.float().mean() < ROUNDED, "the candidates differ")
        ranks = ranks_by_sorting(scores).gather(1, by_sorting)
        # equal scores share the better rank with us; a sort gives them neighbouring ones
        ordered = scores.sort(dim=1, descending=True).values
        same = ordered.gather(1, scene.ranks(scores, by_sorting) - 1) == ordered.gather(1, ranks - 1)
        require(bool(same.all()), "the ranks differ")
    return f"candidates and ranks of {len(users)} users equal up to ties"


def _check_draw(scene: Scene, proxies: list, pairs: tuple[Tensor, Tensor, Tensor]) -> str:
    """Every pair is a candidate of a proxy with the larger label, and none comes twice."""
    users, items, labels = pairs
    largest = torch.zeros_like(labels)
    for proxy, found in zip(proxies, scene.candidates, strict=True):
        user_vectors, item_vectors = scene.vectors(proxy)
        listed = (found[users] == items[:, None]).any(dim=1)
        score = torch.sigmoid((user_vectors[users] * item_vectors[items]).sum(1))
        largest = torch.where(listed, torch.maximum(largest, score), largest)
    require(bool((largest > 0).all()), "a pair was drawn that is no candidate")
    require(bool((labels <= largest + 1e-6).all()), "a label is larger than its proxies say")
    n_users = scene.candidates[0].shape[0] - 1
    require(len(torch.unique(users)) == n_users, "a user has no pair")
    require(len(users) <= 2 * N_DRAWS * n_users, "too many pairs")
    require(len(torch.unique(users * scene.block(1).n_items + items)) == len(users), "a pair comes twice")
    return f"we drew {len(users):,} pairs, all of them candidates"


def teacher_lists(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """Top items of every user and top users of every item of a teacher of two members, on block 0."""
    block, k = scene.block(0), scene.config["distill_top_k"]
    members = [scene.member(0, seed) for seed in range(2)]
    scene.teacher_lists(members, k)
    ours = measure(lambda: scene.teacher_lists(members, k), 1 if quick else 2)
    nothing = csr_matrix(block.train_matrix.shape)

    def dense() -> tuple[Tensor, Tensor, Tensor]:
        matrices = [score_matrix(*scene.vectors(member), nothing) for member in members]
        scores = ensemble_matrix(matrices, scene.config["ensemble_exponent"])
        scores[:, 0] = -torch.inf
        seen = block.train_matrix.nonzero()
        scores[tuple(torch.from_numpy(ids).long() for ids in seen)] = -torch.inf
        return scores, *top_lists_by_sorting(scores, k, k)

    reference = measure(dense)
    scores, items, users = reference.result
    reference.result = None
    different = [
        _different(scores[1:], ours.result[0][1:], items[1:]),
        _different(scores.T[1:], ours.result[1][1:], users[1:]),
    ]
    require(max(different) < ROUNDED, f"{different} of the listed scores differ")
    checked = f"listed scores equal but for {max(different):.1e} of them, by rounding of the products"
    work, size = Work(limits), float(block.n_users) * block.n_items
    dim = members[0].latent_dim
    work.product(1024, dim, block.n_items, 2 * block.n_users / 1024).moved(2 * 2 * 4 * size)
    yield Comparison("teacher's lists, 2 members, d = 128", ours, reference, checked, work)


def _different(scores: Tensor, ours: Tensor, reference: Tensor) -> float:
    """Share of places at which two lists per row hold different scores."""
    a, b = scores.gather(1, ours), scores.gather(1, reference)
    return float(((a - b).abs() > 1e-6).float().mean())


def similarity(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """User-user and item-item graphs of block 0, of mean degree 10."""
    degree = scene.config["similarity_degree"]
    matrix = scene.block(0).train_matrix
    for what, rows in (("user-user", matrix), ("item-item", matrix.T.tocsr())):
        ours = measure(lambda rows=rows: similarity_graph(rows, degree), 1 if quick else 3)
        reference = measure(lambda rows=rows: similarity_by_bisection(rows, degree))
        checked = _check_edges(ours.result, *reference.result)
        reference.result = None
        overlaps = float((rows.getnnz(axis=0).astype(float) ** 2).sum())
        work = Work(limits).moved(overlaps / 2 * 12)
        yield Comparison(f"similarity graph, {what}", ours, reference, checked, work)


def _check_edges(graph: csr_matrix, cosine: Tensor, threshold: float) -> str:
    """Our edges are the most similar pairs, up to ties, and about as many as the reference's."""
    edges = graph.tocoo()
    index = tuple(torch.from_numpy(part).long() for part in (edges.row, edges.col))
    least = float(cosine[index].min())
    above, found = int((cosine > least + 1e-5).sum()), int((cosine[index] > least + 1e-5).sum())
    require(found == above, f"{above - found} of the most similar pairs are no edges")
    theirs = int((cosine > threshold).sum())
    require(abs(edges.nnz / theirs - 1) < 2 * CLOSE, f"{edges.nnz} edges, the reference has {theirs}")
    return f"the {above // 2:,} pairs above the threshold's ties are edges, as in the reference"


def negatives(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """One negative per training row of block 0, outside the train part and 40 excluded items per user."""
    block = scene.block(0)
    student = scene.student(0)
    scores = score_matrix(*scene.vectors(student), block.train_matrix)
    top = scores.topk(scene.config["exclusion_top_k"], dim=1).indices
    rows = torch.arange(len(top)).repeat_interleave(top.shape[1])
    pairs = (rows.numpy(), top.flatten().numpy())
    excluded = csr_matrix((torch.ones(len(rows)).numpy(), pairs), shape=block.train_matrix.shape)
    users = block.train.inter_feat["user_id"].numpy()
    sampler, used = scene.sampler(excluded), used_sets(block.train_matrix, excluded)
    ours = measure(lambda: sampler.sample_by_key_ids(users, 1), 1 if quick else 3)
    reference = measure(lambda: negatives_by_loop(users, used, block.n_items, seed=0))
    for drawn in (ours.result.numpy(), reference.result):
        require(0 < drawn.min() and drawn.max() < block.n_items, "an unknown item was drawn")
        require(not any(i in used[u] for u, i in zip(users, drawn, strict=True)), "a used item was drawn")
    checked = f"all {len(users):,} negatives known and none used"
    yield Comparison("negatives with exclusion, one epoch", ours, reference, checked)


def evaluation(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """Recall and NDCG at 20, 50 and 100 on block 0's test part."""
    block, topk = scene.block(0), scene.config["topk"]
    history = block.train_matrix + block.valid.inter_matrix(form="csr")
    positives = block.test.inter_matrix(form="csr")
    users = int((positives.getnnz(axis=1) > 0).sum())
    for name, model in (("student, d = 8", scene.student(0)), ("member, d = 128", scene.member(0))):
        ours = measure(lambda model=model: scene.evaluate(model), 1 if quick else 3)
        reference = measure(
            lambda model=model: metrics_by_sorting(
                score_matrix(*scene.vectors(model), history), positives, topk
            )
        )
        worst = max(abs(ours.result[metric] - value) for metric, value in reference.result.items())
        # a hit more or less by rounding of the products moves a metric by less than 1 / users
        require(ours.result.keys() == reference.result.keys() and worst < 2.0 / users, "the metrics differ")
        checked = f"six metrics equal to {worst:.0e}, recall@20 {ours.result['recall@20']:.4f}"
        size = float(users) * block.n_items
        work = Work(limits).product(1024, model.latent_dim, block.n_items, users / 1024).moved(8 * size)
        yield Comparison(f"full-sort evaluation, {name}", ours, reference, checked, work)
