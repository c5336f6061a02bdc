r"""Shift networks that were trained beforehand, with their learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.errors import InputDataError
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from botorch_flexibo.test_functions._deep_shift_outcomes import (
    ANALYTIC_SECONDS,
    MAX_ERROR,
    check_objectives,
    log_emissions,
)
from botorch_flexibo.test_functions._deep_shift_space import DeepShiftSpace
from botorch_flexibo.test_functions.tabular import TabularProblem

EPOCHS = (1, 3, 9, 27)
_CONVOLUTIONS = 4  # of the recorded network


class RecordedDeepShift(TabularProblem):
    r"""Designs of :class:`DeepShiftProblem` with recorded trainings, at each fidelity.

    Some hundred designs of the live problem for the digits data set and the small
    convolutional network, the default and the float network among them, were trained
    once each; ``choices`` are all of these at all numbers of epochs. Columns, outcomes
    and reference point are those of the live problem, which accepts its designs.

    The cost of an error is the CPU time, in seconds, that the training needed up to
    that epoch when it was recorded; the analytic outcomes are assumed to cost 0.01 s.

    NOTE: a table has no memory, so that a higher fidelity of a design costs its whole
    training and not only the further epochs, as in the live problem. Methods that climb
    from fidelity to fidelity pay more here than there.

    ``max_hv`` and the true front are those of the designs at the target fidelity.

    Example:
        >>> from botorch_flexibo.test_functions.deep_shift import (
        ...     RecordedDeepShift,
        ...     recorded_learning_curves,
        ... )
        >>> problem = RecordedDeepShift()
        >>> problem.outcome_names, problem.target_fidelities
        (('error', 'energy'), {11: 3.0})
        >>> len(problem.choices) == 4 * len(recorded_learning_curves())
        True
    """

    _test_errors: Tensor

    def __init__(
        self,
        objectives: Sequence[str] = ("error", "energy"),
        *,
        epochs: Sequence[int] = EPOCHS,
        ref_point: Sequence[float] | None = None,
        noise_std: float | list[float] | None = None,
    ) -> None:
        r"""Read the recorded trainings.

        Args:
            objectives: Two or more of ``"error"``, ``"energy"``,
                ``"multiplications"`` and ``"emissions"``.
            epochs: The fidelities: ascending numbers of epochs, 1..27. The last is the
                target; with only one, there is no column for the epochs.
            ref_point: Reference point on the maximised scale; None for that of the live
                problem.
            noise_std: Standard deviation of the noise added to the maximised outcomes,
                one for all or a list with one per outcome; None for none.

        Raises:
            InputDataError: If the epochs are not ascending or not recorded.
            ValueError: If the objectives are not two or more of those known.
        """
        names = check_objectives(objectives)
        space = DeepShiftSpace(_CONVOLUTIONS, tuple(epochs))
        table = recorded_learning_curves()
        if f"error_{space.epochs[-1]}" not in table:
            raise InputDataError(
                f"Expected recorded numbers of epochs, 1..{EPOCHS[-1]}, but got"
                f" {space.epochs}. Train longer with DeepShiftProblem."
            )
        outcomes, costs = zip(
            *(_at_epoch(table, names, e) for e in space.epochs), strict=True
        )
        if ref_point is None:
            # The float network: all its rows are alike but for the error.
            floats = table[table["shift_depth"] == 0].iloc[:1].assign(error_1=MAX_ERROR)
            ref_point = _at_epoch(floats, names, 1)[0][0].tolist()
        designs = [space.encoded(table.assign(epochs=e)) for e in space.epochs]
        super().__init__(
            torch.cat(designs),
            torch.cat(outcomes),
            torch.cat(costs),
            ref_point=ref_point,
            outcome_names=names,
            cost_unit="s",
            categorical_features=space.kinds[2],
            noise_std=noise_std,
        )
        self.input_names = space.columns
        self.target_fidelities = space.target_fidelities
        self.space = space
        test_errors = torch.tensor(table["test_error"].to_numpy(dtype=float))
        self.register_buffer("_test_errors", test_errors.repeat(len(space.epochs)))

    def decode(self, X: Tensor) -> pd.DataFrame:
        r"""Turn designs into readable values, see :meth:`DeepShiftProblem.decode`.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            A data frame with ``n`` rows.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        self._validate_designs(X)
        return self.space.decoded(X)

    def test_scores(self, X: Tensor) -> Tensor:
        r"""Test errors of the networks after the last recorded epoch.

        Args:
            X: An ``n x d`` tensor of designs of the table, at any fidelity.

        Returns:
            An ``n`` tensor: the shares of the test images that the networks get wrong.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is not in the table.
        """
        errors = self._test_errors
        return errors[self.indices(X).to(errors.device)].to(X)

    @cached_property
    def _pareto_rows(self) -> Tensor:
        rows = torch.arange(len(self._table))
        for column, target in self.target_fidelities.items():
            rows = rows[self._table[rows, column] == target]
        Y = self.Y.cpu()[rows]
        return rows[is_non_dominated(Y, deduplicate=False)]


def recorded_learning_curves() -> pd.DataFrame:
    r"""The recorded trainings of :class:`RecordedDeepShift`.

    Returns:
        One row per network: its settings, with logarithms of the rates and nothing
        where a parameter has no effect; the modelled ``energy_nj`` of an inference and
        the share of its products that are ``multiplications``; the ``test_error`` after
        the last epoch; and for each epoch ``e`` the validation error ``error_<e>`` and
        the CPU time ``cpu_seconds_<e>`` up to its end.
    """
    folder = files("botorch_flexibo.test_functions") / "data"
    with (folder / "deep_shift_digits.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip", comment="#")


def _at_epoch(
    table: pd.DataFrame, names: Sequence[str], epoch: int
) -> tuple[Tensor, Tensor]:
    """Maximised outcomes and their costs, ``n x m`` each."""
    energy = table["energy_nj"].map(math.log10)
    values = {
        "error": -table[f"error_{epoch}"],
        "energy": -energy,
        "emissions": -energy.map(log_emissions),
        "multiplications": -table["multiplications"],
    }
    outcomes = np.stack([values[name].to_numpy(dtype=float) for name in names], axis=-1)
    costs = np.full_like(outcomes, ANALYTIC_SECONDS)
    if "error" in names:
        costs[:, names.index("error")] = table[f"cpu_seconds_{epoch}"]
    return torch.from_numpy(outcomes), torch.from_numpy(costs)
