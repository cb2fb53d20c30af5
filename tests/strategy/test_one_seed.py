"""One seed, one result."""

import random

import numpy as np
import pytest
import torch

from tests.strategy.runs import Recorded, follow, matrices, same_weights

KEYS = {"metric_decimal_place": 15, "block_ratios": [0.6, 0.4]}


class Disturbed(Recorded):
    """Somebody else draws random numbers between the stages."""

    def disturb(self):
        torch.rand(7), np.random.rand(5), random.random()

    def generate_student(self, block):
        self.disturb()
        return super().generate_student(block)

    def update_student(self, block, *args, **kwargs):
        self.disturb()
        return super().update_student(block, *args, **kwargs)

    def update_teacher(self, block):
        self.disturb()
        return super().update_teacher(block)


@pytest.fixture(scope="module")
def first(make_config, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("first"))
        return follow(make_config(**KEYS))


def same(one, other):
    weights = [same_weights(*states) for states in zip(one.states, other.states, strict=True)]
    return matrices(one) == matrices(other), weights


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# which the next test shows too
@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(first, make_config):
    assert same(first, follow(make_config(**KEYS))) == (True, [True, True])


def test_random_numbers_drawn_by_others_do_not_matter(first, make_config):
    torch.rand(3), np.random.rand(3), random.random()
    assert same(first, follow(make_config(**KEYS), Disturbed)) == (True, [True, True])


@pytest.mark.slow
def test_another_seed_gives_another_result(first, make_config):
    assert same(first, follow(make_config(seed=7, **KEYS))) == (False, [False, False])


def test_members_of_the_same_model_differ(make_config):
    config = make_config(teacher_models=["BPR", "BPR"], teacher_args={"embedding_size": 16}, **KEYS)
    for state in follow(config).states:
        assert not state["teacher-0"]["user_embedding.weight"].equal(
            state["teacher-1"]["user_embedding.weight"]
        )
