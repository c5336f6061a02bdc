r"""The search space of deep shift networks: columns, conditions and readable values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import pandas as pd
import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor

from botorch_flexibo.nn.deep_shift import ShiftSettings
from botorch_flexibo.nn.training import OptimizerName, TrainingSettings
from botorch_flexibo.utils.checks import is_count

Fidelity = Literal["epochs", "shift_depth"]

BATCH_SIZES = (32, 64, 128)
# What the codes of a categorical column stand for.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(OptimizerName),
    "shift_type": ("Q", "PS"),
    "rounding": ("deterministic", "stochastic"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "log10_lr": (-3.0, math.log10(0.2)),
    "log10_weight_decay": (-6.0, -2.0),
    "batch_size": (0.0, len(BATCH_SIZES) - 1.0),
    "optimizer": (0.0, len(CATEGORIES["optimizer"]) - 1.0),
    "momentum": (0.0, 0.9),
    "weight_bits": (2.0, 5.0),
    "activation_integer_bits": (2.0, 16.0),
    "activation_fraction_bits": (2.0, 16.0),
    "shift_depth": (0.0, math.nan),  # up to the number of convolutions
    "shift_type": (0.0, 1.0),
    "rounding": (0.0, 1.0),
    "epochs": (0.0, math.nan),  # up to the last level
}
_CONTINUOUS = ("log10_lr", "log10_weight_decay", "momentum")
# Values of parameters without effect: those of the default network.
_SGD = CATEGORIES["optimizer"].index("sgd")
_MOMENTUM = 0.9
_WITHOUT_SHIFTS = {
    "weight_bits": 5.0,
    "activation_integer_bits": 16.0,
    "activation_fraction_bits": 16.0,
    "shift_type": float(CATEGORIES["shift_type"].index("PS")),
    "rounding": float(CATEGORIES["rounding"].index("deterministic")),
}


@dataclass(frozen=True)
class DeepShiftSettings:
    r"""One network and how it is trained; equal settings give equal trainings.

    Attributes:
        training: How to train, for the epochs of the target fidelity. The momentum is
            0.9, which nobody uses, unless the optimiser is SGD.
        shift_depth: How many convolutions are shifts, counted from the output.
        shift: The number formats of shift layers; None without shift layers.
    """

    training: TrainingSettings
    shift_depth: int
    shift: ShiftSettings | None


@dataclass(frozen=True)
class DeepShiftSpace:
    r"""Columns of a design, and which of them have an effect.

    Attributes:
        num_convolutions: The largest shift depth.
        epochs: The numbers of epochs that a training may have, ascending.
        fidelity: The column that is a fidelity.
    """

    num_convolutions: int
    epochs: tuple[int, ...]
    fidelity: Fidelity = "epochs"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputDataError: If there is no convolution, the epochs are no positive
                whole numbers that ascend, or the fidelity is unknown.
        """
        if self.num_convolutions < 1:
            raise InputDataError(
                "Expected a network with convolutions, but got none. Pass another"
                " network."
            )
        whole = len(self.epochs) > 0 and all(map(is_count, self.epochs))
        if not whole or any(low >= high for low, high in pairwise(self.epochs)):
            raise InputDataError(
                "Expected one or more positive, ascending whole numbers of epochs, but"
                f" got {self.epochs}. Pass for example (1, 3, 9, 27)."
            )
        if self.fidelity not in get_args(Fidelity):
            raise InputDataError(
                f"Expected fidelity to be one of {get_args(Fidelity)}, but got"
                f" {self.fidelity!r}. Choose one of these."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; there is none for the epochs if they do not vary."""
        varies = self.fidelity == "epochs" and len(self.epochs) > 1
        return tuple(name for name in _RANGES if name != "epochs" or varies)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Smallest and largest value of each column."""
        ends = dict(_RANGES)
        ends["shift_depth"] = (0.0, float(self.num_convolutions))
        ends["epochs"] = (0.0, len(self.epochs) - 1.0)
        return [ends[name] for name in self.columns]

    @property
    def kinds(self) -> tuple[list[int], list[int], list[int]]:
        """Indices of the continuous, integer and categorical columns."""
        kinds: tuple[list[int], list[int], list[int]] = ([], [], [])
        for j, name in enumerate(self.columns):
            kind = 0 if name in _CONTINUOUS else 2 if name in CATEGORIES else 1
            kinds[kind].append(j)
        return kinds

    @property
    def target_fidelities(self) -> dict[int, float]:
        """The column that is a fidelity, with its largest value."""
        if self.fidelity not in self.columns:
            return {}
        column = self.columns.index(self.fidelity)
        return {column: self.bounds[column][1]}

    def canonical(self, X: Tensor) -> Tensor:
        r"""Give parameters without effect the values of the default network.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A tensor of the same shape.
        """
        values = dict(zip(self.columns, X.unbind(dim=-1), strict=True))
        values["momentum"] = values["momentum"].where(
            values["optimizer"] == _SGD, _MOMENTUM
        )
        for name, default in _WITHOUT_SHIFTS.items():
            values[name] = values[name].where(values["shift_depth"] > 0, default)
        return torch.stack(list(values.values()), dim=-1) + 0.0  # -0.0 becomes 0.0

    def settings(self, X: Tensor) -> list[DeepShiftSettings]:
        r"""The network and training of each design.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            The ``n`` settings, which do not depend on the epochs of a design.
        """
        rows = self.canonical(X).detach().cpu().double().tolist()
        return [
            self._settings(dict(zip(self.columns, row, strict=True))) for row in rows
        ]

    def epochs_of(self, X: Tensor) -> list[int]:
        r"""The number of epochs of each design.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            The ``n`` numbers.
        """
        if "epochs" not in self.columns:
            return [self.epochs[-1]] * len(X)
        levels = X[:, self.columns.index("epochs")].long().tolist()
        return [self.epochs[level] for level in levels]

    def decoded(self, X: Tensor) -> pd.DataFrame:
        r"""Readable values.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            A data frame with ``n`` rows; parameters without effect are missing.
        """
        rows = []
        for settings, epochs in zip(self.settings(X), self.epochs_of(X), strict=True):
            training, shift = settings.training, settings.shift
            row: dict[str, Any] = {
                "lr": training.lr,
                "weight_decay": training.weight_decay,
                "batch_size": training.batch_size,
                "optimizer": training.optimizer,
                "momentum": training.momentum
                if training.optimizer == "sgd"
                else math.nan,
                "shift_depth": settings.shift_depth,
            }
            for name in _WITHOUT_SHIFTS:
                row[name] = None if shift is None else getattr(shift, name)
            rows.append(row | {"epochs": epochs})
        frame = pd.DataFrame(rows)
        bits = [name for name in frame if str(name).endswith("_bits")]
        return frame.astype(dict.fromkeys(bits, "Int64"))

    def encoded(self, frame: pd.DataFrame) -> Tensor:
        r"""The inverse of :meth:`decoded`, but for the rates.

        Args:
            frame: A data frame with ``n`` rows and all columns of the space; logarithms
                as they are in a design.

        Returns:
            An ``n x d`` tensor of canonical designs in double precision.
        """
        levels: dict[str, tuple[Any, ...]] = {
            **CATEGORIES,
            "batch_size": BATCH_SIZES,
            "epochs": self.epochs,
        }
        columns = []
        for name in self.columns:
            known = levels.get(name)
            numbers = [
                0.0 if pd.isna(value) else float(known.index(value) if known else value)
                for value in frame[name]
            ]
            columns.append(torch.tensor(numbers, dtype=torch.float64))
        return self.canonical(torch.stack(columns, dim=-1))

    def _settings(self, row: dict[str, float]) -> DeepShiftSettings:
        """The settings of a canonical row."""
        names: dict[str, Any] = {
            name: known[int(row[name])] for name, known in CATEGORIES.items()
        }
        training = TrainingSettings(
            epochs=self.epochs[-1],
            batch_size=BATCH_SIZES[int(row["batch_size"])],
            lr=10.0 ** row["log10_lr"],
            optimizer=names["optimizer"],
            momentum=row["momentum"],
            weight_decay=10.0 ** row["log10_weight_decay"],
        )
        depth = int(row["shift_depth"])
        shift = ShiftSettings(
            shift_type=names["shift_type"],
            rounding=names["rounding"],
            **{n: int(row[n]) for n in _WITHOUT_SHIFTS if n.endswith("_bits")},
        )
        return DeepShiftSettings(training, depth, shift if depth > 0 else None)


def default_row(columns: Sequence[str], num_convolutions: int, epochs: int) -> Tensor:
    r"""The default network of the released code: 5-bit PS shifts everywhere.

    Args:
        columns: Names of the columns.
        num_convolutions: The shift depth.
        epochs: The level of the epochs.

    Returns:
        A ``1 x d`` tensor: SGD with learning rate 0.1, momentum 0.9 and weight decay
        1e-4 on batches of 128, activations of 16 + 16 bits, deterministic rounding.
    """
    values = {
        "log10_lr": -1.0,
        "log10_weight_decay": -4.0,
        "batch_size": float(BATCH_SIZES.index(128)),
        "optimizer": float(_SGD),
        "momentum": _MOMENTUM,
        "shift_depth": float(num_convolutions),
        "epochs": float(epochs),
        **_WITHOUT_SHIFTS,
    }
    return torch.tensor([[values[name] for name in columns]], dtype=torch.float64)
