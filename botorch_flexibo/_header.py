r"""What a run is: the first line of its record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from botorch_flexibo._run import RunOptions
from botorch_flexibo.models.decoupled import DecoupledModelFitter
from botorch_flexibo.policies.base import Policy
from botorch_flexibo.test_functions.base import DecoupledProblem

_FORMAT = 1
# The packages on whose versions the numbers of a run depend.
_PACKAGES = ("botorch-flexibo", "botorch", "gpytorch", "torch")


def run_header(
    problem: DecoupledProblem,
    policy: Policy,
    options: RunOptions,
    *,
    initial_design: Mapping[str, Any],
) -> dict[str, Any]:
    r"""What tells a run from others: the first line of its record.

    Args:
        problem: The problem.
        policy: The policy.
        options: What the run is told.
        initial_design: What it starts with.

    Returns:
        Plain data.
    """
    belief, fitter = options.cost_model, options.fitter
    return {
        "kind": "run",
        "format": _FORMAT,
        "versions": {name: version(name) for name in _PACKAGES},
        **_describe(problem, options.choices),
        "policy": policy.name,
        "initial_design": dict(initial_design),
        "budget": options.budget,
        "seed": options.seed,
        "strict": options.strict,
        "cost_model": None if belief is None else type(belief).__name__,
        **({} if fitter is None else {"fitter": _describe_fitter(fitter)}),
        "on_failure": {
            "rule": type(options.on_failure).__name__,
            **asdict(options.on_failure),
        },
    }


def _describe(problem: DecoupledProblem, choices: Tensor | None) -> dict[str, Any]:
    """What tells a problem from others."""
    digest = None if choices is None else _digest(choices)
    noise = problem.noise_std
    return {
        "problem": type(problem).__name__,
        "outcome_names": list(problem.outcome_names),
        "cost_unit": problem.cost_unit,
        "bounds": [[_plain(x) for x in row] for row in problem.bounds.tolist()],
        "ref_point": [_plain(x) for x in problem.ref_point.tolist()],
        "target_fidelities": {
            str(k): _plain(v) for k, v in problem.target_fidelities.items()
        },
        "choices": digest,
        "data": _digest_of_data(problem),
        "noise_std": None if noise is None else torch.as_tensor(noise).tolist(),
        "dtype": str(problem.bounds.dtype),
    }


def _describe_fitter(fitter: DecoupledModelFitter) -> dict[str, Any]:
    """The settings on which the numbers of a run depend."""
    rule = fitter.winsorize
    return {
        "fitter": type(fitter).__name__,
        "refit_growth": fitter.refit_growth,
        "max_fit_rows": fitter.max_fit_rows,
        "winsorize": None
        if rule is None
        else {
            "ref_point": torch.as_tensor(rule.ref_point).tolist(),
            "num_ranges": rule.num_ranges,
        },
    }


def _digest_of_data(problem: DecoupledProblem) -> str:
    """Of the tables and costs that a problem holds, and of what its columns mean."""
    names = ("negate", "discrete_inds", "categorical_inds", "setup_features")
    traits = [getattr(problem, name) for name in (*names, "setup_outcomes")]
    parts = {name: _digest(tensor) for name, tensor in sorted(problem.named_buffers())}
    return hashlib.sha256(repr((traits, parts)).encode()).hexdigest()


def _digest(tensor: Tensor) -> str:
    values = tensor.detach().cpu().to(torch.float64).contiguous() + 0.0
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def _plain(value: float) -> float | str:
    """A number, as text if it is not finite."""
    return float(value) if math.isfinite(value) else str(value)
