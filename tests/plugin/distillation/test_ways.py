"""Ways of distilling in whole runs: each has an effect, is resumed bit for bit and knows no future."""

import pytest
import torch

from recbole_ccd.checkpoint.stage_checkpoint import StageCheckpoint
from recbole_ccd.plugin.conformance import PluginConformance
from recbole_ccd.strategy import BaseModels
from tests.model.small_models import SMALL_MODELS, small_model
from tests.strategy.runs import STRATEGIES, follow, recorded, same_weights, teachers

DISTILLED = {"distill_user_weight": 0.5, "student_update_distill": 1.0, "update_distill_users": "all"}
GRAPH = {"model": "LightGCN", "distill_layer": "final", "n_layers": 2}
# what holds in a run without any of them
NONE = {
    "distill_head": "shared",
    "distill_head_tie": 0.0,
    "distill_augmentation": None,
    "augmentation_weight": 1.0,
    "distill_pick": 1,
    "distill_weighting": None,
    "difficulty_warmup": 0.1,
    "difficulty_floor": 0.1,
    "difficulty_rank": 20,
    "distill_gradient_alignment": 0.0,
    "alignment_drop": 0.1,
    "distill_curriculum": None,
    "curriculum_lists": 3,
    "curriculum_alpha": 1.05,
}
WAYS = {
    "auxiliary_head": ({"distill_head": "auxiliary", "distill_head_tie": 0.1}, None),
    "mixup": (
        {"distill_augmentation": "mixup", "distill_pick": 2, "distill_head": "auxiliary"},
        None,
    ),
    "mixup_of_weight_0": ({"distill_augmentation": "mixup"}, {"augmentation_weight": 0.0}),
    "edge_dropout": (
        {**GRAPH, "distill_augmentation": "edge_dropout", "update_distill_layer": "final"},
        {"augmentation_weight": 0.0},
    ),
    "relative_difficulty": (
        {
            "distill_weighting": "relative_difficulty",
            "difficulty_warmup": 0.4,
            "difficulty_rank": 5,
            "teacher_models": ["BPR", "LightGCN"],
        },
        {"difficulty_warmup": 0.0, "difficulty_floor": 1.0},
    ),
    "gradient_alignment": (
        {
            **GRAPH,
            "distill_gradient_alignment": 10.0,
            "alignment_drop": 0.3,
            "teacher_models": ["LightGCN", "MultiVAE"],
            "teacher_args": {
                "embedding_size": 16,
                "MultiVAE": {"mlp_hidden_size": [16], "latent_dimension": 8},
            },
        },
        {"distill_gradient_alignment": 0.0, "alignment_drop": 0.1},
    ),
    "curriculum": (
        {
            "distill_curriculum": "hetcomp",
            "curriculum_lists": 2,
            "curriculum_alpha": 0.5,
            "teacher_models": ["BPR", "LightGCN"],
        },
        {"curriculum_lists": 0},
    ),
}


def conforming():
    """The tests of every way."""
    for name, (settings, neutral) in WAYS.items():
        keys = {"settings": {**DISTILLED, **settings}, "neutral": neutral, "without": NONE}
        yield name, pytest.mark.slow(type(f"Test_{name}", (PluginConformance,), keys))


globals().update({f"Test_{name}": found for name, found in conforming()})


class InMemory:
    """Keeps finished stages as a run directory would."""

    def __init__(self):
        self.stages = {}

    def save_stage(self, key, block, record, state):
        self.stages[key] = StageCheckpoint(record, dict(state))

    def load_stage(self, key):
        return self.stages.get(key)


def test_a_member_is_shared_with_its_course(make_config, tiny_stream):
    _, model = small_model(make_config, "BPR", tiny_stream[0])
    kept, course = InMemory(), torch.arange(12).view(1, 3, 4)
    BaseModels(checkpoints=kept).add("teacher-0", model, [{"block": 0}], {"course": course})
    found = BaseModels(checkpoints=kept).find("teacher-0")
    assert found.record == [{"block": 0}] and torch.equal(found.extra["course"], course)
    assert same_weights({"": found.state}, {"": model.state_dict()})
    assert BaseModels(checkpoints=kept).find("teacher-1") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NeuMF", "LightGCN"])
def test_strategies_share_what_a_curriculum_needs(make_config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    keys = {"distill_curriculum": "hetcomp", "curriculum_alpha": 0.5, "epochs": 4, "uninteresting_redraw": 1}
    keys |= {**SMALL_MODELS[name], **teachers("MultiVAE", "BPR"), "learning_rate": 0.005}
    kept, students = InMemory(), []
    for shared in (BaseModels(checkpoints=kept), BaseModels(checkpoints=kept)):
        # the second one finds the members and no student
        kept.stages.pop("student-distilled", None)
        strategy = recorded(STRATEGIES["fine_tune"])
        students.append(follow(make_config(name, strategy="fine_tune", **keys), strategy, base_models=shared))
    assert all(same_weights(*pair) for pair in zip(*(found.states for found in students), strict=True))
    assert len([stage for stage in students[1].result.stages if stage["member"] is not None]) == 2


@pytest.mark.slow
def test_ways_go_together_where_nobody_is_new(make_config, tmp_path, monkeypatch, tiny_stream):
    monkeypatch.chdir(tmp_path)
    ways = {
        "distill_head": "auxiliary",
        "distill_augmentation": "mixup",
        "distill_weighting": "relative_difficulty",
        "distill_gradient_alignment": 0.1,
        "distill_curriculum": "hetcomp",
        "distill_layer": "final",
        "block_ratios": [0.9, 0.05, 0.05],
        "epochs": 3,
        "uninteresting_redraw": 1,
        "deployed_student": "better",
        "student_update_distill": 1.0,
        "teacher_update_distill": 1.0,
    }
    finished = follow(make_config("LightGCN", **ways, **teachers("LightGCN", "MultiVAE")))
    assert len(finished.states) == 3
    assert all(torch.isfinite(value).all() for value in finished.states[2]["student"].values())
