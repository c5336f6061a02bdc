r"""The ledger of a run: what was measured, and what was paid for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from botorch_flexibo.evaluation import Answer, evaluate, note_values
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.history import RequestRecord
from botorch_flexibo.models.cost import PaidCosts
from botorch_flexibo.policies.base import Effort, at_target
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.fronts import hypervolume


class Ledger:
    """Measures, pays the true costs, and keeps the data and one record per request.

    Attributes:
        X: A ``n x d``-dim tensor of the designs asked for so far, each once.
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
        self._rows: dict[tuple[float, ...], int] = {}
        self._set_up: set[tuple[float, ...]] = set()
        self._volume = float(hypervolume(self.Y, problem.ref_point))
        # The costs of all requests, with room to grow.
        self._paid = torch.empty(16, problem.num_objectives, dtype=torch.float64)

    def ask(self, X: Tensor, mask: Tensor, *, reraise: bool) -> Answer:
        r"""Measure one design and price that; nothing is booked yet.

        Args:
            X: A ``1 x d``-dim tensor: the design.
            mask: A ``1 x m``-dim boolean tensor of the outcomes to measure.
            reraise: Whether the error of a measurement that fails is raised.

        Returns:
            The answer.

        Raises:
            MeasurementError: If ``reraise`` holds and a value is not finite.
            InvalidOutcomesError: If the problem returns no table of numbers.
            InvalidCostError: If a true cost is not allowed. A note of it, and of any
                other error of the costs, says what was measured.
        """
        answer = evaluate(self._problem, X, mask, reraise=reraise)
        try:
            return replace(answer, setup_cost=self._price_of_setup(X, mask))
        except Exception as error:
            note_values(error, X, answer.values)
            raise

    def book(
        self,
        X: Tensor,
        answer: Answer,
        *,
        decision: int,
        predicted_cost: float,
        seconds: tuple[float, float],
        effort: Effort,
    ) -> None:
        r"""Pay for an answer and keep it.

        Args:
            X: A ``1 x d``-dim tensor: the design.
            answer: What came back.
            decision: The number of the decision.
            predicted_cost: What the optimiser expected to pay.
            seconds: Wall times of the policy and of the model fit.
            effort: What the policy did for the decision.
        """
        self.spent += sum(answer.costs) + answer.setup_cost
        self._keep_costs(answer)
        row = self._keep_values(X, answer)
        measured = torch.tensor(answer.measured)
        if bool((measured & self._needs_setup()).any()):
            self._set_up.add(self._setup_key(X))
        if answer.measured and bool(measured.any()):
            complete = not bool(self.Y[row].isnan().any())
            if complete and bool(at_target(X, self._problem.target_fidelities)):
                volume = hypervolume(self._complete(), self._problem.ref_point)
                self._volume = float(volume)
        self.records.append(
            RequestRecord(
                decision=decision,
                design=row,
                measured=answer.measured,
                values=answer.values,
                predicted_cost=predicted_cost,
                costs=answer.costs,
                setup_cost=answer.setup_cost,
                cumulative_cost=self.spent,
                hv_measured=self._volume,
                hv_identified=torch.nan,
                policy_seconds=seconds[0],
                fit_seconds=seconds[1],
                measure_seconds=answer.seconds,
                effort=effort,
                errors=answer.errors if any(answer.errors) else (),
            )
        )

    def paid_costs(self) -> PaidCosts:
        """All payments for measurements that succeeded, one row per request.

        What failed sets nothing up, and its cost tells nothing about one that succeeds.
        """
        costs = self._paid[: len(self.records)].clone()
        setup = torch.tensor([r.setup_cost for r in self.records], dtype=torch.float64)
        for k, record in enumerate(self.records):
            if record.errors:
                costs[k, torch.tensor(record.failed)] = 0.0
                measured = torch.tensor(record.measured)
                if not bool((measured & self._needs_setup()).any()):
                    setup[k] = 0.0
        return PaidCosts(
            X=self.X[[record.design for record in self.records]],
            costs=torch.where(costs > 0, costs, torch.nan).to(self.X),
            setup_costs=torch.where(setup > 0, setup, torch.nan).to(self.X),
        )

    def mean_costs(self) -> Tensor:
        """What each outcome cost on average, ``m``-dim, attempts that failed too."""
        paid = self._paid[: len(self.records)]
        counts = (paid > 0).sum(dim=0).clamp_min(1)
        return (paid.sum(dim=0) / counts).to(self.X)

    def _keep_costs(self, answer: Answer) -> None:
        count = len(self.records)
        if count == len(self._paid):
            self._paid = torch.cat([self._paid, torch.empty_like(self._paid)])
        self._paid[count] = self._paid.new_tensor(answer.costs)

    def _keep_values(self, X: Tensor, answer: Answer) -> int:
        """Row of the design, with the values that were measured now.

        They replace earlier ones: no policy of this package measures a pair again.
        """
        row = self._rows.setdefault(tuple(X[0].tolist()), len(self._rows))
        if row == len(self.X):
            self.X = torch.cat([self.X, X])
            self.Y = torch.cat(
                [self.Y, self.Y.new_full((1, self.Y.shape[-1]), torch.nan)]
            )
        self.Y = self.Y.clone()
        values = self.Y.new_tensor(answer.values)
        self.Y[row] = torch.where(values.isnan(), self.Y[row], values)
        return row

    def _complete(self) -> Tensor:
        """Outcomes of the designs measured on all of them at the target fidelity."""
        complete = ~self.Y.isnan().any(dim=-1)
        return self.Y[complete & at_target(self.X, self._problem.target_fidelities)]

    def _needs_setup(self) -> Tensor:
        """For each outcome whether it needs the design to be set up."""
        outcomes = self._problem.setup_outcomes
        if outcomes is None:
            return torch.ones(self._problem.num_objectives, dtype=torch.bool)
        return torch.tensor(outcomes)

    def _setup_key(self, X: Tensor) -> tuple[float, ...]:
        """The columns of a design that define what is set up."""
        columns = self._problem.setup_features
        return tuple((X[0] if columns is None else X[0, list(columns)]).tolist())

    def _price_of_setup(self, X: Tensor, mask: Tensor) -> float:
        """Price of setting up the design, 0 if it is set up or need not be."""
        needs = bool((mask[0].cpu() & self._needs_setup()).any())
        if not needs or self._setup_key(X) in self._set_up:
            return 0.0
        cost = float(self._problem.setup_cost(X.clone()))
        if not 0 <= cost < torch.inf:
            raise InvalidCostError(
                "Expected set-up costs that are non-negative and finite, but got"
                f" {cost}. Bound the setup_cost of the problem."
            )
        return cost
