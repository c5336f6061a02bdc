"""NSGA-II, as pymoo has it, on finite sets."""

from __future__ import annotations

import numpy as np
import torch
from botorch.exceptions.errors import CandidateGenerationError
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

from benchmarks.peers.finite import MAX_STALE, complete_request, nearest
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import DecoupledState, Policy
from botorch_flexibo.policies.acquisition import finite_choices


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
        for _ in range(MAX_STALE):
            X = self._tell_and_ask(self._algorithm, state)
            new = state.known_outcomes(X).isnan().all(dim=-1)
            if new.any():
                return complete_request(X[new], state)
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
            repair=_Nearest(finite_choices(state.choices), state.bounds),
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
        self._bounds = bounds

    def _do(self, problem: Problem, X: np.ndarray, **kwargs: object) -> np.ndarray:
        designs = torch.as_tensor(X.astype(float))
        return nearest(designs, self._choices, self._bounds).numpy()
