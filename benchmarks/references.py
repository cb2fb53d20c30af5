"""The dense way of doing each hot path, as a straightforward program does it: plain torch, numpy and loops.

These are yardsticks, not strawmen: each does its job with the obvious torch calls, without needless copies,
and gives what the package gives. What makes them slow is what they build: gathered embeddings, users x items
matrices, full sorts, graphs made dense, loops over users.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import embedding, log_softmax

PAD = 0
CLOSE = 0.01  # a graph has edges enough when their number is this near to the wanted one


def gathered_ranking_loss(
    row_table: Tensor,
    column_table: Tensor,
    rows: Tensor,
    interesting: Tensor,
    uninteresting: Tensor,
    score_max: float,
) -> Tensor:
    """RRD from gathered embeddings: one vector per row and sampled column.

    Args:
        row_table: (R, d) embeddings of the side that ranks: users, or items for IR-RRD.
        column_table: (C, d) embeddings of the side that is ranked.
        rows: (B,) ids of the batch.
        interesting: (B, K) the teacher's list of each row.
        uninteresting: (B, n) sampled columns, padded with 0 where a row has fewer.
        score_max: clamp of the scores.

    Returns:
        Sum of the losses of the rows.
    """
    vectors = embedding(rows, row_table).unsqueeze(2)
    listed = torch.bmm(embedding(interesting, column_table), vectors).squeeze(2).clamp(max=score_max)
    others = torch.bmm(embedding(uninteresting, column_table), vectors).squeeze(2).clamp(max=score_max)
    if (uninteresting == PAD).any():
        others = others.masked_fill(uninteresting == PAD, -torch.inf)
    tail = listed.exp().flip(1).cumsum(1).flip(1)
    denominator = tail + others.exp().sum(1, keepdim=True)
    return (denominator.log() - listed).sum()


def score_matrix(user_table: Tensor, item_table: Tensor, seen: csr_matrix) -> Tensor:
    """All scores at once, seen items and [PAD] at ``-inf``; shape ``(n_users, n_items)``."""
    scores = user_table @ item_table.T
    scores[:, PAD] = -torch.inf
    rows, columns = seen[: scores.shape[0], : scores.shape[1]].nonzero()
    scores[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()] = -torch.inf
    return scores


def ranks_by_sorting(scores: Tensor) -> Tensor:
    """Rank of every column in its row, 1 for the highest score, by sorting twice."""
    return scores.argsort(dim=1, descending=True).argsort(dim=1) + 1


def replayed_pairs(
    live: Tensor, sources: Sequence[Tensor], n_candidates: int, n_draws: int, temperature: float, seed: int
) -> dict[tuple[int, int], float]:
    """Proxy-guided replay from full score matrices, user by user.

    Args:
        live: (n_users, n_items) masked scores of the model in training.
        sources: the same of each proxy.
        n_candidates: how many of a proxy's top items are candidates.
        n_draws: items drawn per user and proxy, without replacement.
        temperature: sharpness of the draw.
        seed: seed of the draws.

    Returns:
        The soft label of each pair drawn, the largest where proxies agree.
    """
    rng = np.random.RandomState(seed)
    live_ranks = ranks_by_sorting(live)
    pairs: dict[tuple[int, int], float] = {}
    for scores in sources:
        ranks = ranks_by_sorting(scores)
        items = scores.argsort(dim=1, descending=True)[:, :n_candidates]
        forgotten = (live_ranks.gather(1, items) - ranks.gather(1, items)).float()
        chances = torch.softmax(temperature * forgotten, dim=1).double()
        chances = (chances / chances.sum(dim=1, keepdim=True)).numpy()
        labels = torch.sigmoid(scores.gather(1, items)).numpy()
        listed = items.numpy()
        for user in range(1, len(listed)):
            for place in rng.choice(n_candidates, n_draws, replace=False, p=chances[user]):
                key = (user, int(listed[user, place]))
                pairs[key] = max(pairs.get(key, 0.0), float(labels[user, place]))
    return pairs


def top_lists_by_sorting(scores: Tensor, n_items: int, n_users: int) -> tuple[Tensor, Tensor]:
    """Top items of every user and top users of every item, by sorting the whole matrix both ways.

    Args:
        scores: (users, items) masked scores; the row of [PAD] is overwritten.
        n_items: length of the users' lists.
        n_users: length of the items' lists.
    """
    scores[PAD] = -torch.inf
    items = scores.argsort(dim=1, descending=True)[:, :n_items].clone()
    users = scores.T.argsort(dim=1, descending=True)[:, :n_users].clone()
    return items, users


def ensemble_matrix(member_scores: Sequence[Tensor], exponent: float) -> Tensor:
    """The teacher's scores: the mean of ``rank ** -exponent`` over members, each ranked by sorting twice.

    Args:
        member_scores: (users, items) scores of each member, [PAD] at ``-inf``.
        exponent: the exponent.
    """
    return sum(ranks_by_sorting(scores).float().pow(-exponent) for scores in member_scores) / len(
        member_scores
    )


def similarity_by_bisection(matrix: csr_matrix, mean_degree: float) -> tuple[Tensor, float]:
    """Similarity graph from the full cosine matrix, the threshold found by counting edges again and again.

    Args:
        matrix: (n, m) binary interactions of the rows to compare.
        mean_degree: wanted mean number of neighbours of a row that has interactions.

    Returns:
        (n, n) cosine matrix without its diagonal, and the threshold: greater similarities are edges.
    """
    dense = torch.from_numpy(matrix.toarray())
    vectors = dense / dense.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosine = vectors @ vectors.T
    cosine.fill_diagonal_(0.0)
    wanted = round(mean_degree * int((dense.sum(1) > 0).sum()) / 2) * 2
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        edges = int((cosine > middle).sum())
        # among ties the number of edges jumps
        if abs(edges - wanted) <= CLOSE * wanted or high - low < 1e-6:
            return cosine, middle
        low, high = (middle, high) if edges > wanted else (low, middle)


class DenseRegularizer:
    """LWC-KD with PIW on graphs that are turned dense in every batch.

    Args:
        graphs: the earlier block's graphs ``ui``, ``uu`` and ``ii``, rows and columns by id.
        frozen: user and item embeddings per layer before the update.
        temperature: temperature of the contrast.
        imitation: PIW's cluster centres, a matrix of each, and weight and bias of its two layers; not copied.
        block_items: the items that the block's interactions are with, which are clustered.
    """

    def __init__(
        self,
        graphs: dict[str, csr_matrix],
        frozen: list[tuple[Tensor, Tensor]],
        temperature: float,
        imitation: Sequence[Tensor],
        block_items: Tensor,
    ) -> None:
        self.graphs = {name: _sparse(graph) for name, graph in graphs.items()}
        self.frozen, self.temperature, self.imitation = frozen, temperature, imitation
        self.block_items = block_items

    def losses(
        self, live: list[tuple[Tensor, Tensor]], users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Terms of one batch, not yet weighted.

        Args:
            live: user and item embeddings per layer now.
            users: distinct users of the batch who were known before.
            items: distinct items of the batch that were known before.

        Returns:
            The four contrastive terms averaged over the layers, and the clusters' self-training loss.
        """
        interactions = self.graphs["ui"].to_dense()
        positives = {
            "ui": interactions[users],
            "iu": interactions.T[items],
            "uu": self.graphs["uu"].to_dense()[users],
            "ii": self.graphs["ii"].to_dense()[items],
        }
        weights = self._imitation_weights(self.frozen[0][0][users], live[0][0][users])
        total = live[0][0].new_zeros(())
        for (old_users, old_items), (new_users, new_items) in zip(self.frozen, live, strict=True):
            new_users, new_items = new_users[: len(old_users)], new_items[: len(old_items)]
            total = total + self._contrast(old_users[users], new_items, positives["ui"], weights)
            total = total + self._contrast(old_users[users], new_users, positives["uu"], weights)
            total = total + self._contrast(old_items[items], new_users, positives["iu"])
            total = total + self._contrast(old_items[items], new_items, positives["ii"])
        return total / len(live), self._clustering(live[0][1][self.block_items].detach())

    def _contrast(
        self, anchors: Tensor, candidates: Tensor, positives: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Mean over the anchors with positives of the mean negative log-probability of those."""
        chances = log_softmax(anchors @ candidates[1:].T / self.temperature, dim=1)
        positives = positives[:, 1:]
        count = positives.sum(1)
        losses = -(chances * positives).sum(1) / count.clamp(min=1)
        losses = losses if weights is None else losses * weights
        return losses[count > 0].mean()

    def _assignment(self, vectors: Tensor) -> Tensor:
        """Student-t kernel to the cluster centres, from all differences; sums to 1 per row."""
        freedom = max(len(self.frozen[0][1]) - 2, 1)
        distance = (vectors[:, None] - self.imitation[0][None]).square().sum(2)
        return torch.softmax(-(freedom + 1) / 2 * torch.log1p(distance / freedom), dim=1)

    def _interest(self, users: Tensor) -> Tensor:
        """Softmax over clusters of the users' products with each centre turned by its own matrix."""
        centers, matrices = self.imitation[:2]
        products = [users @ (center @ matrix) for center, matrix in zip(centers, matrices, strict=True)]
        return torch.softmax(torch.stack(products, dim=1), dim=1)

    def _imitation_weights(self, old: Tensor, new: Tensor) -> Tensor:
        _, _, hidden, hidden_bias, output, output_bias = self.imitation
        change = (self._interest(new) - self._interest(old)).square()
        raw = torch.relu(change @ hidden.T + hidden_bias) @ output.T + output_bias
        weights = torch.nn.functional.softplus(raw).squeeze(1)
        return weights / weights.mean()

    def _clustering(self, items: Tensor) -> Tensor:
        assignment = self._assignment(items)
        with torch.no_grad():
            target = assignment**2 / assignment.sum(0)
            target = target / target.sum(1, keepdim=True)
        return torch.nn.functional.kl_div(assignment.log(), target, reduction="batchmean")


def _sparse(matrix: csr_matrix) -> Tensor:
    """The matrix as torch's sparse COO tensor."""
    coo = matrix.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data)
    return torch.sparse_coo_tensor(index, values, coo.shape, check_invariants=False).coalesce()


def used_sets(*matrices: csr_matrix) -> list[set[int]]:
    """The items of each user that must not be drawn, as Python sets."""
    used: list[set[int]] = [set() for _ in range(matrices[0].shape[0])]
    for matrix in matrices:
        for user, item in zip(*matrix.nonzero(), strict=True):
            used[user].add(int(item))
    return used


def negatives_by_loop(users: np.ndarray, used: list[set[int]], n_items: int, seed: int) -> np.ndarray:
    """One negative per user, drawn until it is none of the user's used items; one by one."""
    rng = np.random.RandomState(seed)
    drawn = np.zeros(len(users), dtype=np.int64)
    for place, user in enumerate(users):
        item = rng.randint(1, n_items)
        while item in used[user]:
            item = rng.randint(1, n_items)
        drawn[place] = item
    return drawn


def metrics_by_sorting(scores: Tensor, positives: csr_matrix, topk: Sequence[int]) -> dict[str, float]:
    """Recall and NDCG of full rankings.

    Args:
        scores: (users, items) masked scores.
        positives: users x items to find; users without any do not count.
        topk: the lengths of the lists.
    """
    users = np.flatnonzero(positives.getnnz(axis=1))
    order = scores[torch.from_numpy(users)].argsort(dim=1, descending=True)
    wanted = torch.from_numpy(positives[users].toarray() > 0)
    reachable = scores[torch.from_numpy(users)] > -torch.inf
    hits = (wanted & reachable).gather(1, order).double()
    count = wanted.sum(1)
    discount = 1.0 / torch.arange(2, hits.shape[1] + 2, dtype=torch.float64).log2()
    ideal = discount.cumsum(0)
    result = {}
    for k in topk:
        result[f"recall@{k}"] = float((hits[:, :k].sum(1) / count).mean())
        best = ideal[count.clamp(max=k) - 1]
        result[f"ndcg@{k}"] = float(((hits[:, :k] * discount[:k]).sum(1) / best).mean())
    return result
