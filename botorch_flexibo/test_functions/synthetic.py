r"""BoTorch's multi-objective problems with a constant cost per outcome."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

import torch
from botorch.test_functions.multi_objective import (
    DTLZ2,
    ZDT1,
    ZDT2,
    BraninCurrin,
    VehicleSafety,
)
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions._tables import as_list
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.checks import finite_number, is_count


def check_outcome_costs(costs: Sequence[float], num_outcomes: int) -> list[float]:
    r"""Validate constant costs, one per outcome.

    Args:
        costs: The cost of each outcome.
        num_outcomes: The number ``m`` of outcomes.

    Returns:
        The ``m`` costs.

    Raises:
        InvalidCostError: If there are not ``m`` costs, or one is not finite or not
            strictly positive. It is a ``ValueError``.
    """
    given = as_list(costs)
    if given is None or len(given) != num_outcomes:
        raise InvalidCostError(
            f"Expected {num_outcomes} costs, one per outcome, got {costs!r}. Pass as "
            "many costs as the problem has objectives."
        )
    values = [finite_number(cost) for cost in given]
    allowed = [value for value in values if value is not None and value > 0]
    if len(allowed) < len(values):
        raise InvalidCostError(
            f"Expected finite costs > 0, got {given}. Give a measurement that is "
            "free a small positive cost."
        )
    return allowed


def check_dim(dim: object) -> None:
    r"""Refuse what is no number of design variables.

    Args:
        dim: The number ``d``.

    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    if not is_count(dim):
        raise ValueError(
            f"Expected a whole number `dim` >= 1, got {dim!r}. Ask for a design"
            " variable."
        )


class _ConstantCostProblem(DecoupledProblem, ABC):
    r"""A problem on which measuring outcome ``i`` costs ``costs[i]`` at every design.

    Attributes:
        costs: An ``m`` tensor of true costs, strictly positive, in ``cost_unit``.
    """

    costs: Tensor

    def cost(self, X: Tensor) -> Tensor:
        r"""Price each outcome of each design, measured alone.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape x m`` tensor of true costs, strictly positive, in
            ``cost_unit``;
            the same for all designs.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
        """
        X = self._validate_columns(X)
        dtype = X.dtype if X.is_floating_point() else self.costs.dtype
        costs = self.costs.to(device=X.device, dtype=dtype)
        return costs.expand(*X.shape[:-1], -1).clone()

    def _set_costs(self, costs: Sequence[float]) -> None:
        r"""Validate the costs and register them as a buffer.

        Args:
            costs: The cost of each outcome.

        Raises:
            InvalidCostError: If there are not ``m`` costs, or one is not finite or not
                strictly positive. It is a ``ValueError``.
        """
        values = check_outcome_costs(costs, self.num_objectives)
        self.register_buffer("costs", torch.tensor(values, dtype=self.bounds.dtype))


class DecoupledBraninCurrin(_ConstantCostProblem, BraninCurrin):
    r"""BoTorch's ``BraninCurrin`` (d = 2, m = 2) with a constant cost per outcome.

    The designs lie in ``[0, 1]^2``. With ``negate=True`` both outcomes are maximised
    and the reference point is (-18, -6).

    Example:
        >>> from botorch_flexibo.test_functions import DecoupledBraninCurrin
        >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
        >>> problem.ref_point.tolist(), problem.outcome_names
        ([-18.0, -6.0], ('branin', 'currin'))
    """

    outcome_names = ("branin", "currin")

    def __init__(
        self,
        *,
        costs: Sequence[float] = (10.0, 1.0),
        noise_std: float | list[float] | None = None,
        negate: bool = True,
    ) -> None:
        r"""Set up the problem.

        Args:
            costs: Cost of measuring (Branin, Currin), strictly positive, in "units".
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            negate: Whether to negate the outcomes, so that they are maximised. False
                gives BoTorch's minimisation problem.
        """
        super().__init__(noise_std=noise_std, negate=negate)
        self._set_costs(costs)


class DecoupledZDT1(_ConstantCostProblem, ZDT1):
    r"""BoTorch's ``ZDT1`` (m = 2, convex front) with a constant cost per outcome.

    The designs lie in ``[0, 1]^d``; the first outcome depends on the first column
    only. With ``negate=True`` both outcomes are maximised, reference point (-11, -11).

    Example:
        >>> from botorch_flexibo.test_functions import DecoupledZDT1
        >>> problem = DecoupledZDT1(dim=4)
        >>> problem.cost(problem.discretize(2, seed=0)).tolist()
        [[10.0, 1.0], [10.0, 1.0]]
    """

    outcome_names = ("f1", "f2")

    def __init__(
        self,
        dim: int = 6,
        *,
        costs: Sequence[float] = (10.0, 1.0),
        noise_std: float | list[float] | None = None,
        negate: bool = True,
    ) -> None:
        r"""Set up the problem.

        Args:
            dim: The number ``d`` of design variables, at least 2.
            costs: Cost of measuring (f1, f2), strictly positive, in "units".
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            negate: Whether to negate the outcomes, so that they are maximised. False
                gives BoTorch's minimisation problem.
        """
        check_dim(dim)
        super().__init__(dim=dim, noise_std=noise_std, negate=negate)
        self._set_costs(costs)


class DecoupledZDT2(_ConstantCostProblem, ZDT2):
    r"""BoTorch's ``ZDT2`` (m = 2, concave front) with a constant cost per outcome.

    The designs lie in ``[0, 1]^d``; the first outcome depends on the first column
    only. With ``negate=True`` both outcomes are maximised, reference point (-11, -11).

    Example:
        >>> from botorch_flexibo.test_functions import DecoupledZDT2
        >>> problem = DecoupledZDT2(dim=6, costs=(3.0, 1.0))
        >>> problem.costs.tolist(), problem.cost_unit
        ([3.0, 1.0], 'units')
    """

    outcome_names = ("f1", "f2")

    def __init__(
        self,
        dim: int = 6,
        *,
        costs: Sequence[float] = (10.0, 1.0),
        noise_std: float | list[float] | None = None,
        negate: bool = True,
    ) -> None:
        r"""Set up the problem.

        Args:
            dim: The number ``d`` of design variables, at least 2.
            costs: Cost of measuring (f1, f2), strictly positive, in "units".
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            negate: Whether to negate the outcomes, so that they are maximised. False
                gives BoTorch's minimisation problem.
        """
        check_dim(dim)
        super().__init__(dim=dim, noise_std=noise_std, negate=negate)
        self._set_costs(costs)


class DecoupledDTLZ2(_ConstantCostProblem, DTLZ2):
    r"""BoTorch's ``DTLZ2`` (any m >= 2) with a constant cost per outcome.

    The designs lie in ``[0, 1]^d``. With ``negate=True`` all outcomes are maximised and
    the reference point is (-1.1, ..., -1.1).

    Example:
        >>> from botorch_flexibo.test_functions import DecoupledDTLZ2
        >>> problem = DecoupledDTLZ2(dim=4, num_objectives=3)
        >>> problem.outcome_names, problem.costs.tolist()
        (('f1', 'f2', 'f3'), [100.0, 10.0, 1.0])
    """

    def __init__(
        self,
        dim: int = 6,
        num_objectives: int = 2,
        *,
        costs: Sequence[float] | None = None,
        noise_std: float | list[float] | None = None,
        negate: bool = True,
    ) -> None:
        r"""Set up the problem.

        Args:
            dim: The number ``d`` of design variables, larger than ``num_objectives``.
            num_objectives: The number ``m`` of outcomes, at least 2.
            costs: Cost of measuring each of the ``m`` outcomes, strictly positive, in
                "units"; None for ``(10 ** (m - 1), ..., 10, 1)``.
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            negate: Whether to negate the outcomes, so that they are maximised. False
                gives BoTorch's minimisation problem.

        Raises:
            ValueError: If ``num_objectives`` is smaller than 2, or ``dim`` not larger
                than it.
        """
        if not is_count(num_objectives, least=2):
            raise ValueError(
                f"Expected a whole number `num_objectives` >= 2, got "
                f"{num_objectives!r}. With a single outcome there is nothing to "
                "decouple."
            )
        check_dim(dim)
        super().__init__(
            dim=dim, num_objectives=num_objectives, noise_std=noise_std, negate=negate
        )
        self.outcome_names = tuple(f"f{i + 1}" for i in range(num_objectives))
        if costs is None:
            costs = [10.0**i for i in reversed(range(num_objectives))]
        self._set_costs(costs)


class DecoupledVehicleSafety(_ConstantCostProblem, VehicleSafety):
    r"""BoTorch's ``VehicleSafety`` (d = 5, m = 3) with a constant cost per outcome.

    The designs lie in ``[1, 3]^5``: the thickness of five members of a car's front. The
    outcomes are its mass and two results of crash simulations, the acceleration in a
    frontal crash and the intrusion of the toe board in an offset crash. With
    ``negate=True`` all are maximised and the reference point is (-1864.72022,
    -11.81993945, -0.2903999384). BoTorch's ``max_hv`` is that of an approximate front.

    Example:
        >>> from botorch_flexibo.test_functions import DecoupledVehicleSafety
        >>> problem = DecoupledVehicleSafety()
        >>> problem.outcome_names, problem.costs.tolist()
        (('mass', 'acceleration', 'intrusion'), [1.0, 3.0, 10.0])
    """

    outcome_names = ("mass", "acceleration", "intrusion")

    def __init__(
        self,
        *,
        costs: Sequence[float] = (1.0, 3.0, 10.0),
        noise_std: float | list[float] | None = None,
        negate: bool = True,
    ) -> None:
        r"""Set up the problem.

        Args:
            costs: Cost of measuring (mass, acceleration, intrusion), strictly positive,
                in "units".
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            negate: Whether to negate the outcomes, so that they are maximised. False
                gives BoTorch's minimisation problem.
        """
        super().__init__(noise_std=noise_std, negate=negate)
        self._set_costs(costs)
