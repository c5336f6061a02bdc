r"""Errors of the package, beside those of ``botorch.exceptions``."""

from __future__ import annotations

from botorch.exceptions.errors import BotorchError


class InvalidCostError(BotorchError, ValueError):
    """Costs that are not positive, not finite, or too far apart to be compared."""


class InvalidOutcomesError(BotorchError, ValueError):
    """What a problem returned as outcomes is no table of numbers."""


class ExperimentStorageError(BotorchError, OSError):
    """An experiment that could not be saved to a file or loaded from it."""


class ExperimentNotFoundError(ExperimentStorageError, FileNotFoundError):
    """There is no saved experiment under the given name."""


class ExperimentLockedError(ExperimentStorageError):
    """Another process is the writer of the experiment."""


class ExperimentChangedError(ExperimentStorageError):
    """The saved experiment is not the version that was loaded or saved last."""


class MeasurementError(BotorchError, RuntimeError):
    """A measurement that gave no finite value."""
