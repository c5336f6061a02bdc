r"""The closed loop: ask a policy, measure, pay, learn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from botorch.exceptions.errors import CandidateGenerationError, InputDataError
from botorch.models.model import Model, ModelList
from botorch.utils.sampling import manual_seed
from torch import Tensor

from botorch_flexibo._ledger import Ledger
from botorch_flexibo.callbacks import Callback
from botorch_flexibo.history import DecoupledHistory
from botorch_flexibo.models.cost import CostModel, predicted_costs
from botorch_flexibo.models.decoupled import DecoupledModelFitter
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.designs import identified_front
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies.base import DecoupledState, Effort, Policy
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.fronts import hypervolume
from botorch_flexibo.utils.posterior import posterior_mean

# The identified front is evaluated at most this often over the whole budget.
_NUM_FRONTS = 100
_SEED_STRIDE = 1_000_003
_NO_EFFORT = Effort()


@dataclass(frozen=True)
class InitialDesign:
    r"""Random designs to start with, some or all of them measured completely.

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
        if not 1 <= complete <= self.num_designs:
            raise InputDataError(
                "Expected 1 <= num_complete <= num_designs, but got num_complete="
                f"{self.num_complete} and num_designs={self.num_designs}."
            )

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
        """
        if choices is None:
            X = problem.discretize(self.num_designs, seed=seed)
        else:
            generator = torch.Generator().manual_seed(seed)
            X = choices[torch.randperm(len(choices), generator=generator)]
            X = X[: self.num_designs]
        mask = torch.ones(len(X), problem.num_objectives, dtype=torch.bool)
        if self.num_complete is not None and self.num_complete < len(X):
            if cost_model is None:
                raise InputDataError(
                    "Expected a cost_model for a cheap-first initial design, because it"
                    " tells which outcome is cheapest, but got None."
                )
            costs = posterior_mean(cost_model, X).mean(dim=0)
            mask[self.num_complete :] = False
            mask[self.num_complete :, int(costs.argmin())] = True
        mask = mask.to(X.device)
        if cost_model is None:
            return EvaluationRequest(X, mask)
        return EvaluationRequest(X, mask, cost=predicted_costs(cost_model, X, mask))


def run_decoupled_optimization(
    problem: DecoupledProblem,
    policy: Policy,
    *,
    budget: float,
    initial_design: InitialDesign | None = None,
    cost_model: Model | None = None,
    choices: Tensor | None = None,
    seed: int = 0,
    strict: bool = False,
    callbacks: Sequence[Callback] = (),
) -> DecoupledHistory:
    r"""Spend a budget on decoupled measurements.

    The accounting is strict: every measurement is paid for with the problem's true
    cost, every set-up once, and an outcome that nobody paid for is never used, neither
    by the policy nor in ``hv_measured``. The optimiser sees only its believed costs.
    All randomness comes from ``seed``; the caller's random state is untouched.

    Args:
        problem: The problem; all outcomes are maximised.
        policy: Chooses the next measurement.
        budget: What may be spent, in the problem's ``cost_unit``, initial design
            included. It is overspent by the last request at most.
        initial_design: The designs to start with. None means ten, measured completely.
        cost_model: The believed costs, a model with ``m`` outputs. A ``CostModel``
            learns from all payments before every decision. None believes that every
            outcome costs the mean of what was paid for it so far, set-ups left out.
        choices: A ``n x d``-dim tensor of designs to choose from. None means the
            problem's own, if it has any.
        seed: The seed of all randomness.
        strict: Never start what, by the believed costs, the budget cannot pay.
        callbacks: Called with the history after the initial design and after every
            decision. One that returns True ends the run.

    Returns:
        The history of the run.

    Raises:
        InputDataError: If the budget is not positive and finite.

    Example:
        >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
        >>> history = run_decoupled_optimization(
        ...     problem, RandomPolicy(), budget=60.0, initial_design=InitialDesign(4)
        ... )
        >>> history.stop_reason
        'budget'
    """
    if not 0 < budget < torch.inf:
        raise InputDataError(
            f"Expected a positive, finite budget in {problem.cost_unit}, but got"
            f" {budget}."
        )
    run = _Run(problem, choices, budget, cost_model, seed)
    initial = InitialDesign() if initial_design is None else initial_design
    try:
        with manual_seed(run.measurement_seed()):
            run.measure(run.initial_request(initial), decision=0, strict=strict)
            run.learn(fit=policy.uses_model)
        while run.stop_reason == "running":
            if any([callback(run.history()) for callback in callbacks]):
                run.stop_reason = "callback"
                break
            with manual_seed(run.measurement_seed()):
                run.decide(policy, strict=strict)
    except KeyboardInterrupt:
        run.stop_reason = "interrupted"
    try:
        run.record_front()
        if run.stop_reason not in ("callback", "interrupted"):
            for callback in callbacks:
                callback(run.history())
    except KeyboardInterrupt:
        run.stop_reason = "interrupted"
    return run.history()


class _Run:
    """The state of a run: ledger, model, believed costs."""

    def __init__(
        self,
        problem: DecoupledProblem,
        choices: Tensor | None,
        budget: float,
        cost_model: Model | None,
        seed: int,
    ) -> None:
        self.problem = problem
        self.choices = problem.choices if choices is None else choices
        self.space = _space(problem, self.choices)
        self.budget = budget
        self.cost_model = cost_model
        self.seed = seed
        self.stop_reason = "running"
        self.decision = 0
        self.ledger = Ledger(problem)
        self._num_learned_costs = 0
        self._fitter = DecoupledModelFitter(
            problem.bounds, categorical_features=problem.categorical_features
        )
        self._fit_seconds = 0.0
        self._effort = Effort()
        self._last_front_at = -torch.inf

    def policy_seed(self) -> int:
        """Even numbers: never the seed of a measurement's noise."""
        return 2 * (self.seed * _SEED_STRIDE + self.decision)

    def measurement_seed(self) -> int:
        return 2 * (self.seed * _SEED_STRIDE + self.decision) + 1

    def initial_request(self, initial: InitialDesign) -> EvaluationRequest:
        return initial.request(
            self.problem, self.cost_model, self.seed, choices=self.choices
        )

    def decide(self, policy: Policy, *, strict: bool) -> None:
        """One decision: ask the policy, measure what it wants, learn from it."""
        self.decision += 1
        state = DecoupledState(
            X=self.ledger.X,
            Y=self.ledger.Y,
            space=self.space,
            ref_point=self.problem.ref_point,
            cost_model=self._believed_costs(),
            iteration=self.decision,
            seed=self.policy_seed(),
            max_cost=self.budget - self.ledger.spent if strict else torch.inf,
            target_fidelities=self.problem.target_fidelities,
        )
        model = self._model_for(policy)
        before = policy.effort
        start = time.perf_counter()
        try:
            request = policy(model, state)
        except CandidateGenerationError:
            measured_all = self.choices is not None and not bool(
                state.known_outcomes(self.choices).isnan().any()
            )
            too_dear = strict and not measured_all
            self.stop_reason = "unaffordable" if too_dear else "exhausted"
            return
        finally:
            seconds = time.perf_counter() - start
            effort = policy.effort - before
            self._effort += effort
        self.measure(
            request,
            self.decision,
            strict=strict,
            policy_seconds=seconds,
            effort=effort,
        )
        self.learn(fit=policy.uses_model)

    def measure(
        self,
        request: EvaluationRequest,
        decision: int,
        *,
        strict: bool = False,
        policy_seconds: float = 0.0,
        effort: Effort = _NO_EFFORT,
    ) -> None:
        """Measure and pay request by request until the budget is spent."""
        predicted = request.cost
        if predicted is None:
            predicted = torch.full((len(request.X),), torch.nan)
        for k in range(len(request.X)):
            if strict and self.ledger.spent + float(predicted[k]) > self.budget:
                self.stop_reason = "unaffordable"
                return
            self.ledger.measure(
                request.X[k : k + 1],
                request.evaluation_mask[k : k + 1],
                predicted_cost=float(predicted[k]),
                seconds=(policy_seconds, self._fit_seconds) if k == 0 else (0.0, 0.0),
                decision=decision,
                effort=effort if k == 0 else _NO_EFFORT,
            )
            if self.ledger.spent >= self.budget:
                self.stop_reason = "budget"
                return

    def learn(self, *, fit: bool) -> None:
        """Refit the model for the policy and, if due, judge the front.

        A model that only judges is not the policy's: its fit costs it no time.
        """
        self._fit_seconds = 0.0
        if not self._can_fit():
            return  # the budget ended before every outcome was measured once
        if fit:
            start = time.perf_counter()
            self._fit()
            self._fit_seconds = time.perf_counter() - start
        if self.ledger.spent >= self._last_front_at + self.budget / _NUM_FRONTS:
            self.record_front()

    def _can_fit(self) -> bool:
        return not bool(self.ledger.Y.isnan().all(dim=0).any())

    def _fit(self) -> ModelList:
        """The model of all data, as it is if nothing was measured since."""
        return self._fitter.fit(self.ledger.X, self.ledger.Y)

    def record_front(self) -> None:
        """Write the true hypervolume of the identified front to the last record."""
        known = self.problem.knows_truth and self._can_fit()
        if not known or self._last_front_at == self.ledger.spent:
            return
        self._last_front_at = self.ledger.spent
        X = identified_front(
            self._fit(),
            replace(self.space, fixed_features=self.problem.target_fidelities),
            X=self.ledger.X,
            Y=self.ledger.Y,
            seed=self.seed,
        )
        truth = self.problem.evaluate_true(X)
        if self.problem.negate:
            truth = -truth
        volume = float(hypervolume(truth, self.problem.ref_point))
        self.ledger.records[-1] = replace(self.ledger.records[-1], hv_identified=volume)

    def _model_for(self, policy: Policy) -> ModelList:
        if not self._can_fit():
            raise InputDataError(
                "Expected an initial design that measures every outcome at least once,"
                " but some outcome was never measured. Raise its num_complete."
            )
        return self._fit() if policy.uses_model else ModelList()

    def _believed_costs(self) -> Model:
        if self.cost_model is None:
            return self.ledger.mean_costs()
        num_paid = len(self.ledger.records)
        if (
            isinstance(self.cost_model, CostModel)
            and num_paid > self._num_learned_costs
        ):
            start = time.perf_counter()
            self.cost_model = self.cost_model.update(self.ledger.paid_costs())
            self._fit_seconds += time.perf_counter() - start
            self._num_learned_costs = num_paid
        return self.cost_model

    def history(self) -> DecoupledHistory:
        try:
            max_hv = self.problem.max_hv
        except NotImplementedError:
            max_hv = float("nan")
        return DecoupledHistory(
            X=self.ledger.X,
            Y=self.ledger.Y,
            records=tuple(self.ledger.records),
            stop_reason=self.stop_reason,
            outcome_names=tuple(self.problem.outcome_names),
            cost_unit=self.problem.cost_unit,
            budget=self.budget,
            max_hv=max_hv,
            effort=self._effort,
        )


def _space(problem: DecoupledProblem, choices: Tensor | None) -> SearchSpace:
    """The designs of a problem; integer and categorical columns hold integers."""

    def integers(columns: Sequence[int]) -> dict[int, list[float]]:
        lower, upper = problem.bounds.tolist()
        return {
            j: [float(value) for value in range(int(lower[j]), int(upper[j]) + 1)]
            for j in columns
        }

    if choices is not None:
        return SearchSpace(problem.bounds, choices)
    return SearchSpace(
        problem.bounds,
        discrete_dims=integers(problem.discrete_inds),
        cat_dims=integers(problem.categorical_inds),
    )
