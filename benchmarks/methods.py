"""The methods that the benchmarks compare, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    FlexiBOFactory,
    LogDamped,
    RandomPolicy,
    VariancePerCostPolicy,
)
from botorch_flexibo.acquisition import unweighted
from botorch_flexibo.acquisition.lookahead import HypervolumeLoss
from botorch_flexibo.policies import LookaheadFactory, Policy, qlognparego_factory
from botorch_flexibo.test_functions import DecoupledProblem

MethodFactory = Callable[[DecoupledProblem], Policy]


def _typical_costs(problem: DecoupledProblem) -> torch.Tensor:
    """What a user knows beforehand: about how much a measurement costs."""
    return problem.cost(problem.discretize(100, seed=0)).mean(dim=0)


def _flexibo(problem: DecoupledProblem, **options: float) -> Policy:
    """Up to 25 cheap measurements per decision, or one dear one."""
    dearest = float(_typical_costs(problem).max())
    return AcquisitionPolicy(FlexiBOFactory(**options), q=25, batch_cost=dearest)


def _all_outcomes(problem: DecoupledProblem) -> torch.Tensor:
    return torch.ones(1, problem.num_objectives, dtype=torch.bool)


def _lookahead(
    problem: DecoupledProblem, *, batched: bool = True, **options: Any
) -> Policy:
    """Look-ahead FlexiBO; cheap requests fill a batch until it costs a dear one."""
    dearest = float(_typical_costs(problem).max()) if batched else float("inf")
    q = 25 if batched else 1
    return AcquisitionPolicy(LookaheadFactory(**options), q=q, batch_cost=dearest)


METHODS: dict[str, MethodFactory] = {
    "FlexiBO": _flexibo,
    "FlexiBO, q=1": lambda _: AcquisitionPolicy(FlexiBOFactory()),
    "FlexiBO, beta=1": lambda problem: _flexibo(problem, beta=1.0),
    "FlexiBO, log cost": lambda problem: AcquisitionPolicy(
        FlexiBOFactory(weighting=LogDamped(float(_typical_costs(problem).min())))
    ),
    "FlexiBO, no cost": lambda _: AcquisitionPolicy(
        FlexiBOFactory(weighting=unweighted)
    ),
    "lookahead": lambda problem: _lookahead(problem, batched=False),
    "lookahead, B": lambda problem: _lookahead(
        problem, batched=False, quadrature_nodes=1
    ),
    "lookahead, pess": lambda problem: _lookahead(
        problem, batched=False, loss=HypervolumeLoss.pessimistic
    ),
    "lookahead, kg": lambda problem: _lookahead(
        problem, batched=False, loss=HypervolumeLoss.knowledge_gradient
    ),
    "coupled qLogNEHVI": lambda _: CoupledPolicy(max_candidates=256),
    "coupled qLogNParEGO": lambda _: CoupledPolicy(qlognparego_factory),
    "qLogNEHVI + variance/cost": lambda _: VariancePerCostPolicy(
        CoupledPolicy(max_candidates=256)
    ),
    "random, coupled": lambda problem: RandomPolicy(_all_outcomes(problem)),
    "random, decoupled": lambda _: RandomPolicy(weighting=unweighted),
}
