r"""What a half-filled table and the settings of its models have to be."""

from __future__ import annotations

from collections.abc import Sequence

from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from torch import Tensor

from botorch_flexibo.utils.checks import (
    check_floating,
    finite_number,
    is_count,
    shape_of,
)


def check_table(X: Tensor, Y: Tensor, bounds: Tensor) -> None:
    r"""Refuse what is no half-filled table.

    Args:
        X: The designs, ``n x d``.
        Y: The outcomes, ``n x m``, NaN where not measured.
        bounds: The bounds, ``2 x d``.

    Raises:
        BotorchTensorDimensionError: If the shapes do not fit.
        InputDataError: If they are no floating-point tensors, ``X`` is not finite,
            ``Y`` infinite, or an outcome was never measured.
    """
    check_floating(X, "X")
    check_floating(Y, "Y")
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or Y.shape[-1] == 0:
        raise BotorchTensorDimensionError(
            "Expected X to be `n x d` and Y `n x m` with the same n, but got"
            f" `{shape_of(X)}` and `{shape_of(Y)}`. Pass a row per design and a column"
            " per outcome."
        )
    if X.shape[-1] != bounds.shape[-1]:
        raise BotorchTensorDimensionError(
            f"Expected X with {bounds.shape[-1]} columns, as the bounds, but got"
            f" {X.shape[-1]}. Pass the designs of that space."
        )
    if not X.isfinite().all():
        raise InputDataError(
            "Expected finite X, but got NaN or infinity. Leave such designs out."
        )
    if Y.isinf().any():
        raise InputDataError(
            "Expected Y to hold finite values or NaN (not measured), but got infinity."
            " Write NaN where a measurement failed."
        )
    missing = Y.isnan().all(dim=0).nonzero().flatten().tolist()
    if missing:
        raise InputDataError(
            f"Expected every outcome to be measured at least once, but outcomes"
            f" {missing} never were. Measure one design on all outcomes first."
        )


def check_settings(
    bounds: Tensor,
    categorical_features: Sequence[int],
    refit_growth: float,
    max_fit_rows: int,
) -> None:
    r"""Refuse settings of a fitter that make no sense.

    Args:
        bounds: The bounds, ``2 x d``.
        categorical_features: The columns of labels.
        refit_growth: By how much rows grow between fits.
        max_fit_rows: The most rows that are fitted.

    Raises:
        BotorchTensorDimensionError: If the bounds are not ``2 x d``.
        InputDataError: If they are no finite, ascending tensor, a categorical column
            does not exist, or a number is out of its range.
    """
    check_floating(bounds, "bounds")
    if bounds.ndim != 2 or len(bounds) != 2:
        raise BotorchTensorDimensionError(
            f"Expected bounds of shape `2 x d`, but got `{shape_of(bounds)}`. Pass"
            " lower and upper bounds as two rows."
        )
    if not bounds.isfinite().all() or (bounds[0] > bounds[1]).any():
        raise InputDataError(
            f"Expected finite bounds, lower <= upper, but got {bounds.tolist()}. Pass"
            " the ends of each column."
        )
    d = bounds.shape[-1]
    columns = list(categorical_features)
    if not all(is_count(c, least=0) and c < d for c in columns):
        raise InputDataError(
            f"Expected categorical_features within 0..{d - 1}, but got {columns}. Pass"
            " indices of columns."
        )
    growth = finite_number(refit_growth)
    if growth is None or growth < 0:
        raise InputDataError(
            f"Expected a finite refit_growth >= 0, but got {refit_growth!r}. Pass 0 to"
            " fit at every change."
        )
    if not is_count(max_fit_rows, least=2):
        raise InputDataError(
            f"Expected max_fit_rows >= 2, but got {max_fit_rows!r}. Fewer rows tell"
            " nothing about hyperparameters."
        )
