r"""Policies by name: what an experiment can store of its acquisition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botorch.exceptions.errors import InputDataError

from botorch_flexibo.acquisition import HypervolumeLoss
from botorch_flexibo.optim import SearchOptions
from botorch_flexibo.policies import (
    AcquisitionPolicy,
    DiscretizedPolicy,
    FlexiBOFactory,
    HVKGFactory,
    LookaheadFactory,
    Policy,
)


def _lookahead(*, loss: str = "balanced", **options: Any) -> Policy:
    if loss not in _LOSSES:
        raise InputDataError(f"Expected a loss of {list(_LOSSES)}, but got {loss!r}.")
    return AcquisitionPolicy(LookaheadFactory(loss=_LOSSES[loss], **options))


def _flexibo(*, num_designs: int = 1000, **options: Any) -> Policy:
    policy = AcquisitionPolicy(FlexiBOFactory(**options))
    return DiscretizedPolicy(policy, num_designs)


def _hvkg(**options: Any) -> Policy:
    search = SearchOptions(raw_samples=512, num_restarts=1, maxiter=200)
    return AcquisitionPolicy(HVKGFactory(**options), options=search)


_LOSSES = {
    "balanced": HypervolumeLoss.balanced,
    "region": HypervolumeLoss.region,
    "pessimistic": HypervolumeLoss.pessimistic,
    "optimistic": HypervolumeLoss.optimistic,
    "knowledge_gradient": HypervolumeLoss.knowledge_gradient,
}
_POLICIES: dict[str, Callable[..., Policy]] = {
    "lookahead": _lookahead,
    "flexibo": _flexibo,
    "hvkg": _hvkg,
}


def build_policy(name: str, options: Mapping[str, Any]) -> Policy:
    r"""The policy of a name.

    Args:
        name: ``"lookahead"`` (look-ahead FlexiBO), ``"flexibo"`` (as published, on
            Sobol designs), ``"hvkg"`` (BoTorch's decoupled hypervolume knowledge
            gradient) or ``"pabo"``.
        options: Numbers and strings that its factory takes: ``beta``, ``num_designs``,
            ``quadrature_nodes``, ``loss``, ``num_pareto``, ...

    Returns:
        The policy.

    Raises:
        InputDataError: If there is no such policy or option.
    """
    if name not in _POLICIES:
        raise InputDataError(
            f"Expected an acquisition of {list(_POLICIES)}, but got {name!r}."
        )
    try:
        return _POLICIES[name](**options)
    except TypeError as error:
        raise InputDataError(
            f"Expected options of the acquisition {name!r}, but got"
            f" {sorted(options)}: {error}."
        ) from error
