"""A tiny stream that everything can be tried on in a second."""

import gc
import os

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

import recbole_ccd.compat
from recbole_ccd.compat import SilentWriter
from recbole_ccd.config import CCDConfig
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.openmp import yield_to_other_programs

N_USERS, N_ITEMS = 70, 60

# what a run would choose by its data; tests set it, and so are quick and told apart by what they change
RATES = {
    "base_learning_rate": 0.005,
    "student_generation_learning_rate": 0.005,
    "student_update_learning_rate": 0.001,
    "teacher_update_learning_rate": 0.001,
}
SETTLED = {
    **RATES,
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "train_neg_sample_args": {"dynamic": False, "candidate_num": 0},
    "student_start": "fresh",
    "deployed_student": "updated",
    "exclude_student_items": True,
    "student_replay_batch_size": None,
    "teacher_replay_batch_size": None,
    "n_uninteresting_items": None,
    "n_uninteresting_users": None,
}

# small enough for the tiny stream, with one quick epoch everywhere
SMALL = {
    **SETTLED,
    "topk": [5],
    "valid_metric": "Recall@5",
    "metrics": ["Recall", "NDCG"],
    "epochs": 1,
    "eval_step": 1,
    "train_batch_size": 256,
    "student_generation_train_batch_size": 128,
    "eval_batch_size": 2000,
    "show_progress": False,
    "gpu_id": "",
    "block_ratios": [0.4, 0.3, 0.3],
    # a stage for a block that never comes; tests/experiment/update has its own
    "prepare_update": False,
    # a page for each block; tests/report has its own
    "write_report": False,
}
SMALL_CCD = {
    "teacher_models": ["LightGCN", "MultiVAE"],
    "teacher_args": {"embedding_size": 16, "MultiVAE": {"mlp_hidden_size": [32], "latent_dimension": 16}},
    "distill_top_k": 8,
    "exclusion_top_k": 8,
    "student_replay_candidates": 10,
    "teacher_replay_candidates": 10,
    "similarity_degree": 4,
    "piw_clusters": 3,
}


# on tensors this small threads cost more than they give; the workers of pytest-xdist and programs that tests
# start inherit the setting, and tests of threads set their number themselves
os.environ["OMP_NUM_THREADS"] = "1"
yield_to_other_programs()
torch.set_num_threads(1)


def few(values, *quick):
    """Parameters of which only the quick ones are tried by default, the others with ``-m slow``."""
    assert set(quick) <= set(values)
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def write_inter(path, rows, header="user_id:token\titem_id:token\ttimestamp:float"):
    """Writes an atomic file."""
    lines = ["\t".join(str(value) for value in row) for row in rows]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def tiny_rows(seed=0, n=2600):
    """Interactions over time; new users and items appear all the time, and tastes are of three kinds."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 1000, n))
    share = 0.4 + 0.6 * times / 1000
    users = (rng.random(n) * share * N_USERS).astype(int)
    items = (rng.random(n) * share * N_ITEMS).astype(int)
    items = np.where(rng.random(n) < 0.7, items // 3 * 3 + users % 3, items)
    return [(f"u{u}", f"i{i}", round(t, 3)) for u, i, t in zip(users, items, times, strict=True)]


@pytest.fixture(scope="session", autouse=True)
def working_folder_of_its_own(tmp_path_factory):
    """Sends what RecBole writes into the working folder elsewhere, for each worker somewhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("working"))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_collecting_of_what_stays():
    """Modules and tests, half a million objects, are there to the end; garbage is looked for among others."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Files are written as ever, but only a power cut would tell whether they have reached the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_seeds_for_devices_that_are_not_there():
    """Without a device torch keeps each seed for later, with the whole stack that it came from."""
    with pytest.MonkeyPatch.context() as patch:
        for devices in (torch.cuda, torch.xpu, torch.mtia):
            if not devices.is_available():
                patch.setattr(devices, "manual_seed_all", lambda seed: None)
                if devices is torch.cuda:
                    patch.setattr(devices, "manual_seed", lambda seed: None)
        yield


class NoCurves(SilentWriter):
    """Takes the place of a TensorBoard writer and has a folder that is never made."""

    def __init__(self, log_dir=""):
        self.log_dir = log_dir


@pytest.fixture(scope="session", autouse=True)
def no_curves():
    """Nothing is written for TensorBoard, which takes three files a stage; ``tensorboard`` undoes this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recbole_ccd.compat, "SummaryWriter", NoCurves)
        yield


@pytest.fixture
def tensorboard(monkeypatch):
    """Trainers write for TensorBoard as they do outside of tests."""
    monkeypatch.setattr(recbole_ccd.compat, "SummaryWriter", SummaryWriter)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A data_path that holds the data set ``tiny``."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "tiny").mkdir()
    write_inter(folder / "tiny" / "tiny.inter", tiny_rows())
    return folder


@pytest.fixture(scope="session")
def make_config(tiny_folder):
    """Makes a configuration on the tiny stream; keyword arguments are keys."""

    def make(model="LightGCN", dataset="tiny", data_path=None, **keys):
        settled = {key: SMALL[key] for key in SMALL if "learning_rate" not in keys or key not in RATES}
        settings = {**settled, **SMALL_CCD, "data_path": str(data_path or tiny_folder), **keys}
        if {"block_boundaries", "benchmark_filename"} & keys.keys() and "block_ratios" not in keys:
            del settings["block_ratios"]
        # nobody sets it but the place of a run
        checkpoints = settings.pop("checkpoint_dir", None)
        config = CCDConfig(model, dataset, config_dict=settings)
        if checkpoints is not None:
            config["checkpoint_dir"] = checkpoints
        return config

    return make


@pytest.fixture(scope="session")
def tiny_stream(make_config):
    """The tiny stream in three blocks."""
    return create_stream(make_config())


def pytest_collection_modifyitems(items):
    """Puts files of long tests first, lest one worker be left with them when the others are done."""
    items.sort(key=lambda item: item.path.parent.name not in {"update", "checkpoint", "strategy"})
