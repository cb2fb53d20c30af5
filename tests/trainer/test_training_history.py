"""What is recorded of a training: mean losses and validation scores, epoch by epoch."""

import pytest

from recbole_ccd.checkpoint.serialization import deserialize, serialize
from recbole_ccd.plugin.base import TrainerPlugin
from recbole_ccd.trainer.history import TrainingHistory
from tests.model.small_models import small_model
from tests.plugin.stages import stage_trainer


@pytest.fixture
def make_trainer_of(make_config, tiny_stream):
    """Makes the trainer of a base stage."""

    def make(name, *plugins, **keys):
        config, model = small_model(make_config, name, tiny_stream[0], **keys)
        return stage_trainer(config, model, tiny_stream[0], "base", *plugins, seed=7)

    return make


class One(TrainerPlugin):
    """Adds 1 to the loss of each batch."""

    name = "one"

    def batch_losses(self, interaction):
        return (interaction[self.model.USER_ID].sum() * 0 + 1.0,)


@pytest.mark.parametrize("extra", [0, 1])
def test_the_mean_loss_of_an_epoch_and_the_score_where_it_was_validated(make_trainer_of, extra):
    keys = {"epochs": 4, "eval_step": 2, "stopping_step": 10, "learning_rate": 0.01}
    trainer, seen = make_trainer_of("BPR", *[One()] * extra, **keys), {}
    own = trainer.model.calculate_loss

    def watched(interaction):
        found = own(interaction)
        seen.setdefault(trainer.epochs_run, []).append(found.item() + extra)
        return found

    trainer.model.calculate_loss = watched
    trainer.run(show_progress=False)
    history = trainer.history()
    assert all(len(batches) > 1 for batches in seen.values())
    means = [sum(batches) / len(batches) for batches in seen.values()]
    assert history["loss"] == pytest.approx(means, rel=1e-5)
    assert (history["loss"][0] > 1) == bool(extra)
    assert [epoch for epoch, _ in history["valid_score"]] == [2, 4]
    assert max(score for _, score in history["valid_score"]) == pytest.approx(trainer.best_valid_score)


def test_an_epoch_of_several_rounds_has_one_loss(make_trainer_of):
    trainer = make_trainer_of("RecVAE", epochs=2, n_enc_epochs=2, learning_rate=0.01)
    trainer.run(show_progress=False)
    assert len(trainer.history()["loss"]) == 2


def test_an_early_stop_ends_the_curves(make_trainer_of):
    trainer, scores = make_trainer_of("BPR", epochs=9, stopping_step=0), iter([0.5, 0.4])
    trainer.evaluate = lambda *args, **kwargs: {"recall@5": next(scores)}
    trainer.run(show_progress=False)
    assert trainer.history()["valid_score"] == [[1, 0.5], [2, 0.4]] and len(trainer.history()["loss"]) == 2


def test_plugins_add_what_they_record(make_trainer_of):
    class Counting(TrainerPlugin):
        name = "counting"

        def history(self):
            return {"counted": 3}

    trainer = make_trainer_of("BPR", Counting())
    trainer.run(show_progress=False)
    recorded = {"loss", "valid_score", "train_batch_size", "learning_rate", "weight_decay", "counted"}
    assert trainer.history().keys() == recorded


def test_the_history_outlives_a_file():
    history = TrainingHistory({0: 0.123456789, 1: 2.0}, {1: 0.25})
    assert TrainingHistory.of_state_dict(deserialize(serialize(history.state_dict()))) == history
    assert history.record() == {"loss": [0.123457, 2.0], "valid_score": [[2, 0.25]]}
