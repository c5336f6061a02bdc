r"""The record of a decoupled optimisation run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
import torch
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from botorch_flexibo.policies.base import Effort, at_target

# Columns of `to_pandas` beside those of designs and outcomes.
_COLUMNS = frozenset(
    "decision design predicted_cost setup_cost cost cumulative_cost hv_measured"
    " hv_identified policy_seconds fit_seconds measure_seconds".split()
)


def is_column(name: str) -> bool:
    """Whether an outcome of this name would replace a column of ``to_pandas``.

    Args:
        name: The name.

    Returns:
        Whether it is that of a column of something else.
    """
    return name in _COLUMNS or (name[:1] == "x" and name[1:].isdigit())


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    r"""One design measured on one set of outcomes.

    Attributes:
        decision: The number of the decision it belongs to, 0 for the initial design.
        design: The row of the design in ``DecoupledHistory.X``.
        measured: For each outcome whether it was measured now.
        values: For each outcome the measured value, NaN if not measured now.
        predicted_cost: What the optimiser expected to pay, NaN if it had no opinion.
            After failures it is the cost per success.
        costs: For each outcome the cost paid now, also for a measurement that failed;
            0 if it was not asked for.
        cumulative_cost: All costs paid up to and including this request, set-ups
            included.
        hv_measured: Hypervolume of the designs whose outcomes are all measured, at
            their target fidelity if there are fidelities.
        hv_identified: True hypervolume of the front that the model identifies, NaN
            where it was not computed.
        policy_seconds: Wall time the policy took for the decision, booked on its first
            request.
        fit_seconds: Wall time of the model fit before the decision, likewise.
        setup_cost: The cost paid now for setting the design up, 0 if that was free,
            paid before or not needed.
        measure_seconds: Wall time of the measurement.
        effort: What the policy reports to have done for the decision, booked on its
            first request.
        errors: For each outcome why its measurement failed, empty where it did not. No
            entries at all if nothing failed.
    """

    decision: int
    design: int
    measured: tuple[bool, ...]
    values: tuple[float, ...]
    predicted_cost: float
    costs: tuple[float, ...]
    cumulative_cost: float
    hv_measured: float
    hv_identified: float
    policy_seconds: float
    fit_seconds: float
    setup_cost: float = 0.0
    measure_seconds: float = 0.0
    effort: Effort = field(default_factory=Effort)
    errors: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[bool, ...]:
        """For each outcome whether it was asked for, and failed."""
        if not self.errors:
            return (False,) * len(self.measured)
        return tuple(error != "" for error in self.errors)


@dataclass(frozen=True, kw_only=True)
class DecoupledHistory:
    r"""All measurements of a run, in order, and what they cost.

    Attributes:
        X: A ``n x d``-dim tensor of the designs asked for, each once.
        Y: A ``n x m``-dim tensor of outcomes (maximised), NaN where nobody paid or the
            measurement failed. Of an outcome that a policy of your own measured several
            times at a design, the last value; all of them are in ``records``.
        records: One record per request.
        stop_reason: Why the run ended: ``"budget"`` (spent), ``"unaffordable"``
            (nothing left that the budget pays for), ``"exhausted"`` (nothing left that
            the policy can measure), ``"failing"`` (outcomes are closed because they
            kept failing, and nothing else is left), ``"callback"``, ``"interrupted"``
            or ``"running"``.
        outcome_names: The names of the ``m`` outcomes.
        cost_unit: The unit of all costs.
        budget: The budget in that unit.
        max_hv: The hypervolume of the true front, NaN if unknown.
        effort: All that the policy reports to have done, decisions that found nothing
            to measure included. Zeros for policies that report nothing.
        closed_outcomes: Outcomes that are not measured any more, with the reason.
        ref_point: A ``m``-dim tensor, the reference point. None if there is none.
        target_fidelities: The columns of designs that are fidelities, with their
            targets.
    """

    X: Tensor
    Y: Tensor
    records: tuple[RequestRecord, ...]
    stop_reason: str
    outcome_names: tuple[str, ...]
    cost_unit: str
    budget: float
    max_hv: float = float("nan")
    effort: Effort = field(default_factory=Effort)
    closed_outcomes: Mapping[str, str] = field(default_factory=dict)
    ref_point: Tensor | None = None
    target_fidelities: Mapping[int, float] = field(default_factory=dict)

    @property
    def total_cost(self) -> float:
        """All that was paid: ``cost_by_outcome`` summed, plus ``total_setup_cost``."""
        return self.records[-1].cumulative_cost if self.records else 0.0

    @property
    def total_setup_cost(self) -> float:
        """What was spent on setting designs up, which no single outcome is charged."""
        return math.fsum(record.setup_cost for record in self.records)

    @property
    def num_measurements(self) -> dict[str, int]:
        """How often each outcome was measured, by name, repetitions included."""
        counts = [0] * len(self.outcome_names)
        for record in self.records:
            for i, measured in enumerate(record.measured):
                counts[i] += measured
        return dict(zip(self.outcome_names, counts, strict=True))

    @property
    def num_failures(self) -> dict[str, int]:
        """How often the measurement of each outcome failed, by name."""
        counts = [0] * len(self.outcome_names)
        for record in self.records:
            for i, failed in enumerate(record.failed):
                counts[i] += failed
        return dict(zip(self.outcome_names, counts, strict=True))

    @property
    def cost_by_outcome(self) -> dict[str, float]:
        """What was spent on each outcome, by name, without set-ups."""
        paid = [record.costs for record in self.records]
        table = torch.tensor(paid, dtype=torch.float64)
        sums = table.reshape(-1, len(self.outcome_names)).sum(dim=0)
        return dict(zip(self.outcome_names, sums.tolist(), strict=True))

    def front(self) -> tuple[Tensor, Tensor]:
        r"""The best designs that were measured, as they were measured.

        Designs whose outcomes are all measured, at their target fidelity if there are
        fidelities, above the reference point in all outcomes, and that no other such
        design dominates. Noise is not removed, and what a model predicts takes no part:
        for that see :func:`~botorch_flexibo.optim.identified_front`.

        Returns:
            A ``k x d``-dim tensor of designs and a ``k x m``-dim tensor of their
            outcomes, maximised, in the order of ``X``. Designs with equal outcomes are
            all in it.

        Example:
            >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
            >>> history = run_decoupled_optimization(
            ...     problem, RandomPolicy(), budget=120.0
            ... )
            >>> X, Y = history.front()
            >>> bool((Y > history.ref_point).all())
            True
        """
        counts = ~self.Y.isnan().any(dim=-1) & at_target(self.X, self.target_fidelities)
        if self.ref_point is not None:
            counts &= (self.Y > self.ref_point).all(dim=-1)
        X, Y = self.X[counts], self.Y[counts]
        best = is_non_dominated(Y, deduplicate=False)
        return X[best], Y[best]

    def to_pandas(self) -> pd.DataFrame:
        r"""One row per request.

        Returns:
            A frame with ``decision``, ``design``, the design's columns ``x0, x1, ...``,
            and for each outcome ``measured_<name>``, ``<name>``, ``cost_<name>`` and
            ``failure_<name>`` (why it failed, else empty), then costs, hypervolumes and
            wall times, and the policy's effort as columns ``effort_num_fits`` and so
            on. ``cost`` is what was paid for the request, ``setup_cost`` included.
            ``hv_identified`` is carried forward between the requests at which it was
            computed.
        """
        rows = []
        for record in self.records:
            x = {f"x{j}": value for j, value in enumerate(self.X[record.design])}
            row: dict[str, Any] = {name: float(value) for name, value in x.items()}
            row = {"decision": record.decision, "design": record.design} | row
            for i, name in enumerate(self.outcome_names):
                row[f"measured_{name}"] = record.measured[i]
                row[name] = record.values[i]
                row[f"cost_{name}"] = record.costs[i]
                row[f"failure_{name}"] = record.errors[i] if record.errors else ""
            row["predicted_cost"] = record.predicted_cost
            row["setup_cost"] = record.setup_cost
            row["cost"] = sum(record.costs) + record.setup_cost
            row["cumulative_cost"] = record.cumulative_cost
            row["hv_measured"] = record.hv_measured
            row["hv_identified"] = record.hv_identified
            row["policy_seconds"] = record.policy_seconds
            row["fit_seconds"] = record.fit_seconds
            row["measure_seconds"] = record.measure_seconds
            effort = asdict(record.effort)
            row |= {f"effort_{name}": value for name, value in effort.items()}
            rows.append(row)
        frame = pd.DataFrame(rows)
        if rows:
            frame["hv_identified"] = frame["hv_identified"].ffill()
        return frame
