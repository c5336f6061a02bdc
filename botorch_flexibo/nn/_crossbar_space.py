r"""The search space of a small network and of the crossbars that it runs on.

A design is a row of level numbers: column ``j`` holds the position of a value in
``LEVELS[COLUMNS[j]]``. Levels of a quantity that counts by factors (bits, widths,
rates) are thereby evenly spaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.nn.crossbar import (
    CrossbarComponents,
    CrossbarHardware,
    CrossbarLayers,
    crossbar_cost,
)
from botorch_flexibo.nn.training import TrainingSettings
from botorch_flexibo.utils.checks import finite_number

LEVELS: dict[str, tuple[Any, ...]] = {
    "kernel_1": (3, 5, 7),
    "kernel_2": (3, 5, 7),
    "maps_1": (8, 16, 24, 32, 40, 48, 56, 64),
    "maps_2": (8, 16, 24, 32, 40, 48, 56, 64),
    "hidden": (32, 64, 128, 256, 512),
    "dropout": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "lr": tuple(float(f"{10 ** (-4 + 3 * k / 7):.3g}") for k in range(8)),
    "optimizer": ("sgd", "adam"),
    "nonlinearity": ("relu", "tanh"),
    "weight_bits": (2, 3, 4, 6, 8, 16),
    "activation_bits": (2, 3, 4, 6, 8, 16),
    "crossbar_size": (32, 64, 128, 256),
    "cell_bits": (2, 4),
    "dac_bits": (1, 2),
}
COLUMNS = tuple(LEVELS)
CATEGORICAL = ("optimizer", "nonlinearity")


@dataclass(frozen=True)
class CNNSettings:
    r"""One network and how it is trained.

    Attributes:
        kernel_1: Side of the kernels of the first convolution, odd.
        kernel_2: Side of the kernels of the second convolution, odd.
        maps_1: Feature maps of the first convolution.
        maps_2: Feature maps of the second convolution.
        hidden: Width of the hidden fully connected layer.
        dropout: Share of hidden units that are dropped in training, in [0, 1).
        lr: Learning rate.
        optimizer: Optimiser.
        nonlinearity: What follows each layer but the last.
        weight_bits: Bits of a weight.
        activation_bits: Bits of an input of a layer.
    """

    kernel_1: int
    kernel_2: int
    maps_1: int
    maps_2: int
    hidden: int
    dropout: float
    lr: float
    optimizer: Literal["sgd", "adam"]
    nonlinearity: Literal["relu", "tanh"]
    weight_bits: int
    activation_bits: int


def cnn_layers(
    values: Mapping[str, Tensor], image_shape: tuple[int, int, int], num_classes: int
) -> CrossbarLayers:
    r"""The weight matrices of :class:`CrossbarCNN`.

    Args:
        values: ``kernel_1``, ``kernel_2``, ``maps_1``, ``maps_2`` and ``hidden``, a
            ``batch_shape`` tensor each.
        image_shape: Channels, height and width of an image.
        num_classes: The number of classes.

    Returns:
        Four layers.
    """
    channels, height, width = image_shape
    half, quarter = (height // 2) * (width // 2), (height // 4) * (width // 4)
    maps_1, maps_2, hidden = values["maps_1"], values["maps_2"], values["hidden"]
    return CrossbarLayers.cat(
        CrossbarLayers.conv(
            channels, maps_1, kernel_size=values["kernel_1"], positions=height * width
        ),
        CrossbarLayers.conv(
            maps_1, maps_2, kernel_size=values["kernel_2"], positions=half
        ),
        CrossbarLayers.linear(quarter * maps_2, hidden),
        CrossbarLayers.linear(hidden, num_classes),
    )


NETWORK_COLUMNS = tuple(field.name for field in fields(CNNSettings))

# Requirements, minimised, in the unit of each outcome; and that unit of the analytic
# ones in SI. A design beyond the requirements is of no interest.
_REQUIREMENTS = {"error": 0.3, "energy": 0.5, "area": 0.1}
_UNITS = {"energy": 1e-6, "area": 1e-6}  # uJ, mm^2

# Seconds of one core for a step, for a weight in a step, and for a multiply-accumulate
# of an image.
_STEP_SECONDS, _WEIGHT_SECONDS, _MAC_SECONDS = 1.8e-3, 4.8e-9, 6.8e-11


def level_values(X: Tensor) -> dict[str, Tensor]:
    r"""The values of numeric columns.

    Args:
        X: A ``batch_shape x d`` tensor of level numbers of all columns.

    Returns:
        A ``batch_shape`` tensor in double precision for each column that is not
        categorical.
    """
    values = {}
    for j, name in enumerate(COLUMNS):
        if name not in CATEGORICAL:
            levels = torch.tensor(LEVELS[name], dtype=torch.float64, device=X.device)
            values[name] = levels[X[..., j].long()]
    return values


def network_settings(X: Tensor) -> list[CNNSettings]:
    r"""The network of each design.

    Args:
        X: An ``n x d`` tensor of level numbers of all columns.

    Returns:
        The ``n`` networks.
    """
    return [
        CNNSettings(
            **{name: LEVELS[name][row[COLUMNS.index(name)]] for name in NETWORK_COLUMNS}
        )
        for row in X.long().tolist()
    ]


def decoded(X: Tensor) -> pd.DataFrame:
    r"""Readable values.

    Args:
        X: An ``n x d`` tensor of level numbers of all columns.

    Returns:
        A data frame with ``n`` rows and one column per column of ``X``.
    """
    rows = X.long().tolist()
    columns = enumerate(LEVELS.items())
    return pd.DataFrame({name: [v[row[j]] for row in rows] for j, (name, v) in columns})


def encoded(frame: pd.DataFrame) -> Tensor:
    r"""The inverse of :func:`decoded`.

    Args:
        frame: A data frame with ``n`` rows and all columns.

    Returns:
        An ``n x d`` tensor of level numbers in double precision.
    """
    columns = [[v.index(value) for value in frame[name]] for name, v in LEVELS.items()]
    return torch.tensor(columns, dtype=torch.float64).T.contiguous()


def hardware_grid() -> pd.DataFrame:
    """All settings of the hardware, one row each."""
    names = [name for name in COLUMNS if name not in NETWORK_COLUMNS]
    index = pd.MultiIndex.from_product([LEVELS[name] for name in names], names=names)
    return index.to_frame(index=False)


@dataclass(frozen=True)
class OutcomeModel:
    r"""Which outcomes there are, what the analytic model says, and what they cost.

    Attributes:
        names: Two or three of ``"error"``, ``"energy"`` and ``"area"``.
        analytic_seconds: Cost of each outcome but the error, in s, > 0.
        components: Numbers of the parts of the accelerator.
        image_shape: Channels, height and width of an image.
        num_classes: The number of classes.
    """

    names: tuple[str, ...]
    analytic_seconds: float
    components: CrossbarComponents
    image_shape: tuple[int, int, int] = (1, 8, 8)
    num_classes: int = 10

    def __post_init__(self) -> None:
        """Check names and cost.

        Raises:
            InvalidCostError: If the cost is not positive and finite.
            ValueError: If the names are not two or more different ones of those known.
        """
        known = set(self.names) <= set(_REQUIREMENTS)
        if not known or len(set(self.names)) < max(2, len(self.names)):
            raise ValueError(
                "Expected two or more different objectives of "
                f"{tuple(_REQUIREMENTS)}, got {self.names}. Choose from these."
            )
        if not (finite_number(self.analytic_seconds) or 0.0) > 0:
            raise InvalidCostError(
                "Expected a finite `analytic_seconds` > 0, got "
                f"{self.analytic_seconds!r}. Give a measurement that is free a small "
                "positive cost."
            )

    @property
    def ref_point(self) -> list[float]:
        """The requirements, on the maximised scale."""
        return [-_REQUIREMENTS[name] for name in self.names]

    def layers(self, values: Mapping[str, Tensor]) -> CrossbarLayers:
        """The weight matrices of the networks with these values."""
        return cnn_layers(values, self.image_shape, self.num_classes)

    def outcomes(self, values: Mapping[str, Tensor], error: Tensor) -> Tensor:
        r"""All outcomes, to be maximised.

        Args:
            values: The values of all numeric columns, ``batch_shape`` each.
            error: A ``batch_shape`` tensor of validation errors.

        Returns:
            A ``batch_shape x m`` tensor: minus the error, the energy in uJ and the area
            in mm^2, those that are named.
        """
        hardware = CrossbarHardware(
            crossbar_size=values["crossbar_size"],
            weight_bits=values["weight_bits"],
            input_bits=values["activation_bits"],
            cell_bits=values["cell_bits"],
            dac_bits=values["dac_bits"],
        )
        cost = crossbar_cost(self.layers(values), hardware, self.components)
        analytic = {"energy": cost.energy, "area": cost.area}
        known = {name: value / _UNITS[name] for name, value in analytic.items()}
        known["error"] = error
        return -torch.stack([known[name] for name in self.names], dim=-1)

    def training_seconds(
        self,
        values: Mapping[str, Tensor],
        settings: TrainingSettings,
        num_images: int,
    ) -> Tensor:
        r"""Model of the time that one core needs for a training.

        Args:
            values: The values of all numeric columns, ``batch_shape`` each.
            settings: How networks are trained.
            num_images: The number of training images.

        Returns:
            A ``batch_shape`` tensor in s.
        """
        layers = self.layers(values)
        steps = settings.epochs * math.ceil(num_images / settings.batch_size)
        passed = settings.epochs * num_images * layers.num_macs
        per_step = _STEP_SECONDS + layers.num_weights * _WEIGHT_SECONDS
        return steps * per_step + passed * _MAC_SECONDS

    def costs(self, training_seconds: Tensor) -> Tensor:
        r"""Cost of each outcome.

        Args:
            training_seconds: A ``batch_shape`` tensor: cost of an error, in s.

        Returns:
            A ``batch_shape x m`` tensor in s.
        """
        others = torch.full_like(training_seconds, self.analytic_seconds)
        columns = [training_seconds if n == "error" else others for n in self.names]
        return torch.stack(columns, dim=-1)
