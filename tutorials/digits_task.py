"""What tutorial 8 measures: a small network for digits.

Workers import this module, and it imports scikit-learn only: neither Ax nor BoTorch is
needed where measurements run.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

# A multiplication and an addition of 32-bit floats, 45 nm (Horowitz, ISSCC 2014).
PICOJOULES_PER_MAC = 3.7 + 0.9
NUM_PIXELS, NUM_CLASSES = 64, 10
EPOCHS = 60


def layers(parameters: Mapping[str, Any]) -> list[int]:
    """Widths of the hidden layers."""
    return [int(parameters["width"])] * int(parameters["depth"])


def error(parameters: Mapping[str, Any]) -> float:
    """Validation error after a training, measured."""
    images, labels = load_digits(return_X_y=True)
    X, X_val, y, y_val = train_test_split(
        images / 16, labels, test_size=0.25, stratify=labels, random_state=0
    )
    network = MLPClassifier(
        hidden_layer_sizes=layers(parameters),
        learning_rate_init=float(parameters["rate"]),
        max_iter=EPOCHS,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few are meant
        network.fit(X, y)
    return 1 - float(network.score(X_val, y_val))


def energy(parameters: Mapping[str, Any]) -> float:
    """Energy of the products of an inference in nJ, modelled."""
    widths = [NUM_PIXELS, *layers(parameters), NUM_CLASSES]
    macs = sum(a * b for a, b in itertools.pairwise(widths))
    return 1e-3 * PICOJOULES_PER_MAC * macs


FUNCTIONS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "error": error,
    "energy": energy,
}


def evaluate(
    parameters: dict[str, Any], objectives: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure what is asked for: the values, and the CPU seconds that each took."""
    values, costs = {}, {}
    for name in objectives:
        start = time.process_time()
        values[name] = FUNCTIONS[name](parameters)
        costs[name] = max(time.process_time() - start, 1e-3)
    return values, costs
