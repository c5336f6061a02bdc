r"""Look-up problems: every design was measured beforehand and stands in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from botorch.exceptions.errors import InputDataError
from botorch.utils.multi_objective.box_decompositions.dominated import (
    DominatedPartitioning,
)
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from botorch_flexibo.test_functions._tables import (
    as_list,
    check_frame,
    check_names,
    check_table,
    cost_columns,
    encode_inputs,
    index_designs,
    numeric_columns,
    outcome_signs,
    split_columns,
)
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.checks import check_real
from botorch_flexibo.utils.fronts import as_ref_point, check_volume


class TabularProblem(DecoupledProblem):
    r"""A finite problem read from a table of designs, outcomes and costs.

    ``choices`` are the designs, and a design is found by exact equality: anything that
    is not a row of the table is an error, never interpolated. The true Pareto front and
    ``max_hv`` follow from the table, are exact, and are computed when first used. With
    three or more outcomes the exact hypervolume of a large front takes long.

    All outcomes are maximised: negate a column that is to be minimised, or let
    :meth:`from_pandas` do it. Evaluations carry no gradient with respect to ``X``.

    Attributes:
        Y: The ``n x m`` true outcomes of ``choices``, to be maximised.
        costs: The ``n x m`` true costs of ``choices``, in ``cost_unit``.
        input_names: Name of each of the ``d`` columns of ``X``.
        categories: For each column whose values are codes ``0, 1, ...``, its name and
            what the codes stand for.

    Example:
        >>> import torch
        >>> from botorch_flexibo.test_functions import TabularProblem
        >>> problem = TabularProblem(
        ...     X=torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64),
        ...     Y=torch.tensor([[1.0, 3.0], [2.0, 2.0], [1.0, 1.0]]),
        ...     costs=torch.tensor([[10.0, 1.0], [20.0, 1.0], [30.0, 1.0]]),
        ...     ref_point=[0.0, 0.0],
        ...     outcome_names=["accuracy", "speed"],
        ...     cost_unit="s",
        ... )
        >>> problem.pareto_indices.tolist(), problem.max_hv
        ([0, 1], 5.0)
        >>> problem.cost(problem.choices[:1]).tolist()
        [[10.0, 1.0]]
    """

    Y: Tensor
    costs: Tensor

    def __init__(
        self,
        X: Tensor,
        Y: Tensor,
        costs: Tensor,
        *,
        ref_point: Sequence[float] | Tensor,
        outcome_names: Sequence[str],
        cost_unit: str,
        categorical_features: Sequence[int] = (),
        noise_std: float | list[float] | None = None,
    ) -> None:
        r"""Set up the problem; everything is stored in double precision.

        Args:
            X: The ``n x d`` designs, all different. ``bounds`` are the smallest and
                the largest value of each column.
            Y: The ``n x m`` true outcomes, to be maximised, finite.
            costs: The ``n x m`` true costs of measuring each outcome alone, finite and
                strictly positive, in ``cost_unit``.
            ref_point: The ``m`` values below which an outcome is of no interest.
            outcome_names: Name of each of the ``m`` outcomes.
            cost_unit: Label of the unit of all costs, for example ``"s"``.
            categorical_features: Columns of ``X`` that hold integer codes of unordered
                categories. Of the other columns those of integers are discrete, the
                rest continuous.
            noise_std: Standard deviation of the observation noise added to ``Y``, one
                for all outcomes or a list with one per outcome; None for none.

        Raises:
            BotorchTensorDimensionError: If a shape is wrong.
            InputDataError: If a table is no tensor of real numbers, a design or an
                outcome is not finite, a categorical column is not made of integers, a
                design occurs twice, or the hypervolume overflows.
            InvalidCostError: If a cost is not finite or not positive. It is a
                ``ValueError``.
            ValueError: If ``categorical_features`` are not distinct columns, or
                ``outcome_names`` are not ``m`` different names.
        """
        X, Y, costs = (
            check_real(table, name).detach().to(torch.float64).clone()
            for table, name in ((X, "X"), (Y, "Y"), (costs, "costs"))
        )
        check_table(X, Y, costs)
        if not isinstance(cost_unit, str):
            raise InputDataError(
                f"Expected `cost_unit` to be a string, got {cost_unit!r}. Pass the "
                'label of the unit, for example "s".'
            )
        X = X + 0.0  # -0.0 becomes 0.0
        self.dim, self.num_objectives = X.shape[-1], Y.shape[-1]
        point = as_ref_point(ref_point, Y, num_outcomes=self.num_objectives)
        check_volume(Y, point)
        self._ref_point = point.tolist()
        columns = split_columns(X, categorical_features)
        self.continuous_inds, self.discrete_inds, self.categorical_inds = columns
        lower, upper = X.amin(dim=0).tolist(), X.amax(dim=0).tolist()
        self._bounds = list(zip(lower, upper, strict=True))
        super().__init__(noise_std=noise_std, negate=False)
        self.outcome_names = check_names(outcome_names, self.num_objectives)
        self.cost_unit = cost_unit
        self.choices = X
        self.register_buffer("Y", Y)
        self.register_buffer("costs", costs)
        self.input_names = tuple(f"x{i}" for i in range(self.dim))
        self.categories: dict[str, tuple[Any, ...]] = {}
        self._table = X.cpu()  # stays in double precision under `problem.to(...)`
        self._index = {torch.float64: index_designs(self._table, torch.float64)}

    @staticmethod
    def from_pandas(
        frame: pd.DataFrame,
        *,
        inputs: Sequence[str],
        outcomes: Sequence[str],
        costs: Sequence[str | float],
        maximize: Mapping[str, bool] | Sequence[bool],
        ref_point: Sequence[float],
        cost_unit: str,
        noise_std: float | list[float] | None = None,
    ) -> TabularProblem:
        r"""Read a problem from a data frame with one design per row.

        An input column of numbers is used as it is. Any other one (strings, booleans,
        pandas categoricals) becomes a categorical column of integer codes, in *sorted*
        order of its values, so that the codes do not depend on the order of the rows; a
        pandas categorical keeps the order of its categories. ``problem.categories``
        lists them and :meth:`decode` turns designs back into values.

        An outcome with ``maximize`` False is negated and keeps its name.

        Args:
            frame: The table, one row per design.
            inputs: The ``d`` columns that make up a design.
            outcomes: The ``m`` columns that are measured.
            costs: For each outcome the name of the column with its cost, or one number
                if all designs cost the same.
            maximize: For each outcome, whether larger is better: by column name, or in
                the order of ``outcomes``.
            ref_point: The worst value of interest of each outcome, in the unit and
                direction of its column; it is negated together with the column.
            cost_unit: Label of the unit of all costs, for example ``"s"``.
            noise_std: Standard deviation of the observation noise added to outcomes,
                one for all or a list with one per outcome; None for none.

        Returns:
            The problem; row ``i`` of ``choices`` is row ``i`` of ``frame``.

        Raises:
            InputDataError: If a column is missing, a value is missing or not finite, an
                outcome or cost is not numeric, or a design occurs twice.
            InvalidCostError: If a cost is not finite or not positive.
            BotorchTensorDimensionError: If ``ref_point`` has not one value per outcome.
            ValueError: If ``costs`` or ``maximize`` do not match ``outcomes``, or
                ``inputs`` are not different columns.

        Example:
            >>> import pandas as pd
            >>> from botorch_flexibo.test_functions import TabularProblem
            >>> frame = pd.DataFrame(
            ...     {
            ...         "optimizer": ["sgd", "adam"],
            ...         "error": [0.1, 0.2],
            ...         "energy": [3.0, 2.0],
            ...         "hours": [2.0, 1.0],
            ...     }
            ... )
            >>> problem = TabularProblem.from_pandas(
            ...     frame,
            ...     inputs=["optimizer"],
            ...     outcomes=["error", "energy"],
            ...     costs=["hours", 0.1],
            ...     maximize={"error": False, "energy": False},
            ...     ref_point=[1.0, 5.0],
            ...     cost_unit="h",
            ... )
            >>> problem.choices.tolist(), problem.categories
            ([[1.0], [0.0]], {'optimizer': ('adam', 'sgd')})
            >>> problem.decode(problem.choices)["optimizer"].tolist()
            ['sgd', 'adam']
        """
        outcomes = check_names(outcomes, None)
        signs = outcome_signs(outcomes, maximize)
        prices = as_list(costs)
        if prices is None or len(prices) != len(outcomes):
            raise ValueError(
                f"Expected {len(outcomes)} costs, one per outcome, got {costs!r}. "
                "Pass a column name or a number for each outcome."
            )
        named_costs = [c for c in prices if isinstance(c, str)]
        check_frame(frame, inputs, [*outcomes, *named_costs])
        X, categories = encode_inputs(frame, inputs)
        # NOTE: not `cls(...)`: a subclass may have another constructor, as has
        # `NASBench201`, and would not be described by a frame anyway.
        problem = TabularProblem(
            X,
            numeric_columns(frame, outcomes) * signs,
            cost_columns(frame, prices),
            ref_point=as_ref_point(ref_point, num_outcomes=len(signs)) * signs,
            outcome_names=outcomes,
            cost_unit=cost_unit,
            categorical_features=[list(inputs).index(name) for name in categories],
            noise_std=noise_std,
        )
        problem.input_names = tuple(inputs)
        problem.categories = categories
        return problem

    def indices(self, X: Tensor) -> Tensor:
        r"""Find designs in the table.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape`` tensor of row numbers of ``choices``.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is not in the table.
        """
        X = self._validate_columns(X)
        dtype = X.dtype if X.is_floating_point() else torch.float64
        if dtype not in self._index:
            self._index[dtype] = index_designs(self._table, dtype)
        rows = X.detach().to("cpu", dtype).reshape(-1, self.dim)
        found = self._index[dtype].find(rows)
        missing = (found < 0).nonzero()
        if len(missing) > 0:
            row = int(missing[0])
            raise InputDataError(
                f"Expected designs of the table, got row {row} = "
                f"{rows[row].tolist()}, which is none of its {len(self._table)} "
                "designs. Take rows of `problem.choices` unchanged; rounding makes "
                "another design."
            )
        return found.reshape(X.shape[:-1]).to(X.device)

    def cost(self, X: Tensor) -> Tensor:
        r"""Price each outcome of each design, measured alone.

        Args:
            X: A ``batch_shape x d`` tensor of designs of the table.

        Returns:
            A ``batch_shape x m`` tensor of true costs, strictly positive, in
            ``cost_unit``.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is not in the table.
        """
        return self._look_up(self.costs, X)

    def decode(self, X: Tensor) -> pd.DataFrame:
        r"""Turn designs into readable values.

        Args:
            X: An ``n x d`` tensor of designs within ``bounds``.

        Returns:
            A data frame with ``n`` rows and the columns ``input_names``: the category
            where a column holds codes, an integer where all designs of the table have
            integers, a float otherwise.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a value lies outside ``bounds`` or a code is fractional.
        """
        self._validate_designs(X)
        values = X.detach().cpu().double().numpy()
        frame = pd.DataFrame(values, columns=list(self.input_names))
        integers = [self.input_names[i] for i in self.discrete_inds]
        frame = frame.astype(dict.fromkeys([*integers, *self.categories], int))
        for name, labels in self.categories.items():
            frame[name] = [labels[code] for code in frame[name]]
        return frame

    @property
    def pareto_indices(self) -> Tensor:
        r"""Rows of ``choices`` that no row dominates, ascending; ties all included."""
        return self._pareto_rows.to(self.Y.device)

    @property
    def pareto_Y(self) -> Tensor:
        r"""The true Pareto front: outcomes of ``pareto_indices``, one row each."""
        return self.Y[self.pareto_indices]

    @cached_property
    def _pareto_rows(self) -> Tensor:
        return is_non_dominated(self.Y, deduplicate=False).nonzero().squeeze(-1).cpu()

    @cached_property
    def _max_hv(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        partitioning = DominatedPartitioning(ref_point=self.ref_point, Y=self.pareto_Y)
        return float(partitioning.compute_hypervolume())

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return self._look_up(self.Y, X)

    def _look_up(self, table: Tensor, X: Tensor) -> Tensor:
        r"""Rows of an ``n x m`` table as a ``batch_shape x m`` tensor like ``X``."""
        values = table[self.indices(X).to(table.device)].to(X.device)
        return values.to(X.dtype) if X.is_floating_point() else values
