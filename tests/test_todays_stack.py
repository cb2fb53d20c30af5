"""RecBole beside newer numpy, scipy and pandas, and without what it demands and nothing here needs."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from recbole.config import Config
from recbole.evaluator.metrics import GAUC, MAP, MRR, NDCG
from recbole.model import general_recommender

import recbole_ccd
from recbole_ccd import CCDConfig
from recbole_ccd.compat import _FilledAtOnce, repaired_evaluator
from recbole_ccd.config.catalogue import model_class
from recbole_ccd.utils import requirements
from recbole_ccd.utils.errors import RunError

# what RecBole's Config assigns, and numpy 2 or 1.26 lacks
ASSIGNED = ("bool", "int", "float", "complex", "object", "str", "long", "unicode")


@pytest.fixture
def bare_numpy(monkeypatch):
    """numpy without the names that RecBole may have assigned to it before."""
    for name in ASSIGNED:
        if name in vars(np) and not (name in ("bool", "long") and np.__version__ >= "2"):
            monkeypatch.delattr(np, name)
    return np


def test_nothing_is_assigned_on_numpy(bare_numpy):
    before = dict(vars(bare_numpy))
    CCDConfig()
    assert dict(vars(bare_numpy)) == before


def test_recboles_config_would_assign_or_end(bare_numpy, monkeypatch):
    for name in ASSIGNED:
        monkeypatch.setattr(np, name, None, raising=False)
    try:
        Config.compatibility_settings(None)
    except AttributeError as error:
        assert re.search("float_|complex_|unicode_", str(error))
    else:
        assert np.float is np.float64


# two users with lists of three: hits at the second place, and at the first and third of two and five wanted
HITS = np.array([[0, 1, 0], [1, 0, 1]], dtype=bool)
WANTED = np.array([2, 5])


@pytest.mark.parametrize(
    ("metric", "given", "expected"),
    [
        (MRR, (HITS,), [[0, 1 / 2, 1 / 2], [1, 1, 1]]),
        (MAP, (HITS, WANTED), [[0, 1 / 4, 1 / 4], [1, 1 / 2, (1 + 2 / 3) / 3]]),
        (
            NDCG,
            (HITS, WANTED),
            [
                [0, 1 / np.log2(3) / (1 + 1 / np.log2(3)), 1 / np.log2(3) / (1 + 1 / np.log2(3))],
                [1, 1 / (1 + 1 / np.log2(3)), 1.5 / (1.5 + 1 / np.log2(3))],
            ],
        ),
        # descending ranks 2 of 5 candidates, and 1 + 3 of 4
        (GAUC, (np.array([[2.0], [4.0]]), np.array([5, 4]), np.array([1, 2])), (1 * 3 / 4 + 2 * 3 / 4) / 3),
    ],
)
def test_metrics_do_without_names_that_numpy_lacks(metric, given, expected, bare_numpy):
    name = metric.__name__
    chosen = {"metrics": [name], "topk": [3], "valid_metric": name if name == "GAUC" else f"{name}@3"}
    repaired = repaired_evaluator(CCDConfig(config_dict=chosen)).metric_class[name.lower()]
    assert isinstance(repaired, metric)
    np.testing.assert_allclose(repaired.metric_info(*given), expected)


INTERACTIONS = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 0]], dtype=np.float32)


def adjacency():
    """The graph of three users and as many items, of which the first are [PAD]."""
    nothing = np.zeros_like(INTERACTIONS)
    return np.block([[nothing, INTERACTIONS], [INTERACTIONS.T, nothing]])


def of_model(name):
    """What a model's method finds in the model."""
    matrix = sp.coo_matrix(INTERACTIONS)
    own = {"get_eye_mat": lambda size: torch.eye(size).to_sparse(), "device": torch.device("cpu")}
    return SimpleNamespace(n_users=3, n_items=3, interaction_matrix=matrix, **own)


@pytest.mark.parametrize("name", ["GCMC", "NCL", "NGCF", "SpectralCF"])
def test_models_build_their_graphs(name):
    model, degree = model_class(name, "a test"), adjacency().sum(axis=1) + 1e-7
    assert model.__name__ == name and issubclass(model, getattr(general_recommender, name))
    build = getattr(model, "get_laplacian_matrix" if name == "SpectralCF" else "get_norm_adj_mat")
    graph = build(of_model(name)).to_dense().numpy()
    if name == "SpectralCF":
        expected = np.eye(6) - adjacency() / degree[:, None]
    else:
        expected = adjacency() / np.sqrt(degree[:, None] * degree)
    np.testing.assert_allclose(graph, expected, rtol=1e-6)


@pytest.mark.skipif(hasattr(sp.dok_matrix, "_update"), reason="scipy < 1.13 has it")
def test_recboles_own_graphs_end_with_newer_scipy():
    with pytest.raises(AttributeError, match="_update"):
        general_recommender.NGCF.get_norm_adj_mat(of_model("NGCF"))


def test_a_matrix_filled_at_once_is_what_an_entry_at_a_time_gives():
    filled, set_singly = _FilledAtOnce((3, 3), dtype=np.float32), sp.dok_matrix((3, 3), dtype=np.float32)
    filled._update({(0, 1): 1, (2, 2): 5})
    set_singly[0, 1], set_singly[2, 2] = 1, 5
    assert filled.dtype == np.float32 and (filled.toarray() == set_singly.toarray()).all()


def test_without_recbole_is_said_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "recbole", None)
    with pytest.raises(
        RunError, match="RecBole is not installed .*; type: pip install --no-deps recbole==1.2.1"
    ):
        _ = recbole_ccd.run_ccd


def test_another_recbole_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "recbole", SimpleNamespace(__version__="1.1.1"))
    with pytest.raises(RunError, match="RecBole is of version 1.1.1, not 1.2.1; type: pip install"):
        requirements.check_recbole()


WITHOUT = """
import sys
for name in {missing!r}: sys.modules[name] = None
from recbole_ccd.cli import main
sys.exit(main({arguments!r}))
"""


def program(*arguments, missing, folder):
    """Runs the program as if some packages were not installed."""
    code = WITHOUT.format(missing=missing, arguments=list(arguments))
    paths = os.pathsep.join(path for path in sys.path if os.path.isdir(path))
    surroundings = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder, env=surroundings, capture_output=True, text=True,
    )  # fmt: skip


def test_the_program_says_so_in_one_line(tmp_path):
    done = program("--epochs=1", missing=["recbole"], folder=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: RecBole is not installed")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith(
        "; type: pip install --no-deps recbole==1.2.1\n"
    )
    assert program("--help", missing=["recbole"], folder=tmp_path).returncode == 0


NOT_NEEDED = ["ray", "hyperopt", "pkg_resources", "thop", "psutil"]


@pytest.mark.slow
def test_a_run_needs_nothing_but_what_is_required(tmp_path, tiny_folder):
    settings = {
        "model": "BPR", "dataset": "tiny", "data_path": tiny_folder, "strategy": "fine_tune", "base": "plain",
        "epochs": 1, "block_ratios": "[0.6,0.4]", "topk": "[5]", "valid_metric": "Recall@5",
        "run_dir": "run", "write_report": False,
    }  # fmt: skip
    arguments = [f"--{key}={'~' if value is None else value}" for key, value in settings.items()]
    done = program(*arguments, missing=NOT_NEEDED, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").is_file()
