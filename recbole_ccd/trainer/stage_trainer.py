"""The trainer of every stage: RecBole's loop, best weights in memory, and what plugins add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from logging import getLogger
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import CDAE, ENMF, SGL
from recbole.trainer import Trainer
from recbole.utils import get_trainer
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.utils.clip_grad import clip_grad_norm_
from torch.optim import Adam, Optimizer

from recbole_ccd.compat import ContainedTrainer, curves_in
from recbole_ccd.data.block import Block
from recbole_ccd.data.dataloader import BlockEvalDataLoader
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.model.duplicate import duplicate
from recbole_ccd.model.growth import set_inference_history
from recbole_ccd.model.history import use_history
from recbole_ccd.model.lightgcn import LightGCN
from recbole_ccd.model.scoring import clear_cache, is_autoencoder
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.trainer.history import TrainingHistory
from recbole_ccd.trainer.lazy_adam import LAZY, lazy_adam, sparse_gradients
from recbole_ccd.trainer.progress import StageProgress
from recbole_ccd.trainer.training_state import RESUMABLE, load_training_state, training_state
from recbole_ccd.utils.errors import TrainingError
from recbole_ccd.utils.malloc import return_freed_memory
from recbole_ccd.utils.seeding import derive_seed, generator_states, set_generator_states
from recbole_ccd.utils.wandb_log import StageCurves

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# models whose own loss is a sum over the batch; here every loss is a mean, so that weights mean the same
SUMMED_LOSS = (SGL, ENMF, CDAE)


class LossError(TrainingError):
    """The training loss is no finite number any more."""


class _NotFinite(ValueError):
    """A loss has become NaN or infinite."""


class ValidationInterval(int):
    """Epochs between two validations, of which the first is not after as many.

    RecBole validates after those numbers of epochs that leave no remainder when they are divided by it.
    """

    first: int

    def __new__(cls, step: int, first: int) -> ValidationInterval:
        """An interval.

        Args:
            step: epochs between two validations.
            first: epochs before the first one.
        """
        interval = super().__new__(cls, step)
        interval.first = first
        return interval

    def __rmod__(self, epochs: int, /) -> int:
        """How many of so many epochs have passed since the last validation; before the first it is none."""
        return (epochs - self.first) % int(self) if epochs >= self.first else epochs


class StageTrainer(ContainedTrainer):
    """A RecBole trainer for one stage of one block, and the plugins that the stage is given.

    Used like any RecBole trainer (``fit``, ``evaluate``), after :meth:`bind` has placed it in the stream.
    ``fit`` leaves the model with the weights of the best validated epoch, or of the last one when there is
    nothing to validate on. What a stage does beside the model's own loss are plugins (:meth:`add`).

    Attributes:
        block: the block being learned; None before :meth:`bind`.
        label: what logs and error messages call this stage.
        epochs_run: epochs of the last ``fit``, those before it was resumed included.
        plugins: what has been added, in order.
    """

    block: Block | None = None
    epochs: int

    def __init__(self, config: CCDConfig, model: GeneralRecommender) -> None:
        """A trainer for one fit.

        Args:
            config: the stage's configuration (``config.for_stage(...)``).
            model: the model to train.
        """
        super().__init__(config, model)
        # a logger of its own, so that the log can tell epoch lines from the rest
        self.logger = getLogger("recbole_ccd.epoch")
        self.seed, self.label = config["seed"], config.stage or "training"
        if config["eval_start"] is not None:
            step, first = (min(config[key], self.epochs) for key in ("eval_step", "eval_start"))
            self.eval_step = ValidationInterval(step, first)
        self.epochs_run = self._n_batches = 0
        self.plugins: list[TrainerPlugin] = []
        self._history = TrainingHistory()
        self._previous: GeneralRecommender | None = None
        self._excluded: csr_matrix | None = None
        self._best_state: dict[str, Tensor] | None = None
        self._between_epochs: Callable[[], None] | None = None
        self._saved: Mapping[str, Any] | None = None
        self._shown: str | None = None
        self._progress: StageProgress | None = None
        self._by_turns = False

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        if self.learner.lower() == LAZY:
            return lazy_adam(self.model, self.learning_rate, self.weight_decay)
        decay = kwargs.pop("weight_decay", self.weight_decay)
        # RecBole would warn of reg_weight beside it, which is of a batch's rows and has a default
        optimizer = super()._build_optimizer(weight_decay=0.0, **kwargs)
        for group in optimizer.param_groups:
            group["weight_decay"] = decay
            if type(optimizer) is Adam:
                # one pass over weights and moments instead of a dozen; the same update
                group["fused"] = True
        return optimizer

    def bind(
        self,
        block: Block,
        label: str,
        seed: int,
        previous: GeneralRecommender | None = None,
        shown: str | None = None,
    ) -> StageTrainer:
        """Places the stage in the stream.

        Args:
            block: the block to learn, or the piece of it that has arrived.
            label: name for logs and error messages.
            seed: seed of everything this stage draws.
            previous: the model before the block, for plugins that keep near it.
            shown: what progress bars call it; default the label.
        """
        self._shown = shown
        self.block, self.label, self.seed, self._previous = block, label, seed, previous
        self.tensorboard = curves_in(self.config["run_dir"], label)
        self.wandblogger = StageCurves(self.config, label, block.index)
        return self

    def add(self, *plugins: TrainerPlugin) -> StageTrainer:
        """Gives the stage plugins; :meth:`bind` comes first.

        Their terms are added, and their passes made, in this order.

        Args:
            *plugins: new ones, each with a name of its own.

        Raises:
            ValueError: If there is one of that name already.
        """
        for plugin in plugins:
            if any(plugin.name == other.name for other in self.plugins):
                raise ValueError(f"{self.label} has a plugin {plugin.name!r} already")
            models = (self.model, self._previous)
            asked = (self._fine_tuned, lambda: self._n_batches)
            plugin.bind(PluginContext(self.config, self._learned, *models, self.seed, *asked))
            parameters = plugin.parameters()
            if parameters:
                self.optimizer.add_param_group({"params": parameters, "weight_decay": 0.0})
            self.plugins.append(plugin)
        return self

    def exclude(self, pairs: csr_matrix | None) -> StageTrainer:
        """Sets pairs that are no negatives beside the positives.

        Args:
            pairs: users × items of any earlier prefix; None for none.
        """
        self._excluded = pairs
        return self

    def restore(
        self, saved: Mapping[str, Any] | None, between_epochs: Callable[[], None] | None = None
    ) -> StageTrainer:
        """Lets :meth:`run` go on with a training, and somebody look at it between epochs.

        Args:
            saved: what :meth:`state_dict` gave then; None begins anew.
            between_epochs: called when an epoch and its validation are done and another one follows.
        """
        self._saved, self._between_epochs = saved, between_epochs
        return self

    @property
    def is_resumable(self) -> bool:
        """Whether :meth:`state` is all of the training; other models may keep more between epochs."""
        return self.config["model"] in RESUMABLE

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of :meth:`run` depends on, between two epochs: plain values and tensors."""
        return {
            "epochs": self.epochs_run,
            "training": training_state(self, self._train_data, self._best_state),
            "history": self._history.state_dict(),
            "plugins": {plugin.name: plugin.state_dict() for plugin in self.plugins},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where a trainer of this stage was that gave :meth:`state_dict`; loaders are there."""
        self.start_epoch = state["epochs"]
        self._best_state = state["training"]["best"]
        self._history = TrainingHistory.of_state_dict(state["history"])
        load_training_state(self, self._train_data, state["training"])
        for plugin in self.plugins:
            plugin.load_state_dict(state["plugins"][plugin.name])

    def history(self) -> dict[str, Any]:
        """What result.json has of the training beside its epochs and its time."""
        own = (plugin.history() for plugin in self.plugins)
        # which may have been left to the block's size
        steps = {
            "train_batch_size": self.config["train_batch_size"],
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }
        return {**steps, **self._history.record(), **{k: value for part in own for k, value in part.items()}}

    def run(self, show_progress: bool) -> None:
        """Trains on the block with its own loaders and early stopping.

        Args:
            show_progress: whether to draw progress bars.

        Raises:
            LossError: If the loss became NaN or infinite.
        """
        loaders = self._loaders()
        with self._finite():
            self.fit(*loaders, show_progress=show_progress)
        del self._train_data

    def release(self) -> None:
        """Lets go of plugins and callbacks, which know the trainer; it would stay until cycles are sought."""
        self.plugins, self._between_epochs = [], None

    def turns(self, show_progress: bool) -> Iterator[None]:
        """The training of :meth:`run`, an epoch and its validation at a time; it is done when it ends.

        Whoever asks for the next turn sees to it that global generators are as the turn before has left them;
        see :func:`~recbole_ccd.utils.seeding.generator_states`.

        Args:
            show_progress: whether to draw progress bars.

        Raises:
            LossError: If the loss became NaN or infinite.
        """
        loaders, last = self._loaders(), self.epochs
        self._by_turns = True
        self._begin_fit()
        try:
            for epoch in range(self.start_epoch, last):
                # what RecBole's loop knows of the epochs before is in attributes
                self.start_epoch, self.epochs = epoch, epoch + 1
                with self._finite(), self._sparse():
                    super().fit(*loaders, show_progress=show_progress)
                if self.cur_step > self.stopping_step:
                    break
                if epoch + 1 < last:
                    yield
            self._by_turns, self.epochs = False, last
            self._add_hparam_to_tensorboard(self.best_valid_score)
        finally:
            self.tensorboard.close()
        self._end_fit()
        del self._train_data

    def _loaders(self) -> tuple[AbstractDataLoader, Sequence[AbstractDataLoader]]:
        """Loaders of train and valid parts; what :meth:`restore` was given is loaded by then."""
        seed = derive_seed(self.seed, "loader")
        train_data = self._learned.train_loader(self.config, seed, self._excluded, self._visited_users())
        valid_data = self._learned.valid_loaders(self.config)
        self._train_data = train_data
        if self._saved is not None:
            self.load_state_dict(self._saved)
            self._saved = None
        return train_data, valid_data

    @contextmanager
    def _finite(self) -> Iterator[None]:
        try:
            yield
        except _NotFinite as error:
            key = f"{self.config.stage}_learning_rate"
            raise LossError(
                f"{self.label}: the training loss became {error} in epoch {self.epochs_run}; lower {key}"
            ) from None

    def _fine_tuned(self) -> GeneralRecommender:
        """A copy of the model, as it is now, after it has learned the block without any plugin."""
        before = generator_states()
        model = duplicate(self.model)
        trainer = make_trainer(self.config, model)
        shown = f"{self._shown or self.label}, fine-tuned copy"
        trainer.bind(self._learned, f"{self.label} fine-tuned copy", self.seed, shown=shown)
        trainer.exclude(self._excluded).run(self.config["show_progress"])
        set_generator_states(before)
        return model.requires_grad_(False)

    @property
    def _learned(self) -> Block:
        if self.block is None:
            raise ValueError(f"{self.label} has no block; call bind first")
        return self.block

    def _visited_users(self) -> Tensor | None:
        wanted = (plugin.visited_users() for plugin in self.plugins)
        return next((users for users in wanted if users is not None), None)

    def _training_rows(self) -> csr_matrix:
        """What an auto-encoder reads and reconstructs, users × items."""
        rows = self._learned.train_matrix
        for plugin in self.plugins:
            rows = plugin.training_rows(rows)
        return rows

    def fit(self, *args: Any, **kwargs: Any) -> tuple[float, dict | None]:
        """RecBole's ``fit``, after which the model holds the best weights; nothing is written to disk."""
        self._begin_fit()
        try:
            with self._sparse():
                result = super().fit(*args, **kwargs)
        finally:
            self.tensorboard.close()
        self._end_fit()
        return result

    def _sparse(self) -> AbstractContextManager[None]:
        return sparse_gradients(self.model, self.learner.lower() == LAZY)

    def _begin_fit(self) -> None:
        # of candidates and lists, which plugins have found
        return_freed_memory()
        self.epochs_run = self.start_epoch
        self._share_propagation(any(plugin.propagates for plugin in self.plugins))
        self._progress = StageProgress(self._shown or self.label, self.epochs, self.start_epoch)

    def _share_propagation(self, shares: bool) -> None:
        if isinstance(self.model, LightGCN):
            self.model.shares_propagation = shares

    def _begin_step(self) -> None:
        if isinstance(self.model, LightGCN):
            self.model.begin_step()

    def _end_fit(self) -> None:
        self._share_propagation(False)
        if self._best_state is not None:
            self.model.load_state_dict(self._best_state)
        self._best_state = None
        # gradients of the last step are as large as the model
        self.model.zero_grad(set_to_none=True)
        clear_cache(self.model)
        self.model.eval()
        self._read_inference_rows()

    def _add_hparam_to_tensorboard(self, best_valid_result: float) -> None:
        # RecBole's fit ends with it, and each turn is one
        if not self._by_turns:
            super()._add_hparam_to_tensorboard(best_valid_result)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        # RecBole pickles its Config into a file here; the weights are all that is needed
        self._best_state = {name: value.clone() for name, value in self.model.state_dict().items()}

    def _train_epoch(
        self,
        train_data: AbstractDataLoader,
        epoch_idx: int,
        loss_func: Callable[[Interaction], Any] | None = None,
        show_progress: bool = False,
    ) -> float | tuple[float, ...]:
        if self.epochs_run == epoch_idx:
            if self._between_epochs is not None and epoch_idx > self.start_epoch:
                self._between_epochs()
            self.epochs_run += 1
            self._n_batches = len(train_data)
            clear_cache(self.model)
            # what is drawn before an epoch must not depend on whether a validation has just taken place
            self._read_inference_rows()
            for plugin in self.plugins:
                plugin.before_epoch(epoch_idx)
        if is_autoencoder(self.model):
            use_history(self.model, self._training_rows())
        batches = self._bar(train_data, epoch_idx) if show_progress else train_data
        loss = super()._train_epoch(batches, epoch_idx, loss_func=self._with_extra(loss_func))
        self._passes(epoch_idx, show_progress)
        total = sum(loss) if isinstance(loss, tuple) else loss
        # of an epoch in several rounds, as RecVAE's, the last one
        self._history.losses[epoch_idx] = float(total) / max(len(train_data), 1)
        # a trainer with a loop of its own, RecBole's RecVAETrainer, adds up plain numbers
        return total if loss_func is not None else loss

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> tuple[float, dict]:
        score, result = super()._valid_epoch(*args, **kwargs)
        self._history.scores[self.epochs_run - 1] = float(score)
        return score, result

    def _with_extra(self, loss_func: Callable[[Interaction], Any] | None) -> Callable[[Interaction], Any]:
        base = loss_func or self.model.calculate_loss
        summed = isinstance(self.model, SUMMED_LOSS)

        def losses(interaction: Interaction) -> Any:
            self._begin_step()
            for plugin in self.plugins:
                plugin.before_batch(interaction)
            first = base(interaction)
            extra = tuple(loss for plugin in self.plugins for loss in plugin.batch_losses(interaction))
            first = first / len(interaction) if summed else first
            return (*(first if isinstance(first, tuple) else (first.sum(),)), *extra) if extra else first

        return losses

    def _passes(self, epoch_idx: int, show_progress: bool) -> None:
        """The plugins' optimizer steps after an epoch's batches."""
        for plugin in self.plugins:
            for entry in plugin.after_epoch(epoch_idx):
                shown = show_progress and len(entry.batches)
                batches: Iterable[Any] = entry.batches
                if shown:
                    batches = self._bar(entry.batches, epoch_idx, f", {entry.name}")
                for batch in batches:
                    self._begin_step()
                    self.step(entry.loss(batch))

    def _bar(self, batches: Any, epoch_idx: int, what: str = "") -> Iterable:
        """A progress bar with block, stage and epoch."""
        progress = self._progress or StageProgress(self._shown or self.label, self.epochs, epoch_idx)
        return progress.bar(batches, epoch_idx, what)

    def step(self, loss: Tensor) -> None:
        """One optimizer step of a pass outside RecBole's epoch.

        Raises:
            ValueError: If the loss is not finite; :meth:`run` makes a LossError of it.
        """
        self._check_nan(loss)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_grad_norm:
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self.optimizer.step()

    def _check_nan(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise _NotFinite("NaN" if torch.isnan(loss) else "infinite")

    def evaluate(
        self,
        eval_data: BlockEvalDataLoader | Sequence[BlockEvalDataLoader],
        load_best_model: bool = False,
        **kwargs: Any,
    ) -> dict[str, float]:
        """What RecBole's ``evaluate`` measures, of the current weights (``fit`` restores the best ones).

        Args:
            eval_data: a loader, or several, such as one per block, whose metrics are averaged.
            load_best_model: has no effect.
            **kwargs: RecBole's others, which have none either: a validation takes a second, and its bar would
                push the stage's away.
        """
        clear_cache(self.model)
        self._read_inference_rows()
        loaders = eval_data if isinstance(eval_data, Sequence) else [eval_data]
        parts = {f"part {number}": loader for number, loader in enumerate(loaders)}
        train = None if self.block is None else self._learned.train
        results = FullSortEvaluator(self.config).evaluate_parts(
            self.model, parts, self.label, train_data=train
        )
        names = results["part 0"]
        return {name: sum(result[name] for result in results.values()) / len(results) for name in names}

    def _read_inference_rows(self) -> None:
        if self.block is not None:
            set_inference_history(self.model, self.block, self.config)


def make_trainer(config: CCDConfig, model: GeneralRecommender) -> StageTrainer:
    """The trainer of a stage for a model, on top of the model's own RecBole trainer where it has one.

    RecVAE, for one, alternates between encoder and decoder epochs in ``RecVAETrainer``; the stage then
    extends that loop instead of RecBole's plain one.

    Args:
        config: the stage's configuration.
        model: the model to train.
    """
    own = get_trainer(config["MODEL_TYPE"], config["model"])
    if own is Trainer:
        return StageTrainer(config, model)
    return type(f"{own.__name__}OfStage", (own, StageTrainer), {})(config, model)
