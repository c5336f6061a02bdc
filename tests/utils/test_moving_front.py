r"""Expected hypervolumes of moving points against moocore, node by node.

moocore minimises, hence the signs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import moocore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.utils.moving_front import (
    Joining,
    MovingOutcome,
    expected_hypervolume,
    joined_hypervolume,
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
joins = pytest.mark.parametrize("q", [1, 2], ids=["one-joins", "two-join"])
Problem = tuple[Tensor, dict[int, MovingOutcome], Joining]


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def moocore_volume(Y: Tensor) -> float:
    return moocore.hypervolume(-Y.detach().numpy(), ref=np.zeros(Y.shape[-1]))


def problem(
    m: int,
    variables: dict[int, int],
    q: int,
    *,
    s: int = 1,
    b: int = 2,
    n: int = 6,
) -> Problem:
    """Points around the origin of which some outcomes move, both ways.

    ``q`` more join in each batch, not below the others.
    """
    Y = 2 * rand(s, n, m, seed=m) - 0.4
    moving, own = {}, {}
    for column, count in variables.items():
        start = 2 * rand(s, b, n, seed=10 + column) - 0.4
        directions = 1.2 * rand(s, b, count, n, seed=20 + column) - 0.6
        moving[column] = MovingOutcome(start, directions)
        own[column] = 1.2 * rand(s, b, count, q, seed=40 + column) - 0.6
    return Y, moving, Joining(0.6 + 1.4 * rand(s, b, q, m, seed=30 + m), own)


def product_nodes(num_nodes: int, dim: int) -> list[tuple[tuple[float, ...], float]]:
    """Gauss-Hermite nodes and weights from NumPy, one variable after the other."""
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    weights = weights / math.sqrt(2 * math.pi)
    rows = itertools.product(zip(points, weights, strict=True), repeat=dim)
    return [
        (tuple(z for z, _ in row), math.prod(weight for _, weight in row))
        for row in rows
    ]


def positions(
    outcome: MovingOutcome, node: tuple[float, ...], k: int, j: int
) -> Tensor:
    """Where one outcome is in one batch of one ensemble member."""
    position = outcome.start[k, j].clone()
    directions = outcome.directions[k % len(outcome.directions), j]
    for z, direction in zip(node, directions, strict=True):
        position += z * direction
    return position


def brute_force(
    Y: Tensor,
    moving: dict[int, MovingOutcome],
    joining: Joining | None,
    rule: list[tuple[tuple[float, ...], float]],
    volume_of: Callable[[Tensor], float] = moocore_volume,
) -> Tensor:
    """Every ensemble member, batch and node by itself, over all points together."""
    s, b = next(iter(moving.values())).start.shape[:2]
    expected = torch.zeros(s, b, dtype=torch.float64)
    for k, j in itertools.product(range(s), range(b)):
        for node, weight in rule:
            points, rest = Y[k].clone(), node
            newcomers = Y[k, :0] if joining is None else joining.start[k, j].clone()
            for column, outcome in moving.items():
                count = outcome.directions.shape[-2]
                now, rest = rest[:count], rest[count:]
                points[:, column] = positions(outcome, now, k, j)
                if joining is not None:
                    own = joining.start[..., column], joining.directions[column]
                    newcomers[:, column] = positions(MovingOutcome(*own), now, k, j)
            expected[k, j] += weight * volume_of(torch.cat([points, newcomers]))
    return expected


def rule_of(num_nodes: int, dim: int) -> list[tuple[tuple[float, ...], float]]:
    """The package's own nodes, where they are Sobol points."""
    nodes, weights = gaussian_quadrature(num_nodes, dim)
    return list(zip(map(tuple, nodes.tolist()), weights.tolist(), strict=True))


# Expected hypervolumes -------------------------------------------------------------


@moves
@joins
@pytest.mark.parametrize("s", [1, 3])
@pytest.mark.parametrize("num_nodes", [1, 3])
def test_the_expectation_equals_brute_force_over_the_nodes(
    num_nodes, s, q, m, variables
):
    Y, moving, joining = problem(m, variables, q, s=s)
    rule = product_nodes(num_nodes, sum(variables.values()))
    expected = brute_force(Y, moving, joining, rule)
    assert (expected > brute_force(Y, moving, None, rule) + 0.01).any()
    actual = expected_hypervolume(Y, moving, joining, num_nodes)
    assert actual.shape == (s, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@joins
@pytest.mark.parametrize("variables", [{0: 1}, {2: 2}, {1: 1, 3: 1}], ids=str)
@pytest.mark.parametrize("m", [4, 5])
def test_beyond_three_outcomes_the_expectation_is_that_of_the_estimate(m, variables, q):
    Y, moving, joining = problem(m, variables, q, s=2)
    rule = product_nodes(2, sum(variables.values()))

    def estimate(points: Tensor) -> float:
        return scalarized_hypervolume(points).item()

    expected = brute_force(Y, moving, joining, rule, estimate)
    assert (expected > brute_force(Y, moving, None, rule, estimate) + 0.01).any()
    actual = expected_hypervolume(Y, moving, joining, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@joins
@pytest.mark.parametrize(
    ("m", "variables"), [(2, {0: 2, 1: 1}), (3, {0: 1, 1: 1, 2: 1})], ids=str
)
def test_beyond_64_nodes_the_expectation_is_over_sobol_nodes(m, variables, q):
    Y, moving, joining = problem(m, variables, q)
    rule = rule_of(5, dim=3)  # 125 nodes would be too many
    assert len(rule) == 64
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, joining, 5),
        brute_force(Y, moving, joining, rule),
    )


@joins
@pytest.mark.parametrize(
    ("m", "variables"), [(2, {1: 7}), (3, {0: 7})], ids=["staircase", "terraces"]
)
def test_one_outcome_with_many_variables_takes_sobol_nodes_too(m, variables, q):
    Y, moving, joining = problem(m, variables, q)
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, joining, 2),
        brute_force(Y, moving, joining, rule_of(2, dim=7)),
    )


@moves
@joins
def test_plain_gps_move_with_every_member_of_an_ensemble(q, m, variables):
    Y, moving, joining = problem(m, variables, q, s=3)
    moving = {
        column: MovingOutcome(outcome.start, outcome.directions[:1])
        for column, outcome in moving.items()
    }
    own = {column: directions[:1] for column, directions in joining.directions.items()}
    joining = Joining(joining.start, own)
    rule = product_nodes(2, sum(variables.values()))
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, joining, 2),
        brute_force(Y, moving, joining, rule),
    )


@moves
@joins
def test_ties_and_copies_are_counted_once(q, m, variables):
    Y, moving, joining = problem(m, variables, q)
    Y = (2 * Y).round() / 2
    joining = Joining((2 * joining.start).round() / 2, joining.directions)
    rule = product_nodes(2, sum(variables.values()))
    expected = brute_force(Y, moving, joining, rule)
    Y, moving = (
        torch.cat([Y, Y[:, :2]], dim=-2),
        {
            column: MovingOutcome(*(torch.cat([x, x[..., :2]], dim=-1) for x in moved))
            for column, moved in moving.items()
        },
    )
    torch.testing.assert_close(expected_hypervolume(Y, moving, joining, 2), expected)


@moves
@joins
def test_columns_that_move_are_ignored_in_the_points(q, m, variables):
    Y, moving, joining = problem(m, variables, q)
    expected = expected_hypervolume(Y, moving, joining, 2)
    Y[..., list(variables)] = math.nan
    assert torch.equal(expected_hypervolume(Y, moving, joining, 2), expected)


@moves
@joins
def test_the_order_of_the_points_does_not_matter(q, m, variables):
    Y, moving, joining = problem(m, variables, q)
    order = torch.randperm(Y.shape[-2], generator=torch.Generator().manual_seed(0))
    shuffled = {
        column: MovingOutcome(*(x[..., order] for x in moved))
        for column, moved in moving.items()
    }
    own = {column: moved.flip(-1) for column, moved in joining.directions.items()}
    flipped = Joining(joining.start.flip(-2), own)
    torch.testing.assert_close(
        expected_hypervolume(Y[:, order], shuffled, flipped, 3),
        expected_hypervolume(Y, moving, joining, 3),
    )


@moves
@joins
def test_points_that_do_not_move_have_their_hypervolume(q, m, variables):
    Y, moving, joining = problem(m, variables, q, b=1)
    still = {
        column: MovingOutcome(Y[:, None, :, column], torch.zeros_like(directions))
        for column, (_, directions) in moving.items()
    }
    own = {
        column: torch.zeros_like(moved) for column, moved in joining.directions.items()
    }
    value = expected_hypervolume(Y, still, Joining(joining.start, own), 4)
    union = torch.cat([Y[0], joining.start[0, 0]])
    assert value.item() == pytest.approx(moocore_volume(union))


@pytest.mark.parametrize("newcomer", [False, True], ids=["there", "joining"])
@pytest.mark.parametrize("m", [2, 3])
def test_one_point_has_the_expected_positive_part_of_a_normal_variable(m, newcomer):
    # E[max(mu + sd z, 0)] = mu Phi(mu / sd) + sd phi(mu / sd), times the other sides.
    Y = torch.full((1, 1, m), 2.0, dtype=torch.float64)
    start, sd = torch.tensor([[[0.3]]]).double(), torch.tensor([[[[0.5]]]]).double()
    low, still = torch.full_like(start, -1.0), torch.zeros_like(sd)
    if newcomer:
        moving = {0: MovingOutcome(low, still)}
        where = torch.cat([start, Y[:, :, 1:]], dim=-1).unsqueeze(1)
        joining = Joining(where, {0: sd})
    else:
        moving = {0: MovingOutcome(start, sd)}
        joining = Joining(torch.full_like(Y, -1.0).unsqueeze(1), {0: still})
    value = expected_hypervolume(Y, moving, joining, num_nodes=64)
    normal = torch.distributions.Normal(0.0, 1.0)
    ratio = torch.tensor(0.3 / 0.5)
    expected = 0.3 * normal.cdf(ratio) + 0.5 * normal.log_prob(ratio).exp()
    assert value.item() == pytest.approx(2.0 ** (m - 1) * expected.item(), rel=1e-2)


@joins
@pytest.mark.parametrize(
    ("m", "variables"),
    [
        (2, {0: 2}),
        (2, {0: 1, 1: 1}),
        (3, {1: 2}),
        (3, {0: 1, 2: 1}),
        (4, {1: 1}),
        (4, {0: 1, 3: 1}),
    ],
    ids=str,
)
def test_the_gradient_is_right(m, variables, q):
    Y, moving, joining = problem(m, variables, q, s=2)
    columns = list(moving)
    flat = [x for outcome in moving.values() for x in outcome]
    own = [joining.directions[column] for column in columns]

    def value(Y: Tensor, start: Tensor, *rest: Tensor) -> Tensor:
        own, flat = rest[: len(columns)], rest[len(columns) :]
        pairs = zip(flat[::2], flat[1::2], strict=True)
        outcomes = itertools.starmap(MovingOutcome, pairs)
        moving = dict(zip(columns, outcomes, strict=True))
        joining = Joining(start, dict(zip(columns, own, strict=True)))
        return expected_hypervolume(Y, moving, joining, 2)

    leaves = (Y, joining.start, *own, *flat)
    inputs = [x.clone().requires_grad_() for x in leaves]
    assert torch.autograd.gradcheck(value, inputs)
    used = inputs[1:] if len(columns) == m else inputs
    gradients = torch.autograd.grad(value(*inputs).sum(), used)
    assert all((gradient != 0).any() for gradient in gradients)


@devices
@dtypes
@moves
@joins
def test_values_have_the_dtype_and_device_of_the_points(q, m, variables, dtype, device):
    Y, moving, joining = problem(m, variables, q)
    expected = expected_hypervolume(Y, moving, joining, 3)
    there = {
        column: MovingOutcome(*(x.to(device, dtype) for x in moved))
        for column, moved in moving.items()
    }
    own = {
        column: moved.to(device, dtype) for column, moved in joining.directions.items()
    }
    newcomers = Joining(joining.start.to(device, dtype), own)
    actual = expected_hypervolume(Y.to(device, dtype), there, newcomers, 3)
    assert (actual.dtype, actual.device.type) == (dtype, device)
    close = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=close, atol=close)


# Points that join ------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    q=st.integers(1, 3),
    choice=st.sampled_from(MOVES),
    steps=st.sampled_from([2, 5, 1000]),
)
def test_points_that_join_anywhere_count_as_in_brute_force(seed, q, choice, steps):
    m, variables = choice
    Y, moving, joining = problem(m, variables, q, b=3)
    # All over the place, with ties if there are few steps.
    start = 3 * rand(*joining.start.shape, seed=seed) - 0.8
    joining = Joining((steps * start).round() / steps, joining.directions)
    Y = (steps * Y).round() / steps
    rule = product_nodes(2, sum(variables.values()))
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, joining, 2),
        brute_force(Y, moving, joining, rule),
    )


@moves
@joins
@pytest.mark.parametrize("below", [0, -1], ids=["first", "last"])
def test_a_point_that_joins_below_the_reference_point_changes_nothing(
    below, q, m, variables
):
    Y, moving, joining = problem(m, variables, q, s=2)
    joining.start[..., below] = -0.5
    own = dict(joining.directions)
    column = below % m
    if column in own:  # it stays below
        own[column] = torch.zeros_like(own[column])
    joining = Joining(joining.start, own)
    expected = brute_force(Y, moving, None, product_nodes(3, sum(variables.values())))
    torch.testing.assert_close(expected_hypervolume(Y, moving, joining, 3), expected)


@moves
@joins
@pytest.mark.parametrize("distance", [0.0, 0.05], ids=["copies", "below"])
def test_a_point_that_joins_below_another_one_changes_nothing(
    distance, q, m, variables
):
    Y, moving, joining = problem(m, variables, q, s=2)
    start = Y[:, None, :q].expand_as(joining.start) - distance
    for column, outcome in moving.items():
        start[..., column] = outcome.start[..., :q] - distance
    own = {column: outcome.directions[..., :q] for column, outcome in moving.items()}
    rule = product_nodes(3, sum(variables.values()))
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, Joining(start, own), 3),
        brute_force(Y, moving, None, rule),
    )


@moves
def test_a_second_point_that_joins_below_the_first_changes_nothing(m, variables):
    Y, moving, joining = problem(m, variables, 1, s=2)
    pair = torch.cat([joining.start - 0.05, joining.start], dim=-2)
    own = {
        column: moved.expand(*moved.shape[:-1], 2)
        for column, moved in joining.directions.items()
    }
    torch.testing.assert_close(
        expected_hypervolume(Y, moving, Joining(pair, own), 3),
        expected_hypervolume(Y, moving, joining, 3),
    )


@joins
@pytest.mark.parametrize("s", [1, 3])
@pytest.mark.parametrize("m", [2, 3])
def test_the_joined_hypervolume_is_that_of_the_union(m, s, q):
    Y, _, joining = problem(m, {}, q, s=s, b=5)
    start = joining.start.clone()
    start[:, 0] -= 0.8  # some lie below the reference point or the others
    expected = [
        [moocore_volume(torch.cat([y, own])) for own in batches]
        for y, batches in zip(Y, start, strict=True)
    ]
    actual = joined_hypervolume(Y, start)
    assert actual.shape == (s, 5)
    alone = torch.tensor([moocore_volume(y) for y in Y], dtype=torch.float64)
    assert (actual > alone.unsqueeze(-1) + 0.01).any()
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64))


@joins
def test_the_joined_hypervolume_of_one_outcome_is_the_largest_value(q):
    Y = rand(2, 4, 1, seed=1) - 0.5
    start = 2 * rand(2, 6, q, 1, seed=2) - 1.0
    expected = torch.cat([Y.unsqueeze(1).expand(2, 6, 4, 1), start], dim=-2)
    expected = expected.amax(dim=(-2, -1)).clamp_min(0.0)
    assert len(expected.unique()) > 4
    torch.testing.assert_close(joined_hypervolume(Y, start), expected)


@joins
@pytest.mark.parametrize("m", [4, 5])
def test_beyond_three_outcomes_the_joined_hypervolume_is_the_estimate(m, q):
    Y, _, joining = problem(m, {}, q, s=2)
    union = torch.cat([Y[:, None].expand(2, 2, *Y.shape[1:]), joining.start], dim=-2)
    expected = scalarized_hypervolume(union)
    assert (expected > scalarized_hypervolume(Y).unsqueeze(-1) + 0.01).any()
    torch.testing.assert_close(joined_hypervolume(Y, joining.start), expected)


@joins
@pytest.mark.parametrize("m", [2, 3])
def test_points_that_join_below_change_no_joined_hypervolume(m, q):
    Y, _, joining = problem(m, {}, q, s=2)
    expected = torch.tensor([[moocore_volume(y)] * 2 for y in Y]).double()
    outside = joining.start.clone()
    outside[..., 0] = -0.1
    dominated = Y[:, None, :q].expand_as(outside)
    for start in (outside, dominated, dominated - 0.05):
        torch.testing.assert_close(joined_hypervolume(Y, start), expected)


@joins
@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_gradient_of_the_joined_hypervolume_is_right(m, q):
    Y, _, joining = problem(m, {}, q, s=2)
    inputs = [x.clone().requires_grad_() for x in (Y, joining.start - 0.4)]
    assert torch.autograd.gradcheck(joined_hypervolume, inputs)
    gradients = torch.autograd.grad(joined_hypervolume(*inputs).sum(), inputs)
    assert all((gradient > 0).any() for gradient in gradients)


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
