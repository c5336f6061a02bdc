r"""Sample paths of Gaussian processes in weight space, and the search of their front.

Everything here is a pure function of tensors and leaves the global random number
generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from botorch.utils.sampling import sample_simplex
from torch import Tensor
from torch.quasirandom import SobolEngine

from botorch_flexibo.utils.fronts import front_mask

# Each frequency carries a sine and a cosine: 2048 features per outcome.
_NUM_FREQUENCIES = 1024
_MATERN_NU = 2.5
# The reference point: a fixed sample, and the margin below its front.
_REF_DESIGNS = 4096
_REF_MARGIN = 0.1
# The search for `max_hv`; the slow test measures its error.
_SEARCH_DESIGNS = 2**14
_SEARCH_DIRECTIONS = 40
_SEARCH_STARTS = 64  # climbers per direction, of which some are kept after a third
_SEARCH_KEPT = 12
_SEARCH_STEPS = 60
_SEARCH_STEP_SIZE = 0.15  # decays to 1 percent
_SEARCH_GENERATIONS = 30
_SEARCH_CHILDREN = 1024


class SamplePaths(NamedTuple):
    r"""The sample paths ``sum_j amplitude_j cos(frequency_j^T x - phase_j)``."""

    frequencies: Tensor  # m x F x d
    phases: Tensor  # m x F
    amplitudes: Tensor  # m x F

    def to(self, device: str, dtype: torch.dtype) -> SamplePaths:
        r"""Move the paths to a device and a dtype."""
        return SamplePaths(*(t.to(device=device, dtype=dtype) for t in self))


def evaluate_paths(paths: SamplePaths, X: Tensor) -> Tensor:
    r"""Evaluate ``batch_shape x d`` designs; returns ``batch_shape x m`` outcomes."""
    outcomes = [
        torch.cos(X @ frequencies.mT - phases) @ amplitudes
        for frequencies, phases, amplitudes in zip(*paths, strict=True)
    ]
    return torch.stack(outcomes, dim=-1)


def draw_paths(
    lengthscales: Tensor,
    outputscales: Sequence[float],
    kernels: Sequence[str],
    generator: torch.Generator,
) -> SamplePaths:
    r"""Draw one sample path per outcome, in double precision on the CPU.

    Args:
        lengthscales: The ``m x d`` length scales.
        outputscales: The ``m`` variances.
        kernels: The ``m`` kernels.
        generator: The source of randomness.

    Returns:
        The paths.
    """
    rows = []
    for scales, variance, kernel in zip(
        lengthscales, outputscales, kernels, strict=True
    ):
        size, dtype = _NUM_FREQUENCIES, torch.float64
        w = torch.randn(size, len(scales), generator=generator, dtype=dtype)
        if kernel == "matern":  # t distributed: normal / sqrt(chi^2 / (2 nu))
            chi = torch.randn(
                size, int(2 * _MATERN_NU), generator=generator, dtype=dtype
            )
            w = w / chi.square().mean(dim=-1, keepdim=True).sqrt()
        a, b = torch.randn(2, size, generator=generator, dtype=dtype)
        amplitudes = torch.hypot(a, b) * math.sqrt(variance / size)
        rows.append((w / scales, torch.atan2(b, a), amplitudes))
    return SamplePaths(*(torch.stack(parts) for parts in zip(*rows, strict=True)))


def _sobol(dim: int, n: int) -> Tensor:
    r"""Draw the same ``n x dim`` designs of ``[0, 1]^dim`` each time."""
    return SobolEngine(dim, scramble=True, seed=0).draw(n, dtype=torch.float64)


def reference_point(paths: SamplePaths) -> Tensor:
    r"""Place the ``m`` values of the reference point below the front of a sample."""
    Y = evaluate_paths(paths, _sobol(paths.frequencies.shape[-1], _REF_DESIGNS))
    nadir = Y[front_mask(Y)].amin(dim=0)
    return nadir - _REF_MARGIN * (Y.amax(dim=0) - Y.amin(dim=0))


def search_front(paths: SamplePaths, ref_point: Tensor) -> Tensor:
    r"""Search the front of two outcomes: gradient ascent, then evolution.

    Runs in single precision, which halves the time; the points that it returns are
    evaluated again in the precision of ``paths``.

    Args:
        paths: The sample paths of two outcomes, on the CPU.
        ref_point: The reference point, two values.

    Returns:
        A ``k x 2`` tensor of outcomes that are mutually non-dominated up to rounding.
    """
    single = paths.to("cpu", torch.float32)
    ref = ref_point.to(torch.float32)
    generator = torch.Generator().manual_seed(0)
    X, Y = _ascend(single, ref)
    for _ in range(_SEARCH_GENERATIONS):
        X, Y = _sorted_front(X, Y, ref)
        children = _children(X, Y, generator)
        Y = torch.cat([Y, evaluate_paths(single, children)])
        X = torch.cat([X, children])
    X, Y = _sorted_front(X, Y, ref)
    return evaluate_paths(paths, X.to(ref_point))


def _ascend(paths: SamplePaths, ref_point: Tensor) -> tuple[Tensor, Tensor]:
    r"""Climb towards the front along many directions, from many starts each.

    A direction ``v > 0`` is climbed by maximising ``min_i (f_i(x) - r_i) / v_i``: its
    maximum is where the ray ``r + t v`` leaves the region that the front dominates.

    Args:
        paths: The sample paths.
        ref_point: The ``m`` values of the reference point ``r``.

    Returns:
        The ``n x d`` designs visited and their ``n x m`` outcomes.
    """
    X = _sobol(paths.frequencies.shape[-1], _SEARCH_DESIGNS).to(ref_point)
    Y = evaluate_paths(paths, X)
    weights = sample_simplex(len(ref_point), _SEARCH_DIRECTIONS, qmc=True, seed=0)
    directions = weights.to(Y).clamp_min(1e-3) * (Y.amax(dim=0) - ref_point)
    directions = directions.unsqueeze(1)
    values = ((Y - ref_point) / directions).amin(dim=-1)
    climbers = X[values.topk(_SEARCH_STARTS, dim=-1).indices]  # direction x start x d
    mean, square = torch.zeros_like(climbers), torch.zeros_like(climbers)
    visited, outcomes = [X], [Y]
    for step in range(_SEARCH_STEPS):
        with torch.enable_grad():
            climbers.requires_grad_()
            Y = evaluate_paths(paths, climbers)
            values = ((Y - ref_point) / directions).amin(dim=-1)
            (gradient,) = torch.autograd.grad(values.sum(), climbers)
        climbers = climbers.detach()
        visited.append(climbers.flatten(end_dim=1))
        outcomes.append(Y.detach().flatten(end_dim=1))
        # Adam, which `torch.optim` would take seconds to import.
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient.square()
        scale = (square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8
        move = mean / (1 - 0.9 ** (step + 1)) / scale
        size = _SEARCH_STEP_SIZE * 0.01 ** (step / _SEARCH_STEPS)
        climbers = (climbers + size * move).clamp(0.0, 1.0)
        if step == _SEARCH_STEPS // 3:
            best = values.detach().topk(_SEARCH_KEPT, dim=-1).indices.unsqueeze(-1)
            climbers, mean, square = (
                t.take_along_dim(best, dim=1) for t in (climbers, mean, square)
            )
    return torch.cat(visited), torch.cat(outcomes)


def _sorted_front(X: Tensor, Y: Tensor, ref_point: Tensor) -> tuple[Tensor, Tensor]:
    r"""Keep the front above the reference point, in the order of its first outcome."""
    keep = front_mask(Y) & (Y > ref_point).all(dim=-1)
    order = Y[keep, 0].argsort()
    return X[keep][order], Y[keep][order]


def _children(X: Tensor, Y: Tensor, generator: torch.Generator) -> Tensor:
    r"""Fill the gaps of a front: mix neighbours, and move most of the mixtures a bit.

    Neighbours are drawn in proportion to the square root of the area between them.

    Args:
        X: The ``k x d`` designs of a front, in the order of their first outcome.
        Y: The ``k x 2`` outcomes of these designs.
        generator: The source of randomness.

    Returns:
        A ``_SEARCH_CHILDREN x d`` tensor of designs.
    """
    n = _SEARCH_CHILDREN
    gaps = Y.diff(dim=0).prod(dim=-1).abs().sqrt() if len(X) > 1 else Y.new_ones(1)
    first = gaps.multinomial(n, replacement=True, generator=generator)
    second = (first + 1).clamp_max(len(X) - 1)
    share, size, moved = torch.rand(3, n, 1, generator=generator)
    noise = torch.randn(n, X.shape[-1], generator=generator)
    mixed = X[first] + share * (X[second] - X[first])
    # Moves of 10^-3.5 to 10^-1.5, for 70 percent of the children.
    scale = 10 ** (-1.5 - 2 * size) * (moved < 0.7)
    return (mixed + scale * noise).clamp(0.0, 1.0)
