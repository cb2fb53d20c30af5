"""What a run must be gone on with, and what may differ."""

import shutil

import pytest
import yaml

from recbole_ccd import RunError, compare, resume, run_ccd
from recbole_ccd.checkpoint.compatibility import FREE_KEYS
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import ConfigError
from tests.checkpoint.cases import assert_same_run
from tests.conftest import tiny_rows, write_inter


def everything_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(part, match, **arguments):
    before = everything_in(part)
    with pytest.raises(RunError, match=match) as caught:
        resume(part, **arguments)
    assert "\n" not in str(caught.value)
    assert everything_in(part) == before


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--embedding_size=4", "embedding_size is 4, and the run in .* was begun with 8; leave it as it was"),
        ("--seed=1", "seed is 1, and the run in .* was begun with 2020"),
        ("--strategy=static", "strategy is 'static', and the run in .* was begun with 'ccd'"),
        ("--block_ratios=[0.6,0.4]", r"block_ratios is \[0.6, 0.4\], and .* with \[0.4, 0.3, 0.3\]"),
        ("--teacher_args.embedding_size=4", "teacher_args is .*, and the run in .* was begun with"),
        ("--student_update_epochs=7", "student_update_epochs is 7, and the run in .* was begun with None"),
        ("--reproducibility=False", "reproducibility is False, and the run in .* was begun with True"),
        ("--model=LightGCN", "is .*, and the run in .* was begun with"),
    ],
)
def test_another_setting_is_refused_by_name(part, argument, message):
    refused(part, message, argv=[argument])


def test_so_is_one_of_a_file_and_one_of_a_dictionary(part, tmp_path):
    (tmp_path / "mine.yaml").write_text("embedding_size: 4\n")
    refused(part, "embedding_size is 4", config_file_list=[str(tmp_path / "mine.yaml")])
    refused(part, "embedding_size is 4", argv=[f"--config_files={tmp_path / 'mine.yaml'}"])
    refused(part, "embedding_size is 4", config_dict={"embedding_size": 4})


def test_so_is_a_configuration_that_somebody_has_changed(part):
    config = yaml.safe_load((part / "config.yaml").read_text())
    (part / "config.yaml").write_text(yaml.safe_dump({**config, "distill_top_k": 3}))
    refused(part, "distill_top_k is 3, and the run in .* was begun with 8")


def test_a_wrong_setting_is_told_as_ever(part):
    with pytest.raises(ConfigError, match=r"epochs is 0 \(command line\), which cannot be used"):
        resume(part, argv=["--epochs=0"])
    with pytest.raises(ConfigError, match="unknown key 'epoch'"):
        resume(part, argv=["--epoch=1"])


def test_what_does_not_matter_may_differ(part, place):
    free = {
        "show_progress": True, "show_epochs": True, "state": "warning", "gpu_id": "0", "use_gpu": False,
        "checkpoint_every": None, "eval_batch_size": 3000, "run_dir": "elsewhere",
    }  # fmt: skip
    assert free.keys() <= FREE_KEYS
    result = run_ccd(resume=part, config_dict=free, argv=["--embedding_size=8"])
    assert result.settings["eval_batch_size"] == 3000
    assert result.settings["run_dir"] == str(part)
    assert result.to_dict()["metrics"] == run_ccd(argv=[f"--resume={part}"]).to_dict()["metrics"]
    whole = resume(place / "whole").to_dict()
    assert result.to_dict()["metrics"] == whole["metrics"]


def other_data(folder, rows):
    (folder / "data" / "tiny").mkdir(parents=True)
    write_inter(folder / "data" / "tiny" / "tiny.inter", rows)
    return [f"--data_path={folder / 'data'}"]


def test_the_same_data_may_lie_elsewhere(part, place, tmp_path):
    resume(part, argv=other_data(tmp_path, tiny_rows()))
    one, other = (resume(path).to_dict()["metrics"] for path in (part, place / "whole"))
    assert one == other


def swapped(rows):
    """The same users, items and times, two items exchanged."""
    rows = list(rows)
    first = rows[-1]
    at = max(k for k, row in enumerate(rows[:-1]) if row[1] != first[1])
    rows[-1], rows[at] = (first[0], rows[at][1], first[2]), (rows[at][0], first[1], rows[at][2])
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (tiny_rows()[:-30], "interactions in block 0 instead of|items in block|users in block"),
        (tiny_rows(seed=3), "in block 0 instead of"),
        (swapped(tiny_rows()), "the same sizes but other interactions|instead of"),
    ],
    ids=["fewer", "others", "two exchanged"],
)
def test_other_data_are_refused(part, tmp_path, rows, message):
    start = "the data are not those that the run in .* was begun with: .*"
    refused(part, f"{start}({message})", argv=other_data(tmp_path, rows))


def test_data_are_told_apart_by_everything_in_them(make_config, tiny_stream):
    same = create_stream(make_config())
    assert same.fingerprint == tiny_stream.fingerprint
    # all data are hashed for it, and it is asked for often
    assert same.fingerprint is same.fingerprint
    others = [{"seed": 1}, {"block_ratios": [0.5, 0.5]}, {"eval_args": {"split": {"RS": [0.7, 0.2, 0.1]}}}]
    for keys in others:
        other = create_stream(make_config(**keys)).fingerprint
        assert other["sha256"] != same.fingerprint["sha256"]


@pytest.mark.parametrize("folder", ["nowhere", "empty", "file"])
def test_folders_that_are_no_runs(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=f"{folder} is not a run directory|{folder}.* cannot be read"):
        resume(tmp_path / folder)


def test_a_run_of_an_earlier_version(part):
    for name in ("manifest.json", "manifest.previous.json"):
        (part / name).unlink()
    with pytest.raises(RunError, match="holds a run but no manifest.json, as earlier versions left it"):
        resume(part)


@pytest.mark.slow
def test_a_run_that_was_killed_before_it_began(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "part").mkdir()
    shutil.copy(place / "part" / "config.yaml", tmp_path / "part")
    resume(tmp_path / "part")
    assert_same_run(place / "whole", tmp_path / "part")


def test_one_run_and_several_are_told_apart(part):
    with pytest.raises(RunError, match="holds a run and no comparison; call resume"):
        compare(resume=part)
