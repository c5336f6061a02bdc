r"""What a cost model is: costs of measurements alone, together, and after payments."""

from __future__ import annotations

from abc import ABC
from typing import NamedTuple

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.logging import shape_to_str
from botorch.models.deterministic import DeterministicModel
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.utils.posterior import posterior_mean


class PaidCosts(NamedTuple):
    """What was paid so far, one row per request.

    Attributes:
        X: A ``n x d``-dim tensor of the designs measured.
        costs: A ``n x m``-dim tensor of what each outcome cost, NaN where not measured.
        setup_costs: A ``n``-dim tensor of what setting up the design cost, NaN where no
            set-up was paid.
    """

    X: Tensor
    costs: Tensor
    setup_costs: Tensor


class CostModel(DeterministicModel, ABC):
    r"""The cost of each outcome, and of outcomes measured together.

    ``forward`` maps designs, ``batch_shape x q x d``, to the cost of each outcome
    *measured alone*, ``batch_shape x q x m``. A subclass whose outcomes share a cost
    overrides :meth:`joint_cost` and :meth:`with_pending`; one that learns overrides
    :meth:`update`. A cost model is never changed, only replaced.

    Example:
        >>> class Epochs(CostModel):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self._num_outputs = 2
        ...
        ...     def forward(self, X):
        ...         return torch.cat([10 * X[..., :1], torch.ones_like(X[..., :1])], -1)
        >>> X = torch.tensor([[3.0], [5.0]])
        >>> Epochs().joint_cost(X, torch.tensor([[True, True], [False, True]])).item()
        32.0
    """

    def joint_cost(self, X: Tensor, evaluation_mask: Tensor | None = None) -> Tensor:
        r"""Cost of a batch of measurements made together.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.
        """
        return masked_sum(self.forward(X), evaluation_mask)

    def update(self, paid: PaidCosts) -> CostModel:
        r"""Learn from payments.

        Args:
            paid: All payments so far, not only the new ones.

        Returns:
            The model after these payments. The default does not learn.
        """
        return self

    def with_pending(self, X: Tensor, evaluation_mask: Tensor) -> CostModel:
        r"""Costs of further measurements, given some that are certain to be made.

        Args:
            X: A ``n' x d``-dim tensor of pending designs.
            evaluation_mask: A ``n' x m``-dim boolean tensor of their outcomes.

        Returns:
            The model once these are paid. By default nothing becomes cheaper.
        """
        return self


def predicted_costs(cost_model: Model, X: Tensor, evaluation_mask: Tensor) -> Tensor:
    r"""Predicted cost of requests that are measured one after the other.

    Args:
        cost_model: A model with ``m`` outputs. What the outcomes of a request or a
            request and its predecessors share counts once if it is a
            :class:`CostModel`.
        X: A ``n x d``-dim tensor of designs.
        evaluation_mask: A ``n x m``-dim boolean tensor of the outcomes to measure.

    Returns:
        A ``n``-dim tensor of costs.
    """
    if not isinstance(cost_model, CostModel):
        return (posterior_mean(cost_model, X) * evaluation_mask).sum(dim=-1)
    costs = []
    for x, mask in zip(X.split(1), evaluation_mask.split(1), strict=True):
        costs.append(cost_model.joint_cost(x, mask))
        cost_model = cost_model.with_pending(x, mask)
    return torch.stack(costs)


def masked_sum(costs: Tensor, evaluation_mask: Tensor | None) -> Tensor:
    r"""Sum of the costs of a batch over its masked pairs.

    Args:
        costs: A ``batch_shape x q x m``-dim tensor of costs.
        evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure at
            each point. None means all.

    Returns:
        A ``batch_shape``-dim tensor of total costs.

    Raises:
        BotorchTensorDimensionError: If the mask is not ``q x m``-dim.
    """
    if evaluation_mask is not None:
        check_evaluation_mask(evaluation_mask, costs.shape[-2], costs.shape[-1])
        # What is not measured costs nothing, however wrong its cost is.
        costs = torch.where(evaluation_mask, costs, 0.0)
    return costs.sum(dim=(-2, -1))


def check_evaluation_mask(mask: Tensor, q: int, num_outcomes: int) -> None:
    r"""Refuse a mask that does not fit points and cost model.

    Args:
        mask: The mask, to be ``q x m``-dim.
        q: The number of points.
        num_outcomes: The number of outcomes ``m``.

    Raises:
        BotorchTensorDimensionError: If it has another shape.
    """
    if mask.shape != (q, num_outcomes):
        raise BotorchTensorDimensionError(
            f"Expected X_evaluation_mask of shape `{q} x {num_outcomes}` (points x"
            f" outputs of the cost model), but got {shape_to_str(mask.shape)}. Pass"
            " one row per point."
        )


def check_paid(paid: PaidCosts, num_outcomes: int) -> None:
    r"""Refuse payments whose shapes do not fit.

    Args:
        paid: The payments.
        num_outcomes: The number of outcomes ``m``.

    Raises:
        BotorchTensorDimensionError: If a tensor has the wrong shape.
    """
    n = len(paid.X)
    if (
        paid.X.ndim != 2
        or paid.costs.shape != (n, num_outcomes)
        or paid.setup_costs.shape != (n,)
    ):
        raise BotorchTensorDimensionError(
            f"Expected payments with X `n x d`, costs `n x {num_outcomes}` and"
            f" setup_costs `n`, but got {shape_to_str(paid.X.shape)},"
            f" {shape_to_str(paid.costs.shape)} and"
            f" {shape_to_str(paid.setup_costs.shape)}. Pass one row per request."
        )
