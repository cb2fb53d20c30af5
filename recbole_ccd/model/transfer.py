"""SML's transfer: a network that makes the embeddings to serve of those before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class TableTransfer(nn.Module):
    r"""The transfer of one table of embeddings.

    The rows before and after fine-tuning and their product are stacked to an image of 3 × d. Filters of
    3 × 1, the same for every dimension, and then of 1 × 1 look at one dimension after the other; two layers
    look at all of them, and what comes out is added to the row after fine-tuning. As the last layer begins at
    zero, the transfer begins as that row, bit for bit.

    Source: the transfer component of SML, Zhang, Feng, Wang, He, Wang, Li, Zhang, "How to Retrain Recommender
    System? A Sequential Meta-Learning Method", SIGIR 2020. Ours is that the result is added to a row, so that
    a network that has not learned anything changes nothing.

    Args:
        width: the width d of the table.
        filters: how many filters there are in the first and in the second layer of convolution.
        hidden: width of the hidden layer.
        generator: source of the first weights.
    """

    def __init__(self, width: int, filters: tuple[int, int], hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        first, second = filters
        sizes = ((3, first), (first, second), (width * second, hidden), (hidden, width))
        # nn.Linear would draw from the global generator
        layers = [nn.utils.skip_init(nn.Linear, *size) for size in sizes]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.ModuleList(layers)

    def forward(self, before: Tensor, now: Tensor) -> Tensor:
        """The rows to serve.

        Args:
            before: (n, d) rows before fine-tuning.
            now: (n, d) rows after it.

        Returns:
            (n, d) rows.
        """
        # a filter that is one dimension wide is a layer of what is stacked there
        hidden = torch.stack([before, now, before * now], dim=-1)
        for layer in self.layers[:2]:
            hidden = gelu(layer(hidden))
        return now + self.layers[3](gelu(self.layers[2](hidden.flatten(1))))


class Transfer(nn.Module):
    """A :class:`TableTransfer` for each table of a model.

    Args:
        widths: width of each table by the name of its parameter.
        filters: as of :class:`TableTransfer`.
        hidden: as of :class:`TableTransfer`.
        generator: source of the first weights.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        filters: Sequence[int],
        hidden: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        first, second = filters
        self.names = tuple(widths)
        self.of_tables = nn.ModuleList(
            TableTransfer(width, (first, second), hidden, generator) for width in widths.values()
        )

    def forward(
        self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], n_known: Mapping[str, int]
    ) -> dict[str, Tensor]:
        """The tables to serve.

        Args:
            before: tables before fine-tuning, by name.
            now: those after it.
            n_known: rows of each that were known before the block, [PAD] included; the others have no past
                to be transferred, and stay.

        Returns:
            Tables by name.
        """
        return {
            name: _between(transfer, before[name], now[name], n_known[name])
            for name, transfer in zip(self.names, self.of_tables, strict=True)
        }


def _between(transfer: nn.Module, before: Tensor, now: Tensor, n_known: int) -> Tensor:
    # [PAD] stays as well
    return torch.cat([now[:1], transfer(before[1:n_known], now[1:n_known]), now[n_known:]])
