r"""Input constructors, so that BoTorch and Ax can build these acquisition functions.

Importing this module registers them with BoTorch's ``get_acqf_input_constructor``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.acquisition.input_constructors import acqf_input_constructor
from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
from botorch.exceptions.errors import InputDataError, UnsupportedError
from botorch.models.model import Model
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.optim.designs import sample_region_designs
from botorch_flexibo.optim.space import SearchSpace

Datasets = SupervisedDataset | Mapping[Hashable, SupervisedDataset]


@acqf_input_constructor(qFlexiBOLookahead)
def construct_inputs_qFlexiBOLookahead(  # noqa: PLR0913 (BoTorch passes them by name)
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
    X_pending: Tensor | None = None,
    constraints: Sequence[Callable[[Tensor], Tensor]] | None = None,
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
        X_pending: A ``n' x d``-dim tensor of designs whose outcomes are all being
            measured.
        constraints: None: there are no outcome constraints here.
        beta: The confidence scale.
        quadrature_nodes: Nodes per measurement.
        seed: Seed of the reference designs.

    Returns:
        Keyword arguments of the constructor.

    Raises:
        InputDataError: If there is neither a reference point nor thresholds.
        UnsupportedError: If there are outcome constraints.
    """
    _refuse_constraints(constraints)
    X = _inputs(training_data)
    reference = _reference_point(ref_point, objective_thresholds, objective, X)
    fidelities = {j % X.shape[-1]: v for j, v in (target_fidelities or {}).items()}
    if X_designs is None:
        limits = torch.as_tensor(bounds, dtype=X.dtype, device=X.device).T
        space = SearchSpace(limits, fixed_features=fidelities)
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
        "X_pending": X_pending,
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
    X_pending: Tensor | None = None,
    constraints: Sequence[Callable[[Tensor], Tensor]] | None = None,
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
        X_pending: A ``n' x d``-dim tensor of designs whose outcomes are all being
            measured.
        constraints: None: there are no outcome constraints here.
        beta: The confidence scale.

    Returns:
        Keyword arguments of the constructor.

    Raises:
        InputDataError: If there is neither a reference point nor thresholds.
        UnsupportedError: If there are outcome constraints.
    """
    _refuse_constraints(constraints)
    X = _inputs(training_data)
    return {
        "model": model,
        "ref_point": _reference_point(ref_point, objective_thresholds, objective, X),
        "X_designs": X_designs,
        "X_pending": X_pending,
        "beta": beta,
        "objective": objective,
        "cost_aware_utility": cost_aware_utility,
    }


def _refuse_constraints(constraints: Sequence[object] | None) -> None:
    """They would be ignored otherwise."""
    if constraints:
        raise UnsupportedError(
            f"Expected no outcome constraints, but got {len(constraints)}. Make what"
            " is constrained an objective and its bound an entry of ref_point."
        )


def _inputs(training_data: Datasets) -> Tensor:
    """Designs of all data sets, ``n x d``; several sets share theirs."""
    if isinstance(training_data, SupervisedDataset):
        return training_data.X
    return torch.unique(torch.cat([data.X for data in training_data.values()]), dim=0)


def _reference_point(
    ref_point: Tensor | None,
    objective_thresholds: Tensor | None,
    objective: MCMultiOutputObjective | None,
    like: Tensor,
) -> Tensor:
    if ref_point is not None:
        return torch.as_tensor(ref_point, dtype=like.dtype, device=like.device)
    if objective_thresholds is None:
        raise InputDataError(
            "Expected ref_point or objective_thresholds, but got neither. Pass a point"
            " below the front."
        )
    thresholds = torch.as_tensor(
        objective_thresholds, dtype=like.dtype, device=like.device
    )
    return thresholds if objective is None else objective(thresholds[None])[0]
