r"""The supervisor of PABO-style agents: turns, and what becomes of proposals.

Everything here is a pure function of its arguments. The rules are a reconstruction, see
:class:`~botorch_flexibo.policies.pabo.PABOPolicy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor

from botorch_flexibo.utils.checks import check_beta, check_count, is_count

Gate = Literal["observed", "predicted", "none"]
Schedule = Literal["lead_skip", "round_robin"]

# Outcomes at most this much cheaper than the most expensive one are expensive too.
_EXPENSIVE_RATIO = 10.0


@dataclass(frozen=True)
class Supervisor:
    r"""The switches of the supervisor.

    Attributes:
        gate: What keeps a proposal of one agent from the others. ``"observed"``: it is
            measured on all outcomes, and if a completely measured design dominates it,
            only the agent that proposed it learns from it. ``"predicted"``: cheap
            outcomes and the proposing agent's own are measured first; the others are
            not measured at all if even their optimistic predictions leave the design
            dominated. What is then measured is also gated as observed. ``"none"``:
            every agent learns from everything.
        schedule: Whose acquisition function is brought up to date at its turn.
            ``"round_robin"``: everyone's. ``"lead_skip"``: the lead's, and another's
            only if it has learned from another agent's proposal since, or has idled
            for ``patience`` turns.
        lead: The objective whose agent leads. It has the first turn of a round.
        patience: The number of turns in a row that an agent may idle.
        expensive: The objectives that the gate ``"predicted"`` shields. None derives
            them from the believed costs: all but those whose mean cost is at most a
            tenth of the most expensive one's. With equal costs all are expensive.
        beta: Optimistic predictions are ``mu + sqrt(beta) sigma``.

    Example:
        >>> Supervisor(gate="predicted").expensive_outcomes(torch.tensor([20.0, 1.0]))
        (True, False)
    """

    gate: Gate = "observed"
    schedule: Schedule = "lead_skip"
    lead: int = 0
    patience: int = 3
    expensive: Sequence[int] | None = None
    beta: float = 1.0

    def __post_init__(self) -> None:
        """Check the switches.

        Raises:
            InputDataError: If a switch is unknown or a number not allowed.
        """
        for name, value, known in (
            ("gate", self.gate, get_args(Gate)),
            ("schedule", self.schedule, get_args(Schedule)),
        ):
            if value not in known:
                raise InputDataError(
                    f"Expected {name} in {known}, but got {value!r}. Choose one of"
                    " these."
                )
        check_count(self.patience, "patience", least=0)
        check_count(self.lead, "lead", least=0)
        expensive = () if self.expensive is None else self.expensive
        known = isinstance(expensive, Sequence) and not isinstance(expensive, str)
        if not known or not all(is_count(i, least=0) for i in expensive):
            raise InputDataError(
                "Expected expensive to be a sequence of objectives from 0, or None, but"
                f" got {expensive!r}. Pass None to derive them from the costs."
            )
        check_beta(self.beta)

    def check(self, num_outcomes: int) -> None:
        r"""Refuse objectives that do not exist.

        Args:
            num_outcomes: The number of outcomes ``m``.

        Raises:
            InputDataError: If there are fewer than two outcomes, or if the lead or an
                expensive objective does not exist.
        """
        if num_outcomes < 2:
            raise InputDataError(
                f"Expected at least two outcomes, but got {num_outcomes}. With one"
                " there is nothing to supervise."
            )
        if not 0 <= self.lead < num_outcomes:
            raise InputDataError(
                f"Expected a lead objective within 0..{num_outcomes - 1}, but got"
                f" {self.lead}. Number them from 0."
            )
        if not all(0 <= i < num_outcomes for i in self.expensive or ()):
            raise InputDataError(
                f"Expected expensive objectives within 0..{num_outcomes - 1}, but got"
                f" {list(self.expensive or ())}. Number them from 0."
            )

    def is_due(self, agent: int, *, injected: bool, idle: int) -> bool:
        r"""Whether an agent's acquisition function is brought up to date at its turn.

        Args:
            agent: The objective of the agent.
            injected: Whether it has learned from another agent's proposal since its
                acquisition function was last brought up to date.
            idle: The number of its turns since then.

        Returns:
            False if the supervisor leaves the acquisition function as it is.
        """
        if self.schedule == "round_robin" or agent == self.lead:
            return True
        return injected or idle >= self.patience

    def expensive_outcomes(self, mean_costs: Tensor) -> tuple[bool, ...]:
        r"""Which outcomes are shielded.

        Args:
            mean_costs: A ``m``-dim tensor of believed costs.

        Returns:
            For each outcome whether it is expensive.
        """
        if self.expensive is None:
            shielded = mean_costs * _EXPENSIVE_RATIO > mean_costs.max()
            return tuple(shielded.tolist())
        return tuple(i in self.expensive for i in range(len(mean_costs)))


class Decision(NamedTuple):
    """What becomes of a proposal.

    Attributes:
        measure: A ``m``-dim boolean tensor of the outcomes to measure now. None is left
            if the proposal is closed.
        inject: Whether the other agents learn from it.
    """

    measure: Tensor
    inject: bool

    @property
    def closed(self) -> bool:
        """Whether nothing more is measured."""
        return not bool(self.measure.any())


def supervise(
    supervisor: Supervisor,
    agent: int,
    values: Tensor,
    *,
    optimistic: Tensor,
    archive: Tensor,
    expensive: Sequence[bool],
) -> Decision:
    r"""Decide what is measured next of a proposal, or whether it is shared.

    Args:
        supervisor: The switches.
        agent: The objective of the agent that proposed the design.
        values: A ``m``-dim tensor of what was measured of it, NaN where nothing was.
        optimistic: A ``m``-dim tensor of optimistic predictions,
            ``mu + sqrt(beta) sigma`` of each agent's posterior; infinity where there is
            none. Only those of unmeasured outcomes count.
        archive: A ``n x m``-dim tensor of the outcomes of the completely measured
            designs, or of those on their front.
        expensive: For each outcome whether it is expensive.

    Returns:
        The decision.

    Example:
        >>> decision = supervise(
        ...     Supervisor(gate="predicted"),
        ...     0,
        ...     torch.tensor([1.0, torch.nan]),
        ...     optimistic=torch.tensor([9.0, 3.0]),
        ...     archive=torch.tensor([[2.0, 4.0]]),
        ...     expensive=(True, True),
        ... )
        >>> decision.closed, decision.inject
        (True, False)
    """
    missing = values.isnan()
    if not missing.any():
        shared = supervisor.gate == "none" or not is_dominated(values, archive)
        return Decision(missing, inject=shared)
    if supervisor.gate != "predicted":
        return Decision(missing, inject=False)
    first = ~torch.tensor(expensive, device=values.device)
    first[agent] = True
    if (first & missing).any():
        return Decision(first & missing, inject=False)
    hopeless = is_dominated(torch.where(missing, optimistic, values), archive)
    return Decision(missing & (not hopeless), inject=False)


def extended_front(front: Tensor, y: Tensor) -> Tensor:
    r"""A front after one more point was measured.

    Args:
        front: A ``n x m``-dim tensor of mutually non-dominated points to maximise.
        y: A ``m``-dim tensor, the new point.

    Returns:
        A ``k x m``-dim tensor: the same front if a point of it dominates or equals
        ``y``, else ``y`` after those that it does not dominate.
    """
    if (front >= y).all(dim=-1).any():
        return front
    return torch.cat([front[(front > y).any(dim=-1)], y.unsqueeze(0)])


def is_dominated(y: Tensor, Y: Tensor) -> bool:
    r"""Whether a point is dominated.

    Args:
        y: A ``m``-dim tensor of outcomes to maximise.
        Y: A ``n x m``-dim tensor of points.

    Returns:
        Whether a point of ``Y`` is nowhere worse than ``y`` and somewhere better. An
        equal point dominates nothing.
    """
    return bool(((Y >= y).all(dim=-1) & (Y > y).any(dim=-1)).any())
