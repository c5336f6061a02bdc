r"""A table of three designs with any of its arguments changed."""

from __future__ import annotations

from typing import Any

import torch

from botorch_flexibo.test_functions import TabularProblem
from tests.bad_values import tensor

X = tensor([0.0, 0.0], [0.5, 1.0], [1.0, 2.0])
Y = tensor([1.0, 3.0], [2.0, 2.0], [3.0, 1.0])
ONES = torch.ones(3, 2, dtype=torch.double)
MASK = torch.ones(3, 2, dtype=torch.bool)


def problem(**changes: Any) -> TabularProblem:
    arguments: dict[str, Any] = {
        "X": X,
        "Y": Y,
        "costs": ONES,
        "ref_point": [0.0, 0.0],
        "outcome_names": ["a", "b"],
        "cost_unit": "s",
        **changes,
    }
    return TabularProblem(**arguments)
