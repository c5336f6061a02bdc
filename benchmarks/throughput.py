"""Candidates that look-ahead FlexiBO scores per second, and the "large" comparison.

One factor is varied at a time: candidates, reference designs |U|, measurements n and
outcomes m, on every device at hand. Each time stands beside that of the triangular
solve `L^-1 k(Z, X)`, the arithmetic that dominates for large n. The comparison at the
end scores 10^4 designs after 1,000 measurements for all outcomes and takes the ratio to
the time GPyTorch needs for the posterior means and variances of the same designs.

    python -m benchmarks.throughput
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from botorch.models import ModelListGP, SingleTaskGP

from benchmarks.environment import write_json
from botorch_flexibo import qFlexiBOLookahead
from botorch_flexibo.test_functions import DecoupledDTLZ2
from botorch_flexibo.utils.posterior import marginal_moments

RESULT = Path(__file__).parent / "results" / "throughput.json"
BASE = {"candidates": 2048, "designs": 32, "measurements": 200, "outcomes": 2}
SWEEPS = {
    "candidates": (512, 1024, 2048, 4096, 8192),
    "designs": (16, 32, 64, 128, 256, 512),
    "measurements": (50, 100, 200, 500, 1000),
    "outcomes": (2, 3, 4),
}


def models(problem: DecoupledDTLZ2, n: int) -> ModelListGP:
    """GPs with default hyperparameters; fitting would change no time."""
    X = problem.discretize(n, seed=0)
    Y = problem.evaluate(X, torch.ones(n, problem.num_objectives, dtype=torch.bool))
    outcomes = Y.split(1, dim=-1)
    return ModelListGP(*(SingleTaskGP(X, y) for y in outcomes)).to(X).eval()


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a call: CPU time on a CPU, synchronised wall time on a GPU."""
    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    times = []
    for _ in range(repeats + 1):  # the first call warms up
        start = clock()
        with torch.no_grad():
            work()
        if on_gpu:
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return statistics.median(times[1:])


def score(acqf: qFlexiBOLookahead, X: torch.Tensor) -> None:
    """Score every outcome alone at every candidate."""
    for mask in torch.eye(acqf.num_outputs, dtype=torch.bool, device=X.device):
        acqf.X_evaluation_mask = mask.unsqueeze(0)
        acqf(X.unsqueeze(-2))


def measure(device: torch.device, repeats: int, **setting: int) -> dict[str, Any]:
    """One row of the result."""
    problem = DecoupledDTLZ2(6, setting["outcomes"]).to(device)
    model = models(problem, setting["measurements"])
    X = problem.discretize(setting["candidates"], seed=1)
    designs = problem.discretize(setting["designs"], seed=2)
    acqf = qFlexiBOLookahead(model, problem.ref_point, designs)
    total = seconds(lambda: score(acqf, X), device, repeats)
    n = setting["measurements"]
    chol = torch.eye(n, dtype=X.dtype, device=device)
    cross = torch.rand(n, len(X), dtype=X.dtype, device=device)

    def solve() -> None:
        for _ in range(setting["outcomes"]):
            torch.linalg.solve_triangular(chol, cross, upper=False)

    kernel = seconds(solve, device, repeats)
    pairs = setting["candidates"] * setting["outcomes"]
    return {
        "device": str(device),
        **setting,
        "seconds": total,
        "pairs_per_second": pairs / total,
        "solve_seconds": kernel,
        "solve_gflops": 1e-9 * pairs * n * n / kernel,
    }


def large(device: torch.device, repeats: int) -> dict[str, float]:
    """Scoring all outcomes of 10^4 designs against their posterior moments."""
    problem = DecoupledDTLZ2(6, 2).to(device)
    model = models(problem, 1000)
    X = problem.discretize(10_000, seed=1)
    designs = problem.discretize(BASE["designs"], seed=2)

    def joint() -> None:
        posterior = model.posterior(X)
        _ = posterior.mean, posterior.variance

    def ours() -> None:
        score(qFlexiBOLookahead(model, problem.ref_point, designs), X)

    single = seconds(lambda: marginal_moments(model, X), device, repeats)
    together = seconds(joint, device, 1)
    scoring = seconds(ours, device, repeats)
    return {
        "posterior_of_single_designs_seconds": single,
        "joint_posterior_seconds": together,
        "set_up_and_scoring_seconds": scoring,
        "ratio_to_the_faster_posterior": scoring / min(single, together),
    }


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    rows = []
    for device in devices:
        for name, values in SWEEPS.items():
            for value in values:
                row = measure(device, args.repeats, **{**BASE, name: value})
                rows.append({"sweep": name, **row})
                print(
                    f"{device!s:5s} {name:13s} {value:6d} {row['seconds']:8.3f} s"
                    f" {row['pairs_per_second']:12.0f} pairs/s"
                )
    comparison = {str(device): large(device, args.repeats) for device in devices}
    print(comparison)
    write_json(args.out, {"rows": rows, "large": comparison})


if __name__ == "__main__":
    main()
