r"""Nodes and weights for expectations over a few standard normal variables."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from botorch.exceptions.errors import InputDataError
from botorch.utils.sampling import draw_sobol_normal_samples
from torch import Tensor

from botorch_flexibo.utils.checks import is_count

# A product grid has at most this many nodes; beyond it, this many Sobol nodes are used.
MAX_NODES = 64
_SOBOL_SEED = 0
# Half of 64 nodes tell second moments of so many variables; more would be distorted.
_MAX_WHITENED = 16


def gaussian_quadrature(num_nodes: int, dim: int) -> tuple[Tensor, Tensor]:
    r"""Quadrature for the expectation over ``dim`` standard normal variables.

    The product of Gauss-Hermite rules, exact for polynomials of degree
    ``2 num_nodes - 1`` in each variable, as long as it has at most 64 nodes. Beyond, 32
    scrambled Sobol points and their mirror images with equal weights, transformed so
    that they have the mean and, in up to 16 variables, the covariance of the normal
    distribution: exact for polynomials of total degree 3. A single node is the mean.

    Args:
        num_nodes: The number of nodes per variable.
        dim: The number of variables.

    Returns:
        A ``K x dim``-dim tensor of nodes and a ``K``-dim tensor of weights that sum to
        one, both float64.

    Raises:
        InputDataError: If there are no nodes or no variables.

    Example:
        >>> nodes, weights = gaussian_quadrature(3, dim=1)
        >>> round((weights * nodes.squeeze(-1) ** 4).sum().item(), 9)  # E[z^4]
        3.0
    """
    if not is_count(num_nodes) or not is_count(dim):
        raise InputDataError(
            "Expected at least one node and one variable, but got"
            f" num_nodes={num_nodes!r} and dim={dim!r}. Pass whole numbers; one node"
            " is the mean."
        )
    nodes, weights = _rule(int(num_nodes), dim)
    return nodes.clone(), weights.clone()  # the caller may change them


@cache
def _rule(num_nodes: int, dim: int) -> tuple[Tensor, Tensor]:
    """Computed once: an eigenvalue problem per call would cost more than its use."""
    if num_nodes > 1 and dim * math.log(num_nodes) > math.log(MAX_NODES) + 1e-9:
        nodes = _matched_sobol_nodes(dim)
        return nodes, nodes.new_full((MAX_NODES,), 1 / MAX_NODES)
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    weights = weights / weights.sum()
    grid = torch.cartesian_prod(*[torch.from_numpy(points)] * dim)
    products = torch.cartesian_prod(*[torch.from_numpy(weights)] * dim)
    size = num_nodes**dim
    return grid.reshape(size, dim), products.reshape(size, dim).prod(dim=-1)


def _matched_sobol_nodes(dim: int) -> Tensor:
    """Points with the first moments of the normal distribution, ``64 x dim``.

    What measurements gain in the front of means is of second order in the nodes. A mean
    that is only nearly zero would be an error of first order, larger than the gain.
    """
    half = draw_sobol_normal_samples(
        dim, MAX_NODES // 2, dtype=torch.float64, seed=_SOBOL_SEED
    )
    if dim <= _MAX_WHITENED:
        factor = torch.linalg.cholesky(half.mT @ half / len(half))
        half = torch.linalg.solve_triangular(factor, half.mT, upper=False).mT
    return torch.cat([half, -half])
