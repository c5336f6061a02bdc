r"""Separable objectives: one weight per outcome."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.acquisition.multi_objective.objective import (
    IdentityMCMultiOutputObjective,
    MCMultiOutputObjective,
    WeightedMCMultiOutputObjective,
)
from botorch.exceptions.errors import InputDataError, UnsupportedError
from torch import Tensor


def separable_weights(
    objective: MCMultiOutputObjective | None, num_outcomes: int
) -> Tensor:
    r"""Weights ``w`` with ``objective_i = w_i * outcome_i``.

    Only such an objective says what measuring *one* outcome is worth. Minimisation is a
    weight of -1, which is how Ax passes it.

    Args:
        objective: None, an identity or a weighted objective over all outcomes.
        num_outcomes: The number of outcomes ``m``.

    Returns:
        A ``m``-dim tensor of non-zero weights (float64).

    Raises:
        UnsupportedError: If the objective is not separable over all outcomes.
        InputDataError: If a weight is zero or not finite.

    Example:
        >>> separable_weights(None, num_outcomes=2)
        tensor([1., 1.], dtype=torch.float64)
    """
    if objective is None:
        return torch.ones(num_outcomes, dtype=torch.float64)
    if isinstance(objective, WeightedMCMultiOutputObjective):
        weights = torch.as_tensor(objective.weights).detach().to(torch.float64)
    elif isinstance(objective, IdentityMCMultiOutputObjective):
        weights = torch.ones(num_outcomes, dtype=torch.float64)
    else:
        raise UnsupportedError(
            "Expected an objective that maps outcome i to objective i"
            " (None, IdentityMCMultiOutputObjective or WeightedMCMultiOutputObjective),"
            f" but got {type(objective).__name__}. Model the objectives themselves as"
            " the outcomes instead."
        )
    outcomes = _selected_outcomes(objective)
    if outcomes not in (None, list(range(num_outcomes))):
        raise UnsupportedError(
            f"Expected an objective over all {num_outcomes} outcomes in their order,"
            f" but got outcomes={outcomes}. Pass a model of these outcomes only."
        )
    if weights.shape != torch.Size([num_outcomes]):
        raise InputDataError(
            f"Expected {num_outcomes} weights, one per outcome, but got"
            f" {weights.tolist()}. Pass a weight for each."
        )
    if not (weights.isfinite() & (weights != 0)).all():
        raise InputDataError(
            f"Expected finite, non-zero weights, but got {weights.tolist()}. Leave out"
            " outcomes without a weight."
        )
    return weights


def _selected_outcomes(
    objective: IdentityMCMultiOutputObjective | WeightedMCMultiOutputObjective,
) -> Sequence[int] | None:
    # BoTorch registers the buffer only when outcomes are given (as of 0.18.1).
    outcomes = dict(objective.named_buffers()).get("outcomes")
    return None if outcomes is None else outcomes.tolist()
