r"""PABO-style policies: one agent per objective, and a supervisor that links them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.model import ModelList
from botorch.utils.sampling import manual_seed
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility, unweighted
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies._agents import (
    AgentFactory,
    AgentPool,
    UCBFactory,
    logei_factory,
    logpi_factory,
)
from botorch_flexibo.policies._pabo_memory import PABOMemory, Proposal
from botorch_flexibo.policies._pabo_round import DecisionRound, Scene
from botorch_flexibo.policies.base import DecoupledState, Effort, Policy
from botorch_flexibo.policies.supervisor import Supervisor
from botorch_flexibo.utils.checks import check_count, check_switch
from botorch_flexibo.utils.rows import unique_rows

__all__ = [
    "AgentFactory",
    "PABOMemory",
    "PABOPolicy",
    "Proposal",
    "Supervisor",
    "UCBFactory",
    "logei_factory",
    "logpi_factory",
]

# Costs of so many designs tell which outcomes are expensive.
_NUM_COST_DESIGNS = 256


class PABOPolicy(Policy):
    r"""PABO-style: each objective has an agent, and a supervisor links the agents.

    Reconstructed from what the abstracts of PABO (Parsa et al., ICCAD 2019) and
    Hierarchical-PABO (Parsa et al., Frontiers in Neuroscience 2020) say: every
    objective has a posterior and an acquisition function of its own, a supervising
    agent relates the posteriors and leaves out unnecessary updates of acquisition
    functions, and the result is a Pareto front. It is not a faithful reproduction. The
    acquisition function, the dominance tests, the order of turns, the patience and the
    Pareto surrogate are choices made here, and most are switches: ``gate``,
    ``schedule``, ``lead``, ``patience``, ``expensive`` and ``beta`` of
    :class:`Supervisor`, and the arguments below. What "hierarchical" means is not in
    the abstract either; here its three objectives (performance, energy, area) run
    through the same code as two.

    The agents take turns, the lead first. At its turn an agent fits a GP to the data it
    has learned from, if they changed, and proposes the maximiser of its acquisition
    function; or, if the supervisor leaves that as it is, the best design left of its
    last maximisation. :func:`supervise` decides what is measured of the proposal and
    whether the other agents learn from it. One decision is one request: new proposals,
    or the outcomes still missing of earlier ones, for which no acquisition function is
    touched. With the gate ``"predicted"`` some never are measured: PABO is decoupled.

    NOTE: An agent that idles proposes the next of the well separated designs that its
    last maximisation ranked, instead of giving its turn away. Given away, the turn goes
    to an agent whose data have changed, so that every design measured costs one fit and
    one maximisation whatever the supervisor leaves out.

    NOTE: Single-objective improvement is sought at the ends of the front. Expect less
    hypervolume per evaluation than from :class:`CoupledPolicy`; what PABO saves are
    fits and acquisition work (``"lead_skip"``) and expensive measurements
    (``"predicted"``). ``DecoupledHistory.effort`` counts them.

    It has a memory, forgotten at the first decision of a run; use one per run. Measured
    designs that it does not remember are everyone's.

    Attributes:
        memory: The memory of the run, None before its first decision.

    Example:
        >>> from botorch_flexibo.policies.pabo import PABOPolicy, Supervisor
        >>> policy = PABOPolicy(Supervisor(gate="predicted"))
        >>> policy(ModelList(), state).evaluation_mask.tolist()
        [[True, True]]
        >>> policy.effort.num_fits, policy.effort.num_acquisitions
        (1, 1)
    """

    uses_model = False

    def __init__(
        self,
        supervisor: Supervisor | None = None,
        *,
        acquisitions: AgentFactory | Sequence[AgentFactory] = logei_factory,
        weighting: Callable[[Tensor], Tensor] = unweighted,
        q: int = 1,
        pareto_surrogate: bool = False,
        categorical_features: Sequence[int] = (),
        options: SearchOptions | None = None,
    ) -> None:
        r"""PABO-style policy.

        Args:
            supervisor: The switches of the supervisor. None means its defaults.
            acquisitions: What each agent maximises, one for all or one per objective:
                :func:`logei_factory`, :func:`logpi_factory`, a :class:`UCBFactory`.
            weighting: Maps the believed cost of what a proposal triggers to the divisor
                of its acquisition value, see :class:`DecoupledCostUtility`.
            q: The number of proposals per decision. With as many as there are
                objectives, every agent proposes one.
            pareto_surrogate: Whether each round ends with one more proposal, on behalf
                of the lead: of the front of the agents' posterior means, the design
                they are least sure about. An extension.
            categorical_features: Columns whose values are labels without an order, if
                the state's space does not say so.
            options: The effort of the search on a continuous space; its seed is
                replaced by the state's.

        Raises:
            InputDataError: If ``q`` is no whole number, or less than 1.
        """
        check_count(q, "q")
        check_switch(pareto_surrogate, "pareto_surrogate")
        self.supervisor = Supervisor() if supervisor is None else supervisor
        self.acquisitions = acquisitions
        self.weighting = weighting
        self.q = q
        self.pareto_surrogate = pareto_surrogate
        self.categorical_features = categorical_features
        self.options = SearchOptions() if options is None else options
        self.memory: PABOMemory | None = None
        self._agents: AgentPool | None = None
        self._effort = Effort()

    @property
    def effort(self) -> Effort:
        """What all agents and the supervisor did since the policy was made."""
        return self._effort + (
            Effort() if self._agents is None else self._agents.effort
        )

    def check(self, space: SearchSpace, num_outcomes: int) -> None:
        """Refuse objectives that the supervisor names and that do not exist.

        Args:
            space: Where designs may lie.
            num_outcomes: The number of outcomes ``m``.
        """
        self.supervisor.check(num_outcomes)

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Ask for missing outcomes of earlier proposals, or propose designs.

        Args:
            model: Ignored: each agent has a model of its own.
            state: The data so far and what is known about the problem.

        Returns:
            Up to ``q`` designs, each with the outcomes to measure now.

        Raises:
            CandidateGenerationError: If nothing is left to propose within max_cost.
            InputDataError: If an objective of the supervisor does not exist, the
                acquisitions are not as many as objectives, or no design is measured
                completely.
            InvalidCostError: If a believed cost is not positive and finite.
        """
        scene = self._scene(state)
        memory, agents = self._recalled(scene)
        decisions = DecisionRound(
            scene,
            self.supervisor,
            memory,
            agents,
            # For its turns in this batch and those it may idle.
            num_standing=self.q + self.supervisor.patience,
            pareto_surrogate=self.pareto_surrogate,
        )
        try:
            with manual_seed(state.seed):  # fits and optimisers may draw from it
                rows = decisions.follow_up() or decisions.propose(self.q)
        finally:
            self._effort += decisions.effort
        X = torch.cat([row.X for row in rows])
        mask = torch.stack([row.mask for row in rows])
        asked = mask & torch.tensor(scene.expensive, device=mask.device)
        self._effort += Effort(num_expensive=int(asked.sum()))
        cost = predicted_costs(state.cost_model_with_pending, X, mask)
        return EvaluationRequest(X, mask, cost=cost)

    def _scene(self, state: DecoupledState) -> Scene:
        """What this decision is made in; refuses what makes no sense."""
        self.supervisor.check(state.Y.shape[-1])
        if not state.complete.any():
            advice = "Start with InitialDesign(num_complete=1) or more"
            if state.target_fidelities:
                targets = dict(state.target_fidelities)
                advice = f"Initial designs have any: pass choices that have {targets}"
            raise InputDataError(
                "Expected an archive of at least one design measured on all outcomes at"
                f" the target fidelity, but none of {len(state.X)} is, those that"
                f" failed not counted. {advice}."
            )
        fixed = {**state.space.fixed_features, **state.target_fidelities}
        space = replace(state.space, fixed_features=fixed).enumerated()
        typical = space.sample(_NUM_COST_DESIGNS, seed=0)
        if space.choices is not None:
            space = replace(space, choices=unique_rows(typical))
            generator = torch.Generator().manual_seed(0)
            rows = torch.randperm(len(typical), generator=generator)
            typical = typical[rows[:_NUM_COST_DESIGNS].to(typical.device)]
        costs = state.outcome_costs(typical).mean(dim=0)
        return Scene(
            state,
            space,
            DecoupledCostUtility(state.cost_model_with_pending, self.weighting),
            self.supervisor.expensive_outcomes(costs),
        )

    def _recalled(self, scene: Scene) -> tuple[PABOMemory, AgentPool]:
        """Memory and agents of the run, new ones at its first decision."""
        m = scene.state.Y.shape[-1]
        if self.memory is None or scene.state.iteration == 1:
            self.memory = PABOMemory.empty(m)
            self._effort, self._agents = self.effort, None
        if self._agents is None:
            self._agents = AgentPool(
                scene.space,
                self._acquisitions(m),
                categorical_features=self.categorical_features,
                options=self.options,
            )
        return self.memory, self._agents

    def _acquisitions(self, num_agents: int) -> list[AgentFactory]:
        if callable(self.acquisitions):
            return [self.acquisitions] * num_agents
        if len(self.acquisitions) != num_agents:
            raise InputDataError(
                f"Expected {num_agents} acquisitions, one per objective, but got"
                f" {len(self.acquisitions)}. Pass one for all, or as many."
            )
        return list(self.acquisitions)
