"""BoTorch's coupled multi-fidelity acquisition functions, and the target alone."""

from __future__ import annotations

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.multi_objective.hypervolume_knowledge_gradient import (
    _get_hv_value_function,
    qMultiFidelityHypervolumeKnowledgeGradient,
)
from botorch.acquisition.multi_objective.multi_fidelity import MOMF
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from botorch.utils.sampling import manual_seed
from torch import Tensor

from benchmarks.peers.finite import complete_request, nearest
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import CoupledPolicy, DecoupledState, Policy
from botorch_flexibo.policies.acquisition import finite_choices


class AtTarget(Policy):
    """Another policy that may only choose designs at the target fidelity."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.uses_model = policy.uses_model  # pyright: ignore

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        choices = finite_choices(state.choices)
        for column, value in state.target_fidelities.items():
            choices = choices[choices[:, column] == value]
        return self.policy(model, state.with_choices(choices))


def momf_policy() -> CoupledPolicy:
    """MOMF (Irshad et al., 2021): the fidelity is one more objective, its "trust"."""
    return CoupledPolicy(_momf, max_candidates=256)


def _momf(model: ModelList, state: DecoupledState) -> MOMF:
    ((column, target),) = state.target_fidelities.items()

    def trust(X: Tensor) -> Tensor:
        return (X[..., column] / target).unsqueeze(-1)

    measured = state.measured.all(dim=-1)
    X, Y = state.X[measured], state.Y[measured]
    ref_point = torch.cat([state.ref_point, state.ref_point.new_zeros(1)])
    return MOMF(
        ModelList(*model.models, GenericDeterministicModel(trust)),
        ref_point.tolist(),
        FastNondominatedPartitioning(ref_point, torch.cat([Y, trust(X)], dim=-1)),
        cost_call=lambda X: state.outcome_costs(X).sum(dim=-1, keepdim=True),
    )


class MultiFidelityHVKGPolicy(Policy):
    """BoTorch's MF-HVKG with few fantasies, on the continuous relaxation of a set.

    One-shot optimisation needs a continuous space, so that codes are numbers for it;
    the best design and fidelity found becomes the nearest choice that is not measured.
    """

    NUM_FANTASIES = 2
    NUM_PARETO = 5

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        choices = finite_choices(state.choices)
        open_choices = choices[state.open_outcomes(choices).all(dim=-1)]
        with manual_seed(state.seed):
            X, _ = _optimize(self._acquisition(model, state), state, q=1)
        return complete_request(nearest(X, open_choices, state.bounds), state)

    def _acquisition(
        self, model: ModelList, state: DecoupledState
    ) -> qMultiFidelityHypervolumeKnowledgeGradient:
        targets = state.target_fidelities

        def project(X: Tensor) -> Tensor:
            return project_to_target_fidelity(X, targets, d=len(state.bounds[0]))

        value = _get_hv_value_function(
            model, state.ref_point, use_posterior_mean=True, project=project
        )
        _, current_value = _optimize(value, state, q=self.NUM_PARETO)
        choices = finite_choices(state.choices)

        def cost(X: Tensor) -> Tensor:
            rows = nearest(X.reshape(-1, X.shape[-1]), choices, state.bounds)
            return state.outcome_costs(rows).sum(dim=-1).reshape(*X.shape[:-1], 1)

        samplers = [
            SobolQMCNormalSampler(torch.Size([self.NUM_FANTASIES]), seed=state.seed + i)
            for i in range(model.num_outputs)
        ]
        return qMultiFidelityHypervolumeKnowledgeGradient(
            model,
            state.ref_point,
            target_fidelities=targets,
            num_fantasies=self.NUM_FANTASIES,
            num_pareto=self.NUM_PARETO,
            sampler=ListSampler(*samplers),
            use_posterior_mean=True,
            cost_aware_utility=InverseCostWeightedUtility(
                GenericDeterministicModel(cost)
            ),
            current_value=current_value,
            project=project,
        )


def _optimize(
    acqf: AcquisitionFunction, state: DecoupledState, q: int
) -> tuple[Tensor, Tensor]:
    """One restart of BoTorch's optimiser, of few steps, and no second try."""
    return optimize_acqf(
        acqf,
        state.bounds,
        q=q,
        num_restarts=1,
        raw_samples=16,
        options={
            "maxiter": 10,
            "maxfun": 20,  # the value has steps, along which line searches are long
            "num_inner_restarts": 2,
            "raw_inner_samples": 64,
            "seed": state.seed,
        },
        retry_on_optimization_warning=False,
    )
