r"""Geometry of the Pareto region against counting, moocore and brute force.

Two oracles share no code with the package. With integer coordinates a volume is the
number of unit cells below some point, so results can be compared exactly. With real
coordinates moocore (which minimises, hence the signs) computes hypervolumes.
"""

from __future__ import annotations

import itertools
import math

import moocore
import numpy as np
import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from botorch_flexibo.utils.fronts import (
    front_mask,
    hypervolume,
    hypervolume_improvement,
    improvement_cells,
    second_order_front,
)
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    collapse,
    collapse_gain,
    collapse_gains,
    confidence_region,
    intersect_regions,
    pal_beta,
    region_volume,
    undominated,
)

PROPERTY = settings(deadline=None, max_examples=120)
DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)

# Worked examples: lower, mean and upper corner of every design.
R1 = [
    [(0, 1), (2, 1), (4, 1)],
    [(1, 5), (2, 6), (3, 7)],
    [(2, 3), (3.5, 3.5), (5, 4)],
    [(4, 2), (6.5, 2), (9, 2)],
    [(8, 1), (8, 2), (8, 3)],
    [(10, 1), (11, 1.5), (12, 2)],
    [(8, 4), (9, 5), (10, 6)],
]
R1_GAINS = [(0, 0), (2, 4), (0, 0), (0, 0), (0, 0), (3, 2), (7, 14)]
R2 = [
    [(0.5, 9), (1, 10), (2, 11)],
    [(1.5, 7), (2.5, 8), (3, 9)],
    [(0.5, 5), (1, 6), (1.5, 7)],
    [(4, 4), (4.5, 5), (5, 6)],
    [(6, 2.5), (6.5, 3), (7.5, 4)],
    [(2.5, 2.5), (3, 3), (3.5, 3.5)],
    [(4.5, 1.5), (5, 2), (5.5, 3)],
]
R2_GAINS = [(3, 2.5), (4.5, 2), (0, 0), (1.75, 4.5), (5.25, 3.5), (0, 0), (0, 0)]


def golden(boxes: list, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Mean, lower and upper corners of a worked example, and its reference point."""
    lower, mean, upper = torch.tensor(boxes, dtype=dtype).unbind(dim=1)
    return mean, lower, upper, torch.zeros(2, dtype=dtype)


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def grid_points(*shape: int, seed: int, top: int = 4) -> Tensor:
    """Points on a small integer grid: many ties and duplicates."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, top + 1, shape, generator=generator).double()


def random_boxes(n: int, m: int, seed: int, *, integer: bool = False) -> Tensor:
    """Lower, mean and upper corners, `3 x n x m`."""
    draw = grid_points if integer else rand
    return draw(3, n, m, seed=seed).sort(dim=0).values


def moocore_volume(Y: Tensor, ref_point: Tensor) -> float:
    if len(Y) == 0:
        return 0.0
    return moocore.hypervolume(-Y.double().cpu().numpy(), ref=-ref_point.numpy())


def moocore_gains(mean: Tensor, lower: Tensor, upper: Tensor, ref: Tensor) -> Tensor:
    """Recompute both hypervolumes for every pair."""
    volume = moocore_volume(upper, ref) - moocore_volume(lower, ref)
    gains = torch.zeros_like(mean)
    for u, i in np.ndindex(*mean.shape):
        moved_lower, moved_upper = lower.clone(), upper.clone()
        moved_lower[u, i] = moved_upper[u, i] = mean[u, i]
        after = moocore_volume(moved_upper, ref) - moocore_volume(moved_lower, ref)
        gains[u, i] = volume - after
    return gains


def count_cells(Y: np.ndarray, ref: int, top: int) -> int:
    """Hypervolume of integer points: unit cells that some point dominates."""
    cells = np.array(list(itertools.product(range(ref, top), repeat=Y.shape[-1])))
    return int((Y[:, None] >= cells + 1).all(axis=-1).any(axis=0).sum())


def counted_region_volume(lower: np.ndarray, upper: np.ndarray) -> int:
    top = max(1, int(upper.max(initial=1)))
    return count_cells(upper, 0, top) - count_cells(lower, 0, top)


def counted_gains(mean: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    gains = np.zeros(mean.shape, dtype=int)
    for u, i in np.ndindex(*mean.shape):
        moved_lower, moved_upper = lower.copy(), upper.copy()
        moved_lower[u, i] = moved_upper[u, i] = mean[u, i]
        gains[u, i] = counted_region_volume(lower, upper) - counted_region_volume(
            moved_lower, moved_upper
        )
    return gains


@st.composite
def integer_points(draw, outcomes=(2, 3, 4), max_points: int = 7) -> np.ndarray:
    m = draw(st.sampled_from(outcomes))
    n = draw(st.integers(1, max_points))
    return draw(arrays(np.int64, (n, m), elements=st.integers(-1, 4)))


@st.composite
def integer_boxes(draw, outcomes=(2, 3, 4), max_designs: int = 6) -> np.ndarray:
    """Sorted integer corners `3 x n x m`, also below the reference point and tied."""
    m = draw(st.sampled_from(outcomes))
    n = draw(st.integers(1, max_designs))
    corners = draw(arrays(np.int64, (3, n, m), elements=st.integers(-1, 3)))
    return np.sort(corners, axis=0)


def as_tensors(boxes: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, lower and upper corners and the reference point at zero."""
    lower, mean, upper = torch.from_numpy(boxes).double()
    return mean, lower, upper, torch.zeros(boxes.shape[-1], dtype=torch.float64)


# Golden numbers --------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize(
    ("boxes", "kept", "volumes", "gains"),
    [
        pytest.param(R1, [1, 3, 5, 6], (67.0, 35.0), R1_GAINS, id="R1"),
        pytest.param(R2, [0, 1, 3, 4, 6], (53.0, 26.5), R2_GAINS, id="R2"),
    ],
)
def test_worked_examples_give_the_golden_numbers(boxes, kept, volumes, gains, dtype):
    mean, lower, upper, ref = golden(boxes, dtype)
    assert undominated(lower, upper).nonzero().flatten().tolist() == kept
    assert (hypervolume(upper, ref).item(), hypervolume(lower, ref).item()) == volumes
    assert region_volume(lower, upper, ref).item() == volumes[0] - volumes[1]
    expected = torch.tensor(gains, dtype=dtype)
    assert torch.equal(collapse_gains(mean, lower, upper, ref), expected)


@pytest.mark.parametrize(
    ("boxes", "costs", "choice"),
    [
        pytest.param(R1, (1.0, 1.0), (6, 1), id="R1-equal-costs"),
        pytest.param(R1, (10.0, 1.0), (6, 1), id="R1-costs-10-to-1"),
        pytest.param(R2, (1.0, 1.0), (4, 0), id="R2-equal-costs"),
        pytest.param(R2, (10.0, 1.0), (3, 1), id="R2-costs-10-to-1"),
    ],
)
def test_worked_examples_give_the_golden_choice(boxes, costs, choice):
    gains = collapse_gains(*golden(boxes)) / torch.tensor(costs, dtype=torch.float64)
    assert divmod(int(gains.argmax()), 2) == choice


# Hypervolume -----------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_hypervolume_of_random_points_equals_moocore(m, dtype, device):
    ref = torch.full((m,), 0.2)  # some points are below it in some outcome
    for seed, n in enumerate([1, 2, 5, 20]):
        Y = rand(n, m, seed=seed, dtype=dtype)
        volume = hypervolume(Y.to(device), ref.to(device, dtype))
        assert volume.dtype == dtype
        assert volume.device.type == device
        rtol = 1e-5 if dtype == torch.float32 else 1e-11
        expected = moocore_volume(Y, ref.to(dtype).double())
        assert volume.item() == pytest.approx(expected, rel=rtol, abs=rtol)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_hypervolume_of_tied_points_equals_the_number_of_cells(m):
    for seed in range(8):
        Y = grid_points(9, m, seed=seed, top=3)
        expected = count_cells(Y.long().numpy(), 0, 3)
        assert hypervolume(Y, torch.zeros(m, dtype=torch.float64)).item() == expected


@PROPERTY
@given(points=integer_points(outcomes=(1, 2, 3, 4)))
def test_hypervolume_of_any_integer_points_equals_the_number_of_cells(points):
    Y = torch.from_numpy(points).double()
    ref = torch.zeros(points.shape[-1], dtype=torch.float64)
    expected = count_cells(points, 0, 4)
    assert hypervolume(Y, ref).item() == expected
    # A batch is swept without taking the front first.
    assert hypervolume(Y.expand(2, -1, -1), ref).tolist() == [expected, expected]


@dtypes
@batch_shapes
@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "tied"])
def test_hypervolume_of_batches_equals_a_loop(kind, m, batch_shape, dtype):
    shape = (*batch_shape, 6, m)
    Y = rand(*shape, seed=3) if kind == "random" else grid_points(*shape, seed=3)
    Y = Y.to(dtype)
    ref = torch.full((m,), 0.1, dtype=dtype)
    volumes = hypervolume(Y, ref)
    assert volumes.shape == torch.Size(batch_shape)
    loop = [moocore_volume(y, ref.double()) for y in Y.reshape(-1, 6, m)]
    expected = torch.tensor(loop, dtype=dtype).reshape(batch_shape)
    torch.testing.assert_close(volumes, expected, rtol=1e-5, atol=1e-5)


@batch_shapes
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_hypervolume_of_no_points_is_zero(m, batch_shape):
    Y = torch.empty(*batch_shape, 0, m, dtype=torch.float64)
    volume = hypervolume(Y, torch.zeros(m, dtype=torch.float64))
    assert torch.equal(volume, torch.zeros(batch_shape, dtype=torch.float64))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_of_an_empty_batch_is_empty(m):
    Y = torch.empty(0, 3, m, dtype=torch.float64)
    volume = hypervolume(Y, torch.zeros(m, dtype=torch.float64))
    assert volume.shape == torch.Size([0])


@batch_shapes
@pytest.mark.parametrize("m", [2, 3, 4])
def test_points_that_do_not_exceed_the_reference_count_nothing(m, batch_shape):
    ref = torch.full((m,), 0.5, dtype=torch.float64)
    Y = 0.5 + rand(*batch_shape, 4, m, seed=1)
    Y[..., 0, :] = 0.5  # on the reference point
    Y[..., 1, 0] = 0.5  # on one of its faces
    Y[..., 2, -1] = -7.0  # below it in one outcome only
    expected = hypervolume(Y[..., 3:, :], ref)
    torch.testing.assert_close(hypervolume(Y, ref), expected, rtol=1e-12, atol=0.0)
    box = (Y[..., 3, :] - 0.5).prod(dim=-1)
    torch.testing.assert_close(expected, box, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("m", "batch_shape"),
    [(2, []), (2, [2]), (2, [2, 3]), (3, []), (3, [2]), (3, [2, 3]), (4, [])],
    ids=str,
)
def test_hypervolume_has_the_right_gradient(m, batch_shape):
    Y = rand(*batch_shape, 5, m, seed=7).requires_grad_()
    ref = torch.full((m,), 0.05, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda y: hypervolume(y, ref), (Y,))


def test_hypervolume_refuses_a_reference_point_of_the_wrong_length():
    Y = torch.ones(3, 2)
    with pytest.raises(
        BotorchTensorDimensionError, match=r"ref_point to have 2 elements.*`3`"
    ):
        hypervolume(Y, torch.zeros(3))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_hypervolume_refuses_a_reference_point_that_is_not_finite(value):
    with pytest.raises(InputDataError, match=r"Expected a finite ref_point, but got"):
        hypervolume(torch.ones(3, 2), torch.tensor([0.0, value]))


# Fronts ----------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "tied"])
def test_front_mask_equals_moocore(kind, m, dtype, device):
    for seed in range(6):
        Y = (
            rand(12, m, seed=seed)
            if kind == "random"
            else grid_points(12, m, seed=seed)
        )
        Y = Y.to(dtype)
        # moocore keeps the first of duplicates too; it calls for m >= 2.
        columns = Y if m > 1 else Y.expand(-1, 2)
        expected = moocore.is_nondominated(-columns.double().numpy())
        assert front_mask(Y.to(device)).tolist() == expected.tolist()


@batch_shapes
@pytest.mark.parametrize("m", [2, 3])
def test_front_mask_of_batches_equals_a_loop(m, batch_shape):
    Y = grid_points(*batch_shape, 9, m, seed=5)
    expected = [moocore.is_nondominated(-y.numpy()) for y in Y.reshape(-1, 9, m)]
    expected = torch.from_numpy(np.stack(expected)).reshape(*batch_shape, 9)
    assert torch.equal(front_mask(Y), expected)


@pytest.mark.parametrize("m", [2, 3])
def test_front_mask_keeps_the_first_of_equal_points(m):
    best = torch.full((m,), 3.0)
    Y = torch.stack([best - 1, best, best, best - 2, best])
    assert front_mask(Y).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("m", [2, 3])
def test_front_mask_of_many_points_equals_moocore(m):
    # Beyond 1000 points BoTorch takes another path.
    Y = rand(1500, m, seed=2)
    Y = (40 * Y / Y.norm(dim=-1, keepdim=True)).round()
    expected = moocore.is_nondominated(-Y.numpy())
    assert 10 < expected.sum() < len(torch.unique(Y, dim=0)) < 1500
    assert front_mask(Y).tolist() == expected.tolist()


@batch_shapes
@pytest.mark.parametrize("m", [2, 3])
def test_front_mask_of_no_points_is_empty(m, batch_shape):
    assert front_mask(torch.empty(*batch_shape, 0, m)).shape == (*batch_shape, 0)


@PROPERTY
@given(boxes=integer_boxes(outcomes=(1, 2, 3), max_designs=7))
def test_undominated_follows_its_definition(boxes):
    lower, _, upper = boxes
    designs = range(lower.shape[0])
    point = (lower == upper).all(axis=-1)  # zero width
    expected = []
    for u in designs:
        dominators = [v for v in designs if v != u and (lower[v] >= upper[u]).all()]
        if point[u]:  # of equal points the first is kept
            dominators = [
                v
                for v in dominators
                if v < u or not (point[v] and (lower[v] == lower[u]).all())
            ]
        expected.append(not dominators)
    actual = undominated(*torch.from_numpy(boxes[[0, 2]]).double())
    assert actual.tolist() == expected


@dtypes
def test_undominated_keeps_the_first_of_equal_points(dtype):
    lower = torch.tensor([[1, 1], [2, 2], [2, 2], [0, 0]], dtype=dtype)
    upper = torch.tensor([[2, 2], [2, 2], [2, 2], [3, 1]], dtype=dtype)
    assert undominated(lower, upper).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        pytest.param(torch.zeros(3, 2), torch.ones(4, 2), id="lengths"),
        pytest.param(torch.zeros(2), torch.ones(2), id="one-dim"),
        pytest.param(torch.zeros(1, 3, 2), torch.ones(1, 3, 2), id="batch"),
    ],
)
def test_corners_that_are_not_n_by_m_are_refused(lower, upper):
    message = r"Expected lower and upper to be `n x m` and equal in shape"
    with pytest.raises(BotorchTensorDimensionError, match=message):
        undominated(lower, upper)
    with pytest.raises(BotorchTensorDimensionError, match=message):
        collapse_gains(lower, lower, upper, torch.zeros(2))


def dominated_twice(Y: Tensor, probes: Tensor) -> Tensor:
    return (Y.unsqueeze(-3) >= probes.unsqueeze(-2)).all(dim=-1).sum(dim=-1) >= 2


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("n", [2, 3, 8, 15])
def test_second_order_front_bounds_what_two_designs_dominate(n, m):
    Y = rand(n, m, seed=n)
    probes = rand(20_000, m, seed=99)
    front = second_order_front(Y)
    inside = (front.unsqueeze(-3) >= probes.unsqueeze(-2)).all(dim=-1).any(dim=-1)
    expected = dominated_twice(Y, probes)
    assert expected.any()
    assert torch.equal(inside, expected)


@PROPERTY
@given(points=integer_points(outcomes=(2, 3)))
def test_second_order_front_is_right_at_every_grid_point_with_ties(points):
    Y = torch.from_numpy(points).double()
    m = Y.shape[-1]
    # Grid points and the centres between them.
    steps = torch.arange(-1.5, 5.0, 0.5, dtype=torch.float64)
    probes = torch.cartesian_prod(*[steps] * m)
    front = second_order_front(Y)
    inside = (front.unsqueeze(-3) >= probes.unsqueeze(-2)).all(dim=-1).any(dim=-1)
    assert torch.equal(inside, dominated_twice(Y, probes))
    assert front_mask(front).all()


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("n", [0, 1])
def test_second_order_front_of_fewer_than_two_points_is_empty(n, m):
    assert second_order_front(torch.ones(n, m)).shape == (0, m)


# Hypervolume improvement -----------------------------------------------------------


@batch_shapes
@pytest.mark.parametrize("m", [2, 3, 4])
def test_improvement_over_a_front_equals_the_difference_of_volumes(m, batch_shape):
    ref = torch.full((m,), 0.1, dtype=torch.float64)
    front = rand(6, m, seed=0)
    points = rand(*batch_shape, m, seed=1) * 1.2
    cells = improvement_cells(front[front_mask(front)], ref)
    expected = [
        moocore_volume(torch.cat([front, p[None]]), ref) - moocore_volume(front, ref)
        for p in points.reshape(-1, m)
    ]
    expected = torch.tensor(expected, dtype=torch.float64).reshape(batch_shape)
    actual = hypervolume_improvement(points, cells)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_improvement_over_an_empty_front_is_the_volume_of_the_point(m):
    ref = torch.full((m,), -1.0, dtype=torch.float64)
    cells = improvement_cells(torch.empty(0, m, dtype=torch.float64), ref)
    Y = rand(4, m, seed=2)
    torch.testing.assert_close(
        hypervolume_improvement(Y, cells), (Y + 1).prod(dim=-1), rtol=1e-12, atol=0.0
    )


def test_improvement_does_not_depend_on_the_size_of_its_chunks(monkeypatch):
    ref = torch.zeros(2, dtype=torch.float64)
    Y, front = rand(50, 2, seed=4) * 2, rand(30, 2, seed=5)
    cells = improvement_cells(front[front_mask(front)], ref)
    expected = hypervolume_improvement(Y, cells)
    lower, upper = Y - 0.2, Y
    kept = undominated(lower, upper)
    monkeypatch.setattr("botorch_flexibo.utils.fronts.MAX_ELEMENTS", 1)
    assert torch.equal(hypervolume_improvement(Y, cells), expected)
    assert torch.equal(undominated(lower, upper), kept)


# Volume and gains ------------------------------------------------------------------


@batch_shapes
@pytest.mark.parametrize("m", [2, 3, 4])
def test_region_volume_is_the_difference_of_two_hypervolumes(m, batch_shape):
    lower = rand(*batch_shape, 5, m, seed=8)
    upper = lower + rand(*batch_shape, 5, m, seed=9)
    ref = torch.full((m,), 0.3, dtype=torch.float64)
    expected = [
        moocore_volume(hi, ref) - moocore_volume(lo, ref)
        for lo, hi in zip(lower.reshape(-1, 5, m), upper.reshape(-1, 5, m), strict=True)
    ]
    expected = torch.tensor(expected, dtype=torch.float64).reshape(batch_shape)
    torch.testing.assert_close(region_volume(lower, upper, ref), expected)


def test_region_volume_refuses_corners_of_different_shapes():
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"lower and upper corners of the same shape, but got `3 x 2` and `4 x 2`",
    ):
        region_volume(torch.zeros(3, 2), torch.ones(4, 2), torch.zeros(2))


@dtypes
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_collapse_gains_of_random_boxes_equal_brute_force(n, m, dtype, device):
    ref = torch.full((m,), 0.2, dtype=torch.float64)
    for seed in range(3):
        lower, mean, upper = random_boxes(n, m, seed).to(dtype).double()
        args = [x.to(device, dtype) for x in (mean, lower, upper, ref)]
        gains = collapse_gains(*args)
        assert gains.dtype == dtype
        expected = moocore_gains(mean, lower, upper, ref.to(dtype).double())
        atol = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(gains.cpu().double(), expected, rtol=1e-5, atol=atol)


@PROPERTY
@given(boxes=integer_boxes())
def test_collapse_gains_of_integer_boxes_equal_counting_cells(boxes):
    lower, mean, upper = boxes
    gains = collapse_gains(*as_tensors(boxes))
    assert gains.tolist() == counted_gains(mean, lower, upper).tolist()
    volume = region_volume(
        *torch.from_numpy(boxes[[0, 2]]).double(), gains.new_zeros(boxes.shape[-1])
    )
    assert volume.item() == counted_region_volume(lower, upper)


@PROPERTY
@given(data=st.data(), m=st.sampled_from([2, 3]), n=st.integers(1, 8))
def test_gains_and_volume_of_real_boxes_are_never_negative(data, m, n):
    values = st.floats(-2, 2, width=32)
    corners = data.draw(arrays(np.float32, (3, n, m), elements=values))
    lower, mean, upper = torch.from_numpy(np.sort(corners, axis=0)).double()
    ref = torch.zeros(m, dtype=torch.float64)
    assert (collapse_gains(mean, lower, upper, ref) >= 0).all()
    assert region_volume(lower, upper, ref) >= 0


@PROPERTY
@given(boxes=integer_boxes())
def test_dropping_dominated_designs_changes_no_volume_and_no_gain(boxes):
    mean, lower, upper, ref = as_tensors(boxes)
    keep = undominated(lower, upper)
    gains = collapse_gains(mean, lower, upper, ref)
    kept = collapse_gains(mean[keep], lower[keep], upper[keep], ref)
    assert torch.equal(kept, gains[keep])
    assert (gains[~keep] == 0).all()
    assert region_volume(lower[keep], upper[keep], ref) == region_volume(
        lower, upper, ref
    )


@PROPERTY
@given(boxes=integer_boxes(), seed=st.integers(0, 100))
def test_permuting_designs_or_outcomes_permutes_the_gains(boxes, seed):
    mean, lower, upper, ref = as_tensors(boxes)
    gains = collapse_gains(mean, lower, upper, ref)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(mean.shape[0], generator=generator)
    columns = torch.randperm(mean.shape[1], generator=generator)
    shuffled = [side[rows][:, columns] for side in (mean, lower, upper)]
    assert torch.equal(collapse_gains(*shuffled, ref), gains[rows][:, columns])
    assert region_volume(*shuffled[1:], ref) == region_volume(lower, upper, ref)


@PROPERTY
@given(
    boxes=integer_boxes(),
    column=st.integers(0, 1),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-50, 50),
)
def test_rescaling_an_outcome_multiplies_all_gains(boxes, column, scale, shift):
    sides = as_tensors(boxes)
    gains = collapse_gains(*sides)
    rescaled = [side.clone() for side in sides]
    for side in rescaled:
        side[..., column] = side[..., column] * scale + shift
    torch.testing.assert_close(
        collapse_gains(*rescaled), scale * gains, rtol=1e-9, atol=1e-10 * (1 + scale)
    )


@PROPERTY
@given(boxes=integer_boxes(max_designs=4), data=st.data())
def test_a_duplicate_leaves_the_volume_and_the_gains_of_all_others(boxes, data):
    copied = data.draw(st.integers(0, boxes.shape[1] - 1))
    doubled = np.concatenate([boxes, boxes[:, [copied]]], axis=1)
    mean, lower, upper, ref = as_tensors(boxes)
    single = collapse_gains(mean, lower, upper, ref)
    gains = collapse_gains(*as_tensors(doubled))
    # The twin still reaches the upper corner, so that only the gain from the lower
    # corner is left to the copied design, and to its twin the same.
    lower_doubled, mean_doubled, upper_doubled = doubled
    assert (
        gains.tolist()
        == counted_gains(mean_doubled, lower_doubled, upper_doubled).tolist()
    )
    others = torch.arange(len(mean)) != copied
    assert torch.equal(gains[:-1][others], single[others])
    assert torch.equal(gains[-1], gains[copied])
    assert (gains[copied] <= single[copied]).all()
    _, lower_doubled, upper_doubled, _ = as_tensors(doubled)
    assert region_volume(lower_doubled, upper_doubled, ref) == region_volume(
        lower, upper, ref
    )


@dtypes
@pytest.mark.parametrize("m", [2, 3, 4])
def test_measured_pairs_gain_exactly_zero(m, dtype):
    lower, mean, upper = random_boxes(9, m, seed=1).to(dtype)
    known = rand(9, m, seed=2) < 0.4
    region = collapse(ConfidenceRegion(mean, lower, upper), known)
    ref = torch.full((m,), -0.5, dtype=dtype)
    gains = collapse_gains(*region, ref)
    assert (gains[known] == 0).all()
    assert (gains[~known] > 0).any()


@pytest.mark.parametrize("m", [2, 3])
def test_gain_has_the_right_gradient(m):
    ref = torch.full((m,), -0.1, dtype=torch.float64)
    lower, _, upper = random_boxes(6, m, seed=3)
    upper_cells = improvement_cells(upper[front_mask(upper)], ref)
    lower_cells = improvement_cells(lower[front_mask(lower)], ref)
    mask = torch.arange(m) == 0
    corners = (random_boxes(4, m, seed=4) * 1.3).requires_grad_()

    def gain(corners: Tensor) -> Tensor:
        low, mean, high = corners
        return collapse_gain(
            ConfidenceRegion(mean, low, high), mask, upper_cells, lower_cells
        )

    assert (gain(corners) > 0).any()
    assert torch.autograd.gradcheck(gain, (corners,))


def test_twenty_thousand_designs_agree_with_brute_force_on_sampled_pairs():
    n = 20_000
    angle = rand(n, seed=0) * math.pi / 2
    radius = 1 - 0.2 * rand(n, seed=1) ** 3
    mean = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    width = 0.1 * rand(n, 2, seed=2)
    lower, upper = mean - width, mean + width
    ref = torch.zeros(2, dtype=torch.float64)
    gains = collapse_gains(mean, lower, upper, ref)
    assert gains.shape == (n, 2)
    best = gains.flatten().topk(10).indices
    pairs = [*best.tolist(), *torch.arange(10).mul(1999).tolist()]
    volume = moocore_volume(upper, ref) - moocore_volume(lower, ref)
    assert len(pairs) == 20
    for u, i in (divmod(pair, 2) for pair in pairs):
        moved_lower, moved_upper = lower.clone(), upper.clone()
        moved_lower[u, i] = moved_upper[u, i] = mean[u, i]
        after = moocore_volume(moved_upper, ref) - moocore_volume(moved_lower, ref)
        assert gains[u, i].item() == pytest.approx(volume - after, abs=1e-11)
    assert gains.max() > 1e-6


def test_gains_of_no_designs_are_empty():
    empty = torch.empty(0, 2, dtype=torch.float64)
    gains = collapse_gains(empty, empty, empty, torch.zeros(2, dtype=torch.float64))
    assert gains.shape == (0, 2)


def test_collapse_gains_refuses_a_mean_of_another_shape():
    corners = torch.zeros(3, 2)
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"mean to have the shape of lower and upper, `3 x 2`, but got `1 x 2`",
    ):
        collapse_gains(corners[:1], corners, corners, torch.zeros(2))


@pytest.mark.parametrize("value", [-1.0, 2.0, math.nan])
def test_collapse_gains_refuses_a_mean_outside_its_box(value):
    lower, upper = torch.zeros(3, 2), torch.ones(3, 2)
    mean = torch.full((3, 2), 0.5)
    mean[1, 0] = value
    with pytest.raises(
        InputDataError,
        match=r"lower <= mean <= upper everywhere, without NaN, but 1 of 6 entries",
    ):
        collapse_gains(mean, lower, upper, torch.zeros(2))


def test_collapse_gains_refuses_corners_that_are_nan():
    mean = torch.zeros(1, 2)
    upper = torch.tensor([[math.nan, 1.0]])
    with pytest.raises(InputDataError, match=r"without NaN, but 1 of 2 entries"):
        collapse_gains(mean, mean, upper, torch.zeros(2))


def test_collapse_gains_refuses_a_bad_reference_point():
    mean = torch.zeros(3, 2)
    with pytest.raises(
        BotorchTensorDimensionError, match=r"ref_point to have 2 elements.*`2 x 2`"
    ):
        collapse_gains(mean, mean, mean, torch.zeros(2, 2))
    with pytest.raises(InputDataError, match=r"Expected a finite ref_point, but got"):
        collapse_gains(mean, mean, mean, torch.tensor([math.nan, 0.0]))


# Boxes -----------------------------------------------------------------------------


@dtypes
@batch_shapes
@pytest.mark.parametrize("as_tensor", [False, True], ids=["float", "tensor"])
def test_confidence_region_is_the_mean_and_scaled_deviations(
    as_tensor, batch_shape, dtype
):
    mean = rand(*batch_shape, 4, 2, seed=1, dtype=dtype)
    sd = rand(*batch_shape, 4, 2, seed=2, dtype=dtype)
    beta = torch.tensor(2.25, dtype=dtype) if as_tensor else 2.25
    region = confidence_region(mean, sd.square(), beta)
    assert torch.equal(region.mean, mean)
    torch.testing.assert_close(region.lower, mean - 1.5 * sd)
    torch.testing.assert_close(region.upper, mean + 1.5 * sd)


def test_confidence_region_takes_negative_variances_as_zero():
    mean = torch.ones(1, 2)
    region = confidence_region(mean, torch.full((1, 2), -1e-9), 4.0)
    assert torch.equal(region.lower, mean)
    assert torch.equal(region.upper, mean)


def region_of(*rows: tuple[float, float, float]) -> ConfidenceRegion:
    """One outcome per row, given as (lower, mean, upper), of a single design."""
    lower, mean, upper = torch.tensor(rows, dtype=torch.float64).unbind(dim=-1)
    return ConfidenceRegion(mean[None], lower[None], upper[None])


def test_intersection_of_overlapping_boxes_clamps_the_mean_into_them():
    current = region_of((0, 1, 4), (0, 3, 4), (0, 2, 4))
    previous = region_of((2, 5, 9), (-3, -2, 1), (1, 2, 3))
    result = intersect_regions(current, previous)
    assert result.lower.tolist() == [[2, 0, 1]]
    assert result.upper.tolist() == [[4, 1, 3]]
    assert result.mean.tolist() == [[2, 1, 2]]


def test_disjoint_boxes_keep_the_current_one_outcome_by_outcome():
    current = region_of((0, 1, 2), (0, 1, 2))
    previous = region_of((5, 6, 7), (1.5, 3, 4))
    result = intersect_regions(current, previous)
    assert result.lower.tolist() == [[0, 1.5]]
    assert result.upper.tolist() == [[2, 2]]
    assert result.mean.tolist() == [[1, 1.5]]


@batch_shapes
def test_intersection_lies_in_the_current_box_and_holds_its_mean(batch_shape):
    boxes = [
        rand(3, *batch_shape, 20, 2, seed=seed).sort(dim=0).values for seed in (1, 2)
    ]
    current, previous = (ConfidenceRegion(b[1], b[0], b[2]) for b in boxes)
    result = intersect_regions(current, previous)
    assert result.mean.shape == (*batch_shape, 20, 2)
    assert ((current.lower <= result.lower) & (result.upper <= current.upper)).all()
    assert ((result.lower <= result.mean) & (result.mean <= result.upper)).all()
    meet = (previous.lower <= current.upper) & (current.lower <= previous.upper)
    assert meet.any() and not meet.all()
    inside = (previous.lower <= result.lower) & (result.upper <= previous.upper)
    assert torch.equal(inside, meet)


def test_intersection_refuses_regions_of_different_designs():
    small, large = (ConfidenceRegion(*[torch.zeros(n, 2)] * 3) for n in (2, 3))
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"regions of the same designs, but got shapes `2 x 2` and `3 x 2`",
    ):
        intersect_regions(small, large)


@batch_shapes
def test_collapse_moves_only_the_masked_sides(batch_shape):
    lower, mean, upper = rand(3, *batch_shape, 4, 2, seed=1).sort(dim=0).values
    mask = torch.tensor([True, False])
    region = collapse(ConfidenceRegion(mean, lower, upper), mask)
    assert torch.equal(region.mean, mean)
    for side, before in ((region.lower, lower), (region.upper, upper)):
        assert torch.equal(side[..., 0], mean[..., 0])
        assert torch.equal(side[..., 1], before[..., 1])


# The schedule ----------------------------------------------------------------------


@pytest.mark.parametrize(("iteration", "expected"), [(1, 1.80), (200, 4.15)])
def test_pal_beta_equals_the_worked_examples(iteration, expected):
    beta = pal_beta(iteration, num_designs=100, num_outcomes=2, delta=0.1)
    assert beta == pytest.approx(expected, abs=0.005)


@PROPERTY
@given(
    iteration=st.integers(1, 10**6),
    num_designs=st.integers(1, 10**6),
    num_outcomes=st.integers(1, 10),
    delta=st.floats(1e-6, 0.999),
    scale=st.floats(1e-3, 10),
)
def test_pal_beta_is_positive_and_grows_with_the_iteration(
    iteration, num_designs, num_outcomes, delta, scale
):
    def beta(t: int) -> float:
        return pal_beta(
            t,
            num_designs=num_designs,
            num_outcomes=num_outcomes,
            delta=delta,
            scale=scale,
        )

    assert 0 < beta(iteration) < beta(iteration + 1)
    # A union bound: 2 ln(m |X| pi_t / delta) with pi_t = pi^2 t^2 / 6.
    bound = num_outcomes * num_designs / delta * math.pi**2 * iteration**2 / 6
    assert beta(iteration) == pytest.approx(2 * scale * math.log(bound), rel=1e-9)


@pytest.mark.parametrize(
    "counts", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 5, 5)], ids=str
)
def test_pal_beta_refuses_counts_below_one(counts):
    iteration, num_designs, num_outcomes = counts
    numbers = f"{iteration}, {num_designs} and {num_outcomes}"
    with pytest.raises(InputDataError, match=f"to be at least 1, but got {numbers}"):
        pal_beta(iteration, num_designs=num_designs, num_outcomes=num_outcomes)


@pytest.mark.parametrize(
    ("delta", "scale"),
    [(0, 1), (1, 1), (-0.1, 1), (math.nan, 1), (0.1, 0), (0.1, -1), (0.1, math.inf)],
)
def test_pal_beta_refuses_probabilities_and_scales_out_of_range(delta, scale):
    with pytest.raises(
        InputDataError,
        match=rf"delta in \(0, 1\) and a positive, finite scale, .* scale={scale}",
    ):
        pal_beta(1, num_designs=10, num_outcomes=2, delta=delta, scale=scale)
