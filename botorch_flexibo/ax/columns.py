r"""How columns of the model's designs read as parameters of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from botorch.exceptions.errors import InputDataError
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    r"""How columns of designs read as parameters.

    Attributes:
        names: The parameter of each column.
        log10: The parameters whose columns hold the decimal logarithm.
        labels: The parameters whose columns hold codes of labels.
        fixed: The values of parameters that are the same everywhere and no columns.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds of the columns.
        logit: The parameters whose columns hold ``log(p / (1 - p))``.
        derived: The parameters that are weighted sums of others: the constant, and the
            weight of each other.
    """

    names: tuple[str, ...]
    log10: frozenset[str]
    labels: frozenset[str]
    fixed: Mapping[str, float]
    bounds: Tensor
    logit: frozenset[str] = frozenset()
    derived: Mapping[str, tuple[float, Mapping[str, float]]] = field(
        default_factory=dict
    )

    def encode(self, name: str, value: float) -> tuple[int, float]:
        """A column and what stands there for the value of a numeric parameter.

        Args:
            name: The parameter.
            value: Its value.

        Returns:
            The index of the column and its entry.

        Raises:
            InputDataError: If there is no such column or it holds labels.
        """
        if name not in self.names or name in self.labels:
            raise InputDataError(
                f"Expected a numeric parameter of {list(self.names)}, but got {name!r}."
                " Name one of these."
            )
        entry = float(value)
        if name in self.log10:
            entry = math.log10(entry)
        elif name in self.logit:
            entry = math.log(entry / (1.0 - entry))
        return self.names.index(name), entry

    def values(self, X: Tensor) -> dict[str, Tensor]:
        r"""The values of the numeric parameters, fixed and derived ones included.

        Args:
            X: A ``batch_shape x d``-dim tensor of designs.

        Returns:
            A tensor of shape ``batch_shape`` for each numeric parameter.
        """
        columns = dict(zip(self.names, X.unbind(dim=-1), strict=True))
        values = {n: x for n, x in columns.items() if n not in self.labels}
        values |= {name: 10.0 ** columns[name] for name in self.log10}
        values |= {name: columns[name].sigmoid() for name in self.logit}
        fixed = {name: X.new_full(X.shape[:-1], v) for name, v in self.fixed.items()}
        values |= fixed
        derived = {
            name: sum((w * values[n] for n, w in weights.items()), X.new_tensor(start))
            for name, (start, weights) in self.derived.items()
            if values.keys() >= weights.keys()
        }
        return values | derived
