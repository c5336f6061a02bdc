r"""Policies by name: what an experiment can store of its acquisition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from botorch.exceptions.errors import InputDataError
from torch import Tensor

from botorch_flexibo.acquisition import HypervolumeLoss
from botorch_flexibo.optim import SearchOptions
from botorch_flexibo.policies import (
    AcquisitionPolicy,
    DiscretizedPolicy,
    FlexiBOFactory,
    HVKGFactory,
    LookaheadFactory,
    PABOMemory,
    PABOPolicy,
    Policy,
    Supervisor,
)
from botorch_flexibo.policies.pabo import Proposal


def _lookahead(*, loss: str = "balanced", **options: Any) -> Policy:
    if not isinstance(loss, str) or loss not in _LOSSES:
        raise InputDataError(
            f"Expected a loss of {list(_LOSSES)}, but got {loss!r}. Choose one of"
            " these."
        )
    return AcquisitionPolicy(LookaheadFactory(loss=_LOSSES[loss], **options))


def _flexibo(*, num_designs: int = 1000, **options: Any) -> Policy:
    policy = AcquisitionPolicy(FlexiBOFactory(**options))
    return DiscretizedPolicy(policy, num_designs)


def _hvkg(**options: Any) -> Policy:
    search = SearchOptions(raw_samples=512, num_restarts=1, maxiter=200)
    return AcquisitionPolicy(HVKGFactory(**options), options=search)


def _pabo(*, pareto_surrogate: bool = False, **options: Any) -> Policy:
    return PABOPolicy(Supervisor(**options), pareto_surrogate=pareto_surrogate)


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
    "pabo": _pabo,
}
# The way to parameters and back changes designs by a few units in the last place.
_TOLERANCE = 1e-9


def build_policy(name: str, options: Mapping[str, Any]) -> Policy:
    r"""The policy of a name.

    Args:
        name: ``"lookahead"`` (look-ahead FlexiBO), ``"flexibo"`` (as published, on
            Sobol designs), ``"hvkg"`` (BoTorch's decoupled hypervolume knowledge
            gradient, for continuous parameters only) or ``"pabo"`` (agents and a
            supervisor).
        options: Numbers and strings that its factory takes: ``beta``, ``num_designs``,
            ``quadrature_nodes``, ``loss``, ``num_pareto``, ``gate``, ``schedule``, ...

    Returns:
        The policy.

    Raises:
        InputDataError: If there is no such policy or option.
    """
    if not isinstance(name, str) or name not in _POLICIES:
        raise InputDataError(
            f"Expected an acquisition of {list(_POLICIES)}, but got {name!r}. Choose"
            " one of these."
        )
    try:
        return _POLICIES[name](**options)
    except TypeError as error:
        raise InputDataError(
            f"Expected options of the acquisition {name!r}, but got"
            f" {sorted(options)}: {error}. Leave out what it does not take."
        ) from error


def recall(policy: Policy, memory: Mapping[str, Any] | None, X: Tensor) -> None:
    r"""Give a policy back what it remembered at its last decision.

    Args:
        policy: The policy.
        memory: What :func:`remembered` returned, or None.
        X: A ``n x d``-dim tensor of the designs of the experiment as they are now.
    """
    if isinstance(policy, PABOPolicy) and memory is not None:
        recalled = PABOMemory.from_dict(memory)
        for proposals in (recalled.pending, recalled.closed):
            proposals[:] = [_snapped(proposal, X) for proposal in proposals]
        policy.memory = recalled


def remembered(policy: Policy) -> dict[str, Any] | None:
    """What a policy needs for its next decision, as numbers and their collections.

    Args:
        policy: The policy.

    Returns:
        The memory, None if it needs none.
    """
    if isinstance(policy, PABOPolicy) and policy.memory is not None:
        return asdict(policy.memory)
    return None


def _snapped(proposal: Proposal, X: Tensor) -> Proposal:
    """A proposal with the design of the experiment that it is."""
    if len(X) == 0:
        return proposal
    design = X.new_tensor(proposal.design)
    distance = (X - design).abs().amax(dim=-1)
    nearest = int(distance.argmin())
    if float(distance[nearest]) > _TOLERANCE * max(1.0, float(design.abs().max())):
        return proposal
    return replace(proposal, design=tuple(X[nearest].tolist()))
