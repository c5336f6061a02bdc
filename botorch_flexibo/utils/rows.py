r"""Exact look-up of designs (rows of floating-point tensors)."""

from __future__ import annotations

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.logging import shape_to_str
from torch import Tensor

_LOW_35_BITS = 2**35 - 1
# Odd 64-bit multipliers of a polynomial hash over the bit patterns of a row.
_MULTIPLIERS = (0x9E3779B97F4A7C15 - 2**64, 0xC2B2AE3D27D4EB4F - 2**64)


class RowIndex:
    r"""Finds rows by exact equality: one sort to build, a binary search per look-up.

    Works on any device, for any number of rows and columns. ``-0.0`` equals ``0.0``.

    Example:
        >>> index = RowIndex(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
        >>> index.find(torch.tensor([[2.0, 3.0], [9.0, 9.0]])).tolist()
        [1, -1]
    """

    def __init__(self, rows: Tensor) -> None:
        r"""Sort the rows by a hash of their bits.

        Args:
            rows: A ``n x d``-dim tensor. Of equal rows the first is found.

        Raises:
            BotorchTensorDimensionError: If ``rows`` is not two-dimensional.
        """
        if rows.ndim != 2:
            raise BotorchTensorDimensionError(
                f"Expected rows to be `n x d`, but got {shape_to_str(rows.shape)}. Pass"
                " one per row."
            )
        self._rows = rows
        for multiplier in _MULTIPLIERS:
            self._multiplier = multiplier
            keys = self._hash(rows)
            self._keys, self._order = keys.sort(stable=True)
            if self._hash_is_injective():
                break

    def find(self, rows: Tensor) -> Tensor:
        r"""Position of each row, or -1.

        Args:
            rows: A ``batch_shape x d``-dim tensor.

        Returns:
            A ``batch_shape``-dim tensor of indices into the rows of the index.

        Raises:
            BotorchTensorDimensionError: If the number of columns differs.
        """
        if rows.shape[-1] != self._rows.shape[-1]:
            raise BotorchTensorDimensionError(
                f"Expected rows with {self._rows.shape[-1]} columns, but got shape"
                f" {shape_to_str(rows.shape)}. Pass rows like those indexed."
            )
        flat = rows.reshape(-1, rows.shape[-1])
        if len(self._keys) == 0 or len(flat) == 0:
            missing = torch.full((len(flat),), -1, device=rows.device)
            return missing.reshape(rows.shape[:-1])
        slot = torch.searchsorted(self._keys, self._hash(flat))
        found = self._order[slot.clamp_max(len(self._keys) - 1)]
        equal = (self._rows[found] == flat).all(dim=-1)
        return torch.where(equal, found, -1).reshape(rows.shape[:-1])

    def _hash(self, rows: Tensor) -> Tensor:
        """64-bit keys with wrap-around integer arithmetic, equal on every device."""
        # Adding zero turns -0.0 into 0.0.
        bits = (rows.detach().to(torch.float64) + 0.0).contiguous().view(torch.int64)
        keys = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        for column in bits.unbind(dim=-1):
            keys = (keys ^ column) * self._multiplier
            # Shifts of int64 repeat the sign bit, which would merge signs.
            keys = keys ^ ((keys >> 29) & _LOW_35_BITS)
        return keys * self._multiplier

    def _hash_is_injective(self) -> bool:
        """Whether equal neighbours in the sorted keys are equal rows."""
        ordered = self._rows[self._order]
        same_key = self._keys[1:] == self._keys[:-1]
        same_row = (ordered[1:] == ordered[:-1]).all(dim=-1)
        return bool((~same_key | same_row).all())


def sum_by_row(X: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    r"""Values added up over equal rows.

    Args:
        X: A ``n x d``-dim tensor.
        values: A ``n x m``-dim tensor of numbers.

    Returns:
        The ``k x d``-dim distinct rows, in their order, and their ``k x m``-dim sums.
    """
    first = RowIndex(X).find(X)
    kept = first == torch.arange(len(X), device=X.device)
    sums = torch.zeros_like(values).index_add(0, first, values)
    return X[kept], sums[kept]


def unique_rows(X: Tensor) -> Tensor:
    r"""Rows without repetitions, in their order.

    Args:
        X: A ``n x d``-dim tensor.

    Returns:
        A ``k x d``-dim tensor: the first copy of each row.
    """
    first = RowIndex(X).find(X) == torch.arange(len(X), device=X.device)
    return X if bool(first.all()) else X[first]
