r"""Trainings of shift networks that go on where they stopped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from botorch_flexibo.exceptions import ExperimentStorageError
from botorch_flexibo.nn.data import ClassificationData
from botorch_flexibo.nn.deep_shift import (
    ShiftSettings,
    convert_to_shift,
    randomize_shifts,
    shift_parameter_groups,
    shift_penalty,
)
from botorch_flexibo.nn.training import (
    ClassifierTraining,
    TrainingResult,
    seeded,
    validate,
)
from botorch_flexibo.test_functions._deep_shift_networks import NetworkFactory
from botorch_flexibo.test_functions._deep_shift_space import DeepShiftSettings


@dataclass(frozen=True)
class TrainingRuns:
    r"""How all trainings of a problem are run.

    Attributes:
        seed: Seed of initial weights, of the order of the images and of stochastic
            rounding.
        device: Where to train.
        checkpoints: A folder to keep trainings in, from which later processes go on.
            None keeps them in memory.
    """

    seed: int = 0
    device: torch.device | str = "cpu"
    checkpoints: Path | str | None = None


class ResumedTrainings:
    """The trainings of a problem, each as far as it got.

    Attributes:
        float_network: The network that is converted, untrained.
    """

    def __init__(
        self, network: NetworkFactory, data: ClassificationData, runs: TrainingRuns
    ) -> None:
        """Nothing is trained yet, unless the folder of checkpoints says otherwise.

        Args:
            network: Makes the float network.
            data: The images.
            runs: How to train.
        """
        self._data = data
        self._runs = runs
        with seeded(runs.seed):  # initial weights are drawn on the CPU
            self.float_network = network(data.image_shape, data.num_classes)
        self._trainings: dict[DeepShiftSettings, ClassifierTraining] = {}
        self._results: dict[DeepShiftSettings, TrainingResult] = {}
        self._folder: Path | None = None
        if runs.checkpoints is not None:
            self._folder = Path(runs.checkpoints)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._identity = self._fingerprint()

    def network(self, shift_depth: int, shift: ShiftSettings | None) -> nn.Module:
        r"""A network before its training.

        Args:
            shift_depth: How many convolutions are shifts.
            shift: The number formats of shift layers.

        Returns:
            The converted network. As in the published code, latents of PS layers are
            drawn at random, while those of Q layers are the float weights.
        """
        model = convert_to_shift(self.float_network, shift_depth, settings=shift)
        with seeded(self._runs.seed):
            randomize_shifts(model)
        return model

    def result(self, settings: DeepShiftSettings) -> TrainingResult | None:
        r"""What is known of a training.

        Args:
            settings: The settings.

        Returns:
            The result so far, None if nothing was trained.
        """
        if settings not in self._results:
            path = self._path(settings)
            if path is None or not path.exists():
                return None
            training = self._open(settings)
            self._results[settings] = training.run(training.epochs)
        return self._results[settings]

    def advance(self, settings: DeepShiftSettings, epochs: int) -> TrainingResult:
        r"""Train until so many epochs are done in total.

        Args:
            settings: The settings.
            epochs: The number of epochs.

        Returns:
            The result after that number of epochs, even if more are done.
        """
        return self._advanced(settings, epochs).run(epochs)

    def test_error(self, settings: DeepShiftSettings, epochs: int) -> float:
        r"""Share of the test images that a trained network gets wrong.

        Args:
            settings: The settings.
            epochs: The number of epochs to train.

        Returns:
            The error.
        """
        training = self._advanced(settings, epochs)
        if training.epochs > epochs:  # these weights are gone: train once more
            training = self._new(settings)
            training.run(epochs)
        dtype = next(training.model.parameters()).dtype
        data = self._data.to(self._runs.device, dtype)
        return validate(training.model, data.X_test, data.y_test)[0]

    def _advanced(self, settings: DeepShiftSettings, epochs: int) -> ClassifierTraining:
        """The training after at least so many epochs."""
        training = self._open(settings)
        if training.epochs < epochs:
            try:
                result = training.run(epochs)
            except BaseException:
                # An epoch is half done: begin again from what is known for certain.
                self._trainings.pop(settings, None)
                self._results.pop(settings, None)
                raise
            self._results[settings] = result
            self._keep(settings, training)
        return training

    def _new(self, settings: DeepShiftSettings) -> ClassifierTraining:
        """A training that has not begun."""
        model = self.network(settings.shift_depth, settings.shift)
        model.to(self._runs.device)
        decay = settings.training.weight_decay

        def penalty(model: nn.Module) -> Tensor:
            return shift_penalty(model, weight_decay=decay)

        return ClassifierTraining(
            model,
            self._data,
            settings.training,
            seed=self._runs.seed,
            device=self._runs.device,
            parameters=shift_parameter_groups(model, weight_decay=decay),
            penalty=None if settings.shift is None else penalty,
        )

    def _open(self, settings: DeepShiftSettings) -> ClassifierTraining:
        """The training as far as it got."""
        if settings in self._trainings:
            return self._trainings[settings]
        training = self._new(settings)
        path = self._path(settings)
        if path is not None and path.exists():
            device = self._runs.device
            try:
                state = torch.load(path, map_location=device, weights_only=True)
                training.load_state_dict(state)
            except Exception as error:
                raise ExperimentStorageError(
                    f"Expected {path} to be the checkpoint of a training, but got one"
                    f" that cannot be read ({error!r}). Delete it: the training then"
                    " begins again."
                ) from error
        return training

    def _keep(self, settings: DeepShiftSettings, training: ClassifierTraining) -> None:
        """Keep a training in the folder, or in memory if there is none."""
        path = self._path(settings)
        if path is None:
            self._trainings[settings] = training
            return
        new = path.with_suffix(".new")
        torch.save(training.state_dict(), new)
        os.replace(new, path)

    def _path(self, settings: DeepShiftSettings) -> Path | None:
        """Where a training is kept: named after all that it depends on."""
        if self._folder is None:
            return None
        # The number of epochs only says where the training ends.
        training = {
            field.name: getattr(settings.training, field.name)
            for field in fields(settings.training)
            if field.name != "epochs"
        }
        identity = (self._identity, training, settings.shift_depth, settings.shift)
        digest = hashlib.sha256(repr(identity).encode()).hexdigest()
        return self._folder / f"{digest[:32]}.pt"

    def _fingerprint(self) -> str:
        """What all trainings depend on: network, seed, and data but for the test."""
        digest = hashlib.sha256(f"{self.float_network} {self._runs.seed}".encode())
        data = self._data
        initial = self.float_network.state_dict().values()
        for tensor in (data.X_train, data.y_train, data.X_val, data.y_val, *initial):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
