r"""Agents: one model and one acquisition function per objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import (
    LogExpectedImprovement,
    LogProbabilityOfImprovement,
    UpperConfidenceBound,
)
from botorch.exceptions.errors import InputDataError
from botorch.models import SingleTaskGP
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility
from botorch_flexibo.models.decoupled import DecoupledModelFitter
from botorch_flexibo.optim._refinement import refine, spread
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.policies.base import Effort
from botorch_flexibo.utils.rows import unique_rows

# From an agent's model and its best value so far (a scalar) to what it maximises.
AgentFactory = Callable[[SingleTaskGP, Tensor], AcquisitionFunction]

# Raw designs around an agent's best ones are this share of the range away.
_NEAR = 0.05
_NUM_PARENTS = 5


def logei_factory(model: SingleTaskGP, best_f: Tensor) -> AcquisitionFunction:
    r"""Logarithm of the expected improvement of one outcome, for :class:`PABOPolicy`.

    Args:
        model: The agent's model.
        best_f: The best value it knows, a scalar.

    Returns:
        BoTorch's ``LogExpectedImprovement``.
    """
    return LogExpectedImprovement(model, best_f=best_f)


def logpi_factory(model: SingleTaskGP, best_f: Tensor) -> AcquisitionFunction:
    r"""Logarithm of the probability that one outcome improves, for :class:`PABOPolicy`.

    Args:
        model: The agent's model.
        best_f: The best value it knows, a scalar.

    Returns:
        BoTorch's ``LogProbabilityOfImprovement``.
    """
    return LogProbabilityOfImprovement(model, best_f=best_f)


@dataclass(frozen=True)
class UCBFactory:
    r"""Builds the optimistic improvement ``mu + sqrt(beta) sigma - best_f``.

    Its maximiser is that of BoTorch's ``UpperConfidenceBound``. The best value is
    subtracted so that a division by costs does not depend on the outcome's zero.

    Attributes:
        beta: The confidence scale.
    """

    beta: float = 4.0

    def __call__(self, model: SingleTaskGP, best_f: Tensor) -> AcquisitionFunction:
        r"""Build the acquisition function.

        Args:
            model: The agent's model.
            best_f: The best value it knows, a scalar.

        Returns:
            The acquisition function.
        """
        return _OptimisticImprovement(model, self.beta, best_f)


class _OptimisticImprovement(AcquisitionFunction):
    def __init__(self, model: SingleTaskGP, beta: float, best_f: Tensor) -> None:
        super().__init__(model)
        self._bound = UpperConfidenceBound(model, beta=beta)
        self._best_f = best_f

    def forward(self, X: Tensor) -> Tensor:
        return self._bound(X) - self._best_f


@dataclass(frozen=True)
class AgentTask:
    r"""What one agent may propose now.

    Attributes:
        agent: The objective of the agent.
        X: A ``n x d``-dim tensor of the designs it has learned from.
        y: A ``n x 1``-dim tensor of their outcomes.
        best_f: Its best value at the target fidelity, a scalar.
        mask: A ``1 x m``-dim boolean tensor of what its proposal triggers.
        allowed: Maps ``k x d``-dim designs to whether it may propose each of them.
    """

    agent: int
    X: Tensor
    y: Tensor
    best_f: Tensor
    mask: Tensor
    allowed: Callable[[Tensor], Tensor]


class AgentPool:
    r"""The models and acquisition functions of all agents, and what they cost to run.

    Hyperparameters are fitted again at every change of an agent's data, from where they
    were; an agent whose data did not change keeps its model.
    """

    def __init__(
        self,
        space: SearchSpace,
        acquisitions: Sequence[AgentFactory],
        *,
        categorical_features: Sequence[int],
        options: SearchOptions,
    ) -> None:
        r"""Agents without models yet.

        Args:
            space: Where designs may lie.
            acquisitions: For each agent what builds its acquisition function.
            categorical_features: Columns whose values are labels without an order.
            options: The effort of the search.
        """
        self.models: dict[int, SingleTaskGP] = {}
        self.effort = Effort()
        self._acquisitions = acquisitions
        self._options = options
        self._fitters = [
            DecoupledModelFitter(
                space.bounds,
                categorical_features=sorted({*space.cat_dims, *categorical_features}),
                refit_growth=0.0,
            )
            for _ in acquisitions
        ]

    def fit(self, agent: int, X: Tensor, y: Tensor) -> SingleTaskGP:
        r"""The agent's model of its data, fitted anew if they changed.

        Args:
            agent: The objective of the agent.
            X: A ``n x d``-dim tensor of designs.
            y: A ``n x 1``-dim tensor of outcomes.

        Returns:
            The model.
        """
        start = time.perf_counter()
        model = cast(SingleTaskGP, self._fitters[agent].fit(X, y).models[0])
        if model is not self.models.get(agent):
            self.models[agent] = model
            seconds = time.perf_counter() - start
            self.effort += Effort(num_fits=1, fit_seconds=seconds)
        return model

    def best_designs(
        self,
        tasks: Sequence[AgentTask],
        space: SearchSpace,
        utility: DecoupledCostUtility,
        *,
        n: int,
        seed: int,
    ) -> list[Tensor]:
        r"""Bring acquisition functions up to date and maximise them.

        On a finite space all of them are evaluated over the choices in one pass.

        Args:
            tasks: One per agent.
            space: Where designs may lie.
            utility: What proposals cost, and how that counts.
            n: The number of designs per agent, fewer if fewer are far enough from
                better ones.
            seed: Seed of raw designs on a continuous space.

        Returns:
            For each agent a ``k x d``-dim tensor of designs, best first.
        """
        acqfs = []
        for task in tasks:
            model = self.fit(task.agent, task.X, task.y)
            acqf = self._acquisitions[task.agent](model, task.best_f)
            acqfs.append(_PerCost(acqf, utility, task.mask))
        start = time.perf_counter()
        options = replace(self._options, seed=seed)
        if space.choices is None:
            pools = [
                _search(acqf, task, space, options)
                for acqf, task in zip(acqfs, tasks, strict=True)
            ]
        else:
            choices = unique_rows(space.sample(1, seed=seed))
            values = _values(acqfs, choices, options.max_batch_size)
            pools = [(choices, column) for column in values.unbind(dim=-1)]
        designs = []
        for (X, values), task in zip(pools, tasks, strict=True):
            scores = values.masked_fill(~task.allowed(X), -torch.inf)
            designs.append(spread(X, scores, space.bounds, n))
        seconds = time.perf_counter() - start
        self.effort += Effort(num_acquisitions=len(tasks), acquisition_seconds=seconds)
        return designs


class _PerCost(AcquisitionFunction):
    """An acquisition function per cost of what a proposal triggers."""

    def __init__(
        self, acqf: AcquisitionFunction, utility: DecoupledCostUtility, mask: Tensor
    ) -> None:
        super().__init__(acqf.model)
        self._acqf = acqf
        self._utility = utility
        self._mask = mask

    def forward(self, X: Tensor) -> Tensor:
        values = self._acqf(X)
        if self._acqf._log:  # BoTorch's mark of values in log space
            cost = self._utility.cost(X, self._mask)
            return values - self._utility.weighting(cost).log()
        return self._utility(X, values, X_evaluation_mask=self._mask)


def _search(
    acqf: AcquisitionFunction,
    task: AgentTask,
    space: SearchSpace,
    options: SearchOptions,
) -> tuple[Tensor, Tensor]:
    """Raw designs and refined ones of a continuous or mixed space, with values."""
    best = task.y.squeeze(-1).topk(min(_NUM_PARENTS, len(task.y))).indices
    parents = space.project(task.X[best])
    raw = [space.sample(options.raw_samples, options.seed)]
    raw.append(space.mutate(parents, options.raw_samples, _NEAR, options.seed))
    if options.X_start is not None:
        raw.append(space.feasible(space.project(options.X_start)))
    X = unique_rows(torch.cat(raw))
    values = _values([acqf], X, options.max_batch_size)[:, 0]
    starts = spread(X, values, space.bounds, options.num_restarts)
    if len(starts) == 0:
        return X, values
    refined, refined_values = refine(acqf, starts, space=space, options=options)
    return torch.cat([refined, X]), torch.cat([refined_values, values])


def _values(
    acqfs: Sequence[AcquisitionFunction], X: Tensor, max_batch_size: int
) -> Tensor:
    """Values of all acquisition functions at ``n x d`` designs, ``n x k``."""
    with torch.no_grad():
        chunks = [
            torch.stack([acqf(x) for acqf in acqfs], dim=-1)
            for x in X.unsqueeze(-2).split(max_batch_size)
        ]
    values = torch.cat(chunks)
    if values.isnan().any():
        raise InputDataError(
            "Expected acquisition values without NaN, but got"
            f" {int(values.isnan().sum())} NaN of {values.numel()}. Check the"
            " acquisition functions of the agents."
        )
    return values
