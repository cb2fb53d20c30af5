"""What a run lets go of, which would otherwise be there at the peak of a later stage."""

import gc
import weakref

import pytest

from recbole_ccd.strategy.loop import BlockLoop
from recbole_ccd.strategy.stage_runner import StageRunner
from recbole_ccd.trainer import StageTrainer
from tests.strategy.runs import Recorded, follow

TWO_BLOCKS = {"block_ratios": [0.6, 0.4], "epochs": 1, "deployed_student": "updated"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("mutual", [False, True])
def test_trainers_go_without_a_search_for_cycles(make_config, monkeypatch, mutual):
    alive, begin, left = weakref.WeakSet(), StageTrainer.__init__, []

    def note(trainer, *arguments):
        begin(trainer, *arguments)
        alive.update([trainer, trainer.optimizer])

    evaluate = BlockLoop._evaluate

    def evaluating(loop, *arguments):
        left.append(list(alive))
        return evaluate(loop, *arguments)

    monkeypatch.setattr(StageTrainer, "__init__", note)
    monkeypatch.setattr(BlockLoop, "_evaluate", evaluating)
    gc.disable()
    try:
        follow(make_config(**TWO_BLOCKS, mutual_learning=mutual))
    finally:
        gc.enable()
    assert left == [[], []]


def test_stage_3_is_without_the_lists_of_the_stages_before(make_config, monkeypatch):
    held, run, strategies = {}, StageRunner.run, []

    class Noted(Recorded):
        def prepare(self):
            super().prepare()
            strategies.append(self)

    def running(runner, block, learn, tasks, *arguments, **keywords):
        (strategy,) = strategies
        held[tasks[0].name.label] = strategy.rankings, set(strategy.teacher_lists.store._slots)
        return run(runner, block, learn, tasks, *arguments, **keywords)

    monkeypatch.setattr(StageRunner, "run", running)
    follow(make_config(**TWO_BLOCKS), Noted)
    of_stage = {label.split()[2]: found for label, found in held.items()}
    rankings, slots = of_stage["student_update"]
    assert rankings is not None and {"teacher", "grown teacher"} <= slots
    assert of_stage["teacher_update"] == (None, {"student side"})


def test_in_block_1_the_proxies_are_the_distilled_student(make_config):
    class Noted(Recorded):
        def update_proxies(self, block):
            super().update_proxies(block)
            self.models_then = self.student, dict(self.proxies)

    student, proxies = follow(make_config(**TWO_BLOCKS), Noted).models_then
    assert list(proxies) == ["stability", "plasticity"]
    assert all(proxy is student for proxy in proxies.values())
