"""Predictive entropy search, as BoTorch has it, on finite sets."""

from __future__ import annotations

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.predictive_entropy_search import (
    qMultiObjectivePredictiveEntropySearch,
)
from botorch.acquisition.multi_objective.utils import sample_optimal_points
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo.policies import CoupledPolicy, DecoupledState
from botorch_flexibo.policies.acquisition import finite_choices
from botorch_flexibo.utils.fronts import front_mask

# Of the choices as many as BoTorch's predictive entropy search is given to score, and
# the Pareto sets it is conditioned on.
NUM_CANDIDATES = 32
NUM_PARETO_SETS = 5
NUM_PARETO_POINTS = 5


def pesmo_policy() -> CoupledPolicy:
    """Coupled predictive entropy search over few candidates.

    The candidates are the choices whose mean plus one standard deviation improves the
    predicted front most, as for coupled qLogNEHVI. Pareto sets are exact: fronts of
    sampled paths over all choices, thinned at random.
    """
    return CoupledPolicy(_pesmo, max_candidates=NUM_CANDIDATES)


def _pesmo(model: ModelList, state: DecoupledState) -> AcquisitionFunction:
    with torch.no_grad():
        pareto_sets, _ = sample_optimal_points(
            model,
            state.bounds,
            num_samples=NUM_PARETO_SETS,
            num_points=NUM_PARETO_POINTS,
            optimizer=_front_of_path,  # pyright: ignore[reportArgumentType]
            optimizer_kwargs={"choices": finite_choices(state.choices)},
        )
        return _WithoutNaN(qMultiObjectivePredictiveEntropySearch(model, pareto_sets))


def _front_of_path(
    model: GenericDeterministicModel,
    bounds: Tensor,
    num_points: int,
    maximize: bool,
    *,
    choices: Tensor,
) -> tuple[Tensor, Tensor]:
    """So many choices of the first fronts of a sampled path."""
    Y = model.posterior(choices).mean
    left = torch.ones(len(Y), dtype=torch.bool)
    rows = torch.empty(0, dtype=torch.long)
    while len(rows) < num_points:
        front = left.nonzero().squeeze(-1)
        front = front[front_mask(Y[front])]
        left[front] = False
        missing = num_points - len(rows)
        rows = torch.cat([rows, front[torch.randperm(len(front))[:missing]]])
    return choices[rows], Y[rows]


class _WithoutNaN(AcquisitionFunction):
    """Expectation propagation fails at some candidates; they are never chosen."""

    def __init__(self, acqf: AcquisitionFunction) -> None:
        super().__init__(acqf.model)
        self._acqf = acqf

    def forward(self, X: Tensor) -> Tensor:
        return self._acqf(X).nan_to_num(nan=-torch.inf)
