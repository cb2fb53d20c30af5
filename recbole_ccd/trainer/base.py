"""What all stages share: RecBole's training loop with the best weights kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from logging import getLogger
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import CDAE, ENMF, SGL
from recbole.trainer import Trainer
from recbole.utils import get_trainer, set_color
from torch import Tensor
from torch.nn.utils.clip_grad import clip_grad_norm_
from torch.optim import Adam, Optimizer
from tqdm import tqdm

from recbole_ccd.compat import curves_in
from recbole_ccd.data.block import Block
from recbole_ccd.errors import TrainingError
from recbole_ccd.model.history import use_history
from recbole_ccd.model.scoring import clear_cache, is_autoencoder
from recbole_ccd.seeding import derive_seed
from recbole_ccd.trainer.curves import Curves
from recbole_ccd.trainer.evaluating import EvaluatingTrainer
from recbole_ccd.trainer.resuming import RESUMABLE, load_training_state, training_state

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# models whose own loss is a sum over the batch; here every loss is a mean, so that weights mean the same
SUMMED_LOSS = (SGL, ENMF, CDAE)


class LossError(TrainingError):
    """The training loss is no finite number any more."""


class _NotFinite(ValueError):
    """What a loss has become."""


class StageTrainer(EvaluatingTrainer):
    """A RecBole trainer for one stage of one block.

    Used like any RecBole trainer (``fit``, ``evaluate``), after :meth:`at_block` has told it where in
    the stream it works. ``fit`` leaves the model with the weights of the best validated epoch, or of the
    last one when there is nothing to validate on. Subclasses add to the loss of each batch
    (:meth:`extra_losses`), or passes of their own (:meth:`before_epoch`, :meth:`after_epoch`). What they
    carry from one epoch to the next they add to :meth:`state` and :meth:`load_state`.

    Attributes:
        block: the block being learned.
        label: what logs, bars and error messages call this stage.
        epochs_run: epochs of the last ``fit``, those before it was taken up included.
        curves: how the last ``fit`` went, epoch by epoch.
    """

    stage = "base"

    def __init__(self, config: CCDConfig, model: GeneralRecommender) -> None:
        """A trainer for one fit.

        Args:
            config: the stage's configuration (``config.for_stage(...)``).
            model: the model to train.
        """
        super().__init__(config, model)
        # a logger of its own, so that the log can tell epoch lines from the rest
        self.logger = getLogger("recbole_ccd.epoch")
        self.seed, self.label = config["seed"], self.stage
        self.epochs_run = 0
        self.curves = Curves()
        self._best_state: dict[str, Tensor] | None = None
        self._between_epochs: Callable[[], None] | None = None
        self._earlier: Mapping[str, Any] | None = None

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        optimizer = super()._build_optimizer(**kwargs)
        if type(optimizer) is Adam:
            # one pass over weights and moments instead of a dozen; the same update
            for group in optimizer.param_groups:
                group["fused"] = True
        return optimizer

    def at_block(self, block: Block, label: str, seed: int) -> StageTrainer:
        """Places the stage in the stream.

        Args:
            block: the block to learn, or the piece of it that has arrived.
            label: name for logs and bars.
            seed: seed of everything this stage draws.
        """
        self.block, self.label, self.seed = block, label, seed
        self.tensorboard = curves_in(self.config["run_dir"], label)
        return self

    def take_up(
        self, earlier: Mapping[str, Any] | None, between_epochs: Callable[[], None] | None = None
    ) -> StageTrainer:
        """Lets :meth:`run` go on with a training, and somebody look at it between epochs.

        Args:
            earlier: what :meth:`state` gave then; None begins anew.
            between_epochs: called when an epoch and its validation are done and another one follows.
        """
        self._earlier, self._between_epochs = earlier, between_epochs
        return self

    @property
    def is_resumable(self) -> bool:
        """Whether :meth:`state` is all of the training; other models may keep more between epochs."""
        return self.config["model"] in RESUMABLE

    def state(self) -> dict[str, Any]:
        """All that the rest of :meth:`run` depends on, between two epochs: plain values and tensors."""
        return {
            "epochs": self.epochs_run,
            "training": training_state(self, self._train_data, self._best_state),
            "curves": self.curves.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where a trainer of this stage was that gave :meth:`state`; loaders are there."""
        self.start_epoch = state["epochs"]
        self._best_state = state["training"]["best"]
        self.curves = Curves.of_state(state["curves"])
        load_training_state(self, self._train_data, state["training"])

    def learned(self) -> dict[str, Any]:
        """What result.json has of the training beside its epochs and its time."""
        return self.curves.record()

    def run(self, show_progress: bool) -> None:
        """Trains on the block with its own loaders and early stopping.

        Args:
            show_progress: whether to draw progress bars.

        Raises:
            LossError: the loss became NaN or infinite.
        """
        seed = derive_seed(self.seed, "loader")
        train_data = self.block.train_loader(self.config, seed, self.excluded(), self.visited_users())
        valid_data = self.block.valid_loaders(self.config)
        self._train_data = train_data
        if self._earlier is not None:
            self.load_state(self._earlier)
            self._earlier = None
        try:
            self.fit(train_data, valid_data, show_progress=show_progress)
        except _NotFinite as error:
            key = f"{self.stage}_learning_rate"
            raise LossError(
                f"{self.label}: the training loss became {error} in epoch {self.epochs_run}; lower {key}"
            ) from None
        del self._train_data

    def excluded(self) -> Any:
        """Pairs that are no negatives beside the positives; None for none."""
        return None

    def visited_users(self) -> Tensor | None:
        """Users that a model training on whole rows visits; None for those of the block."""
        return None

    def fit(self, *args: Any, **kwargs: Any) -> tuple[float, dict | None]:
        """RecBole's ``fit``, after which the model holds the best weights; nothing is written to disk."""
        self.epochs_run = self.start_epoch
        try:
            result = super().fit(*args, **kwargs)
        finally:
            self.tensorboard.close()
        if self._best_state is not None:
            self.model.load_state_dict(self._best_state)
        self._best_state = None
        # gradients of the last step are as large as the model
        self.model.zero_grad(set_to_none=True)
        clear_cache(self.model)
        self.model.eval()
        self._read_inference_rows()
        return result

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
            clear_cache(self.model)
            # what is drawn before an epoch must not depend on whether a validation has just taken place
            self._read_inference_rows()
            self.before_epoch(epoch_idx)
        if is_autoencoder(self.model):
            use_history(self.model, self.training_rows())
        batches = self.bar(train_data, epoch_idx) if show_progress else train_data
        loss = super()._train_epoch(batches, epoch_idx, loss_func=self._with_extra(loss_func))
        self.after_epoch(epoch_idx, show_progress)
        total = sum(loss) if isinstance(loss, tuple) else loss
        # of an epoch in several rounds, as RecVAE's, the last one
        self.curves.losses[epoch_idx] = float(total) / max(len(train_data), 1)
        # a trainer with a loop of its own, RecBole's RecVAETrainer, adds up plain numbers
        return total if loss_func is not None else loss

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> tuple[float, dict]:
        score, result = super()._valid_epoch(*args, **kwargs)
        self.curves.scores[self.epochs_run - 1] = float(score)
        return score, result

    def _with_extra(self, loss_func: Callable[[Interaction], Any] | None) -> Callable[[Interaction], Any]:
        base = loss_func or self.model.calculate_loss
        summed = isinstance(self.model, SUMMED_LOSS)

        def losses(interaction: Interaction) -> Any:
            first, extra = base(interaction), self.extra_losses(interaction)
            first = first / len(interaction) if summed else first
            return (*(first if isinstance(first, tuple) else (first.sum(),)), *extra) if extra else first

        return losses

    def bar(self, batches: Any, epoch_idx: int, what: str = "") -> Iterable:
        """RecBole's progress bar, with block and stage before the epoch."""
        desc = set_color(f"{self.label}{what} epoch {epoch_idx}", "pink")
        # disable=None: no bars where nobody watches, in a pipe or a file
        return tqdm(batches, total=len(batches), ncols=100, desc=desc, leave=False, disable=None)

    def step(self, loss: Tensor) -> None:
        """One optimizer step of a pass outside RecBole's epoch.

        Raises:
            ValueError: the loss is not finite; :meth:`run` makes a LossError of it.
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

    def training_rows(self) -> Any:
        """What an auto-encoder reads and reconstructs, users × items."""
        return self.block.train_matrix

    def before_epoch(self, epoch_idx: int) -> None:
        """Called once before each epoch."""

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """Called after the epoch's batches, before validation."""

    def extra_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Terms added to the model's own loss on each batch, already weighted."""
        return ()


def make_trainer(stage: type[StageTrainer], config: CCDConfig, model: GeneralRecommender) -> StageTrainer:
    """The trainer of a stage for a model, on top of the model's own RecBole trainer where it has one.

    RecVAE, for one, alternates between encoder and decoder epochs in ``RecVAETrainer``; the stage then
    extends that loop instead of RecBole's plain one.

    Args:
        stage: the stage's trainer class.
        config: the stage's configuration.
        model: the model to train.
    """
    own = get_trainer(config["MODEL_TYPE"], config["model"])
    if own is Trainer:
        return stage(config, model)
    return type(f"{own.__name__}For{stage.__name__}", (own, stage), {})(config, model)
