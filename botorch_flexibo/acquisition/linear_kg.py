r"""Knowledge gradient of linear scalarisations, one objective at a time (C-MOKG).

References:

.. [Buckingham2023cmokg]
    J. M. Buckingham, S. Rojas Gonzalez, and J. Branke. Bayesian Optimization of
    Multiple Objectives with Different Latencies. arXiv:2302.01310, 2023.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import UnsupportedError
from botorch.models.model import Model, ModelList
from botorch.utils.sampling import sample_simplex
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from botorch_flexibo.acquisition._inputs import (
    check_candidates,
    check_designs,
    full_mask,
    model_takes,
    refuse_nan,
    set_pending,
)
from botorch_flexibo.utils.checks import check_count, check_like, check_mask
from botorch_flexibo.utils.conditioning import ConditionedGP
from botorch_flexibo.utils.fronts import MAX_ELEMENTS
from botorch_flexibo.utils.quadrature import gaussian_quadrature


class LinearScalarizationKnowledgeGradient(DecoupledAcquisitionFunction):
    r"""Expected gain in the best linear scalarisation [Buckingham2023cmokg]_.

    For weights ``w`` on the simplex, measuring outcomes ``S`` of ``x`` is worth
    ``E max_u w^T mean'(u) - max_u w^T mean(u)``, averaged over weights, with ``u`` in a
    finite set of designs. Outcomes are scaled by the range of their means. All outcomes
    are maximised.

    NOTE: The authors optimise over the whole space. Here the maximum is over a set, as
    in discrete knowledge gradients. Linear weights only see the convex part of a front.

    Example:
        >>> X = torch.rand(8, 2, dtype=torch.double)
        >>> Y = torch.stack([X.sum(dim=-1), -X.prod(dim=-1)], dim=-1)
        >>> model = ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:]))
        >>> designs = torch.rand(50, 2, dtype=torch.double)
        >>> acqf = LinearScalarizationKnowledgeGradient(model, designs)
        >>> acqf.X_evaluation_mask = torch.tensor([[True, False]])
        >>> acqf(torch.rand(5, 1, 2, dtype=torch.double)).shape
        torch.Size([5])
    """

    # Buffers, so that `.to()` moves them.
    X_designs: Tensor
    _weights: Tensor

    def __init__(
        self,
        model: ModelList,
        X_designs: Tensor,
        *,
        num_scalarizations: int = 16,
        quadrature_nodes: int = 32,
        cost_aware_utility: CostAwareUtility | None = None,
        X_evaluation_mask: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        r"""Knowledge gradient of linear scalarisations.

        Args:
            model: A model list of plain exact single-output GPs, one per outcome.
            X_designs: A ``N x d``-dim tensor of designs the maximum is taken over.
            num_scalarizations: The number of weights.
            quadrature_nodes: Nodes per measurement.
            cost_aware_utility: Turns values into values per cost. None gives the gain.
            X_evaluation_mask: A ``1 x m``-dim boolean tensor of the outcomes to
                measure. None means all.
            seed: Seed of the weights.

        Raises:
            UnsupportedError: If a model is not a plain exact single-output GP.
            InputDataError: If ``X_designs`` is not finite or not that of the model,
                a tensor has the wrong dtype, or a number is less than 1.
            BotorchTensorDimensionError: If the shapes do not fit.
        """
        if X_evaluation_mask is not None:
            check_mask(X_evaluation_mask, "X_evaluation_mask")
        check_count(num_scalarizations, "num_scalarizations")
        super().__init__(model=model, X_evaluation_mask=X_evaluation_mask)
        check_designs(X_designs)
        gaussian_quadrature(quadrature_nodes, dim=1)  # refuses less than one node
        self.cost_aware_utility = cost_aware_utility
        self.quadrature_nodes = quadrature_nodes
        self.register_buffer("X_designs", X_designs)
        self._data_gps = _data_gps(self.model)
        if max(gp.num_models for gp in self._data_gps) > 1:
            raise UnsupportedError(
                "Expected plain GPs, but got a batch or an ensemble of GPs. Use"
                " qFlexiBOLookahead, which averages over ensembles."
            )
        check_like(X_designs, "X_designs", self._data_gps[0].scale, "the model")
        weights = sample_simplex(model.num_outputs, n=num_scalarizations, seed=seed)
        self.register_buffer("_weights", weights.to(X_designs))  # L x m
        with model_takes(X_designs):
            self._set_gps(self._data_gps)

    def set_X_pending(
        self,
        X_pending: Tensor | None = None,
        X_pending_evaluation_mask: Tensor | None = None,
    ) -> None:
        r"""Take pending measurements as made, with their means as results.

        Args:
            X_pending: A ``n' x d``-dim tensor of designs being measured.
            X_pending_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes
                being measured. None means all.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If a tensor has the wrong dtype or a design is not finite.
        """
        set_pending(self, X_pending, X_pending_evaluation_mask, designs=self.X_designs)
        self._set_gps(
            [
                gp.condition_masked(
                    self.X_pending, self.X_pending_evaluation_mask, outcome
                )
                for outcome, gp in enumerate(self._data_gps)
            ]
        )

    # BoTorch types the decorator for its base class only.
    @t_batch_mode_transform(expected_q=1)  # pyright: ignore[reportArgumentType]
    def forward(self, X: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        r"""Value of measuring the masked outcomes of each design.

        Args:
            X: A ``batch_shape x 1 x d``-dim tensor of designs.

        Returns:
            A ``batch_shape``-dim tensor of expected gains, per cost if a
            ``cost_aware_utility`` was given.

        Raises:
            BotorchTensorDimensionError: If ``X_evaluation_mask`` is not ``1 x m``, or
                ``X`` has other columns than the designs.
            InputDataError: If ``X`` is not finite or of another dtype or device, or a
                value is NaN.
        """
        X = check_candidates(X, self.X_designs)
        mask = full_mask(self.X_evaluation_mask, X, self.num_outputs)
        nodes, _ = gaussian_quadrature(self.quadrature_nodes, max(1, int(mask.sum())))
        per_design = len(self._weights) * len(nodes) * len(self.X_designs)
        chunks = X.reshape(-1, X.shape[-1]).split(max(1, MAX_ELEMENTS // per_design))
        gains = torch.cat([self._gain(chunk, mask[0]) for chunk in chunks])
        gains = refuse_nan(gains.reshape(X.shape[:-2]))
        if self.cost_aware_utility is None:
            return gains
        return self.cost_aware_utility(X=X, deltas=gains, X_evaluation_mask=mask)

    def _gain(self, X: Tensor, mask: Tensor) -> Tensor:
        outcomes = mask.nonzero().squeeze(-1).tolist()
        if not outcomes:
            return 0.0 * X.sum(dim=-1)
        moves = []
        for i in outcomes:
            gp = self._gps[i]
            direction = gp.directions(self._targets[i], gp.whiten(X), q=1)[0]
            moves.append(direction / self._range[i])  # b x 1 x N
        nodes, weights = gaussian_quadrature(self.quadrature_nodes, len(outcomes))
        value = torch.zeros(len(X), dtype=X.dtype, device=X.device)
        for w, current in zip(self._weights, self._scalarized, strict=True):
            steps = torch.cat(moves, dim=-2) * w[outcomes, None]  # b x |S| x N
            values = current + nodes.to(X) @ steps  # b x K x N
            value = value + values.amax(dim=-1) @ weights.to(X) - current.max()
        return value / len(self._weights)

    def _apply(self, *args: Any, **kwargs: Any) -> LinearScalarizationKnowledgeGradient:
        """Move to another dtype or device, and compute again what is cached."""
        super()._apply(*args, **kwargs)
        self._data_gps = _data_gps(self.model)
        pending = None if self.X_pending is None else self.X_pending.to(self.X_designs)
        self.set_X_pending(pending, self.X_pending_evaluation_mask)
        return self

    def _set_gps(self, gps: list[ConditionedGP]) -> None:
        self._gps = gps
        with torch.no_grad():
            self._targets = [gp.whiten(self.X_designs) for gp in gps]
            pairs = zip(gps, self._targets, strict=True)
            means = torch.cat([gp.moments(target)[0] for gp, target in pairs])  # m x N
            refuse_nan(means, "posterior means")
            spread = means.amax(dim=-1) - means.amin(dim=-1)
            self._range = torch.where(spread > 0, spread, 1.0)
            self._scalarized = self._weights @ (means / self._range.unsqueeze(-1))


def _data_gps(model: Model) -> list[ConditionedGP]:
    return [ConditionedGP(submodel) for submodel in cast(Iterable[Model], model.models)]
