"""Policies by name, and PABO's memory in the experiment."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax import (
    Measurement,
    complete_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
    load_experiment,
    save_experiment,
)
from botorch_flexibo.ax.policies import build_policy, recall, remembered
from botorch_flexibo.policies import PABOMemory, PABOPolicy
from botorch_flexibo.policies.pabo import Proposal


def pabo_client(gate: str) -> Client:
    client = Client(random_seed=0)
    rate = RangeParameterConfig(
        name="rate", bounds=(1e-4, 1e-1), parameter_type="float", scaling="log"
    )
    width = RangeParameterConfig(name="width", bounds=(8, 64), parameter_type="int")
    client.configure_experiment([rate, width])
    client.configure_optimization("-error, -energy", ["error <= 3", "energy <= 80"])
    client.set_generation_strategy(
        flexibo_generation_strategy(
            {"error": 20.0, "energy": 1.0},
            n_init=4,
            acquisition="pabo",
            acquisition_options={"gate": gate},
        )
    )
    return client


def run(client: Client, num_steps: int) -> list[Measurement]:
    tasks = []
    for _ in range(num_steps):
        (task,) = get_next_measurements(client)
        rate, width = task.parameters["rate"], task.parameters["width"]
        values = {
            "error": (math.log10(rate) + 2.5) ** 2 + 8 / width,
            "energy": width * (1 + rate),
        }
        told = {name: values[name] for name in task.objectives}
        complete_measurement(client, task, told)
        tasks.append(task)
    return tasks


def test_pabo_leaves_the_dear_objective_of_gated_proposals_unmeasured() -> None:
    tasks = run(pabo_client("predicted"), 12)
    first = [task for task in tasks if task.objectives == ("energy",)]
    assert first
    for task in first:  # a follow-up is the same arm, next in turn
        later = tasks[tasks.index(task) + 1 :]
        same = [other for other in later if other.arm_name == task.arm_name]
        assert [other.objectives for other in same] in ([], [("error",)])


def test_pabo_goes_on_identically_after_a_reload(tmp_path: Path) -> None:
    client = pabo_client("predicted")
    run(client, 8)
    save_experiment(client, tmp_path / "experiment.json")
    loaded = load_experiment(tmp_path / "experiment.json")
    assert run(loaded, 3) == run(client, 3)


def test_a_memory_comes_back_with_the_designs_of_the_experiment() -> None:
    policy = PABOPolicy()
    policy.memory = PABOMemory.empty(2)
    moved = Proposal((0.1 + 1e-15, 0.2), agent=1, asked=(True, False))
    policy.memory.pending.append(moved)
    memory = remembered(policy)
    assert memory is not None
    other = PABOPolicy()
    X = torch.tensor([[0.5, 0.5], [0.1, 0.2]], dtype=torch.float64)
    recall(other, memory, X)
    assert other.memory is not None
    assert other.memory.pending[0].design == (0.1, 0.2)
    far = {**memory, "pending": [asdict(Proposal((0.3, 0.2), 0, (True, True)))]}
    recall(other, far, X)
    assert other.memory.pending[0].design == (0.3, 0.2)


def test_other_policies_remember_nothing() -> None:
    assert remembered(build_policy("lookahead", {})) is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpe", {}, "Expected an acquisition of"),
        ("lookahead", {"gate": "none"}, "Expected options of the acquisition"),
        ("lookahead", {"loss": "huge"}, "Expected a loss of"),
        ("pabo", {"gate": "open"}, "gate"),
    ],
)
def test_unknown_names_and_options_are_refused(
    name: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputDataError, match=message):
        build_policy(name, options)
