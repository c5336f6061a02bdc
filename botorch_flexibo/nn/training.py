r"""Training of classifiers: seeded, timed, resumable, without side effects on draws."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor, nn
from torch.nn import functional as F

from botorch_flexibo.nn.data import ClassificationData

OptimizerName = Literal[
    "sgd", "adam", "adadelta", "adagrad", "rmsprop", "radam", "nadam"
]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "radam": torch.optim.RAdam,
    "nadam": torch.optim.NAdam,
}
_VALIDATION_BATCH = 1024


@dataclass(frozen=True)
class TrainingSettings:
    r"""How a network is trained.

    Attributes:
        epochs: Passes over the training images, at least 1.
        batch_size: Images per step, at least 1; the last batch may be smaller.
        lr: Learning rate, > 0, constant over the training.
        optimizer: One of torch's optimisers, by name.
        momentum: Momentum of ``"sgd"``, in [0, 1); the others do not use it.
        weight_decay: Weight decay as the optimiser defines it, >= 0.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-3
    optimizer: OptimizerName = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InputDataError: If one is out of its range.
        """
        ranges = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "lr": 0 < self.lr < math.inf,
            "optimizer": self.optimizer in get_args(OptimizerName),
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": 0 <= self.weight_decay < math.inf,
        }
        for name, good in ranges.items():
            if not good:
                raise InputDataError(
                    f"Expected {name} within the range that TrainingSettings lists, "
                    f"but got {getattr(self, name)!r}. Optimisers are "
                    f"{get_args(OptimizerName)}."
                )

    def build_optimizer(
        self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]]
    ) -> torch.optim.Optimizer:
        r"""Set up the optimiser.

        Args:
            parameters: Parameters, or torch's parameter groups.

        Returns:
            The optimiser.
        """
        build = _OPTIMIZERS[self.optimizer]
        options = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            options["momentum"] = self.momentum
        return build(parameters, **options)


@dataclass(frozen=True)
class TrainingResult:
    r"""What a training gave; the curves have one entry per epoch.

    A training that diverges is not an error: its loss is NaN, and its network, which
    answers the same class always, has the error of guessing.

    Attributes:
        error: Share of the validation images that the trained network gets wrong.
        loss: Mean cross entropy on the validation images, in nats.
        seconds: Wall-clock time of training and validation, in s.
        cpu_seconds: CPU time of this process in the same span, in s: of all threads,
            and not of an accelerator.
        epoch_errors: Validation error after each epoch: a learning curve, to be read as
            a fidelity.
        epoch_losses: Validation loss after each epoch.
        epoch_seconds: Wall-clock time until the end of each epoch, in s.
        epoch_cpu_seconds: CPU time until the end of each epoch, in s.
    """

    error: float
    loss: float
    seconds: float
    cpu_seconds: float
    epoch_errors: tuple[float, ...] = field(repr=False)
    epoch_losses: tuple[float, ...] = field(repr=False)
    epoch_seconds: tuple[float, ...] = field(repr=False)
    epoch_cpu_seconds: tuple[float, ...] = field(repr=False)


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    r"""Seed torch's global random number generators, and restore them afterwards.

    Initial weights, dropout and stochastic rounding draw from these generators.

    Args:
        seed: The seed.
        device: A CUDA device whose generator is seeded beside the CPU's; of others
            only the CPU's is.

    Yields:
        Nothing.

    Example:
        >>> import torch
        >>> from botorch_flexibo.nn.training import seeded
        >>> with seeded(0):
        ...     first = torch.rand(1)
        >>> with seeded(0):
        ...     first == torch.rand(1)
        tensor([True])
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        # Not `torch.manual_seed`, which would seed every accelerator as well.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def train_classifier(
    model: nn.Module,
    data: ClassificationData,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]] | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
) -> TrainingResult:
    r"""Train a network in place and validate it after each epoch.

    The loss is the cross entropy plus ``penalty(model)``. The same seed, settings and
    initial weights give the same result on one kind of CPU with one number of threads;
    elsewhere sums are rounded differently, and errors differ by a few images.
    Accelerators are not made deterministic. The global random number generators are
    left as they were. Build the network under :func:`seeded` to fix its initial weights
    as well.

    Args:
        model: Maps ``n x channels x height x width`` images to ``n x num_classes``
            logits. It is moved to ``device`` and is in evaluation mode afterwards.
        data: The data; the test split is not used.
        settings: How to train.
        seed: Seed of the order of the images and of all that the network draws.
        device: Where to train.
        parameters: What to optimise, for example parameter groups; None means all
            parameters of the network. They must be those of the network on ``device``.
        penalty: Added to the loss of each batch, a scalar; None for nothing.

    Returns:
        Errors, losses and times.

    Example:
        >>> from torch import nn
        >>> from botorch_flexibo.nn.data import digits
        >>> from botorch_flexibo.nn.training import (
        ...     TrainingSettings,
        ...     seeded,
        ...     train_classifier,
        ... )
        >>> with seeded(0):
        ...     model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> result = train_classifier(
        ...     model, digits(), TrainingSettings(epochs=5, lr=0.01), seed=0
        ... )
        >>> result.error < 0.2, len(result.epoch_errors)
        (True, 5)
    """
    training = ClassifierTraining(
        model,
        data,
        settings,
        seed=seed,
        device=device,
        parameters=parameters,
        penalty=penalty,
    )
    return training.run(settings.epochs)


class ClassifierTraining:
    r"""A training that can stop after any epoch and go on later.

    Stopping changes nothing: the weights, the curves and all draws are those of a
    training without a stop, bit for bit. A training can be stored and go on in another
    process, see :meth:`state_dict`; the same holds there on the same kind of machine.

    Example:
        >>> from torch import nn
        >>> from botorch_flexibo.nn.data import digits
        >>> from botorch_flexibo.nn.training import (
        ...     ClassifierTraining,
        ...     TrainingSettings,
        ... )
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> training = ClassifierTraining(model, digits(), TrainingSettings(), seed=0)
        >>> first, both = training.run(1), training.run(2)
        >>> first.epoch_errors == both.epoch_errors[:1], training.epochs
        (True, 2)
    """

    def __init__(
        self,
        model: nn.Module,
        data: ClassificationData,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]] | None = None,
        penalty: Callable[[nn.Module], Tensor] | None = None,
    ) -> None:
        r"""Set up the training; nothing is trained yet.

        Args:
            model: The network, trained in place, see :func:`train_classifier`.
            data: The data; the test split is not used.
            settings: How to train, but for the number of epochs.
            seed: Seed of the order of the images and of all that the network draws.
            device: Where to train.
            parameters: What to optimise; None means all parameters of the network.
            penalty: Added to the loss of each batch, a scalar; None for nothing.
        """
        self.model = model.to(device)
        dtypes = (p.dtype for p in model.parameters() if p.is_floating_point())
        self._data = data.to(device, next(dtypes, None))
        self._optimizer = settings.build_optimizer(
            model.parameters() if parameters is None else parameters
        )
        self._batch_size = settings.batch_size
        self._penalty = penalty
        self._seed = seed
        self._device = torch.device(device)
        self._order = torch.Generator().manual_seed(seed)
        self._draws: list[Tensor] | None = None
        self._curve: list[tuple[float, float, float, float]] = []

    @property
    def epochs(self) -> int:
        """How many epochs were trained so far."""
        return len(self._curve)

    def run(self, epochs: int) -> TrainingResult:
        r"""Train until so many epochs are done in total, validating after each.

        Args:
            epochs: The number of epochs, at least 1. If more are done already, nothing
                is trained.

        Returns:
            The result after these epochs, all earlier ones included.

        Raises:
            InputDataError: If ``epochs`` is less than 1.
        """
        if epochs < 1:
            raise InputDataError(
                f"Expected epochs >= 1, but got {epochs}. Train one epoch at least."
            )
        if self.epochs < epochs:
            with seeded(self._seed, self._device):
                self._restore_draws()
                wall, cpu = self._curve[-1][2:] if self._curve else (0.0, 0.0)
                wall, cpu = wall - time.perf_counter(), cpu - time.process_time()
                while self.epochs < epochs:
                    error, loss = self._epoch()
                    # Reading them waited for the accelerator: the times are complete.
                    seconds = wall + time.perf_counter(), cpu + time.process_time()
                    self._curve.append((error, loss, *seconds))
                self._draws = self._drawn()
        errors, losses, walls, cpus = zip(*self._curve[:epochs], strict=True)
        return TrainingResult(
            error=errors[-1],
            loss=losses[-1],
            seconds=walls[-1],
            cpu_seconds=cpus[-1],
            epoch_errors=errors,
            epoch_losses=losses,
            epoch_seconds=walls,
            epoch_cpu_seconds=cpus,
        )

    def state_dict(self) -> dict[str, Any]:
        r"""All that is needed to go on with the training.

        Returns:
            Tensors, numbers and containers of these only, so that ``torch.load`` with
            ``weights_only=True`` reads what ``torch.save`` wrote.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "order": self._order.get_state(),
            "draws": self._draws,
            "curve": self._curve,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        r"""Go on where another training with the same arguments stopped.

        Args:
            state: What its :meth:`state_dict` was.
        """
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        # Generators take their states on the CPU, wherever these were loaded to.
        self._order.set_state(state["order"].cpu())
        draws = state["draws"]
        self._draws = None if draws is None else [draw.cpu() for draw in draws]
        self._curve = [tuple(row) for row in state["curve"]]

    def _epoch(self) -> tuple[float, float]:
        """Train one epoch; the validation error and loss after it."""
        data, model = self._data, self.model
        order = torch.randperm(len(data.y_train), generator=self._order)
        model.train()
        for rows in order.to(self._device).split(self._batch_size):
            self._optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(data.X_train[rows]), data.y_train[rows])
            if self._penalty is not None:
                loss = loss + self._penalty(model)
            loss.backward()
            self._optimizer.step()
        return validate(model, data.X_val, data.y_val)

    def _drawn(self) -> list[Tensor]:
        """Where the generators are that the network draws from."""
        states = [torch.default_generator.get_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states

    def _restore_draws(self) -> None:
        """Let the network draw on where it stopped."""
        if self._draws is None:
            return
        torch.default_generator.set_state(self._draws[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._draws[1], self._device)


@torch.no_grad()
def validate(model: nn.Module, X: Tensor, y: Tensor) -> tuple[float, float]:
    r"""Error and loss of a network, which is in evaluation mode afterwards.

    Args:
        model: The network.
        X: An ``n x channels x height x width`` tensor of images on its device.
        y: Their ``n`` labels.

    Returns:
        The share of wrong answers, and the mean cross entropy in nats.
    """
    model.eval()
    logits = torch.cat([model(batch) for batch in X.split(_VALIDATION_BATCH)])
    wrong = (logits.argmax(dim=-1) != y).to(torch.float64).mean()
    return float(wrong), float(F.cross_entropy(logits, y))
