"""The methods that the benchmarks compare, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from optuna.samplers import GPSampler, TPESampler

from benchmarks.peers.multi_fidelity import (
    AtTarget,
    MultiFidelityHVKGPolicy,
    momf_policy,
)
from benchmarks.peers.nsga2 import NSGA2Policy
from benchmarks.peers.optuna_samplers import OptunaPolicy
from benchmarks.peers.per_cost import PerCostPolicy
from benchmarks.peers.pesmo import pesmo_policy
from benchmarks.peers.smac3 import SMACPolicy
from benchmarks.problems import typical_costs
from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledModelFitter,
    FlexiBOFactory,
    LogDamped,
    RandomPolicy,
    VariancePerCostPolicy,
)
from botorch_flexibo.acquisition import HypervolumeLoss, unweighted
from botorch_flexibo.models import Winsorize
from botorch_flexibo.optim import SearchOptions
from botorch_flexibo.policies import (
    DiscretizedPolicy,
    ExponentialBeta,
    HVKGFactory,
    LinearKGFactory,
    LookaheadFactory,
    Policy,
    qlognparego_factory,
)
from botorch_flexibo.test_functions import DecoupledProblem

MethodFactory = Callable[[DecoupledProblem], Policy]


def _flexibo(problem: DecoupledProblem) -> Policy:
    """Up to 25 cheap measurements per decision, or one dear one."""
    dearest = float(typical_costs(problem).max())
    return AcquisitionPolicy(FlexiBOFactory(), q=25, batch_cost=dearest)


def _all_outcomes(problem: DecoupledProblem) -> torch.Tensor:
    return torch.ones(1, problem.num_objectives, dtype=torch.bool)


def _lookahead(
    problem: DecoupledProblem,
    *,
    q: int = 25,
    part: float = 0.1,
    price: float = 1 / 50,
    **options: Any,
) -> Policy:
    """Up to q measurements per decision, which has a price in dear measurements.

    A batch ends when it costs this part of a dear measurement.
    """
    dearest = float(typical_costs(problem).max())
    return AcquisitionPolicy(
        LookaheadFactory(decision_cost=price * dearest, **options),
        q=q,
        batch_cost=part * dearest,
        options=SearchOptions(max_rescored=128, max_choices=4096),
    )


def _variant(**options: Any) -> MethodFactory:
    """Look-ahead FlexiBO with other options."""
    return lambda problem: _lookahead(problem, **options)


def _many_designs(**options: Any) -> MethodFactory:
    """Look-ahead FlexiBO with 128 reference designs, the default of most variants."""
    return _variant(num_designs=128, **options)


def _rising_weight(left: float) -> float:
    """Knowledge counts for as much as there is left to buy with it."""
    return 0.1 / max(left, 1e-3)


def _exploiting_at_last(left: float) -> float:
    """The last fifth of the budget goes to the front that is known by then."""
    return 0.1 if left > 0.2 else 1e3


def _less_region(part: float) -> Callable[[float], HypervolumeLoss]:
    """The default loss with a part of the region's volume only."""

    def loss(beta: float) -> HypervolumeLoss:
        region = HypervolumeLoss.region(beta).terms
        means = HypervolumeLoss.knowledge_gradient(beta).terms
        return HypervolumeLoss((*((part * w, s) for w, s in region), *means))

    return loss


def _winsorized(problem: DecoupledProblem) -> DecoupledModelFitter:
    """Models to which outliers among the worst outcomes are less bad."""
    return DecoupledModelFitter(
        problem.bounds,
        categorical_features=problem.categorical_features,
        winsorize=Winsorize(problem.ref_point),
    )


# How outcomes are modelled, where it is not the loop's default.
FITTERS: dict[str, Callable[[DecoupledProblem], DecoupledModelFitter]] = {
    "FlexiBO, winsorised": _winsorized,
    "look-ahead FlexiBO, winsorised": _winsorized,
    "coupled qLogNEHVI, winsorised": _winsorized,
}

METHODS: dict[str, MethodFactory] = {
    "FlexiBO": _flexibo,
    "FlexiBO, winsorised": _flexibo,
    "look-ahead FlexiBO, winsorised": _lookahead,
    "coupled qLogNEHVI, winsorised": lambda _: CoupledPolicy(max_candidates=256),
    "look-ahead FlexiBO": _lookahead,
    # There were 128 reference designs, and boxes always one standard deviation wide,
    # while the loss and the weight of the measured front were chosen.
    "look-ahead FlexiBO, beta=1": _many_designs(beta=1.0),
    "look-ahead FlexiBO, beta=1, region 0.3": _many_designs(
        beta=1.0, loss=_less_region(0.3)
    ),
    "look-ahead FlexiBO, beta=1, weight 0": _many_designs(
        beta=1.0, improvement_weight=0.0
    ),
    "look-ahead FlexiBO, beta=1, weight 0.3": _many_designs(
        beta=1.0, improvement_weight=0.3
    ),
    "look-ahead FlexiBO, beta=1, weight 1": _many_designs(
        beta=1.0, improvement_weight=1.0
    ),
    "look-ahead FlexiBO, beta=1, weight 0.3, knowledge gradient": _many_designs(
        beta=1.0, improvement_weight=0.3, loss=HypervolumeLoss.knowledge_gradient
    ),
    "look-ahead FlexiBO, beta=1, weight 0.3, q=32, price 1/1000": _many_designs(
        beta=1.0, improvement_weight=0.3, q=32, price=1 / 1000
    ),
    "look-ahead FlexiBO, beta=4": _many_designs(beta=4.0),
    "look-ahead FlexiBO, beta=4, weight 0.3": _many_designs(
        beta=4.0, improvement_weight=0.3
    ),
    "look-ahead FlexiBO, beta from 1/2": _many_designs(beta=ExponentialBeta(shift=0.5)),
    "look-ahead FlexiBO, weight 0.3": _many_designs(improvement_weight=0.3),
    "look-ahead FlexiBO, |U|=32, weight 0.3": _variant(improvement_weight=0.3),
    "look-ahead FlexiBO, |U|=16": _variant(num_designs=16),
    "look-ahead FlexiBO, |U|=64": _variant(num_designs=64),
    "look-ahead FlexiBO, |U|=128": _many_designs(),
    "look-ahead FlexiBO, |U|=256": _variant(num_designs=256),
    "look-ahead FlexiBO, 1 node": _many_designs(quadrature_nodes=1),
    "look-ahead FlexiBO, 3 nodes": _many_designs(quadrature_nodes=3),
    "look-ahead FlexiBO, 16 nodes": _many_designs(quadrature_nodes=16),
    "look-ahead FlexiBO, pessimistic": _many_designs(loss=HypervolumeLoss.pessimistic),
    "look-ahead FlexiBO, optimistic": _many_designs(loss=HypervolumeLoss.optimistic),
    "look-ahead FlexiBO, rising weight": _variant(improvement_weight=_rising_weight),
    "look-ahead FlexiBO, exploiting at last": _variant(
        improvement_weight=_exploiting_at_last
    ),
    "look-ahead FlexiBO, log cost": _many_designs(weighting=LogDamped(1.0)),
    "look-ahead FlexiBO, batches of 1": _variant(q=1),
    "look-ahead FlexiBO, batches of 2": _variant(q=2, part=math.inf),
    "look-ahead FlexiBO, batches of 4": _variant(q=4, part=math.inf),
    "look-ahead FlexiBO, batches of 8": _variant(q=8, part=math.inf),
    "C-MOKG": lambda _: AcquisitionPolicy(LinearKGFactory()),
    "HVKG": lambda _: AcquisitionPolicy(  # the settings of BoTorch's tutorial
        HVKGFactory(), options=SearchOptions(512, num_restarts=1, maxiter=2000)
    ),
    "HVKG, reduced": lambda _: AcquisitionPolicy(
        HVKGFactory(value_restarts=5, value_samples=256),
        options=SearchOptions(64, num_restarts=1, maxiter=100),
    ),
    "coupled qLogNEHVI": lambda _: CoupledPolicy(max_candidates=256),
    "coupled qLogNEHVI, searched at length": lambda _: CoupledPolicy(
        max_candidates=4096, num_restarts=10, raw_samples=512, maxiter=200
    ),
    "coupled qLogNEHVI, per cost": lambda _: PerCostPolicy(max_candidates=256),
    "coupled qLogNParEGO": lambda _: CoupledPolicy(qlognparego_factory),
    "qLogNEHVI + variance/cost": lambda _: VariancePerCostPolicy(
        CoupledPolicy(max_candidates=256)
    ),
    "FlexiBO, discretised": lambda problem: DiscretizedPolicy(_flexibo(problem)),
    "random, equal money": lambda _: RandomPolicy(),
    "random, coupled": lambda problem: RandomPolicy(_all_outcomes(problem)),
    "random, decoupled": lambda _: RandomPolicy(weighting=unweighted),
    "random, target only": lambda problem: AtTarget(
        RandomPolicy(_all_outcomes(problem))
    ),
    "coupled qLogNEHVI, target only": lambda _: AtTarget(
        CoupledPolicy(max_candidates=256)
    ),
    "MOMF": lambda _: momf_policy(),
    "MF-HVKG, reduced": lambda _: MultiFidelityHVKGPolicy(),
    "PESMO": lambda _: pesmo_policy(),
    "NSGA-II": lambda _: NSGA2Policy(),
    "Optuna, TPE": lambda problem: OptunaPolicy(
        problem.categorical_features, TPESampler
    ),
    "Optuna, GP": lambda problem: OptunaPolicy(problem.categorical_features, GPSampler),
    "SMAC3, ParEGO and Hyperband": lambda problem: SMACPolicy(
        problem.categorical_features,
        budgets=problem.space.epochs,  # pyright: ignore[reportAttributeAccessIssue]
    ),
}
