r"""The ledger of a run: what was measured, and what was paid for it."""

from __future__ import annotations

import time

import torch
from botorch.models.cost import FixedCostModel
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.history import RequestRecord
from botorch_flexibo.models.cost import PaidCosts
from botorch_flexibo.policies.base import Effort, at_target
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.fronts import hypervolume
from botorch_flexibo.utils.rows import RowIndex


class Ledger:
    """Measures, pays the true costs, and keeps the data and one record per request.

    Attributes:
        X: A ``n x d``-dim tensor of the designs measured so far, each once.
        Y: A ``n x m``-dim tensor of their outcomes, NaN where not measured.
        records: One record per request.
        spent: All that was paid.
    """

    def __init__(self, problem: DecoupledProblem) -> None:
        """Empty ledger.

        Args:
            problem: The problem to measure.
        """
        self.X = problem.bounds.new_empty(0, problem.dim)
        self.Y = problem.bounds.new_empty(0, problem.num_objectives)
        self.records: list[RequestRecord] = []
        self.spent = 0.0
        self._problem = problem
        self._X_set_up = self.X

    def measure(
        self,
        X: Tensor,
        mask: Tensor,
        *,
        predicted_cost: float,
        seconds: tuple[float, float],
        decision: int,
        effort: Effort,
    ) -> None:
        r"""Measure one design and pay for it.

        Args:
            X: A ``1 x d``-dim tensor: the design.
            mask: A ``1 x m``-dim boolean tensor of the outcomes to measure.
            predicted_cost: What the optimiser expects to pay.
            seconds: Wall times of the policy and of the model fit.
            decision: The number of the decision.
            effort: What the policy did for the decision.

        Raises:
            InvalidCostError: If a true cost is not allowed.
        """
        start = time.perf_counter()
        y = self._problem.evaluate(X, mask)
        measure_seconds = time.perf_counter() - start
        costs = torch.where(mask, self._problem.cost(X), 0.0)
        check_costs(costs[mask])
        setup_cost = self._pay_setup(X, mask)
        self.spent += float(costs.sum()) + setup_cost
        row = int(RowIndex(self.X).find(X))
        if row < 0:
            row = len(self.X)
            self.X = torch.cat([self.X, X])
            self.Y = torch.cat([self.Y, torch.full_like(y, torch.nan)])
        self.Y = self.Y.clone()
        self.Y[row] = torch.where(mask[0], y[0], self.Y[row])
        volume = hypervolume(self._complete(), self._problem.ref_point)
        self.records.append(
            RequestRecord(
                decision=decision,
                design=row,
                measured=tuple(mask[0].tolist()),
                values=tuple(y[0].tolist()),
                predicted_cost=predicted_cost,
                costs=tuple(costs[0].tolist()),
                setup_cost=setup_cost,
                cumulative_cost=self.spent,
                hv_measured=float(volume),
                hv_identified=torch.nan,
                policy_seconds=seconds[0],
                fit_seconds=seconds[1],
                measure_seconds=measure_seconds,
                effort=effort,
            )
        )

    def paid_costs(self) -> PaidCosts:
        """All payments so far, one row per request."""
        costs = torch.tensor([r.costs for r in self.records], dtype=torch.float64)
        setup = torch.tensor([r.setup_cost for r in self.records], dtype=torch.float64)
        return PaidCosts(
            X=self.X[[record.design for record in self.records]],
            costs=torch.where(costs > 0, costs, torch.nan).to(self.X),
            setup_costs=torch.where(setup > 0, setup, torch.nan).to(self.X),
        )

    def mean_costs(self) -> FixedCostModel:
        """The belief that each outcome costs the mean of what was paid for it."""
        paid = torch.tensor([r.costs for r in self.records], dtype=torch.float64)
        counts = (paid > 0).sum(dim=0).clamp_min(1)
        return FixedCostModel((paid.sum(dim=0) / counts).to(self.X))

    def _complete(self) -> Tensor:
        """Outcomes of the designs measured on all of them at the target fidelity."""
        complete = ~self.Y.isnan().any(dim=-1)
        return self.Y[complete & at_target(self.X, self._problem.target_fidelities)]

    def _pay_setup(self, X: Tensor, mask: Tensor) -> float:
        """Price of setting up the design, 0 if it is set up or need not be."""
        outcomes = self._problem.setup_outcomes
        needs = mask
        if outcomes is not None:
            needs = mask & torch.tensor(outcomes, device=mask.device)
        if not needs.any():
            return 0.0
        columns = self._problem.setup_features
        keys, key = self._X_set_up, X
        if columns is not None:
            keys, key = keys[:, list(columns)], key[:, list(columns)]
        if int(RowIndex(keys).find(key)) >= 0:
            return 0.0
        cost = float(self._problem.setup_cost(X))
        if not 0 <= cost < torch.inf:
            raise InvalidCostError(
                "Expected set-up costs that are non-negative and finite, but got"
                f" {cost}. Bound the setup_cost of the problem."
            )
        self._X_set_up = torch.cat([self._X_set_up, X])
        return cost
