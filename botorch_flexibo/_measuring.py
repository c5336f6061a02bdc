r"""The measuring part of a run: ask, record, pay, and note what failed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo._ledger import Ledger
from botorch_flexibo.checkpoint import Decision, RunRecord
from botorch_flexibo.evaluation import Answer
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.failures import (
    FailureLog,
    FailureRule,
    Failures,
    RaiseFailures,
    TolerateFailures,
)
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.policies.base import Effort
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.checks import check_floating, check_points, shape_of
from botorch_flexibo.utils.rows import RowIndex
from botorch_flexibo.utils.seeds import seeded

# So many decisions in a row that ask only for what is given up end the run.
_MAX_IDLE = 10
# Fewer values of an outcome than this are not compared with its reference.
_MIN_JUDGED = 4
_NO_EFFORT = Effort()


class Measuring:
    """Measures what decisions ask for, within a budget.

    Attributes:
        ledger: What was measured and paid.
        failures: What failed.
        closed: The outcomes that are not measured any more, with the reason.
        measured_now: Whether something was measured, and not read from a record.
    """

    def __init__(
        self,
        problem: DecoupledProblem,
        record: RunRecord,
        *,
        budget: float,
        strict: bool,
        rule: FailureRule,
    ) -> None:
        """Nothing is measured yet.

        Args:
            problem: The problem.
            record: Where answers are recorded.
            budget: What may be spent.
            strict: Whether nothing is started that the budget cannot pay.
            rule: What is done about failed measurements.
        """
        self.ledger = Ledger(problem)
        self.closed: dict[str, str] = {}
        self.measured_now = False
        self._reraise = isinstance(rule, RaiseFailures)
        self.failures = FailureLog(
            problem.num_objectives,
            TolerateFailures() if isinstance(rule, RaiseFailures) else rule,
        )
        self._names = tuple(problem.outcome_names)
        self._record = record
        self._budget = budget
        self._strict = strict
        self._num_idle = 0

    def measure(
        self, decision: Decision, seed: int, belief: Callable[[], Model | None]
    ) -> str:
        r"""Measure and pay design by design until the budget is spent.

        A request may state no costs, and what it states may be too little once a part
        of it has failed, or was left out as it is not affordable: a set-up that others
        were to share is to be paid again. In strict runs such parts are priced anew.

        Args:
            decision: What is asked for.
            seed: The seed of the measurement at the first design.
            belief: The costs that are believed now, None if nothing is known of them.

        Returns:
            Why the run ends now, or ``"running"``.
        """
        X, masks, _, predicted = decision.request
        if predicted is None:
            predicted = torch.full((len(X),), torch.nan)
        is_answered = some_failed = some_left_out = False
        for k in range(len(X)):
            if not self._affordable(float(predicted[k])):
                some_left_out = True
                continue  # what comes later may be cheaper
            x = X[k : k + 1]
            for j, mask in enumerate(self._parts(x, masks[k : k + 1])):
                is_doubtful = some_failed or some_left_out or bool(predicted[k].isnan())
                if is_doubtful and not self._can_pay(belief, x, mask):
                    some_left_out = True
                    continue
                answer = self._answer(x, mask, _stream(seed, k, j))
                first, seconds = not is_answered, decision.policy_seconds
                self.ledger.book(
                    x,
                    answer,
                    decision=decision.number,
                    predicted_cost=float(predicted[k]) if j == 0 else 0.0,
                    seconds=(seconds, decision.fit_seconds) if first else (0.0, 0.0),
                    effort=decision.effort if first else _NO_EFFORT,
                )
                is_answered = True
                self._note_failures(X[k], answer)
                some_failed |= any(answer.failed)
                if self.ledger.spent >= self._budget:
                    return "budget"
                if self.failures.all_closed:
                    return "failing"
        if some_left_out and not is_answered:
            return "unaffordable"
        self._num_idle = 0 if is_answered else self._num_idle + 1
        if self._num_idle < _MAX_IDLE:
            return "running"
        return "exhausted" if self.known_failures() is None else "failing"

    def known_failures(self) -> Failures | None:
        """What policies are told of failures, None if there were none."""
        return self.failures.failures(self.ledger.X)

    def check_reference(self, ref_point: Tensor, *, stacklevel: int) -> None:
        r"""Warn of outcomes whose values all lie far below their reference.

        A rough start may well lie below the reference point, and is to get there. But a
        reference whose sign was not turned with that of its outcome lies as far above
        zero as the values lie below it: the best value is then further from it than
        from the worst one. So that is when to warn. The range of few values is small by
        chance: they are not judged.

        Args:
            ref_point: A ``m``-dim tensor.
            stacklevel: Of the warning, as seen from here.
        """
        for i, name in enumerate(self._names):
            values = self.ledger.Y[:, i]
            values = values[~values.isnan()]
            if len(values) < _MIN_JUDGED:
                continue
            worst, best = (float(value) for value in values.aminmax())
            reference = float(ref_point[i])
            if reference - best <= best - worst:
                continue
            warnings.warn(
                f"Expected values of {name} near or above its reference"
                f" {reference:.6g}, but the best of the first {len(values)} is"
                f" {best:.6g}, the worst {worst:.6g}. Outcomes are maximised, and a"
                " design counts only where it is above the reference: check that what"
                " is to be minimised is returned with its sign turned, and that"
                " _ref_point is given likewise.",
                RuntimeWarning,
                stacklevel=stacklevel + 1,
            )

    def missing(
        self, initial: EvaluationRequest, cost_model: Model | None
    ) -> EvaluationRequest | None:
        r"""The next attempt at an outcome without any value, at an initial design.

        Args:
            initial: The initial design.
            cost_model: The believed costs, None if there are none.

        Returns:
            The attempt, None if all are given up; their outcomes are closed then.
        """
        failures = self.failures.failures(initial.X)
        never = self.ledger.Y.isnan().all(dim=0)
        wanted = never.expand(len(initial.X), -1)
        if failures is not None:
            wanted = wanted & ~failures.forbidden(initial.X)
        if not bool(wanted.any()):
            for name, lost in zip(self._names, never.tolist(), strict=True):
                if lost:
                    self.closed.setdefault(name, "failed at every initial design")
            return None
        row = int(wanted.any(dim=-1).to(torch.int8).argmax())
        X, mask = initial.X[[row]], wanted[[row]]
        if cost_model is None:
            return EvaluationRequest(X, mask)
        return EvaluationRequest(X, mask, cost=predicted_costs(cost_model, X, mask))

    def _affordable(self, price: float) -> bool:
        """Whether something may be started; what is not known (NaN) may."""
        return not (self._strict and self.ledger.spent + price > self._budget)

    def _can_pay(
        self, belief: Callable[[], Model | None], x: Tensor, mask: Tensor
    ) -> bool:
        """Whether what is believed now of a part of a request is affordable."""
        return not self._strict or self._affordable(_price(belief(), x, mask))

    def _parts(self, X: Tensor, mask: Tensor) -> list[Tensor]:
        """What is not given up of a request, in the parts in which it is measured.

        An error of a joint measurement does not say which outcome is to blame: what
        failed at its last attempt is measured on its own.
        """
        failures = self.failures.failures(X)
        if failures is None:
            return [mask] if bool(mask.any()) else []
        mask = mask & ~failures.forbidden(X).to(mask.device)
        suspects = torch.tensor(self.failures.suspects, device=mask.device)
        alone = torch.diag_embed((mask & suspects)[0]).split(1)
        parts = [mask & ~suspects, *alone]
        return [part for part in parts if bool(part.any())]

    def _answer(self, X: Tensor, mask: Tensor, seed: int) -> Answer:
        answer = self._record.answer(mask.shape[-1])
        if answer is None:
            self.measured_now = True
            with seeded(seed):
                answer = self.ledger.ask(X, mask, reraise=self._reraise)
            self._record.add_answer(answer)
        return answer

    def _note_failures(self, x: Tensor, answer: Answer) -> None:
        for i in self.failures.note(x, answer.measured, answer.failed):
            self.closed[self._names[i]] = (
                f"failed at {self.failures.closed[i]} designs in a row, at last:"
                f" {answer.errors[i]}"
            )


def check_request(
    request: object, problem: DecoupledProblem, policy: str
) -> EvaluationRequest:
    r"""Refuse what cannot be measured, before anything of it is recorded or measured.

    A request without designs, or without outcomes at a design, asks for nothing there.

    Args:
        request: What a policy returned.
        problem: The problem to measure.
        policy: The name of the policy.

    Returns:
        The request.

    Raises:
        InputDataError: If it is none, has a design that is not in the space of the
            problem, a tensor of the wrong dtype or device, or a pair of a design and an
            outcome more than once.
        BotorchTensorDimensionError: If a shape does not fit.
        InvalidCostError: If a predicted cost is negative or infinite.
    """
    if not isinstance(request, EvaluationRequest):
        raise InputDataError(
            f"Expected an EvaluationRequest from {policy}, but got"
            f" {type(request).__name__}. Return EvaluationRequest(X, evaluation_mask),"
            " or raise CandidateGenerationError if nothing is left to measure."
        )
    X, mask, _, cost = request
    check_points(X, "X", problem.bounds, "the bounds")
    problem._validate_designs(X)
    problem._validate_mask(mask, n=len(X))
    _check_once(X, mask, policy)
    if cost is None:
        return request
    costs = check_floating(cost, "cost")
    if costs.shape != X.shape[:1]:
        raise BotorchTensorDimensionError(
            f"Expected cost of shape `{len(X)}`, one per design, but got shape"
            f" `{shape_of(costs)}`. Leave it out if costs are not known."
        )
    wrong = costs[(costs < 0) | costs.isinf()]
    if len(wrong) > 0:
        raise InvalidCostError(
            "Expected predicted costs that are finite and not negative, or NaN if not"
            f" known, but got {wrong[0].item()}. Bound the cost model of the policy."
        )
    return request


def _check_once(X: Tensor, mask: Tensor, policy: str) -> None:
    """Refuse a request that would pay for the same pair more than once."""
    first = RowIndex(X).find(X)
    counts = torch.zeros(mask.shape, dtype=torch.int64, device=X.device)
    counts.index_add_(0, first, mask.to(counts))
    repeated = (counts > 1).nonzero().tolist()
    if repeated:
        row, outcome = repeated[0]
        asking = (first == row) & mask[:, outcome].to(X.device)
        raise InputDataError(
            f"Expected each outcome of a design at most once in a request of {policy},"
            f" but got outcome {outcome} at {X[row].tolist()} in rows"
            f" {asking.nonzero().flatten().tolist()}. Leave out all but one."
        )


def _price(cost_model: Model | None, X: Tensor, mask: Tensor) -> float:
    """What one measurement is believed to cost, NaN if that is not known."""
    if cost_model is None:
        return float("nan")
    return float(predicted_costs(cost_model, X, mask))


def _stream(seed: int, row: int, part: int) -> int:
    """A seed per measurement of a request.

    PyTorch's generator on CPUs reads 32 bits of its seed: larger strides would be lost.
    """
    if row == part == 0:
        return seed
    entropy = (seed % 2**64, row, part)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
