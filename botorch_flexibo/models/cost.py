r"""Models of cost: learned from what was paid, and shared between measurements.

A cost model says what measuring each outcome of a design costs *alone*. A
:class:`CostModel` says more: what several measurements cost together, and what it
learns from payments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from torch import Tensor
from torch.nn import ModuleDict

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models._cost_base import (
    CostModel,
    PaidCosts,
    check_evaluation_mask,
    check_paid,
    masked_sum,
    predicted_costs,
)
from botorch_flexibo.models._log_cost import fit_log_cost
from botorch_flexibo.models._setup_cost import SetupCostModel
from botorch_flexibo.models._unreliable_cost import UnreliableCostModel
from botorch_flexibo.utils.checks import finite_number

__all__ = [
    "CostModel",
    "LogNormalCostModel",
    "PaidCosts",
    "SetupCostModel",
    "UnreliableCostModel",
    "masked_sum",
    "predicted_costs",
]


class LogNormalCostModel(CostModel):
    r"""Costs learned from what was paid, by one GP per outcome on their logarithm.

    ``log(cost / guess) = c + f(x) + noise`` with a constant ``c ~ N(0, prior_sd^2)``
    and a GP ``f``. The cost returned is the mean of what will be paid, ``guess *
    exp(mu + sigma^2 / 2)`` with ``sigma^2`` the predictive variance, noise included,
    and it stays within ``max_ratio`` of what was paid. An outcome nobody paid for costs
    the guess. The prior of ``f`` and noise prefers costs that hardly depend on the
    design, so a few payments correct the guess everywhere without inflating it.

    The hyperparameters of ``n`` payments are those fitted to the first ``k``, where
    ``k <= n`` grows in steps of 10%: the model is a function of the payments alone, and
    most updates only condition on the new ones.

    Example:
        >>> bounds = torch.tensor([[0.0], [1.0]])
        >>> model = LogNormalCostModel(torch.tensor([10.0, 1.0]), bounds=bounds)
        >>> X = torch.tensor([[0.5]])
        >>> model(X).tolist()
        [[10.0, 1.0]]
        >>> paid = PaidCosts(X, torch.tensor([[20.0, torch.nan]]), torch.zeros(1))
        >>> [round(cost) for cost in model.update(paid)(X)[0].tolist()]
        [20, 1]
    """

    prior_costs: Tensor
    bounds: Tensor

    def __init__(
        self,
        prior_costs: Tensor,
        *,
        bounds: Tensor,
        categorical_features: Sequence[int] = (),
        prior_sd: float = math.log(10.0),
        max_ratio: float = 10.0,
    ) -> None:
        r"""Cost model that has seen no payment yet.

        Args:
            prior_costs: A ``m``-dim tensor: a guess of the cost of each outcome, all in
                the same unit. Costs have its dtype and device.
            bounds: A ``2 x d``-dim tensor of lower and upper bounds of the designs.
            categorical_features: Columns whose values are labels without an order.
            prior_sd: Standard deviation of ``log(cost / guess)``, before anything is
                paid: by default a guess is right up to a factor of about ten.
            max_ratio: Predicted costs are at most this factor above the largest and
                below the smallest of the guess and the payments of an outcome.

        Raises:
            InvalidCostError: If a guess is not positive and finite.
            BotorchTensorDimensionError: If a tensor has the wrong shape.
            InputDataError: If a categorical column does not exist or a number is out of
                its range.
        """
        super().__init__()
        _check_guess(prior_costs, bounds)
        d = bounds.shape[-1]
        if not all(0 <= column < d for column in categorical_features):
            raise InputDataError(
                f"Expected categorical_features within 0..{d - 1}, but got"
                f" {list(categorical_features)}. Pass column indices of the designs."
            )
        numbers = finite_number(prior_sd) or 0.0, finite_number(max_ratio) or 0.0
        if not (numbers[0] > 0 and numbers[1] >= 1):
            raise InputDataError(
                "Expected a positive, finite prior_sd and a finite max_ratio >= 1, but"
                f" got prior_sd={prior_sd!r} and max_ratio={max_ratio!r}. Leave them"
                " out for the defaults."
            )
        self._num_outputs = len(prior_costs)
        self.register_buffer("prior_costs", prior_costs)
        self.register_buffer("bounds", bounds.to(prior_costs.device, torch.float64))
        self.categorical_features = sorted(categorical_features)
        self.prior_sd, self.max_ratio = numbers
        self._learned = ModuleDict()  # outcomes somebody paid for, by their index

    def forward(self, X: Tensor) -> Tensor:
        r"""Expected cost of each outcome.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.

        Returns:
            A ``batch_shape x q x m``-dim tensor of costs.
        """
        return torch.stack([self._cost(i, X) for i in range(self.num_outputs)], dim=-1)

    def joint_cost(self, X: Tensor, evaluation_mask: Tensor | None = None) -> Tensor:
        r"""Cost of a batch of measurements: the sum of what each costs alone.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.

        Raises:
            BotorchTensorDimensionError: If the mask is not ``q x m``-dim.
        """
        if evaluation_mask is None:
            return masked_sum(self.forward(X), None)
        check_evaluation_mask(evaluation_mask, X.shape[-2], self.num_outputs)
        # What is not measured is not predicted.
        wanted = evaluation_mask.any(dim=-2).tolist()
        costs = [
            self._cost(i, X) if wanted[i] else self.prior_costs[i].expand(X.shape[:-1])
            for i in range(self.num_outputs)
        ]
        return masked_sum(torch.stack(costs, dim=-1), evaluation_mask)

    def _cost(self, outcome: int, X: Tensor) -> Tensor:
        """Expected cost of one outcome, ``batch_shape x q``."""
        guess, key = self.prior_costs[outcome], str(outcome)
        if key not in self._learned or X.numel() == 0:
            return guess.expand(X.shape[:-1])
        return guess * self._learned[key](X.to(self.bounds)).to(guess)

    def update(self, paid: PaidCosts) -> LogNormalCostModel:
        r"""Learn from payments; an outcome without new ones is kept as it is.

        Args:
            paid: All payments so far. Set-up costs are ignored.

        Returns:
            The model after these payments.

        Raises:
            InvalidCostError: If a payment is not positive and finite.
            BotorchTensorDimensionError: If the shapes do not fit.
        """
        check_paid(paid, self.num_outputs)
        _check_payments(paid, self.bounds)
        model = LogNormalCostModel(
            self.prior_costs,
            bounds=self.bounds,
            categorical_features=self.categorical_features,
            prior_sd=self.prior_sd,
            max_ratio=self.max_ratio,
        )
        X, costs = paid.X.to(self.bounds), paid.costs.to(self.bounds)
        for i in range(self.num_outputs):
            rows = ~costs[:, i].isnan()
            if not rows.any():
                continue
            model._learned[str(i)] = fit_log_cost(
                X[rows],
                (costs[rows, i] / self.prior_costs[i].to(costs)).log(),
                bounds=self.bounds,
                categorical_features=self.categorical_features,
                prior_sd=self.prior_sd,
                max_ratio=self.max_ratio,
                last=self._learned[str(i)] if str(i) in self._learned else None,
            )
        return model


def _check_guess(prior_costs: Tensor, bounds: Tensor) -> None:
    if prior_costs.ndim != 1 or len(prior_costs) == 0:
        raise BotorchTensorDimensionError(
            "Expected prior_costs to have one element per outcome, but got shape"
            f" {shape_to_str(prior_costs.shape)}. Pass a `m`-dim tensor."
        )
    if not prior_costs.is_floating_point():
        raise InputDataError(
            f"Expected prior_costs of a floating-point dtype, but got"
            f" {prior_costs.dtype}. Convert it with `prior_costs.double()`."
        )
    valid = prior_costs.isfinite() & (prior_costs > 0)
    if not valid.all():
        raise InvalidCostError(
            "Expected prior_costs that are positive and finite, but got"
            f" {prior_costs[~valid][0].item()}. Guess a positive cost of each outcome."
        )
    if bounds.ndim != 2 or len(bounds) != 2:
        raise BotorchTensorDimensionError(
            f"Expected bounds to be `2 x d`, but got {shape_to_str(bounds.shape)}. Pass"
            " the lower bounds in the first row and the upper ones in the second."
        )


def _check_payments(paid: PaidCosts, bounds: Tensor) -> None:
    if paid.X.shape[-1] != bounds.shape[-1]:
        raise BotorchTensorDimensionError(
            f"Expected payments for designs with {bounds.shape[-1]} columns, as the"
            f" bounds, but got {paid.X.shape[-1]}. Pass X in the space of the bounds."
        )
    valid = paid.costs.isnan() | (paid.costs.isfinite() & (paid.costs > 0))
    if not valid.all():
        raise InvalidCostError(
            "Expected payments that are positive and finite, or NaN where nothing was"
            f" measured, but got {paid.costs[~valid][0].item()}. Leave out measurements"
            " that were free."
        )
