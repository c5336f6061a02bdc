r"""The log of an experiment: single measurements in order, with what was paid."""

from __future__ import annotations

import pandas as pd
import torch
from ax.core.experiment import Experiment
from ax.core.trial_status import TrialStatus
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from torch import Tensor

from botorch_flexibo.ax.costs import Costs
from botorch_flexibo.ax.metadata import Payment, objective_signs
from botorch_flexibo.ax.payments import arm_payments, paid_metrics
from botorch_flexibo.utils.fronts import front_mask, hypervolume

_SKIPPED = (TrialStatus.CANDIDATE, TrialStatus.STAGED, TrialStatus.RUNNING)


def measurement_log(experiment: Experiment, costs: Costs) -> pd.DataFrame:
    r"""Every measurement that ended, in the order of the trials.

    Args:
        experiment: The experiment.
        costs: What is believed of costs that were not told.

    Returns:
        A row per arm and metric asked for or measured: ``trial_index``, ``arm_name``,
        ``metric_name``, ``mean`` (NaN if it failed), ``sem`` (its standard error, NaN
        if none was told), ``cost`` (the set-up with the first metric that shares it)
        and ``cumulative_cost``.
    """
    data = experiment.lookup_data().df
    columns = ["trial_index", "arm_name", "metric_name", "mean", "sem"]
    told = {
        (int(row.trial_index), str(row.arm_name), str(row.metric_name)): (  # pyright: ignore
            float(row.mean),  # pyright: ignore
            float(row.sem),  # pyright: ignore
        )
        for row in data[columns].itertuples(index=False, name="Row")
    }
    nothing = (float("nan"), float("nan"))
    rows = []
    for trial in experiment.trials.values():
        if trial.status in _SKIPPED:
            continue
        payments = arm_payments(experiment, costs, trial)
        for arm in trial.arms:
            payment = payments.get(arm.name, Payment())
            setup = payment.setup
            for name in paid_metrics(experiment, costs, trial, arm):
                value = told.get((trial.index, arm.name, name), nothing)
                cost = payment.costs.get(name, 0.0) + setup
                setup = 0.0
                rows.append((trial.index, arm.name, name, *value, cost))
    frame = pd.DataFrame(rows, columns=[*columns, "cost"])
    frame["cumulative_cost"] = frame["cost"].cumsum()
    return frame


def measured_table(log: pd.DataFrame, objectives: list[str]) -> pd.DataFrame:
    """The mean of what was measured of each metric by arm, NaN where nothing was.

    As for the models, standard errors count where a metric always has one: then values
    are weighted by the inverse of their squares, if all at the arm are positive.
    """
    valid = log.dropna(subset=["mean"])
    sem, metric, arm = (valid[name] for name in ("sem", "metric_name", "arm_name"))
    counts = sem.notna().groupby(metric).transform("all")
    least = pd.Series(sem.groupby([arm, metric]).transform("min"))
    weight = (least / sem).pow(2).where(counts & least.gt(0), 1.0)
    total, norm = (
        valid.assign(part=part).pivot_table(
            index="arm_name", columns="metric_name", values="part", aggfunc="sum"
        )
        for part in (weight * valid["mean"], weight)
    )
    table = total / norm
    return table.reindex(columns=objectives)


def maximized(experiment: Experiment, table: pd.DataFrame) -> Tensor:
    """Values with the signs that make every objective maximised, ``n x m``."""
    signs = objective_signs(experiment)
    columns = [torch.tensor(table[name].to_numpy()) * signs[name] for name in signs]
    return torch.stack(columns, dim=-1)


def reference_point(experiment: Experiment, Y: Tensor) -> Tensor:
    """Thresholds where given, else inferred from completely measured designs.

    Args:
        experiment: The experiment.
        Y: A ``n x m``-dim tensor of outcomes to maximise.

    Returns:
        A ``m``-dim reference point.
    """
    signs = objective_signs(experiment)
    config = experiment.optimization_config
    bounds = (
        {}
        if config is None
        else {
            threshold.metric_names[0]: threshold.bound
            for threshold in config.objective_thresholds
        }
    )
    inferred = infer_reference_point(Y[front_mask(Y)])
    given = [signs[name] * bounds.get(name, float("nan")) for name in signs]
    point = torch.tensor(given, dtype=Y.dtype)
    return torch.where(point.isnan(), inferred, point)


def front_volume(Y: Tensor, ref_point: Tensor) -> float:
    """Hypervolume of the completely known rows, 0 without any."""
    complete = Y[~Y.isnan().any(dim=-1)]
    return float(hypervolume(complete, ref_point)) if len(complete) > 0 else 0.0
