r"""Costs with a set-up that several measurements share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models._cost_base import (
    CostModel,
    PaidCosts,
    check_paid,
    masked_sum,
)
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import RowIndex


class SetupCostModel(CostModel):
    r"""The cost of each measurement plus that of a set-up that several of them share.

    To measure the accuracy or the energy of a network it must be trained; its size is
    known without. The set-up (training) is paid once per design, or once per distinct
    values of some columns, by the first measurement that needs it. All that need it at
    the points of a batch share it.

    Example:
        >>> from botorch.models.cost import FixedCostModel
        >>> run_costs = FixedCostModel(torch.tensor([2.0, 1.0]))
        >>> training = FixedCostModel(torch.tensor([10.0]))
        >>> model = SetupCostModel(run_costs, training)
        >>> X = torch.tensor([[0.5]])
        >>> model(X).tolist()  # alone, either needs the training
        [[12.0, 11.0]]
        >>> model.joint_cost(X).item()  # together they share it
        13.0
        >>> model.with_pending(X, torch.tensor([[True, False]]))(X).tolist()
        [[2.0, 1.0]]
    """

    setup_outcomes: Tensor
    X_paid: Tensor | None
    X_pending: Tensor | None

    def __init__(
        self,
        run_cost_model: Model,
        setup_cost_model: Model,
        *,
        setup_features: Sequence[int] | None = None,
        setup_outcomes: Tensor | None = None,
        X_paid: Tensor | None = None,
    ) -> None:
        r"""Costs with a shared set-up.

        Args:
            run_cost_model: The cost of measuring each outcome once the design is set
                up: a model with ``m`` outputs, positive.
            setup_cost_model: The cost of setting up a design: a model with one output,
                not negative. It should depend on ``setup_features`` only; where it does
                not, the first point of a batch that needs the set-up pays its cost.
            setup_features: The columns that define what is set up: designs that are
                equal there share one set-up. None means all columns.
            setup_outcomes: A ``m``-dim boolean tensor: which outcomes need the set-up.
                None means all.
            X_paid: A ``n x d``-dim tensor of designs that are set up already.

        Raises:
            BotorchTensorDimensionError: If the models or tensors do not fit.
            InputDataError: If the columns are not distinct indices, or
                ``setup_outcomes`` is not boolean.
        """
        super().__init__()
        m = run_cost_model.num_outputs
        if setup_cost_model.num_outputs != 1:
            raise BotorchTensorDimensionError(
                "Expected a setup_cost_model with one output, but got"
                f" {setup_cost_model.num_outputs}. Pass the cost of the set-up alone."
            )
        self._num_outputs = m
        self.run_cost_model = run_cost_model
        self.setup_cost_model = setup_cost_model
        self.setup_features = _check_setup_features(setup_features)
        if setup_outcomes is None:
            setup_outcomes = torch.ones(m, dtype=torch.bool)
        self.register_buffer("setup_outcomes", _check_outcomes(setup_outcomes, m))
        if X_paid is not None and X_paid.ndim != 2:
            raise BotorchTensorDimensionError(
                "Expected X_paid to be `n x d`, but got"
                f" {shape_to_str(X_paid.shape)}. Pass one design per row."
            )
        self.register_buffer("X_paid", X_paid)
        self.register_buffer("X_pending", None)

    def forward(self, X: Tensor) -> Tensor:
        r"""Cost of each outcome measured alone: its own and, unless paid, the set-up.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.

        Returns:
            A ``batch_shape x q x m``-dim tensor of costs.

        Raises:
            InvalidCostError: If a set-up cost is negative or not finite.
        """
        setup = self._open_setup_costs(X).unsqueeze(-1)
        return posterior_mean(self.run_cost_model, X) + setup * self.setup_outcomes

    def joint_cost(self, X: Tensor, evaluation_mask: Tensor | None = None) -> Tensor:
        r"""Cost of a batch: every measurement, and every open set-up once.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.

        Raises:
            InvalidCostError: If a set-up cost is negative or not finite.
        """
        run = masked_sum(posterior_mean(self.run_cost_model, X), evaluation_mask)
        needs = self.setup_outcomes.any().expand(X.shape[-2])
        if evaluation_mask is not None:
            needs = (evaluation_mask & self.setup_outcomes).any(dim=-1)
        keys = self._keys(X)
        equal = (keys.unsqueeze(-2) == keys.unsqueeze(-3)).all(dim=-1)
        # Whether an earlier point of the batch sets up the same: row i, column j < i.
        shared = (equal & needs).tril(diagonal=-1).any(dim=-1)
        setup = torch.where(needs & ~shared, self._open_setup_costs(X), 0.0)
        return run + setup.sum(dim=-1)

    def update(self, paid: PaidCosts) -> SetupCostModel:
        r"""Learn what is set up now, and let the inner models learn their costs.

        Args:
            paid: All payments so far. A design is set up if a set-up was paid or an
                outcome that needs one was measured.

        Returns:
            The model after these payments, without pending measurements.
        """
        check_paid(paid, self.num_outputs)
        nothing = torch.full_like(paid.setup_costs, torch.nan)
        run, setup = self.run_cost_model, self.setup_cost_model
        if isinstance(run, CostModel):
            run = run.update(PaidCosts(paid.X, paid.costs, nothing))
        if isinstance(setup, CostModel):
            costs = paid.setup_costs.unsqueeze(-1)
            setup = setup.update(PaidCosts(paid.X, costs, nothing))
        measured = (~paid.costs.isnan() & self.setup_outcomes).any(dim=-1)
        X = paid.X[measured | ~paid.setup_costs.isnan()]
        return self._copy(run, setup, X_paid=_union(self.X_paid, X), X_pending=None)

    def with_pending(self, X: Tensor, evaluation_mask: Tensor) -> SetupCostModel:
        r"""Costs of further measurements once pending ones have set their designs up.

        Args:
            X: A ``n' x d``-dim tensor of pending designs.
            evaluation_mask: A ``n' x m``-dim boolean tensor of their outcomes. Only
                designs with an outcome that needs the set-up count.

        Returns:
            The model once these are set up.
        """
        run, setup = self.run_cost_model, self.setup_cost_model
        if isinstance(run, CostModel):
            run = run.with_pending(X, evaluation_mask)
        X = X[(evaluation_mask & self.setup_outcomes).any(dim=-1)]
        pending = _union(self.X_pending, X)
        return self._copy(run, setup, X_paid=self.X_paid, X_pending=pending)

    def _copy(
        self,
        run_cost_model: Model,
        setup_cost_model: Model,
        *,
        X_paid: Tensor | None,
        X_pending: Tensor | None,
    ) -> SetupCostModel:
        model = SetupCostModel(
            run_cost_model,
            setup_cost_model,
            setup_features=self.setup_features,
            setup_outcomes=self.setup_outcomes,
            X_paid=X_paid,
        )
        model.X_pending = X_pending
        return model

    def _keys(self, X: Tensor) -> Tensor:
        """The columns that define what is set up."""
        return X if self.setup_features is None else X[..., self.setup_features]

    def _open_setup_costs(self, X: Tensor) -> Tensor:
        """Cost of setting up each design, 0 where it is set up: ``batch_shape x q``."""
        costs = posterior_mean(self.setup_cost_model, X).squeeze(-1)
        valid = costs.isfinite() & (costs >= 0)
        if not valid.all():
            raise InvalidCostError(
                "Expected set-up costs that are non-negative and finite, but got"
                f" {costs[~valid][0].item()}. Bound the setup_cost_model."
            )
        for X_free in (self.X_paid, self.X_pending):
            if X_free is not None:
                found = RowIndex(self._keys(X_free)).find(self._keys(X))
                costs = torch.where(found >= 0, 0.0, costs)
        return costs


def _union(X: Tensor | None, X_new: Tensor) -> Tensor:
    """All rows of both, each once."""
    X = X_new if X is None else torch.cat([X.to(X_new), X_new])
    first = RowIndex(X).find(X) == torch.arange(len(X), device=X.device)
    return X[first]


def _check_setup_features(columns: Sequence[int] | None) -> list[int] | None:
    if columns is None:
        return None
    columns = list(columns)
    if not columns or len(set(columns)) < len(columns) or min(columns) < 0:
        raise InputDataError(
            "Expected setup_features to be one or more distinct column indices from 0,"
            f" but got {columns}. Pass None for all columns."
        )
    return columns


def _check_outcomes(setup_outcomes: Tensor, num_outcomes: int) -> Tensor:
    if setup_outcomes.shape != (num_outcomes,):
        raise BotorchTensorDimensionError(
            f"Expected setup_outcomes of shape `{num_outcomes}`, one per outcome of the"
            f" run_cost_model, but got {shape_to_str(setup_outcomes.shape)}. Leave it"
            " out if all need the set-up."
        )
    if setup_outcomes.dtype != torch.bool:
        raise InputDataError(
            f"Expected setup_outcomes of dtype torch.bool, but got"
            f" {setup_outcomes.dtype}. Convert it with `setup_outcomes.bool()`."
        )
    return setup_outcomes
