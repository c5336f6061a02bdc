r"""Policies for finite sets, on spaces that are not finite."""

from __future__ import annotations

from dataclasses import replace

import torch
from botorch.models.model import ModelList

from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies.base import DecoupledState, Effort, Policy
from botorch_flexibo.utils.checks import check_count
from botorch_flexibo.utils.rows import unique_rows


class DiscretizedPolicy(Policy):
    r"""A policy for finite sets, applied to Sobol designs and those measured.

    Measured designs, and those that may be tried again after a failure, stay among the
    choices, so that they can be completed. The Sobol designs are new at every decision;
    a finite space is left as it is.

    Example:
        >>> policy = DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory()), 100)
        >>> policy(model, state.with_choices(None)).X.shape
        torch.Size([1, 2])
    """

    def __init__(self, policy: Policy, num_designs: int = 1000) -> None:
        r"""Discretised policy.

        Args:
            policy: A policy that needs ``state.choices``.
            num_designs: The number of Sobol designs.
        """
        check_count(num_designs, "num_designs")
        self.policy = policy
        self.num_designs = num_designs

    @property
    def name(self) -> str:
        """What a checkpoint calls the policy."""
        return f"{super().name}({self.policy.name}, {self.num_designs})"

    @property
    def has_memory(self) -> bool:
        """Whether the policy it applies has."""
        return self.policy.has_memory

    @property
    def effort(self) -> Effort:
        """What the policy did since it was made."""
        return self.policy.effort

    def check(self, space: SearchSpace, num_outcomes: int) -> None:
        """Refuse what the policy refuses that it applies; there are choices then.

        Args:
            space: Where designs may lie.
            num_outcomes: The number of outcomes ``m``.
        """
        choices = space.sample(self.num_designs, seed=0)
        if len(choices) > 0:  # else there is nothing to choose from now, maybe later
            space = replace(space, choices=choices)
            self.policy.check(space, num_outcomes)

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Choose among designs drawn for this decision.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            The designs and, for each, the outcomes to measure.

        Raises:
            CandidateGenerationError: If nothing is left to measure.
        """
        space = state.space.enumerated()
        choices = space.choices
        if choices is None:
            sobol = space.sample(self.num_designs, seed=state.seed)
            known = state.X
            if state.failures is not None:
                known = torch.cat([known, state.failures.to_retry()])
            choices = unique_rows(torch.cat([space.members(known), sobol]))
        return self.policy(model, state.with_choices(choices))
