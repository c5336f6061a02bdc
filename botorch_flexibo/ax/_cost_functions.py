r"""Cost functions by name: what an experiment can store of a cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor

# Maps the values of the numeric parameters to a cost.
CostFunction = Callable[..., Tensor]
FUNCTIONS: dict[str, CostFunction] = {}


def register_cost_function(name: str, function: CostFunction) -> None:
    r"""Make a function known under a name that experiments can store.

    Args:
        name: The name. Register it before an experiment that uses it is loaded.
        function: Called with the values of the numeric parameters, a ``dict`` of
            tensors of one shape, and the stored arguments as keywords. It returns a
            tensor of that shape, positive, in the unit of the other costs.

    Raises:
        InputDataError: If the name stands for another function, or is none.

    Example:
        >>> from botorch_flexibo.ax import NamedCost, register_cost_function
        >>> def training_cost(parameters, per_epoch):
        ...     return per_epoch * parameters["epochs"]
        >>> register_cost_function("training", training_cost)
        >>> NamedCost("training", {"per_epoch": 0.5}).name
        'training'
    """
    if not isinstance(name, str) or not callable(function):
        raise InputDataError(
            f"Expected a name and a function, but got {name!r} and {function!r}. Pass a"
            " string and what computes the cost."
        )
    if FUNCTIONS.get(name, function) is not function:
        raise InputDataError(
            f"Expected a new name for a cost function, but {name!r} is taken. Choose"
            " another one."
        )
    FUNCTIONS[name] = function


def affine_cost(
    parameters: Mapping[str, Tensor],
    slopes: Mapping[str, float],
    intercept: float = 0.0,
) -> Tensor:
    r"""``intercept + sum_j slopes_j * parameter_j``, registered as ``"affine"``.

    Args:
        parameters: The values of the numeric parameters.
        slopes: The cost of one unit of each parameter that matters.
        intercept: The cost where all of these are 0.

    Returns:
        The costs.

    Raises:
        InputDataError: If a parameter does not exist or is not numeric.
    """
    missing = set(slopes) - set(parameters)
    if missing or not slopes:
        raise InputDataError(
            f"Expected slopes of numeric parameters ({sorted(parameters)}), but got"
            f" {sorted(slopes)}. Name one or more of these."
        )
    terms = [slope * parameters[name] for name, slope in slopes.items()]
    return intercept + torch.stack(terms).sum(dim=0)


register_cost_function("affine", affine_cost)
