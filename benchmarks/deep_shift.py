"""Tune a deep shift network live: error against energy, with epochs as fidelity.

Trains real networks on this machine until the minutes are over. Look-ahead FlexiBO
chooses the design, the objective and the epochs together; a training that is worth more
epochs goes on where it stopped. What is found is judged on test images that the search
never saw, beside the default shift network and the float network.

Measurements and trainings are stored as they come: the same command goes on with a run
that was stopped, and shows the result of one that has ended.

    OMP_NUM_THREADS=1 python -m benchmarks.deep_shift --minutes 15 --out out
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.models import ModelListGP
from torch import Tensor

from benchmarks.environment import write_json
from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledModelFitter,
    LookaheadFactory,
    SearchSpace,
)
from botorch_flexibo.models import LogNormalCostModel, PaidCosts, ResumedCostModel
from botorch_flexibo.nn.data import digits, fashion_mnist
from botorch_flexibo.optim import SearchOptions
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions.deep_shift import (
    EPOCHS,
    DeepShiftProblem,
    TrainingRuns,
    small_cnn,
    small_resnet,
)
from botorch_flexibo.utils.fronts import front_mask
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import RowIndex, unique_rows

NETWORKS = {"cnn": small_cnn, "resnet": small_resnet}
NUM_INITIAL = 16
# New designs per decision: of the whole space, and near the best so far for each step.
NUM_SOBOL, NUM_CHILDREN = 128, 64
STEPS = (0.2, 0.05)
# Share of the time for training what the search points to, to the end.
FINISH_SHARE = 0.2
ERROR, ENERGY = 0, 1


@dataclass(frozen=True)
class Measurement:
    """One line of the log: a design, what was measured, and when it was known."""

    design: list[float]
    measured: list[bool]
    values: list[float]
    costs: list[float]
    phase: str
    decision_seconds: float
    elapsed: float


class Log:
    """All measurements of a run, in a file to which they are appended."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """Read the file, or begin it with the settings of the run."""
        self.path = path
        self.measurements: list[Measurement] = []
        if path.exists():
            content = path.read_text()
            whole = content[: content.rfind("\n") + 1]  # a torn line does not count
            if whole != content:
                path.write_text(whole)
            first, *lines = whole.splitlines()
            if json.loads(first) != settings:
                raise SystemExit(
                    f"{path} is of a run with other settings: {first}. Choose another"
                    " folder with --out."
                )
            self.measurements = [Measurement(**json.loads(line)) for line in lines]
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings) + "\n")
        earlier = self.measurements[-1].elapsed if self.measurements else 0.0
        self._start = time.perf_counter() - earlier

    @property
    def elapsed(self) -> float:
        """Seconds that the run took, pauses left out."""
        return time.perf_counter() - self._start

    @property
    def num_decisions(self) -> int:
        """How many decisions led to the measurements."""
        return sum(m.decision_seconds > 0 for m in self.measurements)

    def append(self, measurement: Measurement) -> None:
        """Store a measurement at once."""
        self.measurements.append(measurement)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(measurement)) + "\n")


class Search:
    """Chooses and makes measurements until the time is over."""

    def __init__(self, problem: DeepShiftProblem, log: Log, seed: int) -> None:
        """Go on where the log ends."""
        self.problem = problem
        self.log = log
        self.seed = seed
        self.column, self.target = next(iter(problem.target_fidelities.items()))
        ends = problem.bounds.T.int().tolist()
        values = [[float(v) for v in range(low, high + 1)] for low, high in ends]
        self.space = SearchSpace(
            problem.bounds,
            discrete_dims={j: values[j] for j in problem.discrete_inds},
            cat_dims={j: values[j] for j in problem.categorical_inds},
        )
        self._fitter = DecoupledModelFitter(
            problem.bounds, categorical_features=problem.categorical_features
        )

    @property
    def X(self) -> Tensor:
        """The designs measured, each once: ``n x d``."""
        return unique_rows(self._rows())

    def outcomes(self, X: Tensor) -> Tensor:
        """Outcomes of designs, NaN where not measured: ``n x m``."""
        Y = torch.full((len(X), 2), torch.nan).to(X)
        rows = self._rows()
        for m, row in zip(self.log.measurements, RowIndex(X).find(rows), strict=True):
            values = X.new_tensor(m.values)
            if row >= 0:
                Y[row] = torch.where(torch.tensor(m.measured), values, Y[row])
        return Y

    def measure(
        self, x: Tensor, mask: Tensor, phase: str, decision_seconds: float = 0.0
    ) -> None:
        """Measure outcomes of one design and write it to the log."""
        y = self.problem.evaluate(x, mask)[0]
        costs = torch.where(mask[0], self.problem.cost(x)[0], 0.0)
        values = torch.where(mask[0], y, 0.0)
        columns = (x[0].tolist(), mask[0].tolist(), values.tolist(), costs.tolist())
        seconds = decision_seconds, self.log.elapsed
        self.log.append(Measurement(*columns, phase, *seconds))
        self._show(self.log.measurements[-1])

    def begin(self) -> None:
        """Sobol designs at the lowest fidelity, measured completely."""
        X = self.at_level(self.problem.discretize(NUM_INITIAL, seed=self.seed), 0.0)
        both = torch.ones(1, 2, dtype=torch.bool)
        for x in X[len(self.log.measurements) :]:
            self.measure(x.unsqueeze(0), both, "initial")

    def decide(self) -> None:
        """One decision: which designs, which objectives, how many epochs."""
        start, number = time.perf_counter(), self.log.num_decisions + 1
        X, seed = self.X, 1000 * self.seed + number
        Y = self.outcomes(X)
        model = self._fitter.fit(X, Y)
        state = DecoupledState(
            X=X,
            Y=Y,
            space=replace(self.space, choices=self._choices(model, X, seed)),
            ref_point=self.problem.ref_point,
            cost_model=self._believed_costs(),
            iteration=number,
            seed=seed,
            target_fidelities=self.problem.target_fidelities,
        )
        # A decision takes time as well: cheap requests share one.
        price = self._decision_seconds()
        factory = LookaheadFactory(decision_cost=price)
        options = SearchOptions(max_rescored=64)
        policy = AcquisitionPolicy(factory, q=8, batch_cost=price, options=options)
        request = policy(model, state)
        seconds = time.perf_counter() - start
        for k in range(len(request.X)):
            x, mask = request.X[[k]], request.evaluation_mask[[k]]
            self.measure(x, mask, "search", seconds if k == 0 else 0.0)

    def finish(self, until: float) -> None:
        """Train what the model holds for the front to the end, best bets first."""
        while self.log.elapsed < until:
            X = self.X
            model = self._fitter.fit(X, self.outcomes(X))
            designs = unique_rows(self.at_level(X, self.target))
            known = self.outcomes(designs)
            mean = posterior_mean(model, designs)
            mean = torch.where(known.isnan(), mean, known)
            wanted = front_mask(mean) & known.isnan().any(dim=-1)
            if not wanted.any():
                return
            # The lowest expected error first.
            k = int(mean[:, ERROR].masked_fill(~wanted, -torch.inf).argmax())
            self.measure(designs[[k]], known[[k]].isnan(), "finish")

    def front(self) -> Tensor:
        """Designs at the target, both outcomes measured, that no other dominates."""
        X = self.X[self.X[:, self.column] == self.target]
        Y = self.outcomes(X)
        X, Y = X[~Y.isnan().any(dim=-1)], Y[~Y.isnan().any(dim=-1)]
        order = Y[:, ENERGY].argsort(descending=True)
        return X[order][front_mask(Y[order])]

    def at_level(self, X: Tensor, level: float) -> Tensor:
        """The same designs at another fidelity."""
        X = X.clone()
        X[:, self.column] = level
        return X

    def _rows(self) -> Tensor:
        """The design of each measurement."""
        rows = [m.design for m in self.log.measurements]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, self.problem.dim)

    def _choices(self, model: ModelListGP, X: Tensor, seed: int) -> Tensor:
        """New designs, children of the best so far, and those measured, at all levels.

        All are canonical: a finite set, drawn anew for each decision, knows no two
        designs that are the same network.
        """
        known = unique_rows(self.at_level(X, self.target))
        parents = known[front_mask(posterior_mean(model, known))]
        designs = [known, self.problem.discretize(NUM_SOBOL, seed=seed)]
        for k, step in enumerate(STEPS):
            children = self.space.mutate(parents, NUM_CHILDREN, step, seed=seed + k)
            designs.append(self.problem.canonical(children))
        X, levels = torch.cat(designs), range(int(self.target) + 1)
        return unique_rows(torch.cat([self.at_level(X, level) for level in levels]))

    def _believed_costs(self) -> ResumedCostModel:
        """Seconds per epoch are learned from the payments."""
        paid = torch.from_numpy(np.array([m.costs for m in self.log.measurements]))
        paid = torch.where(paid > 0, paid, torch.nan)
        problem = self.problem
        rates = LogNormalCostModel(
            paid[:NUM_INITIAL].nanmean(dim=0),
            bounds=problem.bounds,
            categorical_features=problem.categorical_features,
        )
        model = ResumedCostModel(
            rates,
            fidelity=self.column,
            amounts=problem.space.epochs,
            resumed_outcomes=torch.tensor([True, False]),
            read_off_cost=float(paid[~paid.isnan()].min()),
        )
        return model.update(PaidCosts(self._rows(), paid, torch.nan * paid[:, 0]))

    def _decision_seconds(self) -> float:
        """What a decision took lately."""
        seconds = [m.decision_seconds for m in self.log.measurements]
        last = [s for s in seconds if s > 0][-5:]
        return sum(last) / len(last) if last else 1.0

    def _show(self, m: Measurement) -> None:
        """Print a line of progress."""
        epochs = self.problem.space.epochs[int(m.design[self.column])]
        line = f"{m.elapsed:5.0f} s  {m.phase:8s}{epochs:3d} epochs"
        if m.measured[ERROR]:
            line += f"  error {-m.values[ERROR]:.3f} ({m.costs[ERROR]:.2f} s)"
        if m.measured[ENERGY]:
            line += f"  energy {10 ** -m.values[ENERGY]:.0f} nJ"
        print(line, flush=True)


def judge(problem: DeepShiftProblem, front: Tensor) -> pd.DataFrame:
    """The found networks beside the default and the float network, on test images."""
    names = ["default", "float", *(f"found {k + 1}" for k in range(len(front)))]
    X = torch.cat([problem.default_design, problem.float_design, front])
    Y = problem.evaluate_true(X)
    frame = pd.DataFrame(
        {
            "network": names,
            "test_error": problem.test_scores(X).tolist(),
            "validation_error": (-Y[:, ERROR]).tolist(),
            "energy_nj": (10 ** -Y[:, ENERGY]).tolist(),
        }
    )
    default = frame.iloc[0]
    frame["dominates_default"] = (frame["test_error"] < default["test_error"]) & (
        frame["energy_nj"] < default["energy_nj"]
    )
    return frame.join(problem.decode(X))


def summary(result: pd.DataFrame, search: Search) -> dict[str, Any]:
    """What is stored: how the time was spent, and what was found."""
    log, epochs = search.log, search.problem.space.epochs
    trained = [m for m in log.measurements if m.measured[ERROR]]
    levels = [epochs[int(m.design[search.column])] for m in trained]
    paid = np.sum([m.costs for m in log.measurements], axis=0).tolist()
    rows = result.astype(object).where(result.notna(), None).to_dict("records")
    return {
        "seconds": log.measurements[-1].elapsed,
        "decisions": log.num_decisions,
        "decision_seconds": sum(m.decision_seconds for m in log.measurements),
        "seconds_paid": {"error": paid[ERROR], "energy": paid[ENERGY]},
        "errors_by_epochs": {str(e): levels.count(e) for e in epochs},
        "energies": sum(m.measured[ENERGY] for m in log.measurements),
        "networks": rows,
    }


def report(result: pd.DataFrame) -> None:
    """Print the networks, and how many dominate the default."""
    shown = result.drop(columns=["epochs", "validation_error"])
    shown.columns = [str(name).replace("activation_", "") for name in shown.columns]
    print("\n" + shown.to_string(index=False, float_format="%.3g", na_rep="-"))
    count = result["dominates_default"].to_numpy().sum()
    print(
        f"\n{count} of {len(result) - 2} found networks have a lower test error *and* a"
        " lower modelled energy than the default network."
    )


def main() -> None:
    """Search, finish, judge and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--data", choices=("digits", "fashion-mnist"), default="digits")
    parser.add_argument("--data-path", type=Path, nargs=1, default=[])
    parser.add_argument("--network", choices=tuple(NETWORKS), default="resnet")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="file for the result")
    args = parser.parse_args()
    # BoTorch reports jitter and restarts of fits; the test images judge the result.
    warnings.simplefilter("ignore")
    folder = args.out / "deep_shift"
    settings = {"data": args.data, "network": args.network, "seed": args.seed}
    settings["epochs"] = list(args.epochs)
    log = Log(folder / "measurements.jsonl", settings)
    problem = DeepShiftProblem(
        data=digits() if args.data == "digits" else fashion_mnist(*args.data_path),
        network=NETWORKS[args.network],
        epochs=args.epochs,
        runs=TrainingRuns(seed=args.seed, checkpoints=folder / "checkpoints"),
    )
    search, end = Search(problem, log, args.seed), 60 * args.minutes
    search.begin()
    while log.elapsed < (1 - FINISH_SHARE) * end:
        search.decide()
    search.finish(end)
    result = judge(problem, search.front())
    report(result)
    stored = {"settings": settings, **summary(result, search)}
    write_json(args.store or folder / "result.json", stored)
    print(f"\nEverything is in {folder.resolve()}")


if __name__ == "__main__":
    main()
