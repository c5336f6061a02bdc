"""Peers that only the PABO comparison uses: NSGA-II and predictive entropy search."""

from __future__ import annotations

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.predictive_entropy_search import (
    qMultiObjectivePredictiveEntropySearch,
)
from botorch.acquisition.multi_objective.utils import sample_optimal_points
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.problems.static import StaticProblem
from torch import Tensor

from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import CoupledPolicy, DecoupledState, Policy
from botorch_flexibo.policies.acquisition import finite_choices
from botorch_flexibo.utils.fronts import front_mask

# Of the choices as many as BoTorch's predictive entropy search is given to score, and
# the Pareto sets it is conditioned on.
NUM_CANDIDATES = 32
NUM_PARETO_SETS = 5
NUM_PARETO_POINTS = 5
# Generations without a new design after which NSGA-II is over.
_MAX_STALE = 1000


class NSGA2Policy(Policy):
    """pymoo's NSGA-II on the true outcomes of a finite set, all measured together.

    The initial designs are its population (pymoo's default of 100 exceeds the budgets
    here). Operators are pymoo's for real variables, SBX (0.9, eta 15) and PM (eta 20);
    offspring are moved to the nearest choice, come two at a time, and are paid for once
    only.
    """

    uses_model = False

    def __init__(self, num_offsprings: int = 2) -> None:
        self.num_offsprings = num_offsprings
        self._algorithm: NSGA2 | None = None
        self._asked = Population()

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        if self._algorithm is None or state.iteration == 1:
            self._algorithm = self._started(state)
        for _ in range(_MAX_STALE):
            X = self._tell_and_ask(self._algorithm, state)
            new = state.known_outcomes(X).isnan().all(dim=-1)
            if new.any():
                X = X[new]
                return EvaluationRequest(X, torch.ones(len(X), state.Y.shape[-1]) > 0)
        raise CandidateGenerationError("Expected new offspring, but got none.")

    def _started(self, state: DecoupledState) -> NSGA2:
        n, m = state.Y.shape
        low, high = state.bounds.tolist()
        problem = Problem(n_var=len(low), n_obj=m, xl=np.array(low), xu=np.array(high))
        algorithm = NSGA2(
            pop_size=n,
            n_offsprings=self.num_offsprings,
            sampling=state.X.numpy(),  # pyright: ignore[reportArgumentType]
            crossover=SBX(prob=0.9, eta=15),
            mutation=PM(eta=20),
            repair=_Nearest(finite_choices(state), state.bounds),
        )
        algorithm.setup(problem, termination=("n_gen", 10**9), seed=state.seed)
        self._asked = _infills(algorithm)
        return algorithm

    def _tell_and_ask(self, algorithm: NSGA2, state: DecoupledState) -> Tensor:
        values = -state.known_outcomes(_designs(self._asked))  # NSGA-II minimises
        static = StaticProblem(algorithm.problem, F=values.numpy())
        Evaluator().eval(static, self._asked)
        algorithm.tell(infills=self._asked)
        self._asked = _infills(algorithm)
        return _designs(self._asked)


def _infills(algorithm: NSGA2) -> Population:
    asked = algorithm.ask()
    if asked is None or len(asked) == 0:
        raise CandidateGenerationError("Expected offspring, but got none.")
    return asked


def _designs(population: Population) -> Tensor:
    return torch.as_tensor(np.asarray(population.get("X"), dtype=float))


class _Nearest(Repair):
    def __init__(self, choices: Tensor, bounds: Tensor) -> None:
        super().__init__()
        self._choices = choices
        self._span = bounds[1] - bounds[0]

    def _do(self, problem: Problem, X: np.ndarray, **kwargs: object) -> np.ndarray:
        designs = torch.as_tensor(X.astype(float)) / self._span
        distance = torch.cdist(designs, self._choices / self._span)
        return self._choices[distance.argmin(dim=-1)].numpy()


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
            optimizer_kwargs={"choices": finite_choices(state)},
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
