r"""Cost-aware utilities for decoupled evaluations.

A utility turns the value of a measurement into value per cost. BoTorch's
``InverseCostWeightedUtility`` does so when all points of a batch are measured on the
same outcomes; :class:`DecoupledCostUtility` allows any mask per point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.models.model import Model
from botorch.sampling.base import MCSampler
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models.cost import CostModel, masked_sum
from botorch_flexibo.utils.checks import (
    check_batch_cost,
    check_count,
    finite_number,
)
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.posterior import posterior_mean


def per_cost(cost: Tensor) -> Tensor:
    r"""Divide values by their cost (the paper's cost-aware acquisition).

    One of the weightings of :class:`DecoupledCostUtility`.

    Args:
        cost: A tensor of costs, of any shape.

    Returns:
        What values are divided by.
    """
    return cost


def unweighted(cost: Tensor) -> Tensor:
    r"""Ignore costs (the paper's cost-unaware control).

    One of the weightings of :class:`DecoupledCostUtility`.

    Args:
        cost: A tensor of costs, of any shape.

    Returns:
        What values are divided by: ones.
    """
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
        if not (finite_number(self.unit) or 0.0) > 0:
            raise InvalidCostError(
                f"Expected a positive, finite unit of cost, but got {self.unit!r}."
                " Pass the cost of the cheapest outcome."
            )

    def __call__(self, cost: Tensor) -> Tensor:
        """Divisor for a tensor of costs, of the same shape."""
        return torch.log1p(cost / self.unit)


def check_decision_cost(cost: object) -> float:
    r"""Refuse what is no price of a decision.

    Args:
        cost: The price.

    Returns:
        The price.

    Raises:
        InvalidCostError: If it is negative or not finite.
    """
    price = finite_number(cost)
    if price is None or price < 0:
        raise InvalidCostError(
            f"Expected a finite decision_cost >= 0, but got {cost!r}. Use 0 if only"
            " measurements cost something."
        )
    return price


def _whole_price(cost: Tensor) -> Tensor:
    """The part of its decision's price that a measurement bears by default: all."""
    return torch.ones_like(cost)


@dataclass(frozen=True)
class SharedPrice:
    r"""The part of a decision's price that a measurement of a filled batch bears.

    A batch ends after ``q`` measurements, or once it costs ``batch_cost``. Of
    measurements that cost ``c`` each it holds about ``batch_cost / c``, and never more
    than ``q`` or fewer than one: each bears ``clamp(c / batch_cost, 1 / q, 1)`` of the
    price. Charged with the whole, a cheap measurement would have to pay alone for a
    decision that asks for many.

    Attributes:
        q: The largest number of measurements per decision.
        batch_cost: The cost at which a batch ends, infinity for no limit.

    Raises:
        InputDataError: If ``q`` is no whole number of at least 1, or ``batch_cost`` no
            positive number.

    Example:
        >>> SharedPrice(q=8, batch_cost=10.0)(torch.tensor([1.0, 5.0, 40.0]))
        tensor([0.1250, 0.5000, 1.0000])
    """

    q: int
    batch_cost: float = torch.inf

    def __post_init__(self) -> None:
        check_count(self.q, "q")
        check_batch_cost(self.batch_cost)

    def __call__(self, cost: Tensor) -> Tensor:
        """Part of the price for a tensor of costs, of the same shape."""
        return (cost / self.batch_cost).clamp(1 / self.q, 1.0)


class DecoupledCostUtility(CostAwareUtility):
    r"""Value per cost, with its own set of measured outcomes for every point.

    ``utility = delta / w(c + decision_cost * decision_share(c))`` with ``c`` the sum of
    the predicted mean costs of all masked (point, outcome) pairs and ``w`` the
    weighting. A cost model that is a ``CostModel`` says itself what the pairs cost
    together: a set-up that they share counts once. A non-positive ``delta`` is
    multiplied instead, so that a more expensive twin is never preferred.

    Attributes:
        decision_share: The part of the price of a decision that measurements of a cost
            are charged with: a function of a tensor of costs. It is 1, and a
            :class:`SharedPrice` while a search fills a batch.

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
        *,
        decision_cost: float = 0.0,
    ) -> None:
        r"""Decoupled cost utility.

        Args:
            cost_model: A model with one output per outcome, its posterior mean the
                cost of measuring that outcome, all in the same unit, positive. For
                example ``FixedCostModel`` or ``GenericDeterministicModel``.
            weighting: Maps costs to divisors: :func:`per_cost`, :class:`LogDamped`,
                :func:`unweighted` or any positive, non-decreasing function.
            decision_cost: The price of one decision, in the unit of the costs: of
                waking up the optimiser and whoever measures. It is added once to the
                cost of a joint batch. With it, an expensive measurement that tells much
                may beat a cheap one that tells little but more per cost. A search that
                fills a batch charges its first pick with a :class:`SharedPrice` and the
                others with none.

        Raises:
            InvalidCostError: If the price of a decision is negative or not finite.
        """
        price = check_decision_cost(decision_cost)
        super().__init__()
        self.cost_model = cost_model
        self.weighting = weighting
        self.decision_cost = price
        self.decision_share: Callable[[Tensor], Tensor] = _whole_price

    def outcome_costs(self, X: Tensor) -> Tensor:
        r"""Predicted cost of each outcome at each point, measured alone.

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
            A ``batch_shape``-dim tensor of total costs, one decision included.

        Raises:
            InvalidCostError: If a cost is not positive and finite, or if the largest
                is so far from the smallest that their ratio overflows.
            BotorchTensorDimensionError: If the mask does not fit ``X`` and the model.
        """
        return self.with_decision(self.measurement_cost(X, X_evaluation_mask))

    def with_decision(self, cost: Tensor) -> Tensor:
        r"""Add what measurements bear of the price of their decision.

        Args:
            cost: A tensor of costs, of any shape.

        Returns:
            ``cost + decision_cost * decision_share(cost)``.
        """
        return cost + self.decision_cost * self.decision_share(cost)

    def measurement_cost(
        self, X: Tensor, X_evaluation_mask: Tensor | None = None
    ) -> Tensor:
        r"""As :meth:`cost`, without the decision.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            X_evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.

        Raises:
            InvalidCostError: As :meth:`cost`.
            BotorchTensorDimensionError: As :meth:`cost`.
        """
        if isinstance(self.cost_model, CostModel):
            cost = self.cost_model.joint_cost(X, X_evaluation_mask)
            if X_evaluation_mask is None or X_evaluation_mask.any():
                check_costs(cost)
            return cost
        return masked_sum(self.outcome_costs(X), X_evaluation_mask)

    def mask_costs(self, X: Tensor, evaluation_masks: Tensor) -> Tensor:
        r"""As :meth:`measurement_cost`, of every mask at every design.

        Args:
            X: A ``n x d``-dim tensor of designs.
            evaluation_masks: A ``k x m``-dim boolean tensor of masks.

        Returns:
            A ``n x k``-dim tensor of costs.

        Raises:
            InvalidCostError: As :meth:`cost`.
        """
        with torch.no_grad():
            costs = [
                self.measurement_cost(X.unsqueeze(-2), mask.unsqueeze(0))
                for mask in evaluation_masks.to(X.device)
            ]
        return torch.stack(costs, dim=-1)

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
        return self.weigh(deltas, self.cost(X, X_evaluation_mask))

    def weigh(self, deltas: Tensor, cost: Tensor) -> Tensor:
        r"""Weigh values by costs that are known already.

        Args:
            deltas: A ``sample_shape x batch_shape``-dim tensor of values.
            cost: A ``batch_shape``-dim tensor of :meth:`cost`, one decision included.

        Returns:
            A ``sample_shape x batch_shape``-dim tensor of utilities.
        """
        divisor = self.weighting(cost)
        gain = deltas > 0
        # Nothing is divided where it would not count: gradients stay finite.
        utility = deltas / torch.where(gain, divisor, 1.0)
        return torch.where(gain, utility, deltas * divisor)


def decoupled_utility(
    acq_function: AcquisitionFunction,
) -> DecoupledCostUtility | None:
    r"""The utility that tells an acquisition function the costs of its pairs.

    Args:
        acq_function: Any acquisition function.

    Returns:
        Its ``cost_aware_utility``, or None if that is no :class:`DecoupledCostUtility`.
    """
    utility = getattr(acq_function, "cost_aware_utility", None)
    return utility if isinstance(utility, DecoupledCostUtility) else None
