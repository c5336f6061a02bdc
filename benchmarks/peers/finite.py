"""What the peers share: finite sets, and their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import DecoupledState

# Proposals in a row that are measured already, after which an optimiser is over.
MAX_STALE = 1000


@dataclass(frozen=True)
class Column:
    """One column of a finite set.

    Attributes:
        kind: ``"float"``, ``"int"`` or ``"category"``.
        values: Smallest and largest value, or all categories.
    """

    kind: str
    values: tuple[float, ...]


def columns(choices: Tensor, categorical: Sequence[int]) -> list[Column]:
    """Read the columns of a finite set: whole numbers are integers."""
    found = []
    for j, values in enumerate(choices.unbind(dim=-1)):
        if j in categorical:
            found.append(Column("category", tuple(values.unique().tolist())))
        else:
            whole = bool((values == values.round()).all())
            ends = (values.min().item(), values.max().item())
            found.append(Column("int" if whole else "float", ends))
    return found


def nearest(X: Tensor, choices: Tensor, bounds: Tensor) -> Tensor:
    """The choices nearest to designs, columns scaled by their bounds: ``n x d``."""
    span = bounds[1] - bounds[0]
    return choices[torch.cdist(X / span, choices / span).argmin(dim=-1)]


def complete_request(X: Tensor, state: DecoupledState) -> EvaluationRequest:
    """Ask for all outcomes of designs."""
    return EvaluationRequest(X, torch.ones(len(X), state.Y.shape[-1]) > 0)
