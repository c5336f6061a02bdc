r"""Cost-aware utilities for decoupled evaluations.

A utility turns the value of a measurement into value per cost. BoTorch's
``InverseCostWeightedUtility`` does so when all points of a batch are measured on the
same outcomes; :class:`DecoupledCostUtility` allows any mask per point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.logging import shape_to_str
from botorch.models.model import Model
from botorch.sampling.base import MCSampler
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.utils.posterior import posterior_mean


def per_cost(cost: Tensor) -> Tensor:
    """Divide values by their cost (the paper's cost-aware acquisition)."""
    return cost


def unweighted(cost: Tensor) -> Tensor:
    """Ignore costs (the paper's cost-unaware control)."""
    return torch.ones_like(cost)


@dataclass(frozen=True)
class LogDamped:
    r"""Divide values by ``log(1 + cost / unit)`` (the paper's "log cost").

    NOTE: What the published "log cost" divides by is not recoverable from paper or
    code. The damping here never vanishes and depends on cost ratios only, so a common
    factor of all costs changes no choice if ``unit`` carries it too.

    Attributes:
        unit: The cost that counts as one, typically that of the cheapest outcome.
    """

    unit: float

    def __post_init__(self) -> None:
        """Check the unit.

        Raises:
            InvalidCostError: If the unit is not positive and finite.
        """
        if not 0 < self.unit < math.inf:
            raise InvalidCostError(
                f"Expected a positive, finite unit of cost, but got {self.unit}."
            )

    def __call__(self, cost: Tensor) -> Tensor:
        """Divisor for a tensor of costs, of the same shape."""
        return torch.log1p(cost / self.unit)


class DecoupledCostUtility(CostAwareUtility):
    r"""Value per cost, with its own set of measured outcomes for every point.

    ``utility = delta / w(c)`` with ``c`` the sum of the predicted mean costs of all
    masked (point, outcome) pairs and ``w`` the weighting. A non-positive ``delta`` is
    multiplied instead, so that a dearer twin is never preferred.

    Example:
        >>> from botorch.models.cost import FixedCostModel
        >>> utility = DecoupledCostUtility(FixedCostModel(torch.tensor([10.0, 1.0])))
        >>> mask = torch.tensor([[True, False], [False, True]])
        >>> utility.cost(torch.rand(2, 3), mask).item()
        11.0
    """

    def __init__(
        self,
        cost_model: Model,
        weighting: Callable[[Tensor], Tensor] = per_cost,
    ) -> None:
        r"""Decoupled cost utility.

        Args:
            cost_model: A model with one output per outcome, its posterior mean the
                cost of measuring that outcome, all in the same unit, positive. For
                example ``FixedCostModel`` or ``GenericDeterministicModel``.
            weighting: Maps costs to divisors: :func:`per_cost`, :class:`LogDamped`,
                :func:`unweighted` or any positive, non-decreasing function.
        """
        super().__init__()
        self.cost_model = cost_model
        self.weighting = weighting

    def outcome_costs(self, X: Tensor) -> Tensor:
        r"""Predicted cost of each outcome at each point.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.

        Returns:
            A ``batch_shape x q x m``-dim tensor of costs.

        Raises:
            InvalidCostError: If a cost is not positive and finite, or if the largest
                is so far from the smallest that their ratio overflows.
        """
        costs = posterior_mean(self.cost_model, X)
        check_costs(costs)
        return costs

    def cost(self, X: Tensor, X_evaluation_mask: Tensor | None = None) -> Tensor:
        r"""Predicted cost of a batch of decoupled measurements.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            X_evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.

        Raises:
            BotorchTensorDimensionError: If the mask does not fit ``X`` and the model.
        """
        costs = self.outcome_costs(X)
        if X_evaluation_mask is not None:
            if X_evaluation_mask.shape != costs.shape[-2:]:
                raise BotorchTensorDimensionError(
                    "Expected X_evaluation_mask of shape"
                    f" {shape_to_str(costs.shape[-2:])} (points x outputs of the cost"
                    f" model), but got {shape_to_str(X_evaluation_mask.shape)}."
                )
            costs = costs * X_evaluation_mask
        return costs.sum(dim=(-2, -1))

    def forward(
        self,
        X: Tensor,
        deltas: Tensor,
        sampler: MCSampler | None = None,
        X_evaluation_mask: Tensor | None = None,
    ) -> Tensor:
        r"""Weigh values by the cost of obtaining them.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            deltas: A ``sample_shape x batch_shape``-dim tensor of values.
            sampler: Ignored: the mean cost is used.
            X_evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``sample_shape x batch_shape``-dim tensor of utilities.
        """
        divisor = self.weighting(self.cost(X, X_evaluation_mask))
        return torch.where(deltas > 0, deltas / divisor, deltas * divisor)


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
