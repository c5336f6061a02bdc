r"""Input constructors, so that BoTorch and Ax can build these acquisition functions.

Importing this module registers them with BoTorch's ``get_acqf_input_constructor``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.acquisition.input_constructors import acqf_input_constructor
from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
from botorch.exceptions.errors import InputDataError
from botorch.models.model import Model
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.optim.designs import sample_region_designs
from botorch_flexibo.optim.space import SearchSpace

Datasets = SupervisedDataset | Mapping[Hashable, SupervisedDataset]


@acqf_input_constructor(qFlexiBOLookahead)
def construct_inputs_qFlexiBOLookahead(
    model: Model,
    training_data: Datasets,
    bounds: list[tuple[float, float]],
    *,
    objective_thresholds: Tensor | None = None,
    ref_point: Tensor | None = None,
    objective: MCMultiOutputObjective | None = None,
    cost_aware_utility: CostAwareUtility | None = None,
    target_fidelities: Mapping[int, float] | None = None,
    X_designs: Tensor | None = None,
    beta: float = 1.0,
    quadrature_nodes: int = 6,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Arguments of :class:`qFlexiBOLookahead`.

    Args:
        model: A model list of exact single-output GPs, one per outcome.
        training_data: The data of the model, one set per outcome or one for all.
        bounds: Lower and upper bound of each input.
        objective_thresholds: A ``m``-dim tensor of thresholds in the space of the
            outcomes; the reference point if ``ref_point`` is None.
        ref_point: A ``m``-dim reference point, in objective space.
        objective: None, identity, or one weight per outcome (-1: minimise).
        cost_aware_utility: Turns values into values per cost.
        target_fidelities: The target value of each fidelity column.
        X_designs: A ``N x d``-dim tensor of reference designs. None samples them with
            ``sample_region_designs``.
        beta: The confidence scale.
        quadrature_nodes: Nodes per measurement.
        seed: Seed of the reference designs.

    Returns:
        Keyword arguments of the constructor.

    Raises:
        InputDataError: If there is neither a reference point nor thresholds.
    """
    X = _inputs(training_data)
    reference = _reference_point(ref_point, objective_thresholds, objective).to(X)
    fidelities = {j % X.shape[-1]: v for j, v in (target_fidelities or {}).items()}
    if X_designs is None:
        space = SearchSpace(torch.as_tensor(bounds).to(X).T, fixed_features=fidelities)
        X_designs = sample_region_designs(
            model,
            space,
            reference,
            beta=beta,
            objective=objective,
            X=X,
            seed=seed,
        )
    return {
        "model": model,
        "ref_point": reference,
        "X_designs": X_designs,
        "beta": beta,
        "quadrature_nodes": quadrature_nodes,
        "objective": objective,
        "cost_aware_utility": cost_aware_utility,
        "target_fidelities": fidelities or None,
    }


@acqf_input_constructor(FlexiBO)
def construct_inputs_FlexiBO(
    model: Model,
    training_data: Datasets,
    *,
    X_designs: Tensor,
    objective_thresholds: Tensor | None = None,
    ref_point: Tensor | None = None,
    objective: MCMultiOutputObjective | None = None,
    cost_aware_utility: CostAwareUtility | None = None,
    beta: float = 1.0,
) -> dict[str, Any]:
    r"""Arguments of :class:`FlexiBO`.

    Args:
        model: A model list with ``m`` outputs.
        training_data: The data of the model, one set per outcome or one for all.
        X_designs: A ``n x d``-dim tensor: the finite design set.
        objective_thresholds: A ``m``-dim tensor of thresholds in the space of the
            outcomes; the reference point if ``ref_point`` is None.
        ref_point: A ``m``-dim reference point, in objective space.
        objective: None, identity, or one weight per outcome (-1: minimise).
        cost_aware_utility: Turns values into values per cost.
        beta: The confidence scale.

    Returns:
        Keyword arguments of the constructor.

    Raises:
        InputDataError: If there is neither a reference point nor thresholds.
    """
    X = _inputs(training_data)
    reference = _reference_point(ref_point, objective_thresholds, objective)
    return {
        "model": model,
        "ref_point": reference.to(X),
        "X_designs": X_designs,
        "beta": beta,
        "objective": objective,
        "cost_aware_utility": cost_aware_utility,
    }


def _inputs(training_data: Datasets) -> Tensor:
    """Distinct designs of all data sets, ``n x d``."""
    if isinstance(training_data, SupervisedDataset):
        return training_data.X
    return torch.unique(torch.cat([data.X for data in training_data.values()]), dim=0)


def _reference_point(
    ref_point: Tensor | None,
    objective_thresholds: Tensor | None,
    objective: MCMultiOutputObjective | None,
) -> Tensor:
    if ref_point is not None:
        return torch.as_tensor(ref_point)
    if objective_thresholds is None:
        raise InputDataError(
            "Expected ref_point or objective_thresholds, but got neither. Pass a point"
            " below the front."
        )
    if objective is None:
        return objective_thresholds
    return objective(objective_thresholds.unsqueeze(0)).squeeze(0)
