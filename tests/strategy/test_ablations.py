"""What each file of properties/ablation takes away, and that it takes away nothing else."""

import math

import pytest
import torch
import yaml

from recbole_ccd.config.catalogue import names_of, properties_dir
from recbole_ccd.model.growth import build, grow
from recbole_ccd.plugin.regularization import Regularizer
from recbole_ccd.plugin.replay import ReplayScheme
from recbole_ccd.plugin.replay import proxy_guided as replay_module
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError
from tests.conftest import few
from tests.model.small_models import small_model
from tests.strategy.runs import STRATEGIES, Recorded, follow, recorded, same_weights, teachers

# two epochs, so that an annealed weight differs from the first, and terms with weights that are seen
KEYS = {
    "block_ratios": [0.6, 0.4],
    "epochs": 2,
    "eval_step": 2,
    "learning_rate": 0.005,
    "student_replay_weight": 0.4,
    "teacher_replay_weight": 0.3,
    "lwc_kd_weight": 1.0,
    "output_kl_weight": 1.0,
    "update_distill_users": "all",  # in this stream nobody is absent
}
# settings given by hand that an ablation takes away
ABLATED = {"no_retention": ("lwc_kd_weight", "output_kl_weight", "pair_kl_weight")}
ABLATIONS = names_of("ablation")
# each kind of loss and of replay without, by default; the others take as long
RUNS = few(ABLATIONS, "no_plasticity_proxy", "no_student_knowledge")
STUDENT, MEMBERS = (
    "block 1 student_update",
    [f"block 1 teacher_update member {m} ({name})" for m, name in enumerate(("LightGCN", "MultiVAE"))],
)
PROXIES = ["stability", "plasticity"]
# which weights after block 1 are those of a run without the ablation; all others are not. Both proxies are
# one model there, so that without one of them nothing is different yet
UNTOUCHED = {
    "no_annealing": {"stability", "plasticity"},
    "no_piw": {"stability", "plasticity", "student", "teacher-1"},
    "no_plasticity_proxy": {"stability", "student", "teacher-0", "teacher-1"},
    "no_reminder": {"stability", "plasticity"},
    "no_retention": {"stability", "plasticity", "student"},
    "no_stability_proxy": {"plasticity", "student", "teacher-0", "teacher-1"},
    "no_student_knowledge": {"stability", "plasticity", "student"},
    "one_hop_initialization": {"stability", "plasticity"},
    "random_initialization": {"stability", "plasticity"},
}


def settings_of(name):
    return yaml.safe_load((properties_dir() / "ablation" / f"{name}.yaml").read_text())


class Watched(Recorded):
    """CCD that records what its stages were given."""

    def watch(self, patch):
        self.sources, self.terms, self.weights, self.excluding = {}, {}, {}, []
        add, annealed = StageTrainer.add, replay_module.annealed

        def note_plugins(trainer, *plugins):
            if "teacher_update" in trainer.label:
                self.terms.setdefault(trainer.label, set())
            for plugin in plugins:
                if isinstance(plugin, ReplayScheme):
                    self.sources[trainer.label] = {source.name: source.n_draws for source in plugin.sources}
                if isinstance(plugin, Regularizer):
                    note_terms(trainer.label, plugin)
            return add(trainer, *plugins)

        def note_terms(label, plugin):
            losses = plugin.batch_losses

            def noted(interaction):
                terms = losses(interaction)
                self.terms[label].add(len(terms))
                return terms

            plugin.batch_losses = noted

        def note_weight(weight, epoch, decay):
            self.weights.setdefault(weight, {})[epoch] = annealed(weight, epoch, decay)
            return self.weights[weight][epoch]

        patch.setattr(StageTrainer, "add", note_plugins)
        patch.setattr(replay_module, "annealed", note_weight)

    def run(self, stream):
        with pytest.MonkeyPatch.context() as patch:
            self.watch(patch)
            return super().run(stream)

    def excluded_lists(self, block):
        lists = super().excluded_lists(block)
        self.excluding.append((block.index, len(lists)))
        return lists


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    """Runs CCD with an ablation, or with none, once."""
    finished = {}

    def run(name=None):
        if name not in finished:
            keys = {key: value for key, value in KEYS.items() if key not in ABLATED.get(name, ())}
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("run"))
                finished[name] = follow(make_config(ablation=name, **keys), Watched)
        return finished[name]

    return run


def test_every_ablation_is_looked_at():
    assert set(ABLATIONS) == set(UNTOUCHED)


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_file_changes_the_settings_it_names_and_no_others(make_config, name):
    named = settings_of(name)
    for view in (lambda config: config, lambda config: config.for_member(0).for_stage("teacher_update")):
        whole, ablated = view(make_config()).to_dict(), view(make_config(ablation=name)).to_dict()
        changed = {key for key in whole if whole[key] != ablated[key]}
        # by default some of it is not there
        there = {key for key in named if whole[key] != named[key]}
        assert whole.keys() == ablated.keys() and changed == there | {"ablation"} and there
        assert {key: ablated[key] for key in named} == named


@pytest.mark.parametrize("name", ABLATIONS)
def test_what_an_ablation_takes_away_cannot_be_given_by_hand(make_config, name):
    for key, value in settings_of(name).items():
        default = make_config()[key]
        other = 0.7 if default == value else default
        with pytest.raises(ConfigError, match=rf"^{key} is .*config_dict.*ablation {name} makes it"):
            make_config(ablation=name, **{key: other})
        assert make_config(ablation=name, **{key: value})[key] == value
        own = make_config(ablation=name, strategy_args={"ccd": {key: other}})
        assert own[key] == value


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_base_block_is_as_ever(run, name):
    whole, ablated = run().states[0], run(name).states[0]
    assert whole.keys() == ablated.keys() and same_weights(whole, ablated)


@pytest.mark.parametrize("name", RUNS)
def test_what_an_ablation_touches_in_the_next_block(run, name):
    whole, ablated = run().states[1], run(name).states[1]
    gone = {part for part in PROXIES if part not in ablated}
    assert gone == {proxy for proxy in PROXIES if name == f"no_{proxy}_proxy"}
    assert whole.keys() - gone == ablated.keys()
    same = {part for part in ablated if same_weights({part: whole[part]}, {part: ablated[part]})}
    # an auto-encoder is given none of these itself, only the student's top items, which may be as they were
    indirect = set() if name in ("no_piw", "no_retention", "no_student_knowledge") else {"teacher-1"}
    assert same - indirect == UNTOUCHED[name] - indirect


def without(name):
    """What CCD's stages are given under an ablation: sources, terms, weights, exclusion lists."""
    # in block 1 both proxies are one model, from which is drawn once
    first = "plasticity" if name == "no_stability_proxy" else "stability"
    draws = {first: 3, "student": 3}
    sources = {STUDENT: {first: 5}, **{member: dict(draws) for member in MEMBERS}}
    # LWC-KD and PIW's clustering; the divergence of outputs
    terms = {MEMBERS[0]: {2}, MEMBERS[1]: {1}}
    weights = {0.4: [0.4, 0.4 * math.exp(-1 / 10)], 0.3: [0.3, 0.3 * math.exp(-1 / 5)]}
    excluding = [(0, 0), (1, 3)]
    for proxy in PROXIES:
        if name == f"no_{proxy}_proxy":
            excluding[1] = (1, 2)
    if name == "no_student_knowledge":
        sources |= {member: {"student": 0} for member in MEMBERS}
    if name == "no_piw":
        terms[MEMBERS[0]] = {1}
    if name == "no_retention":
        # without a weight there is no plugin
        terms = {member: set() for member in MEMBERS}
    if name == "no_annealing":
        weights = {0.4: [0.4] * 2, 0.3: [0.3] * 2}
    return sources, terms, weights, excluding


@pytest.mark.parametrize("name", [None, *RUNS])
def test_what_the_stages_are_given(run, name):
    strategy = run(name)
    sources, terms, weights, excluding = without(name)
    assert strategy.sources == sources and strategy.terms == terms
    assert {w: pytest.approx(dict(enumerate(values))) for w, values in weights.items()} == strategy.weights
    assert strategy.excluding == excluding


def grown_by(config, old, block):
    torch.manual_seed(4)
    return grow(old, config, block)


def test_without_two_hops_new_rows_are_means_of_their_neighbours(make_config, tiny_stream):
    config, old = small_model(make_config, "LightGCN", tiny_stream[0], ablation="one_hop_initialization")
    block = tiny_stream[1]
    users = grown_by(config, old, block).user_embedding.weight
    before = [table.weight for table in (old.user_embedding, old.item_embedding)]
    assert torch.equal(users[: block.n_old_users], before[0])
    for user in block.new_users.tolist():
        items = [i for i in block.train_matrix[user].indices.tolist() if i < block.n_old_items]
        mean = before[1][items].mean(dim=0) if items else torch.zeros(8)
        torch.testing.assert_close(users[user], mean)


def test_at_random_new_rows_are_those_of_a_new_model(make_config, tiny_stream):
    config, old = small_model(make_config, "LightGCN", tiny_stream[0], ablation="random_initialization")
    block = tiny_stream[1]
    grown = grown_by(config, old, block)
    torch.manual_seed(4)
    fresh = build(config, block)
    for name, n_old in (("user_embedding", block.n_old_users), ("item_embedding", block.n_old_items)):
        rows = getattr(grown, name).weight
        assert torch.equal(rows[:n_old], getattr(old, name).weight)
        assert torch.equal(rows[n_old:], getattr(fresh, name).weight[n_old:])


def test_a_teacher_without_student_knowledge_learns_as_if_there_were_no_student(make_config):
    # the other strategy distils nothing of the previous teacher
    keys = {**KEYS, "epochs": 1, "eval_step": 1, **teachers("LightGCN")}
    exclusive = follow(
        make_config(strategy="distill_each_block", **keys), with_members(STRATEGIES["distill_each_block"])
    )
    keys |= {"ablation": "no_student_knowledge", "teacher_update_distill": 0.0}
    together = follow(make_config(**keys), Recorded)
    # an auto-encoder would visit everybody where there is replay
    assert same_weights(*({"teacher-0": run.states[1]["teacher-0"]} for run in (exclusive, together)))


def with_members(strategy):
    """A strategy that records its teacher's members too."""

    class WithMembers(strategy):
        def models(self):
            return {f"teacher-{m}": member for m, member in enumerate(self.teacher.members)}

    return recorded(WithMembers)
