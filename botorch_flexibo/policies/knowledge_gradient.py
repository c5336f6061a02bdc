r"""Knowledge-gradient acquisition functions to compare with."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from botorch.acquisition.multi_objective.hypervolume_knowledge_gradient import (
    _get_hv_value_function,
    qHypervolumeKnowledgeGradient,
)
from botorch.models.model import ModelList
from botorch.optim import optimize_acqf
from botorch.sampling import ListSampler, SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed

from botorch_flexibo.acquisition.cost_aware import DecoupledCostUtility
from botorch_flexibo.acquisition.linear_kg import LinearScalarizationKnowledgeGradient
from botorch_flexibo.optim.designs import sample_region_designs
from botorch_flexibo.policies.base import DecoupledState
from botorch_flexibo.utils.checks import check_count


@dataclass(frozen=True)
class HVKGFactory:
    r"""Builds BoTorch's ``qHypervolumeKnowledgeGradient``, as its decoupled tutorial.

    Attributes:
        num_pareto: Designs in the Pareto set of each fantasy.
        num_fantasies: Fantasies per outcome.
        value_restarts: Restarts of the search for the current value.
        value_samples: Raw samples of that search.
    """

    num_pareto: int = 10
    num_fantasies: int = 8
    value_restarts: int = 20
    value_samples: int = 1024

    def __post_init__(self) -> None:
        """Check the numbers."""
        for field in fields(self):
            check_count(getattr(self, field.name), field.name)

    def __call__(
        self, model: ModelList, state: DecoupledState
    ) -> qHypervolumeKnowledgeGradient:
        r"""Build the acquisition function.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            The acquisition function.
        """
        samplers = [
            SobolQMCNormalSampler(torch.Size([self.num_fantasies]), seed=state.seed + i)
            for i in range(model.num_outputs)
        ]
        with manual_seed(state.seed):
            _, current_value = optimize_acqf(
                _get_hv_value_function(model, state.ref_point, use_posterior_mean=True),
                state.bounds,
                q=self.num_pareto,
                num_restarts=self.value_restarts,
                raw_samples=self.value_samples,
                return_best_only=True,
                options={"batch_limit": 5},
                fixed_features=dict(state.space.fixed_features) or None,
                inequality_constraints=list(state.space.inequality_constraints) or None,
            )
            # Its inner sampler draws a seed.
            return qHypervolumeKnowledgeGradient(
                model,
                state.ref_point,
                num_fantasies=self.num_fantasies,
                num_pareto=self.num_pareto,
                sampler=ListSampler(*samplers),
                current_value=current_value,
                use_posterior_mean=True,
                cost_aware_utility=DecoupledCostUtility(state.cost_model),
            )


@dataclass(frozen=True)
class LinearKGFactory:
    r"""Builds :class:`LinearScalarizationKnowledgeGradient` (C-MOKG, discrete).

    Attributes:
        num_scalarizations: The number of weights, drawn anew at every decision.
        num_designs: Designs of the region the maximum is over; as many Sobol designs
            join them.
    """

    num_scalarizations: int = 16
    num_designs: int = 128

    def __post_init__(self) -> None:
        """Check the numbers."""
        for field in fields(self):
            check_count(getattr(self, field.name), field.name)

    def __call__(
        self, model: ModelList, state: DecoupledState
    ) -> LinearScalarizationKnowledgeGradient:
        r"""Build the acquisition function.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            The acquisition function.
        """
        designs = sample_region_designs(
            model,
            state.space,
            state.ref_point,
            num_designs=self.num_designs,
            X=state.X,
            seed=state.seed,
        )
        if state.choices is None:
            sobol = state.space.sample(self.num_designs, seed=state.seed)
            designs = torch.cat([designs, sobol])
        return LinearScalarizationKnowledgeGradient(
            model,
            designs,
            num_scalarizations=self.num_scalarizations,
            cost_aware_utility=DecoupledCostUtility(state.cost_model),
            seed=state.seed,
        )
