"""Draws the uninteresting columns of the list-wise loss, the same ones until the next redraw."""

from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.loss.windowed import Windows

# rows that share a window; in batches of a thousand rows enough of them come together for fast products
_GROUPS = 8


class UninterestingSampler:
    r"""Uniform samples without replacement of most of a catalogue, a window of a shuffled circle per row.

    All rows share one random permutation of the columns, laid out as a circle. Rows are dealt into a few
    groups, each with a random place on the circle: a row takes the first ``n_samples`` eligible columns
    from its group's place on. For any single row that is a uniform sample of the eligible columns; the
    samples of two rows are not independent. What rows share is what makes it cheap: the scores of a group
    are one matrix product with neighbouring columns, whatever share of the catalogue is sampled. The state
    is O(n_columns + n_rows), and no row's sample is stored.

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

    def windows(self, rows: Tensor, ineligible: csr_matrix) -> Windows:
        """Sampled columns of a batch of rows.

        Args:
            rows: (B,) row ids.
            ineligible: pairs (row, column) that are never sampled, without repeated ones.

        Returns:
            A window for each row that holds exactly min(n_samples, eligible columns) columns besides those
            barred.
        """
        groups = self._groups.to(rows.device)[rows]
        order = groups.argsort(stable=True)
        groups, positions = groups[order], self._positions(rows.device)
        pairs = csr_rows(ineligible, rows[order].cpu().numpy())
        real = pairs[1] > 0
        owners, columns = (torch.from_numpy(part[real]).to(rows.device) for part in pairs)
        starts = self._starts.to(rows.device)[groups]
        places = positions[columns - 1] - starts[owners]
        places += self._length * (places < 0)
        ends = self._ends(len(rows), owners, places)
        inside = places < ends[owners]
        circle = self._columns.to(rows.device)
        sizes = torch.bincount(groups, minlength=_GROUPS).tolist()
        return Windows(
            columns=torch.cat([circle, circle]),
            order=order,
            tiles=[(size, start) for size, start in zip(sizes, self._starts.tolist(), strict=True) if size],
            ends=ends,
            barred_rows=owners[inside],
            barred_places=places[inside],
        )

    def _positions(self, device: torch.device) -> Tensor:
        """(n_columns - 1,): where on the circle each column is, column 1 first."""
        positions = torch.empty_like(self._columns)
        positions[self._columns - 1] = torch.arange(self._length, device=positions.device)
        return positions.to(device)

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
        self._generator.set_state(state["generator"])
