"""Lists of strategies, bases, ablations and seeds: which runs they make, and what is refused."""

import pytest

from recbole_ccd.config import CCDConfig, expand, has_lists
from recbole_ccd.utils.errors import ConfigError

SETTINGS = {"dataset": "ml-100k", "gpu_id": ""}


def names(runs):
    return [(run.label, run.folder) for run in runs]


def test_a_single_value_is_one_run_and_its_plain_configuration():
    arguments = ["--strategy=ccd", "--seed=7", "--base=plain"]
    assert not has_lists(argv=arguments) and not has_lists()
    (run,) = expand(config_dict=SETTINGS, argv=arguments)
    assert (run.label, run.folder) == ("ccd", "ccd-7")
    assert run.config.to_dict() == CCDConfig(config_dict=SETTINGS, argv=arguments).to_dict()


@pytest.mark.parametrize("text", ["fine_tune,ccd", "fine_tune, ccd", "[fine_tune, ccd]"])
def test_lists_on_the_command_line(text):
    arguments = [f"--strategy={text}", "--seed=3,1"]
    assert has_lists(argv=arguments)
    runs = expand(config_dict=SETTINGS, argv=arguments)
    assert names(runs) == [
        ("fine_tune", "fine_tune-3"),
        ("fine_tune", "fine_tune-1"),
        ("ccd", "ccd-3"),
        ("ccd", "ccd-1"),
    ]
    assert [(run.config["strategy"], run.config["seed"]) for run in runs] == [
        *[("fine_tune", 3), ("fine_tune", 1)],
        *[("ccd", 3), ("ccd", 1)],
    ]


def test_each_run_is_configured_as_if_its_values_had_been_given_alone(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("strategy: [static, ccd]\nseed: 5\nepochs: 3\n", encoding="utf-8")
    given = {**SETTINGS, "ablation": ["none", "no_piw"]}
    runs = expand("BPR", None, [str(file)], given, ["--seed=1,2", "--epochs=4"])
    assert [run.folder for run in runs] == [
        *["static-1", "static-2"],
        *["ccd-1", "ccd-2", "ccd-no_piw-1", "ccd-no_piw-2"],
    ]
    exclusive = {**SETTINGS, "strategy": "ccd", "ablation": "no_piw", "seed": 2, "epochs": 4}
    assert runs[-1].config.to_dict() == CCDConfig("BPR", config_dict=exclusive).to_dict()
    assert runs[-1].config["piw"] is False and runs[2].config["piw"] is True
    assert given["ablation"] == ["none", "no_piw"]


def test_config_files_of_the_command_line_count_too(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: [1, 2]\n", encoding="utf-8")
    arguments = [f"--config_files={file}"]
    assert has_lists(argv=arguments)
    assert [run.config["seed"] for run in expand(argv=arguments)] == [1, 2]


def test_the_last_source_decides(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: [1, 2]\nstrategy: [ccd, static]\n", encoding="utf-8")
    assert not has_lists([str(file)], {"strategy": "ccd"}, ["--seed=9"])
    (run,) = expand(None, None, [str(file)], {"strategy": "ccd"}, ["--seed=9"])
    assert run.config["seed"] == 9


def test_bases_are_runs_of_the_strategies_that_have_the_choice():
    runs = expand(config_dict=SETTINGS, argv=["--strategy=fine_tune,ccd", "--base=plain,distilled"])
    assert names(runs) == [
        ("fine_tune (plain base)", "fine_tune-plain-2020"),
        ("fine_tune", "fine_tune-2020"),
        ("ccd", "ccd-2020"),
    ]
    assert [run.config["base"] for run in runs] == ["plain", "distilled", "distilled"]


def test_the_base_is_no_part_of_the_label_where_there_is_one():
    (run,) = expand(config_dict={**SETTINGS, "strategy": ["fine_tune"], "base": ["plain"]})
    assert (run.label, run.config["base"]) == ("fine_tune", "plain")


def test_none_is_the_method_as_it_is():
    runs = expand(config_dict=SETTINGS, argv=["--ablation=no_annealing,none"])
    assert names(runs) == [("ccd no_annealing", "ccd-no_annealing-2020"), ("ccd", "ccd-2020")]
    assert [run.config["ablation"] for run in runs] == ["no_annealing", None]
    again = expand(config_dict={**SETTINGS, "ablation": ["no_annealing", None]})
    assert names(again) == names(runs)


# the argument and what the one line must hold
WRONG = {
    "unknown strategy": ("--strategy=ccd,cdc", ["unknown strategy 'cdc' (command line)", "fine_tune"]),
    "unknown ablation": ("--ablation=none,no_pwi", ["unknown ablation 'no_pwi' (command line)", "no_piw"]),
    "unknown base": ("--base=plain,odd", ["base is 'odd' (command line)", "distilled, plain"]),
    "no seed": ("--seed=1,first", ["seed is 'first' (command line)", "an integer"]),
    "a broken seed": ("--seed=1,2.5", ["seed is 2.5 (command line)"]),
    "no number": ("--seed=1,True", ["seed is True (command line)"]),
    "the same twice": ("--strategy=ccd,static,ccd", ["strategy lists 'ccd' twice (command line)", "once"]),
    "the same seed twice": ("--seed=1,1", ["seed lists '1' twice (command line)"]),
    "none twice": ("--ablation=none,~", ["ablation lists 'none' twice (command line)"]),
    "nothing": ("--seed=[]", ["seed is an empty list (command line)"]),
    "a hole": ("--strategy=ccd,,static", ["strategy is 'ccd,,static' (command line)", "one comma"]),
    "an open bracket": ("--seed=[1,2", ["seed is '[1,2' (command line)"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_lists(case):
    argument, parts = WRONG[case]
    for ask in (has_lists, expand):
        with pytest.raises(ConfigError) as caught:
            ask(argv=[argument])
        message = str(caught.value)
        assert "\n" not in message and all(part in message for part in parts), message


def test_messages_name_the_source(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("strategy: [ccd, {a: 1}]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown strategy .*config file .*mine.yaml"):
        expand(config_file_list=[str(file)])
    with pytest.raises(ConfigError, match=r"seed is -1 \(config_dict\)"):
        expand(config_dict={"seed": [0, -1]})


def test_the_rest_of_each_configuration_is_checked():
    with pytest.raises(ConfigError, match="epochs is 0"):
        expand(config_dict={"strategy": ["ccd", "static"], "epochs": 0})
    with pytest.raises(ConfigError, match="did you mean 'seed'"):
        expand(config_dict={"seeds": [1, 2], "strategy": ["ccd", "static"]})
    with pytest.raises(ConfigError, match="config_dict is a int"):
        expand(config_dict=3)


def test_listed_ablations_are_of_ccd_alone():
    arguments = ["--strategy=fine_tune,ccd", "--ablation=no_annealing,no_piw"]
    runs = expand(config_dict=SETTINGS, argv=arguments)
    assert [run.label for run in runs if run.config["seed"] == runs[0].config["seed"]] == [
        "fine_tune",
        "ccd no_annealing",
        "ccd no_piw",
    ]


@pytest.mark.parametrize("given", ["dict", "arguments"])
def test_a_single_ablation_leaves_the_competitors_whole(given):
    arguments = ["--strategy=lwc_kd,ccd"] + (["--ablation=no_retention"] if given == "arguments" else [])
    settings = SETTINGS | ({"ablation": "no_retention"} if given == "dict" else {})
    runs = expand(config_dict=settings, argv=arguments)
    assert names(runs) == [("lwc_kd", "lwc_kd-2020"), ("ccd no_retention", "ccd-no_retention-2020")]
    assert [run.config["ablation"] for run in runs] == [None, "no_retention"]
    assert runs[0].config["lwc_kd_weight"] > 0 == runs[1].config["lwc_kd_weight"]


@pytest.mark.parametrize("strategy", ["ccd", "lwc_kd"])
def test_none_alone_takes_nothing_away(strategy):
    (run,) = expand(config_dict=SETTINGS | {"seed": 1}, argv=[f"--strategy={strategy}", "--ablation=none"])
    assert (run.label, run.folder, run.config["ablation"]) == (strategy, f"{strategy}-1", None)


def test_strategies_that_are_compared_may_differ_in_settings_of_their_own():
    arguments = ["--strategy=lwc_kd,piw,ccd", "--strategy_args.lwc_kd.lwc_kd_weight=3.5"]
    runs = {run.config["strategy"]: run.config for run in expand(config_dict=SETTINGS, argv=arguments)}
    assert runs["lwc_kd"]["lwc_kd_weight"] == 3.5 and runs["lwc_kd"]["piw"] is False
    assert runs["piw"]["lwc_kd_weight"] == runs["ccd"]["lwc_kd_weight"] != 3.5
    for_all = expand(config_dict=SETTINGS, argv=[*arguments, "--lwc_kd_weight=0.25"])
    assert {run.config["lwc_kd_weight"] for run in for_all} == {0.25}


def test_a_preset_may_hold_settings_of_one_strategy_and_the_user_has_the_last_word():
    own = {"strategy_args": {"ccd": {"student_replay_weight": 0.125}}}
    config = CCDConfig(dataset="yelp-ccd", config_dict={"preset": "paper-yelp", **own})
    assert config["student_replay_weight"] == 0.125 and config["replay_rank_student"] == "distilled"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("--strategy_args=3", ["strategy_args is 3 (command line)", "'strategy: {key: value}'"]),
        ("--strategy_args.lwcc.piw=True", ["unknown strategy 'lwcc' (strategy_args, command line)"]),
        ("--strategy_args.ccd.base_epochs=3", ["strategy_args.ccd.base_epochs", "cannot differ"]),
        ("--strategy_args.ccd.embedding_size=3", ["strategy_args.ccd.embedding_size", "cannot differ"]),
        ("--strategy_args.ccd.lwc_kd_weight=-1", ["lwc_kd_weight is -1 (strategy_args)", ">= 0"]),
    ],
)
def test_impossible_settings_of_a_strategy_are_refused(value, words):
    with pytest.raises(ConfigError) as caught:
        CCDConfig(config_dict=SETTINGS, argv=[value])
    assert all(word in str(caught.value) for word in words)
