"""What of a stage's settings is left to the block's size, where it replays what is not of the block."""

import numpy as np
import pytest

from recbole_ccd.data.schedule import batch_size_for
from recbole_ccd.strategy.stage import stage_settings

AUTO = dict.fromkeys(("epochs", "eval_step", "train_batch_size"), "auto")
LATER = {f"teacher_update_{key}": value for key, value in AUTO.items()}


@pytest.mark.parametrize(
    ("keys", "everybody"),
    [
        ({"replay": "proxy_guided"}, True),
        ({"replay": "spmf"}, True),
        ({"replay": "reservoir"}, False),
        ({"replay": None}, False),
        ({"replay": None, "mutual_learning": True}, True),
        ({"replay": None, "mutual_learning": True, "mutual_weight": 0.0}, False),
    ],
)
def test_an_auto_encoder_has_steps_for_all_whom_it_visits(make_config, tiny_stream, keys, everybody):
    # few of those who are known
    block = tiny_stream[1].parts(30)[0]
    own = int(np.count_nonzero(block.train_matrix.getnnz(axis=1)))
    visited = block.n_users - 1 if everybody else own
    assert own < 32 < block.n_users - 1
    config = stage_settings(make_config("MultiVAE", **LATER, **keys), "teacher_update", block)
    assert config["train_batch_size"] == batch_size_for(visited)
    steps = -(-visited // config["train_batch_size"])
    assert config["eval_step"] == round(100 / steps) and config["epochs"] == 20 * config["eval_step"]


@pytest.mark.parametrize(
    ("model", "stage"), [("BPR", "teacher_update"), ("ENMF", "teacher_update"), ("MultiVAE", "base")]
)
def test_others_and_other_stages_have_those_of_the_block(make_config, tiny_stream, model, stage):
    keys = {f"{stage}_{key}": value for key, value in AUTO.items()}
    block = tiny_stream[1]
    own = len(block.train) if model == "BPR" else int(np.count_nonzero(block.train_matrix.getnnz(axis=1)))
    config = stage_settings(make_config(model, replay="proxy_guided", **keys), stage, block)
    assert config["train_batch_size"] == batch_size_for(own)
