"""What is recorded of a training: mean losses and validation scores, epoch by epoch."""

import pytest
from recbole_ccd.trainer.curves import Curves

from recbole_ccd.state.packing import pack, unpack
from recbole_ccd.trainer import StageTrainer, make_trainer
from tests.model.small_models import small_model


@pytest.fixture
def make_trainer_of(make_config, tiny_stream, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name, kind=StageTrainer, **keys):
        config, model = small_model(make_config, name, tiny_stream[0], **keys)
        return make_trainer(kind, config.for_stage(kind.stage), model).at_block(tiny_stream[0], "here", 7)

    return make


@pytest.mark.parametrize("extra", [0, 1])
def test_the_mean_loss_of_an_epoch_and_the_score_where_it_was_validated(make_trainer_of, extra):
    class Watched(StageTrainer):
        """Adds 1 to the loss of each batch, or nothing."""

        def extra_losses(self, interaction):
            return (interaction[self.model.USER_ID].sum() * 0 + 1.0,) if extra else ()

        def _with_extra(self, loss_func):
            losses = super()._with_extra(loss_func)

            def watched(interaction):
                found = losses(interaction)
                total = sum(found) if isinstance(found, tuple) else found
                seen.setdefault(self.epochs_run, []).append(total.item())
                return found

            return watched

    seen = {}
    trainer = make_trainer_of("BPR", Watched, epochs=4, eval_step=2, stopping_step=10, learning_rate=0.01)
    trainer.run(show_progress=False)
    learned = trainer.learned()
    assert all(len(batches) > 1 for batches in seen.values())
    means = [sum(batches) / len(batches) for batches in seen.values()]
    assert learned["loss"] == pytest.approx(means, rel=1e-5)
    assert (learned["loss"][0] > 1) == bool(extra)
    assert [epoch for epoch, _ in learned["valid_score"]] == [2, 4]
    assert max(score for _, score in learned["valid_score"]) == pytest.approx(trainer.best_valid_score)


def test_an_epoch_of_several_rounds_has_one_loss(make_trainer_of):
    trainer = make_trainer_of("RecVAE", epochs=2, n_enc_epochs=2, learning_rate=0.01)
    trainer.run(show_progress=False)
    assert len(trainer.learned()["loss"]) == 2


def test_an_early_stop_ends_the_curves(make_trainer_of):
    trainer, scores = make_trainer_of("BPR", epochs=9, stopping_step=0), iter([0.5, 0.4])
    trainer.evaluate = lambda *args, **kwargs: {"recall@5": next(scores)}
    trainer.run(show_progress=False)
    assert trainer.learned()["valid_score"] == [[1, 0.5], [2, 0.4]] and len(trainer.learned()["loss"]) == 2


def test_curves_outlive_a_file():
    curves = Curves({0: 0.123456789, 1: 2.0}, {1: 0.25})
    assert Curves.of_state(unpack(pack(curves.state()))) == curves
    assert curves.record() == {"loss": [0.123457, 2.0], "valid_score": [[2, 0.25]]}
