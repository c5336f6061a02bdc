r"""Checks of costs."""

from __future__ import annotations

from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError


def check_costs(costs: Tensor) -> None:
    r"""Refuse costs that cannot be compared.

    Args:
        costs: A tensor of costs of any shape.

    Raises:
        InvalidCostError: If a cost is not positive and finite, or if the largest is so
            far from the smallest that their ratio overflows.
    """
    if costs.numel() == 0:
        return
    valid = costs.isfinite() & (costs > 0)
    if not valid.all():
        raise InvalidCostError(
            "Expected costs that are positive and finite, but got"
            f" {costs[~valid][0].item()}. Bound the cost model away from zero."
        )
    smallest, largest = costs.aminmax()
    if not (largest / smallest).isfinite():
        raise InvalidCostError(
            "Expected costs whose ratio is finite, but got"
            f" {smallest.item()} and {largest.item()}. Express all costs in one unit."
        )
