"""SMAC3 in an environment of its own, behind a pipe.

``make peers`` creates the environment. ``smac_server.py`` runs there; this module talks
to it in lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import weakref
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.model import ModelList
from torch import Tensor

from benchmarks.peers.finite import MAX_STALE, columns, complete_request, nearest
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import DecoupledState, Policy
from botorch_flexibo.policies.acquisition import finite_choices

_HERE = Path(__file__).parent
_PYTHON = _HERE.parents[1] / "build" / "peers" / "smac" / "bin" / "python"


class SMACPolicy(Policy):
    """SMAC3's random forest facade with ParEGO on a finite set.

    With budgets, the multi-fidelity facade with Hyperband (eta 3), as in the paper on
    deep shift networks (arXiv:2404.01965), and the last column is the index of the
    budget. All outcomes are measured together. The initial designs are SMAC's.
    """

    uses_model = False

    def __init__(
        self, categorical: Sequence[int], *, budgets: Sequence[int] | None = None
    ) -> None:
        self.categorical = categorical
        self.budgets = budgets
        self._server: _Server | None = None
        self._asked: Tensor | None = None

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        choices = finite_choices(state.choices)
        if self._server is None or state.iteration == 1:
            self._server, self._asked = self._started(state, choices), None
        for _ in range(MAX_STALE):
            if self._asked is not None:
                known = -state.known_outcomes(self._asked)[0]  # SMAC minimises
                self._server.send({"tell": known.tolist()})
            x = choices.new_tensor([self._server.call({"ask": True})])
            allowed = choices
            if self.budgets is not None:
                allowed = choices[choices[:, -1] == x[0, -1]]
            self._asked = nearest(x, allowed, state.bounds)
            if state.known_outcomes(self._asked).isnan().any():
                return complete_request(self._asked, state)
        raise CandidateGenerationError("Expected a new design, but got none.")

    def _started(self, state: DecoupledState, choices: Tensor) -> _Server:
        found = columns(choices, self.categorical)
        if self.budgets is not None:
            found = found[:-1]
        server = _Server()
        server.send(
            {
                "columns": [asdict(column) for column in found],
                "initial": state.X[:, : len(found)].tolist(),
                "budgets": self.budgets,
                "num_objectives": state.Y.shape[-1],
                "seed": state.seed % 2**31,
            }
        )
        return server


class _Server:
    """The process that runs SMAC3."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [_interpreter(), _HERE / "smac_server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, self._process.kill)

    def send(self, message: dict[str, Any]) -> None:
        """Send a line."""
        stdin = cast("Any", self._process.stdin)
        stdin.write(json.dumps(message) + "\n")
        stdin.flush()

    def call(self, message: dict[str, Any]) -> Any:
        """Send a line and read the answer."""
        self.send(message)
        answer = cast("Any", self._process.stdout).readline()
        if not answer:
            raise RuntimeError("Expected a design of SMAC3, but it ended.")
        return json.loads(answer)


def _interpreter() -> Path:
    python = Path(os.environ.get("SMAC_PYTHON", _PYTHON))
    if not python.exists():
        raise FileNotFoundError(
            f"SMAC3 needs an environment of its own, expected at {python}. Create it"
            " with `make peers`, or set SMAC_PYTHON."
        )
    return python
