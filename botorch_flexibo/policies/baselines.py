r"""Policies to compare with: coupled, and "variance per cost"."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.logei import (
    qLogNoisyExpectedHypervolumeImprovement,
)
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from botorch.exceptions.errors import CandidateGenerationError, UnsupportedError
from botorch.models.model import ModelList
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed, sample_simplex
from torch import Tensor

from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies._spares import open_once
from botorch_flexibo.policies.base import DecoupledState, Policy, callable_name
from botorch_flexibo.utils.checks import check_count
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.fronts import (
    front_mask,
    hypervolume_improvement,
    improvement_cells,
)
from botorch_flexibo.utils.posterior import marginal_moments
from botorch_flexibo.utils.rows import unique_rows

CoupledFactory = Callable[[ModelList, DecoupledState], AcquisitionFunction]

_NUM_SAMPLES = 128


def qlognehvi_factory(model: ModelList, state: DecoupledState) -> AcquisitionFunction:
    r"""Coupled ``qLogNoisyExpectedHypervolumeImprovement``, for :class:`CoupledPolicy`.

    Args:
        model: A model of the ``m`` outcomes.
        state: The data so far.

    Returns:
        The acquisition function.
    """
    return qLogNoisyExpectedHypervolumeImprovement(
        model,
        ref_point=state.ref_point,
        X_baseline=_baseline(state),
        sampler=SobolQMCNormalSampler(torch.Size([_NUM_SAMPLES]), seed=state.seed),
        prune_baseline=True,
    )


def qlognparego_factory(model: ModelList, state: DecoupledState) -> AcquisitionFunction:
    r"""``qLogNParEGO``, weights from the state's seed, for :class:`CoupledPolicy`.

    Args:
        model: A model of the ``m`` outcomes.
        state: The data so far.

    Returns:
        The acquisition function.
    """
    weights = sample_simplex(state.Y.shape[-1], seed=state.seed).squeeze(0)
    return qLogNParEGO(
        model,
        X_baseline=_baseline(state),
        scalarization_weights=weights.to(state.X),
        sampler=SobolQMCNormalSampler(torch.Size([_NUM_SAMPLES]), seed=state.seed),
        prune_baseline=True,
    )


def _baseline(state: DecoupledState) -> Tensor:
    """Designs whose outcomes count as known.

    On a finite set completely measured ones only, so that a half-measured one can
    still improve and is chosen again; on a continuous space all, because the next best
    design is never exactly the same.
    """
    complete = state.measured.all(dim=-1)
    if state.choices is None or not complete.any():
        return state.X
    return state.X[complete]


def _complete_soon(state: DecoupledState) -> Tensor:
    """Pending designs that lack nothing once they are measured."""
    pending = state.X[:0] if state.X_pending is None else state.X_pending
    return pending[~state.open_outcomes(pending).any(dim=-1)]


class CoupledPolicy(Policy):
    r"""Measures all outcomes of the design that a coupled acquisition likes best.

    On a finite set, the ``max_candidates`` designs whose mean plus one standard
    deviation improves the hypervolume of the predicted front most are scored; on other
    spaces ``optimize_acqf`` is used, and a random design replaces one that is measured
    or chosen already. Outcomes already measured are not measured again.

    Example:
        >>> CoupledPolicy()(model, state).evaluation_mask.tolist()
        [[True, True]]
    """

    uses_costs = False

    def __init__(
        self,
        acqf_factory: CoupledFactory = qlognehvi_factory,
        *,
        q: int = 1,
        max_candidates: int = 512,
        num_restarts: int = 4,
        raw_samples: int = 128,
        maxiter: int = 50,
    ) -> None:
        r"""Coupled policy.

        Args:
            acqf_factory: Builds the acquisition function from model and state.
            q: The number of designs per decision, chosen greedily.
            max_candidates: The number of designs of a finite set that are scored.
            num_restarts: Restarts of the optimiser on a continuous space.
            raw_samples: Initial samples of the optimiser on a continuous space; as many
                are drawn around the best designs so far.
            maxiter: Iterations of the optimiser on a continuous space.

        Raises:
            InputDataError: If a number is no whole number of at least 1.
        """
        counts = {
            "q": q,
            "max_candidates": max_candidates,
            "num_restarts": num_restarts,
            "raw_samples": raw_samples,
            "maxiter": maxiter,
        }
        for name, count in counts.items():
            check_count(count, name)
        self.acqf_factory = acqf_factory
        self.q = q
        self.max_candidates = max_candidates
        self.num_restarts = num_restarts
        self.raw_samples = raw_samples
        self.maxiter = maxiter

    @property
    def name(self) -> str:
        """What a checkpoint calls the policy."""
        return f"{super().name}({callable_name(self.acqf_factory)}, q={self.q})"

    @property
    def has_memory(self) -> bool:
        """Whether its factory may have: all but those of this module."""
        return self.acqf_factory not in (qlognehvi_factory, qlognparego_factory)

    def check(self, space: SearchSpace, num_outcomes: int) -> None:
        r"""Refuse a single outcome for ``qLogNEHVI``, which needs two.

        Args:
            space: Where designs may lie.
            num_outcomes: The number of outcomes ``m``.

        Raises:
            UnsupportedError: If there is one outcome.
        """
        if num_outcomes < 2 and self.acqf_factory is qlognehvi_factory:
            raise UnsupportedError(
                f"Expected at least two outcomes, but got {num_outcomes}. Pass"
                " qlognparego_factory, or use BoTorch's acquisition functions for one"
                " objective."
            )

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Choose designs and measure all their missing outcomes.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            Up to ``q`` designs with all outcomes not yet measured.

        Raises:
            CandidateGenerationError: If every design is fully measured, or the chosen
                one costs more than max_cost.
        """
        X, values = self.best_designs(model, state)
        mask = state.open_outcomes(X)
        with torch.no_grad():
            cost = predicted_costs(state.cost_model_with_pending, X, mask)
        check_costs(cost)
        affordable = cost.cumsum(dim=-1) <= state.max_cost
        if not affordable.any():
            raise CandidateGenerationError(
                f"Expected a design that costs at most {state.max_cost}, but the best"
                f" one costs {cost[0].item()}. Stop, or allow more cost."
            )
        return EvaluationRequest(
            X[affordable], mask[affordable], values[affordable], cost[affordable]
        )

    def best_designs(
        self, model: ModelList, state: DecoupledState
    ) -> tuple[Tensor, Tensor]:
        r"""The best designs that lack an outcome.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            A ``k x d``-dim tensor of distinct designs, ``k <= q``, and the ``k``-dim
            tensor of their acquisition values.

        Raises:
            CandidateGenerationError: If every design is fully measured.
        """
        state = state.enumerated()
        # Pruning and restarts draw from the global generator.
        with manual_seed(state.seed):
            acqf = self.acqf_factory(model, state)
            pending = _complete_soon(state)
            if len(pending) > 0:
                with suppress(UnsupportedError):  # analytic ones cannot
                    acqf.set_X_pending(pending)
            if state.choices is None:
                return self._best_in_bounds(acqf, state)
            return self._best_choices(acqf, model, state, state.choices)

    def _best_in_bounds(
        self, acqf: AcquisitionFunction, state: DecoupledState
    ) -> tuple[Tensor, Tensor]:
        X, values = optimize_acqf(
            acqf,
            bounds=state.bounds,
            q=self.q,
            num_restarts=self.num_restarts,
            raw_samples=self.raw_samples,
            options={
                "seed": state.seed,
                "maxiter": self.maxiter,
                "sample_around_best": True,
            },
            inequality_constraints=list(state.space.inequality_constraints) or None,
            fixed_features=dict(state.space.fixed_features) or None,
            sequential=True,
        )
        X = state.space.project(X)
        if state.failures is not None:
            anything = torch.ones_like(state.measured[0])
            tried, bounds = state.failures, state.bounds
            X = torch.stack([tried.original(x, anything, bounds) for x in X])
        # Values of q = 1 come without their dimension.
        return open_once(X, torch.as_tensor(values).reshape(-1), state)

    def _best_choices(
        self,
        acqf: AcquisitionFunction,
        model: ModelList,
        state: DecoupledState,
        choices: Tensor,
    ) -> tuple[Tensor, Tensor]:
        candidates = unique_rows(self._screen(model, state, choices))
        picks: list[int] = []
        values = []
        pending = _complete_soon(state)
        with torch.no_grad():
            for _ in range(min(self.q, len(candidates))):
                if picks:
                    acqf.set_X_pending(torch.cat([pending, candidates[picks]]))
                scores = acqf(candidates.unsqueeze(-2))
                scores[picks] = -torch.inf
                picks.append(int(scores.argmax()))
                values.append(scores[picks[-1]])
        return candidates[picks], torch.stack(values)

    def _screen(
        self, model: ModelList, state: DecoupledState, choices: Tensor
    ) -> Tensor:
        """Unmeasured choices, the most promising by optimistic improvement."""
        choices = choices[state.open_outcomes(choices).any(dim=-1)]
        if len(choices) == 0:
            raise CandidateGenerationError(
                "Expected a design that lacks an outcome, but every choice is fully"
                " measured. Stop, or pass more choices."
            )
        if len(choices) <= self.max_candidates:
            return choices
        with torch.no_grad():
            mean, variance = marginal_moments(model, choices)
            cells = improvement_cells(mean[front_mask(mean)], state.ref_point)
            promise = hypervolume_improvement(mean + variance.sqrt(), cells)
        return choices[promise.topk(self.max_candidates).indices]


class VariancePerCostPolicy(Policy):
    r"""A design by a coupled acquisition, then its outcome with most variance per cost.

    The simple strong baseline: the posterior variance of each missing outcome, divided
    by the variance of its data (so that units do not matter) and by its cost. A design
    whose cheap outcome is known may be chosen again, and then gets the expensive one.

    Example:
        >>> VariancePerCostPolicy(CoupledPolicy())(model, state).evaluation_mask.sum()
        tensor(1)
    """

    def __init__(self, design_policy: CoupledPolicy | None = None) -> None:
        r"""Variance-per-cost policy.

        Args:
            design_policy: The policy that chooses the designs. None means
                :class:`CoupledPolicy` with its defaults.
        """
        self.design_policy = CoupledPolicy() if design_policy is None else design_policy

    @property
    def name(self) -> str:
        """What a checkpoint calls the policy."""
        return f"{super().name}({self.design_policy.name})"

    @property
    def has_memory(self) -> bool:
        """Whether the policy that chooses the designs has."""
        return self.design_policy.has_memory

    def check(self, space: SearchSpace, num_outcomes: int) -> None:
        """Refuse what the policy that chooses the designs refuses.

        Args:
            space: Where designs may lie.
            num_outcomes: The number of outcomes ``m``.
        """
        self.design_policy.check(space, num_outcomes)

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Choose designs, and one outcome of each.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            Up to ``q`` designs with one outcome each.

        Raises:
            CandidateGenerationError: If nothing is left to measure within max_cost.
        """
        X, _ = self.design_policy.best_designs(model, state)
        with torch.no_grad():
            _, variance = marginal_moments(model, X)
        costs = state.outcome_costs(X)
        missing = state.open_outcomes(X) & (costs <= state.max_cost)
        if not missing.any():
            raise CandidateGenerationError(
                f"Expected a missing outcome that costs at most {state.max_cost}, but"
                " the chosen designs have none. Stop, or allow more cost."
            )
        scores = variance / (state.outcome_variances() * costs)
        scores = scores.masked_fill(~missing, -torch.inf)
        keep = missing.any(dim=-1)
        mask = torch.nn.functional.one_hot(scores.argmax(dim=-1), costs.shape[-1])
        mask = mask.bool()[keep]
        return EvaluationRequest(X[keep], mask, scores[keep][mask], costs[keep][mask])
