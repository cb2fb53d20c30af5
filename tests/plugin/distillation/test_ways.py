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
}


def conforming():
    """The tests of every way."""
    for name, (settings, neutral) in WAYS.items():
        keys = {"settings": {**DISTILLED, **settings}, "neutral": neutral, "without": NONE}
        yield name, pytest.mark.slow(type(f"Test_{name}", (PluginConformance,), keys))


globals().update({f"Test_{name}": found for name, found in conforming()})
