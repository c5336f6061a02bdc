r"""Volumes are right, and values finite, also where numbers are at their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from botorch.models.transforms import Standardize
from botorch.settings import validate_input_scaling
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo import FlexiBO, qFlexiBOLookahead
from botorch_flexibo.acquisition import (
    HypervolumeLoss,
    LinearScalarizationKnowledgeGradient,
)
from botorch_flexibo.utils import collapse_gains, hypervolume
from botorch_flexibo.utils.fronts import (
    front_mask,
    hypervolume_improvement,
    improvement_cells,
)

moocore = pytest.importorskip("moocore")

Acquisition = Callable[[Any, Tensor, Tensor], Any]
ACQUISITIONS: dict[str, Acquisition] = {
    "FlexiBO": FlexiBO,
    "qFlexiBOLookahead": qFlexiBOLookahead,
    "knowledge gradient": lambda model, ref, X: qFlexiBOLookahead(
        model, ref, X, loss=HypervolumeLoss.knowledge_gradient
    ),
    "C-MOKG": lambda model, ref, X: LinearScalarizationKnowledgeGradient(model, X),
}


# --- hypervolumes ----------------------------------------------------------------


def reference_volume(Y: Tensor, ref: Tensor) -> float:
    """The hypervolume by moocore, which minimises; of one objective by its largest."""
    above = Y[(Y > ref).all(dim=-1)]
    if len(above) == 0:
        return 0.0
    if Y.shape[-1] == 1:
        return float(above.max() - ref[0])
    return float(moocore.hypervolume(-above.numpy(), ref=-ref.numpy()))


def points(kind: str, n: int, m: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points and a reference point below, among or above them."""
    generator = torch.Generator().manual_seed(seed)
    Y = torch.rand(n, m, dtype=torch.double, generator=generator)
    ref = torch.zeros(m, dtype=torch.double)
    if kind == "front":
        Y = Y / Y.norm(dim=-1, keepdim=True)
    elif kind == "ties":
        Y = (3 * Y).round()
    elif kind == "copies":
        Y = Y.repeat(3, 1)
    elif kind == "on the reference point":
        Y[::2, 0] = 0.0
        Y[1::3] = 0.0
    elif kind == "beyond the reference point":
        ref = ref + 0.5
    elif kind == "all below":
        ref = ref + 2.0
    elif kind == "constant":
        Y[:, -1] = 0.25
    elif kind == "shifted":
        Y, ref = 1e3 * (Y - 7.0), ref - 7e3
    return Y, ref


KINDS = [
    "random",
    "front",
    "ties",
    "copies",
    "on the reference point",
    "beyond the reference point",
    "all below",
    "constant",
    "shifted",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_hypervolumes_are_those_of_moocore(kind: str, m: int, n: int) -> None:
    for seed in range(2):
        Y, ref = points(kind, n, m, seed)
        expected = reference_volume(Y, ref)
        assert hypervolume(Y, ref).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
def test_nothing_has_no_volume(m: int) -> None:
    ref = torch.zeros(m, dtype=torch.double)
    assert hypervolume(torch.zeros(0, m, dtype=torch.double), ref).item() == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_improvements_are_differences_of_hypervolumes(kind: str, m: int) -> None:
    Y, ref = points(kind, 6, m, seed=5)
    new, _ = points("random", 4, m, seed=6)
    new = torch.cat([new * Y.abs().max() + ref, Y[:2], ref[None]])
    cells = improvement_cells(Y[front_mask(Y)], ref)
    before = reference_volume(Y, ref)
    for y, gain in zip(new, hypervolume_improvement(new, cells), strict=True):
        after = reference_volume(torch.cat([Y, y[None]]), ref)
        scale = max(1.0, after)
        assert gain.item() == pytest.approx(after - before, abs=1e-9 * scale)


def sets_of_points(data: Any) -> tuple[Tensor, Tensor]:
    m = data.draw(st.integers(1, 4), label="objectives")
    n = data.draw(st.integers(0, 6), label="points")
    value = st.integers(-2, 4) | st.floats(-2, 4, allow_subnormal=False)
    rows = data.draw(
        st.lists(st.lists(value, min_size=m, max_size=m), min_size=n, max_size=n),
        label="Y",
    )
    Y = torch.tensor(rows, dtype=torch.double).reshape(n, m)
    return Y, torch.zeros(m, dtype=torch.double)


def check_hypervolume(data: Any) -> None:
    Y, ref = sets_of_points(data)
    volume = hypervolume(Y, ref).item()
    assert volume == pytest.approx(reference_volume(Y, ref), rel=1e-9, abs=1e-9)
    turned = Y.flip(0)  # neither order nor copies matter
    assert hypervolume(torch.cat([turned, Y]), ref).item() == pytest.approx(volume)


def check_gains(data: Any) -> None:
    """Gains are no more than the region, no less than nothing, and never NaN."""
    mean, ref = sets_of_points(data)
    if len(mean) == 0:
        return
    widths = data.draw(
        st.lists(
            st.sampled_from([0.0, 1e-300, 1e-12, 0.5, 3.0]),
            min_size=mean.numel(),
            max_size=mean.numel(),
        )
    )
    half = torch.tensor(widths, dtype=torch.double).reshape(mean.shape)
    lower, upper = mean - half, mean + half
    gains = collapse_gains(mean, lower, upper, ref)
    region = reference_volume(upper, ref) - reference_volume(lower, ref)
    assert (gains >= 0).all()
    assert gains.max().item() <= region + 1e-9 * max(1.0, region)


PROPERTIES = pytest.mark.parametrize("check", [check_hypervolume, check_gains])


@PROPERTIES
@settings(max_examples=60)
@given(data=st.data())
def test_volumes_and_gains_of_any_points(
    check: Callable[[Any], None], data: Any
) -> None:
    check(data)


@pytest.mark.slow
@PROPERTIES
@settings(max_examples=5000)
@given(data=st.data())
def test_volumes_and_gains_of_thousands_of_sets(
    check: Callable[[Any], None], data: Any
) -> None:
    check(data)


# --- values and gradients --------------------------------------------------------


def gp(X: Tensor, y: Tensor, *, noise: float | None, standardize: bool) -> SingleTaskGP:
    Yvar = None if noise is None else torch.full_like(y, noise)
    transform = Standardize(1) if standardize else None
    with validate_input_scaling(False):
        return SingleTaskGP(X, y, Yvar, outcome_transform=transform)


def scene(kind: str, dtype: torch.dtype) -> tuple[Any, Tensor, Tensor]:
    """A model at the limits of numbers, a reference point and designs."""
    generator = torch.Generator().manual_seed(3)
    X = torch.rand(7, 2, dtype=torch.double, generator=generator).to(dtype)
    noise: float | None = 1e-4
    scale = {"huge": 1e12, "tiny": 1e-12}.get(kind, 1.0)
    if kind == "copies":
        X = X[:2].repeat(5, 1)
        noise = 1e-8
    elif kind == "neighbours":
        X = X[:1] + 1e-9 * torch.arange(7, dtype=dtype).unsqueeze(-1)
    elif kind == "hardly any noise":
        noise = 1e-10
    elif kind == "much noise":
        noise = 1e6
    elif kind == "one point":
        X = X[:1]
    Y = scale * torch.stack([X.sum(dim=-1), -X.prod(dim=-1)], dim=-1)
    if kind == "constant":
        Y[:, 0] = 3.0
    models = [gp(X, Y[:, i : i + 1], noise=noise, standardize=False) for i in range(2)]
    ref = Y.amin(dim=0) - 0.1 * scale
    if kind == "nothing reaches the reference point":
        ref = ref + 100.0
    elif kind == "far away":
        ref = ref - 1e6
    designs = torch.cat([X[:2], torch.rand(9, 2, generator=generator).to(dtype)])
    return ModelListGP(*models).eval(), ref, torch.unique(designs, dim=0)


SCENES = [
    "plain",
    "copies",
    "neighbours",
    "hardly any noise",
    "much noise",
    "one point",
    "huge",
    "tiny",
    "constant",
    "nothing reaches the reference point",
    "far away",
]


@pytest.mark.filterwarnings("ignore::botorch.exceptions.warnings.BotorchWarning")
@pytest.mark.filterwarnings("ignore::linear_operator.utils.warnings.NumericalWarning")
@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_values_and_gradients_are_finite(
    acquisition: str, dtype: torch.dtype, kind: str
) -> None:
    model, ref, designs = scene(kind, dtype)
    acqf = ACQUISITIONS[acquisition](model, ref, designs)
    near = designs[:3] + 1e-7  # next to data, where variances vanish
    X = torch.cat([designs, near, designs.new_tensor([[0.0, 0.0], [1.0, 1.0]])])
    masks = torch.tensor([[True, False], [False, True], [True, True]])
    for mask in masks:
        acqf.X_evaluation_mask = mask.unsqueeze(0)
        candidates = X.unsqueeze(-2).clone().requires_grad_()
        values = acqf(candidates)
        (gradient,) = torch.autograd.grad(values.sum(), candidates)
        assert values.isfinite().all()
        assert gradient.isfinite().all()
        assert values.dtype == dtype
    acqf.set_X_pending(X[:2], torch.tensor([[True, False], [True, True]]))
    assert acqf(X.unsqueeze(-2)).isfinite().all()


def test_a_model_that_is_certain_gives_values_and_gradients_of_zero() -> None:
    """The square root of a variance of zero has no slope."""
    first = GenericDeterministicModel(lambda x: x[..., :1])
    second = GenericDeterministicModel(lambda x: x[..., 1:] - 1)
    generator = torch.Generator().manual_seed(0)
    designs = torch.rand(6, 2, dtype=torch.double, generator=generator)
    acqf = FlexiBO(ModelList(first, second), designs.new_tensor([-1.0, -2.0]), designs)
    X = torch.cat([designs, designs + 0.1]).unsqueeze(-2).requires_grad_()
    values = acqf(X)
    (gradient,) = torch.autograd.grad(values.sum(), X)
    assert acqf.volume.item() == 0.0
    assert values.tolist() == [0.0] * 12
    assert gradient.isfinite().all()


@pytest.mark.parametrize("factor", [1e-100, 1e-20, 1e20, 1e100])
def test_the_unit_of_an_outcome_changes_values_by_a_factor(factor: float) -> None:
    """Boxes and reference point in another unit: the same choice."""
    generator = np.random.default_rng(0)
    mean = torch.from_numpy(generator.random((8, 2)))
    half = torch.from_numpy(generator.random((8, 2)))
    ref = torch.zeros(2, dtype=torch.double)
    unit = torch.tensor([factor, 1.0], dtype=torch.double)
    plain = collapse_gains(mean, mean - half, mean + half, ref)
    scaled = collapse_gains(
        mean * unit, (mean - half) * unit, (mean + half) * unit, ref
    )
    assert torch.allclose(scaled / factor, plain, rtol=1e-9, atol=1e-12)
    assert math.isfinite(scaled.sum().item())
