r"""The state of a run: what is known, spent, believed and recorded."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.cost import FixedCostModel
from botorch.models.model import Model, ModelList
from torch import Tensor

from botorch_flexibo._design_space import design_space
from botorch_flexibo._fits import RecordedFits
from botorch_flexibo._measuring import Measuring, check_request
from botorch_flexibo.checkpoint import Decision, RunRecord
from botorch_flexibo.exceptions import ExperimentStorageError
from botorch_flexibo.failures import FailureRule
from botorch_flexibo.history import DecoupledHistory
from botorch_flexibo.models.cost import CostModel, LogNormalCostModel
from botorch_flexibo.models.decoupled import DecoupledModelFitter
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.designs import identified_front
from botorch_flexibo.policies.base import DecoupledState, Effort, Policy
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.fronts import hypervolume
from botorch_flexibo.utils.seeds import seeded, stream

# The identified front is evaluated at most this often over the whole budget.
_NUM_FRONTS = 100


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    r"""What a run is told besides problem and policy.

    Attributes:
        budget: What may be spent.
        cost_model: The believed costs, None to learn them from what is paid.
        fitter: The settings of the model, None for the default ones.
        choices: The designs to choose from, None for those of the problem.
        seed: The seed of all randomness.
        strict: Whether nothing is started that the budget cannot pay.
        on_failure: What is done about failed measurements.
    """

    budget: float
    cost_model: Model | None
    fitter: DecoupledModelFitter | None
    choices: Tensor | None
    seed: int
    strict: bool
    on_failure: FailureRule


class Run:
    """The state of a run: ledger, model, believed costs, failures.

    Attributes:
        stop_reason: Why the run ended, ``"running"`` before.
    """

    def __init__(
        self, problem: DecoupledProblem, options: RunOptions, record: RunRecord
    ) -> None:
        """A run before its first measurement.

        Args:
            problem: The problem.
            options: What the run is told.
            record: Where it is recorded.
        """
        self.stop_reason = "running"
        self._problem = problem
        self._options = options
        self._record = record
        self._space = design_space(problem, options.choices)
        self._decision = 0
        self._measuring = Measuring(
            problem,
            record,
            budget=options.budget,
            strict=options.strict,
            rule=options.on_failure,
        )
        self._ledger = self._measuring.ledger
        fitter = options.fitter or DecoupledModelFitter(
            problem.bounds, categorical_features=problem.categorical_features
        )
        self._fits = RecordedFits(fitter.unfitted(), record, self._measurement_seed())
        self._cost_model = options.cost_model
        self._num_learned_costs = 0
        self._fit_seconds = 0.0
        self._effort = Effort()
        self._last_front_at = -torch.inf
        self._for_decisions = options.budget

    def start(self, request: EvaluationRequest, *, fit: bool) -> None:
        r"""Measure the initial design, and again what an outcome still needs.

        Args:
            request: The initial design.
            fit: Whether the policy will want a model.
        """
        self._measure(self._recorded(Decision(number=0, request=request)))
        while self.stop_reason == "running" and not self._can_fit():
            missing = self._measuring.missing(request, self._cost_model)
            if missing is None:
                self.stop_reason = "failing"
                return
            # Negative: another random stream than that of any decision.
            retry = self._measurement_seed(-len(self._ledger.records))
            self._measure(self._recorded(Decision(number=0, request=missing)), retry)
        if self._measuring.measured_now:  # else it was warned of then
            self._measuring.check_reference(self._problem.ref_point, stacklevel=4)
        self._for_decisions = self._options.budget - self._ledger.spent
        self._learn(fit=fit)

    def decide(self, policy: Policy) -> None:
        """One decision: ask the policy, measure what it wants, learn from it.

        Args:
            policy: The policy.
        """
        self._decision += 1
        # Read even if the decision is: costs are learned step by step.
        state = self._state(policy)
        decision = self._record.decision(self._ledger.X, self._problem.num_objectives)
        if decision is None:
            decision = self._ask(policy, state)
            if decision is None:
                return
            self._record.add_decision(decision)
        elif policy.has_memory:
            self._check(decision, self._asked_again(policy, state))
        self._effort += decision.effort
        self._measure(decision)
        self._learn(fit=policy.uses_model)

    def record_front(self, *, last: bool = False) -> None:
        """Write the true hypervolume of the identified front to the last entry.

        Args:
            last: Whether it is only judged because the run ends here.
        """
        known = self._problem.knows_truth and self._can_fit()
        if not known or self._last_front_at == self._ledger.spent:
            return
        self._last_front_at = self._ledger.spent
        X, Y = self._ledger.X, self._ledger.Y
        if last:
            volume = self._judged(lambda: self._fits.unrecorded_model(X, Y))
        else:
            self._fits.fit(X, Y)
            volume = self._record.front()
            if volume is None:
                volume = self._judged(lambda: self._fits.model(X, Y))
                self._record.add_front(volume)
        records = self._ledger.records
        records[-1] = replace(records[-1], hv_identified=volume)

    def history(self) -> DecoupledHistory:
        """All that happened so far."""
        try:
            max_hv = self._problem.max_hv
        except NotImplementedError:
            max_hv = float("nan")
        return DecoupledHistory(
            X=self._ledger.X.clone(),
            Y=self._ledger.Y.clone(),
            records=tuple(self._ledger.records),
            stop_reason=self.stop_reason,
            outcome_names=tuple(self._problem.outcome_names),
            cost_unit=self._problem.cost_unit,
            budget=self._options.budget,
            max_hv=max_hv,
            effort=self._effort,
            closed_outcomes=dict(self._measuring.closed),
            ref_point=self._problem.ref_point.clone(),
            target_fidelities=dict(self._problem.target_fidelities),
        )

    # --- deciding ---------------------------------------------------------------------

    def _state(self, policy: Policy) -> DecoupledState:
        ledger, options = self._ledger, self._options
        some = ~ledger.Y.isnan().all(dim=-1)
        failures = self._measuring.known_failures()
        costs = self._measuring.failures.believed_costs(
            self._believed_costs(policy), failures
        )
        left = options.budget - ledger.spent
        return DecoupledState(
            X=ledger.X[some],
            Y=ledger.Y[some],
            space=self._space,
            ref_point=self._problem.ref_point,
            cost_model=costs,
            iteration=self._decision,
            seed=self._policy_seed(),
            max_cost=left if options.strict else torch.inf,
            budget_left=left / self._for_decisions,
            target_fidelities=self._problem.target_fidelities,
            failures=failures,
        )

    def _ask(self, policy: Policy, state: DecoupledState) -> Decision | None:
        """Ask the policy; None if nothing is left to measure, and the run ends."""
        model = self._model_for(policy)
        before = policy.effort
        start = time.perf_counter()
        try:
            request = self._request(policy, model, state)
        except CandidateGenerationError:
            self._effort += policy.effort - before
            self.stop_reason = self._why_nothing_is_left(state)
            return None
        return Decision(
            number=self._decision,
            request=request,
            policy_seconds=time.perf_counter() - start,
            fit_seconds=self._fit_seconds,
            effort=policy.effort - before,
        )

    def _why_nothing_is_left(self, state: DecoupledState) -> str:
        choices = self._space.enumerated().choices
        some_left = choices is None or bool(state.open_outcomes(choices).any())
        if self._options.strict and some_left:
            return "unaffordable"
        return "failing" if self._measuring.closed else "exhausted"

    def _asked_again(
        self, policy: Policy, state: DecoupledState
    ) -> EvaluationRequest | None:
        """What a policy with a memory asks for now, None for nothing."""
        model = self._model_for(policy)
        try:
            return self._request(policy, model, state)
        except CandidateGenerationError:
            return None

    def _request(
        self, policy: Policy, model: ModelList, state: DecoupledState
    ) -> EvaluationRequest:
        with seeded(self._measurement_seed()):
            request = policy(model, state)
        return check_request(request, self._problem, policy.name)

    def _check(self, decision: Decision, request: EvaluationRequest | None) -> None:
        """Refuse a record that is not what is decided now."""
        recorded = decision.request
        same = (
            request is not None
            and torch.equal(recorded.X, request.X)
            and torch.equal(recorded.evaluation_mask, request.evaluation_mask)
        )
        if not same:
            raise ExperimentStorageError(
                f"Expected the decision that was recorded in {self._record.place}, but"
                " got another one now. The initial design or the policy is not the one"
                " that the run was started with, or does not repeat itself. Call it as"
                " the run was started, or use another file."
            )

    def _measure(self, decision: Decision, seed: int | None = None) -> None:
        seed = self._measurement_seed() if seed is None else seed
        self.stop_reason = self._measuring.measure(decision, seed, self._belief)

    def _recorded(self, decision: Decision) -> Decision:
        """Record a decision that follows from the problem alone."""
        X, mask = decision.request[:2]
        old = self._record.decision(X, mask.shape[-1])
        if old is None:
            self._record.add_decision(decision)
        else:
            self._check(old, decision.request)
        return decision

    # --- learning ---------------------------------------------------------------------

    def _learn(self, *, fit: bool) -> None:
        """Refit the model for the policy and, if due, judge the front.

        A model that only judges is not the policy's: its fit costs it no time.
        """
        self._fit_seconds = 0.0
        if not self._can_fit():
            return  # the budget ended before every outcome was measured once
        if fit:
            start = time.perf_counter()
            self._fits.fit(self._ledger.X, self._ledger.Y)
            self._fit_seconds = time.perf_counter() - start
        due = self._last_front_at + self._options.budget / _NUM_FRONTS
        if self._ledger.spent >= due:
            self.record_front()

    def _can_fit(self) -> bool:
        return not bool(self._ledger.Y.isnan().all(dim=0).any())

    def _judged(self, model: Callable[[], ModelList]) -> float:
        """The volume of the identified front, NaN if that fails: runs go on."""
        try:
            return self._identified_volume(model())
        except Exception as error:
            warnings.warn(
                f"The identified front could not be judged ({error!r}), so that"
                " hv_identified is NaN. Set knows_truth = False on a problem whose"
                " truth is not known.",
                RuntimeWarning,
                stacklevel=2,
            )
            return torch.nan

    def _identified_volume(self, model: ModelList) -> float:
        X = identified_front(
            model,
            replace(self._space, fixed_features=self._problem.target_fidelities),
            X=self._ledger.X,
            Y=self._ledger.Y,
            seed=self._options.seed,
        )
        truth = self._problem.evaluate_true(X)
        if self._problem.negate:
            truth = -truth
        known = truth.isfinite().all(dim=-1)  # a design may have no true outcomes
        if not known.any():
            return torch.nan
        return float(hypervolume(truth[known], self._problem.ref_point))

    def _model_for(self, policy: Policy) -> ModelList:
        if not policy.uses_model:
            return ModelList()
        return self._fits.model(self._ledger.X, self._ledger.Y)

    def _believed_costs(self, policy: Policy) -> Model:
        if self._cost_model is None:
            means = self._ledger.mean_costs()
            if not (policy.uses_model and policy.uses_costs):
                return FixedCostModel(means)
            self._cost_model = LogNormalCostModel(
                means,
                bounds=self._problem.bounds,
                categorical_features=self._problem.categorical_features,
            )
        num_paid = len(self._ledger.records)
        if (
            isinstance(self._cost_model, CostModel)
            and num_paid > self._num_learned_costs
        ):
            start = time.perf_counter()
            self._cost_model = self._updated(self._cost_model)
            self._fit_seconds += time.perf_counter() - start
            self._num_learned_costs = num_paid
        return self._cost_model

    def _belief(self) -> Model | None:
        """The costs believed after all payments, None if nothing is known of them.

        What the policy is told next is learned on its own, from the same payments.
        """
        if len(self._ledger.records) == 0:
            return self._cost_model
        if self._cost_model is None:
            return FixedCostModel(self._ledger.mean_costs())
        if isinstance(self._cost_model, CostModel):
            return self._updated(self._cost_model)
        return self._cost_model

    def _updated(self, cost_model: CostModel) -> CostModel:
        """A cost model after all payments so far."""
        with seeded(self._measurement_seed()):
            return cost_model.update(self._ledger.paid_costs())

    # --- seeds ------------------------------------------------------------------------

    def _policy_seed(self) -> int:
        """Even numbers: never the seed of a measurement's noise."""
        return 2 * stream(self._options.seed, self._decision)

    def _measurement_seed(self, number: int | None = None) -> int:
        number = self._decision if number is None else number
        return 2 * stream(self._options.seed, number) + 1
