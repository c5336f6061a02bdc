"""Training against a hand-written step, and what it must not touch."""

from __future__ import annotations

import math
import random
from typing import Any, get_args

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor, nn

from botorch_flexibo.nn.data import ClassificationData, digits
from botorch_flexibo.nn.training import (
    OptimizerName,
    TrainingResult,
    TrainingSettings,
    seeded,
    train_classifier,
    validate,
)

DEVICES: list[Any] = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


@pytest.fixture(scope="module")
def data() -> ClassificationData:
    return digits()


def network(dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    with seeded(seed):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(32, 10),
        )


def curves(result: TrainingResult) -> tuple[Any, ...]:
    return result.epoch_errors, result.epoch_losses


def test_one_full_batch_step_is_gradient_descent(data: ClassificationData) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    weight, bias = (p.detach().clone() for p in model.parameters())
    settings = TrainingSettings(
        epochs=1, batch_size=10_000, lr=0.3, optimizer="sgd", weight_decay=0.1
    )
    result = train_classifier(model, data, settings, seed=0)
    X, y = data.X_train.double().flatten(start_dim=1), data.y_train
    # The gradient of the cross entropy of a linear model in closed form.
    residual = (X @ weight.T + bias).softmax(dim=-1) - nn.functional.one_hot(y)
    residual = residual / len(y)
    new_weight = weight - 0.3 * (residual.T @ X + 0.1 * weight)
    new_bias = bias - 0.3 * (residual.sum(dim=0) + 0.1 * bias)
    trained = list(model.parameters())
    assert torch.allclose(trained[0], new_weight, atol=1e-12)
    assert torch.allclose(trained[1], new_bias, atol=1e-12)
    logits = data.X_val.double().flatten(start_dim=1) @ new_weight.T + new_bias
    wrong = (logits.argmax(dim=-1) != data.y_val).double().mean()
    log_p = logits.log_softmax(dim=-1)[torch.arange(len(logits)), data.y_val]
    assert result.error == pytest.approx(float(wrong), abs=1e-12)
    assert result.loss == pytest.approx(-float(log_p.mean()), rel=1e-9)


def test_every_image_is_seen_once_in_each_epoch(data: ClassificationData) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            if self.training:
                seen.append(input.detach())
            return super().forward(input)

    model = nn.Sequential(nn.Flatten(), Spy(64, 10))
    train_classifier(model, data, TrainingSettings(epochs=2, batch_size=100), seed=0)
    sizes = [len(batch) for batch in seen]
    n = len(data.y_train)
    assert sizes == 2 * [*(n // 100 * [100]), n % 100]
    expected = sorted(data.X_train.flatten(start_dim=1).tolist())
    half = len(seen) // 2
    epochs = [torch.cat(seen[:half]), torch.cat(seen[half:])]
    assert not torch.equal(epochs[0], epochs[1])
    for epoch in epochs:
        assert sorted(epoch.tolist()) == expected


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_every_optimizer_learns(
    data: ClassificationData, optimizer: OptimizerName, device: str
) -> None:
    lr = {"sgd": 0.05, "adadelta": 1.0, "adagrad": 0.05}.get(optimizer, 5e-3)
    settings = TrainingSettings(epochs=4, batch_size=32, lr=lr, optimizer=optimizer)
    model = network()
    before, _ = validate(model, data.X_val, data.y_val)
    result = train_classifier(model, data, settings, seed=0, device=device)
    assert before > 0.7
    assert result.error < 0.25
    assert next(model.parameters()).device.type == device
    assert result.epoch_losses[-1] < result.epoch_losses[0]


def test_same_seed_same_result_and_another_seed_another(
    data: ClassificationData,
) -> None:
    settings = TrainingSettings(epochs=2)
    results = [
        train_classifier(network(dropout=0.5), data, settings, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert curves(results[0]) == curves(results[1])
    assert curves(results[0]) != curves(results[2])


def test_shorter_training_is_the_beginning_of_a_longer_one(
    data: ClassificationData,
) -> None:
    short, long = (
        train_classifier(
            network(dropout=0.3), data, TrainingSettings(epochs=epochs), seed=0
        )
        for epochs in (2, 5)
    )
    assert long.epoch_errors[:2] == short.epoch_errors
    assert long.epoch_losses[:2] == short.epoch_losses
    assert len(long.epoch_errors) == len(long.epoch_seconds) == 5


def test_global_generators_are_left_alone(data: ClassificationData) -> None:
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    train_classifier(network(0.5), data, TrainingSettings(epochs=1), seed=0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert str(np.random.get_state()) == states[1]
    assert random.getstate() == states[2]


def test_result_does_not_depend_on_the_global_generator(
    data: ClassificationData,
) -> None:
    results = []
    for state in (1, 2):
        with seeded(state):
            results.append(
                train_classifier(network(0.5), data, TrainingSettings(epochs=1), seed=0)
            )
    assert curves(results[0]) == curves(results[1])


def test_seeded_restores_the_generator_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(0):
        torch.rand(3)
        _ = 1 / 0
    assert torch.equal(torch.get_rng_state(), before)


def test_times_are_increasing_and_end_with_the_total(data: ClassificationData) -> None:
    result = train_classifier(network(), data, TrainingSettings(epochs=3), seed=0)
    assert result.seconds == result.epoch_seconds[-1]
    assert 0 < result.epoch_seconds[0] < result.epoch_seconds[1] < result.seconds
    assert result.cpu_seconds > 0
    assert result.error == result.epoch_errors[-1]
    assert result.loss == result.epoch_losses[-1]


def test_only_the_given_parameters_are_trained(data: ClassificationData) -> None:
    model = network()
    first, _, last, _ = model.parameters()
    copies = first.detach().clone(), last.detach().clone()
    groups = [{"params": [last], "weight_decay": 0.5}]
    train_classifier(model, data, TrainingSettings(epochs=1), seed=0, parameters=groups)
    assert torch.equal(first, copies[0])
    assert not torch.equal(last, copies[1])


def test_penalty_shrinks_what_it_punishes(data: ClassificationData) -> None:
    def size(model: nn.Module) -> Tensor:
        return torch.stack([p.square().sum() for p in model.parameters()]).sum()

    plain, punished = network(), network()
    settings = TrainingSettings(epochs=3)
    train_classifier(plain, data, settings, seed=0)
    train_classifier(punished, data, settings, seed=0, penalty=size)
    assert size(punished).item() < 0.5 * size(plain).item()


def test_a_diverged_training_has_the_error_of_guessing(
    data: ClassificationData,
) -> None:
    settings = TrainingSettings(epochs=2, lr=1e30, optimizer="sgd")
    result = train_classifier(network(), data, settings, seed=0)
    assert not math.isfinite(result.loss)
    shares = data.y_val.bincount() / len(data.y_val)
    assert any(abs(1 - result.error - share) < 1e-6 for share in shares.tolist())


def test_validation_does_not_depend_on_batches(data: ClassificationData) -> None:
    model = network(dropout=0.5)
    X = data.X_val.repeat(4, 1, 1, 1)  # more than one batch
    once = validate(model, data.X_val, data.y_val)
    assert validate(model, X, data.y_val.repeat(4)) == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", math.inf),
        ("optimizer", "lbfgs"),
        ("momentum", 1.0),
        ("weight_decay", -1e-3),
        ("weight_decay", math.nan),
    ],
)
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputDataError, match=f"Expected {name} within"):
        TrainingSettings(**{name: value})
