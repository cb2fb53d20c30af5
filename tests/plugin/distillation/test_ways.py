"""Ways of distilling in whole runs: each has an effect, is resumed bit for bit and knows no future."""

import pytest

from recbole_ccd.plugin.conformance import PluginConformance

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
}


def conforming():
    """The tests of every way."""
    for name, (settings, neutral) in WAYS.items():
        keys = {"settings": {**DISTILLED, **settings}, "neutral": neutral, "without": NONE}
        yield name, pytest.mark.slow(type(f"Test_{name}", (PluginConformance,), keys))


globals().update({f"Test_{name}": found for name, found in conforming()})
