"""Draws the uninteresting columns of the list-wise loss, the same ones until the next redraw."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.loss.windowed import Windows

# rows that share a window; in batches of a thousand rows enough of them come together for fast products
_GROUPS = 8
# rows whose windows are measured at a time
_MEASURED = 1 << 12


class _Measured(NamedTuple):
    """The windows of all rows until the next redraw: a row is asked for in several batches and epochs.

    Attributes:
        ineligible: the pairs by which they were measured.
        ends: (n_rows,) their lengths.
        barred: (n_rows, n_columns - 1) places inside the windows, from their beginning, that hold no samples.
    """

    ineligible: csr_matrix
    ends: Tensor
    barred: csr_matrix


class UninterestingSampler:
    r"""Uniform samples without replacement of most of a catalogue, a window of a shuffled circle per row.

    All rows share one random permutation of the columns, laid out as a circle. Rows are dealt into a few
    groups, each with a random place on the circle: a row takes the first ``n_samples`` eligible columns
    from its group's place on. For any single row that is a uniform sample of the eligible columns; the
    samples of two rows are not independent. What rows share is what makes it cheap: the scores of a group
    are one matrix product with neighbouring columns, whatever share of the catalogue is sampled. The state
    is O(n_columns + n_rows), and no row's sample is stored; what is kept beside it until the next redraw are
    the windows' lengths and the ineligible pairs inside.

    Source: the set Z of RRD, Kang et al., CIKM 2020, redrawn every few epochs in CCD, Lee et al., KDD 2024.

    Args:
        n_columns: number of columns, column 0 ([PAD]) included.
        n_rows: number of rows, row 0 included.
        n_samples: columns per row; None for all that are eligible.
        generator: source of the permutation, the groups and their places.

    Raises:
        ValueError: If a size is out of range.
    """

    def __init__(
        self, n_columns: int, n_rows: int, n_samples: int | None, generator: torch.Generator
    ) -> None:
        if n_columns < 1 or n_rows < 1 or (n_samples is not None and n_samples < 0):
            raise ValueError(f"cannot draw {n_samples} of {n_columns} columns for {n_rows} rows")
        self.n_columns = n_columns
        self.n_rows = n_rows
        self.n_samples = n_samples
        self._generator = generator
        self.redraw()

    @property
    def _length(self) -> int:
        """Number of real columns, the length of the circle."""
        return self.n_columns - 1

    def redraw(self) -> None:
        """Draw a new permutation, new groups and new places for them."""
        draw: dict[str, Any] = {"generator": self._generator, "device": self._generator.device}
        self._columns = torch.randperm(self._length, **draw) + 1
        self._groups = torch.randint(_GROUPS, (self.n_rows,), **draw)
        self._starts = torch.randint(max(self._length, 1), (_GROUPS,), **draw)
        self._measured: _Measured | None = None

    def windows(self, rows: Tensor, ineligible: csr_matrix) -> Windows:
        """Sampled columns of a batch of rows.

        Args:
            rows: (B,) row ids.
            ineligible: pairs (row, column) that are never sampled, without repeated ones.

        Returns:
            A window for each row that holds exactly min(n_samples, eligible columns) columns besides those
            barred.
        """
        measured = self._measure(ineligible)
        groups = self._groups.to(rows.device)[rows]
        order = groups.argsort(stable=True)
        ordered = rows[order].cpu()
        barred = (
            torch.from_numpy(part).to(rows.device) for part in csr_rows(measured.barred, ordered.numpy())
        )
        circle = self._columns.to(rows.device)
        sizes = torch.bincount(groups, minlength=_GROUPS).tolist()
        return Windows(
            torch.cat([circle, circle]),
            order,
            [(size, start) for size, start in zip(sizes, self._starts.tolist(), strict=True) if size],
            measured.ends[ordered].to(rows.device),
            *barred,
        )

    def _measure(self, ineligible: csr_matrix) -> _Measured:
        """The windows of all rows, measured now or before."""
        if self._measured is None or self._measured.ineligible is not ineligible:
            positions, lengths = self._positions(), [np.zeros(1, dtype=np.int64)]
            ends, places = [torch.zeros(0, dtype=torch.int64)], [np.zeros(0, dtype=np.int32)]
            for rows in torch.arange(self.n_rows).split(_MEASURED):
                owners, found = self._ineligible_places(rows, ineligible, positions)
                ends.append(self._ends(len(rows), owners, found))
                inside = found < ends[-1][owners]
                places.append(found[inside].to(torch.int32).numpy())
                lengths.append(torch.bincount(owners[inside], minlength=len(rows)).numpy())
            indices, indptr = np.concatenate(places), np.cumsum(np.concatenate(lengths))
            shape = (self.n_rows, max(self._length, 1))
            barred = csr_matrix((np.ones(len(indices), dtype=np.int8), indices, indptr), shape=shape)
            self._measured = _Measured(ineligible, torch.cat(ends), barred)
        return self._measured

    def _ineligible_places(
        self, rows: Tensor, ineligible: csr_matrix, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Place among the rows (B,) of each ineligible pair, and its column's from the window's first."""
        pairs = csr_rows(ineligible, rows.numpy())
        real = pairs[1] > 0
        owners, columns = (torch.from_numpy(part[real]) for part in pairs)
        places = positions[columns - 1] - self._starts.cpu()[self._groups.cpu()[rows]][owners]
        places += self._length * (places < 0)
        return owners, places

    def _positions(self) -> Tensor:
        """(n_columns - 1,): where on the circle each column is, column 1 first."""
        columns = self._columns.cpu()
        positions = torch.empty_like(columns)
        positions[columns - 1] = torch.arange(self._length)
        return positions

    def _ends(self, n_rows: int, owners: Tensor, places: Tensor) -> Tensor:
        """(B,) smallest window of each row that holds ``n_samples`` eligible columns, or all there are."""
        wanted = self._length if self.n_samples is None else min(self.n_samples, self._length)
        bounds = torch.searchsorted(owners, torch.arange(n_rows + 1, device=owners.device))
        ends = torch.full((n_rows,), wanted, dtype=torch.int64, device=places.device)
        while True:
            within = torch.zeros(len(places) + 1, dtype=torch.int64, device=places.device)
            torch.cumsum(places < ends[owners], dim=0, out=within[1:])
            barred = within[bounds[1:]] - within[bounds[:-1]]
            longer = (barred + wanted).clamp_(max=self._length)
            if torch.equal(longer, ends):
                return ends
            ends = longer

    def state_dict(self) -> dict[str, Tensor]:
        """The permutation, the groups, their places and the state of the generator."""
        return {
            "columns": self._columns.clone(),
            "groups": self._groups.clone(),
            "starts": self._starts.clone(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned.

        Args:
            state: the state of a sampler of the same size.

        Raises:
            ValueError: If the state is of another size.
        """
        sizes = [len(state[name]) for name in ("columns", "groups", "starts")]
        if sizes != [self._length, self.n_rows, _GROUPS]:
            raise ValueError(
                f"the state is of {sizes[0] + 1} columns, {sizes[1]} rows and {sizes[2]} groups, the sampler "
                f"of {self.n_columns}, {self.n_rows} and {_GROUPS}"
            )
        self._columns = state["columns"].to(self._columns, copy=True)
        self._groups = state["groups"].to(self._groups, copy=True)
        self._starts = state["starts"].to(self._starts, copy=True)
        self._measured = None
        self._generator.set_state(state["generator"])
