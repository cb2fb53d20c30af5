"""docs/extending.md: its code, as a reader would run it, and what can be wrong with a module of one's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
import yaml

from recbole_ccd import CCDConfig, ConfigError, RunError, compare, load_student, resume, run_ccd, update
from recbole_ccd.cli import main
from recbole_ccd.config.catalogue import names_of
from recbole_ccd.registry import KINDS, registered
from recbole_ccd.strategy import strategy_class
from tests.config.refused import refused
from tests.conftest import SMALL, SMALL_CCD, tiny_rows, write_inter
from tests.documents import REPOSITORY, module, program_arguments
from tests.model.small_models import small_model
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of
from tests.strategy.runs import noted_plugins, recorded

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
    """The module of the page, and the tests of it, where Python finds them."""
    folder = tmp_path_factory.mktemp("ideas")
    for name in ("my_ideas", "test_my_ideas"):
        (folder / f"{name}.py").write_text(module(PAGE, f"{name}.py"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in ("my_ideas", "test_my_ideas"):
        sys.modules.pop(name, None)


@pytest.fixture
def settings(tiny_folder, tmp_path):
    """What makes the page's commands quick, as an argument."""
    file = tmp_path / "quick.yaml"
    file.write_text(yaml.safe_dump({**QUICK, "data_path": str(tiny_folder)}), encoding="utf-8")
    return f"--config_files={file}"


@pytest.fixture
def run_page(settings, tmp_path):
    """Runs the command of the page that holds an argument; gives its result."""

    def run(part, *more):
        (arguments,) = (given for given in program_arguments(PAGE) if part in given)
        run_dir = tmp_path / "run"
        assert main([*arguments, settings, *more, f"--run_dir={run_dir}"]) == 0
        name = "comparison.json" if (run_dir / "comparison.json").is_file() else "result.json"
        return json.loads((run_dir / name).read_text(encoding="utf-8"))

    return run


def test_every_kind_is_on_the_page():
    named = {kind: set(registered(kind, "my_ideas")) - set(registered(kind)) for kind in KINDS}
    assert named == {
        "strategy": {"averaged", "short"},
        "distillation loss": {"margin"},
        "replay scheme": {"latest"},
        "regularizer": {"near_past"},
        "model": {"ShortBPR"},
    }


def test_strategies_of_ones_own_are_compared_with_ours(run_page, tmp_path, monkeypatch):
    noted = noted_plugins(monkeypatch)
    run_page("--regularizer=near_past", "--student_update_learning_rate=0.05", "--epochs=3")
    # both are under the regularizer, in each of two blocks
    assert [type(plugin).__name__ for _, plugin in noted] == ["NearPast"] * 4
    rows = {
        name: json.loads((tmp_path / "run" / f"{name}-2020" / "result.json").read_text(encoding="utf-8"))
        for name in ("fine_tune", "averaged")
    }
    R = {name: rows[name]["metrics"]["recall@5"]["student"]["R"] for name in rows}
    assert R["averaged"][0] == R["fine_tune"][0] and R["averaged"] != R["fine_tune"]


def test_averaging_is_what_the_page_says(make_config, tiny_stream):
    keys = {"plugins": "my_ideas", "strategy": "averaged", "base": "plain", "averaged_keep": 1.0}
    config = make_config("BPR", **keys)
    strategy = recorded(strategy_class(config))(config)
    strategy.run(tiny_stream)
    base, *_, last = (states["student"]["user_embedding.weight"] for states in strategy.states)
    # all the way back: who was known at first is what the base student was
    assert torch.equal(last[: len(base)], base) and len(last) > len(base)


@pytest.mark.parametrize("part", ["--distill_loss=margin", "--distill_loss=[rrd, margin]"])
def test_a_loss_of_ones_own_teaches(run_page, part):
    document = run_page(part, "--block_ratios=[0.6, 0.4]")
    assert document["config"]["distill_margin"] == 0.1
    assert "margin" in document["config"]["distill_loss"]


def test_the_margin_is_what_the_page_says(make_config, tiny_stream):
    config, model = small_model(make_config, "BPR", tiny_stream[0], plugins="my_ideas")
    kind, rankings = registered("distillation loss", "my_ideas")["margin"], fixed_teacher(tiny_stream[0])
    rankings = rankings_of(tiny_stream[0], rankings, short=(1,))
    loss, users = kind(config, model, rankings, tiny_stream[0].train_matrix, seed=0), torch.tensor([1, 2])
    items = loss.lists[users]
    total = 0.0
    for listed, row in zip(items.tolist(), loss.scores(users, items).tolist(), strict=True):
        for place, (above, below) in enumerate(zip(row, row[1:], strict=False)):
            total += max(0.0, 0.1 - above + below) if listed[place + 1] else 0.0
    assert loss.user_loss(users).item() == pytest.approx(total, rel=1e-5) and total > 0


def test_a_replay_scheme_of_ones_own_replays(run_page, monkeypatch, make_config, tiny_stream):
    noted = noted_plugins(monkeypatch)
    assert run_page("--replay=latest")["config"]["latest_size"] == 500
    assert {type(plugin).__name__ for _, plugin in noted} == {"LatestReplay"}
    config = make_config(plugins="my_ideas", strategy="fine_tune", replay="latest", latest_size=7)
    block = tiny_stream[2]
    extended = registered("replay scheme", "my_ideas")["latest"].extend(block, config)
    assert len(extended.train) == len(block.train) + 7


def test_a_plugin_that_a_strategy_adds_itself(make_config, tiny_stream, monkeypatch):
    noted = noted_plugins(monkeypatch)
    config = make_config("BPR", plugins="my_ideas", strategy="short", base="plain")
    strategy_class(config)(config).run(tiny_stream)
    assert [type(plugin).__name__ for _, plugin in noted] == ["ShortItems"] * 2
    refused(
        "strategy short regularizes nothing",
        config_dict={"plugins": "my_ideas", "strategy": "short", "regularizer": "near_past"},
    )


def test_no_file_of_a_run_makes_the_program_import_anything(tiny_folder, tmp_path):
    run_dir = tmp_path / "run"
    keys = {"plugins": ["my_ideas"], "strategy": "averaged", "base": "plain", "data_path": str(tiny_folder)}
    keys |= {"model": "ShortBPR", "regularizer": "near_past"}
    expected = run_ccd(config_dict={**QUICK, **keys, "run_dir": str(run_dir)}).to_dict()
    with pytest.raises(RunError, match="code of my_ideas, which no file may name; give --plugins=my_ideas"):
        resume(run_dir)
    assert resume(run_dir, argv=["--plugins=my_ideas"]).to_dict()["metrics"] == expected["metrics"]
    with pytest.raises(ConfigError, match="unknown model 'ShortBPR'"):
        resume(run_dir, argv=["--plugins=~"])
    new = tmp_path / "new.inter"
    write_inter(new, [(user, item, time + 1000) for user, item, time in tiny_rows(seed=1, n=600)])
    updated = update(run_dir, new, argv=["--plugins=my_ideas"], allow_repeated=True)
    assert updated.to_dict()["n_blocks"] == expected["n_blocks"] + 1
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    assert config["plugins"] and config["averaged_keep"] == 0.5
    assert load_student(run_dir).recommend(["u1"], k=3)["source"].tolist() == ["student"] * 3


def test_a_model_of_ones_own(run_page):
    document = run_page("--model=ShortBPR", "--strategy=static", "--base=plain", "--block_ratios=[0.6, 0.4]")
    assert (document["model"], document["config"]["length_weight"]) == ("ShortBPR", 0.1)
    assert document["config"]["embedding_size"] == 8


def test_a_member_of_ones_own(run_page):
    document = run_page("--teacher_models=[ShortBPR, LightGCN]", "--block_ratios=[0.6, 0.4]", "--epochs=1")
    assert document["config"]["teacher_args"]["length_weight"] == 0.1
    assert document["config"]["teacher_models"] == ["ShortBPR", "LightGCN"]


def test_settings_of_a_members_class(make_config):
    keys = {"plugins": "my_ideas", "teacher_models": ["ShortBPR", "BPR"]}
    config = make_config("BPR", **keys, teacher_args={"length_weight": 0.3, "embedding_size": 16})
    members = [config.for_member(m) for m in range(2)]
    assert [member.model_class.__name__ for member in members] == ["ShortBPR", "BPR"]
    assert members[0]["length_weight"] == 0.3 and "length_weight" not in members[1]
    plain = make_config("BPR", **keys, teacher_args={"embedding_size": 16})
    assert plain.for_member(0)["length_weight"] == 0.01
    refused(
        "teacher_args.ShortBPR.length_weight is 'x'",
        "a finite number",
        config_dict={**keys, "teacher_args": {"ShortBPR": {"length_weight": "x"}}},
    )
    refused("unknown key 'teacher_args.length_weight'", config_dict={"teacher_args": {"length_weight": 1.0}})


def test_a_class_that_python_is_given(tiny_folder, tmp_path):
    from my_ideas import ShortBPR

    class Nameless(ShortBPR):
        """It derives from a registered class, and is not registered."""

    keys = {**QUICK, "strategy": "static", "base": "plain", "block_ratios": [0.6, 0.4]}
    del keys["model"]
    for model in (ShortBPR, Nameless):
        where = {"data_path": str(tiny_folder), "run_dir": str(tmp_path / model.__name__)}
        result = run_ccd(model=model, config_dict={**keys, **where, "length_weight": 0.2}).to_dict()
        assert (result["model"], result["config"]["length_weight"]) == (model.__name__, 0.2)


def test_keys_of_a_module_are_settings_like_ours():
    several = {"plugins": "my_ideas", "near_past_weight": 0.5}
    several["strategy_args"] = {"averaged": {"averaged_keep": 1.0, "latest_size": 7}}
    config = CCDConfig(config_dict={**several, "strategy": "averaged"})
    assert (config["averaged_keep"], config["new_entity_initialization"]) == (1.0, "random")
    assert config["near_past_weight"] == 0.5 and config["latest_size"] == 7
    assert CCDConfig(config_dict={**several, "strategy": "fine_tune"})["latest_size"] == 500
    # the models of the base block, which compared strategies share, depend on it
    own = {"strategy_args": {"ccd": {"distill_margin": 0.5}}}
    refused("strategy_args.ccd.distill_margin", config_dict={"plugins": "my_ideas", **own})
    assert CCDConfig(config_dict={"plugins": "my_ideas"})["distill_margin"] == 0.1
    refused(
        "averaged_kep", "did you mean 'averaged_keep'", config_dict={"plugins": "my_ideas", "averaged_kep": 1}
    )
    refused("averaged_keep is 'x'", config_dict={**several, "strategy": "averaged", "averaged_keep": "x"})
    refused("distill_loss is 'margin'", config_dict={"distill_loss": "margin"})
    refused("regularizer is 'near_past'", config_dict={"regularizer": "near_past", "plugins": None})
    refused("unknown key 'averaged_keep'", config_dict={"averaged_keep": 0.5})
    refused("unknown key 'near_past_weight'", config_dict={"near_past_weight": 0.5})


def test_a_strategy_begins_with_the_settings_of_the_one_it_derives_from(ideas):
    code = """
        from recbole_ccd import register
        from recbole_ccd.strategy.ccd import CCD
        from my_ideas import Averaged

        @register("ccd_of_mine")
        class Mine(CCD):
            settings = {"student_replay_weight": 0.25, "mine": 1}

        @register("averaged_more")
        class More(Averaged):
            settings = {"averaged_keep": 0.9}
    """
    write_module(ideas, "derived", code)
    config = CCDConfig(config_dict={"plugins": "derived", "strategy": "ccd_of_mine"})
    ours = CCDConfig()
    assert (config["student_replay_weight"], config["mine"]) == (0.25, 1)
    assert config["replay"] == "proxy_guided" and config["proxies"] == ours["proxies"]
    more = CCDConfig(config_dict={"plugins": "derived", "strategy": "averaged_more"})
    assert (more["averaged_keep"], more["new_entity_initialization"]) == (0.9, "random")


@pytest.mark.slow
def test_the_tests_of_the_page_pass(ideas):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_ideas.py"],
        cwd=ideas,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{ideas}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout[-2000:]


DROPPED = {
    "plugin/distillation/of_mine.py": """
        from recbole_ccd.plugin.distillation.base import DistillationLoss
        from recbole_ccd.registry import register

        @register("new_loss")
        class NewLoss(DistillationLoss):
            settings = {"new_loss_scale": 2.0}

            def user_loss(self, users):
                return self.config["new_loss_scale"] * self.scores(users, self.lists[users]).square().sum()
    """,
    "plugin/replay/of_mine.py": """
        from recbole_ccd.plugin.replay.base import ReplayScheme
        from recbole_ccd.registry import register

        @register("new_scheme")
        class NewScheme(ReplayScheme):
            def history(self):
                return {"new_rows": self.config["new_rows"]}
    """,
    "plugin/regularization/of_mine.py": """
        from recbole_ccd.plugin.regularization.base import Regularizer
        from recbole_ccd.registry import register

        @register("new_regularizer")
        class NewRegularizer(Regularizer):
            def history(self):
                return {"new_weight": self.config["new_weight"]}
    """,
    "strategy/of_mine.py": """
        from recbole_ccd.registry import register
        from recbole_ccd.strategy.continual import ContinualStrategy

        @register("new_strategy")
        class NewStrategy(ContinualStrategy):
            settings = {"new_in_class": 1}
    """,
    "model/of_mine.py": """
        from recbole.model.general_recommender import BPR
        from recbole_ccd.registry import register

        @register("NewModel")
        class NewModel(BPR):
            settings = {"new_of_model": 3}
    """,
}
KEYS = """
new_rows: 5                     # (int) Has no row in the table of checks.
new_weight: 0.5                 # (float) Nor has this one.
"""
CHOSEN = {
    "distill_loss": "new_loss",
    "replay": "new_scheme",
    "regularizer": "new_regularizer",
    "strategy": "new_strategy",
    "model": "NewModel",
}
TRY = """
import json, sys
from recbole_ccd import CCDConfig, ConfigError, run_ccd
given = json.loads(sys.argv[1])
wrong = {"new_rows": 1.5, "strategy_args": {"ccd": {"new_loss_scale": 1.0}}}
wrong |= dict.fromkeys(("new_weight", "new_loss_scale", "new_in_class", "new_of_model"), "x")
messages = {}
for key, value in wrong.items():
    try:
        CCDConfig(config_dict={**given, key: value})
    except ConfigError as error:
        messages[key] = str(error)
result = run_ccd(config_dict={**given, "new_weight": 0.75}).to_dict()
print(json.dumps({"messages": messages, "result": result}))
"""


def test_one_file_of_each_kind_in_the_package_is_enough(tmp_path, tiny_folder):
    for name in ("recbole_ccd", "properties"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in DROPPED.items():
        write_module(tmp_path / "recbole_ccd" / Path(name).parent, Path(name).stem, code)
    with (tmp_path / "properties" / "learning.yaml").open("a", encoding="utf-8") as file:
        file.write(KEYS)
    given = {**QUICK, **CHOSEN, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "run")}
    done = subprocess.run(
        [sys.executable, "-c", TRY, json.dumps(given)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    config, stages = found["result"]["config"], found["result"]["stages"]
    assert {key: config[key] for key in CHOSEN} == CHOSEN
    assert (config["new_rows"], config["new_in_class"], config["new_of_model"]) == (5, 1, 3)
    updates = [stage for stage in stages if stage["stage"] == "student_update"]
    assert [(stage["new_rows"], stage["new_weight"]) for stage in updates] == [(5, 0.75)] * 2
    messages = found["messages"]
    own = "unknown key 'strategy_args.ccd.new_loss_scale' (config_dict): strategies cannot differ in it"
    assert messages.pop("strategy_args").startswith(own)
    # by the type of its default
    assert messages["new_rows"] == "new_rows is 1.5 (config_dict), which cannot be used; give an integer"
    assert len(messages) == 5 and all("cannot be used; give a" in message for message in messages.values())


def write_module(folder, name, code):
    """Writes a module of indented code."""
    (folder / f"{name}.py").write_text(dedent(code).lstrip(), encoding="utf-8")


BASE = """
from recbole_ccd import DistillationLoss, Regularizer, register
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.continual import ContinualStrategy

"""
MINE = "class Mine(ContinualStrategy):\n    settings = {}\n"
WRONG = {
    "nothing": ("x = 1", "registers nothing; put @register(NAME) above a class of yours"),
    "nothing_of_its_own": (BASE, "registers nothing; put @register(NAME) above a class of yours"),
    "broken": ("x = ", "cannot be imported (SyntaxError:"),
    "raising": ("raise RuntimeError('late')", "cannot be imported (RuntimeError: late); correct it"),
    "no_kind": (
        f"{BASE}@register('mine')\nclass Mine: pass",
        "registers 'mine', which derives from nothing that can be chosen; derive it from one of: Strategy, ",
    ),
    "no_name": (f"{BASE}@register('my own')\n{MINE}", "registers 'my own', which is no name; write it as a"),
    "no_text": (f"{BASE}@register(3)\n{MINE}", "registers 3, which is no name; write it as a Python name"),
    "ours": (f"{BASE}@register('ccd')\n{MINE}", "registers 'ccd', which is one of ours; give it another"),
    "our_loss": (
        f"{BASE}@register('kl')\nclass Mine(DistillationLoss):\n    def user_loss(self, users): pass",
        "registers 'kl', which is one of ours; give it another name",
    ),
    "our_model": (
        "from recbole.model.general_recommender import BPR\nfrom recbole_ccd import register\n"
        "@register('LightGCN')\nclass Mine(BPR): pass",
        "registers 'LightGCN', which is one of ours; give it another name",
    ),
    "recboles_model": (
        "from recbole.model.general_recommender import BPR\nfrom recbole_ccd import register\n"
        "@register('NeuMF')\nclass Mine(BPR): pass",
        "registers 'NeuMF', which is a model of RecBole's; give it another name",
    ),
    "lacking": (
        f"{BASE}@register('mine')\nclass Mine(Strategy): pass",
        "registers 'mine', which lacks train_block; write",
    ),
    "fixed": (
        f"{BASE}@register('mine')\n{MINE}    settings = {{'graph': 'block'}}",
        "mine has settings with graph, in which strategies cannot differ; leave it out",
    ),
    "ours_in_a_loss": (
        f"{BASE}@register('mine')\nclass Mine(Regularizer):\n    settings = {{'lwc_kd_weight': 1.0}}",
        "mine has settings with lwc_kd_weight, which is a key of ours; give its own another name",
    ),
    "twice": (
        f"{BASE}@register('mine')\n{MINE}\n@register('mine')\nclass Other(ContinualStrategy): pass",
        "registers 'mine' for Other, and wrong_twice for Mine; give one of them another name",
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
    refused(
        "unknown model 'ShortBpr'", "'ShortBPR'", config_dict={"plugins": "my_ideas", "model": "ShortBpr"}
    )
    with pytest.raises(ConfigError, match="choose one of: averaged, ccd, .*, short, sml, static"):
        compare(config_dict={"plugins": "my_ideas", "strategy": ["ccd", "mine"]})
    assert "averaged" not in names_of("strategy")
