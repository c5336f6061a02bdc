r"""What every acquisition function of the package checks, and how it is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

from botorch_flexibo.utils.checks import (
    check_finite,
    check_floating,
    check_like,
    check_mask,
    check_points,
)


def check_designs(X: object) -> Tensor:
    r"""Refuse a design set that is empty, not a matrix or not finite.

    Args:
        X: The designs.

    Returns:
        The designs.

    Raises:
        BotorchTensorDimensionError: If ``X`` is not ``n x d`` with ``n >= 1``.
        InputDataError: If ``X`` is no floating-point tensor or not finite.
    """
    designs = check_floating(X, "X_designs")
    if designs.ndim != 2 or len(designs) == 0:
        raise BotorchTensorDimensionError(
            "Expected X_designs to be `n x d` with n >= 1, but got shape"
            f" {shape_to_str(designs.shape)}. Pass one design per row."
        )
    check_finite(designs, "X_designs")
    return designs


@contextmanager
def model_takes(X: Tensor) -> Iterator[None]:
    r"""Say what is wrong when a model cannot be asked about designs.

    Args:
        X: The ``n x d``-dim designs that it is asked about.

    Yields:
        Nothing.

    Raises:
        InputDataError: If PyTorch or BoTorch refuse them.
    """  # noqa: DOC501 (what is not the designs' fault is passed on)
    try:
        yield
    except (RuntimeError, IndexError, BotorchTensorDimensionError) as error:
        if isinstance(error, (NotPSDError, NanError, torch.OutOfMemoryError)):
            raise  # not the designs' fault
        raise InputDataError(
            "Expected X_designs with the columns, dtype and device of the model's"
            f" inputs, but got shape {shape_to_str(X.shape)}, {X.dtype} on {X.device},"
            f" and the model says: {error} Pass designs of the space that it was"
            " fitted on."
        ) from error


def check_posterior(values: Tensor, X: Tensor) -> None:
    r"""Refuse designs in another precision than the model's, and broken models.

    Args:
        values: Posterior moments of the designs.
        X: The designs.

    Raises:
        InputDataError: If the moments are NaN, or of another dtype or device.
    """
    check_like(X, "X_designs", values, "the model's posterior")
    refuse_nan(values, "posterior means and variances")


def check_candidates(X: object, designs: Tensor) -> Tensor:
    r"""Refuse candidates that cannot be scored.

    Args:
        X: A ``batch_shape x q x d``-dim tensor of candidates.
        designs: The ``n x d``-dim designs of the acquisition function.

    Returns:
        The candidates.

    Raises:
        InputDataError: If they are no tensor, not finite, or of another dtype or
            device.
        BotorchTensorDimensionError: If they have other columns.
    """
    candidates = check_floating(X, "X")
    if candidates.shape[-1] != designs.shape[-1]:
        raise BotorchTensorDimensionError(
            f"Expected X with {designs.shape[-1]} columns, as X_designs, but got shape"
            f" {shape_to_str(candidates.shape)}. Pass a `batch_shape x q x d` tensor."
        )
    check_like(candidates, "X", designs, "X_designs")
    check_finite(candidates, "X")
    return candidates


def full_mask(mask: Tensor | None, X: Tensor, num_outcomes: int) -> Tensor:
    r"""The mask of an acquisition function, all True if there is none.

    Args:
        mask: Its ``X_evaluation_mask``.
        X: A ``batch_shape x q x d``-dim tensor of candidates.
        num_outcomes: The number of outcomes ``m``.

    Returns:
        A ``q x m``-dim boolean tensor.

    Raises:
        InputDataError: If the mask is not boolean.
        BotorchTensorDimensionError: If it is not ``q x m``.
    """
    shape = torch.Size([X.shape[-2], num_outcomes])
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=X.device)
    check_mask(mask, "X_evaluation_mask")
    if mask.shape != shape:
        raise BotorchTensorDimensionError(
            f"Expected X_evaluation_mask of shape {shape_to_str(shape)} for X of"
            f" shape {shape_to_str(X.shape)}, but got {shape_to_str(mask.shape)}. Pass"
            " one row per point; optimize_acqf_decoupled takes several one by one."
        )
    return mask


def set_pending(
    acqf: DecoupledAcquisitionFunction,
    X: Tensor | None,
    evaluation_mask: Tensor | None,
    *,
    designs: Tensor,
) -> None:
    r"""Tell an acquisition function what is pending; after an error it is as before.

    Args:
        acqf: The acquisition function.
        X: A ``n' x d``-dim tensor of designs being measured, or None.
        evaluation_mask: A ``n' x m``-dim boolean tensor of their outcomes. None means
            all.
        designs: The designs of the acquisition function.
    """
    if X is not None:
        check_points(X, "X_pending", designs, "X_designs")
        check_finite(X, "X_pending")
        if evaluation_mask is None:  # BoTorch refuses it next to X_evaluation_mask
            evaluation_mask = torch.ones(
                len(X), acqf.num_outputs, dtype=torch.bool, device=X.device
            )
    if evaluation_mask is not None:
        check_mask(evaluation_mask, "X_pending_evaluation_mask")
    previous = acqf.X_pending, acqf.X_pending_evaluation_mask
    acqf.X_pending_evaluation_mask = None  # BoTorch keeps an old mask otherwise
    try:
        DecoupledAcquisitionFunction.set_X_pending(acqf, X, evaluation_mask)
    except Exception:
        acqf.X_pending, acqf.X_pending_evaluation_mask = previous
        raise


def refuse_nan(values: Tensor, name: str = "acquisition values") -> Tensor:
    r"""Let no NaN out.

    Args:
        values: What was computed.
        name: What the message calls it.

    Returns:
        The values.

    Raises:
        InputDataError: If one is NaN.
    """
    if values.isnan().any():
        raise InputDataError(
            f"Expected {name} without NaN, but got {int(values.isnan().sum())} NaN of"
            f" {values.numel()}. Check the model's posterior for NaN means or"
            " variances, and outcomes, ref_point and beta for numbers so large that"
            " volumes overflow."
        )
    return values
