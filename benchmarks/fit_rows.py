"""What it costs in accuracy to fit hyperparameters on a part of many rows.

2,000 rows of one outcome: Branin and Hartmann6 with noise of a tenth of their standard
deviation, and the recorded latencies of NAS-Bench-201. The posterior is that of all
rows; it is judged on 1,000 held-out designs by its error, in standard deviations of the
outcome, and its negative log likelihood. CPU seconds of the fit, one thread, for the
order of magnitude.

    python -m benchmarks.fit_rows --seeds 3 --out benchmarks/results/fit_rows.json
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from botorch.test_functions import Branin, Hartmann
from botorch.test_functions.synthetic import SyntheticTestFunction
from torch import Tensor
from torch.distributions import Normal

from benchmarks.environment import write_json
from botorch_flexibo import fit_decoupled_model
from botorch_flexibo.test_functions import NASBench201

NUM_ROWS, NUM_TEST = 2000, 1000
FITTED = (250, 500, 1000, 2000)
NOISE = 0.1

Data = tuple[Tensor, Tensor, dict[str, Any]]


def noisy(function: SyntheticTestFunction, seed: int) -> Data:
    """Uniform designs, standardised outcomes with noise."""
    generator = torch.Generator().manual_seed(seed)
    n = NUM_ROWS + NUM_TEST
    low, high = function.bounds.double()
    draws = torch.rand(n, function.dim, generator=generator, dtype=torch.float64)
    X = low + draws * (high - low)
    y = function(X)
    y = (y - y.mean()) / y.std()
    y = y + NOISE * torch.randn(n, generator=generator, dtype=torch.float64)
    return X, y, {"bounds": torch.stack([low, high])}


def latencies(seed: int) -> Data:
    """Recorded latencies of random cells, standardised."""
    problem = NASBench201("cifar10")
    X = problem.discretize(NUM_ROWS + NUM_TEST, seed=seed)
    y = problem.evaluate(X, torch.tensor([False, True]).expand(len(X), 2))[:, 1]
    options = {
        "bounds": problem.bounds,
        "categorical_features": problem.categorical_features,
    }
    return X, (y - y.mean()) / y.std(), options


PROBLEMS: dict[str, Callable[[int], Data]] = {
    "Branin": lambda seed: noisy(Branin(), seed),
    "Hartmann6": lambda seed: noisy(Hartmann(dim=6), seed),
    "latency of NAS-Bench-201": latencies,
}


def judge(data: Data, fitted: int) -> dict[str, float]:
    """Fit on so many rows, predict from all."""
    X, y, options = data
    Y = y.unsqueeze(-1)
    start = time.process_time()
    model = fit_decoupled_model(
        X[:NUM_ROWS], Y[:NUM_ROWS], max_fit_rows=fitted, **options
    )
    seconds = time.process_time() - start
    with torch.no_grad():
        posterior = model.posterior(X[NUM_ROWS:], observation_noise=True)
    held_out = Y[NUM_ROWS:]
    predicted = Normal(posterior.mean, posterior.variance.sqrt())
    return {
        "rmse": (posterior.mean - held_out).square().mean().sqrt().item(),
        "nll": -predicted.log_prob(held_out).mean().item(),
        "seconds": seconds,
    }


def run(seeds: int) -> pd.DataFrame:
    """A row per problem, seed and number of rows."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits that are restarted; the error judges them
    rows = []
    for problem, draw in PROBLEMS.items():
        for seed in range(seeds):
            data = draw(seed)
            for fitted in FITTED:
                row = {"problem": problem, "seed": seed, "fitted": fitted}
                rows.append(row | judge(data, fitted))
                print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    table = run(arguments.seeds)
    columns = ["rmse", "nll", "seconds"]
    print(table.groupby(["problem", "fitted"])[columns].mean().round(3).to_string())
    if arguments.out:
        rows = table.round(4).to_dict(orient="records")
        write_json(arguments.out, {"runs": rows})


if __name__ == "__main__":
    main()
