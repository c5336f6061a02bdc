r"""Quadrature rules against the moments of the normal distribution."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.utils.quadrature import MAX_NODES, gaussian_quadrature

# Just above the largest product grid, and far above it.
BEYOND = [(2, 7), (3, 4), (5, 3), (6, 4), (9, 2), (65, 1)]
WITHIN = [(1, 1), (6, 1), (64, 1), (8, 2), (4, 3), (2, 6), (1, 9)]


def normal_moment(power: int) -> int:
    """`E[z^power]`: 0 if odd, else 1 * 3 * 5 * ... * (power - 1)."""
    return 0 if power % 2 else math.prod(range(1, power, 2))


@pytest.mark.parametrize("num_nodes", range(1, 9))
def test_polynomials_below_twice_the_nodes_are_exact_and_the_next_is_not(num_nodes):
    nodes, weights = gaussian_quadrature(num_nodes, dim=1)
    assert nodes.shape == (num_nodes, 1)
    for power in range(2 * num_nodes):
        moment = (weights * nodes[:, 0] ** power).sum().item()
        scale = (weights * nodes[:, 0].abs() ** power).sum().item()
        assert moment == pytest.approx(normal_moment(power), abs=1e-12 * scale + 1e-14)
    power = 2 * num_nodes
    moment = (weights * nodes[:, 0] ** power).sum().item()
    # The error of the rule is n!.
    assert normal_moment(power) - moment == pytest.approx(math.factorial(num_nodes))


@pytest.mark.parametrize(("num_nodes", "dim"), [(2, 2), (3, 3), (5, 2), (8, 2)])
def test_products_of_powers_have_the_product_of_the_moments(num_nodes, dim):
    nodes, weights = gaussian_quadrature(num_nodes, dim)
    assert nodes.shape == (num_nodes**dim, dim)
    for powers in itertools.product(range(2 * num_nodes), repeat=dim):
        values = (nodes ** torch.tensor(powers)).prod(dim=-1)
        expected = math.prod(map(normal_moment, powers))
        scale = (weights * values.abs()).sum().item()
        assert (weights * values).sum().item() == pytest.approx(
            expected, abs=1e-12 * scale + 1e-14
        )


def test_a_smooth_expectation_converges():
    # E[exp(a z)] = exp(a^2 / 2).
    nodes, weights = gaussian_quadrature(8, dim=2)
    value = (weights * (nodes @ torch.tensor([0.7, -0.4]).double()).exp()).sum()
    assert value.item() == pytest.approx(math.exp((0.7**2 + 0.4**2) / 2), rel=1e-8)


@pytest.mark.parametrize(("num_nodes", "dim"), WITHIN + BEYOND)
def test_weights_are_positive_double_and_sum_to_one(num_nodes, dim):
    nodes, weights = gaussian_quadrature(num_nodes, dim)
    assert nodes.dtype == weights.dtype == torch.float64
    assert nodes.shape == (len(weights), dim)
    assert nodes.isfinite().all()
    assert (weights > 0).all()
    assert weights.sum().item() == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize(("num_nodes", "dim"), WITHIN)
def test_grids_of_up_to_64_nodes_are_products(num_nodes, dim):
    nodes, _ = gaussian_quadrature(num_nodes, dim)
    assert len(nodes) == num_nodes**dim <= MAX_NODES
    for column in nodes.T:
        assert len(torch.unique(column)) == num_nodes


@pytest.mark.parametrize(("num_nodes", "dim"), [*BEYOND, (2, 16), (2, 17), (2, 100)])
def test_beyond_64_nodes_polynomials_of_degree_three_are_exact(num_nodes, dim):
    nodes, weights = gaussian_quadrature(num_nodes, dim)
    assert len(nodes) == MAX_NODES
    assert torch.equal(weights, torch.full_like(weights, 1 / MAX_NODES))
    assert (weights @ nodes).tolist() == pytest.approx([0.0] * dim, abs=1e-12)
    third = torch.einsum("k,ki,kj,kl->ijl", weights, nodes, nodes, nodes)
    assert third.abs().max().item() < 1e-12
    second = nodes.T @ (weights.unsqueeze(-1) * nodes)
    if dim <= 16:
        away = (second - torch.eye(dim, dtype=torch.float64)).abs()
        assert away.max().item() < 1e-12


@pytest.mark.parametrize(("num_nodes", "dim"), [*WITHIN, *BEYOND])
def test_nodes_are_the_same_every_time_and_leave_the_global_seed_alone(num_nodes, dim):
    state = torch.get_rng_state()
    first, second = (gaussian_quadrature(num_nodes, dim) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dim", [1, 2, 7, 100])
def test_one_node_is_the_mean(dim):
    nodes, weights = gaussian_quadrature(1, dim)
    assert torch.equal(nodes, torch.zeros(1, dim, dtype=torch.float64))
    assert weights.tolist() == [1.0]


@pytest.mark.parametrize(("num_nodes", "dim"), [(0, 1), (-2, 3), (4, 0), (1, -1)])
def test_no_nodes_or_no_variables_are_refused(num_nodes, dim):
    message = (
        "Expected at least one node and one variable, but got"
        f" num_nodes={num_nodes} and dim={dim}. Pass whole numbers; one node is the"
        " mean."
    )
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        gaussian_quadrature(num_nodes, dim)
