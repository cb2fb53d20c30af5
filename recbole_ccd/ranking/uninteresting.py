"""Draws the uninteresting columns of the list-wise loss, the same ones until the next redraw."""

import torch
from torch import Tensor


class UninterestingSampler:
    r"""Uniform samples without replacement of most of a catalogue, in little state and few passes.

    All rows share one random permutation of the columns, and each row has a random offset into it: the row
    takes the first ``n_samples`` eligible columns in circular order from its offset. For any single row that
    is a uniform sample of the eligible columns; the samples of two rows are not independent, since only the
    offsets differ. The state is O(n_columns + n_rows), a mask costs a few passes over (B, n_columns), and no
    row is remembered.

    Source: the set Z of RRD, Kang et al., CIKM 2020, redrawn every few epochs in CCD, Lee et al., KDD 2024.

    Args:
        n_columns: Number of columns, column 0 ([PAD]) included.
        n_rows: Number of rows, row 0 included.
        n_samples: Columns per row; None for all that are eligible.
        generator: Source of the permutation and the offsets.

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
        """Draw a new permutation and new offsets."""
        draw = {"generator": self._generator, "device": self._generator.device}
        # Position of column c is entry c - 1; the inverse of a random permutation is one as well.
        self._positions = torch.randperm(self._length, **draw)
        self._offsets = torch.randint(max(self._length, 1), (self.n_rows,), **draw)

    def mask(self, rows: Tensor, ineligible_rows: Tensor, ineligible_cols: Tensor) -> Tensor:
        """Sampled columns of a batch of rows.

        Args:
            rows: (B,) row ids.
            ineligible_rows: (E,) index into the batch of each ineligible pair.
            ineligible_cols: (E,) column of each ineligible pair; repeated pairs and column 0 are harmless.

        Returns:
            (B, n_columns) bool with exactly min(n_samples, eligible columns) True in each row.
        """
        if self.n_samples is None or self._length == 0:
            result = torch.ones(len(rows), self.n_columns, dtype=torch.bool, device=rows.device)
        else:
            result = self._windows(rows, ineligible_rows, ineligible_cols)
        result[:, 0] = False
        result[ineligible_rows, ineligible_cols] = False
        return result

    def state_dict(self) -> dict[str, Tensor]:
        """The permutation, the offsets and the state of the generator."""
        return {
            "positions": self._positions.clone(),
            "offsets": self._offsets.clone(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned.

        Args:
            state: The state of a sampler of the same size.

        Raises:
            ValueError: If the state is of another size.
        """
        if len(state["positions"]) != self._length or len(state["offsets"]) != self.n_rows:
            raise ValueError(
                f"the state is of {len(state['positions']) + 1} columns and {len(state['offsets'])} rows, "
                f"the sampler of {self.n_columns} and {self.n_rows}"
            )
        self._positions = state["positions"].to(self._positions, copy=True)
        self._offsets = state["offsets"].to(self._offsets, copy=True)
        self._generator.set_state(state["generator"])

    def _windows(self, rows: Tensor, ineligible_rows: Tensor, ineligible_cols: Tensor) -> Tensor:
        """(B, n_columns): the circular window of each row that holds its samples and ineligible columns."""
        length = self._length
        positions = self._positions.to(rows.device)
        starts = self._offsets.to(rows.device)[rows]
        kept = self._window_lengths(positions, starts, ineligible_rows, ineligible_cols)
        ends = starts + kept
        wrapped = ends >= length
        ends = torch.where(wrapped, ends - length, ends)
        # Narrow integers: the comparisons are bound by the width of what they read.
        narrow = torch.int16 if length < 2**15 else torch.int32
        places = torch.cat([positions.new_zeros(1), positions]).to(narrow)
        result = places >= starts[:, None].to(narrow)
        result ^= places >= ends[:, None].to(narrow)
        # As bytes: torch has no fast kernel for the broadcast of bools.
        result.view(torch.uint8).bitwise_xor_(wrapped[:, None].view(torch.uint8))
        return result

    def _window_lengths(
        self, positions: Tensor, starts: Tensor, ineligible_rows: Tensor, ineligible_cols: Tensor
    ) -> Tensor:
        """(B,) length of each row's window: all positions but the last ones that hold the columns to drop."""
        length, n_batch = self._length, len(starts)
        real = ineligible_cols > 0
        row = ineligible_rows[real]
        circular = (positions[ineligible_cols[real] - 1] - starts[row]) % length
        # By row, and from the end of the circle within a row; sorting also brings repeated pairs together.
        keys = torch.unique(row * length + (length - 1 - circular))
        row = torch.div(keys, length, rounding_mode="floor")
        from_end = keys - row * length
        counts = torch.bincount(row, minlength=n_batch)
        order = torch.arange(len(keys), device=keys.device) - (counts.cumsum(0) - counts)[row]
        dropped = (length - counts - self.n_samples).clamp(min=0)
        # The j-th ineligible position from the end lies in the dropped window exactly if fewer than
        # ``dropped`` eligible ones come after it; that number grows with j, so the ones inside are the first
        # ones.
        inside = from_end - order < dropped[row]
        return length - dropped - torch.bincount(row[inside], minlength=n_batch)
