r"""Random search, the policy that every other one has to beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import per_cost
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.policies._spares import free_masks, spare_designs
from botorch_flexibo.policies.base import DecoupledState, Policy
from botorch_flexibo.utils.checks import check_evaluation_masks


class RandomPolicy(Policy):
    r"""A random design and a random set of outcomes, never measured before.

    Masks are drawn with probability inverse to their weighted cost: by default every
    objective receives the same money, with :func:`unweighted` the same number of
    measurements.

    Example:
        >>> RandomPolicy()(model, state).evaluation_mask.sum().item()
        1
    """

    uses_model = False

    def __init__(
        self,
        evaluation_masks: Tensor | None = None,
        weighting: Callable[[Tensor], Tensor] = per_cost,
    ) -> None:
        r"""Random policy.

        Args:
            evaluation_masks: A ``k x m``-dim boolean tensor of the masks to draw from.
                None means every outcome on its own (decoupled); a single row of True
                is the coupled random search.
            weighting: Maps believed costs to the inverse of a mask's chance, see
                :class:`DecoupledCostUtility`.

        Raises:
            InputDataError: If a mask is empty or not boolean.
            BotorchTensorDimensionError: If they are not `k x m`.
        """
        if evaluation_masks is not None:
            check_evaluation_masks(evaluation_masks)
        self.evaluation_masks = evaluation_masks
        self.weighting = weighting

    @property
    def has_memory(self) -> bool:
        """Whether a request depends on more than the state: it does not."""
        return False

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Draw one measurement.

        Args:
            model: Ignored.
            state: The data so far and what is known about the problem.

        Returns:
            One design with the outcomes to measure.

        Raises:
            CandidateGenerationError: If nothing is left to measure within max_cost.
        """
        m = state.Y.shape[-1]
        generator = torch.Generator().manual_seed(state.seed)
        masks = self.evaluation_masks
        if masks is None:
            masks = torch.eye(m, dtype=torch.bool)
        check_evaluation_masks(masks, m)
        masks = masks if state.failures is None else state.failures.open_masks(masks)
        state = state.enumerated()
        designs = state.choices
        if designs is None:
            designs = state.space.sample(1, seed=state.seed)
        costs, free = free_masks(designs, masks, state)
        if state.choices is None and not free.any():
            designs = spare_designs(state, 1)
            costs, free = free_masks(designs, masks, state)
        if not free.any():
            raise CandidateGenerationError(
                "Expected a pair that is not measured and costs at most"
                f" {state.max_cost}, but none of {free.numel()} is left. Allow more."
            )
        # First the mask, then a design it is free at.
        chance = 1 / self.weighting(costs.mean(dim=0))
        chance = torch.where(free.any(dim=0), chance, 0.0)
        mask = int(chance.cpu().multinomial(1, generator=generator))
        rows = free[:, mask].nonzero().squeeze(-1)
        row = rows[int(torch.randint(len(rows), (1,), generator=generator))]
        return EvaluationRequest(
            X=designs[row].unsqueeze(0),
            evaluation_mask=masks[mask].unsqueeze(0).to(designs.device),
            cost=costs[row, mask].unsqueeze(0),
        )
