r"""Optimisation of decoupled acquisition functions over designs and outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    CandidateGenerationError,
    InputDataError,
)
from botorch.logging import shape_to_str
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility
from botorch_flexibo.utils.rows import RowIndex


class EvaluationRequest(NamedTuple):
    """What to measure next: ``q`` designs and, for each, which outcomes.

    Attributes:
        X: A ``q x d``-dim tensor of designs.
        evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure.
        acq_value: A ``q``-dim tensor of acquisition values, or None.
        cost: A ``q``-dim tensor of predicted costs, or None if no cost model is known.
    """

    X: Tensor
    evaluation_mask: Tensor
    acq_value: Tensor | None = None
    cost: Tensor | None = None


def optimize_acqf_decoupled(
    acq_function: DecoupledAcquisitionFunction,
    bounds: Tensor,
    *,
    choices: Tensor,
    q: int = 1,
    evaluation_masks: Tensor | None = None,
    X_avoid: Tensor | None = None,
    X_avoid_evaluation_mask: Tensor | None = None,
    max_cost: float = torch.inf,
    batch_cost: float = torch.inf,
    max_batch_size: int = 4096,
) -> EvaluationRequest:
    r"""Choose designs and, for each, the outcomes to measure.

    Every mask competes at every design of a finite set. Batches are greedy: each pick
    becomes pending with its mask before the next one is chosen, so one batch may
    measure different outcomes. Ties go to the cheaper pair, then to the first design,
    then to the first mask. The acquisition function is left as it was found, also when
    an error is raised.

    Args:
        acq_function: A decoupled acquisition function. Pairs pending in it are not
            proposed again.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        choices: A ``n x d``-dim tensor of designs to choose from. Copies of a row
            count once.
        q: The number of requests. Fewer are returned if fewer pairs are left.
        evaluation_masks: A ``k x m``-dim boolean tensor of the masks that compete.
            None means every outcome on its own.
        X_avoid: A ``n' x d``-dim tensor of designs already measured.
        X_avoid_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes already
            measured there. A mask that contains one of them is not proposed. None means
            all.
        max_cost: The largest predicted cost of the batch. Needs an acquisition function
            whose ``cost_aware_utility`` is a ``DecoupledCostUtility``.
        batch_cost: A batch ends early once its predicted cost reaches this. With the
            cost of one dear measurement, cheap ones fill a batch until a dear one is
            worth more. Needs predicted costs, as ``max_cost`` does.
        max_batch_size: The number of designs scored at once.

    Returns:
        The chosen designs and masks with their values and predicted costs.

    Raises:
        CandidateGenerationError: If no pair is left to choose.
        BotorchTensorDimensionError: If shapes do not fit.
        InputDataError: If a choice is out of bounds, a mask empty, ``q`` below 1, or a
            value is NaN.

    Example:
        >>> request = optimize_acqf_decoupled(acqf, bounds, choices=designs, q=2)
        >>> request.evaluation_mask.sum(dim=-1).tolist()
        [1, 1]
    """
    masks = _check_masks(evaluation_masks, acq_function.num_outputs, choices.device)
    _check_choices(choices, bounds, q)
    _check_options(X_avoid, X_avoid_evaluation_mask, max_batch_size, batch_cost)
    choices = _first_copies(choices)
    rows = RowIndex(choices)
    avoid = X_avoid, X_avoid_evaluation_mask
    allowed = _free_pairs(acq_function, choices, rows, masks, avoid)
    costs = _predicted_costs(acq_function, choices, masks)
    if costs is None and min(max_cost, batch_cost) < torch.inf:
        raise InputDataError(
            "Expected an acquisition function whose cost_aware_utility is a"
            " DecoupledCostUtility, because max_cost and batch_cost need predicted"
            " costs. Leave them out or pass such a utility."
        )
    picks: list[tuple[int, int]] = []
    values: list[Tensor] = []
    spent = 0.0
    with _restored(acq_function):
        while len(picks) < q and spent < batch_cost and allowed.any():
            if picks:
                design, mask = picks[-1]
                _add_pending(acq_function, choices[[design]], masks[[mask]])
            if costs is not None:
                allowed &= costs <= max_cost - spent
                if not allowed.any():
                    break
            scores = _scores(acq_function, choices, masks, max_batch_size)
            design, mask = _best_pair(scores, allowed, costs)
            picks.append((design, mask))
            values.append(scores[design, mask])
            spent += 0.0 if costs is None else float(costs[design, mask])
            _exclude(allowed, rows, masks, choices[[design]], masks[[mask]])
    if not picks:
        raise CandidateGenerationError(
            "Expected at least one pair to choose from, but all"
            f" {allowed.numel()} pairs of designs and masks are measured, pending or"
            " dearer than max_cost."
        )
    designs, columns = torch.tensor(picks, device=choices.device).unbind(dim=-1)
    return EvaluationRequest(
        X=choices[designs],
        evaluation_mask=masks[columns],
        acq_value=torch.stack(values),
        cost=None if costs is None else costs[designs, columns],
    )


def _free_pairs(
    acq_function: DecoupledAcquisitionFunction,
    choices: Tensor,
    rows: RowIndex,
    masks: Tensor,
    avoid: tuple[Tensor | None, Tensor | None],
) -> Tensor:
    """Which pairs hold nothing measured or pending, ``n x k``."""
    allowed = torch.ones(len(choices), len(masks), dtype=torch.bool)
    allowed = allowed.to(choices.device)
    pending = acq_function.X_pending, acq_function.X_pending_evaluation_mask
    for X, X_mask in (avoid, pending):
        if X is not None:
            _exclude(allowed, rows, masks, X, X_mask)
    return allowed


def _check_masks(masks: Tensor | None, m: int, device: torch.device) -> Tensor:
    if masks is None:
        return torch.eye(m, dtype=torch.bool, device=device)
    if masks.ndim != 2 or masks.shape[-1] != m or masks.dtype != torch.bool:
        raise BotorchTensorDimensionError(
            f"Expected evaluation_masks to be boolean and `k x {m}`, but got"
            f" {masks.dtype} of shape {shape_to_str(masks.shape)}."
        )
    if len(masks) == 0 or not masks.any(dim=-1).all():
        raise InputDataError(
            "Expected at least one mask, each with at least one outcome, but got"
            f" {masks.tolist()}."
        )
    return masks.to(device)


def _check_options(
    X_avoid: Tensor | None,
    X_avoid_mask: Tensor | None,
    max_batch_size: int,
    batch_cost: float,
) -> None:
    if X_avoid is None and X_avoid_mask is not None:
        raise InputDataError(
            "Expected X_avoid with X_avoid_evaluation_mask, but got the mask alone."
        )
    if max_batch_size < 1 or not batch_cost > 0:
        raise InputDataError(
            "Expected max_batch_size >= 1 and batch_cost > 0, but got"
            f" {max_batch_size} and {batch_cost}."
        )


def _check_choices(choices: Tensor, bounds: Tensor, q: int) -> None:
    if choices.ndim != 2 or bounds.shape != (2, choices.shape[-1]):
        raise BotorchTensorDimensionError(
            "Expected choices to be `n x d` and bounds `2 x d`, but got"
            f" {shape_to_str(choices.shape)} and {shape_to_str(bounds.shape)}."
        )
    if q < 1:
        raise InputDataError(f"Expected q to be at least 1, but got {q}.")
    outside = ~((choices >= bounds[0]) & (choices <= bounds[1])).all(dim=-1)
    if outside.any():
        first = int(outside.nonzero()[0])
        raise InputDataError(
            f"Expected all choices within the bounds, but got {choices[first].tolist()}"
            f" in row {first}. Pass the bounds of the design set."
        )


def _first_copies(X: Tensor) -> Tensor:
    """The rows of ``X`` without repetitions, in their order."""
    first = RowIndex(X).find(X) == torch.arange(len(X), device=X.device)
    return X if bool(first.all()) else X[first]


def _exclude(
    allowed: Tensor, rows: RowIndex, masks: Tensor, X: Tensor, X_mask: Tensor | None
) -> None:
    """Forbid, in place, all masks that contain an outcome of ``X`` in ``X_mask``."""
    if X_mask is None:
        X_mask = torch.ones(len(X), masks.shape[-1], dtype=torch.bool, device=X.device)
    if X_mask.shape != (len(X), masks.shape[-1]):
        raise BotorchTensorDimensionError(
            f"Expected a mask of shape `{len(X)} x {masks.shape[-1]}` for the designs"
            f" to avoid, but got {shape_to_str(X_mask.shape)}."
        )
    row = rows.find(X)
    taken = torch.zeros(len(allowed), masks.shape[-1], device=allowed.device)
    taken.index_add_(0, row[row >= 0], X_mask[row >= 0].to(taken))
    allowed &= (taken @ masks.to(taken).T) == 0


def _predicted_costs(
    acq_function: DecoupledAcquisitionFunction, choices: Tensor, masks: Tensor
) -> Tensor | None:
    """Costs of all pairs, ``n x k``, if the acquisition function knows them."""
    utility = getattr(acq_function, "cost_aware_utility", None)
    if not isinstance(utility, DecoupledCostUtility):
        return None
    X = choices.unsqueeze(-2)
    with torch.no_grad():
        return torch.stack([utility.cost(X, mask[None]) for mask in masks], dim=-1)


def _scores(
    acq_function: DecoupledAcquisitionFunction,
    choices: Tensor,
    masks: Tensor,
    max_batch_size: int,
) -> Tensor:
    """Acquisition values of all pairs, ``n x k``."""
    columns = []
    with torch.no_grad():
        for mask in masks:
            acq_function.X_evaluation_mask = mask.unsqueeze(0)
            chunks = choices.unsqueeze(-2).split(max_batch_size)
            columns.append(torch.cat([acq_function(chunk) for chunk in chunks]))
    scores = torch.stack(columns, dim=-1)
    if scores.isnan().any():
        raise InputDataError(
            "Expected acquisition values without NaN, but got"
            f" {int(scores.isnan().sum())} NaN of {scores.numel()}. Check the model's"
            " posterior for NaN means or variances."
        )
    return scores


def _best_pair(
    scores: Tensor, allowed: Tensor, costs: Tensor | None
) -> tuple[int, int]:
    """The best allowed pair; ties go to the cheaper, then the first one."""
    best = scores.masked_fill(~allowed, -torch.inf).max()
    tied = allowed & (scores == best)
    if costs is not None:
        tied &= costs == costs[tied].min()
    design, mask = tied.nonzero()[0].tolist()
    return design, mask


def _add_pending(
    acq_function: DecoupledAcquisitionFunction, X: Tensor, mask: Tensor
) -> None:
    if acq_function.X_pending is not None:
        previous = acq_function.X_pending_evaluation_mask
        if previous is None:
            previous = torch.ones(
                len(acq_function.X_pending), mask.shape[-1], dtype=torch.bool
            ).to(mask.device)
        X = torch.cat([acq_function.X_pending, X])
        mask = torch.cat([previous, mask])
    acq_function.set_X_pending(X, mask)


@contextmanager
def _restored(acq_function: DecoupledAcquisitionFunction) -> Iterator[None]:
    """Put mask and pending points back on exit."""
    mask = acq_function.X_evaluation_mask
    pending = acq_function.X_pending, acq_function.X_pending_evaluation_mask
    try:
        yield
    finally:
        if acq_function.X_pending is not pending[0]:
            # Without a mask of its own, pending points may have no mask either, and
            # BoTorch forgets an old mask of theirs only together with the points.
            acq_function.X_evaluation_mask = None
            acq_function.set_X_pending(None)
            acq_function.set_X_pending(*pending)
        acq_function.X_evaluation_mask = mask
