from pathlib import Path

import pytest
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer
from torch.utils.tensorboard import SummaryWriter

from recbole_ccd.compat import SilentWriter, relocate_tensorboard

pytestmark = pytest.mark.usefixtures("tensorboard")


def test_a_trainers_curves_go_where_they_are_told_and_nothing_strays(
    make_config, tiny_stream, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = make_config("BPR", checkpoint_dir=str(tmp_path / "saved"))
    trainer = Trainer(config, BPR(config, tiny_stream[0].train))
    assert (
        tmp_path / "log_tensorboard"
    ).is_dir()  # the fault repaired: RecBole's writer is in the working folder
    relocate_tensorboard(trainer, tmp_path / "here")
    trainer.tensorboard.add_scalar("loss", 1.0, 0)
    trainer.tensorboard.close()
    assert not (tmp_path / "log_tensorboard").exists()
    assert [p.name[:6] for p in (tmp_path / "here").iterdir()] == ["events"]


def test_other_events_are_left_alone(make_config, tiny_stream, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config("BPR", checkpoint_dir=str(tmp_path / "saved"))
    mine, other = (Trainer(config, BPR(config, tiny_stream[0].train)) for _ in range(2))
    folder = Path(mine.tensorboard.log_dir)
    other.tensorboard.close()
    other.tensorboard = SummaryWriter(str(folder))
    for step in range(50):
        mine.tensorboard.add_scalar("loss", 1.0, step)
    mine.tensorboard.flush()
    kept = max(folder.iterdir(), key=lambda file: file.stat().st_size)
    relocate_tensorboard(other, None)
    assert isinstance(other.tensorboard, SilentWriter)
    assert list(folder.iterdir()) == [kept]
