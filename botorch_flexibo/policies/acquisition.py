r"""Policies that optimise a decoupled acquisition function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from botorch.acquisition.acquisition import OneShotAcquisitionFunction
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility, per_cost
from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.acquisition.losses import HypervolumeLoss
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.optim.decoupled import EvaluationRequest, optimize_acqf_decoupled
from botorch_flexibo.optim.designs import sample_region_designs
from botorch_flexibo.policies.base import DecoupledState, Policy
from botorch_flexibo.utils.pareto_region import ConfidenceRegion, pal_beta


class AcquisitionPolicy(Policy):
    r"""Builds an acquisition function at every decision and optimises it.

    Example:
        >>> policy = AcquisitionPolicy(FlexiBOFactory(), q=4)
        >>> request = policy(model, state)
        >>> request.X.shape, request.evaluation_mask.shape
        (torch.Size([4, 2]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        acqf_factory: Callable[
            [ModelList, DecoupledState], DecoupledAcquisitionFunction
        ],
        *,
        q: int = 1,
        batch_cost: float = torch.inf,
        evaluation_masks: Tensor | None = None,
        options: SearchOptions | None = None,
    ) -> None:
        r"""Policy around an acquisition function.

        Args:
            acqf_factory: Builds the acquisition function from model and state, for
                example a :class:`FlexiBOFactory`.
            q: The number of measurements per decision, chosen greedily.
            batch_cost: A batch ends early once its predicted cost reaches this. With
                the cost of a dear measurement, one decision asks for many cheap ones
                or for a single dear one.
            evaluation_masks: A ``k x m``-dim boolean tensor of the masks that compete.
                None means every outcome on its own.
            options: The effort of the search; its seed is replaced by the state's.
        """
        self.options = SearchOptions() if options is None else options
        self.acqf_factory = acqf_factory
        self.q = q
        self.batch_cost = batch_cost
        self.evaluation_masks = evaluation_masks

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Optimise the acquisition function over designs and masks.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            Up to ``q`` measurements, none of a pair already measured. On a continuous
            space, designs that lack an outcome compete too.
        """
        acqf = self.acqf_factory(model, state)
        if state.X_pending is not None:
            acqf.set_X_pending(state.X_pending, state.X_pending_evaluation_mask)
        options = replace(self.options, seed=state.seed)
        if isinstance(acqf, qFlexiBOLookahead):
            options = replace(options, X_start=acqf.X_designs)
        X_revisit = None
        if state.choices is None and not isinstance(acqf, OneShotAcquisitionFunction):
            X_revisit = state.space.members(state.X[~state.measured.all(dim=-1)])
        return optimize_acqf_decoupled(
            acqf,
            state.space,
            X_revisit=X_revisit,
            options=options,
            q=self.q,
            batch_cost=self.batch_cost,
            evaluation_masks=self.evaluation_masks,
            X_avoid=state.X,
            X_avoid_evaluation_mask=state.measured,
            max_cost=state.max_cost,
        )


@dataclass(frozen=True)
class FlexiBOFactory:
    r"""Builds :class:`FlexiBO` over the choices of a state.

    Attributes:
        beta: The confidence scale. None follows the schedule :func:`pal_beta`.
        weighting: Maps costs to divisors, see :class:`DecoupledCostUtility`.
        noise_free: Whether measured outcomes are known exactly. If False they keep the
            posterior's box.

    Example:
        >>> acqf = FlexiBOFactory(beta=1.0)(model, state)
        >>> acqf.volume.shape
        torch.Size([])
    """

    beta: float | None = None
    weighting: Callable[[Tensor], Tensor] = per_cost
    noise_free: bool = True

    def __call__(
        self,
        model: ModelList,
        state: DecoupledState,
        previous_region: ConfidenceRegion | None = None,
    ) -> FlexiBO:
        r"""Build the acquisition function.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far; its choices are the design set.
            previous_region: Boxes of an earlier iteration to intersect with.

        Returns:
            The acquisition function.

        Raises:
            UnsupportedError: If the space is continuous.
        """
        designs = finite_choices(state)
        beta = self.beta
        if beta is None:
            beta = pal_beta(
                state.iteration,
                num_designs=len(designs),
                num_outcomes=state.Y.shape[-1],
            )
        return FlexiBO(
            model,
            state.ref_point,
            designs,
            beta=beta,
            cost_aware_utility=DecoupledCostUtility(state.cost_model, self.weighting),
            Y_designs=state.known_outcomes(designs) if self.noise_free else None,
            previous_region=previous_region,
        )


class IntersectedFlexiBOFactory:
    r"""Builds :class:`FlexiBO` with boxes intersected over the iterations of a run.

    It remembers the boxes of its last call, and forgets them at the first decision of a
    run or when the design set changes. Use one per run.

    Example:
        >>> policy = AcquisitionPolicy(IntersectedFlexiBOFactory(FlexiBOFactory()))
        >>> policy(model, state).X.shape
        torch.Size([1, 2])
    """

    def __init__(self, factory: FlexiBOFactory) -> None:
        r"""Factory with a memory.

        Args:
            factory: Builds the acquisition functions.
        """
        self.factory = factory
        self._last: FlexiBO | None = None

    def __call__(self, model: ModelList, state: DecoupledState) -> FlexiBO:
        r"""Build the acquisition function and remember its boxes.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far; its choices are the design set.

        Returns:
            The acquisition function.

        Raises:
            UnsupportedError: If the space is continuous.
        """
        previous = None
        if self._last is not None and state.iteration > 1:
            if torch.equal(self._last.X_designs, finite_choices(state)):
                previous = self._last.design_region
        self._last = self.factory(model, state, previous)
        return self._last


@dataclass(frozen=True)
class LookaheadFactory:
    r"""Builds :class:`qFlexiBOLookahead` with reference designs of its own.

    Attributes:
        beta: The confidence scale.
        loss: Maps ``beta`` to what is to be reduced, see :class:`HypervolumeLoss`. The
            default adds the expected growth of the front of means to the reduction of
            the region; it did best in ``benchmarks.battery``.
        quadrature_nodes: Nodes per measurement.
        num_designs: The largest number of reference designs. None takes 128 for two
            outcomes and 64 for more, where values cost their square.
        weighting: Maps costs to divisors, see :class:`DecoupledCostUtility`.
        decision_cost: The price of one decision, in the unit of the costs.

    Example:
        >>> acqf = LookaheadFactory(num_designs=32)(model, state)
        >>> acqf.X_designs.shape[-1]
        2
    """

    beta: float = 1.0
    loss: Callable[[float], HypervolumeLoss] = HypervolumeLoss.balanced
    quadrature_nodes: int = 6
    num_designs: int | None = None
    weighting: Callable[[Tensor], Tensor] = per_cost
    decision_cost: float = 0.0

    def __call__(self, model: ModelList, state: DecoupledState) -> qFlexiBOLookahead:
        r"""Build the acquisition function.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            The acquisition function.
        """
        fixed = {**state.space.fixed_features, **state.target_fidelities}
        space = replace(state.space, fixed_features=fixed)
        designs = sample_region_designs(
            model,
            space,
            state.ref_point,
            num_designs=self._num_designs(model.num_outputs),
            beta=self.beta,
            X=state.X,
            seed=state.seed,
        )
        return qFlexiBOLookahead(
            model,
            state.ref_point,
            designs,
            beta=self.beta,
            loss=self.loss,
            quadrature_nodes=self.quadrature_nodes,
            cost_aware_utility=DecoupledCostUtility(
                state.cost_model, self.weighting, decision_cost=self.decision_cost
            ),
            target_fidelities=state.target_fidelities,
        )

    def _num_designs(self, num_outcomes: int) -> int:
        if self.num_designs is not None:
            return self.num_designs
        return 128 if num_outcomes == 2 else 64


def finite_choices(state: DecoupledState) -> Tensor:
    """The choices of a state.

    Args:
        state: The state.

    Returns:
        A ``k x d``-dim tensor of designs.

    Raises:
        UnsupportedError: If the space is continuous.
    """
    if state.choices is None:
        raise UnsupportedError(
            "Expected a finite set of designs in state.choices, but got None. Pass"
            " choices=problem.discretize(n, seed) to run_decoupled_optimization, or"
            " wrap the policy in DiscretizedPolicy."
        )
    return state.choices
