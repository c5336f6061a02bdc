r"""What adapters tell generators beyond Ax's own options, and what was proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ax.core.observation import ObservationFeatures
from ax.generators.torch_base import TorchOptConfig
from torch import Tensor

from botorch_flexibo.ax.columns import Columns
from botorch_flexibo.ax.metadata import Request
from botorch_flexibo.failures import FailureLog
from botorch_flexibo.models import PaidCosts


@dataclass(frozen=True)
class DecoupledInputs:
    r"""What a decoupled generator has to know beyond Ax's own options.

    Attributes:
        objectives: The ``m`` objectives, in order.
        X_pending: A ``n' x d``-dim tensor of designs being measured.
        pending_mask: A ``n' x m``-dim boolean tensor of the objectives being measured.
        paid: What was paid so far.
        columns: How columns of designs read as parameters.
        num_proposed: How many trials exist or were proposed in this call.
        failures: Which measurements failed.
        memory: What the policy remembered at its last decision, None if nothing.
    """

    objectives: tuple[str, ...]
    X_pending: Tensor
    pending_mask: Tensor
    paid: PaidCosts
    columns: Columns
    num_proposed: int
    failures: FailureLog
    memory: Mapping[str, Any] | None = None


@dataclass(kw_only=True)
class DecoupledOptConfig(TorchOptConfig):
    """Ax's options, with what a decoupled generator has to know beyond them.

    Attributes:
        inputs: Pending measurements, payments and parameters.
    """

    inputs: DecoupledInputs


class Proposals:
    """What was proposed since the last fit.

    Ax fits once, asks for several trials in a row, and adds them to the experiment
    together; or, if one of them cannot be had, not at all.

    Attributes:
        requests: Designs in the space of the model, with what is asked for.
    """

    def __init__(self) -> None:
        """Nothing is proposed yet."""
        self.requests: list[tuple[ObservationFeatures, Request]] = []

    def add(self, features: Sequence[ObservationFeatures]) -> None:
        """Remember proposals.

        Args:
            features: The proposals with their metadata, in the space of the model.
        """
        for feature in features:
            request = Request.from_metadata(feature.metadata)
            if request is not None:
                # Ax transforms its features in place.
                self.requests.append((feature.clone(), request))
