r"""Designs refined by gradients, from the best of those scored before."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.optim import optimize_acqf, optimize_acqf_mixed_alternating
from botorch.optim.optimize_mixed import MAX_DISCRETE_VALUES
from scipy.optimize import OptimizeWarning
from torch import Tensor

from botorch_flexibo.optim.space import SearchSpace

if TYPE_CHECKING:
    from botorch_flexibo.optim.candidates import SearchOptions

# What BoTorch says of a line search that stopped.
_STOPPED = "Optimization failed in `gen_candidates_scipy`"
# NOTE: BoTorch 0.18 hands options of its mixed search on to SciPy, which warns that it
# does not know them (optim/optimize_mixed.py, continuous_step).
_FOREIGN_OPTION = "Unknown solver options"


def refine(
    acqf: AcquisitionFunction,
    starts: Tensor | None,
    *,
    space: SearchSpace,
    options: SearchOptions,
    tolerance: float | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Refine designs by gradients, within the space.

    Separate columns of many values are continuous while they are refined, and take
    the nearest value then, where they are in no constraint. With others BoTorch's mixed
    search is used, which draws designs to start from by itself.

    Args:
        acqf: What to maximise.
        starts: A ``k x d``-dim tensor of designs to start from. None leaves them to
            BoTorch, which one-shot acquisition functions need.
        space: The space, without choices.
        options: The effort.
        tolerance: The search ends where a step gains a smaller part of values of
            order one. None leaves it to BoTorch.

    Returns:
        A ``k' x d``-dim tensor of designs and their ``k'`` values.
    """
    with warnings.catch_warnings():
        # Kinks stop a line search: its best design counts, without a warning.
        warnings.filterwarnings("ignore", _STOPPED, RuntimeWarning)
        if starts is None or _is_continuous(space):
            X, values = _continuous(acqf, starts, space, options, tolerance)
        else:
            warnings.filterwarnings("ignore", _FOREIGN_OPTION, OptimizeWarning)
            X, values = _mixed(acqf, space, options, tolerance)
    values = torch.as_tensor(values)
    return X.detach().flatten(0, -2), values.detach().flatten()


def spread(X: Tensor, values: Tensor, bounds: Tensor, n: int) -> Tensor:
    """The best designs that are not too close to a better one, ``k x d``."""
    order = values.argsort(descending=True)[: min(16 * n, int(values.isfinite().sum()))]
    width = bounds[1] - bounds[0]
    unit = (X[order] - bounds[0]) / width.where(width > 0, torch.ones_like(width))
    near = torch.cdist(unit, unit) < 0.05 * unit.shape[-1] ** 0.5
    chosen: list[int] = []
    for i in range(len(order)):
        if len(chosen) < n and not near[i, chosen].any():
            chosen.append(i)
    return X[order[chosen]]


def _is_continuous(space: SearchSpace) -> bool:
    """Whether all separate columns are continuous while they are refined."""
    if space.cat_dims:
        return False
    bound = {
        int(column)
        for columns, _, _ in space.inequality_constraints
        for column in columns
    }
    return all(
        len(values) > MAX_DISCRETE_VALUES and column not in bound
        for column, values in space.discrete_dims.items()
    )


def _continuous(
    acqf: AcquisitionFunction,
    starts: Tensor | None,
    space: SearchSpace,
    options: SearchOptions,
    tolerance: float | None,
) -> tuple[Tensor, Tensor | None]:
    stopping: dict[str, Any] = {"maxiter": options.maxiter}
    if tolerance is not None:
        stopping["ftol"] = tolerance
        if not space.inequality_constraints:
            # NOTE: BoTorch's batched L-BFGS-B takes ftol for a contradiction of its
            # default factr (botorch 0.18, optim/batched_lbfgs_b.py).
            stopping["factr"] = None
    return optimize_acqf(
        acqf,
        space.bounds,
        q=1,
        num_restarts=options.num_restarts if starts is None else len(starts),
        raw_samples=options.raw_samples,
        options=stopping,
        inequality_constraints=list(space.inequality_constraints) or None,
        fixed_features=dict(space.fixed_features) or None,
        post_processing_func=space.project if space.is_mixed else None,
        batch_initial_conditions=None if starts is None else starts.unsqueeze(-2),
        return_best_only=starts is None,
        # A best design counts, however the line search ended.
        retry_on_optimization_warning=starts is None,
    )


def _mixed(
    acqf: AcquisitionFunction,
    space: SearchSpace,
    options: SearchOptions,
    tolerance: float | None,
) -> tuple[Tensor, Tensor | None]:
    stopping: dict[str, Any] = {"maxiter_continuous": options.maxiter}
    if tolerance is not None:
        stopping["tol"] = tolerance
    return optimize_acqf_mixed_alternating(
        acqf,
        space.bounds,
        cat_dims=dict(space.cat_dims),
        discrete_dims=dict(space.discrete_dims),
        options=stopping,
        q=1,
        raw_samples=options.raw_samples,
        num_restarts=options.num_restarts,
        fixed_features=dict(space.fixed_features),
        inequality_constraints=list(space.inequality_constraints) or None,
    )
