r"""One decision of a PABO-style policy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models import ModelListGP
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.optim.designs import identified_front
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies._agents import AgentPool, AgentTask
from botorch_flexibo.policies._pabo_memory import Design, PABOMemory, Proposal
from botorch_flexibo.policies.base import DecoupledState, Effort, at_target
from botorch_flexibo.policies.supervisor import (
    Decision,
    Supervisor,
    extended_front,
    supervise,
)
from botorch_flexibo.utils.fronts import front_mask
from botorch_flexibo.utils.posterior import marginal_moments
from botorch_flexibo.utils.rows import RowIndex, unique_rows

# Whose turn it is when the Pareto surrogate proposes.
_SURROGATE = -1


@dataclass(frozen=True)
class Scene:
    r"""What a decision is made in.

    Attributes:
        state: The data so far and what is known about the problem.
        space: Where proposals may lie, fidelities at their targets.
        utility: What measurements cost, and how that counts.
        expensive: For each outcome whether it is expensive.
    """

    state: DecoupledState
    space: SearchSpace
    utility: DecoupledCostUtility
    expensive: tuple[bool, ...]


class Row(NamedTuple):
    """One design to measure, ``1 x d``, and the outcomes, ``m``."""

    X: Tensor
    mask: Tensor


class DecisionRound:
    r"""Asks for what is missing of earlier proposals, or for new ones.

    Attributes:
        effort: What the supervisor did, without that of the agents.
    """

    def __init__(
        self,
        scene: Scene,
        supervisor: Supervisor,
        memory: PABOMemory,
        agents: AgentPool,
        *,
        num_standing: int,
        pareto_surrogate: bool,
    ) -> None:
        r"""One decision.

        Args:
            scene: What the decision is made in.
            supervisor: The switches.
            memory: The memory of the run; it is changed.
            agents: Models and acquisition functions.
            num_standing: How many designs an agent keeps of a maximisation.
            pareto_surrogate: Whether each round of turns has one for the surrogate.
        """
        self.effort = Effort()
        self._scene = scene
        self._state = scene.state
        self._supervisor = supervisor
        self._memory = memory
        self._agents = agents
        self._num_standing = num_standing
        self._num_agents = scene.state.Y.shape[-1]
        others = [k for k in range(self._num_agents) if k != supervisor.lead]
        extra = [_SURROGATE] if pareto_surrogate else []
        self._turns = [supervisor.lead, *others, *extra]
        self._left = scene.state.max_cost
        self._updated: set[int] = set()

    # --- earlier proposals ------------------------------------------------------------

    def follow_up(self) -> list[Row]:
        """Look at what came back of pending proposals and close them, or ask for more.

        Proposals without the values that are fixed now wait.

        Returns:
            The outcomes to measure now, if any.
        """
        front = self._front()
        rows = []
        for proposal in list(self._memory.pending):
            X = self._designs([proposal.design])
            values = self._state.known_outcomes(X)[0]
            asked = torch.tensor(proposal.asked, device=values.device)
            if (values.isnan() & asked).any():
                if not self._in_flight(X):  # a measurement that failed
                    self._memory.close(proposal, shared=True)
                continue
            decision = self._decision(proposal.agent, X, values, front)
            measure = decision.measure & self._state.open_outcomes(X)[0]
            if measure.any() and not self._has_fixed_values(X).any():
                continue
            if measure.any() and self._pay(X, measure):
                self._memory.ask(proposal, measure.tolist())
                rows.append(Row(X, measure))
                continue
            # What cannot be measured after failures keeps nobody from learning.
            lost = not decision.closed and not bool(measure.any())
            self._memory.close(proposal, shared=decision.inject or lost)
            if decision.closed and not decision.inject:
                self.effort += Effort(num_gated=1)
            if not values.isnan().any():
                front = extended_front(front, values)
        return rows

    def _front(self) -> Tensor:
        """Front of the completely measured designs, without pending proposals."""
        complete = self._state.complete
        pending = self._designs([p.design for p in self._memory.pending])
        judged = RowIndex(pending).find(self._state.X) < 0
        Y = self._state.Y[complete & judged]
        return Y[front_mask(Y)]

    def _decision(
        self, agent: int, X: Tensor, values: Tensor, front: Tensor
    ) -> Decision:
        optimistic = torch.full_like(values, torch.inf)
        if self._supervisor.gate == "predicted":
            for k in values.isnan().nonzero().flatten().tolist():
                optimistic[k] = self._optimistic(k, X)
        return supervise(
            self._supervisor,
            agent,
            values,
            optimistic=optimistic,
            archive=front,
            expensive=self._scene.expensive,
        )

    def _optimistic(self, agent: int, X: Tensor) -> Tensor:
        """Optimistic prediction, by the model as it stands unless its update is due."""
        model = self._agents.models.get(agent)
        if model is None or self._is_due(agent):
            model = self._agents.fit(agent, *self._data(agent))
        with torch.no_grad():
            mean, variance = marginal_moments(model, X)
        return (mean + self._supervisor.beta**0.5 * variance.sqrt()).squeeze()

    def _has_fixed_values(self, X: Tensor) -> Tensor:
        """Which designs have the values that are fixed now, an ``n``-dim mask."""
        keep = torch.ones(len(X), dtype=torch.bool, device=X.device)
        for column, value in self._scene.space.fixed_features.items():
            keep &= (X[:, column] - value).abs() <= 1e-9 * max(1.0, abs(value))
        return keep

    def _in_flight(self, X: Tensor) -> bool:
        pending = self._state.X_pending
        return pending is not None and bool((RowIndex(pending).find(X) >= 0).any())

    # --- new proposals ----------------------------------------------------------------

    def propose(self, q: int) -> list[Row]:
        """Let the agents propose in turn.

        Args:
            q: The number of proposals.

        Returns:
            Up to ``q`` designs with the outcomes to measure now, at least one.

        Raises:
            CandidateGenerationError: If no agent can propose anything.
        """
        turns, memory = self._turns, self._memory
        upcoming = {turns[(memory.turn + i) % len(turns)] for i in range(q)}
        self._update([k for k in self._turns if k in upcoming and self._is_due(k)])
        rows: list[Row] = []
        passes = 0
        while len(rows) < q and passes < len(turns):
            agent = turns[memory.turn % len(turns)]
            memory.turn = (memory.turn + 1) % len(turns)
            X = self._surrogate() if agent == _SURROGATE else self._turn(agent)
            if X is None:
                passes += 1
                continue
            passes = 0
            rows.append(self._submit(self._on_behalf(agent), X))
        if not rows:
            raise CandidateGenerationError(
                "Expected a design to propose, but every agent has seen all that it"
                f" may choose and that costs at most {self._left}. Stop, or allow more"
                " cost."
            )
        return rows

    def _on_behalf(self, agent: int) -> int:
        return self._supervisor.lead if agent == _SURROGATE else agent

    def _turn(self, agent: int) -> Tensor | None:
        """The design an agent proposes, if there is one it may propose."""
        if agent not in self._updated and self._is_due(agent):
            self._update([agent])
        X = self._best_standing(agent)
        if X is None and agent not in self._updated:
            self._update([agent])
            X = self._best_standing(agent)
        if X is not None and agent not in self._updated:
            self._memory.idle[agent] += 1
            self.effort += Effort(num_skipped=1)
        return X

    def _is_due(self, agent: int) -> bool:
        if agent == _SURROGATE:
            return False
        memory = self._memory
        return not memory.standing[agent] or self._supervisor.is_due(
            agent, injected=memory.injected[agent], idle=memory.idle[agent]
        )

    def _update(self, agents: Sequence[int]) -> None:
        """Bring acquisition functions up to date and maximise them."""
        choices = self._scene.space.choices
        tasks = []
        for agent in agents:
            self._updated.add(agent)
            task = self._task(agent)
            if self._is_closed(agent):
                self._memory.updated(agent, self._state.X[:0])
            elif choices is None or task.allowed(choices).any():
                tasks.append(task)
            else:
                self._memory.updated(agent, self._state.X[:0])
        if not tasks:
            return
        best = self._agents.best_designs(
            tasks,
            self._scene.space,
            self._scene.utility,
            n=self._num_standing,
            seed=self._state.seed,
        )
        for task, designs in zip(tasks, best, strict=True):
            self._memory.updated(task.agent, designs)

    def _best_standing(self, agent: int) -> Tensor | None:
        """Take the best standing design that the agent may still propose."""
        X = self._designs(self._memory.standing[agent])
        allowed = self._task(agent).allowed(X) & self._has_fixed_values(X)
        allowed = allowed.nonzero().flatten().tolist()
        if not allowed:
            return None
        del self._memory.standing[agent][allowed[0]]
        return X[allowed[:1]]

    def _surrogate(self) -> Tensor | None:
        """On the front of the agents' means, the design they are least sure about."""
        state, space = self._state, self._scene.space
        data = [self._data(k) for k in range(self._num_agents)]
        model = ModelListGP(*(self._agents.fit(k, *d) for k, d in enumerate(data)))
        start = time.perf_counter()
        X = identified_front(model, space, X=state.X, Y=state.Y, seed=state.seed)
        X = unique_rows(space.feasible(space.project(X)))
        X = X[self._task(self._supervisor.lead).allowed(X)]
        if len(X) > 0:
            with torch.no_grad():
                _, variance = marginal_moments(model, X)
            doubt = (variance / state.outcome_variances()).sqrt().sum(dim=-1)
            X = X[[int(doubt.argmax())]]
        seconds = time.perf_counter() - start
        self.effort += Effort(num_acquisitions=1, acquisition_seconds=seconds)
        return X if len(X) > 0 else None

    def _submit(self, agent: int, X: Tensor) -> Row:
        """What is measured first of a proposal."""
        mask = self._first_outcomes(agent, self._state.known_outcomes(X)[0])
        mask = mask & self._state.open_outcomes(X)[0]
        self._pay(X, mask)
        self._memory.pending.append(
            Proposal(tuple(X[0].tolist()), agent, tuple(mask.tolist()))
        )
        return Row(X, mask)

    # --- what agents know and may do --------------------------------------------------

    def _data(self, agent: int) -> tuple[Tensor, Tensor]:
        """The designs an agent has learned from, and their outcomes, ``n x 1``."""
        withheld = self._designs(self._memory.withheld(agent))
        seen = self._state.measured[:, agent]
        seen = seen & (RowIndex(withheld).find(self._state.X) < 0)
        return self._state.X[seen], self._state.Y[seen, agent : agent + 1]

    def _task(self, agent: int) -> AgentTask:
        state = self._state
        X, y = self._data(agent)
        mask = self._first_outcomes(agent, torch.full_like(state.Y[0], torch.nan))
        avoid = self._designs(self._memory.proposed)
        if state.X_pending is not None:
            avoid = torch.cat([avoid, state.X_pending])
        index = RowIndex(avoid)

        def allowed(X: Tensor) -> Tensor:
            is_open = state.open_outcomes(X)[:, agent]
            cost = self._scene.utility.cost(X.unsqueeze(-2), mask.unsqueeze(0))
            return is_open & (index.find(X) < 0) & (cost <= self._left)

        return AgentTask(
            agent,
            X,
            y,
            best_f=y[at_target(X, state.target_fidelities)].max(),
            mask=mask.unsqueeze(0),
            allowed=allowed,
        )

    def _first_outcomes(self, agent: int, values: Tensor) -> Tensor:
        nothing = self._state.Y[:0]
        decision = supervise(
            self._supervisor,
            agent,
            values,
            optimistic=torch.full_like(values, torch.inf),
            archive=nothing,
            expensive=self._scene.expensive,
        )
        failures = self._state.failures
        if failures is None:
            return decision.measure
        return decision.measure & ~failures.closed

    def _is_closed(self, agent: int) -> bool:
        """Whether the agent's outcome is not measured any more after failures."""
        failures = self._state.failures
        return failures is not None and bool(failures.closed[agent])

    def _pay(self, X: Tensor, mask: Tensor) -> bool:
        """Set money aside, if there is enough left."""
        cost = float(
            predicted_costs(self._state.cost_model_with_pending, X, mask.unsqueeze(0))
        )
        if cost > self._left:
            return False
        self._left -= cost
        return True

    def _designs(self, designs: Sequence[Design]) -> Tensor:
        return self._state.X.new_tensor(designs).reshape(-1, self._state.X.shape[-1])
