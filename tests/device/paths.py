"""Hot paths, each on the CPU and on the second device, as ``python -m tests.device.paths``.

Prints one JSON object: the fault of each path by its name, an empty text where there is none.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

import recbole_ccd.compat
from recbole_ccd import loss, ranking
from recbole_ccd.config import CCDConfig
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.loss.curriculum import consensus_lists, list_distance
from recbole_ccd.loss.gradient_alignment import deviation, response_alignment
from recbole_ccd.loss.mixup import mixed_lists
from recbole_ccd.loss.relative_difficulty import agreement_weights, difference_weights, with_mean_one
from recbole_ccd.model.lightgcn import normalized_adjacency, propagate, propagate_to
from recbole_ccd.quick_start import create_strategy, create_stream
from recbole_ccd.ranking import tiles
from recbole_ccd.ranking.columns_best import ColumnsBest
from recbole_ccd.ranking.ensemble import ShallowEnsemble
from recbole_ccd.ranking.groups import grouped_lists
from recbole_ccd.ranking.members import ranks_by_member
from recbole_ccd.ranking.pair_ranks import pair_ranks
from recbole_ccd.ranking.rank_sample import candidates_among, drawn_items
from recbole_ccd.ranking.tiles import InnerProducts, Part
from recbole_ccd.ranking.topk import top_scored
from tests.checkpoint.cases import CASES, run_in_parts, settings_of
from tests.conftest import SMALL, SMALL_CCD, NoCurves, tiny_rows, write_inter
from tests.device.second_device import MixedDevices, SecondDevice, SecondTensor, install

N_ROWS, N_COLUMNS, WIDTH = 9, 60, 8

Move = Callable[[Tensor], Tensor]
"""Brings a tensor to the device that a path is tried on."""

PATHS: dict[str, Callable[[Move], Any]] = {}
"""Each gives what it has computed, any nesting of tensors, which both devices must agree on."""

RUNS: dict[str, dict[str, Any]] = {
    "ccd": {
        "block_ratios": [0.6, 0.4],
        "train_neg_sample_args": {
            "distribution": "uniform",
            "sample_num": 1,
            "dynamic": True,
            "candidate_num": 3,
        },
        "replay_rank_sample": 20,
        "teacher_replay_batch_size": "joint",
        "student_update_distill": 0.5,
        "teacher_update_distill": 0.5,
        "n_uninteresting_items": 20,
    },
    "every way of distilling": {
        "strategy": "distill",
        "block_ratios": [0.6, 0.4],
        "distill_loss": [
            *("rrd", "kl", "listnet", "cd", "rd", "rce", "dcd", "unkd", "logits", "correlation"),
            *("comparative", "speculative"),
        ],
    },
    "every regularizer": {
        "strategy": "fine_tune",
        "base": "plain",
        "block_ratios": [0.6, 0.4],
        "regularizer": ["lwc_kd", "graphsail", "ewc", "pisa", "pair_kl"],
        "piw": True,
        "replay": "ader",
        "growth": "predictions",
    },
}


RESUMED = {f"{case}, killed and resumed": case for case in CASES}
"""Runs that go on from what they saved, which takes longer."""


def path(name: str) -> Callable[[Callable[[Move], Any]], Callable[[Move], Any]]:
    """Enters a path under a name."""

    def enter(function: Callable[[Move], Any]) -> Callable[[Move], Any]:
        PATHS[name] = function
        return function

    return enter


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=_generator(seed))


def _lists(n_rows: int = N_ROWS, k: int = 6, seed: int = 0) -> Tensor:
    """Lists of distinct ids, the second half of the first one padded."""
    lists = torch.stack(
        [torch.randperm(N_COLUMNS - 1, generator=_generator(seed + n)) + 1 for n in range(n_rows)]
    )
    lists = lists[:, :k].clone()
    lists[0, k // 2 :] = 0
    return lists


def _pairs(seed: int = 0, density: float = 0.1) -> csr_matrix:
    matrix = random_matrix(N_ROWS, N_COLUMNS, density, "csr", np.float32, np.random.default_rng(seed))
    matrix.data[:] = 1.0
    matrix.sort_indices()
    return matrix


def _with_gradients(value: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(1.0, 2.0, value.numel(), device=value.device).view(value.shape)
    return value.detach(), *torch.autograd.grad((value * weights).sum(), inputs)


@path("loss: windows of uninteresting columns")
def _windowed(on: Move) -> Any:
    sampler = ranking.UninterestingSampler(N_COLUMNS, N_ROWS, 20, _generator())
    windows = sampler.windows(on(torch.arange(N_ROWS)), _pairs())
    rows, columns = (on(_normal(n, WIDTH)).requires_grad_() for n in (N_ROWS, N_COLUMNS))
    weights = on(torch.rand(N_ROWS, generator=_generator()))
    value = loss.windowed_ranking_loss(rows, columns, on(_lists()), windows, 2.0, weights)
    return windows.mask(N_COLUMNS), _with_gradients(value, rows, columns)


@path("loss: list-wise")
def _list_wise(on: Move) -> Any:
    scores, mask = on(_normal(N_ROWS, 6)).requires_grad_(), on(_lists() > 0)
    rest = loss.masked_log_sum_exp(scores, mask)
    return _with_gradients(loss.list_wise_loss(scores, rest, mask), scores)


@path("loss: contrast")
def _contrast(on: Move) -> Any:
    anchors, candidates = on(_normal(N_ROWS, WIDTH)), on(_normal(N_COLUMNS, WIDTH, seed=1)).requires_grad_()
    rows, columns = on(torch.arange(N_ROWS).repeat(2)), on(torch.arange(2 * N_ROWS) * 3 + 1)
    kinds = [slice(1, 30), slice(31, N_COLUMNS)]
    losses, active = loss.contrastive_terms(anchors, candidates, kinds, rows, columns, 0.5)
    return active, _with_gradients(losses, candidates)


@path("loss: lists")
def _list_losses(on: Move) -> Any:
    scores, lists, other = on(_normal(N_ROWS, 6)).requires_grad_(), on(_lists()), on(_lists(k=8, seed=5))
    valid, soft = lists > 0, loss.listed_scores(lists, other)
    shift, scale = (on(torch.tensor(value)) for value in (0.1, 1.5))
    ranks = loss.estimated_ranks(
        scores, on(_normal(N_ROWS, 7)), on(_lists(k=7) > 0), on(torch.arange(N_ROWS) + 50)
    )
    weights = loss.ranking_weights(ranks, valid, 3.0, 0.1)
    values = [
        loss.collaborative_loss(scores, soft.sigmoid(), valid),
        loss.correlation_loss(scores, soft, valid, 2.0),
        loss.mean_squared_difference(scores, valid, 1),
        loss.logit_distance(scores, soft, valid, shift, scale),
        loss.soft_target_kl(scores, soft, valid, 2.0),
        loss.top_one_cross_entropy(scores, soft, valid),
        loss.ranking_distillation(scores, weights),
        loss.pair_loss(scores, scores.flip(1), valid),
        response_alignment(scores, soft, valid),
        deviation(scores, valid).expand(N_ROWS),
    ]
    return _with_gradients(torch.stack(values), scores)


@path("loss: what lists say of each other")
def _comparisons(on: Move) -> Any:
    one, other, ranks = on(_lists()), on(_lists(seed=5)), on(_lists(k=3, seed=2)[1:])
    accepted = loss.verified(one, other, 3)
    return (
        *(loss.best_places(one, other), loss.in_order_of(one, other), loss.most_listed(one, N_COLUMNS, 4)),
        *(loss.too_low(one, other, 0.1), loss.closing_weights(one, other, 2.0)),
        *(loss.share_of_teacher(one, other, 1.0), loss.finished_lists(one, accepted, other, other)),
        *(consensus_lists([one, other], 0.5), list_distance(one, other)),
        mixed_lists(one, other, on(torch.linspace(0, 1, N_ROWS))),
        with_mean_one(agreement_weights(ranks) + difference_weights(ranks[:, 0], ranks[:, 1], 9, 0.2)),
    )


@path("loss: replay, outputs and what weights have mattered for")
def _outputs(on: Move) -> Any:
    live, frozen = on(_normal(N_ROWS, N_COLUMNS)).requires_grad_(), on(_normal(N_ROWS, N_COLUMNS, seed=1))
    losses = loss.replay_loss(live[0], frozen[0].sigmoid()), loss.pairwise_kl(frozen[1], live[1])
    value = torch.stack([*losses, loss.output_kl(frozen, live)])
    importance = loss.squared_gradients(live.square().sum(1), [live], _generator())
    penalty = loss.anchored_penalty([live], [frozen[:5]], [importance[0][:5]])
    return _with_gradients(value, live), _with_gradients(penalty, live)


@path("loss: GraphSAIL, PISA and PIW")
def _structures(on: Move) -> Any:
    new, others = (on(_normal(n, WIDTH)).requires_grad_() for n in (N_ROWS, N_COLUMNS))
    old, old_others, centers = (
        on(_normal(N_ROWS, WIDTH, seed=1)),
        on(_normal(N_COLUMNS, WIDTH)),
        on(_normal(3, WIDTH)),
    )
    rows, columns = (on(torch.from_numpy(part).long()) for part in _pairs().nonzero())
    degrees = on(torch.arange(N_ROWS))
    before, now = (loss.interests(part, centers, 0.5) for part in (old, new))
    soft, weigh = loss.soft_assignment(new, centers, 4.0), loss.ImitationWeight(3)
    if isinstance(new, SecondTensor):
        weigh = weigh.to(new.device)
    assigned = loss.interest_assignment(new, centers, on(_normal(3, WIDTH, WIDTH)))
    values = [
        loss.local_structure_loss(old, new, old_others, others, rows, columns),
        loss.global_structure_loss(old, new, centers, 0.5),
        loss.self_embedding_loss(old, new, loss.share_of_past(degrees, degrees.flip(0))),
        loss.interest_shift(before, now).sum(),
        loss.info_nce(new, old, degrees, 0.5).sum(),
        loss.cluster_loss(soft),
        (weigh(before, assigned) * new.sum(1)).sum(),
    ]
    return _with_gradients(torch.stack(values), new, others)


@path("ranking: lists and ranks of whole rows")
def _whole_rows(on: Move) -> Any:
    score = InnerProducts(on(_normal(N_ROWS, WIDTH)), on(_normal(N_COLUMNS, WIDTH, seed=1)))
    users, seen, lists = on(torch.arange(N_ROWS)), _pairs(), on(_lists())
    sample = drawn_items(N_COLUMNS, 20, _generator())
    groups = on(torch.arange(N_COLUMNS) % 3)
    return (
        *(ranking.top_k(score, users, 5, seen, 4), top_scored(score, users, 5, seen, 4)),
        ranking.top_lists(score, users, N_COLUMNS, 5, 4, seen, 4),
        ranking.top_lists(score, users, N_COLUMNS, 5, 4, seen, 4, seen_first=True),
        ranking.ranks_of(score(users), lists),
        ranking.ranks_of(score(users), lists, on(sample)),
        candidates_among(on(sample), users, seen),
        pair_ranks(score, seen, users.device),
        ranks_by_member([score], users, lists, seen, 4),
        grouped_lists(score, users, groups, 3, 4, seen, 4),
        *(ranking.ensemble_scores([score(users), -score(users)], depth=depth) for depth in (None, 9)),
    )


@path("ranking: tiles")
def _tiles(on: Move) -> Any:
    # more than one tile of columns; on a GPU they are not used, but they would work
    n_items = tiles.TILE + 100
    members = [InnerProducts(on(_normal(N_ROWS, WIDTH)), on(_normal(n_items, WIDTH, seed=n))) for n in (1, 2)]
    users, masked = (
        on(torch.arange(N_ROWS)),
        tuple(on(torch.from_numpy(ids).long()) for ids in _pairs().nonzero()),
    )
    few = on(torch.tensor([1, 4]))
    nothing = (few[:0], few[:0])
    parts = [Part(few, nothing), Part(None, masked, is_last=True)]
    best = members[0].best(users, 5, parts, as_topk=True)
    return best, ShallowEnsemble(members, 0.05, 9).listed(users, masked)


@path("ranking: the best rows of columns")
def _columns(on: Move) -> Any:
    best, scores = ColumnsBest(N_COLUMNS, 3, on(torch.zeros(1)).device), on(_normal(200, N_COLUMNS))
    rows = on(torch.arange(200))
    updates = [best.add(scores[part], rows[part]) for part in (slice(0, 40), slice(40, 200))]
    listed = best.add_listed(on(_normal(N_ROWS, 6)) + 3, on(_lists()), rows[:N_ROWS])
    return best.scores, best.ids, updates, listed


@path("ranking: draws")
def _draws(on: Move) -> Any:
    lists, now, source = on(_lists()), on(_lists(seed=3)).float(), on(_lists(seed=4)).float()
    drawn = [
        draw(now, source, lists, 3, 0.1, _generator()) for draw in (ranking.gumbel_top_k, ranking.tanh_top_k)
    ]
    users = on(torch.arange(N_ROWS)).repeat_interleave(3)
    labels = on(torch.rand(len(users), generator=_generator()))
    return drawn, ranking.merge_pairs([users] * 2, [one.flatten() for one in drawn], [labels, labels / 2])


@path("evaluation: masked lists")
def _evaluation(on: Move) -> Any:
    evaluator = SimpleNamespace(_max_k=N_COLUMNS + 2, _whole_rows=False)
    history = tuple(torch.from_numpy(ids).long() for ids in _pairs().nonzero())
    ranked = FullSortEvaluator._rank(evaluator, on(_normal(N_ROWS, N_COLUMNS)), history, "test")
    return ranked.rows(torch.tensor([0, 3])).values


@path("LightGCN: products with its graph")
def _propagation(on: Move) -> Any:
    graph, nodes = on(normalized_adjacency(_pairs())), on(torch.tensor([3, 3, 0, 40]))
    x = on(_normal(N_ROWS + N_COLUMNS, 40))
    return propagate(graph, x), propagate_to(graph, x, nodes)


@path("LightGCN: products on a device of another maker")
def _propagation_elsewhere(on: Move) -> Any:
    with patch.object(SecondTensor, "is_cuda", False):
        return _propagation(on)


@path("the device refuses what a GPU does")
def _refused(on: Move) -> Any:
    x = on(_normal(5))
    if isinstance(x, SecondTensor):
        cases: dict[str, Callable[[], Any]] = {
            "sum": lambda: x + torch.arange(5),
            "index": lambda: torch.arange(5)[x.argsort()],
            "gather": lambda: x.gather(0, torch.arange(2)),
            "draw": lambda: x.exponential_(generator=_generator()),
            "numpy": lambda: np.asarray(x),
            "search": lambda: torch.searchsorted(x, torch.arange(3.0)),
            "cumulate": lambda: x.cumsum(0),
        }
        for name, case in cases.items():
            try:
                case()
            except MixedDevices:
                continue
            raise AssertionError(f"{name} was not refused")
    x[torch.arange(2)] = 1.0
    x[3] = torch.tensor(2.0)
    x += torch.tensor(1.0)
    return x[torch.tensor([True, False, True, True, False])], x.to("cpu")


def _compared(function: Callable[[Move], Any], mode: SecondDevice, device: torch.device) -> str:
    expected = function(lambda tensor: tensor)
    with mode:
        found = function(lambda tensor: tensor.to(device))
        assert any(isinstance(one, SecondTensor) for one in tree_leaves(found)), "nothing is on the device"
        found = tree_map_only(SecondTensor, lambda tensor: tensor.to("cpu"), found)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    return ""


@contextmanager
def _chosen(device: torch.device) -> Iterator[None]:
    """Every configuration chooses the device, as it would a GPU."""
    usual = CCDConfig._init_device

    def choose(config: CCDConfig) -> None:
        usual(config)
        config.final_config_dict["device"] = device

    with patch.object(CCDConfig, "_init_device", choose):
        yield


def _resumed(case: str, folder: Path, mode: SecondDevice, device: torch.device) -> str:
    with _chosen(device), mode:
        kills, _ = run_in_parts(settings_of(case, folder, folder / case), saves=4)
    assert kills, "was never killed"
    return ""


def _followed(keys: dict[str, Any], folder: Path, mode: SecondDevice, device: torch.device) -> str:
    """A whole run with every model on the device."""
    with _chosen(device), mode:
        settings = {**SMALL, **SMALL_CCD, "data_path": str(folder), **keys}
        config = CCDConfig("LightGCN", "tiny", config_dict=settings)
        strategy = create_strategy(config)
        strategy.run(create_stream(config))
        weights = list(strategy.student.parameters())
    assert all(isinstance(weight, SecondTensor) for weight in weights), "the student is not on the device"
    assert all(bool(weight.inner.isfinite().all()) for weight in weights)
    return ""


def _fault_of(case: Callable[..., str], *args: Any) -> str:
    try:
        return case(*args)
    except Exception:  # whatever goes wrong is the path's fault
        return traceback.format_exc()


def main() -> None:
    """Tries all paths, or those named by arguments."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    device, mode, faults = install(), SecondDevice(), dict[str, str]()
    wanted = sys.argv[1:] or [*PATHS, *RUNS]
    with tempfile.TemporaryDirectory() as name, patch.object(recbole_ccd.compat, "SummaryWriter", NoCurves):
        folder = Path(name)
        os.chdir(folder)
        (folder / "tiny").mkdir()
        write_inter(folder / "tiny" / "tiny.inter", tiny_rows(n=1200))
        for one in wanted:
            began = time.monotonic()
            if one in PATHS:
                faults[one] = _fault_of(_compared, PATHS[one], mode, device)
            elif one in RESUMED:
                faults[one] = _fault_of(_resumed, RESUMED[one], folder, mode, device)
            else:
                faults[one] = _fault_of(_followed, RUNS[one], folder, mode, device)
            print(f"{time.monotonic() - began:.2f} s  {one}", file=sys.stderr)
        os.chdir("/")
    print(json.dumps(faults))


if __name__ == "__main__":
    main()
