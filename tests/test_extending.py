"""docs/extending.md: its code, as a reader would run it, and what can be wrong with a module of one's own."""

import json
import sys

import pytest
import torch
import yaml
from recbole_ccd.trainer.distillation import DistillationTrainer

from recbole_ccd import CCDConfig, ConfigError, RunError, compare, load_student, resume, run_ccd, update
from recbole_ccd.__main__ import main
from recbole_ccd.config.catalogue import names_of
from recbole_ccd.strategy import strategy_class
from tests.config.refused import refused
from tests.conftest import SMALL, SMALL_CCD, tiny_rows, write_inter
from tests.documents import blocks, module, program_arguments
from tests.strategy.runs import recorded

PAGE = "docs/extending.md"
QUICK = {
    **SMALL,
    **SMALL_CCD,
    "dataset": "tiny",
    "model": "BPR",
    "teacher_models": ["BPR"],
    "teacher_args": {},
}


@pytest.fixture(scope="module", autouse=True)
def ideas(tmp_path_factory):
    """The modules of the page, where Python finds them."""
    folder = tmp_path_factory.mktemp("ideas")
    for name in ("my_ideas", "my_model"):
        (folder / f"{name}.py").write_text(module(PAGE, f"{name}.py"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in ("my_ideas", "my_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def settings(tiny_folder, tmp_path):
    """What makes the page's commands quick, as an argument."""
    file = tmp_path / "quick.yaml"
    file.write_text(yaml.safe_dump({**QUICK, "data_path": str(tiny_folder)}), encoding="utf-8")
    return f"--config_files={file}"


def test_strategies_of_ones_own_are_compared_with_ours(settings, tmp_path, capsys):
    arguments = program_arguments(PAGE)[0]
    more = ["--student_update_learning_rate=0.05", "--near_past_weight=10", "--epochs=3"]
    assert main([*arguments, settings, *more, f"--run_dir={tmp_path / 'runs'}"]) == 0
    shown = capsys.readouterr()
    assert "near_past" in shown.out + shown.err
    assert (tmp_path / "runs" / "comparison.json").is_file()
    rows = {
        name: json.loads((tmp_path / "runs" / f"{name}-2020" / "result.json").read_text(encoding="utf-8"))
        for name in ("fine_tune", "averaged", "near_past")
    }
    R = {name: rows[name]["metrics"]["recall@5"]["student"]["R"] for name in rows}
    assert R["averaged"][0] == R["fine_tune"][0] and len({json.dumps(rows) for rows in R.values()}) == 3


def test_averaging_is_what_the_page_says(make_config, tiny_stream):
    keys = {"plugins": "my_ideas", "strategy": "averaged", "base": "plain", "averaged_keep": 1.0}
    config = make_config("BPR", **keys)
    strategy = recorded(strategy_class(config))(config)
    strategy.run(tiny_stream)
    base, *_, last = (states["student"]["user_embedding.weight"] for states in strategy.states)
    # all the way back: who was known at first is what the base student was
    assert torch.equal(last[: len(base)], base) and len(last) > len(base)


def test_a_loss_of_ones_own_teaches(settings, tmp_path, monkeypatch):
    arguments = next(given for given in program_arguments(PAGE) if "--distill_loss=margin" in given)
    taught = []
    learn_from = DistillationTrainer.learn_from

    def listened(trainer, knowledge):
        learn_from(trainer, knowledge)
        taught.append(trainer._teaching._alternative)
        return trainer

    monkeypatch.setattr(DistillationTrainer, "learn_from", listened)
    run_dir = tmp_path / "run"
    more = ["--student_update_distill=0", "--teacher_update_distill=0", "--block_ratios=[0.6, 0.4]"]
    assert main([*arguments, settings, *more, f"--run_dir={run_dir}"]) == 0
    assert {type(loss).__name__ for loss in taught} == {"Margin"}
    loss, users = taught[-1], torch.tensor([1, 2])
    items = loss.lists[users]
    scores, total = loss.scores(users, items), 0.0
    for listed, row in zip(items.tolist(), scores.tolist(), strict=True):
        for place, (above, below) in enumerate(zip(row, row[1:], strict=False)):
            total += max(0.0, 0.1 - above + below) if listed[place + 1] else 0.0
    assert loss(users).item() == pytest.approx(total, rel=1e-5)


def test_no_file_of_a_run_makes_the_program_import_anything(tiny_folder, tmp_path):
    run_dir = tmp_path / "run"
    keys = {"plugins": ["my_ideas"], "strategy": "averaged", "base": "plain", "data_path": str(tiny_folder)}
    expected = run_ccd(config_dict={**QUICK, **keys, "run_dir": str(run_dir)}).to_dict()
    with pytest.raises(RunError, match="code of my_ideas, which no file may name; give --plugins=my_ideas"):
        resume(run_dir)
    assert resume(run_dir, argv=["--plugins=my_ideas"]).to_dict()["metrics"] == expected["metrics"]
    with pytest.raises(ConfigError, match="unknown strategy 'averaged'"):
        resume(run_dir, argv=["--plugins=~"])
    new = tmp_path / "new.inter"
    write_inter(new, tiny_rows(seed=1, n=600))
    updated = update(run_dir, new, argv=["--plugins=my_ideas"], allow_repeated=True)
    assert updated.to_dict()["n_blocks"] == expected["n_blocks"] + 1
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    assert config["plugins"] and config["averaged_keep"] == 0.5
    assert load_student(run_dir).recommend(["u1"], k=3)["source"].tolist() == ["student"] * 3


def test_a_model_of_ones_own(tiny_folder, tmp_path, monkeypatch):
    (_, code) = next(block for block in blocks(PAGE, "python") if "run_ccd(model=ShortBPR" in block[1])
    seen = {}

    def quick(model, config_dict):
        keys = {**QUICK, "strategy": "static", "base": "plain", "block_ratios": [0.6, 0.4], **config_dict}
        keys |= {"data_path": str(tiny_folder), "run_dir": str(tmp_path / "run")}
        keys.pop("model")
        seen["result"] = run_ccd(model=model, config_dict=keys)
        return seen["result"]

    monkeypatch.setattr("recbole_ccd.run_ccd", quick, raising=False)
    exec(compile(code, PAGE, "exec"), {})
    document = seen["result"].to_dict()
    assert (document["model"], document["config"]["length_weight"]) == ("ShortBPR", 0.1)
    assert document["config"]["embedding_size"] == 8


def test_keys_of_a_module_are_settings_like_ours():
    several = {"plugins": "my_ideas", "near_past_weight": 0.5}
    several["strategy_args"] = {"averaged": {"averaged_keep": 1.0}}
    config = CCDConfig(config_dict={**several, "strategy": "averaged"})
    assert (config["averaged_keep"], config["new_entity_initialization"]) == (1.0, "random")
    assert CCDConfig(config_dict={**several, "strategy": "near_past"})["near_past_weight"] == 0.5
    assert CCDConfig(config_dict={"plugins": "my_ideas"})["distill_margin"] == 0.1
    refused(
        "averaged_kep", "did you mean 'averaged_keep'", config_dict={"plugins": "my_ideas", "averaged_kep": 1}
    )
    refused("averaged_keep is 'x'", config_dict={**several, "strategy": "averaged", "averaged_keep": "x"})
    refused("distill_loss is 'margin'", config_dict={"distill_loss": "margin"})
    refused("unknown key 'averaged_keep'", config_dict={"averaged_keep": 0.5})


BASE = """
from recbole_ccd.strategy.continual import ContinualStrategy

class Mine(ContinualStrategy):
    settings = {}
    def learn(self, stage, student, old):
        pass

"""
WRONG = {
    "nothing": ("x = 1", "has neither STRATEGIES nor USER_LOSSES; give it one of them"),
    "broken": ("x = ", "cannot be imported (SyntaxError:"),
    "raising": ("raise RuntimeError('late')", "cannot be imported (RuntimeError: late); correct it"),
    "no_dictionary": ("STRATEGIES = [1]", "STRATEGIES is no dictionary; make it one"),
    "no_class": ("STRATEGIES = {'mine': 1}", "has 'mine', which is no class derived from recbole_ccd.str"),
    "no_loss": (f"{BASE}USER_LOSSES = {{'mine': Mine}}", "no class derived from recbole_ccd.trainer."),
    "no_name": (f"{BASE}STRATEGIES = {{'my own': Mine}}", "has the key 'my own', which is no name"),
    "ours": (f"{BASE}STRATEGIES = {{'ccd': Mine}}", "has 'ccd', which is one of ours; give it another"),
    "lacking": (f"{BASE}STRATEGIES = {{'mine': ContinualStrategy}}", "has 'mine', which lacks learn; write"),
    "fixed": (
        f"{BASE}Mine.settings = {{'graph': 'block'}}\nSTRATEGIES = {{'mine': Mine}}",
        "mine has settings with graph, in which strategies cannot differ; leave it out",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_modules_that_cannot_be_used(case, ideas, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, (code, message) = f"wrong_{case}", WRONG[case]
    (ideas / f"{name}.py").write_text(code, encoding="utf-8")
    refused(f"plugins: {name} (command line)", message, argv=[f"--plugins={name}"])
    assert main([f"--plugins={name}"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: plugins: {name} (command line)") and shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_modules_that_are_not_there():
    refused("plugins: no_such (command line) cannot be imported", "PYTHONPATH", argv=["--plugins=no_such"])
    for value in ("my ideas", "../my_ideas", [], 3, [3], ""):
        refused("plugins is", "give names of modules", config_dict={"plugins": value})
    refused("unknown strategy 'mine'", config_dict={"plugins": "my_ideas", "strategy": "mine"})
    with pytest.raises(ConfigError, match="choose one of: .*averaged, near_past"):
        compare(config_dict={"plugins": "my_ideas", "strategy": ["ccd", "mine"]})
    assert "averaged" not in names_of("strategy")
