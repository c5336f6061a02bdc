r"""Base class of problems whose objectives are measured separately.

BoTorch's ``MultiObjectiveTestProblem`` evaluates all objectives at once and free of
charge. Here a *measurement* is one (design, outcome) pair, and each has a true cost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import isabstract

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.test_functions.base import MultiObjectiveTestProblem
from torch import Tensor
from torch.quasirandom import SobolEngine

from botorch_flexibo.exceptions import InvalidOutcomesError
from botorch_flexibo.utils.checks import (
    check_floating,
    check_mask,
    check_real,
    check_seed,
    finite_number,
    is_count,
)


class DecoupledProblem(MultiObjectiveTestProblem, ABC):
    r"""A multi-objective problem whose outcomes are measured one by one, at a cost.

    It is a BoTorch problem (``bounds``, ``ref_point``, ``max_hv``, ``forward``) with
    two more abilities: :meth:`evaluate` measures a chosen subset of the ``m`` outcomes
    of each design, and :meth:`cost` tells the *true* price of each of them. What an
    optimiser believes about costs is a model of its own, never this method.

    All outcomes are to be **maximised** and ``ref_point`` lies below the Pareto front.
    A subclass of a BoTorch problem that is minimised by default therefore sets
    ``negate=True``. It turns the sign of ``_evaluate_true`` and of ``_ref_point``: a
    problem with a ``_measure`` of its own, which neither ``negate`` nor ``noise_std``
    reaches, refuses both. It returns values to maximise, and gives ``_ref_point``
    likewise.

    A subclass provides ``outcome_names``, ``cost_unit``, :meth:`cost` and BoTorch's
    ``_evaluate_true``; one with a finite design set assigns ``self.choices``; one
    whose outcomes really are measured separately (a training run, a power meter)
    also overrides ``_measure``; one whose designs must be prepared (a network that
    is trained before its accuracy can be measured) also overrides :meth:`setup_cost`.

    Attributes:
        outcome_names: Name of each of the ``m`` outcomes.
        cost_unit: Label of the unit of all costs, for example ``"s"``.
        setup_features: The columns that define what is set up: designs that are equal
            there share one set-up. None means all columns.
        setup_outcomes: For each outcome whether it needs the set-up. None means that
            all do.
        target_fidelities: The columns that are fidelities (training epochs, a share of
            the data), with the value at which an outcome is the one to optimise.
            Measurements at other values only inform. Empty means there are none.
        knows_truth: Whether ``evaluate_true`` is at hand, from a formula or a table. If
            it needs measurements that nobody paid for, the front that a model
            identifies is not judged.
        handles_negate_and_noise: Whether a ``_measure`` of its own applies ``negate``
            and ``noise_std``, as ``forward`` does, so that both may be set.

    Example:
        >>> import torch
        >>> from botorch_flexibo.test_functions import DecoupledProblem, DecoupledZDT1
        >>> problem = DecoupledZDT1(dim=3, costs=(10.0, 1.0))
        >>> isinstance(problem, DecoupledProblem)
        True
        >>> X = problem.discretize(2, seed=0)
        >>> mask = torch.tensor([[True, False], [False, True]])
        >>> problem.evaluate(X, mask).isnan().tolist()
        [[False, True], [True, False]]
        >>> problem.cost(X)[mask].sum().item()  # price of these two measurements
        11.0
    """

    bounds: Tensor
    ref_point: Tensor
    outcome_names: tuple[str, ...]
    cost_unit: str = "units"
    setup_features: Sequence[int] | None = None
    setup_outcomes: tuple[bool, ...] | None = None
    target_fidelities: dict[int, float] = {}
    knows_truth: bool = True
    handles_negate_and_noise: bool = False

    @property
    def choices(self) -> Tensor | None:
        r"""The ``n x d`` finite design set, or None for a continuous problem."""
        return self._buffers.get("_choices")

    @choices.setter
    def choices(self, value: Tensor) -> None:
        # A buffer, so that `problem.to(...)` moves the designs as well.
        self.register_buffer("_choices", value)

    @property
    def noise_std(self) -> float | list[float] | None:
        r"""Standard deviation of the noise, one for all outcomes or one for each.

        Raises:
            InputDataError: If it is set to what is neither finite and not negative, nor
                a list of ``m`` such numbers, nor None; or if the problem has a
                ``_measure`` of its own, which would ignore it.
        """
        return self._noise_std

    @noise_std.setter
    def noise_std(self, value: float | list[float] | None) -> None:
        several = isinstance(value, (list, tuple))
        numbers = [finite_number(one) for one in (value if several else [value])]
        known = all(number is not None and number >= 0 for number in numbers)
        m = len(self._ref_point)
        if value is not None and (not known or (several and len(numbers) != m)):
            raise InputDataError(
                "Expected noise_std to be finite and >= 0, one number or a list of"
                f" {m}, but got {value!r}. Pass None for no noise."
            )
        if any(numbers):
            self._refuse_if_ignored("noise_std", None, value)
        self._noise_std = value

    @property
    def negate(self) -> bool:
        r"""Whether the sign of ``_evaluate_true`` and ``_ref_point`` is turned.

        Raises:
            InputDataError: If it is set to True and the problem has a ``_measure`` of
                its own, which would ignore it.
        """
        return self._negate

    @negate.setter
    def negate(self, value: bool) -> None:
        if value:
            self._refuse_if_ignored("negate", False, value)
        self._negate = value

    def _refuse_if_ignored(self, name: str, default: object, value: object) -> None:
        r"""Refuse what only ``forward`` applies if ``_measure`` does without it.

        A class that derives from a complete problem may override ``_measure`` around
        that of the problem, by ``super()``. If all there is to derive from is abstract,
        what it returns is what it measured.

        Args:
            name: The name of the option.
            default: The value that changes nothing.
            value: The value that was passed.

        Raises:
            InputDataError: If the option would be ignored.
        """
        mro = type(self).__mro__
        own = [k for k, c in enumerate(mro) if "_measure" in vars(c)]
        own = [k for k in own if mro[k] is not DecoupledProblem]
        if not own or self.handles_negate_and_noise:
            return
        behind = [c for c in mro[own[-1] + 1 :] if issubclass(c, DecoupledProblem)]
        if not all(isabstract(c) for c in behind):
            return
        raise InputDataError(
            f"Expected {name}={default} for {type(self).__name__}, whose own _measure"
            f" it does not reach, but got {value!r}. Return values to maximise from"
            " _measure, with their noise, and give _ref_point likewise; or apply both"
            " there, as forward does, and set handles_negate_and_noise = True."
        )

    @property
    def categorical_features(self) -> list[int]:
        r"""Indices of the categorical columns of ``X`` (empty if there are none)."""
        return list(self.categorical_inds)

    @abstractmethod
    def cost(self, X: Tensor) -> Tensor:
        r"""Price each outcome of each design, measured alone.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape x m`` tensor of true costs, strictly positive, in
            ``cost_unit``. What the set-up costs is not included. The loop asks when it
            pays, after it has measured: a problem may say what that really took.
        """

    def setup_cost(self, X: Tensor) -> Tensor:
        r"""Price setting each design up, before outcomes that need it are measured.

        It is paid once per distinct values of the columns ``setup_features``, by the
        first measurement of an outcome that needs it, and should depend on these
        columns only. The default is free of charge.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape`` tensor of true costs, not negative, in ``cost_unit``.
        """
        return X.new_zeros(X.shape[:-1])

    def evaluate(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        r"""Measure the chosen outcomes of each design.

        Noise is that of BoTorch's ``forward``: ``noise_std`` per outcome, drawn from
        torch's global random number generator, and none if ``noise_std`` is None.

        Args:
            X: An ``n x d`` tensor of designs within ``bounds``.
            evaluation_mask: An ``n x m`` boolean tensor: which outcomes to measure.

        Returns:
            An ``n x m`` tensor of outcomes to maximise, NaN exactly where
            ``evaluation_mask`` is False.

        Raises:
            BotorchTensorDimensionError: If a tensor has the wrong shape.
            InputDataError: If a tensor has the wrong dtype, or if a design lies outside
                ``bounds`` or has a fractional value in an integer column.
            InvalidOutcomesError: If the problem returns something else than numbers of
                that shape.
        """
        self._validate_designs(X)
        self._validate_mask(evaluation_mask, n=X.shape[0])
        mask = evaluation_mask.to(X.device)
        # Copies: a problem may change what it is given.
        Y = self._checked_values(self._measure(X.clone(), mask.clone()), X)
        return torch.where(mask, Y, torch.full_like(Y, torch.nan))

    def _checked_values(self, values: object, X: Tensor) -> Tensor:
        """What ``_measure`` returned, as floating-point numbers."""
        shape = (len(X), self.num_objectives)
        try:
            Y = torch.as_tensor(values, device=X.device)
            Y = Y if Y.is_floating_point() else Y.to(X)
        except (TypeError, ValueError, RuntimeError):
            Y = None
        if Y is None or Y.shape != shape:
            got = values if Y is None else f"shape {tuple(Y.shape)}: {Y.tolist()}"
            raise InvalidOutcomesError(
                f"Expected _measure of {type(self).__name__} to return a tensor of"
                f" shape {shape}, one row per design and one column per outcome, but"
                f" got {got}. Return NaN where nothing was measured."
            )
        return Y

    def discretize(self, n: int, seed: int) -> Tensor:
        r"""Draw ``n`` designs, for methods that need a finite design set.

        Scrambled Sobol designs in ``bounds``, integer columns with equal probability of
        each value; on a problem with ``choices``, a random subset of them. The same
        ``seed`` gives the same designs, and the global random number generator is
        neither read nor advanced.

        Args:
            n: The number of designs, at least 1.
            seed: Seed of the design set.

        Returns:
            An ``n x d`` tensor of designs, with the dtype and device of ``bounds``.

        Raises:
            ValueError: If ``n`` is no whole number, smaller than 1 or larger than the
                number of ``choices``.
            InputDataError: If ``seed`` is no whole number.
        """
        if not is_count(n):
            raise ValueError(
                f"Expected a whole number `n` >= 1, got {n!r}. Ask for at least one"
                " design."
            )
        seed = check_seed(seed)
        choices = self.choices
        if choices is not None:
            if n > choices.shape[0]:
                raise ValueError(
                    f"Expected `n` <= {choices.shape[0]}, the number of designs of "
                    f"this problem, got {n}. Use all of them: `problem.choices`."
                )
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randperm(choices.shape[0], generator=generator)[:n]
            return choices[rows.to(choices.device)]
        engine = SobolEngine(self.dim, scramble=True, seed=seed)
        lower, upper = self.bounds[0], self.bounds[1]
        unit = engine.draw(n, dtype=torch.float64).to(self.bounds)
        X = lower + unit * (upper - lower)
        inds = self.discrete_inds + self.categorical_inds
        if inds:
            levels = upper[inds] - lower[inds] + 1
            X[:, inds] = (lower[inds] + (unit[:, inds] * levels).floor()).clamp(
                max=upper[inds]
            )
        return X

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        r"""Measure at least the outcomes of the mask; both arguments are validated.

        The default computes all outcomes. A problem on which a measurement takes time
        overrides this method and does only what ``evaluation_mask`` asks for.

        What it returns is taken as it is: neither ``negate`` nor ``noise_std`` is
        applied to it, as they are in ``forward``, which the default calls. An error to
        minimise is returned with its sign turned, and its entry of ``_ref_point`` is
        given likewise. A problem that sets ``negate`` or ``noise_std`` all the same is
        refused, unless ``handles_negate_and_noise`` says that this method applies them.

        Args:
            X: An ``n x d`` tensor of designs.
            evaluation_mask: An ``n x m`` boolean tensor.

        Returns:
            An ``n x m`` tensor of outcomes to maximise; entries where the mask is False
            are ignored.
        """
        return self.forward(X)

    def _validate_columns(self, X: object) -> Tensor:
        r"""Raise unless ``X`` is a ``batch_shape x d`` tensor of real numbers.

        Args:
            X: The tensor to check.

        Returns:
            The tensor.

        Raises:
            BotorchTensorDimensionError: If the last dimension is not ``d``.
            InputDataError: If it is no tensor of real numbers.
        """
        points = check_real(X, "X")
        if points.ndim == 0 or points.shape[-1] != self.dim:
            raise BotorchTensorDimensionError(
                f"Expected `X` of shape `batch_shape x {self.dim}`, got "
                f"{tuple(points.shape)}. Pass one design per row."
            )
        return points

    def _validate_designs(self, X: Tensor) -> None:
        r"""Raise unless ``X`` is an ``n x d`` floating-point tensor of valid designs.

        Args:
            X: The tensor to check.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If the dtype, the device or a value is not allowed.
        """
        check_floating(X, "X")
        if X.ndim != 2 or X.shape[-1] != self.dim:
            raise BotorchTensorDimensionError(
                f"Expected `X` of shape `n x {self.dim}`, got {tuple(X.shape)}. Pass "
                "one design per row; for a single design use `x.unsqueeze(0)`."
            )
        if X.device != self.bounds.device:
            raise InputDataError(
                f"Expected `X` on the device of the bounds, {self.bounds.device}, got "
                f"{X.device}. Move it with `X.to(problem.bounds.device)`."
            )
        outside = ~((X >= self.bounds[0]) & (X <= self.bounds[1])).all(dim=-1)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise InputDataError(
                f"Expected designs within the bounds {self.bounds.tolist()}, got row "
                f"{row} = {X[row].tolist()}. Pass `X` in the space of `problem.bounds`."
            )
        inds = self.discrete_inds + self.categorical_inds
        fractional = (X[:, inds] != X[:, inds].round()).any(dim=-1)
        if fractional.any():
            row = int(fractional.nonzero()[0])
            raise InputDataError(
                f"Expected integers in the columns {inds} of `X`, got row {row} = "
                f"{X[row].tolist()}. Round these columns first."
            )

    def _validate_mask(self, evaluation_mask: Tensor, n: int) -> None:
        r"""Raise unless ``evaluation_mask`` is an ``n x m`` boolean tensor.

        Args:
            evaluation_mask: The tensor to check.
            n: The number of designs.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x m``.
            InputDataError: If it is no tensor of booleans.
        """
        check_mask(evaluation_mask, "evaluation_mask")
        expected = (n, self.num_objectives)
        if tuple(evaluation_mask.shape) != expected:
            raise BotorchTensorDimensionError(
                f"Expected `evaluation_mask` of shape {expected} (n x m), got "
                f"{tuple(evaluation_mask.shape)}. Pass one row per design and one "
                "column per outcome."
            )
