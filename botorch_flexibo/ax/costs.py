r"""Costs of measurements that can be stored with an experiment.

Ax stores numbers, strings and their collections, but no functions. So costs are given
as numbers or as the name of a registered function with its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.ax.columns import Columns
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models import LogNormalCostModel, SetupCostModel

# Maps the values of the numeric parameters to a cost.
CostFunction = Callable[..., Tensor]
_FUNCTIONS: dict[str, CostFunction] = {}
_DTYPE = torch.float64


@dataclass(frozen=True)
class NamedCost:
    r"""The cost of one metric as a registered function of the parameters.

    Attributes:
        name: The name under which :func:`register_cost_function` knows the function.
        arguments: Further arguments of the function, JSON-able.
    """

    name: str
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SetupCost:
    r"""A cost paid once per design, such as a training, before it can be measured.

    Attributes:
        cost: The cost, a number or a registered function.
        parameters: The parameters that define what is set up: designs that are equal
            there share one set-up. None means all.
        objectives: The metrics that need it. None means all.
    """

    cost: float | NamedCost
    parameters: Sequence[str] | None = None
    objectives: Sequence[str] | None = None


@dataclass(frozen=True)
class Costs:
    r"""What measurements are believed to cost, all in one unit.

    Attributes:
        run: The cost of each metric, a number or a registered function.
        learned: Whether costs are learned from those paid; ``run`` is the prior guess.
        setup: A cost paid once per design, in addition.

    Example:
        >>> costs = Costs(
        ...     {"error": NamedCost("affine", {"slopes": {"epochs": 2.0}}), "energy": 1}
        ... )
        >>> Costs.from_json(costs.to_json()) == costs
        True
    """

    run: Mapping[str, float | NamedCost]
    learned: bool = False
    setup: SetupCost | None = None

    def __post_init__(self) -> None:
        """Check numbers and names.

        Raises:
            InvalidCostError: If a cost is not positive and finite.
            InputDataError: If a named function is not registered.
        """
        for metric, cost in self.run.items():
            _check_cost(cost, what=f"cost of {metric!r}", least=0.0, strict=True)
        if self.setup is not None:
            _check_cost(self.setup.cost, what="set-up cost", least=0.0, strict=False)
        named = [key for key, cost in self.run.items() if isinstance(cost, NamedCost)]
        if self.learned and named:
            raise InputDataError(
                f"Expected numbers as first guesses of learned costs, but got functions"
                f" for {named}. Give a number for each."
            )

    def check_objectives(self, objectives: Sequence[str]) -> None:
        """Check that there is a cost for each objective, and for nothing else.

        Args:
            objectives: The objectives of an experiment.

        Raises:
            InputDataError: If not.
        """
        if set(self.run) != set(objectives):
            raise InputDataError(
                f"Expected a cost for each objective ({list(objectives)}), but got"
                f" costs for {list(self.run)}."
            )

    def price(
        self, objectives: Sequence[str], parameters: Mapping[str, Any]
    ) -> dict[str, float]:
        r"""What metrics of one design are believed to cost, set-up left out.

        Args:
            objectives: The metrics to measure.
            parameters: The parameters of the design, as Ax has them.

        Returns:
            The cost of each metric; those without a cost are left out.
        """
        numbers = _numbers(parameters)
        return {
            name: float(_price(self.run[name], numbers, torch.zeros(1, dtype=_DTYPE)))
            for name in objectives
            if name in self.run
        }

    def setup_price(
        self, objectives: Sequence[str], parameters: Mapping[str, Any]
    ) -> float:
        r"""What setting up one design is believed to cost.

        Args:
            objectives: The metrics to measure.
            parameters: The parameters of the design, as Ax has them.

        Returns:
            The cost, 0 if none of the metrics needs a set-up.
        """
        setup = self.setup
        if setup is None or not self.needs_setup(objectives):
            return 0.0
        X = torch.zeros(1, dtype=_DTYPE)
        return float(_price(setup.cost, _numbers(parameters), X))

    def needs_setup(self, objectives: Sequence[str]) -> bool:
        """Whether one of these metrics can only be measured on a design set up."""
        if self.setup is None:
            return False
        needs = self.setup.objectives
        return needs is None or not set(needs).isdisjoint(objectives)

    def setup_key(self, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """What designs that share a set-up have in common."""
        names = None if self.setup is None else self.setup.parameters
        return tuple(parameters[name] for name in names or sorted(parameters))

    def to_json(self) -> dict[str, Any]:
        """These costs as numbers, strings and their collections."""
        payload: dict[str, Any] = {
            "run": {metric: _to_json(cost) for metric, cost in self.run.items()},
            "learned": self.learned,
        }
        if self.setup is not None:
            payload["setup"] = asdict(self.setup) | {"cost": _to_json(self.setup.cost)}
        return payload

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Costs:
        """Costs from what :meth:`to_json` returned.

        Args:
            payload: The stored costs.

        Returns:
            The costs.
        """
        setup = payload.get("setup")
        if setup is not None:
            setup = SetupCost(**{**setup, "cost": _from_json(setup["cost"])})
        run = {metric: _from_json(cost) for metric, cost in payload["run"].items()}
        return cls(run, learned=payload["learned"], setup=setup)


def register_cost_function(name: str, function: CostFunction) -> None:
    r"""Make a function known under a name that experiments can store.

    Args:
        name: The name. Register it before an experiment that uses it is loaded.
        function: Called with the values of the numeric parameters, a ``dict`` of
            tensors of one shape, and the stored arguments as keywords. It returns a
            tensor of that shape, positive, in the unit of the other costs.

    Raises:
        InputDataError: If the name stands for another function.

    Example:
        >>> def training_cost(parameters, per_epoch):
        ...     return per_epoch * parameters["epochs"]
        >>> register_cost_function("training", training_cost)
        >>> NamedCost("training", {"per_epoch": 0.5}).name
        'training'
    """
    if _FUNCTIONS.get(name, function) is not function:
        raise InputDataError(
            f"Expected a new name for a cost function, but {name!r} is taken. Choose"
            " another one."
        )
    _FUNCTIONS[name] = function


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
            f" {sorted(slopes)}."
        )
    terms = [slope * parameters[name] for name, slope in slopes.items()]
    return intercept + torch.stack(terms).sum(dim=0)


register_cost_function("affine", affine_cost)


def build_cost_model(
    costs: Costs, objectives: Sequence[str], columns: Columns
) -> Model:
    r"""The model of believed costs that an optimiser reads.

    Args:
        costs: The costs.
        objectives: The metrics, in the order of the model's outputs.
        columns: How columns of designs read as parameters.

    Returns:
        A model with one output per metric.

    Raises:
        InputDataError: If a metric has no cost, or a parameter does not exist.
    """
    costs.check_objectives(objectives)
    run = [costs.run[metric] for metric in objectives]
    if costs.learned:
        guesses = [cost for cost in run if not isinstance(cost, NamedCost)]
        model = LogNormalCostModel(
            torch.tensor(guesses).to(columns.bounds),
            bounds=columns.bounds,
            categorical_features=[
                position
                for position, name in enumerate(columns.names)
                if name in columns.labels
            ],
        )
    else:
        model = _run_model(run, columns)
    if costs.setup is None:
        return model
    setup = costs.setup
    needs = objectives if setup.objectives is None else setup.objectives
    return SetupCostModel(
        model,
        _run_model([setup.cost], columns),
        setup_features=_positions(setup.parameters, columns.names, "parameters"),
        setup_outcomes=_flags(needs, objectives),
    )


def _run_model(costs: Sequence[float | NamedCost], columns: Columns) -> Model:
    numbers = [cost for cost in costs if not isinstance(cost, NamedCost)]
    if len(numbers) == len(costs):
        return FixedCostModel(torch.tensor(numbers, dtype=columns.bounds.dtype))

    def cost(X: Tensor) -> Tensor:
        parameters = columns.values(X)
        return torch.stack([_price(cost, parameters, X) for cost in costs], dim=-1)

    return GenericDeterministicModel(cost, num_outputs=len(costs))


def _price(cost: float | NamedCost, parameters: dict[str, Tensor], X: Tensor) -> Tensor:
    if not isinstance(cost, NamedCost):
        return X.new_full(X.shape[:-1], cost)
    return _FUNCTIONS[cost.name](parameters, **(cost.arguments or {}))


def _numbers(parameters: Mapping[str, Any]) -> dict[str, Tensor]:
    """The numeric parameters of one design."""
    return {
        name: torch.tensor([float(value)], dtype=_DTYPE)
        for name, value in parameters.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _positions(
    names: Sequence[str] | None, known: Sequence[str], what: str
) -> list[int] | None:
    if names is None:
        return None
    unknown = set(names) - set(known)
    if unknown:
        raise InputDataError(
            f"Expected {what} of the set-up among {list(known)}, but got"
            f" {sorted(unknown)}."
        )
    return [list(known).index(name) for name in names]


def _flags(names: Sequence[str], known: Sequence[str]) -> Tensor:
    flags = torch.zeros(len(known), dtype=torch.bool)
    flags[_positions(names, known, "objectives")] = True
    return flags


def _check_cost(
    cost: float | NamedCost, *, what: str, least: float, strict: bool
) -> None:
    if isinstance(cost, NamedCost):
        if cost.name not in _FUNCTIONS:
            raise InputDataError(
                f"Expected the {what} to name a registered function, but got"
                f" {cost.name!r}. Call register_cost_function first, also before the"
                " experiment is loaded."
            )
        return
    number = isinstance(cost, (int, float)) and not isinstance(cost, bool)
    large_enough = number and (cost > least if strict else cost >= least)
    if not number or not large_enough or cost == float("inf"):
        kind = "positive" if strict else "non-negative"
        raise InvalidCostError(f"Expected a {kind}, finite {what}, but got {cost!r}.")


def _to_json(cost: float | NamedCost) -> Any:
    if isinstance(cost, NamedCost):
        return {"name": cost.name, "arguments": dict(cost.arguments or {})}
    return float(cost)


def _from_json(cost: Any) -> float | NamedCost:
    if isinstance(cost, Mapping):
        return NamedCost(cost["name"], cost["arguments"])
    return cost
