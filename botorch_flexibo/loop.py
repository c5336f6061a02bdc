r"""The closed loop: ask a policy, measure, pay, learn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo._design_space import design_space
from botorch_flexibo._header import run_header
from botorch_flexibo._run import Run, RunOptions
from botorch_flexibo.callbacks import Callback
from botorch_flexibo.checkpoint import RunRecord, open_record
from botorch_flexibo.evaluation import check_form_of_costs
from botorch_flexibo.exceptions import ExperimentStorageError
from botorch_flexibo.failures import FailureRule, TolerateFailures
from botorch_flexibo.history import DecoupledHistory, is_column
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.models.decoupled import DecoupledModelFitter
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.space import check_within
from botorch_flexibo.policies.base import Policy
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.checks import check_seed, finite_number, is_count
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import unique_rows
from botorch_flexibo.utils.seeds import seeded

# Where drawn designs are the same, so many times as many are drawn.
_MANY = 32


@dataclass(frozen=True)
class InitialDesign:
    r"""Random designs to start with, some or all of them measured completely.

    Fidelities are drawn like all other columns: some designs start at low ones.

    Attributes:
        num_designs: The number of designs.
        num_complete: How many of them are measured on all outcomes; the others only on
            the cheapest one ("cheap first"). None means all of them ("coupled").
    """

    num_designs: int = 10
    num_complete: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputDataError: If they are not ``1 <= num_complete <= num_designs``.
        """
        complete = self.num_designs if self.num_complete is None else self.num_complete
        whole = is_count(complete) and is_count(self.num_designs)
        if not whole or complete > self.num_designs:
            raise InputDataError(
                "Expected 1 <= num_complete <= num_designs, but got num_complete="
                f"{self.num_complete!r} and num_designs={self.num_designs!r}. Pass"
                " whole numbers, num_complete=None for all."
            )
        # NumPy's integers are no JSON.
        object.__setattr__(self, "num_designs", int(self.num_designs))
        if self.num_complete is not None:
            object.__setattr__(self, "num_complete", int(self.num_complete))

    def request(
        self,
        problem: DecoupledProblem,
        cost_model: Model | None,
        seed: int,
        *,
        choices: Tensor | None = None,
    ) -> EvaluationRequest:
        r"""The measurements to start with.

        Args:
            problem: The problem to draw designs from.
            cost_model: The believed costs; needed to know the cheapest outcome.
            seed: Seed of the designs.
            choices: A ``n x d``-dim tensor of designs to draw from. None draws from
                the whole problem.

        Returns:
            The designs and their masks.

        Raises:
            InputDataError: If a cheap-first design is asked for without a cost model.
            InvalidCostError: If a believed cost is not positive and finite.
        """
        X = self._designs(problem, seed, choices)
        mask = torch.ones(len(X), problem.num_objectives, dtype=torch.bool)
        if self.num_complete is not None and self.num_complete < len(X):
            if cost_model is None:
                raise InputDataError(
                    "Expected a cost_model for a cheap-first initial design, because it"
                    " tells which outcome is cheapest, but got None. Pass one, or leave"
                    " num_complete out."
                )
            costs = posterior_mean(cost_model, X).mean(dim=0)
            mask[self.num_complete :] = False
            mask[self.num_complete :, int(costs.argmin())] = True
        mask = mask.to(X.device)
        if cost_model is None:
            return EvaluationRequest(X, mask)
        check_costs(posterior_mean(cost_model, X))  # before anything is paid
        return EvaluationRequest(X, mask, cost=predicted_costs(cost_model, X, mask))

    def _designs(
        self, problem: DecoupledProblem, seed: int, choices: Tensor | None
    ) -> Tensor:
        """Distinct designs: fewer only where a finite space has fewer, or few draws."""
        if choices is None:
            choices = problem.choices
        if choices is not None:
            choices = unique_rows(choices)
            generator = torch.Generator().manual_seed(seed)
            X = choices[torch.randperm(len(choices), generator=generator)]
            return X[: self.num_designs]
        X = unique_rows(problem.discretize(self.num_designs, seed=seed))
        if len(X) < self.num_designs:  # separate values: draws may be the same
            X = unique_rows(problem.discretize(_MANY * self.num_designs, seed=seed))
        return X[: self.num_designs]


def run_decoupled_optimization(
    problem: DecoupledProblem,
    policy: Policy,
    *,
    budget: float,
    initial_design: InitialDesign | None = None,
    cost_model: Model | None = None,
    fitter: DecoupledModelFitter | None = None,
    choices: Tensor | None = None,
    seed: int = 0,
    strict: bool = False,
    on_failure: FailureRule | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> DecoupledHistory:
    r"""Spend a budget on decoupled measurements.

    The accounting is strict: every measurement is paid for with the problem's true
    cost, every set-up once, and an outcome that nobody paid for is never used, neither
    by the policy nor in ``hv_measured``. The optimiser sees only its believed costs.
    All randomness comes from ``seed``; the caller's random state is untouched.

    A measurement that raises an ``Exception`` or gives no finite value has failed. It
    is paid for and recorded, and the run goes on: its outcome is believed to cost
    ``(attempts + 1) / (successes + 1)`` times as much, a (design, outcome) pair is
    given up after some attempts, and an outcome after some failures in a row. Measuring
    happens in this process: a time limit is up to the problem.

    With a ``checkpoint`` every answer is on the disk before it is used. Called again as
    it was started, a run that ended in any way goes on where it was, with the requests
    it would have made. This assumes that an answer depends on the design and on torch's
    random state alone, and that the policy's requests depend on model and state alone;
    otherwise :attr:`Policy.has_memory` is True, and all its decisions are made again.

    Args:
        problem: The problem; all outcomes are maximised.
        policy: Chooses the next measurement.
        budget: What may be spent, in the problem's ``cost_unit``, initial design
            included. It is overspent by the last request at most.
        initial_design: The designs to start with. None means ten, measured completely.
        cost_model: The believed costs, a model with ``m`` outputs. A ``CostModel``
            learns from all payments before every decision. None learns what an outcome
            costs at which design by a ``LogNormalCostModel``, set-ups left out (for
            policies with ``uses_costs``; to others it costs its mean).
        fitter: How outcomes are modelled: its settings, not what it has fitted. None
            means ``DecoupledModelFitter`` with the problem's bounds and labels; one
            with ``Winsorize(problem.ref_point)`` suits tables with a few very bad
            designs.
        choices: A ``n x d``-dim tensor of designs to choose from. None means the
            problem's own, if it has any.
        seed: The seed of all randomness.
        strict: Never start what, by the believed costs, the budget cannot pay. It is
            not exceeded if nothing costs more than is believed. Without a
            ``cost_model`` nothing is believed of the first design, which is measured
            whatever it costs, and costs that are learned may be too low.
        on_failure: What is done about measurements that fail. None tolerates them as
            :class:`TolerateFailures` does; :class:`RaiseFailures` raises the first.
        checkpoint: A file in which the run is recorded, and from which it goes on. None
            keeps no record.
        callbacks: Called with the history after the initial design and after every
            decision, when a run goes on for the first time with what was recorded. One
            that returns True ends the run.

    Returns:
        The history of the run.

    Raises:
        InputDataError: If the budget is not positive and finite, the seed no whole
            number, a design not in the space, or an argument of the wrong kind.
        BotorchTensorDimensionError: If ``choices`` is not ``n x d``.
        InvalidCostError: If a cost is none: its kind and shape are checked before
            anything is measured, its value once it is to be paid.
        ExperimentLockedError: If another process is writing the checkpoint.
        ExperimentStorageError: If the checkpoint is of another run, is damaged or
            cannot be written.

    Example:
        >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
        >>> history = run_decoupled_optimization(
        ...     problem, RandomPolicy(), budget=60.0, initial_design=InitialDesign(4)
        ... )
        >>> history.stop_reason
        'budget'
    """
    initial = InitialDesign() if initial_design is None else initial_design
    on_failure = TolerateFailures() if on_failure is None else on_failure
    kinds = (
        (problem, "problem", DecoupledProblem),
        (policy, "policy", Policy),
        (initial, "initial_design", InitialDesign),
        (on_failure, "on_failure", FailureRule),
        (strict, "strict", bool),
        (cost_model, "cost_model", Model | None),
        (fitter, "fitter", DecoupledModelFitter | None),
    )
    for value, name, kind in kinds:
        _check_kind(value, name, kind)
    _check_run(problem, budget, seed, choices, callbacks)
    _check_cost_model(cost_model, problem)
    _check_fitter(fitter, problem)
    choices = problem.choices if choices is None else choices
    options = RunOptions(
        budget=float(budget),
        cost_model=cost_model,
        fitter=fitter,
        choices=None if choices is None else unique_rows(choices),
        seed=int(seed),
        strict=strict,
        on_failure=on_failure,
    )
    policy.check(design_space(problem, options.choices), problem.num_objectives)
    request = initial.request(
        problem, cost_model, options.seed, choices=options.choices
    )
    with seeded(0):  # a cost may be drawn
        check_form_of_costs(problem, request.X[:1])
    header = run_header(problem, policy, options, initial_design=asdict(initial))
    with open_record(checkpoint, header) as record:
        return _run(problem, policy, request, options, record, callbacks)


def _check_kind(value: object, name: str, kind: Any) -> None:
    if not isinstance(value, kind):
        classes = get_args(kind) or (kind,)
        kinds = " or ".join(one.__name__ for one in classes)
        raise InputDataError(
            f"Expected {name} of type {kinds}, but got {value!r}. Pass such an object."
        )


def _check_run(
    problem: DecoupledProblem,
    budget: object,
    seed: object,
    choices: Tensor | None,
    callbacks: object,
) -> None:
    """Refuse what makes no run before anything is measured or written."""
    if not (finite_number(budget) or 0.0) > 0:
        raise InputDataError(
            f"Expected a positive, finite budget in {problem.cost_unit}, but got"
            f" {budget!r}. Pass what may be spent."
        )
    check_seed(seed)
    _check_traits(problem)
    if choices is not None:
        check_within(choices, "choices", problem.bounds)
        problem._validate_designs(choices)
        if len(choices) == 0:
            raise InputDataError(
                "Expected at least one design in choices, but got none. Leave choices"
                " out for the whole space."
            )
    known = isinstance(callbacks, Sequence) and all(callable(c) for c in callbacks)
    if not known:
        raise InputDataError(
            f"Expected callbacks to be a sequence of functions, but got {callbacks!r}."
            " Pass () for none."
        )


def _check_traits(problem: DecoupledProblem) -> None:
    """Refuse what a problem says of outcomes or columns that it does not have."""
    m, d = problem.num_objectives, problem.dim
    names = tuple(problem.outcome_names)
    if len(names) != m or len(set(names)) < m:
        raise InputDataError(
            f"Expected {m} different outcome_names, but got {names}. Name each outcome"
            " of the problem once."
        )
    taken = [name for name in names if is_column(name)]
    if taken:
        raise InputDataError(
            "Expected outcome_names that are no columns of history.to_pandas(), but"
            f" got {taken}. Give other names."
        )
    outcomes = problem.setup_outcomes
    if outcomes is not None and len(outcomes) != m:
        raise InputDataError(
            f"Expected setup_outcomes to be {m} times True or False, but got"
            f" {outcomes}. Say for each outcome whether it needs the set-up."
        )
    columns = [*(problem.setup_features or ()), *problem.target_fidelities]
    if not all(-d <= column < d for column in columns):
        raise InputDataError(
            f"Expected setup_features and target_fidelities among the {d} columns, but"
            f" got {columns}. Name columns of the designs."
        )


def _check_cost_model(cost_model: Model | None, problem: DecoupledProblem) -> None:
    """Refuse costs of other outcomes, which would be taken for those of all."""
    if cost_model is None or cost_model.num_outputs == problem.num_objectives:
        return
    raise InputDataError(
        f"Expected a cost_model with {problem.num_objectives} outputs, one per outcome,"
        f" but got {cost_model.num_outputs}. Pass the cost of every outcome."
    )


def _check_fitter(
    fitter: DecoupledModelFitter | None, problem: DecoupledProblem
) -> None:
    """Refuse what cannot model the problem before anything is measured."""
    if fitter is None:
        return
    labels = sorted(problem.categorical_features)
    same = torch.equal(fitter.bounds.to(problem.bounds), problem.bounds)
    if not same or fitter.categorical_features != labels:
        raise InputDataError(
            "Expected a fitter with the problem's bounds"
            f" {problem.bounds.tolist()} and categorical_features {labels}, but got"
            f" {fitter.bounds.tolist()} and {fitter.categorical_features}. Pass"
            " DecoupledModelFitter(problem.bounds,"
            " categorical_features=problem.categorical_features, ...)."
        )
    if fitter.winsorize is not None:  # refuses a reference point of other outcomes
        fitter.winsorize(problem.ref_point.unsqueeze(0))


def _run(
    problem: DecoupledProblem,
    policy: Policy,
    initial: EvaluationRequest,
    options: RunOptions,
    record: RunRecord,
    callbacks: Sequence[Callback],
) -> DecoupledHistory:
    run = Run(problem, options, record)
    try:
        run.start(initial, fit=policy.uses_model)
        while run.stop_reason == "running":
            if not record.is_replaying:
                answers = [callback(run.history()) for callback in callbacks]
                if any(isinstance(each, (bool, np.bool_)) and each for each in answers):
                    run.stop_reason = "callback"
                    break
            run.decide(policy)
    except KeyboardInterrupt:
        run.stop_reason = "interrupted"
    if record.is_replaying and run.stop_reason != "interrupted":
        raise ExperimentStorageError(
            f"Expected the record of this run to end with {record.place}, but it goes"
            " on. It is that of a run that went differently: start with another file."
        )
    try:
        run.record_front(last=True)
        if run.stop_reason not in ("callback", "interrupted"):
            for callback in callbacks:
                callback(run.history())
    except KeyboardInterrupt:
        run.stop_reason = "interrupted"
    return run.history()
