r"""The same seed gives the same requests, and nobody else's randomness is touched."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.models.cost import FixedCostModel

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    PABOPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
    fit_decoupled_model,
    optimize_acqf_decoupled,
    run_decoupled_optimization,
)
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    HVKGFactory,
    LinearKGFactory,
    Policy,
)
from tests.runs import Faulty, diverging, trace

pytestmark = [
    pytest.mark.filterwarnings("ignore:Optimization failed:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
    # BoTorch's HVKG conditions a model list on fantasies without output dimension.
    pytest.mark.filterwarnings("ignore:Non-strict enforcement of botorch tensor"),
]

LITTLE = SearchOptions(raw_samples=16, num_restarts=1, maxiter=5)
LOOKAHEAD = LookaheadFactory(num_designs=16, quadrature_nodes=2)
HVKG = HVKGFactory(num_pareto=2, num_fantasies=2, value_restarts=1, value_samples=8)
POLICIES: dict[str, Callable[[], Policy]] = {
    "random": RandomPolicy,
    "lookahead": lambda: AcquisitionPolicy(LOOKAHEAD, q=2, options=LITTLE),
    "flexibo": lambda: DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory()), 50),
    "coupled": lambda: CoupledPolicy(num_restarts=1, raw_samples=16, maxiter=5),
    "variance": lambda: VariancePerCostPolicy(
        CoupledPolicy(num_restarts=1, raw_samples=16, maxiter=5)
    ),
    "pabo": lambda: PABOPolicy(options=LITTLE),
    "hvkg": lambda: AcquisitionPolicy(HVKG, options=LITTLE),
    "linear kg": lambda: AcquisitionPolicy(LinearKGFactory(num_designs=16)),
}


@contextmanager
def untouched() -> Iterator[None]:
    """Python's, NumPy's and torch's random states are the same afterwards."""
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    assert random.getstate() == before[0]
    for old, new in zip(before[1], np.random.get_state(), strict=True):
        assert np.array_equal(old, new)
    assert torch.equal(torch.get_rng_state(), before[2])


def requests(name: str, seed: int = 5) -> list[object]:
    """All of a short run with noise and failures."""
    problem = Faulty(diverging, noise_std=0.1)
    history = run_decoupled_optimization(
        problem,
        POLICIES[name](),
        budget=200.0,
        initial_design=InitialDesign(4),
        seed=seed,
        callbacks=[lambda history: len(history.records) > 5],
    )
    return list(trace(history))


@pytest.mark.parametrize("name", POLICIES)
def test_a_run_leaves_the_callers_randomness_alone(name: str) -> None:
    with untouched():
        requests(name)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_asked_directly_leaves_the_callers_randomness_alone(
    name: str,
) -> None:
    problem = Faulty()
    X = problem.discretize(6, seed=0)
    Y = problem.evaluate_true(X) * -1
    Y[4:, 0] = torch.nan
    model = fit_decoupled_model(X, Y, bounds=problem.bounds)
    state = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(problem.bounds),
        ref_point=problem.ref_point,
        cost_model=FixedCostModel(torch.tensor([10.0, 1.0]).double()),
        seed=3,
    )
    with untouched():
        first = POLICIES[name]()(model, state)
    torch.manual_seed(99)
    second = POLICIES[name]()(model, state)
    assert torch.equal(first.X, second.X)
    assert torch.equal(first.evaluation_mask, second.evaluation_mask)
    if name == "lookahead":
        acqf = LOOKAHEAD(model, state)
        with untouched():
            optimize_acqf_decoupled(acqf, problem.bounds, q=2, options=LITTLE)


SCRIPT = """
import sys
from tests.test_reproducibility import requests
for name in sys.argv[1:]:
    print(repr(requests(name)))
"""


def test_the_same_seed_gives_the_same_requests_in_two_processes() -> None:
    root = Path(__file__).resolve().parents[1]
    lines = []
    for hash_seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, *POLICIES],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
        )
        lines.append(result.stdout.splitlines())
    assert len(lines[0]) == len(POLICIES)
    assert lines[0] == lines[1]


def test_another_seed_gives_other_requests() -> None:
    assert requests("random", seed=5) == requests("random", seed=5)
    assert requests("random", seed=5) != requests("random", seed=6)
