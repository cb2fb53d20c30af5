"""No file that comes with a run directory or with data is ever a program: nothing is unpickled."""

import ast
import inspect
import os
import pickle
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from recbole.model import abstract_recommender, layers
from recbole.utils import get_model

import recbole_ccd
from recbole_ccd import load_student, run_ccd, update
from recbole_ccd.checkpoint import Manifest
from recbole_ccd.checkpoint.manifest import FileRecord
from recbole_ccd.cli import main
from recbole_ccd.config.catalogue import general_models, model_defaults, model_keys
from recbole_ccd.data.plain_pickle import _PlainUnpickler
from recbole_ccd.utils.atomic_files import digest_of, load_tensors, save_tensors
from recbole_ccd.utils.errors import CCDError, RunError
from tests.conftest import SMALL, few
from tests.strategy.runs import block_rows, write_files

# beside these, no model of RecBole's opens any file; with these settings they do
READERS = {
    "ConvNCF": {"train_method": "after_pretrain", "pre_model_path": "poison.pth"},
    "LDiffRec": {"n_cate": 2},
    "NAIS": {"pretrain_path": "poison.pth"},
    "NeuMF": {"use_pretrain": True, "mf_pretrain_path": "poison.pth", "mlp_pretrain_path": "poison.pth"},
    "RaCT": {"train_stage": "finetune", "pre_model_path": "poison.pth"},
}
# what of RecBole's outside of its models does
UNPICKLING = {"create_dataset", "load_split_dataloaders", "load_data_and_model", "resume_checkpoint"}
OPENING = {
    "load",
    "loads",
    "open",
    "read_csv",
    "read_pickle",
    "read_table",
    "read_json",
    "fromfile",
    "loadtxt",
}
MARK = "executed"
QUICK = {
    "epochs": 1,
    "strategy": "full_batch",
    "base": "plain",
    "block_ratios": [1.0],
    "load_col": {"inter": ["user_id", "item_id"]},
    "train_batch_size": 64,
}
SMALL_SIZES = {
    **dict.fromkeys(("latent_dimension", "hidden_dimension", "rank", "gcn_output_dim", "num_conv_kernel"), 8),
    **dict.fromkeys(("mlp_hidden_size", "dims_dnn", "in_dims", "hidden_size_list"), [8]),
    "encoder_hidden_size": [8],
    "k": 5,
}


class Poison:
    """Whoever unpickles it makes a folder."""

    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        return os.mkdir, (str(self.where),)


def calls_of(tree):
    """The names of all functions and methods that are called."""
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(function, "attr", getattr(function, "id", None)) for function in functions}


def test_only_known_models_of_recbole_open_files():
    opening = {}
    for name in general_models():
        modules = {inspect.getmodule(found) for found in get_model(name).__mro__} - {torch.nn.modules.module}
        sources = [inspect.getsource(m) for m in modules if m.__name__.startswith("recbole.")]
        opening[name] = set().union(*(calls_of(ast.parse(source)) for source in sources)) & OPENING
    assert {name for name, found in opening.items() if found} == READERS.keys()
    for module in (abstract_recommender, layers):
        assert not calls_of(ast.parse(inspect.getsource(module))) & OPENING


def test_this_package_unpickles_nothing():
    for path in Path(recbole_ccd.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not calls_of(tree) & UNPICKLING, path
        loads = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("load", "loads", "read_pickle")
            and getattr(node.func.value, "id", "") in ("torch", "np", "numpy", "pickle", "pd", "joblib")
        ]
        for call in loads:
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert ast.unparse(call.func) == "torch.load" and given["weights_only"] == "True", path


def test_pickles_machine_is_in_one_place_and_has_nothing_of_its_own_to_call():
    package = Path(recbole_ccd.__file__).parent
    using = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "pickle.Unpickler(" in (text := path.read_text(encoding="utf-8")) or "(pickle.Unpickler)" in text
    }
    assert using == {"data/plain_pickle.py"}
    assert "find_class" in vars(_PlainUnpickler) and "persistent_load" in vars(_PlainUnpickler)


def test_torch_is_new_enough_to_load_weights_alone():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert tuple(map(int, re.search(r'"torch>=(\d+)\.(\d+)"', text).groups())) >= (2, 6)


@pytest.fixture(autouse=True)
def unsafe_loading(tmp_path, monkeypatch):
    """Whoever does not say how to load is made to unpickle."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """A data_path with the data set ``own``, a file per block."""
    folder = tmp_path_factory.mktemp("blocks")
    write_files(folder, "own", {f"b{k}": rows for k, rows in enumerate(block_rows())})
    return folder


@pytest.fixture(scope="module")
def run_of(blocks, tmp_path_factory):
    """The directory of a run of a model on the first two blocks."""
    made = {}

    def run(model):
        if model not in made:
            sizes = {key: SMALL_SIZES[key] for key in model_keys(model) & SMALL_SIZES.keys()}
            size = {"embedding_size": 64 if model == "ConvNCF" else 8}
            sizes |= size if "embedding_size" in model_keys(model) else {}
            made[model] = folder = tmp_path_factory.mktemp("runs") / "run"
            data = {
                "data_path": str(blocks),
                "benchmark_filename": ["b0", "b1"],
                "block_ratios": None,
                "run_dir": str(folder),
            }
            run_ccd(model, "own", config_dict={**SMALL, **QUICK, **sizes, **data})
        return made[model]

    return run


def poisoned(folder, mark):
    """A folder with a program under each name that a model opens."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("item_emb.npy", "poison.pth"):
        (folder / name).write_bytes(pickle.dumps(Poison(mark)))
    return folder


def point_to(folder, manifest, settings, data, how):
    """Puts settings into both files that have them, and a data_path into the one that is read."""
    served = how in ("recommend", "export")
    manifest.settings = {**settings, "data_path": str(data)} if served else settings
    manifest.write(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    kept = {k: v for k, v in config.items() if k in manifest.settings or k not in model_keys(config["model"])}
    config = {**kept, **manifest.settings, "data_path": str(data)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def spoil(folder, model, mark, how):
    """Makes the settings of a run those of a model that opens a file in the very folder."""
    poisoned(folder / "own", mark)
    manifest, _ = Manifest.read(folder)
    files = {key: value for key, value in READERS[model].items()}
    for key in files:
        if key.endswith("path"):
            files[key] = str(folder / "own" / "poison.pth")
    kept = {k: v for k, v in manifest.settings.items() if k not in model_keys(manifest.settings["model"])}
    foreign = {**model_defaults(model), **files, "model": model}
    point_to(folder, manifest, kept | foreign, folder, how)
    return manifest


def use(how, folder, blocks):
    """The arguments of a program that reads a run directory."""
    Path("users.txt").write_text("u1\n", encoding="utf-8")
    return {
        "recommend": [f"--recommend={folder}", "--users=users.txt", "--output=out.csv"],
        "export": [f"--export={folder}", "--output=out.npz"],
        "update": [f"--update={folder}", f"--new_block={blocks / 'own' / 'own.b2.inter'}"],
        "resume": [f"--resume={folder}"],
    }[how]


@pytest.mark.parametrize("how", ["recommend", "export", "update", "resume"])
@pytest.mark.parametrize("model", READERS)
def test_settings_of_a_foreign_run_open_no_file(run_of, blocks, tmp_path, capsys, model, how):
    folder, mark = shutil.copytree(run_of("MultiVAE"), tmp_path / "run"), tmp_path / MARK
    manifest = spoil(folder, model, mark, how)
    if how == "resume":
        manifest.status, manifest.blocks = "running", manifest.blocks[:1]
        manifest.write(folder)
    assert main(use(how, folder, blocks)) == 2
    first = next(iter(READERS[model]))
    if how != "export":
        assert f"{first} is " in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("strategy", ["full_batch", "ccd"])
@pytest.mark.parametrize("model", READERS)
def test_settings_of_a_run_open_no_file(blocks, tmp_path, model, strategy):
    data, mark = shutil.copytree(blocks, tmp_path / "data"), tmp_path / MARK
    poisoned(data / "own", mark)
    shutil.copy(data / "own" / "poison.pth", tmp_path)
    keys = {
        "data_path": str(data),
        "benchmark_filename": ["b0", "b1"],
        "block_ratios": None,
        "run_dir": str(tmp_path / "run"),
    }
    files = READERS[model]
    roles = {
        "full_batch": {"model": model, **files},
        "ccd": {"model": "BPR", "teacher_models": [model], "teacher_args": {model: files}},
    }
    settings = {**SMALL, **QUICK, **keys, "strategy": strategy, **roles[strategy], "dataset": "own"}
    with pytest.raises(CCDError, match=r"^(teacher_args\.\w+\.)?\w+ is .* \(config_dict\)"):
        run_ccd(config_dict=settings)
    assert not mark.exists() and not (tmp_path / "run").exists()


OPENED = []


def record(event, args):
    if OPENED and event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str | Path):
        OPENED.append(str(args[0]))


@pytest.fixture(scope="module")
def opened():
    """Notes the names of files that Python opens while it is not empty."""
    sys.addaudithook(record)
    yield OPENED
    OPENED.clear()


TRAINABLE = [model for model in general_models() if model not in ("NCL", "RaCT")]


@pytest.mark.parametrize("model", few(TRAINABLE, "LDiffRec", "MultiVAE", "EASE"))
def test_serving_updating_and_going_on_leave_poison_alone(run_of, blocks, tmp_path, opened, model):
    folder, mark = shutil.copytree(run_of(model), tmp_path / "run"), tmp_path / MARK
    manifest, _ = Manifest.read(folder)
    # the folder that the settings name, the one of the run and the working folder are full of it
    away = poisoned(tmp_path / "away" / "own", mark)
    shutil.copytree(blocks / "own", away, dirs_exist_ok=True)
    poisoned(folder, mark), poisoned(tmp_path, mark)
    settings = manifest.settings
    point_to(folder, manifest, settings, away.parent, "recommend")
    opened[:] = ["-"]
    if "student" in manifest.blocks[-1].files:
        assert len(load_student(folder).recommend(["u1"], 3)) == 3
    point_to(folder, manifest, settings, away.parent, "update")
    again = shutil.copytree(folder, tmp_path / "again")
    update(folder, blocks / "own" / "own.b2.inter")
    assert [name for name in opened if str(away) in name] == []
    opened.clear()
    unfinished, _ = Manifest.read(again)
    unfinished.status, unfinished.blocks = "running", unfinished.blocks[:1]
    unfinished.write(again)
    assert main([f"--resume={again}"]) == 0
    assert not mark.exists()


def _plain(path, mark):
    path.write_bytes(pickle.dumps(Poison(mark)))


def _zipped(path, mark):
    torch.save(Poison(mark), path)


def _among_weights(path, mark):
    torch.save({"user_embedding.weight": torch.zeros(2), "other": Poison(mark)}, path)


@pytest.mark.parametrize("write", [_plain, _zipped, _among_weights])
def test_checkpoints_are_weights_or_nothing(run_of, blocks, tmp_path, write):
    mark = tmp_path / MARK
    write(tmp_path / "poison.pt", mark)
    with pytest.raises(RunError, match="poison.pt cannot be read"):
        load_tensors(tmp_path / "poison.pt")
    folder = shutil.copytree(run_of("MultiVAE"), tmp_path / "run")
    manifest, _ = Manifest.read(folder)
    for name, kept in manifest.blocks[-1].files.items():
        write(kept.in_folder(folder), mark)
        digest = digest_of(kept.in_folder(folder))
        manifest.blocks[-1].files[name] = FileRecord.at(kept.in_folder(folder), folder, digest)
    manifest.write(folder)
    for how in ("recommend", "update"):
        assert main(use(how, folder, blocks)) == 2 or how == "update"
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [b"\x80\x020.", b"\x80\x02u.", b"\x80\x02K\x01Q.", b"\x80\x02K\x01]s.", b"\x80"]
)
def test_no_content_makes_more_of_a_checkpoint_than_an_error(tmp_path, content):
    save_tensors(tmp_path / "whole.pt", {"x": torch.zeros(3)})
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "odd.pt", "w") as odd:
        for name in whole.namelist():
            odd.writestr(name, content if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(RunError, match=r"odd.pt cannot be read \(.*\); delete it"):
        load_tensors(tmp_path / "odd.pt")
