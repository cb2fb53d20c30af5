"""A file of RecBole's HyperTuning: what is read, and what is drawn."""

import math
from collections import Counter

import numpy as np
import pytest

from recbole_ccd.experiment.search import read_space
from recbole_ccd.experiment.search.space import nested
from recbole_ccd.utils.errors import ConfigError

# the example of RecBole's documentation, and what else people write
TEXT = """\
learning_rate loguniform -8,0
embedding_size choice [64,96 ,128]   # a comment

# another one
mlp_hidden_size choice ['[64,64,64]','[128,128]']
dropout_prob uniform 0.0, 0.5
student_updates_per_block quniform 1,5,2
teacher_args.learner choice [adam, 'sgd']
piw choice (True, False)
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def reader(text):
        (tmp_path / "space.hyper").write_text(text, encoding="utf-8")
        return read_space("space.hyper")

    return reader


def test_what_is_read(read):
    space = read("\ufeff" + TEXT)
    found = {d.name: (d.entry.kind, d.entry.options or (d.entry.low, d.entry.high)) for d in space.dimensions}
    assert found == {
        "learning_rate": ("loguniform", (-8, 0)),
        "embedding_size": ("choice", (64, 96, 128)),
        "mlp_hidden_size": ("choice", ([64, 64, 64], [128, 128])),
        "dropout_prob": ("uniform", (0.0, 0.5)),
        "student_updates_per_block": ("quniform", (1, 5)),
        "teacher_args.learner": ("choice", ("adam", "sgd")),
        "piw": ("choice", (True, False)),
    }
    assert [d.source for d in space.dimensions][:3] == [f"space.hyper, line {n}" for n in (1, 2, 5)]


def test_nothing_in_it_is_run(read, tmp_path):
    for code in ("[open('touched', 'w')]", "!!python/object/apply:os.system ['touch touched']"):
        with pytest.raises(ConfigError, match="no list of values"):
            read(f"epochs choice {code}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["space.hyper"]


def test_exhaustive_is_every_combination_once(read):
    space = read("a choice [1, 2]\nb.c choice [x, y, z]\n")
    trials = space.trials("exhaustive", None, seed=0)
    assert trials == [{"a": a, "b.c": c} for a in (1, 2) for c in "xyz"]
    assert [nested(trial) for trial in trials][:2] == [{"a": 1, "b": {"c": "x"}}, {"a": 1, "b": {"c": "y"}}]


def test_draws_have_the_distributions_of_hyperopt(read):
    text = "u uniform 2,4\nl loguniform -3,1\nq quniform 0.1,0.5,0.1\ni quniform 4,9,3\nc choice [5,6]\n"
    n = 1000
    trials = read(text).trials("random", n, seed=1)
    u, powers, q, i, c = ([trial[name] for trial in trials] for name in "ulqic")
    assert 2 <= min(u) < 2.02 and 3.98 < max(u) < 4 and abs(np.mean(u) - 3) < 0.06
    logs = np.log(powers)
    assert -3 <= logs.min() < -2.98 and 0.98 < logs.max() < 1 and abs(logs.mean() + 1) < 0.12
    # 0.3 and not 0.30000000000000004; those at the ends of the range are drawn half as often
    counted = Counter(q)
    assert sorted(counted) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert abs(counted[0.1] / n - 1 / 8) < 0.04 and abs(counted[0.3] / n - 1 / 4) < 0.04
    # 3 would be less than 4: multiples of 3 from 4 to 9, whole since all three are
    assert set(i) == {6, 9} and all(type(value) is int for value in i)
    assert abs(c.count(5) / n - 0.5) < 0.05


def test_a_draw_depends_on_seed_key_and_number_alone(read):
    line, other = "u uniform 0,1\n", "l loguniform -8,-2\n"
    few = read(line).trials("random", 3, seed=5)
    many = read(other + line).trials("random", 8, seed=5)
    assert [trial["u"] for trial in few] == [trial["u"] for trial in many[:3]]
    assert few != read(line).trials("random", 3, seed=6)
    assert len(read(line).trials("random", None, seed=5)) == 10


def test_no_draw_is_made_twice(read):
    trials = read("a choice [1, 2]\nb choice [3, 4]\n").trials("random", 10, seed=0)
    assert len(trials) == 4 and sorted(map(tuple, map(dict.values, trials))) == [
        (1, 3),
        (1, 4),
        (2, 3),
        (2, 4),
    ]


def test_a_logarithm_is_a_natural_one(read):
    (trial,) = read("l loguniform -0.000001,0\n").trials("random", 1, seed=0)
    assert math.isclose(trial["l"], 1, abs_tol=1e-5)


@pytest.mark.parametrize("n_trials", [0, 10_001])
def test_from_python_numbers_are_looked_at_too(read, n_trials):
    with pytest.raises(ConfigError, match=f"tune_trials is {n_trials}; give an integer"):
        read("a choice [1]\n").trials("random", n_trials, seed=0)
