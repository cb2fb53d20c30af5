"""Lists that are to be longer than the catalogue take no more room than the catalogue does."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.plugin.distillation.cd import CollaborativeDistillation
from recbole_ccd.quick_start import create_strategy
from recbole_ccd.ranking import top_lists
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import list_length

LONG = 10**9


def test_a_usual_length_stays_and_a_catalogue_is_enough():
    assert [list_length(k, 60) for k in (0, 40, 100, 1024, 1025, LONG)] == [0, 40, 100, 1024, 1024, 1024]
    assert [list_length(k, 5000) for k in (40, 4999, 5000, LONG)] == [40, 4999, 5000, 5000]


def test_lists_without_end_hold_what_there_is():
    scores = torch.from_numpy(np.random.default_rng(0).permutation(12 * 9).reshape(12, 9)).float()
    users, seen = torch.arange(12), csr_matrix((12, 9), dtype=np.float32)
    long, short = (top_lists(lambda ids: scores[ids], users, 9, k, k, seen) for k in (LONG, 12))
    for found, expected in zip(long, short, strict=True):
        assert torch.equal(found[:, :12], expected) and not found[:, 12:].any()


COUNTS = """
distill_top_k exclusion_top_k n_uninteresting_items n_uninteresting_users student_replay_candidates
student_replay_stability student_replay_plasticity teacher_replay_candidates teacher_replay_student
lwc_kd_anchors similarity_degree piw_clusters n_popular_neighbors replay_rank_sample
"""
BEYOND = dict.fromkeys(COUNTS.split(), LONG)


@pytest.mark.parametrize(
    "more",
    [
        {},
        pytest.param({"distill_loss": "cd", "distill_draws": LONG}, marks=pytest.mark.slow),
        pytest.param({"distill_loss": "rd", "distill_rank_sample": LONG}, marks=pytest.mark.slow),
        pytest.param(
            {
                "distill_loss": ["speculative", "comparative", "rce", "dcd", "unkd"],
                "distill_compare": "users",
                **dict.fromkeys(("distill_propose_depth", "distill_accept_rank", "distill_draws"), LONG),
                **dict.fromkeys(("comparative_items", "unkd_groups", "distill_rank_sample"), LONG),
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"model": "NeuMF", "n_uninteresting_pairs": LONG, "strategy": "static"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_no_count_makes_a_run_endless(more, make_config, tiny_stream):
    keys = {"teacher_models": ["BPR"], "teacher_args": {}, **BEYOND, **more}
    result = create_strategy(make_config(**{"model": "BPR", **keys})).run(tiny_stream)
    assert result.n_rows("student") == 3


def test_no_more_is_drawn_than_there_is(make_config, tiny_stream):
    config = make_config(model="BPR", distill_loss="cd", distill_draws=LONG)
    block = tiny_stream[0]
    lists = torch.randint(1, block.n_items, (block.n_users, 6))
    model = type("Model", (), {"device": torch.device("cpu")})()
    rankings = TeacherRankings(lists, lists[:0], block.train_matrix, lists)
    loss = CollaborativeDistillation(config, model, rankings, block.train_matrix, 1)
    drawn = loss.draw(torch.arange(1, 9))
    assert drawn.shape == (8, 1024)


def test_a_block_has_no_more_pieces_than_rows(tiny_stream):
    assert [len(piece.train) for piece in tiny_stream[1].parts(LONG)] == [1] * len(tiny_stream[1].train)
