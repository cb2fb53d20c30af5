"""Passes over all pairs of users and items: lists, ranks for replay, evaluation; by tiles and by whole rows.

``python benchmarks/all_pairs.py [--items 100000 200000 --width 16 64 --users=8192]`` draws vectors, passes
over all pairs in both ways, checks that they find the same and prints times, their ratio, and which share of
the machine's rate for the products that cannot be avoided the tiles reach. Cost grows with users × items ×
width.
"""

from __future__ import annotations

import argparse
import unittest.mock
from collections.abc import Iterator

import machine
import torch
from common import Measured, measure, percent, print_table, ratio, seconds
from comparison import require
from recbole.model.general_recommender import BPR
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_ccd.plugin.replay.base import ReplaySource
from recbole_ccd.plugin.replay.proxy_guided import ReplayDraws
from recbole_ccd.ranking import tiles
from recbole_ccd.ranking.ensemble import ShallowEnsemble
from recbole_ccd.ranking.lists import top_lists
from recbole_ccd.ranking.tiles import ROWS, TILE, InnerProducts
from recbole_ccd.ranking.topk import ScoreFn, top_scored, users_at_a_time
from recbole_ccd.utils.malloc import keep_freed_memory

SEEN, DEPTH, LISTED, EVALUATED, CANDIDATES, DRAWS, SAMPLE = 20, 200, 40, 100, 100, 5, 2000
# scores of another product round otherwise
ROUNDED = 1e-4

Row = tuple[str, Measured, Measured, float]
"""What was done, by tiles and by whole rows, and the seconds of the products that cannot be avoided."""


class Vectors(BPR):
    """A BPR of given vectors, without a data set."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        nn.Module.__init__(self)
        self.n_users, self.n_items, self.device = len(users), len(items), users.device
        self.user_embedding = nn.Embedding.from_pretrained(users)
        self.item_embedding = nn.Embedding.from_pretrained(items)


class Scene:
    """Users and items of one size."""

    def __init__(self, n_users: int, n_items: int, width: int) -> None:
        self.n_users, self.n_items, self.width = n_users, n_items, width
        self.users = torch.arange(n_users)
        items = torch.randint(1, n_items, (n_users, SEEN), generator=torch.Generator().manual_seed(0))
        pairs = (self.users.repeat_interleave(SEEN).numpy(), items.flatten().numpy())
        self.seen = csr_matrix((torch.ones(items.numel()).numpy(), pairs), shape=(n_users, n_items))
        self.seen.sort_indices()

    def vectors(self, seed: int) -> InnerProducts:
        """Normal vectors, items of different popularity."""
        generator = torch.Generator().manual_seed(seed)
        users, items = (torch.randn(n, self.width, generator=generator) for n in (self.n_users, self.n_items))
        users[:, 0], items[:, 0] = 1.0, items[:, 0] + 2 * torch.rand(self.n_items, generator=generator) ** 4
        return InnerProducts(users, items)

    def products(self, times: float) -> float:
        """Seconds that products of all pairs take at the machine's rate."""
        flops = 2.0 * self.n_users * self.n_items * self.width
        return times * flops / machine.limits().product(ROWS, self.width, TILE)


def by_rows(score: ScoreFn) -> ScoreFn:
    """The same scores, of which nothing but whole rows can be asked."""
    return lambda users: score(users)


def evaluation(scene: Scene) -> Iterator[Row]:
    """Each user's best items in RecBole's order, as evaluation finds them."""

    def find(score: ScoreFn) -> Tensor:
        size = users_at_a_time(scene.n_items, score, EVALUATED)
        return top_scored(score, scene.users, EVALUATED, scene.seen, size)[1]

    score = scene.vectors(0)
    ours, theirs = measure(lambda: find(score), 3), measure(lambda: find(by_rows(score)), 3)
    _same("evaluation", ours.result, theirs.result)
    yield f"evaluation, first {EVALUATED}", ours, theirs, scene.products(1)


def lists(scene: Scene) -> Iterator[Row]:
    """Top items of each user and top users of each item, of one model and of an ensemble of two."""
    members = [scene.vectors(seed) for seed in range(2)]
    for n, score in (1, members[0]), (2, ShallowEnsemble(members, 0.05, DEPTH)):

        def find(score: ScoreFn) -> tuple[Tensor, Tensor]:
            size = users_at_a_time(scene.n_items, score, LISTED)
            return top_lists(score, scene.users, scene.n_items, LISTED, LISTED, scene.seen, size)

        ours = measure(lambda score=score: find(score))
        theirs = measure(lambda score=score: find(by_rows(score)))
        some = torch.arange(1, scene.n_users, max(scene.n_users // 200, 1))
        scores = score(some)
        _same("users' lists", *(scores.gather(1, found.result[0][some]) for found in (ours, theirs)))
        _same_users(scene, score, ours.result[1], theirs.result[1])
        what = "one model" if n == 1 else f"two members, first {DEPTH} of each"
        yield f"lists of users and items, {what}", ours, theirs, scene.products(n)


def ranks(scene: Scene) -> Iterator[Row]:
    """Candidates of two proxies, estimated ranks of the live model, and a draw."""
    live, *proxies = (scene.vectors(seed) for seed in range(3))
    model = Vectors(live.users, live.items)

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        sources = [
            ReplaySource(f"proxy {n}", Vectors(one.users, one.items), DRAWS) for n, one in enumerate(proxies)
        ]
        draws = ReplayDraws(sources, scene.seen, CANDIDATES, 1e-4, 0, torch.device("cpu"), rank_sample=SAMPLE)
        return draws.draw(model, 0)

    ours = measure(draw)
    with unittest.mock.patch.object(tiles, "_WORTH", scene.n_items + 1):
        theirs = measure(draw)
    shared = [torch.unique(users * scene.n_items + items) for users, items, _ in (ours.result, theirs.result)]
    require(abs(len(shared[0]) / len(shared[1]) - 1) < 0.01, "numbers of drawn pairs differ")
    yield "candidates of two proxies, ranks and draw", ours, theirs, scene.products(2)


def _same(what: str, ours: Tensor, theirs: Tensor) -> None:
    """Requires equal scores but for rounding."""
    finite = ours.isfinite() == theirs.isfinite()
    require(bool(finite.all()), f"{what}: other places are filled")
    kept = ours.isfinite()
    difference = (ours[kept] - theirs[kept]).abs().max()
    require(float(difference) < ROUNDED, f"{what}: scores differ by {float(difference):.1e}")


def _same_users(scene: Scene, score: ScoreFn, ours: Tensor, theirs: Tensor) -> None:
    """Requires that the items' lists hold the same users but for ties and rounding."""
    some = torch.arange(1, scene.n_items, max(scene.n_items // 200, 1))
    found = []
    for lists_of_items in (ours, theirs):
        users = lists_of_items[some]
        items = some[:, None].expand_as(users)
        scores = torch.stack(
            [score(row)[torch.arange(len(row)), ids] for row, ids in zip(users, items, strict=True)]
        )
        found.append(scores)
    _same("items' lists", *found)


def main() -> None:
    """Prints a table."""
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--items", type=int, nargs="+", default=[100_000, 200_000])
    command.add_argument("--width", type=int, nargs="+", default=[16, 64])
    command.add_argument("--users", type=int, default=8192)
    command.add_argument("--only", default="evaluation,lists,ranks")
    given = command.parse_args()
    passes = {"evaluation": evaluation, "lists": lists, "ranks": ranks}
    keep_freed_memory()
    rows = []
    for n_items in given.items:
        for width in given.width:
            scene = Scene(given.users, n_items, width)
            for name in given.only.split(","):
                for what, ours, theirs, limit in passes[name](scene):
                    rows.append(
                        {
                            "pass": what,
                            "items": f"{n_items:,}",
                            "d": width,
                            "tiles": seconds(ours.seconds),
                            "whole rows": seconds(theirs.seconds),
                            "ratio": ratio(theirs.seconds, ours.seconds),
                            "of limit": percent(limit / ours.seconds),
                            "rows of limit": percent(limit / theirs.seconds),
                            "memory": f"{ours.peak_mb:.0f} / {theirs.peak_mb:.0f} MB",
                        }
                    )
                    print(rows[-1], flush=True)
    print_table(f"Passes over all pairs, {given.users:,} users, {torch.get_num_threads()} threads", rows)


if __name__ == "__main__":
    main()
