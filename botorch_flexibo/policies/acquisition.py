r"""Policies that optimise a decoupled acquisition function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from botorch.acquisition.acquisition import OneShotAcquisitionFunction
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility, per_cost
from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.optim.decoupled import EvaluationRequest, optimize_acqf_decoupled
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies.base import DecoupledState, Policy, callable_name
from botorch_flexibo.policies.knowledge_gradient import HVKGFactory, LinearKGFactory
from botorch_flexibo.policies.lookahead import LookaheadFactory
from botorch_flexibo.utils.checks import (
    check_batch_cost,
    check_beta,
    check_count,
    check_evaluation_masks,
    check_switch,
)
from botorch_flexibo.utils.pareto_region import ConfidenceRegion, pal_beta
from botorch_flexibo.utils.rows import unique_rows

# Designs with a mask of outcomes each.
_Pairs = tuple[Tensor, Tensor]


class AcquisitionPolicy(Policy):
    r"""Builds an acquisition function at every decision and optimises it.

    Example:
        >>> policy = AcquisitionPolicy(FlexiBOFactory(), q=4)
        >>> request = policy(model, state)
        >>> request.X.shape, request.evaluation_mask.shape
        (torch.Size([4, 2]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        acqf_factory: Callable[
            [ModelList, DecoupledState], DecoupledAcquisitionFunction
        ],
        *,
        q: int = 1,
        batch_cost: float = torch.inf,
        evaluation_masks: Tensor | None = None,
        options: SearchOptions | None = None,
    ) -> None:
        r"""Policy around an acquisition function.

        Args:
            acqf_factory: Builds the acquisition function from model and state, for
                example a :class:`FlexiBOFactory`.
            q: The number of measurements per decision, chosen greedily.
            batch_cost: A batch ends early once its predicted cost reaches this. With
                the cost of an expensive measurement, one decision asks for many cheap
                ones or for a single expensive one.
            evaluation_masks: A ``k x m``-dim boolean tensor of the masks that compete.
                None means every outcome on its own.
            options: The effort of the search; its seed is replaced by the state's. To
                start from, look-ahead FlexiBO adds its reference designs.

        Raises:
            InputDataError: If the factory is none, or does not take model and state;
                if ``q`` is no whole number of at least 1, ``batch_cost`` is not
                positive, or a mask is empty or not boolean.
            BotorchTensorDimensionError: If the masks are not `k x m`.
        """
        if not callable(acqf_factory) or isinstance(acqf_factory, type):
            raise InputDataError(
                "Expected acqf_factory to build an acquisition function from model and"
                f" state, but got {acqf_factory!r}. Pass for example FlexiBOFactory()."
            )
        _check_signature(acqf_factory)
        check_count(q, "q")
        check_batch_cost(batch_cost)
        if evaluation_masks is not None:
            check_evaluation_masks(evaluation_masks)
        self.options = SearchOptions() if options is None else options
        self.acqf_factory = acqf_factory
        self.q = q
        self.batch_cost = batch_cost
        self.evaluation_masks = evaluation_masks

    @property
    def name(self) -> str:
        """What a checkpoint calls the policy."""
        return f"{super().name}({callable_name(self.acqf_factory)}, q={self.q})"

    @property
    def has_memory(self) -> bool:
        """Whether its factory may have: all but those known to have none."""
        return not isinstance(self.acqf_factory, _WITHOUT_MEMORY)

    def check(self, space: SearchSpace, num_outcomes: int) -> None:
        r"""Refuse masks of other outcomes, and FlexiBO on a space without choices.

        Args:
            space: Where designs may lie.
            num_outcomes: The number of outcomes ``m``.

        Raises:
            BotorchTensorDimensionError: If masks are not `k x m`.
            UnsupportedError: If the factory needs choices and the space has none.
        """
        masks = self.evaluation_masks
        if masks is not None and masks.shape[-1] != num_outcomes:
            raise BotorchTensorDimensionError(
                f"Expected evaluation_masks with {num_outcomes} columns, one per"
                f" outcome, but got {masks.shape[-1]}. Pass one row per mask."
            )
        if isinstance(self.acqf_factory, (FlexiBOFactory, IntersectedFlexiBOFactory)):
            finite_choices(space.choices)

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Optimise the acquisition function over designs and masks.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            Up to ``q`` measurements, none of a pair already measured or given up. On a
            continuous space, designs that lack an outcome compete too, and a design
            hardly different from one that failed is another attempt at that one.

        Raises:
            CandidateGenerationError: If nothing is left to measure.
        """
        masks = state.open_masks(self.evaluation_masks)
        acqf = self.acqf_factory(model, state)
        one_shot = isinstance(acqf, OneShotAcquisitionFunction)
        given_up = _given_up(state)
        # What is given up counts as pending too: near copies of it are worth less. To
        # one-shot functions each pending point is another variable.
        pending = _pairs(state.pending, *([] if one_shot else [given_up]))
        if len(pending[0]) > 0:
            acqf.set_X_pending(*pending)
        options = replace(self.options, seed=state.seed)
        if isinstance(acqf, qFlexiBOLookahead):
            starts = [acqf.X_designs]
            if options.X_start is not None:
                starts.append(options.X_start.to(acqf.X_designs))
            options = replace(options, X_start=torch.cat(starts))
        X_revisit = None
        some_only = state.choices is None or options.max_choices is not None
        if some_only and not one_shot:
            X_revisit = _to_complete(state)
        avoid = _pairs((state.X, state.measured), given_up)
        request = optimize_acqf_decoupled(
            acqf,
            state.space,
            X_revisit=X_revisit,
            options=options,
            q=self.q,
            batch_cost=self.batch_cost,
            evaluation_masks=masks,
            X_avoid=avoid[0],
            X_avoid_evaluation_mask=avoid[1],
            max_cost=state.max_cost,
        )
        if state.choices is None and not one_shot:
            request = _recognized(request, state)
        return request


@dataclass(frozen=True)
class FlexiBOFactory:
    r"""Builds :class:`FlexiBO` over the choices of a state.

    Attributes:
        beta: The confidence scale. None follows the schedule :func:`pal_beta`.
        weighting: Maps costs to divisors, see :class:`DecoupledCostUtility`.
        noise_free: Whether measured outcomes are known exactly. If False they keep the
            posterior's box.

    Example:
        >>> acqf = FlexiBOFactory(beta=1.0)(model, state)
        >>> acqf.volume.shape
        torch.Size([])
    """

    beta: float | None = None
    weighting: Callable[[Tensor], Tensor] = per_cost
    noise_free: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.beta is not None:
            check_beta(self.beta)
        check_switch(self.noise_free, "noise_free")

    def __call__(
        self,
        model: ModelList,
        state: DecoupledState,
        previous_region: ConfidenceRegion | None = None,
    ) -> FlexiBO:
        r"""Build the acquisition function.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far; its choices are the design set.
            previous_region: Boxes of an earlier iteration to intersect with.

        Returns:
            The acquisition function.

        Raises:
            UnsupportedError: If the space is continuous.
        """
        designs = finite_choices(state.choices)
        beta = self.beta
        if beta is None:
            beta = pal_beta(
                state.iteration,
                num_designs=len(designs),
                num_outcomes=state.Y.shape[-1],
            )
        return FlexiBO(
            model,
            state.ref_point,
            designs,
            beta=beta,
            cost_aware_utility=DecoupledCostUtility(state.cost_model, self.weighting),
            Y_designs=state.known_outcomes(designs) if self.noise_free else None,
            previous_region=previous_region,
        )


class IntersectedFlexiBOFactory:
    r"""Builds :class:`FlexiBO` with boxes intersected over the iterations of a run.

    It remembers the boxes of its last call, and forgets them at the first decision of a
    run or when the design set changes. Use one per run.

    Example:
        >>> policy = AcquisitionPolicy(IntersectedFlexiBOFactory(FlexiBOFactory()))
        >>> policy(model, state).X.shape
        torch.Size([1, 2])
    """

    def __init__(self, factory: FlexiBOFactory) -> None:
        r"""Factory with a memory.

        Args:
            factory: Builds the acquisition functions.
        """
        self.factory = factory
        self._last: FlexiBO | None = None

    def __call__(self, model: ModelList, state: DecoupledState) -> FlexiBO:
        r"""Build the acquisition function and remember its boxes.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far; its choices are the design set.

        Returns:
            The acquisition function.

        Raises:
            UnsupportedError: If the space is continuous.
        """
        previous = None
        if self._last is not None and state.iteration > 1:
            if torch.equal(self._last.X_designs, finite_choices(state.choices)):
                previous = self._last.design_region
        self._last = self.factory(model, state, previous)
        return self._last


# Factories that are functions of model and state alone.
_WITHOUT_MEMORY = (FlexiBOFactory, LookaheadFactory, HVKGFactory, LinearKGFactory)


def _check_signature(factory: Callable[..., object]) -> None:
    """Refuse what cannot be called with model and state, before a run is paid."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind("model", "state")
    except TypeError as error:
        raise InputDataError(
            "Expected acqf_factory to be called as acqf_factory(model, state), but got"
            f" {callable_name(factory)}{signature}: {error}. Let it take these two, in"
            " this order."
        ) from error


def finite_choices(choices: Tensor | None) -> Tensor:
    """The choices of a space, which there have to be.

    Args:
        choices: A ``k x d``-dim tensor of designs, None on a continuous space.

    Returns:
        A ``k x d``-dim tensor of designs.

    Raises:
        UnsupportedError: If the space is continuous.
    """
    if choices is None:
        raise UnsupportedError(
            "Expected a finite set of designs in state.choices, but got None. Pass"
            " choices=problem.discretize(n, seed) to run_decoupled_optimization, or"
            " wrap the policy in DiscretizedPolicy."
        )
    return choices


def _given_up(state: DecoupledState) -> _Pairs:
    """What is not to be asked for again after failures."""
    if state.failures is None:
        return state.X[:0], state.measured[:0]
    return state.failures.X, state.failures.given_up


def _pairs(*parts: _Pairs) -> _Pairs:
    """All of them; designs without an outcome are left out."""
    X, mask = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    some = mask.any(dim=-1)
    return X[some], mask[some]


def _to_complete(state: DecoupledState) -> Tensor:
    """Designs that lack an outcome, those being measured, and those to try again.

    While a network is trained, its latency may be measured too: what is pending is not
    asked for a second time. Designs outside the space are not measured again.
    """
    designs = [state.X[~state.measured.all(dim=-1)], state.pending[0]]
    if state.failures is not None:
        designs.append(state.failures.to_retry())
    return state.space.members(unique_rows(torch.cat(designs)))


def _recognized(request: EvaluationRequest, state: DecoupledState) -> EvaluationRequest:
    """Near copies of designs that failed become further attempts at these."""
    if state.failures is None:
        return request
    X = request.X.clone()
    for k, (x, mask) in enumerate(zip(X, request.evaluation_mask, strict=True)):
        original = state.failures.original(x, mask, state.bounds).unsqueeze(0)
        is_open = bool(state.open_outcomes(original)[0][mask].all())
        others = (X == original).all(dim=-1)
        others[k] = False
        if is_open and not bool((request.evaluation_mask[others] & mask).any()):
            X[k] = original
    return request._replace(X=X)
