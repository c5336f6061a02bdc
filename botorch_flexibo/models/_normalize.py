r"""Inputs as the models of the package take them."""

from __future__ import annotations

from collections.abc import Collection

import torch
from botorch.models.transforms.input import Normalize
from torch import Tensor


def normalize_numeric(bounds: Tensor, categorical: Collection[int]) -> Normalize | None:
    r"""Transform the columns that are numbers to the unit cube.

    Args:
        bounds: A ``2 x d``-dim tensor of lower and upper bounds. Columns where they are
            equal are moved only.
        categorical: Columns whose values are labels.

    Returns:
        The transform; None if all columns are categorical.
    """
    d = bounds.shape[-1]
    numeric = [column for column in range(d) if column not in categorical]
    if not numeric:
        return None
    lower, upper = bounds
    upper = torch.where(lower == upper, upper + 1, upper)
    some = numeric if len(numeric) < d else None  # all at once are not copied first
    return Normalize(d, indices=some, bounds=torch.stack([lower, upper]))
