"""The Python API: a few lines from settings to a result."""

import pytest

import recbole_ccd
from recbole_ccd import CCDConfig, CCDError, create_strategy, create_stream, run_ccd
from recbole_ccd.utils.errors import ModelError, RunError
from tests.conftest import SMALL, SMALL_CCD

QUICK = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {}, "block_ratios": [0.6, 0.4]}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_public_name_is_there():
    for name in recbole_ccd.__all__:
        assert getattr(recbole_ccd, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'run_cdd'"):
        recbole_ccd.run_cdd  # noqa: B018
    assert issubclass(ModelError, CCDError)


def test_config_stream_strategy_result_and_a_second_strategy_on_the_stream(tiny_folder):
    config = CCDConfig("BPR", "tiny", config_dict={**QUICK, "data_path": str(tiny_folder)})
    stream = create_stream(config)
    strategy = create_strategy(config)
    result = strategy.run(stream)
    assert isinstance(result, recbole_ccd.StreamResult) and result.n_rows("student") == len(stream) == 2
    assert isinstance(stream, recbole_ccd.BlockStream) and isinstance(
        strategy.teacher, recbole_ccd.TeacherEnsemble
    )
    assert strategy.student.n_items == stream[1].n_items
    again = create_strategy(config).run(stream)
    assert again.to_dict()["metrics"] == result.to_dict()["metrics"]


def test_run_ccd_returns_what_it_wrote(tiny_folder, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\nembedding_size: 4\n", encoding="utf-8")
    keys = {**QUICK, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "run"), "seed": 2}
    result = run_ccd("BPR", "tiny", [str(file)], keys, ["--seed=3"])
    document = recbole_ccd.checkpoint.RunDirectory(tmp_path / "run").read_json("result.json")
    assert document == result.to_dict()
    assert (document["seed"], document["config"]["embedding_size"]) == (3, 4)


def test_the_default_run_directory_is_under_saved(tiny_folder, tmp_path):
    run_ccd("BPR", "tiny", config_dict={**QUICK, "data_path": str(tiny_folder)})
    (run,) = (tmp_path / "saved").iterdir()
    assert run.name.startswith("tiny-BPR-ccd-2020-") and (run / "result.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"saved"}


def test_a_directory_in_use_is_left_alone(tiny_folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        run_ccd(
            "BPR",
            "tiny",
            config_dict={**QUICK, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "run")},
        )
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]
