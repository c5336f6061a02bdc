r"""What is known of a shift network without training it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from botorch_flexibo.nn.data import ClassificationData
from botorch_flexibo.nn.deep_shift import ShiftSettings, count_convolutions
from botorch_flexibo.nn.energy import EnergyEstimate, EnergyModel
from botorch_flexibo.nn.shapes import layer_shapes
from botorch_flexibo.test_functions._deep_shift_space import DeepShiftSettings
from botorch_flexibo.test_functions._deep_shift_training import ResumedTrainings

OBJECTIVES = ("error", "energy", "multiplications", "emissions")
# Assumed cost of what needs no training.
ANALYTIC_SECONDS = 0.01
# A network that is wrong more often is of no interest.
MAX_ERROR = 0.3
_NANO = 1e-9
# Picograms of CO2 equivalents per nanojoule, German grid.
_EMISSIONS = EnergyEstimate(_NANO, "modelled", "per nJ").grams_co2eq() / 1e-12
# Seconds of one core for a layer and for a shift layer in a step, and for a product of
# a training image.
_LAYER_SECONDS, _SHIFT_SECONDS, _PRODUCT_SECONDS = 5.4e-4, 3.6e-4, 3.5e-10


class AnalyticNumbers(NamedTuple):
    r"""What the layers of a network say.

    Attributes:
        nanojoules: Modelled energy of an inference.
        multiplications: Share of its products that are multiplications of floats.
        num_layers: The number of layers.
        num_products: Products of an inference.
    """

    nanojoules: float
    multiplications: float
    num_layers: int
    num_products: int


class AnalyticOutcomes:
    """Numbers of untrained networks, each computed once."""

    def __init__(
        self, trainings: ResumedTrainings, data: ClassificationData, energy: EnergyModel
    ) -> None:
        """Nothing is computed yet.

        Args:
            trainings: Makes the networks.
            data: The images.
            energy: The energy model.
        """
        self.num_convolutions = count_convolutions(trainings.float_network)
        self._trainings = trainings
        self._image_shape = data.image_shape
        self._num_images = len(data.y_train)
        self._energy = energy
        self._known: dict[tuple[int, ShiftSettings | None], AnalyticNumbers] = {}

    def numbers(self, shift_depth: int, shift: ShiftSettings | None) -> AnalyticNumbers:
        r"""What the layers of a network say.

        Args:
            shift_depth: How many convolutions are shifts.
            shift: The number formats of shift layers.

        Returns:
            The numbers.
        """
        key = shift_depth, shift
        if key not in self._known:
            model = self._trainings.network(shift_depth, shift)
            layers = layer_shapes(model, self._image_shape)
            counts = [self._energy.count(layer) for layer in layers]
            products = sum(layer.macs for layer in layers)
            floats = sum(count.multiply_accumulates for count in counts)
            self._known[key] = AnalyticNumbers(
                nanojoules=self._energy.estimate_layers(layers).joules / _NANO,
                multiplications=floats / products,
                num_layers=len(layers),
                num_products=products,
            )
        return self._known[key]

    def outcomes(self, settings: DeepShiftSettings) -> dict[str, float]:
        r"""Outcomes that need no training.

        Args:
            settings: The network.

        Returns:
            Their values, to be maximised, by name.
        """
        return _maximised(self.numbers(settings.shift_depth, settings.shift))

    def epoch_seconds(self, settings: DeepShiftSettings) -> float:
        r"""Model of the time that one core needs for an epoch.

        Args:
            settings: The network and its training.

        Returns:
            Seconds.
        """
        numbers, depth = self.numbers(0, None), settings.shift_depth
        steps = math.ceil(self._num_images / settings.training.batch_size)
        num_linear = numbers.num_layers - self.num_convolutions
        num_shifts = depth + num_linear if depth > 0 else 0
        per_step = numbers.num_layers * _LAYER_SECONDS + num_shifts * _SHIFT_SECONDS
        products = self._num_images * numbers.num_products
        return steps * per_step + products * _PRODUCT_SECONDS

    def ref_point(self, objectives: Sequence[str]) -> list[float]:
        r"""The worst outcomes of interest: an error of 0.3 and the float network.

        Args:
            objectives: Names of the outcomes.

        Returns:
            A value for each, on the maximised scale.
        """
        worst = {"error": -MAX_ERROR, **_maximised(self.numbers(0, None))}
        return [worst[name] for name in objectives]


def log_emissions(log_nanojoules: float) -> float:
    r"""The emissions of an energy, both as logarithms to base 10.

    Args:
        log_nanojoules: The energy in nJ.

    Returns:
        The greenhouse gas in pg of CO2 equivalents.
    """
    return log_nanojoules + math.log10(_EMISSIONS)


def _maximised(numbers: AnalyticNumbers) -> dict[str, float]:
    """Outcomes that need no training, by name."""
    energy = math.log10(numbers.nanojoules)
    return {
        "energy": -energy,
        "multiplications": -numbers.multiplications,
        "emissions": -log_emissions(energy),
    }


def check_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    r"""Check names of outcomes.

    Args:
        objectives: The names.

    Returns:
        The same names.

    Raises:
        ValueError: If they are not two or more different ones of those known.
    """
    names = tuple(objectives)
    known = set(names) <= set(OBJECTIVES)
    if not known or len(set(names)) < max(2, len(names)):
        raise ValueError(
            f"Expected two or more different objectives of {OBJECTIVES}, got {names}. "
            "Choose from these."
        )
    return names
