r"""What a PABO run remembers beyond its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

Design = tuple[float, ...]


@dataclass(frozen=True)
class Proposal:
    r"""A design that an agent proposed.

    Attributes:
        design: The design.
        agent: The objective of the agent.
        asked: For each outcome whether it was asked for.
        shared: Whether all agents learn from it.
    """

    design: Design
    agent: int
    asked: tuple[bool, ...]
    shared: bool = False


@dataclass
class PABOMemory:
    r"""The memory of a run: plain numbers, lists and tuples only.

    Agent ``k`` learns from all rows of the state with outcome ``k``, except what the
    supervisor withholds: outcomes asked for on behalf of another agent whose proposal
    is pending, or closed without being shared. A row that is not in the memory is
    therefore everyone's.

    ``json.dumps(asdict(memory))`` writes it, :meth:`from_dict` reads it back.

    Attributes:
        turn: Whose turn it is, counted from the lead.
        idle: For each agent the turns since its acquisition function was brought up to
            date.
        injected: For each agent whether another's proposal was shared with it since.
        standing: For each agent the best designs by its acquisition function when it
            was last brought up to date, best first, without those proposed.
        pending: Proposals whose outcomes are awaited.
        closed: Proposals that the supervisor is done with.
    """

    turn: int
    idle: list[int]
    injected: list[bool]
    standing: list[list[Design]]
    pending: list[Proposal] = field(default_factory=list)
    closed: list[Proposal] = field(default_factory=list)

    @classmethod
    def empty(cls, num_agents: int) -> PABOMemory:
        """The memory at the beginning of a run."""
        return cls(
            turn=0,
            idle=[0] * num_agents,
            injected=[False] * num_agents,
            standing=[[] for _ in range(num_agents)],
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PABOMemory:
        r"""The memory from its JSON form.

        Args:
            values: What ``json.loads`` returned.

        Returns:
            The memory.
        """
        return cls(
            turn=values["turn"],
            idle=list(values["idle"]),
            injected=list(values["injected"]),
            standing=[[tuple(x) for x in designs] for designs in values["standing"]],
            pending=[_proposal(item) for item in values["pending"]],
            closed=[_proposal(item) for item in values["closed"]],
        )

    @property
    def proposed(self) -> list[Design]:
        """All designs that were proposed."""
        return [proposal.design for proposal in [*self.pending, *self.closed]]

    def withheld(self, agent: int) -> list[Design]:
        """The designs that an agent does not learn from."""
        return [
            proposal.design
            for proposal in [*self.pending, *self.closed]
            if proposal.agent != agent and proposal.asked[agent] and not proposal.shared
        ]

    def updated(self, agent: int, designs: Tensor) -> None:
        r"""An agent's acquisition function was brought up to date.

        Args:
            agent: The objective of the agent.
            designs: A ``k x d``-dim tensor of its best designs, best first.
        """
        self.standing[agent] = [tuple(x) for x in designs.tolist()]
        self.injected[agent] = False
        self.idle[agent] = 0

    def ask(self, proposal: Proposal, outcomes: Sequence[bool]) -> None:
        r"""More outcomes of a pending proposal were asked for.

        Args:
            proposal: The proposal.
            outcomes: For each outcome whether it is asked for now.
        """
        asked = tuple(a or b for a, b in zip(proposal.asked, outcomes, strict=True))
        where = self.pending.index(proposal)
        self.pending[where] = replace(proposal, asked=asked)

    def close(self, proposal: Proposal, *, shared: bool) -> None:
        r"""Nothing more is measured of a pending proposal.

        Args:
            proposal: The proposal.
            shared: Whether the other agents learn from it.
        """
        self.pending.remove(proposal)
        self.closed.append(replace(proposal, shared=shared))
        if shared:
            for agent in range(len(self.injected)):
                self.injected[agent] |= agent != proposal.agent


def _proposal(values: Mapping[str, Any]) -> Proposal:
    return Proposal(
        design=tuple(values["design"]),
        agent=values["agent"],
        asked=tuple(values["asked"]),
        shared=values["shared"],
    )
