r"""Where the designs of a problem may lie."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.test_functions.base import DecoupledProblem


def design_space(problem: DecoupledProblem, choices: Tensor | None) -> SearchSpace:
    """The designs of a problem; integer and categorical columns hold integers.

    Args:
        problem: The problem.
        choices: A ``n x d``-dim tensor of designs, None for all of the problem.

    Returns:
        The space.
    """

    def integers(columns: Sequence[int]) -> dict[int, list[float]]:
        lower, upper = problem.bounds.tolist()
        return {
            j: [float(value) for value in range(int(lower[j]), int(upper[j]) + 1)]
            for j in columns
        }

    if choices is not None:
        return SearchSpace(problem.bounds, choices)
    return SearchSpace(
        problem.bounds,
        discrete_dims=integers(problem.discrete_inds),
        cat_dims=integers(problem.categorical_inds),
    )
