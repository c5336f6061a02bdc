r"""Losses as sums of hypervolumes, against moocore and the definitions."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Callable

import moocore
import numpy as np
import pytest
import torch
from botorch.exceptions.errors import InputDataError
from hypothesis import given, settings
from hypothesis import strategies as st

from botorch_flexibo.acquisition import HypervolumeLoss

Loss = Callable[[float], HypervolumeLoss]
WITH_BETA = [
    HypervolumeLoss.region,
    HypervolumeLoss.pessimistic,
    HypervolumeLoss.optimistic,
]
ALL = [*WITH_BETA, HypervolumeLoss.knowledge_gradient]
names = {"ids": lambda loss: loss.__name__}
betas = st.floats(0.0, 1e6)

GENERATOR = np.random.default_rng(3)
MEAN = GENERATOR.normal(size=(12, 2))
SD = GENERATOR.uniform(0.1, 0.8, size=(12, 2))


def hypervolume(scale: float) -> float:
    """Volume above -3 of the means moved by a number of deviations."""
    return moocore.hypervolume(-(MEAN + scale * SD), ref=[3.0, 3.0])


def evaluated(loss: HypervolumeLoss) -> float:
    return sum(weight * hypervolume(scale) for weight, scale in loss.terms)


def weight_per_scale(*losses: tuple[float, HypervolumeLoss]) -> dict[float, float]:
    """Terms of a linear combination, those that cancel left out."""
    total: dict[float, float] = defaultdict(float)
    for factor, loss in losses:
        for weight, scale in loss.terms:
            total[scale] += factor * weight
    return {scale: weight for scale, weight in total.items() if weight != 0}


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (HypervolumeLoss.region, ((1.0, 1.5), (-1.0, -1.5))),
        (HypervolumeLoss.pessimistic, ((-1.0, -1.5),)),
        (HypervolumeLoss.optimistic, ((1.0, 1.5), (-1.0, 0.0))),
        (HypervolumeLoss.knowledge_gradient, ((-1.0, 0.0),)),
    ],
    ids=["region", "pessimistic", "optimistic", "knowledge_gradient"],
)
def test_corners_are_the_root_of_beta_deviations_from_the_mean(loss, terms):
    assert loss(2.25).terms == terms


@pytest.mark.parametrize("loss", ALL, **names)
def test_beta_is_one_if_it_is_not_given(loss):
    assert loss() == loss(1.0)
    assert loss(1) == loss(1.0)


@given(beta=betas)
@settings(deadline=None)
def test_the_region_is_what_is_optimistic_plus_what_is_less_than_expected(beta):
    # HV{hi} - HV{lo} = (HV{hi} - HV{mean}) + (HV{mean} - HV{lo}).
    parts = weight_per_scale(
        (1.0, HypervolumeLoss.optimistic(beta)),
        (1.0, HypervolumeLoss.pessimistic(beta)),
        (-1.0, HypervolumeLoss.knowledge_gradient(beta)),
    )
    assert parts == weight_per_scale((1.0, HypervolumeLoss.region(beta)))


@given(beta=betas)
@settings(deadline=None)
def test_the_region_and_the_optimistic_part_have_no_constant(beta):
    # Differences of volumes: they vanish where the boxes are points.
    for loss in (HypervolumeLoss.region(beta), HypervolumeLoss.optimistic(beta)):
        assert sum(weight for weight, _ in loss.terms) == 0
    assert math.isclose(
        max(s for _, s in HypervolumeLoss.region(beta).terms) ** 2, beta
    )


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_losses_of_boxes_are_the_differences_of_hypervolumes(beta):
    half = math.sqrt(beta)
    high, middle, low = hypervolume(half), hypervolume(0.0), hypervolume(-half)
    assert evaluated(HypervolumeLoss.region(beta)) == pytest.approx(high - low)
    assert evaluated(HypervolumeLoss.optimistic(beta)) == pytest.approx(high - middle)
    assert evaluated(HypervolumeLoss.pessimistic(beta)) == pytest.approx(-low)
    knowledge_gradient = HypervolumeLoss.knowledge_gradient(beta)
    assert evaluated(knowledge_gradient) == pytest.approx(-middle)
    assert high - low >= high - middle >= 0


def test_wider_boxes_lose_more():
    for loss in WITH_BETA:
        values = [evaluated(loss(beta)) for beta in (0.0, 0.5, 1.0, 4.0)]
        assert values == sorted(values)
        assert values[0] < values[-1]


@pytest.mark.parametrize("beta", [-1.0, math.nan, math.inf, 7.0])
def test_the_knowledge_gradient_ignores_beta(beta):
    expected = HypervolumeLoss.knowledge_gradient()
    assert HypervolumeLoss.knowledge_gradient(beta) == expected


@pytest.mark.parametrize("beta", [-1e-9, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("loss", WITH_BETA, **names)
def test_a_beta_that_is_negative_or_not_finite_is_refused(loss, beta):
    message = (
        f"Expected a finite beta >= 0, but got {beta}. Pass 1 for boxes of one standard"
        " deviation to each side."
    )
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        loss(beta)


@pytest.mark.parametrize("loss", ALL, **names)
def test_losses_are_values_that_compare_hash_and_do_not_change(loss):
    assert loss(2.0) == loss(2.0)
    assert hash(loss(2.0)) == hash(loss(2.0))
    with pytest.raises(dataclasses.FrozenInstanceError, match="terms"):
        loss(2.0).terms = ()


@pytest.mark.parametrize("loss", ALL, **names)
def test_terms_are_plain_numbers_whatever_beta_is(loss):
    terms = loss(torch.tensor(2.0, dtype=torch.float64)).terms
    assert terms == loss(2.0).terms
    assert all(type(number) is float for term in terms for number in term)


def test_different_losses_differ():
    assert len({loss(2.0) for loss in ALL}) == len(ALL)
    assert HypervolumeLoss.region(1.0) != HypervolumeLoss.region(2.0)
