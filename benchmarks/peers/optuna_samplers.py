"""Optuna's multi-objective TPE and GP samplers, with their default settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import optuna
import torch
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.model import ModelList
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from torch import Tensor

from benchmarks.peers.finite import (
    MAX_STALE,
    Column,
    columns,
    complete_request,
    nearest,
)
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import DecoupledState, Policy
from botorch_flexibo.policies.acquisition import finite_choices


class OptunaPolicy(Policy):
    """A sampler of Optuna on a finite set; all outcomes are measured together.

    The initial designs are trials of the study. A proposal becomes the nearest design
    of the set, and the study is told the parameters that it proposed.
    """

    uses_model = False

    def __init__(
        self, categorical: Sequence[int], sampler: Callable[..., BaseSampler]
    ) -> None:
        self.categorical = categorical
        self.sampler = sampler
        self._study: optuna.Study | None = None
        self._asked: tuple[optuna.Trial, Tensor] | None = None

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        choices = finite_choices(state.choices)
        space = _distributions(columns(choices, self.categorical))
        if self._study is None or state.iteration == 1:
            sampler = self.sampler(seed=state.seed)
            self._study, self._asked = _started(state, space, sampler), None
        for _ in range(MAX_STALE):
            if self._asked is not None:
                trial, x = self._asked
                self._study.tell(trial, state.known_outcomes(x)[0].tolist())
            trial = self._study.ask(space)
            values = [float(trial.params[name]) for name in space]
            x = nearest(choices.new_tensor([values]), choices, state.bounds)
            self._asked = trial, x
            if state.known_outcomes(x).isnan().any():
                return complete_request(x, state)
        raise CandidateGenerationError("Expected a new design, but got none.")


def _distributions(found: Sequence[Column]) -> dict[str, BaseDistribution]:
    space: dict[str, BaseDistribution] = {}
    for j, column in enumerate(found):
        match column.kind:
            case "category":
                space[f"x{j}"] = CategoricalDistribution(column.values)
            case "int":
                low, high = column.values
                space[f"x{j}"] = IntDistribution(int(low), int(high))
            case _:
                space[f"x{j}"] = FloatDistribution(*column.values)
    return space


def _started(
    state: DecoupledState, space: dict[str, BaseDistribution], sampler: BaseSampler
) -> optuna.Study:
    """A study that knows the initial designs."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        directions=["maximize"] * state.Y.shape[-1],
        sampler=sampler,
    )
    for x, y in zip(state.X, torch.nan_to_num(state.Y), strict=True):
        params = {
            name: int(v) if isinstance(space[name], IntDistribution) else v
            for name, v in zip(space, x.tolist(), strict=True)
        }
        study.add_trial(
            optuna.create_trial(params=params, distributions=space, values=y.tolist())
        )
    return study
