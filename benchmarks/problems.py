"""The problems that the benchmarks use, by name.

A factory takes the seed of the instance, for families that have one, and the arguments
of its config. What each problem measures, models and assumes: ``benchmarks/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from botorch.models.deterministic import GenericDeterministicModel

from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledDTLZ2,
    DecoupledGPSample,
    DecoupledProblem,
    DecoupledVehicleSafety,
    DecoupledZDT1,
    DecoupledZDT2,
    DeepShiftProblem,
    HPOBenchMLP,
    HPOLib,
    NASBench201,
    RecordedCrossbarCNN,
    RecordedDeepShift,
)

ProblemFactory = Callable[..., DecoupledProblem]


def _two(ratio: float) -> tuple[float, float]:
    return (ratio, 1.0)


def _spread(ratio: float, m: int) -> tuple[float, ...]:
    """Costs from the ratio down to 1, in equal factors."""
    return tuple(ratio ** (1 - k / (m - 1)) for k in range(m))


def _zdt1(
    seed: int, ratio: float = 10.0, dim: int = 6, noise_std: float | None = None
) -> DecoupledProblem:
    return DecoupledZDT1(dim, costs=_two(ratio), noise_std=noise_std)


def _dtlz2(
    seed: int, ratio: float = 10.0, dim: int = 4, m: int = 2
) -> DecoupledProblem:
    return DecoupledDTLZ2(dim, m, costs=_spread(ratio, m))


def _gp(dim: int) -> ProblemFactory:
    return lambda seed, ratio=10.0: DecoupledGPSample.network_like(
        seed, dim=dim, costs=_two(ratio)
    )


def table(problem: ProblemFactory) -> ProblemFactory:
    """A problem without instances."""
    return lambda seed, **arguments: problem(**arguments)


SYNTHETIC: dict[str, ProblemFactory] = {
    "ZDT1": _zdt1,
    "ZDT2": lambda seed, ratio=10.0: DecoupledZDT2(6, costs=_two(ratio)),
    "BraninCurrin": lambda seed, ratio=10.0: DecoupledBraninCurrin(costs=_two(ratio)),
    "DTLZ2": _dtlz2,
    "VehicleSafety": lambda seed, ratio=10.0: DecoupledVehicleSafety(
        costs=_spread(ratio, 3)[::-1]
    ),
    "network A": _gp(3),
    "network B": _gp(5),
    "C-MOKG family": lambda seed, ratio=10.0: DecoupledGPSample.cmokg(
        seed, costs=(1.0, ratio)
    ),
}
PROBLEMS: dict[str, ProblemFactory] = SYNTHETIC | {
    "NAS-Bench-201": table(NASBench201),
    "HPOLib": table(HPOLib),
    "HPOBench": table(HPOBenchMLP),
    "crossbar": table(RecordedCrossbarCNN),
    "deep shift": table(RecordedDeepShift),
}


def build(name: str, seed: int, arguments: dict[str, Any]) -> DecoupledProblem:
    """Build a problem; unknown names list the known ones."""
    if name not in PROBLEMS:
        raise SystemExit(f"No problem is called {name!r}; known: {', '.join(PROBLEMS)}")
    return PROBLEMS[name](seed, **arguments)


def typical_costs(problem: DecoupledProblem) -> torch.Tensor:
    """What a measurement of each outcome costs on average, at the target fidelity."""
    X = problem.discretize(100, seed=0) if problem.choices is None else problem.choices
    for column, value in problem.target_fidelities.items():
        X = X[X[:, column] == value]
    return problem.cost(X).mean(dim=0)


def believed_costs(
    problem: DecoupledProblem, factor: float | None
) -> GenericDeterministicModel | None:
    """What the optimisers believe about costs before they pay any.

    With a factor the true costs, but that of the dearest outcome times the factor.
    Otherwise modelled training seconds for the deep shift networks, whose costs depend
    on the epochs, and nothing for the others: the loop learns from what it paid.
    """
    if factor is not None:
        typical = typical_costs(problem)
        factors = torch.where(typical == typical.max(), factor, 1.0)
        return GenericDeterministicModel(
            lambda X: problem.cost(X) * factors, num_outputs=problem.num_objectives
        )
    if isinstance(problem, RecordedDeepShift):
        seconds = DeepShiftProblem(epochs=problem.space.epochs).training_seconds(
            problem.choices
        )
        table_of_costs = torch.stack([seconds, problem.costs[:, 1]], dim=-1)

        def costs(X: torch.Tensor) -> torch.Tensor:
            rows = problem.indices(X.reshape(-1, problem.dim))
            return table_of_costs[rows].reshape(*X.shape[:-1], 2)

        return GenericDeterministicModel(costs, num_outputs=2)
    return None
