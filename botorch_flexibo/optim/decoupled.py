r"""Optimisation of decoupled acquisition functions over designs and outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from botorch.acquisition.acquisition import OneShotAcquisitionFunction
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    CandidateGenerationError,
    InputDataError,
    UnsupportedError,
)
from botorch.logging import shape_to_str
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import (
    DecoupledCostUtility,
    SharedPrice,
    decoupled_utility,
)
from botorch_flexibo.models.cost import CostModel
from botorch_flexibo.optim.candidates import (
    ContinuousCandidates,
    FiniteCandidates,
    Pick,
    SearchOptions,
)
from botorch_flexibo.optim.space import SearchSpace, as_space, check_within
from botorch_flexibo.utils.checks import (
    check_batch_cost,
    check_evaluation_masks,
    check_finite,
    check_mask,
    check_points,
    is_count,
    real_number,
)


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
    bounds: Tensor | SearchSpace,
    *,
    choices: Tensor | None = None,
    q: int = 1,
    evaluation_masks: Tensor | None = None,
    X_revisit: Tensor | None = None,
    X_avoid: Tensor | None = None,
    X_avoid_evaluation_mask: Tensor | None = None,
    max_cost: float = torch.inf,
    batch_cost: float = torch.inf,
    options: SearchOptions | None = None,
) -> EvaluationRequest:
    r"""Choose designs and, for each, the outcomes to measure.

    On a finite set every mask competes at every design. On a continuous or mixed space
    the best design is found for each mask by gradients from the best of many raw
    samples (``optimize_acqf``, ``optimize_acqf_mixed_alternating``), and these compete
    with each other and with the designs to revisit.

    Batches are greedy: each pick becomes pending with its mask before the next one is
    chosen, so one batch may measure different outcomes. Ties go to the cheaper pair,
    then to the first design, then to the first mask. The acquisition function is left
    as it was found, also when an error is raised.

    Args:
        acq_function: A decoupled acquisition function, one-shot ones such as
            ``qHypervolumeKnowledgeGradient`` included (these on continuous spaces
            only). Pairs pending in it are not proposed again.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds, or a ``SearchSpace``
            with fixed, discrete or categorical columns and linear constraints.
        choices: A ``n x d``-dim tensor of designs to choose from. Copies of a row
            count once. None searches the whole space.
        q: The number of requests. Fewer are returned if fewer pairs are left.
        evaluation_masks: A ``k x m``-dim boolean tensor of the masks that compete.
            None means every outcome on its own.
        X_revisit: A ``n x d``-dim tensor of further designs to choose from, typically
            those that lack an outcome. One that was trained already may be measured
            again cheaply. Those that violate a constraint, or lack a fixed value, are
            left out.
        X_avoid: A ``n' x d``-dim tensor of designs already measured.
        X_avoid_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes already
            measured there. A mask that contains one of them is not proposed. None means
            all.
        max_cost: The largest predicted cost of the batch. Needs an acquisition function
            whose ``cost_aware_utility`` is a ``DecoupledCostUtility``.
        batch_cost: A batch ends early once its predicted cost reaches this. With the
            cost of one expensive measurement, cheap ones fill a batch until that is
            worth more. Needs predicted costs, as ``max_cost`` does. With a price of
            the decision, the first pick is charged with its part of it, as one of as
            many measurements like it as fill the batch (``SharedPrice``); the others
            with none.
        options: The effort of the search.

    Returns:
        The chosen designs and masks with their values and predicted costs.

    Raises:
        CandidateGenerationError: If no pair is left to choose within ``max_cost``.
        BotorchTensorDimensionError: If shapes do not fit.
        InputDataError: If a choice is out of bounds, a mask empty, ``q`` below 1,
            ``batch_cost`` not positive, a tensor of the wrong dtype, or a value NaN.
        InvalidCostError: If a predicted cost is not positive and finite.
        UnsupportedError: If ``acq_function`` is not decoupled, or one-shot on a space
            on which it cannot be optimised.

    Example:
        >>> request = optimize_acqf_decoupled(acqf, bounds, choices=designs, q=2)
        >>> request.evaluation_mask.sum(dim=-1).tolist()
        [1, 1]
    """
    _check_acqf(acq_function)
    space = _space(bounds, choices).enumerated()
    if not is_count(q):
        raise InputDataError(
            f"Expected q to be a whole number >= 1, but got {q!r}. Pass the number of"
            " requests."
        )
    _check_options(acq_function, max_cost, batch_cost)
    _check_one_shot(acq_function, space, X_revisit)
    masks = _check_masks(
        evaluation_masks, acq_function.num_outputs, space.bounds.device
    )
    if X_revisit is not None:
        check_within(X_revisit, "X_revisit", space.bounds)
        X_revisit = space.members(X_revisit)
    if X_avoid is not None:
        check_points(X_avoid, "X_avoid", space.bounds, "the bounds")
        check_finite(X_avoid, "X_avoid")
    taken = _taken(acq_function, X_avoid, X_avoid_evaluation_mask)
    options = SearchOptions() if options is None else options
    kind = ContinuousCandidates if space.choices is None else FiniteCandidates
    with _restored(acq_function) as utility:
        _share_price(utility, q, min(batch_cost, max_cost))
        _condition_costs(
            acq_function,
            acq_function.X_pending,
            acq_function.X_pending_evaluation_mask,
        )
        candidates = kind(
            acq_function,
            space,
            masks,
            X_revisit=X_revisit,
            taken=taken,
            options=options,
        )
        picks = _greedy_picks(acq_function, candidates, q, max_cost, batch_cost)
    if not picks:
        raise CandidateGenerationError(
            "Expected at least one pair to choose from, but all pairs of designs and"
            " masks are measured, pending or above max_cost. Stop, or allow more"
            " designs, masks or cost."
        )
    return _request(picks)


def _greedy_picks(
    acq_function: DecoupledAcquisitionFunction,
    candidates: FiniteCandidates | ContinuousCandidates,
    q: int,
    max_cost: float,
    batch_cost: float,
) -> list[Pick]:
    """One pick after the other, each pending before the next one is chosen."""
    picks: list[Pick] = []
    spent = 0.0
    while len(picks) < q and spent < batch_cost:
        pick = candidates.best(max_cost - spent)
        if pick is None:
            break
        picks.append(pick)
        spent += 0.0 if pick.cost is None else float(pick.cost)
        if len(picks) < q and spent < batch_cost:
            _add_pending(acq_function, pick.X, pick.mask)
            candidates.exclude(pick.X, pick.mask)
    return picks


def _space(bounds: Tensor | SearchSpace, choices: Tensor | None) -> SearchSpace:
    if choices is None:
        return as_space(bounds)
    if isinstance(bounds, SearchSpace):
        raise InputDataError(
            "Expected choices in the SearchSpace, but got them as an argument too."
            " Pass SearchSpace(bounds, choices=choices)."
        )
    return SearchSpace(bounds, choices=choices)


def _request(picks: list[Pick]) -> EvaluationRequest:
    costs = [pick.cost for pick in picks if pick.cost is not None]
    return EvaluationRequest(
        X=torch.cat([pick.X for pick in picks]),
        evaluation_mask=torch.cat([pick.mask for pick in picks]),
        acq_value=torch.stack([pick.value for pick in picks]),
        cost=torch.stack(costs) if costs else None,
    )


def _taken(
    acq_function: DecoupledAcquisitionFunction,
    X_avoid: Tensor | None,
    X_avoid_mask: Tensor | None,
) -> list[tuple[Tensor, Tensor]]:
    """Designs and outcomes that are measured or pending."""
    if X_avoid is None and X_avoid_mask is not None:
        raise InputDataError(
            "Expected X_avoid with X_avoid_evaluation_mask, but got the mask alone."
            " Pass both or none."
        )
    if X_avoid_mask is not None:
        check_mask(X_avoid_mask, "X_avoid_evaluation_mask")
    m = acq_function.num_outputs
    pending = acq_function.X_pending, acq_function.X_pending_evaluation_mask
    pairs = []
    for X, X_mask in ((X_avoid, X_avoid_mask), pending):
        if X is None:
            continue
        mask = _every_outcome(X, m) if X_mask is None else X_mask
        if mask.shape != (len(X), m):
            raise BotorchTensorDimensionError(
                f"Expected a mask of shape `{len(X)} x {m}` for the designs to avoid,"
                f" but got {shape_to_str(mask.shape)}. Pass one row per design."
            )
        pairs.append((X, mask))
    return pairs


def _every_outcome(X: Tensor, m: int) -> Tensor:
    """The mask of measuring all outcomes of ``n x d`` designs, ``n x m``."""
    return torch.ones(len(X), m, dtype=torch.bool, device=X.device)


def _check_masks(masks: Tensor | None, m: int, device: torch.device) -> Tensor:
    if masks is None:
        return torch.eye(m, dtype=torch.bool, device=device)
    check_evaluation_masks(masks, m)
    return masks.to(device)


def _check_one_shot(
    acq_function: DecoupledAcquisitionFunction,
    space: SearchSpace,
    X_revisit: Tensor | None,
) -> None:
    if not isinstance(acq_function, OneShotAcquisitionFunction):
        return
    if space.choices is not None or space.is_mixed or X_revisit is not None:
        raise UnsupportedError(
            "Expected a continuous space for a one-shot acquisition function, but got"
            " choices, separate values or designs to revisit for"
            f" {type(acq_function).__name__}. Leave them out."
        )


def _check_acqf(acq_function: object) -> None:
    if not isinstance(acq_function, DecoupledAcquisitionFunction):
        raise UnsupportedError(
            "Expected a DecoupledAcquisitionFunction, which knows what one outcome is"
            f" worth, but got {type(acq_function).__name__}. Use FlexiBO or"
            " qFlexiBOLookahead, or optimize_acqf of BoTorch."
        )


def _check_options(
    acq_function: DecoupledAcquisitionFunction, max_cost: float, batch_cost: float
) -> None:
    if real_number(max_cost) is None:
        raise InputDataError(
            f"Expected max_cost to be a number, but got {max_cost!r}. Leave it out for"
            " no limit."
        )
    check_batch_cost(batch_cost)
    if decoupled_utility(acq_function) is not None:
        return
    if min(max_cost, batch_cost) < torch.inf:
        raise InputDataError(
            "Expected an acquisition function whose cost_aware_utility is a"
            " DecoupledCostUtility, because max_cost and batch_cost need predicted"
            " costs. Leave them out or pass such a utility."
        )


def _add_pending(
    acq_function: DecoupledAcquisitionFunction, X: Tensor, mask: Tensor
) -> None:
    if acq_function.X_pending is not None:
        previous = acq_function.X_pending_evaluation_mask
        if previous is None:
            previous = _every_outcome(acq_function.X_pending, mask.shape[-1])
        X = torch.cat([acq_function.X_pending, X])
        mask = torch.cat([previous, mask])
    acq_function.set_X_pending(X, mask)
    utility = decoupled_utility(acq_function)
    if utility is not None:
        utility.decision_cost = 0.0  # paid with the first pick
    _condition_costs(acq_function, X, mask)


def _share_price(utility: DecoupledCostUtility | None, q: int, limit: float) -> None:
    """Let the first pick of a batch bear its part of the price of the decision."""
    if utility is not None and limit > 0:  # without a limit above 0 all is too much
        utility.decision_share = SharedPrice(q, limit)


def _condition_costs(
    acq_function: DecoupledAcquisitionFunction, X: Tensor | None, mask: Tensor | None
) -> None:
    """Take what pending points share with later ones as paid."""
    utility = decoupled_utility(acq_function)
    if X is None or utility is None:
        return
    if isinstance(utility.cost_model, CostModel):
        if mask is None:
            mask = _every_outcome(X, acq_function.num_outputs)
        utility.cost_model = utility.cost_model.with_pending(X, mask)


@contextmanager
def _restored(
    acq_function: DecoupledAcquisitionFunction,
) -> Iterator[DecoupledCostUtility | None]:
    """Put mask, pending points and costs, which it yields, back on exit."""
    utility = decoupled_utility(acq_function)
    costs = None
    if utility is not None:
        costs = utility.cost_model, utility.decision_cost, utility.decision_share
    mask = acq_function.X_evaluation_mask
    pending = acq_function.X_pending, acq_function.X_pending_evaluation_mask
    try:
        yield utility
    finally:
        if acq_function.X_pending is not pending[0]:
            # Without a mask of its own, pending points may have no mask either, and
            # BoTorch forgets an old mask of theirs only together with the points.
            acq_function.X_evaluation_mask = None
            acq_function.set_X_pending(None)
            acq_function.set_X_pending(*pending)
        acq_function.X_evaluation_mask = mask
        if utility is not None and costs is not None:
            utility.cost_model, utility.decision_cost, utility.decision_share = costs
