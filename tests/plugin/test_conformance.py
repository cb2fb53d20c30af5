"""Our own plugins pass the tests that a user's inherit; and plugins with a fault do not."""

import subprocess
import sys
from typing import ClassVar

import pytest

from recbole_ccd.plugin.conformance import PluginConformance
from recbole_ccd.registry import registered

PLAIN = {"strategy": "fine_tune", "base": "plain"}
NO_PASSES = {"student_update_distill": 0.0, "teacher_update_distill": 0.0}
WEIGHTLESS = {"distill_user_weight": 0.0, "distill_item_weight": 0.0, **NO_PASSES}
AUTO_ENCODER = {
    "teacher_models": ["MultiVAE"],
    "teacher_args": {"MultiVAE": {"mlp_hidden_size": [16], "latent_dimension": 8}},
    "strategy": "distill_each_block",
}
PAIRS = {
    "teacher_models": ["NeuMF"],
    "teacher_args": {"NeuMF": {"mf_embedding_size": 8, "mlp_embedding_size": 8, "mlp_hidden_size": [8]}},
    "strategy": "distill_each_block",
}
DRAWING = {"distill_user_weight": 0.5, "distill_draws": 5, "distill_propose_depth": 12}
LOSSES = {
    name: ({"distill_loss": name, **DRAWING}, WEIGHTLESS)
    for name in (
        *("cd", "comparative", "correlation", "dcd", "kl", "listnet", "logits", "rce", "rd", "rrd"),
        *("speculative", "unkd"),
    )
}
# with item sides, between users, and of a teacher that is in part a pruned one
FURTHER = {
    "item_sides": {
        "settings": {**DRAWING, "distill_loss": ["correlation", "dcd"], "distill_item_weight": 0.5},
        "neutral": WEIGHTLESS,
    },
    "between_users": {
        "settings": {**DRAWING, "distill_loss": "comparative", "distill_compare": "users"},
        "neutral": WEIGHTLESS,
    },
    "pruned": {
        "settings": {**DRAWING, "teacher_prune_rate": 0.3},
        "neutral": {"teacher_prune_rate": 0.0},
        "without": {"teacher_prune_share": 0.0},
    },
}
SCHEMES = {
    "ader": ({**PLAIN, "replay": "ader", "reservoir_size": 300, "ader_weight": 5.0}, {"ader_weight": 0.0}),
    "spmf": ({**PLAIN, "replay": "spmf", "reservoir_size": 300}, {"reservoir_size": 0}),
    "proxy_guided": (
        {"replay": "proxy_guided"},
        {"student_replay_weight": 0.0, "teacher_replay_weight": 0.0},
    ),
    "reservoir": ({**PLAIN, "replay": "reservoir", "reservoir_size": 300}, {"reservoir_size": 0}),
}
REGULARIZERS = {
    "ewc": ({**PLAIN, "regularizer": "ewc", "ewc_weight": 1000.0, "ewc_sample": 300}, {"ewc_weight": 0.0}),
    "graphsail": (
        {**PLAIN, "regularizer": "graphsail"},
        {f"graphsail_{name}_weight": 0.0 for name in ("local", "global", "self")},
    ),
    "lwc_kd": (
        {**PLAIN, "regularizer": "lwc_kd", "lwc_kd_weight": 5.0, "lwc_kd_anchors": 5},
        {"lwc_kd_weight": 0.0, "piw": False},
    ),
    "output_kl": (
        {**AUTO_ENCODER, "regularizer": "output_kl", "output_kl_weight": 5.0},
        {"output_kl_weight": 0.0},
    ),
    "pisa": ({**PLAIN, "regularizer": "pisa", "pisa_weight": 5.0}, {"pisa_weight": 0.0}),
    "pair_kl": (
        {**PAIRS, "regularizer": "pair_kl", "pair_kl_weight": 5.0},
        {"pair_kl_weight": 0.0},
    ),
}
QUICK = ("reservoir",)


def conforming(kind, cases):
    """The tests of every plugin of a kind."""
    assert cases.keys() == registered(kind).keys()
    for name, (settings, neutral) in cases.items():
        keys = {"settings": settings, "neutral": neutral}
        found = type(f"Test_{name}", (PluginConformance,), keys)
        yield name, found if name in QUICK else pytest.mark.slow(found)


globals().update(
    {
        f"Test_{name}": found
        for kind, cases in (
            ("distillation loss", LOSSES),
            ("replay scheme", SCHEMES),
            ("regularizer", REGULARIZERS),
        )
        for name, found in conforming(kind, cases)
    }
)


for further, keys in FURTHER.items():
    keys["settings"] |= {"update_distill_users": "all"}
    globals()[f"Test_{further}"] = pytest.mark.slow(type(f"Test_{further}", (PluginConformance,), keys))


@pytest.mark.slow
class TestSML(PluginConformance):
    """A strategy owes the same."""

    settings: ClassVar = {"strategy": "sml", "base": "plain", "sml_learning_rate": 0.01}
    neutral: ClassVar = {"sml_epochs": 0}
    without: ClassVar = {"strategy": "fine_tune"}


FAULTY = '''
import torch
from recbole_ccd.plugin.regularization import Regularizer
from recbole_ccd.registry import register


class Pulling(Regularizer):
    """Pulls users towards where they were, by some weight."""

    def batch_losses(self, interaction):
        users = self.earlier_users(interaction)
        old, new = (model.user_embedding.weight[users] for model in (self.frozen, self.live))
        return (self.weight() * (new - old.detach()).square().sum(),)

    def weight(self):
        return 1.0


@register("forgetful")
class Forgetful(Pulling):
    """Draws, and does not say where it is."""

    def bind(self, context):
        super().bind(context)
        self.generator = torch.Generator().manual_seed(self.seed % 1000)

    def weight(self):
        return torch.rand((), generator=self.generator)


@register("foreseeing")
class Foreseeing(Pulling):
    """Knows how many blocks there are going to be."""

    def weight(self):
        return float(len(self.config["benchmark_filename"]) > 2)


@register("stubborn")
class Stubborn(Pulling):
    """Has a weight that it does not look at."""

    settings = {"stubborn_weight": 1.0}


@register("idle")
class Idle(Pulling):
    """Has no effect."""

    def weight(self):
        return 0.0
'''


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A module with these, where Python finds it."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faulty.py").write_text(FAULTY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "faulty"
    sys.modules.pop("faulty", None)


@pytest.mark.parametrize(
    ("name", "test", "message"),
    [
        ("forgetful", "an_interrupted_run_is_the_uninterrupted_one", "state_dict lacks something"),
        ("foreseeing", "nothing_of_a_later_block_is_known", "depends on the last one"),
        ("stubborn", "the_neutral_setting_changes_no_bit", "the plugin has an effect"),
        ("idle", "a_run_ends_and_the_plugin_has_an_effect", "the plugin changes nothing"),
    ],
)
def test_a_fault_is_found(faulty, tmp_path, name, test, message):
    class Mine(PluginConformance):
        settings = {**PLAIN, "plugins": faulty, "regularizer": name}
        neutral = {"stubborn_weight": 0.0}

    with pytest.raises(AssertionError, match=message):
        getattr(Mine(), f"test_{test}")(tmp_path / "runs")


@pytest.mark.slow
def test_the_package_does_without_pytest():
    code = "import sys, recbole_ccd.plugin.conformance; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
