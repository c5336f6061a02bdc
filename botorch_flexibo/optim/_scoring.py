"""Values and costs of measuring masks at many designs."""

from __future__ import annotations

from typing import cast

import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from torch import Tensor

from botorch_flexibo.acquisition._inputs import refuse_nan
from botorch_flexibo.acquisition.cost_aware import (
    DecoupledCostUtility,
    decoupled_utility,
)
from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.linear_kg import LinearScalarizationKnowledgeGradient
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead

# Their value is what their utility makes of gain and cost.
_GAIN_PER_COST = (FlexiBO, qFlexiBOLookahead, LinearScalarizationKnowledgeGradient)


def masked_values(
    acq_function: DecoupledAcquisitionFunction, X: Tensor, mask: Tensor, size: int
) -> Tensor:
    """Acquisition values of measuring ``mask`` at each of ``n x d`` designs."""
    acq_function.X_evaluation_mask = mask.unsqueeze(0)
    with torch.no_grad():
        chunks = [acq_function(x) for x in X.unsqueeze(-2).split(size)]
    return refuse_nan(torch.cat(chunks))


def masked_costs(
    acq_function: DecoupledAcquisitionFunction, X: Tensor, masks: Tensor
) -> Tensor | None:
    """Costs of all pairs, ``n x k``, if the acquisition function knows them."""
    utility = decoupled_utility(acq_function)
    return None if utility is None else utility.mask_costs(X, masks)


def values_at_costs(
    acq_function: DecoupledAcquisitionFunction,
    X: Tensor,
    mask: Tensor,
    size: int,
    costs: Tensor,
) -> Tensor:
    """As ``masked_values``, costs not predicted again where gains can be had alone."""
    if not isinstance(acq_function, _GAIN_PER_COST):
        return masked_values(acq_function, X, mask, size)
    utility = cast(DecoupledCostUtility, acq_function.cost_aware_utility)
    acq_function.cost_aware_utility = None
    try:
        gains = masked_values(acq_function, X, mask, size)
    finally:
        acq_function.cost_aware_utility = utility
    return utility.weigh(gains, utility.with_decision(costs))
