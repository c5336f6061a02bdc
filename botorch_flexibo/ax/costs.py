r"""Costs of measurements that can be stored with an experiment.

Ax stores numbers, strings and their collections, but no functions. So costs are given
as numbers or as the name of a registered function with its parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.ax._cost_functions import FUNCTIONS, register_cost_function
from botorch_flexibo.ax.columns import Columns
from botorch_flexibo.ax.told import check_mapping
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models import LogNormalCostModel, SetupCostModel
from botorch_flexibo.utils.checks import check_switch, finite_number

__all__ = [
    "Costs",
    "NamedCost",
    "SetupCost",
    "build_cost_model",
    "check_storable",
    "register_cost_function",
]

_DTYPE = torch.float64


@dataclass(frozen=True)
class NamedCost:
    r"""The cost of one metric as a registered function of the parameters.

    Attributes:
        name: The name under which :func:`register_cost_function` knows the function.
        arguments: Further arguments of the function, JSON-able.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


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

    def __post_init__(self) -> None:
        """Check the cost and the names.

        Raises:
            InvalidCostError: If the cost is not finite, or negative.
            InputDataError: If there is no name, or they are no collection, or a named
                function is not registered or its arguments cannot be stored.
        """
        for attribute in ("parameters", "objectives"):
            names = getattr(self, attribute)
            if names is None:
                continue
            known = isinstance(names, Sequence) and not isinstance(names, str)
            known = known and all(isinstance(name, str) for name in names)
            if not known or not names or len(set(names)) < len(names):
                raise InputDataError(
                    f"Expected {attribute} of the set-up to be one or more different"
                    f" names, or None for all, but got {names!r}. Give a list of"
                    " strings."
                )
            object.__setattr__(self, attribute, tuple(names))
        _check_cost(self.cost, what="set-up cost", strict=False)


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
            InputDataError: If a named function is not registered or its arguments
                cannot be stored.
        """
        check_mapping(self.run, "costs")
        check_switch(self.learned, "learned")
        for metric, cost in self.run.items():
            _check_cost(cost, what=f"cost of {metric!r}", strict=True)
        if self.setup is not None and not isinstance(self.setup, SetupCost):
            raise InputDataError(
                f"Expected a SetupCost as set-up, but got {self.setup!r}. Pass"
                " SetupCost(cost), or None for none."
            )
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
            InputDataError: If not, or if the set-up is for something else.
        """
        if set(self.run) != set(objectives):
            raise InputDataError(
                f"Expected a cost for each objective ({list(objectives)}), but got"
                f" costs for {list(self.run)}. Give one for each of these, and for"
                " nothing else."
            )
        needs = () if self.setup is None else self.setup.objectives or ()
        if not set(needs) <= set(objectives):
            raise InputDataError(
                f"Expected a set-up for objectives of {list(objectives)}, but got one"
                f" for {list(needs)}. Name some of these, or None for all."
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

        Raises:
            InvalidCostError: If a function returns what is not positive and finite.
        """
        X, numbers = torch.zeros(1, dtype=_DTYPE), _numbers(parameters)
        prices = {
            name: float(_price(self.run[name], numbers, X))
            for name in objectives
            if name in self.run
        }
        for name, price in prices.items():
            _check_cost(price, what=f"cost of {name!r}", strict=True)
        return prices

    def setup_price(
        self, objectives: Sequence[str], parameters: Mapping[str, Any]
    ) -> float:
        r"""What setting up one design is believed to cost.

        Args:
            objectives: The metrics to measure.
            parameters: The parameters of the design, as Ax has them.

        Returns:
            The cost, 0 if none of the metrics needs a set-up.

        Raises:
            InvalidCostError: If a function returns what is negative or not finite.
        """
        setup = self.setup
        if setup is None or not self.needs_setup(objectives):
            return 0.0
        numbers = _numbers(parameters)
        price = float(_price(setup.cost, numbers, torch.zeros(1, dtype=_DTYPE)))
        _check_cost(price, what="set-up cost", strict=False)
        return price

    def needs_setup(self, objectives: Sequence[str]) -> bool:
        """Whether one of these metrics can only be measured on a design set up."""
        if self.setup is None:
            return False
        needs = objectives if self.setup.objectives is None else self.setup.objectives
        return not set(needs).isdisjoint(objectives)

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
            setup = self.setup
            payload["setup"] = {
                "cost": _to_json(setup.cost),
                "parameters": setup.parameters and list(setup.parameters),
                "objectives": setup.objectives and list(setup.objectives),
            }
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
        InputDataError: If a metric has no cost.
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
    features = None
    if setup.parameters is not None:
        # Fixed parameters are no columns: all designs are equal there.
        varying = [name for name in setup.parameters if name in columns.names]
        features = [columns.names.index(name) for name in varying]
    return SetupCostModel(
        model,
        _run_model([setup.cost], columns),
        setup_features=features,
        setup_outcomes=torch.tensor([name in needs for name in objectives]),
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
    return FUNCTIONS[cost.name](parameters, **cost.arguments)


def _numbers(parameters: Mapping[str, Any]) -> dict[str, Tensor]:
    """The numeric parameters of one design."""
    return {
        name: torch.tensor([float(value)], dtype=_DTYPE)
        for name, value in parameters.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _check_cost(cost: float | NamedCost, *, what: str, strict: bool) -> None:
    if isinstance(cost, NamedCost):
        if not isinstance(cost.name, str) or cost.name not in FUNCTIONS:
            raise InputDataError(
                f"Expected the {what} to name a registered function, but got"
                f" {cost.name!r}. Call register_cost_function first, also before the"
                " experiment is loaded."
            )
        check_mapping(cost.arguments, f"arguments of {cost.name!r}")
        check_storable(cost.arguments, what=f"arguments of {cost.name!r}")
        return
    number = finite_number(cost) if isinstance(cost, (int, float)) else None
    if number is None or number < 0 or (strict and number == 0):
        kind = "positive" if strict else "non-negative"
        raise InvalidCostError(
            f"Expected a {kind}, finite {what}, but got {cost!r}. Give all costs in one"
            " unit."
        )


def check_storable(value: object, *, what: str) -> None:
    """Refuse what an experiment cannot store."""
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise InputDataError(
            f"Expected {what} of numbers, strings and their collections, which can be"
            f" stored, but got {value!r}: {error}. Convert it to plain Python."
        ) from error


def _to_json(cost: float | NamedCost) -> Any:
    if isinstance(cost, NamedCost):
        return {"name": cost.name, "arguments": dict(cost.arguments)}
    return float(cost)


def _from_json(cost: Any) -> float | NamedCost:
    if isinstance(cost, Mapping):
        return NamedCost(cost["name"], cost["arguments"])
    return cost
