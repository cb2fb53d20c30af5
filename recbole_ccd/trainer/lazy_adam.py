"""An Adam whose steps cost what their batches cost: of embedding tables it updates the batch's rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import BPR, NeuMF
from torch import Tensor, nn
from torch.optim import Optimizer

from recbole_ccd.utils.errors import ModelError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

LAZY = "lazy_adam"
"""The ``learner`` of this module."""
LAZY_MODELS = (BPR, NeuMF)
"""Models of which a batch reads its own rows of the tables only."""

_BETAS, _EPS = (0.9, 0.999), 1e-8


def check_lazy(config: CCDConfig, role: str, stages: Sequence[str]) -> None:
    """Refuses ``lazy_adam`` where every row has a gradient in every batch, before anything runs.

    Args:
        config: the model's configuration.
        role: ``student`` or ``teacher``.
        stages: those that train a model in this role.

    Raises:
        ModelError: If one of the stages trains a model by it that it does not fit, or with what reads
            dense gradients.
    """
    for stage in stages:
        own = f"{stage}_learner"
        key = "learner" if config[own] is None else own
        if str(config[key]).lower() != LAZY:
            continue
        start = f"{key} is {LAZY!r}"
        if not issubclass(config.model_class, LAZY_MODELS):
            raise ModelError(
                f"{start} for the {role}, and of model: {config['model']} every row may have a gradient in "
                f"every batch; take adam there, or one of: {', '.join(one.__name__ for one in LAZY_MODELS)}"
            )
        trained = config.for_stage(stage)
        for other in ("clip_grad_norm", "distill_gradient_alignment"):
            if trained[other]:
                raise ModelError(
                    f"{start} beside {other}, which reads dense gradients; leave one of them out"
                )


class LazyAdam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015), of which each row of a table has one of its own.

    A row's moments and its count of steps move with the batches that have a gradient for it, and only with
    these. This is another Adam: Adam itself moves every row in every step, by moments that fade. Parameters
    of groups that are not ``lazy`` are updated whole, as by Adam. ``weight_decay`` is added to the gradient
    of what is updated.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        """An optimizer without moments yet.

        Args:
            params: groups; those with ``lazy: True`` hold tables.
            lr: the learning rate.
            weight_decay: of the rows that are updated.
        """
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "lazy": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step on the gradients there are.

        Args:
            closure: is not called.
        """
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["moment"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            size = (len(parameter), *[1] * (parameter.dim() - 1)) if group["lazy"] else ()
            state["steps"] = parameter.new_zeros(size)
        rows = None
        if group["lazy"]:
            rows, grad = _touched(grad)
        tables = (parameter, state["moment"], state["square"], state["steps"])
        value, moment, square, steps = tables if rows is None else (one[rows] for one in tables)
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * value
        steps = steps + 1
        moment, square = moment.lerp(grad, 1 - _BETAS[0]), square.lerp(grad.square(), 1 - _BETAS[1])
        scale = (square / (1 - _BETAS[1] ** steps)).sqrt() + _EPS
        value = value - group["lr"] * (moment / (1 - _BETAS[0] ** steps)) / scale
        for table, new in zip(tables, (value, moment, square, steps), strict=True):
            if rows is None:
                table.copy_(new)
            else:
                table.index_copy_(0, rows, new)


def _touched(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a table that have a gradient, and it.

    A table that a term reads as a whole, as distillation may, has a dense one.
    """
    if grad.is_sparse:
        grad = grad.coalesce()
        return grad.indices()[0], grad.values()
    rows = (grad != 0).flatten(1).any(dim=1).nonzero()[:, 0]
    return rows, grad[rows]


def _embeddings(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]


def lazy_adam(model: GeneralRecommender, lr: float, weight_decay: float) -> LazyAdam:
    """The optimizer of a model: its embedding tables by rows, its other parameters whole.

    Args:
        model: the model.
        lr: the learning rate.
        weight_decay: as of :class:`LazyAdam`.
    """
    tables = [module.weight for module in _embeddings(model)]
    known = {id(table) for table in tables}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups: list[dict[str, Any]] = [{"params": tables, "lazy": True}, {"params": others}]
    return LazyAdam([group for group in groups if group["params"]], lr, weight_decay)


@contextmanager
def sparse_gradients(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Lets the tables' gradients hold the rows of a batch alone for a while.

    Args:
        model: the model.
        enabled: False leaves everything as it is.
    """
    tables = _embeddings(model) if enabled else []
    before = [table.sparse for table in tables]
    for table in tables:
        table.sparse = True
    try:
        yield
    finally:
        for table, one in zip(tables, before, strict=True):
            table.sparse = one
