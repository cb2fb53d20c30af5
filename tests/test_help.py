"""``--help``: it names the program as it was started, and explains the keys of a topic."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_ccd.cli import main
from recbole_ccd.config.catalogue import names_of, properties_dir
from recbole_ccd.config.options import sections, topic_sections, topics
from recbole_ccd.utils.commands import TOPICS

REPOSITORY = Path(__file__).parents[1]


def execute(command, folder=REPOSITORY):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONWARNINGS", None)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def keys_of(topic):
    return [option.key for section in topic_sections(topic) for option in section.options]


def test_the_program_is_named_as_it_was_started(tmp_path):
    console_script = tmp_path / "recbole_ccd"
    console_script.write_text("import sys\nfrom recbole_ccd.cli import main\nsys.exit(main())\n")
    for command, name in (
        (["run_ccd.py"], "python run_ccd.py"),
        (["-m", "recbole_ccd"], "python -m recbole_ccd"),
        ([str(console_script)], "recbole_ccd"),
    ):
        done = execute([sys.executable, *command, "--help"])
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[:2] == [f"usage: {name} [--key=value ...]", f"       {name} --tune=FILE ..."]
        assert all(topic in " ".join(lines) for topic in TOPICS)


def test_a_topic_lists_its_keys_with_values_default_and_meaning(tmp_path):
    done = execute([sys.executable, "-m", "recbole_ccd", "--help=distillation"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert (
        "  distill_top_k\n"
        "      Length of the teacher's lists: items of a user, users of an item.\n"
        "      values: an integer >= 1; default: 40\n"
    ) in done.stdout
    assert "values: one of: unseen, seen_first; default: unseen" in done.stdout
    keys = [
        line.strip() for line in done.stdout.splitlines() if line[:3].startswith("  ") and line[2:3] != " "
    ]
    assert keys == keys_of("distillation")


def test_a_topic_may_be_the_next_argument(capsys):
    for arguments in (["--help", "stream"], ["-h", "stream"], ["--help=stream", "--epochs=3"]):
        assert main(arguments) == 0
        assert "  block_ratios\n" in capsys.readouterr().out


@pytest.mark.parametrize("topic", ["distilation", "tune", "\n", "../overall"])
def test_an_unknown_topic_ends_with_the_topics_in_one_line(topic, capsys):
    assert main([f"--help={topic}"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"error: unknown topic {topic!r} of --help (command line); give one of: {', '.join(topics())}\n"
    )


def test_every_key_of_ours_belongs_to_a_topic():
    assert topics()[: len(TOPICS)] == list(TOPICS) and set(names_of("strategy")) < set(topics())
    shown = {topic: keys_of(topic) for topic in topics()}
    for name in ("overall", "learning"):
        keys = yaml.safe_load((properties_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
        for key in keys:
            assert any(key in shown[topic] for topic in TOPICS), key
    for strategy in names_of("strategy"):
        keys = yaml.safe_load(
            (properties_dir() / "strategy" / f"{strategy}.yaml").read_text(encoding="utf-8")
        )
        assert set(keys or ()) <= set(shown[strategy])
    assert "distill_top_k" in shown["distillation"] and "student_replay_weight" in shown["replay"]
    assert shown["recbole"] and not set(shown["recbole"]) & set(shown["run"])


def test_a_later_files_default_is_shown():
    (base,) = (o for s in topic_sections("training") for o in s.options if o.key == "base_learning_rate")
    found = sections(properties_dir() / "learning.yaml")
    (later,) = (o for s in found for o in s.options if o.key == "base_learning_rate")
    assert base.default == later.default != "~"


def test_an_entry_of_a_dictionary_has_the_default_that_our_files_give_it():
    shown = {
        option.key: option.default for section in topic_sections("recbole") for option in section.options
    }
    ours = yaml.safe_load((properties_dir() / "overall.yaml").read_text(encoding="utf-8"))
    given = ours["train_neg_sample_args"]
    assert given and not {"distribution", "alpha"} & given.keys()
    for entry, value in given.items():
        assert yaml.safe_load(shown[f"train_neg_sample_args.{entry}"]) == value
    # RecBole's own
    assert shown["train_neg_sample_args.distribution"] == "uniform"
