r"""What may still be asked for, and random designs in place of what may not."""

from __future__ import annotations

import torch
from botorch.exceptions.errors import CandidateGenerationError
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility
from botorch_flexibo.policies.base import DecoupledState
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.rows import RowIndex, unique_rows

# Designs drawn on a space with separate values, where many may be measured already.
_NUM_DRAWS = 1024


def free_masks(
    designs: Tensor, masks: Tensor, state: DecoupledState
) -> tuple[Tensor, Tensor]:
    r"""Which masks may be asked for at given designs.

    Args:
        designs: A ``n x d``-dim tensor of designs.
        masks: A ``k x m``-dim boolean tensor of masks.
        state: The data so far.

    Returns:
        The ``n x k``-dim costs, a set-up counted once per mask, and the ``n x k``-dim
        boolean tensor of what is not measured, not even in part, and costs at most
        max_cost.
    """
    costs = DecoupledCostUtility(state.cost_model_with_pending).mask_costs(
        designs, masks
    )
    check_costs(costs)
    taken = ~state.open_outcomes(designs)
    clash = (taken.unsqueeze(-2) & masks.to(taken.device)).any(dim=-1)
    free = ~clash & (costs <= state.max_cost)
    return costs, free


def spare_designs(state: DecoupledState, n: int) -> Tensor:
    r"""Random designs to choose from where a search found nothing new.

    Args:
        state: The data so far; its space has no choices.
        n: The number of designs on a continuous space, where none was measured.

    Returns:
        A ``k x d``-dim tensor: on a space with separate values many distinct designs,
        the last ones those that were measured or may be tried again.
    """
    space = state.space
    if not space.is_mixed:
        return space.sample(n, seed=state.seed)
    known = state.X
    if state.failures is not None:
        known = torch.cat([known, state.failures.to_retry()])
    drawn = space.sample(max(n, _NUM_DRAWS), seed=state.seed)
    return unique_rows(torch.cat([drawn, space.members(known)]))


def open_once(
    X: Tensor, values: Tensor, state: DecoupledState
) -> tuple[Tensor, Tensor]:
    r"""Designs of the space that lack an outcome, each once; random for the others.

    Args:
        X: A ``q x d``-dim tensor of designs that a search proposes.
        values: A ``q``-dim tensor of their values.
        state: The data so far; its space has no choices.

    Returns:
        Up to ``q`` designs, fewer only where no other random ones lack an outcome, and
        the values of the designs in whose places they are.

    Raises:
        CandidateGenerationError: If no design is left.
    """
    n = len(X)
    if bool(_open_first(X, state).all()):
        return X, values
    pool = torch.cat([X, spare_designs(state, n)])
    distinct = set(_open_first(pool, state).nonzero().flatten().tolist())
    spares = sorted(row for row in distinct if row >= n)
    rows, places = [], []
    for place in range(n):
        row = place
        if place not in distinct:
            if not spares:
                continue
            row = n + place if n + place in spares else spares[0]
            spares.remove(row)
        rows.append(row)
        places.append(place)
    if not rows:
        raise CandidateGenerationError(
            f"Expected a design that lacks an outcome, but all of {len(pool)} that were"
            " proposed or drawn are fully measured. Stop, or widen the space."
        )
    return pool[rows], values[places]


def _open_first(X: Tensor, state: DecoupledState) -> Tensor:
    """Which rows are in the space, lack an outcome and equal no row before them."""
    first = RowIndex(X).find(X) == torch.arange(len(X), device=X.device)
    inside = state.space.is_feasible(X)
    return first & inside & state.open_outcomes(X).any(dim=-1)
