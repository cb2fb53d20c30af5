"""How values are read: text as text, decimal numbers, no YAML without end, NumPy's values as plain ones."""

import numpy as np
import pytest

from recbole_ccd.checkpoint import RunDirectory
from recbole_ccd.config import CCDConfig, expand
from recbole_ccd.experiment.search.space_file import read_entries
from recbole_ccd.utils.errors import ConfigError, RunError
from tests.config.refused import refused, write

WORDS = [
    ("run_dir", "x #1"),
    ("run_dir", "null"),
    ("run_dir", "True"),
    ("run_dir", "'x'"),
    ("run_dir", "&x"),
    ("run_dir", "[a, b]"),
    ("dataset", "set #2"),
    ("dataset", "null"),
    ("dataset", "2020"),
    ("dataset", "1e3"),
    ("field_separator", "|"),
    ("field_separator", ">"),
    ("field_separator", "#"),
    ("field_separator", "~~"),
    ("seq_separator", ":"),
    ("USER_ID_FIELD", "yes"),
    ("RATING_FIELD", "1"),
    ("NEG_PREFIX", "mine #1"),
    ("user_inter_num_interval", "[5,10]"),
]


@pytest.mark.parametrize(("key", "text"), WORDS)
def test_a_key_of_text_takes_the_text_of_an_argument_unread(key, text):
    config = CCDConfig(argv=[f"--{key}={text}"])
    assert config[key] == text


def test_a_path_is_not_cut_at_a_comment(tmp_path):
    folder = tmp_path / "my #1 dir"
    config = CCDConfig(argv=[f"--data_path={folder}", "--dataset=set #2"])
    assert config["data_path"] == str(folder / "set #2")


LISTED = [
    ("benchmark_filename", "[0, 1, 02]", ["0", "1", "02"]),
    (
        "val_interval",
        "{user_id: [7, 012], item_id: [1e3, no]}",
        {"user_id": ["7", "012"], "item_id": ["1e3", "no"]},
    ),
    ("unused_col", "{inter: [1]}", {"inter": ["1"]}),
    ("alias_of_user_id", "[2020, on]", ["2020", "on"]),
]


@pytest.mark.parametrize(("key", "text", "value"), LISTED)
def test_entries_of_keys_of_text_are_text(key, text, value, tmp_path):
    keys = {"benchmark_filename": None}
    file = write(tmp_path / "a.yaml", f"{key}: {text}\n")
    assert CCDConfig(config_dict=keys, argv=[f"--{key}={text}"])[key] == value
    assert CCDConfig(config_dict={}, config_file_list=[file])[key] == value


def test_dotted_keys_of_text():
    config = CCDConfig(argv=["--val_interval.user_id=[7, 8]", "--val_interval.timestamp=[5,9)"])
    assert config["val_interval"] == {"user_id": ["7", "8"], "timestamp": "[5,9)"}
    config = CCDConfig(model="DMF", argv=["--inter_matrix_type=01"])
    assert config["inter_matrix_type"] == "01"
    args = "--teacher_args={DMF: {inter_matrix_type: 01}}"
    assert CCDConfig(argv=["--teacher_models=[DMF]", args])["teacher_args"]["DMF"] == {
        "inter_matrix_type": "01"
    }


def test_words_in_files_are_text_and_nothing_is_nothing(tmp_path):
    file = write(tmp_path / "a.yaml", "dataset: 2020\nrun_dir: 1e3\nRATING_FIELD: ~\nTIME_FIELD: 'null'\n")
    config = CCDConfig(config_file_list=[file])
    assert [config[key] for key in ("dataset", "run_dir", "RATING_FIELD", "TIME_FIELD")] == [
        "2020",
        "1e3",
        None,
        "null",
    ]


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("+7", 7), ("0", 0), ("00", 0)])
def test_numbers_are_decimal(text, value, tmp_path):
    file = write(tmp_path / "a.yaml", f"stopping_step: {text}\n")
    for config in (CCDConfig(argv=[f"--stopping_step={text}"]), CCDConfig(config_file_list=[file])):
        assert config["stopping_step"] == value


@pytest.mark.parametrize("text", ["12:30:45", "0x10", "0b11", "0o17", "1_000", "1:30.5", "!!int 0x10", "٣"])
def test_what_is_no_decimal_number_is_none(text, tmp_path):
    refused("epochs", argv=[f"--epochs={text}"])
    refused(config_file_list=[write(tmp_path / "a.yaml", f"epochs: {text}\n")])
    entries = write(tmp_path / "a.hyper", f"epochs choice [{text}]\n")
    try:
        assert not isinstance(read_entries(entries)[0].options[0], (int, float))
    except ConfigError as error:
        assert "no list of values" in str(error)


def test_floats_are_read_as_ever():
    for text, value in [("1e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("2.5e+1", 25.0)]:
        assert CCDConfig(argv=[f"--learning_rate={text}"])["learning_rate"] == value
    refused("learning_rate is inf", argv=["--learning_rate=.inf"])
    refused("learning_rate is nan", argv=["--learning_rate=.NaN"])


def bomb(levels=12, width=10):
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "{" + ", ".join(lines) + "}"


def merging(levels=40):
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, levels)]
    return "{" + ", ".join(lines) + "}"


@pytest.mark.parametrize("text", [bomb(), merging(), "{a: &a [*a]}"])
def test_aliases_of_aliases_end(text, tmp_path):
    refused("write the values out", config_file_list=[write(tmp_path / "a.yaml", f"teacher_args: {text}\n")])
    refused("teacher_args", argv=[f"--teacher_args={text}"])
    with pytest.raises(ConfigError, match="strategy is .* no list"):
        expand(argv=[f"--strategy=[{text}]"])
    with pytest.raises(ConfigError, match="no list of values"):
        read_entries(write(tmp_path / "a.hyper", f"epochs choice [{text}]\n"))
    (tmp_path / "config.yaml").write_text(f"teacher_args: {text}\n", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be read"):
        RunDirectory(tmp_path).read_config()


def test_a_few_aliases_are_no_fault(tmp_path):
    file = write(
        tmp_path / "a.yaml", "topk: &k [5, 20]\nteacher_args: {<<: {embedding_size: 4}}\nmetrics: [Recall]\n"
    )
    assert CCDConfig(config_file_list=[file])["topk"] == [5, 20]
    file = write(
        tmp_path / "b.yaml", "base_clip_grad_norm: &c {max_norm: 1}\nclip_grad_norm: {<<: *c, norm_type: 1}\n"
    )
    assert CCDConfig(config_file_list=[file])["clip_grad_norm"] == {"max_norm": 1, "norm_type": 1}


@pytest.mark.parametrize(
    ("source", "settings", "shown"),
    [
        ("config_dict", {"teacher_args": {1: 2}}, "the key 1 of teacher_args (config_dict)"),
        ("config_dict", {"load_col": {"inter": ["a"], None: []}}, "the key None of load_col"),
        ("config_dict", {"teacher_args": {"BPR": {2.5: 2}}}, "the key 2.5 of teacher_args.BPR"),
    ],
)
def test_keys_of_dictionaries_are_text(source, settings, shown):
    refused(shown, "put it in quotes", config_dict=settings)


def test_keys_of_dictionaries_in_arguments_and_files_are_text(tmp_path):
    refused("the key 1 of teacher_args (command line)", argv=["--teacher_args={1: 2}"])
    file = write(tmp_path / "a.yaml", "teacher_args: {BPR: {true: 2}}\n")
    refused("the key True of teacher_args.BPR", file, config_file_list=[file])


@pytest.mark.parametrize(
    ("key", "value", "plain"),
    [
        ("topk", np.array([5, 20]), [5, 20]),
        ("topk", (5, np.int64(20)), [5, 20]),
        ("topk", np.int32(20), [20]),
        ("block_ratios", np.array([0.5, 0.25, 0.25]), [0.5, 0.25, 0.25]),
        ("learning_rate", np.float64(0.5), 0.5),
        ("learning_rate", np.array(0.5), 0.5),
        ("piw", np.bool_(False), False),
        ("metrics", np.array(["Recall", "NDCG"]), ["Recall", "NDCG"]),
        ("base_clip_grad_norm", {"max_norm": np.array(2.0)}, {"max_norm": 2.0}),
    ],
)
def test_values_of_numpy_are_plain_values(key, value, plain):
    found = CCDConfig(config_dict={key: value})[key]
    assert found == plain and type(found) is type(plain)
    assert all(type(entry) in (int, float, str) for entry in (found if isinstance(found, list) else []))


def test_the_power_of_popularity_is_bounded():
    refused(
        "train_neg_sample_args.alpha is 400", "<= 10", config_dict={"train_neg_sample_args": {"alpha": 400}}
    )


@pytest.mark.parametrize(("model", "key"), [("SGL", "ssl_tau"), ("MacridVAE", "tau"), ("NNCF", "resolution")])
def test_what_a_model_divides_by_is_not_zero(model, key):
    refused(f"{key} is 0", "give a number >= ", model=model, config_dict={key: 0})


def test_where_there_is_one_value_it_is_named():
    refused("worker is 4", "give 0, as", argv=["--worker=4"])
    refused("nproc is 2", "; give 1", argv=["--nproc=2"])
    refused("enable_amp is True", "; give False", argv=["--enable_amp=True"])
