r"""Random problems: each outcome is a sample path of a Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from botorch_flexibo.test_functions._gp_paths import (
    SamplePaths,
    draw_paths,
    evaluate_paths,
    reference_point,
    search_front,
)
from botorch_flexibo.test_functions._tables import as_list, check_names
from botorch_flexibo.test_functions.synthetic import _ConstantCostProblem, check_dim
from botorch_flexibo.utils.checks import finite_number
from botorch_flexibo.utils.fronts import hypervolume


class DecoupledGPSample(_ConstantCostProblem):
    r"""Independent Gaussian process samples on ``[0, 1]^d``, a constant cost each.

    Outcome ``i`` is a sample path of a zero-mean Gaussian process with the kernel
    ``outputscales[i] * k(x, x')``. It is drawn in weight space, by random Fourier
    features (Rahimi and Recht, 2007) of ``F = 1024`` frequencies ``w_j``::

        f(x) = sqrt(outputscale / F) * sum_j a_j cos(w_j^T x) + b_j sin(w_j^T x)

    with standard normal ``a_j``, ``b_j`` and ``w_j`` from the spectral density of
    ``k``: a normal (``"rbf"``) or a multivariate t distribution with 5 degrees of
    freedom (``"matern"``, smoothness 5/2), each divided by the length scale. Over the
    seeds, mean and covariance are exactly those of the prior. A path can be evaluated
    at any design, is differentiable, and is kept in double precision whatever the dtype
    of the designs.

    All outcomes are maximised; a negated path would be just another one, so there is no
    ``negate``. ``ref_point`` is, per outcome, the worst value on the front of 4096
    fixed Sobol designs minus 10 percent of the outcome's range over these designs.

    ``max_hv`` is searched on the true functions when first used, which takes seconds,
    and kept. It is the hypervolume of designs that exist, thus a lower bound, meant to
    be within 1e-3 of the truth on the two families below. It is known for two outcomes
    only.

    Attributes:
        frequencies: The ``m x F x d`` frequencies ``w_j``.
        phases: The ``m x F`` phases of ``a_j cos + b_j sin`` as a single cosine.
        amplitudes: The ``m x F`` amplitudes of these cosines.

    Example:
        >>> import torch
        >>> from botorch_flexibo.test_functions import DecoupledGPSample
        >>> problem = DecoupledGPSample(
        ...     dim=1,
        ...     lengthscales=[0.5, 0.2],
        ...     outputscales=[1.0, 4.0],
        ...     kernels=["rbf", "matern"],
        ...     costs=[10.0, 1.0],
        ... )
        >>> problem(torch.rand(5, 1)).shape
        torch.Size([5, 2])
        >>> problem = DecoupledGPSample.network_like(seed=1, dim=5)
        >>> problem.outcome_names, problem.costs.tolist()
        (('accuracy', 'speed'), [10.0, 1.0])
    """

    frequencies: Tensor
    phases: Tensor
    amplitudes: Tensor

    def __init__(
        self,
        dim: int,
        *,
        lengthscales: Sequence[float | Sequence[float]],
        outputscales: Sequence[float],
        kernels: Sequence[Literal["rbf", "matern"]],
        costs: Sequence[float],
        outcome_names: Sequence[str] | None = None,
        noise_std: float | list[float] | None = None,
        seed: int = 0,
    ) -> None:
        r"""Draw the problem.

        Args:
            dim: The number ``d`` of design variables.
            lengthscales: For each of the ``m >= 2`` outcomes the length scale of its
                kernel: one number, or one for each of the ``d`` columns.
            outputscales: Variance of each of the ``m`` outcomes.
            kernels: ``"rbf"`` or ``"matern"`` (smoothness 5/2) for each outcome.
            costs: Cost of measuring each outcome, strictly positive, in "units".
            outcome_names: Name of each of the ``m`` outcomes; None for ``f1, f2, ...``.
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            seed: Seed of the sample paths. The global random number generator is
                neither read nor advanced.

        Raises:
            ValueError: If ``dim`` is smaller than 1, there are less than two outcomes,
                the arguments do not agree on their number or on ``dim``, a scale is not
                positive and finite, or a kernel is not known.
            InvalidCostError: If there are not ``m`` costs, or one is not finite or not
                strictly positive. It is a ``ValueError``.
        """
        scales = _check_prior(dim, lengthscales, outputscales, kernels)
        generator = torch.Generator().manual_seed(seed)
        paths = draw_paths(scales, outputscales, kernels, generator)
        self.dim, self.num_objectives = dim, len(lengthscales)
        self.continuous_inds = list(range(dim))
        self._bounds = [(0.0, 1.0)] * dim
        self._ref_point = reference_point(paths).tolist()
        super().__init__(noise_std=noise_std, negate=False)
        if outcome_names is None:
            outcome_names = [f"f{i + 1}" for i in range(self.num_objectives)]
        self.outcome_names = check_names(outcome_names, self.num_objectives)
        self._set_costs(costs)
        self.register_buffer("frequencies", paths.frequencies)
        self.register_buffer("phases", paths.phases)
        self.register_buffer("amplitudes", paths.amplitudes)

    @classmethod
    def network_like(
        cls,
        seed: int,
        *,
        dim: int = 3,
        costs: Sequence[float] = (10.0, 1.0),
        noise_std: float | list[float] | None = None,
    ) -> DecoupledGPSample:
        r"""Draw a problem that resembles the design of a neural network.

        The accuracy is smooth and expensive: an RBF kernel with length scale 0.5 in the
        first ``d // 2`` columns (at least one), which matter most, and 1 in the others.
        The speed is rough and cheap: a Matern-5/2 kernel with length scale 0.25 in
        all columns. Both have variance 1.

        Args:
            seed: Seed of the sample paths.
            dim: The number ``d`` of design variables.
            costs: Cost of measuring (accuracy, speed), strictly positive, in "units".
            noise_std: Standard deviation of the observation noise, one for both
                outcomes or a list with one per outcome; None for none.

        Returns:
            The problem, with two outcomes to maximise.

        Raises:
            ValueError: If ``dim`` is smaller than 1, or the costs are not two finite
                numbers > 0.
        """
        relevant = max(dim // 2, 1)
        return cls(
            dim,
            lengthscales=[[0.5] * relevant + [1.0] * (dim - relevant), 0.25],
            outputscales=[1.0, 1.0],
            kernels=["rbf", "matern"],
            costs=costs,
            outcome_names=["accuracy", "speed"],
            noise_std=noise_std,
            seed=seed,
        )

    @classmethod
    def cmokg(
        cls,
        seed: int,
        *,
        costs: Sequence[float] = (1.0, 10.0),
        noise_std: float | list[float] | None = None,
    ) -> DecoupledGPSample:
        r"""Draw a problem like those of the C-MOKG paper (arXiv 2302.01310).

        Two design variables, two outcomes: a cheap one with length scale 0.2 and
        variance 1, and one that costs ten times as much, with length scale 1.8 and
        variance 50.

        NOTE: both kernels are Matern-5/2 here, and the paths are new draws, not those
        of the paper.

        Args:
            seed: Seed of the sample paths.
            costs: Cost of measuring (f1, f2), strictly positive, in "units".
            noise_std: Standard deviation of the observation noise, one for both
                outcomes or a list with one per outcome; None for none.

        Returns:
            The problem, with two outcomes to maximise.

        Raises:
            ValueError: If the costs are not two finite numbers > 0.
        """
        return cls(
            2,
            lengthscales=[0.2, 1.8],
            outputscales=[1.0, 50.0],
            kernels=["matern", "matern"],
            costs=costs,
            noise_std=noise_std,
            seed=seed,
        )

    @cached_property
    def _max_hv(self) -> float | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.num_objectives != 2:
            return None  # BoTorch's `max_hv` raises
        paths = self._paths.to("cpu", torch.float64)
        ref_point = self.ref_point.to("cpu", torch.float64)
        return float(hypervolume(search_front(paths, ref_point), ref_point))

    @property
    def _paths(self) -> SamplePaths:
        return SamplePaths(self.frequencies, self.phases, self.amplitudes)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        Y = evaluate_paths(self._paths, X.to(self.frequencies))
        return Y.to(X) if X.is_floating_point() else Y.to(X.device)


def _check_prior(
    dim: int,
    lengthscales: Sequence[float | Sequence[float]],
    outputscales: Sequence[float],
    kernels: Sequence[str],
) -> Tensor:
    r"""Validate the prior of all outcomes.

    Args:
        dim: The number ``d`` of design variables.
        lengthscales: The length scales of each outcome, one number or ``d``.
        outputscales: The variance of each outcome.
        kernels: The kernel of each outcome.

    Returns:
        The length scales as a ``m x d`` tensor.

    Raises:
        ValueError: If an argument is not as the class describes it.
    """
    scales = as_list(lengthscales)
    check_dim(dim)
    if scales is None or len(scales) < 2:
        raise ValueError(
            "Expected `lengthscales` of at least 2 outcomes, got "
            f"{lengthscales!r}. With a single outcome there is nothing to decouple."
        )
    m = len(scales)
    for name, values in (("outputscales", outputscales), ("kernels", kernels)):
        given = as_list(values)
        if given is None or len(given) != m:
            raise ValueError(
                f"Expected {m} `{name}`, one per outcome, got {values!r}. Pass as "
                "many as there are `lengthscales`."
            )
    unknown = [k for k in kernels if k not in ("rbf", "matern")]
    if unknown:
        raise ValueError(
            f'Expected `kernels` of "rbf" and "matern", got {unknown[0]!r}. Choose one '
            "of these two for each outcome."
        )
    rows = [as_list(row) or [row] * dim for row in scales]
    for i, row in enumerate(rows):
        if len(row) != dim:
            raise ValueError(
                f"Expected 1 or {dim} length scales per outcome, got {len(row)} for "
                f"outcome {i}. Pass one for each column, or a single number."
            )
    flat = [v for row in rows for v in row]
    numbers = [finite_number(v) or 0.0 for v in flat]
    if not all(number > 0 for number in numbers):
        raise ValueError(
            f"Expected finite `lengthscales` > 0, got {flat}. Give a column that does "
            "not matter a large length scale."
        )
    if not all((finite_number(v) or 0.0) > 0 for v in outputscales):
        raise ValueError(
            f"Expected finite `outputscales` > 0, got {outputscales!r}. Give each "
            "outcome the variance of its values."
        )
    return torch.tensor(numbers, dtype=torch.float64).reshape(m, dim)
