r"""Expected hypervolumes of moving points against moocore, node by node.

moocore minimises, hence the signs.
"""

from __future__ import annotations

import itertools
import math

import moocore
import numpy as np
import pytest
import torch
from torch import Tensor

from botorch_flexibo.utils.moving_front import (
    MovingOutcome,
    expected_hypervolume,
    scalarized_hypervolume,
    volume,
)
from botorch_flexibo.utils.quadrature import gaussian_quadrature

devices = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
            ],
        ),
    ],
)
dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
# Which outcomes move, with how many variables each.
MOVES = [
    (2, {0: 1}),
    (2, {1: 1}),
    (2, {0: 2}),
    (2, {0: 1, 1: 1}),
    (2, {0: 2, 1: 1}),
    (3, {0: 1}),
    (3, {1: 2}),
    (3, {2: 1}),
    (3, {0: 1, 2: 1}),
    (3, {0: 1, 1: 2}),
    (3, {0: 1, 1: 1, 2: 1}),
]
moves = pytest.mark.parametrize(("m", "variables"), MOVES, ids=str)


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def moocore_volume(Y: Tensor) -> float:
    return moocore.hypervolume(-Y.detach().numpy(), ref=np.zeros(Y.shape[-1]))


def problem(
    m: int, variables: dict[int, int], *, s: int = 1, b: int = 2, n: int = 6
) -> tuple[Tensor, dict[int, MovingOutcome]]:
    """Points around the origin of which some outcomes move, both ways."""
    Y = 2 * rand(s, n, m, seed=m) - 0.4
    moving = {}
    for column, q in variables.items():
        start = 2 * rand(s, b, n, seed=10 + column) - 0.4
        directions = 1.2 * rand(s, b, q, n, seed=20 + column) - 0.6
        moving[column] = MovingOutcome(start, directions)
    return Y, moving


def product_nodes(num_nodes: int, dim: int) -> list[tuple[tuple[float, ...], float]]:
    """Gauss-Hermite nodes and weights from NumPy, one variable after the other."""
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    weights = weights / math.sqrt(2 * math.pi)
    rows = itertools.product(zip(points, weights, strict=True), repeat=dim)
    return [
        (tuple(z for z, _ in row), math.prod(weight for _, weight in row))
        for row in rows
    ]


def brute_force(
    Y: Tensor,
    moving: dict[int, MovingOutcome],
    rule: list[tuple[tuple[float, ...], float]],
) -> Tensor:
    """Every ensemble member, batch and node by itself."""
    s, b = next(iter(moving.values())).start.shape[:2]
    expected = torch.zeros(s, b, dtype=torch.float64)
    for k, j in itertools.product(range(s), range(b)):
        for node, weight in rule:
            points, rest = Y[k].clone(), list(node)
            for column, (start, directions) in moving.items():
                position = start[k, j].clone()
                for direction in directions[k % len(directions), j]:
                    position += rest.pop(0) * direction
                points[:, column] = position
            expected[k, j] += weight * moocore_volume(points)
    return expected


# Expected hypervolumes -------------------------------------------------------------


@moves
@pytest.mark.parametrize("s", [1, 3])
@pytest.mark.parametrize("num_nodes", [1, 3])
def test_the_expectation_equals_brute_force_over_the_nodes(num_nodes, s, m, variables):
    Y, moving = problem(m, variables, s=s)
    rule = product_nodes(num_nodes, sum(variables.values()))
    expected = brute_force(Y, moving, rule)
    assert (expected > 0.1).any()
    actual = expected_hypervolume(Y, moving, num_nodes)
    assert actual.shape == (s, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("m", "variables"), [(2, {0: 2, 1: 1}), (3, {0: 1, 1: 1, 2: 1})], ids=str
)
def test_beyond_64_nodes_the_expectation_is_over_sobol_nodes(m, variables):
    Y, moving = problem(m, variables)
    nodes, weights = gaussian_quadrature(5, dim=3)  # 125 nodes would be too many
    rule = list(zip(map(tuple, nodes.tolist()), weights.tolist(), strict=True))
    assert len(rule) == 64
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, 5), brute_force(Y, moving, rule)
    )


@pytest.mark.parametrize(
    ("m", "variables"), [(2, {1: 7}), (3, {0: 7})], ids=["staircase", "terraces"]
)
def test_one_outcome_with_many_variables_takes_sobol_nodes_too(m, variables):
    Y, moving = problem(m, variables)
    nodes, weights = gaussian_quadrature(2, dim=7)
    rule = list(zip(map(tuple, nodes.tolist()), weights.tolist(), strict=True))
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, 2), brute_force(Y, moving, rule)
    )


@moves
def test_plain_gps_move_with_every_member_of_an_ensemble(m, variables):
    Y, moving = problem(m, variables, s=3)
    moving = {
        column: MovingOutcome(outcome.start, outcome.directions[:1])
        for column, outcome in moving.items()
    }
    expected = brute_force(Y, moving, product_nodes(2, sum(variables.values())))
    torch.testing.assert_close(expected_hypervolume(Y, moving, 2), expected)


@moves
def test_ties_and_copies_are_counted_once(m, variables):
    Y, moving = problem(m, variables)
    Y = (2 * Y).round() / 2
    Y, moving = (
        torch.cat([Y, Y[:, :2]], dim=-2),
        {
            column: MovingOutcome(*(torch.cat([x, x[..., :2]], dim=-1) for x in moved))
            for column, moved in moving.items()
        },
    )
    expected = brute_force(Y, moving, product_nodes(2, sum(variables.values())))
    torch.testing.assert_close(expected_hypervolume(Y, moving, 2), expected)


@moves
def test_columns_that_move_are_ignored_in_the_points(m, variables):
    Y, moving = problem(m, variables)
    expected = expected_hypervolume(Y, moving, 2)
    Y[..., list(variables)] = math.nan
    assert torch.equal(expected_hypervolume(Y, moving, 2), expected)


@moves
def test_the_order_of_the_points_does_not_matter(m, variables):
    Y, moving = problem(m, variables)
    order = torch.randperm(Y.shape[-2], generator=torch.Generator().manual_seed(0))
    shuffled = {
        column: MovingOutcome(*(x[..., order] for x in moved))
        for column, moved in moving.items()
    }
    torch.testing.assert_close(
        expected_hypervolume(Y[:, order], shuffled, 3),
        expected_hypervolume(Y, moving, 3),
    )


@moves
def test_points_that_do_not_move_have_their_hypervolume(m, variables):
    Y, moving = problem(m, variables, b=1)
    still = {
        column: MovingOutcome(Y[:, None, :, column], torch.zeros_like(directions))
        for column, (_, directions) in moving.items()
    }
    value = expected_hypervolume(Y, still, 4)
    assert value.item() == pytest.approx(moocore_volume(Y[0]))


@pytest.mark.parametrize("m", [2, 3])
def test_one_point_has_the_expected_positive_part_of_a_normal_variable(m):
    # E[max(mu + sd z, 0)] = mu Phi(mu / sd) + sd phi(mu / sd), times the other sides.
    Y = torch.full((1, 1, m), 2.0, dtype=torch.float64)
    start, sd = torch.tensor([[[0.3]]]).double(), torch.tensor([[[[0.5]]]]).double()
    value = expected_hypervolume(Y, {0: MovingOutcome(start, sd)}, num_nodes=64)
    normal = torch.distributions.Normal(0.0, 1.0)
    ratio = torch.tensor(0.3 / 0.5)
    expected = 0.3 * normal.cdf(ratio) + 0.5 * normal.log_prob(ratio).exp()
    assert value.item() == pytest.approx(2.0 ** (m - 1) * expected.item(), rel=1e-2)


@pytest.mark.parametrize(
    ("m", "variables"),
    [
        (2, {0: 2}),
        (2, {0: 1, 1: 1}),
        (3, {1: 2}),
        (3, {0: 1, 2: 1}),
        (4, {0: 1, 3: 1}),
    ],
    ids=str,
)
def test_the_gradient_is_right(m, variables):
    Y, moving = problem(m, variables, s=2)
    columns = list(moving)
    flat = [x for outcome in moving.values() for x in outcome]

    def value(Y: Tensor, *flat: Tensor) -> Tensor:
        pairs = zip(flat[::2], flat[1::2], strict=True)
        outcomes = itertools.starmap(MovingOutcome, pairs)
        return expected_hypervolume(Y, dict(zip(columns, outcomes, strict=True)), 2)

    inputs = [x.clone().requires_grad_() for x in (Y, *flat)]
    assert torch.autograd.gradcheck(value, inputs)
    used = inputs[1:] if len(columns) == m else inputs
    gradients = torch.autograd.grad(value(*inputs).sum(), used)
    assert all((gradient != 0).any() for gradient in gradients)


@devices
@dtypes
@moves
def test_values_have_the_dtype_and_device_of_the_points(m, variables, dtype, device):
    Y, moving = problem(m, variables)
    expected = expected_hypervolume(Y, moving, 3)
    there = {
        column: MovingOutcome(*(x.to(device, dtype) for x in moved))
        for column, moved in moving.items()
    }
    actual = expected_hypervolume(Y.to(device, dtype), there, 3)
    assert (actual.dtype, actual.device.type) == (dtype, device)
    close = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=close, atol=close)


# Hypervolumes ----------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3]], ids=str)
def test_up_to_three_outcomes_the_volume_is_exact(batch_shape, m):
    Y = 2 * rand(*batch_shape, 8, m, seed=3) - 0.5
    expected = [moocore_volume(y) for y in Y.reshape(-1, 8, m)]
    assert volume(Y).shape == torch.Size(batch_shape)
    assert volume(Y).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("m", [4, 5])
def test_beyond_three_outcomes_the_volume_is_the_estimate(m):
    Y = rand(3, 8, m, seed=4)
    assert torch.equal(volume(Y), scalarized_hypervolume(Y))


@pytest.mark.parametrize(
    ("m", "typical", "worst"), [(3, 0.01, 0.02), (4, 0.02, 0.05), (5, 0.03, 0.07)]
)
def test_the_estimate_is_close_to_the_exact_hypervolume(m, typical, worst):
    # Relative errors measured for these sets of 20 uniform points, root mean square
    # and largest of 40: 0.5 % and 1.1 % (m = 3), 1.3 % and 2.5 % (m = 4), 2.0 % and
    # 4.3 % (m = 5).
    Y = rand(40, 20, m, seed=m)
    exact = torch.tensor([moocore_volume(y) for y in Y], dtype=torch.float64)
    error = scalarized_hypervolume(Y) / exact - 1
    assert error.square().mean().sqrt() < typical
    assert error.abs().max() < worst


@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_estimate_converges_with_the_number_of_directions(m):
    Y = rand(12, m, seed=m)
    error = scalarized_hypervolume(Y, num_directions=2**17) / moocore_volume(Y) - 1
    assert abs(error.item()) < 5e-4


@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_estimate_is_monotone_in_the_points(m):
    Y = 2 * rand(200, 6, m, seed=5) - 0.5
    raised = torch.where(rand(*Y.shape, seed=6) < 0.3, Y + rand(*Y.shape, seed=7), Y)
    before, after = scalarized_hypervolume(Y), scalarized_hypervolume(raised)
    assert (after >= before).all()
    assert (after > before).any()
    # One more point takes nothing away.
    assert (before >= scalarized_hypervolume(Y[:, 1:])).all()


@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_estimate_of_points_below_the_origin_is_zero(m):
    Y = rand(3, 4, m, seed=8) + 0.1
    Y[..., 1] *= -1
    assert (scalarized_hypervolume(Y) == 0).all()


@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_estimate_grows_with_the_power_of_the_scale(m):
    Y = rand(3, 4, m, seed=9)
    torch.testing.assert_close(
        scalarized_hypervolume(3 * Y), 3**m * scalarized_hypervolume(Y)
    )


@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_gradient_of_the_estimate_is_right(m):
    Y = (rand(2, 4, m, seed=10) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: scalarized_hypervolume(y, 64), (Y,))
    (gradient,) = torch.autograd.grad(scalarized_hypervolume(Y).sum(), Y)
    assert (gradient >= 0).all()
    assert (gradient > 0).any()


@devices
@dtypes
def test_the_estimate_keeps_dtype_and_device(dtype, device):
    Y = rand(5, 6, 4, seed=11)
    actual = scalarized_hypervolume(Y.to(device, dtype))
    assert (actual.dtype, actual.device.type) == (dtype, device)
    torch.testing.assert_close(
        actual.cpu().double(), scalarized_hypervolume(Y), rtol=1e-5, atol=0
    )
