"""Plugins that settings combine with strategies: whole runs that must be equal, or differ, bit for bit."""

import pytest

from recbole_ccd.plugin.regularization import GraphSAILRegularizer, LWCKDRegularizer, OutputKLRegularizer
from recbole_ccd.plugin.replay import ReplayScheme, ReservoirReplay
from recbole_ccd.utils.errors import ModelError
from tests.strategy.runs import STRATEGIES, follow, matrices, noted_plugins, recorded, same_weights, teachers

PLAIN = {"model": "BPR", "base": "plain", "epochs": 2}


@pytest.fixture
def run(make_config, tiny_stream):
    """Runs a strategy under some settings."""

    def start(strategy="ccd", **keys):
        config = make_config(strategy=strategy, **keys)
        return follow(config, recorded(STRATEGIES[strategy]), tiny_stream)

    return start


def same(one, other):
    """Whether two runs are equal, weights after every block and results."""
    weights = zip(one.states, other.states, strict=True)
    return all(same_weights(*states) for states in weights) and matrices(one) == matrices(other)


def test_replay_is_fine_tuning_with_a_reservoir(run):
    replay = run("replay", **PLAIN, reservoir_size=200)
    assert same(replay, run("fine_tune", **PLAIN, replay="reservoir", reservoir_size=200))
    assert same(run("replay", **PLAIN, replay=None), fine_tune := run("fine_tune", **PLAIN))
    assert not same(replay, fine_tune)


@pytest.mark.slow
def test_lwc_kd_is_fine_tuning_under_its_regularizer(run):
    keys = {**PLAIN, "lwc_kd_weight": 5.0, "piw": False}
    held = run("lwc_kd", **keys)
    assert same(held, run("fine_tune", **keys, regularizer="lwc_kd"))
    assert same(held, run("fine_tune", **keys, regularizer=["pair_kl", "lwc_kd"]))
    assert same(run("piw", **{**keys, "piw": True}), piw := run("lwc_kd", **{**keys, "piw": True}))
    assert not same(held, piw) and not same(held, run("fine_tune", **keys))


@pytest.mark.slow
def test_graphsail_is_fine_tuning_under_its_regularizer(run):
    keys = {**PLAIN, "graphsail_self_weight": 5.0, "graphsail_clusters": 3}
    held = run("graphsail", **keys)
    assert same(held, run("fine_tune", **keys, regularizer="graphsail"))
    assert not same(held, run("fine_tune", **keys))


@pytest.mark.slow
def test_a_student_under_a_regularizer_and_a_reservoir(run, monkeypatch):
    noted = noted_plugins(monkeypatch)
    both = run("fine_tune", **PLAIN, replay="reservoir", regularizer="graphsail")
    kinds = [ReservoirReplay, GraphSAILRegularizer] * 2
    assert [type(plugin) for _, plugin in noted] == kinds
    assert not same(both, run("replay", **PLAIN)) and not same(both, run("graphsail", **PLAIN))


@pytest.mark.slow
@pytest.mark.parametrize(
    "losses",
    [["rrd"], *(pytest.param(several, marks=pytest.mark.slow) for several in (["rrd", "kl"], ["cd", "rrd"]))],
)
def test_a_list_of_losses_whose_others_weigh_nothing_is_the_one(run, losses):
    weights = [float(loss == "rrd") for loss in losses]
    listed = run(**teachers("BPR"), distill_loss=losses, distill_loss_weights=weights)
    assert same(listed, run(**teachers("BPR"), distill_loss="rrd"))


@pytest.mark.slow
def test_several_losses_teach_what_none_of_them_does_alone(run):
    both = run(**teachers("BPR"), distill_loss=["rrd", "kl"], distill_loss_weights=[1.0, 0.2])
    others = [run(**teachers("BPR"), distill_loss=loss) for loss in ("rrd", "kl", ["rrd", "kl"])]
    assert not any(same(both, other) for other in others)


@pytest.mark.slow
def test_ccd_without_replay_is_ccd_whose_replay_weighs_nothing(run, monkeypatch):
    noted = noted_plugins(monkeypatch)
    without = run(**teachers("BPR"), replay=None)
    assert not [plugin for _, plugin in noted if isinstance(plugin, ReplayScheme)]
    assert not any("replayed" in stage for stage in without.result.stages)
    weightless = {"student_replay_weight": 0.0, "teacher_replay_weight": 0.0}
    assert same(without, run(**teachers("BPR"), **weightless))
    assert not same(without, run(**teachers("BPR")))


@pytest.mark.slow
def test_ccd_with_a_reservoir_learns_its_rows_in_stages_2_and_3(run):
    keys = {**teachers("LightGCN", "MultiVAE"), "reservoir_size": 300}
    replaying = run(**keys, replay="reservoir")
    without = run(**keys, replay=None)
    assert same_weights(replaying.states[0], without.states[0])
    for name in ("student", "teacher-0", "teacher-1"):
        last = [strategy.states[1][name] for strategy in (replaying, without)]
        assert any(not value.equal(last[1][key]) for key, value in last[0].items()), name


@pytest.mark.slow
def test_members_are_under_the_regularizer_that_fits_them(run, monkeypatch):
    noted = noted_plugins(monkeypatch)
    keys = {**teachers("LightGCN", "MultiVAE"), "replay": None, "teacher_update_distill": 0.0}
    run(**keys, regularizer=["lwc_kd", "output_kl"])
    kinds = [(label.split(" ", 2)[2], type(plugin)) for label, plugin in noted if "teacher" in label]
    expected = [
        ("teacher_update member 0 (LightGCN)", LWCKDRegularizer),
        ("teacher_update member 1 (MultiVAE)", OutputKLRegularizer),
    ]
    assert kinds == expected * 2
    noted.clear()
    run(**keys, regularizer="graphsail", graphsail_clusters=3)
    assert [type(plugin) for label, plugin in noted if "teacher" in label] == [GraphSAILRegularizer] * 2
    assert all("member 0" in label for label, _ in noted if "teacher" in label)


@pytest.mark.slow
def test_an_auto_encoder_is_held_by_its_outputs(run):
    keys = {**teachers("MultiVAE"), "replay": None, "output_kl_weight": 5.0}
    listed = run(**keys, regularizer=["lwc_kd", "output_kl"])
    assert same(listed, run(**keys, regularizer="output_kl"))
    assert not same(listed, run(**keys, regularizer=None))


@pytest.mark.slow
def test_distill_each_block_replays_to_its_members(run):
    keys = {**teachers("BPR"), "reservoir_size": 300}
    one, other = (run("distill_each_block", **keys, replay=scheme) for scheme in ("reservoir", None))
    assert same_weights(one.states[0], other.states[0])
    assert not same_weights(one.states[1], other.states[1])


@pytest.mark.parametrize(
    ("strategy", "keys", "message"),
    [
        (
            "fine_tune",
            {"model": "NeuMF", "base": "plain", "regularizer": ["lwc_kd", "graphsail"]},
            "regularizer: lwc_kd, graphsail does not fit the student (NeuMF); choose one of: ewc, pair_kl",
        ),
        (
            "piw",
            {"model": "BPR", "base": "plain", "regularizer": "output_kl"},
            "regularizer: output_kl does not fit the student (BPR); choose one of: ewc, graphsail, lwc_kd",
        ),
        (
            "ccd",
            {**teachers("MultiVAE", "NeuMF"), "regularizer": "graphsail"},
            "regularizer: graphsail does not fit a member of the teacher (MultiVAE, NeuMF); "
            "choose one of: ewc, output_kl, pair_kl",
        ),
        (
            "distill_each_block",
            {**teachers("BPR"), "regularizer": ["output_kl", "pair_kl"]},
            "regularizer: output_kl, pair_kl does not fit a member of the teacher (BPR); choose one of: ",
        ),
    ],
)
def test_a_regularizer_that_fits_nobody_is_refused(make_config, tiny_stream, strategy, keys, message):
    with pytest.raises(ModelError) as caught:
        STRATEGIES[strategy](make_config(strategy=strategy, **keys)).check(tiny_stream)
    assert message in str(caught.value) and "or leave it out" in str(caught.value)
