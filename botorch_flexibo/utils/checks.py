r"""What numbers and tensors of users must be, before anything happens with them."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from torch import Tensor

# PyTorch takes seeds below 2^64; what is added to a seed is far less than 2^62.
_SEEDS = 2**62


def real_number(value: object) -> float | None:
    r"""A number, also in a NumPy or PyTorch scalar.

    Args:
        value: What was passed.

    Returns:
        The number, infinity included; None for NaN, booleans and all else.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    elif isinstance(value, (np.ndarray, np.generic)) and value.size == 1:
        value = value.item()
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) else number


def finite_number(value: object) -> float | None:
    r"""A number that is not infinite either.

    Args:
        value: What was passed.

    Returns:
        The number, None if it is none.
    """
    number = real_number(value)
    return None if number is None or math.isinf(number) else number


def is_count(value: object, *, least: int = 1) -> bool:
    r"""Whether something is a whole number that is large enough.

    Args:
        value: What was passed; also an integer of NumPy.
        least: The smallest number allowed.

    Returns:
        False for booleans, fractions and all else too.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return int(value) >= least


def check_count(value: object, name: str, *, least: int = 1) -> None:
    r"""Refuse what is no whole number that is large enough.

    Args:
        value: What was passed.
        name: What the message calls it.
        least: The smallest number allowed.

    Raises:
        InputDataError: If it is none.
    """
    if not is_count(value, least=least):
        raise InputDataError(
            f"Expected {name} >= {least}, but got {value!r}. Pass a whole number."
        )


def check_switch(value: object, name: str) -> None:
    r"""Refuse what is neither True nor False.

    Args:
        value: What was passed.
        name: What the message calls it.

    Raises:
        InputDataError: If it is not.
    """
    if not isinstance(value, bool):
        raise InputDataError(
            f"Expected {name} to be True or False, but got {value!r}. Leave it out for"
            " the default."
        )


def check_beta(beta: object) -> float:
    r"""Refuse what is no confidence scale.

    Args:
        beta: What was passed.

    Returns:
        The scale.

    Raises:
        InputDataError: If it is not finite, or negative.
    """
    scale = finite_number(beta)
    if scale is None or scale < 0:
        raise InputDataError(
            f"Expected a finite beta >= 0, but got {beta!r}. Pass 1 for boxes of one"
            " standard deviation to each side."
        )
    return scale


def check_seed(seed: object) -> int:
    r"""Refuse what is no seed.

    Args:
        seed: What was passed.

    Returns:
        The seed.

    Raises:
        InputDataError: If it is no whole number, or too large.
    """
    number = _SEEDS
    if isinstance(seed, Integral) and not isinstance(seed, bool):
        number = int(seed)
    if not -(2**31) <= number < _SEEDS:
        raise InputDataError(
            "Expected seed to be a whole number from -2^31 to 2^62, but got"
            f" {seed!r}. Pass 0 for the default."
        )
    return number


def check_tensor(value: object, name: str) -> Tensor:
    r"""Refuse what is no tensor.

    Args:
        value: What was passed.
        name: What the message calls it.

    Returns:
        The tensor.

    Raises:
        InputDataError: If it is none.
    """
    if not isinstance(value, Tensor):
        raise InputDataError(
            f"Expected {name} to be a tensor, but got {type(value).__name__}. Convert"
            " it with `torch.tensor(..., dtype=torch.double)`."
        )
    return value


def check_real(value: object, name: str) -> Tensor:
    r"""Refuse what is no tensor of real numbers, whole ones included.

    Args:
        value: What was passed.
        name: What the message calls it.

    Returns:
        The tensor.

    Raises:
        InputDataError: If it is none, or holds booleans or complex numbers.
    """
    tensor = check_tensor(value, name)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputDataError(
            f"Expected {name} to hold real numbers, but got {tensor.dtype}. Convert it"
            " with `.double()`."
        )
    return tensor


def check_floating(value: object, name: str) -> Tensor:
    r"""Refuse what is no tensor of real floating-point numbers.

    Args:
        value: What was passed.
        name: What the message calls it.

    Returns:
        The tensor.

    Raises:
        InputDataError: If it is none.
    """
    tensor = check_tensor(value, name)
    if not tensor.is_floating_point():
        raise InputDataError(
            f"Expected {name} of a floating-point dtype, but got {tensor.dtype}."
            " Convert real numbers with `.double()`."
        )
    return tensor


def check_mask(value: object, name: str) -> Tensor:
    r"""Refuse what is no boolean tensor.

    Args:
        value: What was passed.
        name: What the message calls it.

    Returns:
        The tensor.

    Raises:
        InputDataError: If it is none.
    """
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise InputDataError(
            f"Expected {name} to be a boolean tensor, but got {got}. Pass a"
            " `torch.bool` tensor with one column per outcome."
        )
    return value


def check_evaluation_masks(masks: object, num_outcomes: int | None = None) -> None:
    r"""Refuse what are no masks of outcomes to choose from.

    Args:
        masks: What was passed.
        num_outcomes: The number of outcomes ``m``, None if it is not known yet.

    Raises:
        InputDataError: If they are not boolean, or one is empty.
        BotorchTensorDimensionError: If they are not `k x m`.
    """
    masks = check_mask(masks, "evaluation_masks")
    m = masks.shape[-1] if num_outcomes is None and masks.ndim > 0 else num_outcomes
    if masks.ndim != 2 or masks.shape[-1] != m:
        columns = "m" if num_outcomes is None else num_outcomes
        raise BotorchTensorDimensionError(
            f"Expected evaluation_masks to be `k x {columns}`, but got shape"
            f" {shape_to_str(masks.shape)}. Pass one row per mask."
        )
    if len(masks) == 0 or not masks.any(dim=-1).all():
        raise InputDataError(
            "Expected at least one mask, each with at least one outcome, but got"
            f" {masks.tolist()}. None stands for every outcome on its own."
        )


def check_batch_cost(value: object) -> None:
    r"""Refuse what is no limit of a batch's cost.

    Args:
        value: What was passed.

    Raises:
        InputDataError: If it is no positive number; infinity is allowed.
    """
    if not (real_number(value) or 0.0) > 0:
        raise InputDataError(
            f"Expected batch_cost > 0, but got {value!r}. Leave it out for no limit."
        )


def check_like(value: Tensor, name: str, like: Tensor, like_name: str) -> None:
    r"""Refuse a tensor of another dtype or device.

    Args:
        value: The tensor.
        name: What the message calls it.
        like: What it is computed with.
        like_name: What the message calls that.

    Raises:
        InputDataError: If dtype or device differ.
    """
    if value.dtype != like.dtype or value.device != like.device:
        raise InputDataError(
            f"Expected {name} with the dtype and device of {like_name}, {like.dtype} on"
            f" {like.device}, but got {value.dtype} on {value.device}. Convert one of"
            " them with `.to(...)`."
        )


def check_points(value: object, name: str, like: Tensor, like_name: str) -> Tensor:
    r"""Refuse designs that are not those of a space or a model.

    Args:
        value: What was passed.
        name: What the message calls it.
        like: A ``... x d``-dim tensor in the same space.
        like_name: What the message calls that.

    Returns:
        The ``n x d``-dim tensor of designs, ``n = 0`` allowed.

    Raises:
        InputDataError: If it is no tensor, or of another dtype or device.
        BotorchTensorDimensionError: If it is not ``n x d``.
    """
    X = check_floating(value, name)
    if X.ndim != 2 or X.shape[-1] != like.shape[-1]:
        raise BotorchTensorDimensionError(
            f"Expected {name} to be `n x {like.shape[-1]}`, with the columns of"
            f" {like_name}, but got shape `{shape_of(X)}`. Pass one design per row."
        )
    check_like(X, name, like, like_name)
    return X


def check_finite(X: Tensor, name: str) -> None:
    r"""Refuse NaN and infinity.

    Args:
        X: A tensor.
        name: What the message calls it.

    Raises:
        InputDataError: If it is not finite.
    """
    if not X.isfinite().all():
        raise InputDataError(
            f"Expected finite {name}, but got NaN or infinity. Leave such rows out."
        )


def shape_of(X: Tensor) -> str:
    """A shape for a message, without the quotes."""
    return shape_to_str(X.shape).strip("`")
