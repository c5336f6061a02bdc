r"""Look-ahead FlexiBO for a policy, with reference designs of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from botorch.exceptions.errors import InputDataError
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo.acquisition.baseline import MeasuredBaseline
from botorch_flexibo.acquisition.cost_aware import (
    DecoupledCostUtility,
    check_decision_cost,
    per_cost,
)
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.acquisition.losses import HypervolumeLoss
from botorch_flexibo.optim.designs import sample_region_designs
from botorch_flexibo.policies.base import DecoupledState
from botorch_flexibo.policies.confidence import ExponentialBeta
from botorch_flexibo.utils.checks import check_beta, check_count, finite_number

# Outcomes that cost at least this part of the most expensive one are decisive, up to
# rounding: the unit of the costs is to decide nothing.
_DECISIVE = 0.1 * (1 - 1e-6)


@dataclass(frozen=True)
class LookaheadFactory:
    r"""Builds :class:`qFlexiBOLookahead` with reference designs of its own.

    Attributes:
        beta: The confidence scale, or a function of the decision's seed that returns
            it. The default draws one per decision, see :class:`ExponentialBeta`.
        loss: Maps ``beta`` to what is to be reduced, see :class:`HypervolumeLoss`. The
            default adds the expected growth of the front of means to the reduction of
            the region (``docs/design.md`` says how the two compared).
        quadrature_nodes: Nodes per measurement.
        num_designs: The largest number of reference designs.
        weighting: Maps costs to divisors, see :class:`DecoupledCostUtility`.
        decision_cost: The price of one decision, in the unit of the costs. What fills a
            batch shares it, see :class:`SharedPrice`.
        improvement_weight: The weight of improving the front of measured designs, see
            :class:`MeasuredBaseline`; outcomes that cost at least a tenth of the most
            expensive one are decisive. 0 values knowledge alone; with ``beta=1.0``, 0.3
            has measured more of the front on some recorded tables of ``benchmarks/``.
            Or a function of the state's ``budget_left``, for runs that explore first
            and exploit what they know in the end.

    Example:
        >>> acqf = LookaheadFactory(num_designs=64)(model, state)
        >>> acqf.X_designs.shape[-1]
        2
    """

    beta: float | Callable[[int], float] = field(default_factory=ExponentialBeta)
    loss: Callable[[float], HypervolumeLoss] = HypervolumeLoss.balanced
    quadrature_nodes: int = 6
    num_designs: int = 32
    weighting: Callable[[Tensor], Tensor] = per_cost
    decision_cost: float = 0.0
    improvement_weight: float | Callable[[float], float] = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not callable(self.beta):
            check_beta(self.beta)
        check_count(self.quadrature_nodes, "quadrature_nodes")
        check_count(self.num_designs, "num_designs")
        check_decision_cost(self.decision_cost)
        if not callable(self.improvement_weight):
            _check_weight(self.improvement_weight)

    def __call__(self, model: ModelList, state: DecoupledState) -> qFlexiBOLookahead:
        r"""Build the acquisition function.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            The acquisition function.

        Raises:
            InputDataError: If ``beta`` or ``improvement_weight`` is a function and
                returns no scale or weight.
        """
        beta = self.beta
        if callable(beta):
            beta = check_beta(beta(state.seed))
        fixed = {**state.space.fixed_features, **state.target_fidelities}
        space = replace(state.space, fixed_features=fixed)
        designs = sample_region_designs(
            model,
            space,
            state.ref_point,
            num_designs=self.num_designs,
            beta=beta,
            X=state.X,
            seed=state.seed,
        )
        acqf = qFlexiBOLookahead(
            model,
            state.ref_point,
            designs,
            beta=beta,
            loss=self.loss,
            quadrature_nodes=self.quadrature_nodes,
            cost_aware_utility=DecoupledCostUtility(
                state.cost_model, self.weighting, decision_cost=self.decision_cost
            ),
            target_fidelities=state.target_fidelities,
        )
        weight = self.improvement_weight
        if callable(weight):
            weight = _check_weight(weight(state.budget_left))
        if weight > 0:
            acqf.set_baseline(_baseline(state, acqf.X_designs, weight))
        return acqf


def _check_weight(weight: object) -> float:
    number = finite_number(weight)
    if number is None or number < 0:
        raise InputDataError(
            f"Expected a finite improvement_weight >= 0, but got {weight!r}. Pass 0 to"
            " value knowledge alone."
        )
    return number


def _baseline(
    state: DecoupledState, designs: Tensor, weight: float
) -> MeasuredBaseline:
    # Not what measured designs cost: their set-ups are paid.
    costs = state.outcome_costs(designs).amax(dim=0)
    failures = state.failures
    counted = costs
    if failures is not None and not failures.closed.all():
        # Nothing is completed by an outcome that is not asked for any more.
        counted = costs.masked_fill(failures.closed, 0.0)
    return MeasuredBaseline(
        state.X,
        state.measured,
        decisive=counted >= _DECISIVE * counted.max(),
        weight=weight,
        costs=costs,
        forbidden=None if failures is None else failures.forbidden,
    )
