"""The training loop of a stage, and what plugins are given of it."""

from pathlib import Path

import pytest
import torch
from recbole.utils import init_seed
from scipy.sparse import csr_matrix

from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.base import TrainerPlugin, TrainingPass
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import ProxyGuidedReplay
from recbole_ccd.trainer import make_trainer
from recbole_ccd.utils.errors import RunError
from tests.conftest import few
from tests.model.small_models import SMALL_MODELS, small_model, state_of
from tests.plugin.stages import frozen_source, stage_trainer


@pytest.fixture
def make_trainer_of(make_config, tiny_stream, tmp_path):
    """Makes a trainer of a small model on a block; all it writes belongs into the run directory."""

    def make(name="LightGCN", *plugins, stage="base", block=0, previous=None, **keys):
        run = {"run_dir": str(tmp_path / "run"), "checkpoint_dir": str(tmp_path / "run" / "checkpoints")}
        config, model = small_model(make_config, name, tiny_stream[block], **run, **keys)
        return stage_trainer(config, model, tiny_stream[block], stage, *plugins, previous=previous, seed=7)

    return make


def same(state, other):
    return all(torch.equal(value, other[key]) for key, value in state.items())


class Recording(TrainerPlugin):
    """Keeps the weights of each epoch."""

    name = "recording"

    def __init__(self):
        self.states = []

    def after_epoch(self, epoch):
        self.states.append(state_of(self.model))
        return ()


def recording(make_trainer_of, scores, **keys):
    """A trainer that is validated to given scores, and the weights of its epochs."""
    plugin, scores = Recording(), iter(scores)
    trainer = make_trainer_of("LightGCN", plugin, learning_rate=0.01, **keys)
    trainer.evaluate = lambda *args, **kwargs: {"recall@5": next(scores)}
    return trainer, plugin.states


@pytest.mark.parametrize(
    ("scores", "best"), [([0.1, 0.5, 0.3, 0.2], 1), ([0.5, 0.1, 0.3, 0.2], 0), ([0.1, 0.2, 0.3, 0.4], 3)]
)
def test_fit_leaves_the_weights_of_the_best_validated_epoch(make_trainer_of, scores, best):
    trainer, states = recording(make_trainer_of, scores, epochs=4, stopping_step=10)
    trainer.run(show_progress=False)
    assert [same(state_of(trainer.model), state) for state in states] == [k == best for k in range(4)]
    assert trainer.epochs_run == 4 and not trainer.model.training


def test_epochs_that_are_not_validated_cannot_be_the_best(make_trainer_of):
    trainer, states = recording(make_trainer_of, [0.4, 0.2], epochs=5, eval_step=2, stopping_step=10)
    trainer.run(show_progress=False)
    assert [same(state_of(trainer.model), state) for state in states] == [
        False,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "validated"),
    [
        ({"eval_start": 1, "eval_step": 5}, [1, 6, 11]),
        ({"eval_start": 1, "eval_step": 5, "epochs": 6}, [1, 6]),
        ({"eval_start": 3, "eval_step": 4}, [3, 7, 11]),
        ({"eval_start": 4, "eval_step": 1, "epochs": 6}, [4, 5, 6]),
        # there is always one, as with RecBole's own key
        ({"eval_start": 50, "eval_step": 5, "epochs": 3}, [3]),
        ({"eval_step": 50, "epochs": 3}, [3]),
        ({"eval_step": 4}, [4, 8]),
    ],
)
def test_the_first_validation_can_be_earlier_or_later(make_trainer_of, keys, validated):
    trainer, _ = recording(make_trainer_of, [0.1] * 12, stopping_step=20, **{"epochs": 11, **keys})
    trainer.run(show_progress=False)
    assert [epoch for epoch, _ in trainer.history()["valid_score"]] == validated


def test_a_later_start_does_not_change_what_early_stopping_says(make_trainer_of, caplog):
    keys = {"epochs": 20, "eval_start": 1, "eval_step": 5, "stopping_step": 1}
    trainer, states = recording(make_trainer_of, [0.1, 0.5, 0.4, 0.3, 0.9], **keys)
    with caplog.at_level("INFO", logger="recbole_ccd.epoch"):
        trainer.run(show_progress=False)
    # the best is that of epoch 6; 11 and 16 are the two failures
    assert trainer.epochs_run == 16 and same(state_of(trainer.model), states[5])
    assert "best eval result in epoch 5" in caplog.text


def test_early_stopping_counts_the_epochs_run(make_trainer_of):
    trainer, states = recording(make_trainer_of, [0.5, 0.4, 0.3, 0.2, 0.1], epochs=5, stopping_step=1)
    trainer.run(show_progress=False)
    assert trainer.epochs_run == len(states) == 3
    assert same(state_of(trainer.model), states[0])


def test_without_validation_the_last_epoch_is_kept(make_trainer_of, monkeypatch, tiny_stream):
    trainer, states = recording(make_trainer_of, [], epochs=3)
    monkeypatch.setattr(type(tiny_stream[0]), "valid_loaders", lambda *_: [])
    trainer.run(show_progress=False)
    assert trainer.epochs_run == 3 and same(state_of(trainer.model), states[-1])
    assert not same(states[0], states[-1])


@pytest.mark.parametrize("name", few(["LightGCN", "SGL", "NeuMF", "MultiVAE"], "LightGCN", "SGL", "MultiVAE"))
def test_the_model_left_scores_what_its_best_validation_said(make_trainer_of, tiny_stream, name):
    # a learning rate at which validation goes up and down
    trainer = make_trainer_of(name, epochs=4, learning_rate=0.1, stopping_step=10)
    # models draw dropout and graphs from the global generators
    init_seed(1, reproducibility=True)
    scores = []
    validate = trainer._valid_epoch
    trainer._valid_epoch = lambda *args, **kwargs: (scores.append(validate(*args, **kwargs)), scores[-1])[1]
    trainer.run(show_progress=False)
    best = max(score for score, _ in scores)
    measured = trainer.evaluate(tiny_stream[0].valid_loaders(trainer.config))
    assert trainer.best_valid_score == best == measured["recall@5"]
    assert len({score for score, _ in scores}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", few([False, True], True))
def test_sgl_draws_its_views_once_per_epoch(make_trainer_of, dynamic):
    arguments = {"train_neg_sample_args": {"dynamic": True, "candidate_num": 3}} if dynamic else {}
    trainer = make_trainer_of("SGL", epochs=3, train_batch_size=64, **arguments)
    drawn, draw = [], trainer.model.graph_construction
    trainer.model.graph_construction = lambda: (drawn.append(trainer.epochs_run), draw())[1]
    trainer.run(show_progress=False)
    assert drawn == [1, 2, 3]


def test_one_seed_one_result(make_trainer_of):
    results = []
    for _ in range(2):
        trainer = make_trainer_of("BPR", epochs=2)
        torch.manual_seed(1)
        trainer.run(show_progress=False)
        results.append(state_of(trainer.model))
    assert same(*results)


def train_on_random_gradients(optimizer, parameters, steps=4):
    generator = torch.Generator().manual_seed(11)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator) * 0.01
        optimizer.step()


@pytest.mark.parametrize("keys", [{}, {"learner": "Adam", "weight_decay": 0.1, "learning_rate": 0.02}])
def test_fused_adam_steps_where_adam_does(make_trainer_of, keys):
    trainer = make_trainer_of("BPR", **keys)
    optimizer, config = trainer.optimizer, trainer.config
    assert type(optimizer) is torch.optim.Adam
    assert all(group["fused"] and not group["foreach"] for group in optimizer.param_groups)
    before = state_of(trainer.model)
    twin = [p.detach().clone().requires_grad_() for p in trainer.model.parameters()]
    plain = torch.optim.Adam(
        twin, lr=config["learning_rate"], weight_decay=config["weight_decay"], fused=False, foreach=False
    )
    train_on_random_gradients(optimizer, list(trainer.model.parameters()))
    train_on_random_gradients(plain, twin)
    assert not same(before, state_of(trainer.model))
    for ours, theirs in zip(trainer.model.parameters(), twin, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)


def test_the_optimizers_of_a_models_own_trainer_are_fused(make_trainer_of):
    trainer = make_trainer_of("RecVAE")
    for optimizer in (trainer.optimizer_encoder, trainer.optimizer_decoder):
        assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("learner", "kind"),
    [
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("adagrad", torch.optim.Adagrad),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_other_learners_train_as_ever(make_trainer_of, learner, kind):
    trainer = make_trainer_of("BPR", learner=learner, learning_rate=0.01)
    assert type(trainer.optimizer) is kind
    assert not any(group.get("fused") for group in trainer.optimizer.param_groups)
    before = state_of(trainer.model)
    trainer.run(show_progress=False)
    after = state_of(trainer.model)
    assert not same(before, after) and all(torch.isfinite(value).all() for value in after.values())


def test_nothing_is_written_outside_the_run_directory(make_trainer_of, tmp_path, tensorboard):
    (tmp_path / "run").mkdir()
    trainer = make_trainer_of("BPR", epochs=2)
    trainer.run(show_progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert files and all("tensorboard/block-0-base" in str(path) for path in files)
    assert not Path("log_tensorboard").exists()


def test_two_stages_have_curves_of_their_own(make_trainer_of, tmp_path, tensorboard):
    (tmp_path / "run").mkdir()
    make_trainer_of("BPR").run(show_progress=False)
    make_trainer_of("BPR", block=1).run(show_progress=False)
    folders = {path.name for path in (tmp_path / "run" / "tensorboard").iterdir()}
    assert folders == {"block-0-base", "block-1-base"}


class Spoiling(TrainerPlugin):
    """Spoils a weight before, or a pass after, an epoch; or raises an error of its own."""

    name = "spoiling"

    def __init__(self, when):
        self.when = when

    def before_epoch(self, epoch):
        if self.when == "never":
            raise ValueError("something else")
        if self.when == "before" and epoch == 1:
            with torch.no_grad():
                self.model.user_embedding.weight.fill_(torch.nan)

    def after_epoch(self, epoch):
        if self.when == "after":
            yield TrainingPass("spoiled", [1], lambda _: self.model.user_embedding.weight.sum() * torch.nan)


def test_a_loss_that_becomes_nan_names_block_stage_and_remedy(make_trainer_of):
    trainer = make_trainer_of("BPR", Spoiling("before"), block=1, epochs=3)
    with pytest.raises(
        RunError, match="block 1 base: the training loss became NaN in epoch 2; lower base_learning_rate"
    ):
        trainer.run(show_progress=False)


def test_a_nan_in_a_pass_of_its_own_is_the_same_error(make_trainer_of):
    trainer = make_trainer_of("BPR", Spoiling("after"))
    with pytest.raises(RunError, match="block 0 base: the training loss became NaN in epoch 1"):
        trainer.run(show_progress=False)


def test_other_errors_pass_unchanged(make_trainer_of):
    trainer = make_trainer_of("BPR", Spoiling("never"))
    with pytest.raises(ValueError, match="something else"):
        trainer.run(show_progress=False)


def test_a_pass_of_its_own_clips_gradients_too(make_config, tiny_stream):
    steps = []
    for limit in (None, {"max_norm": 1e-6}):
        config, model = small_model(make_config, "BPR", tiny_stream[0], seed=1)
        config["clip_grad_norm"], config["learner"], config["learning_rate"] = limit, "sgd", 1.0
        trainer = make_trainer(config, model)
        before = model.item_embedding.weight.detach().clone()
        trainer.step(model.item_embedding.weight.square().sum())
        steps.append((model.item_embedding.weight - before).norm().item())
    assert steps[0] > 1e-3 and steps[1] == pytest.approx(1e-6, rel=0.05)


class Adding(TrainerPlugin):
    """Adds terms, multiples of one weight's sum."""

    def __init__(self, name, *factors):
        self.name, self.factors = name, factors

    def batch_losses(self, interaction):
        total = self.model.user_embedding.weight.sum()
        return tuple(factor * total for factor in self.factors)


def test_terms_of_plugins_are_added_to_the_models_own(make_trainer_of):
    gradients = []
    for plugins in ((), (Adding("one", 2.0, 0.5), Adding("other", 0.25))):
        trainer = make_trainer_of("BPR", *plugins, learner="sgd", learning_rate=0.5, train_batch_size=10**6)
        before = state_of(trainer.model)
        trainer.fit(trainer.block.train_loader(trainer.config, seed=1))
        after = state_of(trainer.model)
        gradients.append({key: (before[key] - after[key]) / 0.5 for key in before})
    plain, more = gradients
    torch.testing.assert_close(
        more["user_embedding.weight"], plain["user_embedding.weight"] + 2.75, atol=1e-5, rtol=0
    )
    assert torch.equal(more["item_embedding.weight"], plain["item_embedding.weight"])


def test_two_plugins_of_one_name_are_refused(make_trainer_of):
    with pytest.raises(ValueError, match="block 0 base has a plugin 'one' already"):
        make_trainer_of("BPR", Adding("one", 1.0), Adding("other", 1.0), Adding("one", 2.0))


def test_excluded_pairs_are_no_negatives(make_trainer_of):
    trainer = make_trainer_of("BPR", epochs=2)
    taken = csr_matrix((trainer.block.n_users, trainer.block.n_items), dtype="float32").tolil()
    taken[:, 1:20] = 1
    trainer.exclude(taken.tocsr())
    used, drawn, loss = trainer.block.train_matrix.toarray(), [], trainer.model.calculate_loss

    def record(batch):
        drawn.extend(zip(batch["user_id"].tolist(), batch["neg_item_id"].tolist(), strict=True))
        return loss(batch)

    trainer.model.calculate_loss = record
    trainer.run(show_progress=False)
    assert drawn and min(item for _, item in drawn) == 20
    assert not any(used[pair] for pair in drawn)


def test_training_reads_the_rows_of_the_block_and_validation_those_so_far(make_trainer_of, monkeypatch):
    trainer = make_trainer_of("MultiVAE", block=1, graph="cumulative")
    users = torch.arange(trainer.model.n_users)
    read = {}
    loss, validate = trainer.model.calculate_loss, trainer.model.full_sort_predict

    def record(when, then):
        def call(*args):
            read[when] = trainer.model.get_rating_matrix(users)
            return then(*args)

        return call

    monkeypatch.setattr(trainer.model, "calculate_loss", record("training", loss))
    monkeypatch.setattr(trainer.model, "full_sort_predict", record("validation", validate))
    trainer.run(show_progress=False)
    block = trainer.block
    assert torch.equal(read["training"], torch.from_numpy(block.train_matrix.toarray()))
    assert torch.equal(read["validation"], torch.from_numpy(block.train_so_far.toarray()))
    assert torch.equal(trainer.model.get_rating_matrix(users), read["validation"])


def test_recvae_trains_through_its_own_trainer(make_trainer_of):
    plugin = Recording()
    epochs, plugin.before_epoch = [], lambda epoch: epochs.append(epoch)
    trainer = make_trainer_of("RecVAE", plugin, epochs=2, n_enc_epochs=2, learning_rate=0.01)
    assert [cls.__name__ for cls in type(trainer).__mro__[:3]] == [
        "RecVAETrainerOfStage",
        "RecVAETrainer",
        "StageTrainer",
    ]
    before = state_of(trainer.model)
    trainer.run(show_progress=False)
    after = state_of(trainer.model)
    for part in ("encoder.fc1.weight", "encoder.fc_mu.weight", "decoder.weight"):
        assert not torch.equal(before[part], after[part]), part
    assert epochs == [0, 1] and trainer.epochs_run == 2


def test_recvae_is_updated_as_a_member_of_the_teacher(make_trainer_of, tiny_stream, make_config):
    config, old = small_model(make_config, "RecVAE", tiny_stream[0])
    replay = ProxyGuidedReplay("teacher", [frozen_source(make_config, tiny_stream[0], n_draws=2)])
    keys = {"stage": "teacher_update", "block": 1, "n_enc_epochs": 1, "regularizer": "output_kl"}
    trainer = make_trainer_of("RecVAE", replay, previous=old, **keys)
    trainer.add(*chosen_regularizers(trainer.config, trainer.model))
    trainer.model.load_state_dict(grow(old, config, tiny_stream[1]).state_dict())
    before = state_of(trainer.model)
    trainer.run(show_progress=False)
    assert not same(before, state_of(trainer.model)) and trainer.epochs_run == 1
    assert len(trainer.plugins) == 2


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_every_model_trains_a_stage(make_trainer_of, name):
    trainer = make_trainer_of(name, epochs=1)
    before = state_of(trainer.model)
    trainer.run(show_progress=True)
    changed = [
        key for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])
    ]
    assert changed and all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


@pytest.mark.parametrize("name", ["BPR", "ENMF"])
def test_every_base_loss_is_a_mean(make_trainer_of, name):
    trainer = make_trainer_of(name)
    trainer.model.eval()  # no dropout
    batch = next(iter(trainer.block.train_loader(trainer.config, seed=1)))
    own = trainer.model.calculate_loss(batch)
    # ENMF sums over the users of the batch, BPR is a mean already
    expected = own / len(batch) if name == "ENMF" else own
    torch.testing.assert_close(trainer._with_extra(None)(batch), expected)
