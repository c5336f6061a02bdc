r"""FlexiBO against brute force on the boxes of real models.

`FlexiBO` is compared with hypervolumes from moocore (which minimises, hence the signs),
recomputed for every pair from boxes that are taken from the models' own posteriors.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable

import moocore
import numpy as np
import pytest
import torch
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.multi_objective.objective import (
    GenericMCMultiOutputObjective,
    IdentityMCMultiOutputObjective,
    WeightedMCMultiOutputObjective,
)
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.ensemble import EnsembleModel
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.model import Model, ModelList
from botorch.posteriors.fully_bayesian import MCMC_DIM, GaussianMixturePosterior
from botorch.utils.testing import MockModel, MockPosterior
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor

from botorch_flexibo.acquisition import DecoupledCostUtility, FlexiBO
from botorch_flexibo.optim import optimize_acqf_decoupled
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    collapse,
    collapse_gains,
    confidence_region,
    intersect_regions,
    pal_beta,
    region_volume,
)

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)
CLOSE = {"rtol": 1e-7, "atol": 1e-10}


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def outcomes(X: Tensor, m: int) -> Tensor:
    columns = [(3 * X[..., 0] + 2 * k).sin() + X[..., 1] * (k - 1) for k in range(m)]
    return torch.stack(columns, dim=-1)


def gp_list(
    m: int = 2, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> ModelListGP:
    """GPs of decoupled data: every outcome has been measured at its own designs."""
    models = []
    for k in range(m):
        X = rand(5 + k, 2, seed=10 + k, dtype=dtype).to(device)
        Y = outcomes(X, m)[:, k : k + 1]
        with warnings.catch_warnings():
            # BoTorch advises float64.
            warnings.simplefilter("ignore", InputDataWarning)
            models.append(SingleTaskGP(X, Y))
    return ModelListGP(*models)


def reference(m: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.full((m,), -2.5, dtype=dtype)


def boxes_of(model: ModelList, X: Tensor, beta: float = 1.0) -> ConfidenceRegion:
    """Boxes from the posterior of each model at each design alone."""
    columns = []
    for submodel in model.models:
        rows = []
        for x in X:
            posterior = submodel.posterior(x.unsqueeze(0))
            if isinstance(posterior, GaussianMixturePosterior):
                moments = posterior.mixture_mean, posterior.mixture_variance
            else:
                moments = posterior.mean, posterior.variance
            rows.append(torch.stack([moment.detach().flatten() for moment in moments]))
        columns.append(torch.stack(rows, dim=1))  # 2 x n x outputs
    mean, variance = torch.cat(columns, dim=-1)
    half_width = math.sqrt(beta) * variance.sqrt()
    return ConfidenceRegion(mean, mean - half_width, mean + half_width)


def moocore_region_volume(region: ConfidenceRegion, ref: Tensor) -> float:
    upper, lower = (
        moocore.hypervolume(-side.numpy(), ref=-ref.numpy())
        for side in (region.upper, region.lower)
    )
    return upper - lower


def brute_force_gain(
    region: ConfidenceRegion, ref: Tensor, design: int, mask: list[bool]
) -> float:
    """Volume of the set minus the volume after the collapse of one design."""
    moved = torch.zeros_like(region.mean, dtype=torch.bool)
    moved[design] = torch.tensor(mask)
    after = collapse(region, moved)
    return moocore_region_volume(region, ref) - moocore_region_volume(after, ref)


def joined(region: ConfidenceRegion, other: ConfidenceRegion) -> ConfidenceRegion:
    return ConfidenceRegion(*map(torch.cat, zip(region, other, strict=True)))


def value(acqf: FlexiBO, X: Tensor, mask: list[bool] | None = None) -> Tensor:
    """Values of the designs, one mask for all, without gradients."""
    acqf.X_evaluation_mask = None if mask is None else torch.tensor([mask])
    with torch.no_grad():
        return acqf(X.unsqueeze(-2))


def single_values(acqf: FlexiBO, X: Tensor) -> Tensor:
    """Values of all (design, outcome) pairs, `n x m`."""
    eye = torch.eye(acqf.num_outputs, dtype=torch.bool).tolist()
    return torch.stack([value(acqf, X, mask) for mask in eye], dim=-1)


def masks_of(m: int) -> list[list[bool]]:
    return [list(mask) for mask in itertools.product([False, True], repeat=m)]


DESIGNS = rand(12, 2, seed=1)
STRANGERS = rand(7, 2, seed=2)


def flexibo(m: int = 2, X_designs: Tensor = DESIGNS, **kwargs) -> FlexiBO:
    return FlexiBO(gp_list(m), reference(m), X_designs, **kwargs)


# Values of designs of the set ------------------------------------------------------


@dtypes
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
def test_values_equal_the_collapse_gains_of_the_boxes(beta, m, device, dtype):
    acqf = FlexiBO(
        gp_list(m, dtype, device),
        reference(m, dtype).to(device),
        DESIGNS.to(device, dtype),
        beta=beta,
    )
    gains = single_values(acqf, DESIGNS.to(device, dtype)).cpu()
    assert gains.dtype == dtype
    region = boxes_of(gp_list(m), DESIGNS, beta)
    expected = collapse_gains(*region, reference(m))
    assert (expected > 0).any()
    close = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else CLOSE
    torch.testing.assert_close(gains.double(), expected, **close)
    for side, other in zip(acqf.design_region, region, strict=True):
        torch.testing.assert_close(side.cpu().double(), other, **close)
    assert acqf.volume.item() == pytest.approx(
        region_volume(region.lower, region.upper, reference(m)).item(),
        rel=close["rtol"],
    )


@pytest.mark.parametrize("m", [2, 3])
def test_every_mask_gains_the_volume_that_brute_force_removes(m):
    acqf = flexibo(m)
    region = boxes_of(gp_list(m), DESIGNS)
    for mask in masks_of(m):
        expected = [
            brute_force_gain(region, reference(m), u, mask) for u in range(len(DESIGNS))
        ]
        assert value(acqf, DESIGNS, mask).tolist() == pytest.approx(expected, abs=1e-8)
    # No mask means all outcomes.
    assert torch.equal(value(acqf, DESIGNS), value(acqf, DESIGNS, [True] * m))


def test_a_mask_given_at_construction_is_used():
    mask = torch.tensor([[False, True]])
    acqf = flexibo(X_evaluation_mask=mask)
    expected = value(flexibo(), DESIGNS, [False, True])
    assert torch.equal(acqf(DESIGNS.unsqueeze(-2)), expected)


def test_measuring_nothing_gains_nothing():
    X = torch.cat([DESIGNS, STRANGERS])
    assert (value(flexibo(), X, [False, False]) == 0).all()


# Values of designs outside the set -------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
def test_designs_outside_count_as_if_they_joined_the_set(m):
    acqf = flexibo(m)
    inside, outside = (boxes_of(gp_list(m), X) for X in (DESIGNS, STRANGERS))
    for mask in masks_of(m):
        expected = []
        for u in range(len(STRANGERS)):
            box = ConfidenceRegion(*(side[u : u + 1] for side in outside))
            expected.append(
                brute_force_gain(joined(inside, box), reference(m), -1, mask)
            )
        values = value(acqf, STRANGERS, mask)
        assert values.tolist() == pytest.approx(expected, abs=1e-8)
    assert values.max() > 0.01


@batch_shapes
@pytest.mark.parametrize("mask", [None, [True, False]], ids=str)
def test_a_batch_equals_a_loop(mask, batch_shape):
    acqf = flexibo()
    pool = torch.cat([DESIGNS, STRANGERS])
    count = math.prod(batch_shape)
    # Designs of the set and strangers in turn.
    picked = [len(DESIGNS) + k if k % 2 else k for k in range(count)]
    X = pool[picked].reshape(*batch_shape, 1, 2)
    acqf.X_evaluation_mask = None if mask is None else torch.tensor([mask])
    values = acqf(X)
    # BoTorch takes a single design as a batch of one.
    assert values.shape == torch.Size(batch_shape or [1])
    loop = torch.cat([acqf(x.reshape(1, 1, 2)) for x in X.reshape(-1, 2)])
    torch.testing.assert_close(values.flatten(), loop, **CLOSE)


def test_no_designs_have_no_values():
    assert flexibo()(torch.empty(0, 1, 2, dtype=torch.float64)).shape == (0,)


# Gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [[True, False], [False, True], [True, True]], ids=str)
def test_the_gradient_outside_the_set_is_right(mask):
    acqf = flexibo(X_evaluation_mask=torch.tensor([mask]))
    values = acqf(STRANGERS.unsqueeze(-2))
    X = STRANGERS[values > 1e-3].unsqueeze(-2).requires_grad_()
    assert len(X) >= 2
    assert torch.autograd.gradcheck(acqf, (X,))
    (gradient,) = torch.autograd.grad(acqf(X).sum(), X)
    assert (gradient != 0).any(dim=-1).all()


def test_the_gradient_per_cost_is_right():
    utility = DecoupledCostUtility(FixedCostModel(torch.tensor([3.0, 0.5])))
    acqf = flexibo(cost_aware_utility=utility)
    X = STRANGERS[:3].unsqueeze(-2).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))


def test_the_gradient_is_zero_at_designs_of_the_set():
    acqf = flexibo()
    for X in (DESIGNS, torch.cat([DESIGNS, STRANGERS])):
        X = X.unsqueeze(-2).requires_grad_()  # noqa: PLW2901
        (gradient,) = torch.autograd.grad(acqf(X).sum(), X)
        assert (gradient[: len(DESIGNS)] == 0).all()


# Outcomes known without noise ------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
def test_known_outcomes_gain_nothing_and_their_boxes_are_points(m):
    known = rand(len(DESIGNS), m, seed=3) < 0.4
    Y = torch.where(known, outcomes(DESIGNS, m), math.nan)
    acqf = flexibo(m, Y_designs=Y)
    before = boxes_of(gp_list(m), DESIGNS)
    for side, other in zip(acqf.design_region, before, strict=True):
        assert torch.equal(side[known], Y[known])
        torch.testing.assert_close(side[~known], other[~known], **CLOSE)
    gains = single_values(acqf, DESIGNS)
    assert (gains[known] == 0).all()
    assert (gains[~known] > 0).any()
    expected = collapse_gains(*acqf.design_region, reference(m))
    torch.testing.assert_close(gains, expected, **CLOSE)


def test_no_region_is_left_when_all_outcomes_are_known():
    acqf = flexibo(Y_designs=outcomes(DESIGNS, 2))
    assert acqf.volume.item() == 0
    assert (value(acqf, DESIGNS) == 0).all()
    assert value(acqf, STRANGERS).max() > 0


def test_no_known_outcomes_are_the_same_as_none_given():
    acqf = flexibo(Y_designs=torch.full((len(DESIGNS), 2), math.nan))
    assert torch.equal(value(acqf, DESIGNS), value(flexibo(), DESIGNS))


# Pending pairs ---------------------------------------------------------------------


PENDING = [
    pytest.param([0, 3], [[True, False], [True, True]], id="two"),
    # One design may come several times.
    pytest.param([4, 4, 4], [[True, False], [False, True], [True, False]], id="copies"),
    pytest.param([1], [[False, False]], id="nothing"),
    pytest.param([2, 5], None, id="all-outcomes"),
]


@pytest.mark.parametrize(("rows", "mask"), PENDING)
@pytest.mark.parametrize("pool", [DESIGNS, STRANGERS], ids=["inside", "outside"])
def test_pending_pairs_are_collapsed_and_gain_nothing(pool, rows, mask):
    acqf = flexibo()
    mask = None if mask is None else torch.tensor(mask)
    acqf.set_X_pending(pool[rows], mask)
    # Pending designs that are not in the set join it.
    X, region = DESIGNS, boxes_of(gp_list(), DESIGNS)
    if pool is STRANGERS:
        new = STRANGERS[sorted(set(rows))]
        X = torch.cat([DESIGNS, new])
        region = joined(region, boxes_of(gp_list(), new))
    collapsed = torch.zeros_like(region.mean, dtype=torch.bool)
    for k, row in enumerate(rows):
        position = (X == pool[row]).all(dim=-1)
        collapsed[position] |= True if mask is None else mask[k]
    region = collapse(region, collapsed)
    gains = single_values(acqf, X)
    assert (gains[collapsed] == 0).all()
    torch.testing.assert_close(gains, collapse_gains(*region, reference()), **CLOSE)
    assert acqf.volume.item() == pytest.approx(
        moocore_region_volume(region, reference())
    )
    # Strangers still count as if they joined this set.
    rest = STRANGERS[6:]
    expected = brute_force_gain(
        joined(region, boxes_of(gp_list(), rest)), reference(), -1, [True, True]
    )
    assert value(acqf, rest).item() == pytest.approx(expected, abs=1e-8)
    # The region of the designs itself is that of the model.
    for side, other in zip(acqf.design_region, flexibo().design_region, strict=True):
        assert torch.equal(side, other)


@pytest.mark.parametrize("pool", [DESIGNS, STRANGERS], ids=["inside", "outside"])
@pytest.mark.parametrize("q", [0, 1, 5])
def test_clearing_pending_pairs_restores_the_values_exactly(q, pool):
    acqf = flexibo()
    X = torch.cat([DESIGNS, STRANGERS])
    before, volume = single_values(acqf, X), acqf.volume
    acqf.X_evaluation_mask = None
    acqf.set_X_pending(pool[:q])
    if q == 5:
        assert acqf.volume != volume
        assert not torch.equal(single_values(acqf, X), before)
        acqf.X_evaluation_mask = None
    acqf.set_X_pending(None)
    assert torch.equal(single_values(acqf, X), before)
    assert torch.equal(acqf.volume, volume)


def test_pending_pairs_replace_those_set_before():
    acqf = flexibo()
    acqf.set_X_pending(DESIGNS[:3], torch.tensor([[True, False]] * 3))
    # Without a mask all outcomes are pending.
    acqf.set_X_pending(DESIGNS[3:6])
    fresh = flexibo()
    fresh.set_X_pending(DESIGNS[3:6])
    assert torch.equal(single_values(acqf, DESIGNS), single_values(fresh, DESIGNS))


def test_pending_masks_of_another_shape_are_refused():
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"`X_pending_evaluation_mask` of shape `2 x 2`",
    ):
        flexibo().set_X_pending(DESIGNS[:2], torch.tensor([[True, False]]))


# Objectives ------------------------------------------------------------------------


def test_weights_flip_and_scale_the_outcomes():
    objective = WeightedMCMultiOutputObjective(torch.tensor([-1.0, 2.0]))
    ref = torch.tensor([-2.0, -5.0], dtype=torch.float64)
    acqf = FlexiBO(gp_list(), ref, DESIGNS, objective=objective, beta=1.5)

    def flipped(X: Tensor) -> ConfidenceRegion:
        mean, lower, upper = boxes_of(gp_list(), X, beta=1.5)
        return ConfidenceRegion(
            torch.stack([-mean[:, 0], 2 * mean[:, 1]], dim=-1),
            torch.stack([-upper[:, 0], 2 * lower[:, 1]], dim=-1),
            torch.stack([-lower[:, 0], 2 * upper[:, 1]], dim=-1),
        )

    region = flipped(DESIGNS)
    torch.testing.assert_close(
        single_values(acqf, DESIGNS), collapse_gains(*region, ref), **CLOSE
    )
    expected = brute_force_gain(
        joined(region, flipped(STRANGERS[:1])), ref, -1, [True, False]
    )
    assert expected > 0
    actual = value(acqf, STRANGERS[:1], [True, False])
    assert actual.item() == pytest.approx(expected, abs=1e-8)


def test_known_outcomes_are_weighed_too():
    objective = WeightedMCMultiOutputObjective(torch.tensor([-1.0, 2.0]))
    Y = outcomes(DESIGNS, 2)
    acqf = flexibo(objective=objective, Y_designs=Y)
    expected = torch.stack([-Y[:, 0], 2 * Y[:, 1]], dim=-1)
    for side in acqf.design_region:
        assert torch.equal(side, expected)


@pytest.mark.parametrize(
    "objective",
    [
        IdentityMCMultiOutputObjective(),
        IdentityMCMultiOutputObjective([0, 1]),
        WeightedMCMultiOutputObjective(torch.ones(2)),
    ],
    ids=["identity", "all-outcomes", "unit-weights"],
)
def test_unit_objectives_change_nothing(objective):
    X = torch.cat([DESIGNS, STRANGERS])
    assert torch.equal(value(flexibo(objective=objective), X), value(flexibo(), X))


@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        pytest.param(
            GenericMCMultiOutputObjective(lambda Y, X: Y.exp()),
            UnsupportedError,
            r"maps outcome i to objective i",
            id="nonlinear",
        ),
        pytest.param(
            IdentityMCMultiOutputObjective([0, 2]),
            UnsupportedError,
            r"over all 3 outcomes in their order, but got outcomes=\[0, 2\]",
            id="subset",
        ),
        pytest.param(
            WeightedMCMultiOutputObjective(torch.tensor([1.0, 0.0, -1.0])),
            InputDataError,
            r"finite, non-zero weights, but got \[1\.0, 0\.0, -1\.0\]",
            id="zero-weight",
        ),
        pytest.param(
            WeightedMCMultiOutputObjective(torch.ones(2)),
            InputDataError,
            r"Expected 3 weights, one per outcome",
            id="too-few-weights",
        ),
    ],
)
def test_objectives_that_are_not_separable_are_refused(objective, error, message):
    with pytest.raises(error, match=message):
        flexibo(3, objective=objective)


# Confidence ------------------------------------------------------------------------


def test_no_confidence_width_leaves_nothing_to_gain():
    acqf = flexibo(beta=0.0)
    assert acqf.volume.item() == 0
    assert (value(acqf, torch.cat([DESIGNS, STRANGERS])) == 0).all()


@pytest.mark.parametrize("shape", [[], [1]], ids=["scalar", "one-element"])
def test_a_scheduled_beta_may_be_a_tensor(shape):
    beta = pal_beta(7, num_designs=len(DESIGNS), num_outcomes=2)
    acqf = flexibo(beta=torch.full(shape, beta))  # float32, converted
    X = torch.cat([DESIGNS, STRANGERS])
    torch.testing.assert_close(
        value(acqf, X), value(flexibo(beta=beta), X), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf, [1.0, 2.0]], ids=str)
def test_a_bad_beta_is_refused(beta):
    beta = torch.tensor(beta) if isinstance(beta, list) else beta
    with pytest.raises(
        InputDataError, match=r"Expected beta to be one finite number >= 0, but got"
    ):
        flexibo(beta=beta)


def test_a_previous_region_is_intersected_with():
    previous = confidence_region(
        outcomes(DESIGNS, 2), rand(len(DESIGNS), 2, seed=5).square(), 0.5
    )
    acqf = flexibo(previous_region=previous)
    region = intersect_regions(boxes_of(gp_list(), DESIGNS), previous)
    assert (region.lower > boxes_of(gp_list(), DESIGNS).lower).any()
    torch.testing.assert_close(
        single_values(acqf, DESIGNS), collapse_gains(*region, reference()), **CLOSE
    )
    for side, other in zip(acqf.design_region, region, strict=True):
        torch.testing.assert_close(side, other, **CLOSE)
    # What an iteration leaves behind is what the next one takes.
    again = flexibo(previous_region=acqf.design_region)
    assert torch.equal(value(again, DESIGNS), value(acqf, DESIGNS))


def test_a_previous_region_of_other_designs_is_refused():
    previous = flexibo(X_designs=STRANGERS).design_region
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"regions of the same designs, but got shapes",
    ):
        flexibo(previous_region=previous)


# Costs -----------------------------------------------------------------------------


@pytest.mark.parametrize("utility", [DecoupledCostUtility, InverseCostWeightedUtility])
def test_values_are_gains_per_cost(utility):
    costs = torch.tensor([8.0, 0.5], dtype=torch.float64)
    acqf = flexibo(cost_aware_utility=utility(FixedCostModel(costs)))
    X = torch.cat([DESIGNS, STRANGERS])
    for mask in ([True, False], [False, True], [True, True]):
        expected = value(flexibo(), X, mask) / (costs * torch.tensor(mask)).sum()
        torch.testing.assert_close(value(acqf, X, mask), expected)


# Worked examples -------------------------------------------------------------------


class TwoMembers(EnsembleModel):
    """The ensemble of two tables of values, looked up by the number of the design.

    Its mean is their middle and its variance half their squared distance, so that
    with beta = 1/2 the boxes reach from one table to the other.
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self._num_outputs = 1
        self.tables = torch.stack([first, second])  # s x n

    def forward(self, X: Tensor) -> Tensor:
        values = self.tables[:, X[..., 0].long()]  # s x batch_shape x n
        return values.movedim(0, -2).unsqueeze(-1)


R1_LOWER = [(0, 1), (1, 5), (2, 3), (4, 2), (8, 1), (10, 1), (8, 4)]
R1_UPPER = [(4, 1), (3, 7), (5, 4), (9, 2), (8, 3), (12, 2), (10, 6)]
R1_GAINS = [(0, 0), (2, 4), (0, 0), (0, 0), (0, 0), (3, 2), (7, 14)]
R2_LOWER = [(0.5, 9), (1.5, 7), (0.5, 5), (4, 4), (6, 2.5), (2.5, 2.5), (4.5, 1.5)]
R2_MEAN = [(1, 10), (2.5, 8), (1, 6), (4.5, 5), (6.5, 3), (3, 3), (5, 2)]
R2_UPPER = [(2, 11), (3, 9), (1.5, 7), (5, 6), (7.5, 4), (3.5, 3.5), (5.5, 3)]
R2_GAINS = [(3, 2.5), (4.5, 2), (0, 0), (1.75, 4.5), (5.25, 3.5), (0, 0), (0, 0)]


def worked_example(name: str, costs: tuple[float, float] | None = None) -> FlexiBO:
    utility = None
    if costs is not None:
        model = FixedCostModel(torch.tensor(costs, dtype=torch.float64))
        utility = DecoupledCostUtility(model)
    previous = None
    if name == "R1":
        lower, upper = (torch.tensor(side).double() for side in (R1_LOWER, R1_UPPER))
    else:
        # Not symmetric about the mean: wider boxes, cut to size by an earlier region.
        sides = (torch.tensor(s).double() for s in (R2_MEAN, R2_LOWER, R2_UPPER))
        previous = ConfidenceRegion(*sides)
        lower, upper = previous.mean - 5, previous.mean + 5
    return FlexiBO(
        ModelList(*[TwoMembers(lower[:, i], upper[:, i]) for i in range(2)]),
        ref_point=torch.zeros(2),
        X_designs=torch.arange(7, dtype=torch.float64).unsqueeze(-1),
        beta=0.5,
        cost_aware_utility=utility,
        previous_region=previous,
    )


@pytest.mark.parametrize(
    ("name", "volume", "gains"), [("R1", 32.0, R1_GAINS), ("R2", 26.5, R2_GAINS)]
)
def test_worked_examples_give_the_golden_numbers(name, volume, gains):
    acqf = worked_example(name)
    assert acqf.volume.item() == pytest.approx(volume)
    expected = torch.tensor(gains, dtype=torch.float64)
    torch.testing.assert_close(
        single_values(acqf, acqf.X_designs), expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(
    ("name", "costs", "choice"),
    [
        ("R1", (1.0, 1.0), (6, 1)),
        ("R1", (10.0, 1.0), (6, 1)),
        ("R2", (1.0, 1.0), (4, 0)),
        ("R2", (10.0, 1.0), (3, 1)),
    ],
)
def test_worked_examples_give_the_golden_choice(name, costs, choice):
    acqf = worked_example(name, costs)
    bounds = torch.tensor([[0.0], [6.0]]).to(acqf.X_designs)
    request = optimize_acqf_decoupled(acqf, bounds, choices=acqf.X_designs)
    design, outcome = int(request.X), int(request.evaluation_mask.long().argmax())
    assert (design, outcome) == choice


def test_one_design_has_a_closed_form():
    # One box [1, 3] x [2, 6] over the origin: V = 3 * 6 - 1 * 2.
    models = [
        MockModel(
            MockPosterior(
                mean=torch.full((1, 1, 1), mean, dtype=torch.float64),
                variance=torch.full((1, 1, 1), sd**2, dtype=torch.float64),
            )
        )
        for mean, sd in ((2.0, 1.0), (4.0, 2.0))
    ]
    X = torch.zeros(1, 1, dtype=torch.float64)
    acqf = FlexiBO(ModelList(*models), torch.zeros(2), X)
    assert acqf.volume.item() == 16
    # After outcome 1: [2, 2] x [2, 6]; after outcome 2: [1, 3] x [4, 4].
    assert single_values(acqf, X).tolist() == [[16 - 8, 16 - 8]]
    assert value(acqf, X).item() == 16
    acqf.X_evaluation_mask = None
    acqf.set_X_pending(X, torch.tensor([[True, False]]))
    assert acqf.volume.item() == 8
    assert single_values(acqf, X).tolist() == [[0, 8]]


# Models ----------------------------------------------------------------------------


class ForestModel(EnsembleModel):
    """Every tree of a random forest is a member."""

    def __init__(self, X: Tensor, y: Tensor) -> None:
        super().__init__()
        self._num_outputs = 1
        forest = RandomForestRegressor(n_estimators=16, random_state=0)
        self.trees = forest.fit(X.numpy(), y.squeeze(-1).numpy()).estimators_

    def forward(self, X: Tensor) -> Tensor:
        flat = X.detach().reshape(-1, X.shape[-1]).numpy()
        values = np.stack([tree.predict(flat) for tree in self.trees])
        values = torch.from_numpy(values).to(X)
        return values.reshape(-1, *X.shape[:-1], 1).movedim(0, -3)


class MixtureGP(Model):
    """A GP averaged over hyper-parameters, as BoTorch's fully Bayesian models are.

    Those need NumPyro to be built, this one does not.
    """

    num_outputs = 1

    def __init__(self, X: Tensor, y: Tensor) -> None:
        super().__init__()
        self.gp = SingleTaskGP(X.expand(3, *X.shape), y.expand(3, *y.shape))
        self.gp.covar_module.lengthscale = 0.3 + rand(3, 1, 2, seed=0)

    def posterior(self, X: Tensor, *args, **kwargs) -> GaussianMixturePosterior:
        posterior = self.gp.posterior(X.unsqueeze(MCMC_DIM), *args, **kwargs)
        return GaussianMixturePosterior(posterior.distribution)


def mixed_gp(X: Tensor, y: Tensor) -> MixedSingleTaskGP:
    return MixedSingleTaskGP(X, y, cat_dims=[1])


def saas_gp(X: Tensor, y: Tensor) -> SaasFullyBayesianSingleTaskGP:
    """Two samples of the hyperparameters: which ones does not matter here."""
    model = SaasFullyBayesianSingleTaskGP(X, (y - y.mean()) / y.std())
    model.load_mcmc_samples(
        {
            "lengthscale": torch.tensor([[0.3, 0.9], [0.7, 0.5]]).double(),
            "outputscale": torch.tensor([1.1, 0.8]).double(),
            "noise": torch.tensor([1e-3, 1e-2]).double(),
            "mean": torch.tensor([0.1, -0.2]).double(),
        }
    )
    return model.eval()


@pytest.mark.parametrize(
    "make", [SingleTaskGP, mixed_gp, ForestModel, MixtureGP, saas_gp]
)
def test_values_of_any_model_are_the_gains_of_its_boxes(
    make: Callable[[Tensor, Tensor], Model],
):
    def rounded(X: Tensor) -> Tensor:
        # The second input is a category of three.
        return torch.stack([X[:, 0], (2 * X[:, 1]).round() / 2], dim=-1)

    X, designs, strangers = (
        rounded(x) for x in (rand(9, 2, seed=4), DESIGNS, STRANGERS)
    )
    Y = outcomes(X, 2)
    model = ModelList(*[make(X, Y[:, i : i + 1]) for i in range(2)])
    ref = Y.amin(dim=0) - 2
    acqf = FlexiBO(model, ref, designs)
    region = boxes_of(model, designs)
    expected = collapse_gains(*region, ref)
    assert (expected > 0).any()
    torch.testing.assert_close(
        single_values(acqf, designs), expected, rtol=1e-5, atol=1e-8
    )
    expected = [
        brute_force_gain(
            joined(region, boxes_of(model, strangers[u : u + 1])), ref, -1, [True, True]
        )
        for u in range(len(strangers))
    ]
    assert value(acqf, strangers).tolist() == pytest.approx(expected, abs=1e-7)
    acqf.set_X_pending(strangers[:2])
    assert value(acqf, strangers[:2]).tolist() == [0, 0]


def test_fifteen_thousand_designs_take_few_posterior_calls():
    class CountingGP(SingleTaskGP):
        calls = 0

        def posterior(self, X, *args, **kwargs):
            self.calls += 1
            return super().posterior(X, *args, **kwargs)

    levels = torch.linspace(0, 1, 5, dtype=torch.float64)
    designs = torch.cartesian_prod(*[levels] * 6)
    assert len(designs) == 15_625
    X = rand(10, 6, seed=6)
    models = [CountingGP(X, outcomes(X, 2)[:, i : i + 1]) for i in range(2)]
    acqf = FlexiBO(ModelListGP(*models), reference(), designs, beta=0.2)
    calls = [model.calls for model in models]
    # The designs of the set are predicted once, in chunks of hundreds at least.
    assert max(calls) <= 15_625 / 500
    assert value(acqf, designs).shape == (15_625,)
    assert [model.calls for model in models] == calls
    # Strangers are predicted when they are scored.
    assert value(acqf, designs * 0.9 + 0.03).shape == (15_625,)
    assert [model.calls for model in models] == [2 * count for count in calls]


# Errors ----------------------------------------------------------------------------


def test_models_that_are_no_list_are_refused():
    X = rand(5, 2, seed=0)
    with pytest.raises(ValueError, match=r"FlexiBO requires using a ModelList"):
        FlexiBO(SingleTaskGP(X, outcomes(X, 2)), reference(), DESIGNS)


@pytest.mark.parametrize("shape", [(2,), (0, 2), (1, 3, 2)], ids=str)
def test_designs_that_are_not_a_matrix_are_refused(shape):
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"X_designs to be `n x d` with n >= 1, but got shape `",
    ):
        flexibo(X_designs=torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_designs_that_are_not_finite_are_refused(number):
    X = DESIGNS.clone()
    X[3, 1] = number
    with pytest.raises(
        InputDataError, match=r"finite X_designs, but got NaN or infinity"
    ):
        flexibo(X_designs=X)


def test_repeated_designs_are_refused():
    X = DESIGNS[[0, 1, 0, 2, 1, 0]]
    with pytest.raises(
        InputDataError, match=r"unique rows in X_designs, but got 3 duplicates\. Pass"
    ):
        flexibo(X_designs=X)


def test_designs_that_differ_in_signs_only_are_different():
    levels = torch.tensor([-9.0, -2.0, 2.0, 9.0], dtype=torch.float64)
    X = torch.cartesian_prod(levels, levels)
    assert flexibo(X_designs=X).design_region.mean.shape == (16, 2)


def test_known_outcomes_of_another_shape_are_refused():
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"Y_designs to be 12 x 2, but got shape `12 x 3`",
    ):
        flexibo(Y_designs=torch.zeros(12, 3))


def test_known_outcomes_that_are_infinite_are_refused():
    Y = torch.full((12, 2), math.nan)
    Y[0, 0] = -math.inf
    with pytest.raises(
        InputDataError, match=r"finite values or NaN \(not measured\), but got infinity"
    ):
        flexibo(Y_designs=Y)


@pytest.mark.parametrize("length", [1, 3])
def test_a_reference_point_of_another_length_is_refused(length):
    with pytest.raises(
        BotorchTensorDimensionError, match=r"Expected ref_point to have 2 elements"
    ):
        FlexiBO(gp_list(), torch.zeros(length), DESIGNS)


def test_a_reference_point_that_is_not_finite_is_refused():
    with pytest.raises(
        InputDataError, match=r"finite ref_point, but got \[0\.0, nan\]"
    ):
        FlexiBO(gp_list(), torch.tensor([0.0, math.nan]), DESIGNS)


def test_a_mask_for_several_points_is_refused():
    acqf = flexibo(X_evaluation_mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"X_evaluation_mask of shape `1 x 2` for X of .* got `2 x 2`.*one by one",
    ):
        acqf(DESIGNS[:1].unsqueeze(0))


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 1, 2)], ids=str)
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(
        BotorchTensorDimensionError, match=r"X_evaluation_mask to be `q x m`, but got"
    ):
        flexibo(X_evaluation_mask=torch.ones(shape, dtype=torch.bool))


def test_several_points_at_once_are_refused():
    with pytest.raises(AssertionError, match=r"`batch_shape x q=1 x d`"):
        flexibo()(DESIGNS[:2].unsqueeze(0))


def test_moved_to_another_dtype_and_back_the_values_are_the_same():
    acqf = flexibo()
    acqf.set_X_pending(DESIGNS[:1], torch.tensor([[True, False]]))
    X = torch.cat([DESIGNS, STRANGERS])
    expected = value(acqf, X, [False, True])
    single = value(acqf.float(), X.float(), [False, True])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-4)
    acqf = acqf.double()  # its designs are rounded: others would be strangers
    X = torch.cat([acqf.X_designs, STRANGERS])
    torch.testing.assert_close(
        value(acqf, X, [False, True]), expected, rtol=1e-3, atol=1e-4
    )
