"""Ax's own benchmark problems, by Ax's own benchmark runner and by ask and tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.benchmark.benchmark import benchmark_replication
from ax.benchmark.benchmark_method import BenchmarkMethod
from ax.benchmark.benchmark_metric import BenchmarkMetric
from ax.benchmark.benchmark_problem import BenchmarkProblem
from ax.benchmark.benchmark_result import BenchmarkResult
from ax.benchmark.methods.sobol import get_sobol_benchmark_method
from ax.benchmark.problems.registry import get_benchmark_problem
from ax.benchmark.problems.synthetic.from_botorch import create_problem_from_botorch
from ax.core.base_trial import BaseTrial
from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.metric import MetricFetchResult
from ax.core.trial_status import TrialStatus
from ax.utils.common.result import Ok
from botorch.test_functions.multi_objective import DTLZ2
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch.quasirandom import SobolEngine

from botorch_flexibo.ax import (
    complete_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
    spent,
)
from botorch_flexibo.ax.metadata import experiment_of, measured_metrics, targets
from tests.ax.helpers import refitted

N_INIT = 5
Values = dict[str, float]


class AskedMetric(BenchmarkMetric):
    """Ax's metric, which answers only where it was asked for."""

    def fetch_trial_data(self, trial: BaseTrial, **kwargs: Any) -> MetricFetchResult:
        if self.name in targets(trial.experiment, trial, trial.arms[0]):
            return super().fetch_trial_data(trial, **kwargs)
        return Ok(Data())


def names_of(problem: BenchmarkProblem) -> list[str]:
    return list(problem.optimization_config.objective.metric_names)


def costs_of(problem: BenchmarkProblem) -> dict[str, float]:
    return dict(zip(names_of(problem), (1.0, 10.0), strict=True))


def branin_currin(num_trials: int) -> BenchmarkProblem:
    return replace(get_benchmark_problem("branin_currin"), num_trials=num_trials)


def partial(problem: BenchmarkProblem) -> BenchmarkProblem:
    """The problem with metrics that answer only where they were asked for."""
    metrics = [
        AskedMetric(name, lower_is_better=True, observe_noise_sd=False)
        for name in names_of(problem)
    ]
    return replace(problem, opt_config_metrics=metrics)


def replication(problem: BenchmarkProblem) -> BenchmarkResult:
    """Our strategy in Ax's benchmark runner."""
    strategy = flexibo_generation_strategy(costs_of(problem), n_init=N_INIT)
    return benchmark_replication(
        problem,
        BenchmarkMethod(generation_strategy=strategy),
        seed=0,
        strip_runner_before_saving=False,
    )


def sobol_replication(problem: BenchmarkProblem) -> BenchmarkResult:
    return benchmark_replication(problem, get_sobol_benchmark_method(), seed=0)


def finished(result: BenchmarkResult) -> Experiment:
    """The experiment, in which nothing was lost on the way."""
    experiment = result.experiment
    assert experiment is not None
    statuses = {trial.status for trial in experiment.trials.values()}
    assert statuses == {TrialStatus.COMPLETED}
    return experiment


def asked_in(experiment: Experiment) -> dict[tuple[int, str], set[str]]:
    """The metrics asked for, in the form in which the measured ones come."""
    trials = experiment.trials.values()
    return {
        (t.index, t.arms[0].name): set(targets(experiment, t, t.arms[0]))
        for t in trials
    }


def thresholds_of(problem: BenchmarkProblem) -> list[Any]:
    return problem.optimization_config.objective_thresholds


def evaluate(problem: BenchmarkProblem, parameters: Mapping[str, Any]) -> Values:
    """Ax's evaluation of all metrics."""
    values = problem.test_function.evaluate_true(dict(parameters)).squeeze(-1).tolist()
    return dict(zip(problem.test_function.outcome_names, values, strict=True))


def sobol_designs(
    problem: BenchmarkProblem, num_designs: int, seed: int = 0
) -> list[dict[str, float]]:
    """Quasi-random designs; the parameters of these problems lie in [0, 1]."""
    names = list(problem.search_space.parameters)
    sobol = SobolEngine(len(names), scramble=True, seed=seed)
    return [dict(zip(names, x, strict=True)) for x in sobol.draw(num_designs).tolist()]


def test_a_benchmark_of_ax_with_all_metrics_beats_sobol() -> None:
    """Told more than was asked for, the strategy uses it."""
    problem = branin_currin(18)
    ours, sobol = replication(problem), sobol_replication(problem)
    experiment = finished(ours)
    every_metric = set(names_of(problem))
    assert all(names == every_metric for names in measured_metrics(experiment).values())
    assert min(map(len, asked_in(experiment).values())) == 1
    assert ours.score_trace[-1] > sobol.score_trace[-1] + 40


def test_a_benchmark_of_ax_with_single_metrics_beats_sobol_at_the_same_cost() -> None:
    """By Ax's own score: the true values of the designs of the trials."""
    problem = partial(branin_currin(20))
    ours = replication(problem)
    experiment = finished(ours)
    assert measured_metrics(experiment) == asked_in(experiment)
    costs = costs_of(problem)
    cost = sum(costs[name] for asked in asked_in(experiment).values() for name in asked)
    num_complete = int(cost / sum(costs.values()))
    assert N_INIT < num_complete < 20
    sobol = sobol_replication(branin_currin(num_complete))
    assert ours.score_trace[-1] > sobol.score_trace[-1] + 40


def new_client(problem: BenchmarkProblem) -> Client:
    """An experiment on a problem of Ax, through Ax's public interface."""
    client = Client(random_seed=0)
    client.configure_experiment(
        [
            RangeParameterConfig(name=name, bounds=(0.0, 1.0), parameter_type="float")
            for name in problem.search_space.parameters
        ]
    )
    client.configure_optimization(
        problem.optimization_config.objective.expression,
        outcome_constraints=[t.expression for t in thresholds_of(problem)],
    )
    strategy = flexibo_generation_strategy(costs_of(problem), n_init=N_INIT)
    client.set_generation_strategy(strategy)
    return client


def identified_hypervolume(client: Client, problem: BenchmarkProblem) -> float:
    """What the designs dominate that are optimal by the means of the models."""
    refitted(client)
    arms = experiment_of(client).arms_by_name.values()
    designs: list[Any] = [*sobol_designs(problem, 1024, seed=1)]
    designs += [dict(arm.parameters) for arm in arms]
    names = names_of(problem)
    predicted = client.predict(designs)
    means = torch.tensor([[p[name][0] for name in names] for p in predicted])
    front = is_non_dominated(-means).nonzero().squeeze(-1).tolist()
    true = [list(evaluate(problem, designs[k]).values()) for k in front]
    bounds = {t.metric_names[0]: t.bound for t in thresholds_of(problem)}
    ref_point = torch.tensor([bounds[name] for name in names], dtype=torch.double)
    return Hypervolume(-ref_point).compute(-torch.tensor(true, dtype=torch.double))


def test_single_measurements_of_a_problem_of_ax_tell_more_than_complete_ones() -> None:
    """The same models find a better front in the data that the strategy asked for."""
    problem = create_problem_from_botorch(
        test_problem_class=DTLZ2,
        test_problem_kwargs={"dim": 3, "num_objectives": 2},
        num_trials=1,
        baseline_value=0.0,
    )
    costs = costs_of(problem)
    ours, sobol = new_client(problem), new_client(problem)
    while spent(ours) < 6 * sum(costs.values()):
        (measurement,) = get_next_measurements(ours)
        values = evaluate(problem, measurement.parameters)
        told = {name: values[name] for name in measurement.objectives}
        complete_measurement(ours, measurement, told)
    experiment = experiment_of(ours)
    assert measured_metrics(experiment) == asked_in(experiment)
    assert min(map(len, asked_in(experiment).values())) == 1
    for design in sobol_designs(problem, int(spent(ours) / sum(costs.values()))):
        index = sobol.attach_trial(design)
        sobol.complete_trial(index, evaluate(problem, design))
    found = identified_hypervolume(ours, problem)
    assert found > identified_hypervolume(sobol, problem) + 0.1
    assert found > 0.6 * problem.optimal_value
