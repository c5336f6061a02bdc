r"""Costs of outcomes whose measurements may fail."""

from __future__ import annotations

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.models._cost_base import CostModel, PaidCosts, masked_sum
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import RowIndex


class UnreliableCostModel(CostModel):
    r"""Cost per success of measurements that may fail, and cost something all the same.

    The cost of an attempt times ``(attempts + 1) / (successes + 1)``: the expected
    number of attempts per success if each succeeds with the same probability, estimated
    with one success added to what was seen. An outcome that never failed costs what an
    attempt costs. Outcomes measured together cost what they cost together, times the
    mean of their factors, weighted by what each costs alone.

    Example:
        >>> from botorch.models.cost import FixedCostModel
        >>> model = UnreliableCostModel(
        ...     FixedCostModel(torch.tensor([10.0, 1.0])),
        ...     attempts=torch.tensor([5, 3]),
        ...     successes=torch.tensor([2, 3]),
        ... )
        >>> model(torch.tensor([[0.5]])).tolist()
        [[20.0, 1.0]]
    """

    factor: Tensor
    X_failed: Tensor | None
    X_failed_evaluation_mask: Tensor | None

    def __init__(
        self,
        cost_model: Model,
        *,
        attempts: Tensor,
        successes: Tensor,
        X_failed: Tensor | None = None,
        X_failed_evaluation_mask: Tensor | None = None,
    ) -> None:
        r"""Costs per success.

        Args:
            cost_model: The cost of one attempt: a model with ``m`` outputs.
            attempts: A ``m``-dim tensor: how often each outcome was measured.
            successes: A ``m``-dim tensor: how often that succeeded.
            X_failed: A ``n' x d``-dim tensor of designs at which measurements are given
                up. Where such a pair counts as pending, it makes nothing cheaper: what
                it failed to set up is still to be paid.
            X_failed_evaluation_mask: A ``n' x m``-dim boolean tensor of these pairs.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If there are more successes than attempts, or fewer than 0.
        """
        super().__init__()
        m = cost_model.num_outputs
        for name, counts in (("attempts", attempts), ("successes", successes)):
            if counts.shape != (m,):
                raise BotorchTensorDimensionError(
                    f"Expected {name} of shape `{m}`, one per output of the cost_model,"
                    f" but got {shape_to_str(counts.shape)}. Pass a count for each."
                )
        if not ((successes >= 0) & (successes <= attempts)).all():
            raise InputDataError(
                "Expected 0 <= successes <= attempts, but got successes"
                f" {successes.tolist()} of attempts {attempts.tolist()}. Count the"
                " attempts that failed too."
            )
        self._num_outputs = m
        self.cost_model = cost_model
        factor = (attempts + 1).to(torch.float64) / (successes + 1)
        self.register_buffer("factor", factor)
        self.register_buffer("X_failed", X_failed)
        self.register_buffer("X_failed_evaluation_mask", X_failed_evaluation_mask)

    def forward(self, X: Tensor) -> Tensor:
        r"""Cost per success of each outcome measured alone.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.

        Returns:
            A ``batch_shape x q x m``-dim tensor of costs.
        """
        costs = posterior_mean(self.cost_model, X)
        return costs * self.factor.to(costs)

    def joint_cost(self, X: Tensor, evaluation_mask: Tensor | None = None) -> Tensor:
        r"""Cost per success of a batch of measurements made together.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.
        """
        alone = posterior_mean(self.cost_model, X)
        repeated = masked_sum(alone * self.factor.to(alone), evaluation_mask)
        if not isinstance(self.cost_model, CostModel):
            return repeated
        once = masked_sum(alone, evaluation_mask)
        joint = self.cost_model.joint_cost(X, evaluation_mask)
        return joint * torch.where(once > 0, repeated / once, 1.0)

    def update(self, paid: PaidCosts) -> UnreliableCostModel:
        r"""Let the cost of an attempt be learned. The counts stay.

        Args:
            paid: All payments so far.

        Returns:
            The model after these payments.
        """
        if not isinstance(self.cost_model, CostModel):
            return self
        return self._around(self.cost_model.update(paid))

    def with_pending(self, X: Tensor, evaluation_mask: Tensor) -> UnreliableCostModel:
        r"""Costs of further measurements, given some that are certain to be made.

        Args:
            X: A ``n' x d``-dim tensor of pending designs.
            evaluation_mask: A ``n' x m``-dim boolean tensor of their outcomes. Pairs
                that are given up do not count.

        Returns:
            The model once these are paid.
        """
        if not isinstance(self.cost_model, CostModel):
            return self
        if self.X_failed is not None and self.X_failed_evaluation_mask is not None:
            row = RowIndex(self.X_failed).find(X)
            known = row >= 0
            failed = torch.zeros_like(evaluation_mask)
            failed[known] = self.X_failed_evaluation_mask[row[known]]
            evaluation_mask = evaluation_mask & ~failed
        return self._around(self.cost_model.with_pending(X, evaluation_mask))

    def _around(self, cost_model: Model) -> UnreliableCostModel:
        """The same counts around another model."""
        ones = torch.ones(self.num_outputs)
        model = UnreliableCostModel(
            cost_model,
            attempts=ones,
            successes=ones,
            X_failed=self.X_failed,
            X_failed_evaluation_mask=self.X_failed_evaluation_mask,
        )
        model.factor = self.factor
        return model
