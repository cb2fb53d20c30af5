"""What a training that is under way consists of, between two epochs, and how it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.trainer import Trainer
from torch import Tensor
from torch.optim import Optimizer

from recbole_ccd.utils.seeding import generator_states, set_generator_states

RESUMABLE = (
    *("BPR", "LightGCN", "NGCF", "SGL", "NeuMF", "DMF", "ENMF"),
    *("FM", "DeepFM", "DCNV2"),
    *("MultiDAE", "MultiVAE", "RecVAE", "CDAE"),
)
"""Models whose training is known to depend on weights, counters and generators alone.

Others may keep more from one epoch to the next, so that their stages begin anew."""

_STOPPING = ("cur_step", "best_valid_score", "best_valid_result", "train_loss_dict")


def training_state(
    trainer: Trainer, train_data: AbstractDataLoader, best: Mapping[str, Tensor] | None
) -> dict[str, Any]:
    """All that the rest of a plain training depends on.

    Args:
        trainer: between two epochs.
        train_data: the loader it trains on.
        best: the best weights so far.

    Returns:
        Nested plain values and tensors, those in use and no copies.
    """
    return {
        "model": dict(trainer.model.state_dict()),
        "counters": _counters(trainer.model),
        "best": None if best is None else dict(best),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in _optimizers(trainer).items()},
        "stopping": {name: getattr(trainer, name) for name in _STOPPING},
        "loader": _loader_state(train_data),
        "generators": generator_states(),
    }


def load_training_state(trainer: Trainer, train_data: AbstractDataLoader, state: Mapping[str, Any]) -> None:
    """Makes a fresh trainer, its model and its loader those that :func:`training_state` was asked of."""
    trainer.model.load_state_dict(state["model"])
    for name, value in state["counters"].items():
        setattr(trainer.model, name, value)
    for name, optimizer in state["optimizers"].items():
        getattr(trainer, name).load_state_dict(optimizer)
    for name, value in state["stopping"].items():
        setattr(trainer, name, value)
    _load_loader_state(train_data, state["loader"])
    set_generator_states(state["generators"])


def _counters(model: GeneralRecommender) -> dict[str, int | float]:
    """Plain numbers that a model counts beside its weights, as MultiVAE its steps of annealing."""
    return {
        name: value
        for name, value in vars(model).items()
        if type(value) in (int, float) and not name.startswith("_")
    }


def _optimizers(trainer: Trainer) -> dict[str, Optimizer]:
    """The trainer's optimizers, each by one name; RecVAE's trainer uses two by turns as ``optimizer``."""
    named = {name: value for name, value in vars(trainer).items() if isinstance(value, Optimizer)}
    others = [value for name, value in named.items() if name != "optimizer"]
    if any(named["optimizer"] is other for other in others):
        del named["optimizer"]
    return named


def _loader_state(loader: AbstractDataLoader) -> dict[str, Any]:
    sampler = getattr(loader, "_sampler", None)
    return {
        "generator": loader.generator.get_state(),
        "sampler": None if sampler is None else sampler.generator_state(),
    }


def _load_loader_state(loader: AbstractDataLoader, state: Mapping[str, Any]) -> None:
    loader.generator.set_state(state["generator"])
    if state["sampler"] is not None:
        loader._sampler.set_generator_state(state["sampler"])
