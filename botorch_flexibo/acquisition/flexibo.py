r"""FlexiBO: cost-weighted reduction of the uncertain Pareto region.

References:

.. [Iqbal2023flexibo]
    M. S. Iqbal, J. Su, L. Kotthoff, and P. Jamshidi. FlexiBO: A Decoupled Cost-Aware
    Multi-Objective Optimization Approach for Deep Neural Networks. Journal of
    Artificial Intelligence Research 77, 2023. arXiv:2001.06588.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from botorch.models.model import ModelList
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from botorch_flexibo.acquisition._inputs import (
    check_candidates,
    check_designs,
    check_posterior,
    full_mask,
    model_takes,
    refuse_nan,
    set_pending,
)
from botorch_flexibo.utils.checks import check_floating, check_mask, finite_number
from botorch_flexibo.utils.fronts import (
    as_ref_point,
    check_volume,
    front_mask,
    improvement_cells,
    second_order_front,
)
from botorch_flexibo.utils.objective import separable_weights
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    collapse,
    collapse_gain,
    confidence_region,
    intersect_regions,
    region_volume,
    undominated,
)
from botorch_flexibo.utils.posterior import marginal_moments
from botorch_flexibo.utils.rows import RowIndex


class FlexiBO(DecoupledAcquisitionFunction):
    r"""Reduction of the Pareto region's volume per unit of cost [Iqbal2023flexibo]_.

    Every design of a finite set has a confidence box ``mean -+ sqrt(beta) * sd`` in
    outcome space. The Pareto region lies between the fronts of the upper and of the
    lower corners and has volume ``V``. Measuring the outcomes ``S`` of design ``x`` is
    taken to collapse these sides of its box to the mean, which leaves volume ``V'``:

    ``value(x, S) = (V - V') / cost(x, S)``

    and the next measurement is the pair with the largest value. All outcomes are
    maximised. Designs outside the set may be scored too (and then the value is
    differentiable); they count as if they joined the set.

    NOTE: The paper's code only scores designs on one of the two fronts. Here all are
    scored: those off the fronts are rarely best, and it costs nothing.

    Example:
        >>> X = torch.rand(8, 2, dtype=torch.double)
        >>> Y = torch.stack([X.sum(dim=-1), -X.prod(dim=-1)], dim=-1)
        >>> model = ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:]))
        >>> designs = torch.rand(50, 2, dtype=torch.double)
        >>> acqf = FlexiBO(model, ref_point=Y.amin(dim=0), X_designs=designs)
        >>> acqf.X_evaluation_mask = torch.tensor([[True, False]])
        >>> acqf(designs.unsqueeze(-2)).shape
        torch.Size([50])
    """

    # Buffers, so that `.to()` moves them.
    ref_point: Tensor
    beta: Tensor
    weights: Tensor
    X_designs: Tensor

    def __init__(
        self,
        model: ModelList,
        ref_point: Tensor,
        X_designs: Tensor,
        *,
        beta: float | Tensor = 1.0,
        objective: MCMultiOutputObjective | None = None,
        cost_aware_utility: CostAwareUtility | None = None,
        Y_designs: Tensor | None = None,
        X_evaluation_mask: Tensor | None = None,
        X_pending: Tensor | None = None,
        X_pending_evaluation_mask: Tensor | None = None,
        previous_region: ConfidenceRegion | None = None,
    ) -> None:
        r"""FlexiBO on a finite design set.

        Args:
            model: A model list with ``m`` outputs whose posteriors have a mean and a
                variance: GPs, fully Bayesian GPs, ensembles of trees, ...
            ref_point: A ``m``-dim reference point below the front, in objective space.
            X_designs: A ``n x d``-dim tensor of designs that the fronts are made of.
            beta: The confidence scale: boxes are ``mean -+ sqrt(beta) * sd``. Constant
                or the value of a schedule, see :func:`pal_beta`.
            objective: None, identity, or one weight per outcome (-1: minimise).
            cost_aware_utility: Turns values into values per cost. It is called with
                ``X_evaluation_mask``. None scores the volume itself.
            Y_designs: A ``n x m``-dim tensor with the outcomes already measured without
                noise, NaN elsewhere. Their boxes are points: measuring again gains
                nothing. With noisy outcomes leave this out.
            X_evaluation_mask: A ``1 x m``-dim boolean tensor of the outcomes to
                measure. None means all.
            X_pending: A ``n' x d``-dim tensor of designs being measured.
            X_pending_evaluation_mask: A ``n' x m``-dim boolean tensor of their
                outcomes. None means all.
            previous_region: The :attr:`design_region` of the iteration before, to
                intersect the boxes with. None uses the boxes of this model alone.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If the designs are not unique and finite or not those of the
                model, a known outcome is infinite, ``beta`` is negative, a tensor has
                the wrong dtype, or a volume would overflow.
            UnsupportedError: If the objective is not separable.
        """
        if X_evaluation_mask is not None:
            check_mask(X_evaluation_mask, "X_evaluation_mask")
        super().__init__(model=model, X_evaluation_mask=X_evaluation_mask)
        m = model.num_outputs
        _check_designs(X_designs, Y_designs, num_outcomes=m)
        scale = finite_number(beta)
        if scale is None or scale < 0:
            raise InputDataError(
                f"Expected beta to be one finite number >= 0, but got {beta!r}. Pass 1"
                " for boxes of one standard deviation to each side."
            )
        self.cost_aware_utility = cost_aware_utility
        ref_point = as_ref_point(ref_point, X_designs, num_outcomes=m)
        self.register_buffer("ref_point", ref_point)
        self.register_buffer("beta", X_designs.new_tensor(scale))
        self.register_buffer("X_designs", X_designs)
        self.register_buffer("weights", separable_weights(objective, m).to(X_designs))
        with model_takes(X_designs):
            region = self._model_region(X_designs)
        check_posterior(torch.stack(region), X_designs)
        if previous_region is not None:
            region = intersect_regions(region, previous_region)
        if Y_designs is not None:
            known = ~Y_designs.isnan()
            mean = torch.where(known, Y_designs * self.weights, region.mean)
            region = collapse(region._replace(mean=mean), known)
        check_volume(region.upper, self.ref_point)
        self._design_region = region
        self._row_index = RowIndex(X_designs)
        # Dominated designs change neither fronts nor volume and gain nothing.
        self._undominated = undominated(region.lower, region.upper)
        self._set_region(self._row_index, region, self._undominated)
        if X_pending is not None:
            self.set_X_pending(X_pending, X_pending_evaluation_mask)

    @property
    def design_region(self) -> ConfidenceRegion:
        """Boxes of ``X_designs`` in objective space, ``n x m``, pending ones as is."""
        return self._design_region

    @property
    def volume(self) -> Tensor:
        """Volume ``V`` of the Pareto region, with pending pairs taken as collapsed."""
        return region_volume(self._region.lower, self._region.upper, self.ref_point)

    def set_X_pending(
        self,
        X_pending: Tensor | None = None,
        X_pending_evaluation_mask: Tensor | None = None,
    ) -> None:
        r"""Take pending pairs as collapsed, so that they gain nothing.

        Args:
            X_pending: A ``n' x d``-dim tensor of designs being measured, in the set or
                not.
            X_pending_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes
                being measured. None means all.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If a tensor has the wrong dtype or a design is not finite.
        """
        set_pending(self, X_pending, X_pending_evaluation_mask, designs=self.X_designs)
        rows, region, competing = (
            self._row_index,
            self._design_region,
            self._undominated,
        )
        if self.X_pending is not None:
            pending = torch.unique(self.X_pending, dim=0)
            new = pending[rows.find(pending) < 0]
            if len(new) > 0:
                rows = RowIndex(torch.cat([self.X_designs, new]))
                parts = zip(region, self._model_region(new), strict=True)
                region = ConfidenceRegion(*map(torch.cat, parts))
                competing = torch.cat([competing, competing.new_ones(len(new))])
            counts = torch.zeros_like(region.mean, dtype=torch.long)
            mask = cast(Tensor, self.X_pending_evaluation_mask)
            counts.index_add_(0, rows.find(self.X_pending), mask.long())
            region = collapse(region, counts > 0)
        self._set_region(rows, region, competing)

    # BoTorch types the decorator for its base class only.
    @t_batch_mode_transform(expected_q=1)  # pyright: ignore[reportArgumentType]
    def forward(self, X: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        r"""Value of measuring the masked outcomes of each design.

        Args:
            X: A ``batch_shape x 1 x d``-dim tensor of designs. The value is constant
                (gradient zero) at designs of the set, differentiable elsewhere.

        Returns:
            A ``batch_shape``-dim tensor of volume reductions, per cost if a
            ``cost_aware_utility`` was given; non-negative.

        Raises:
            BotorchTensorDimensionError: If ``X_evaluation_mask`` is not ``1 x m``, or
                ``X`` has other columns than the design set.
            InputDataError: If ``X`` is not finite or of another dtype or device, or a
                value is NaN.
        """
        X = check_candidates(X, self.X_designs)
        mask = full_mask(self.X_evaluation_mask, X, self.num_outputs)
        designs = X.reshape(-1, X.shape[-1])
        row = self._rows.find(designs)
        inside = row >= 0
        gains = 0.0 * designs.sum(dim=-1)  # zeros with a graph
        competing = inside & self._competing[row]
        if competing.any():
            boxes = ConfidenceRegion(*(side[row[competing]] for side in self._region))
            gain = collapse_gain(boxes, mask, self._pair_cells, self._lower_cells)
            gains = gains.masked_scatter(competing, gain)
        if not inside.all():
            boxes = self._boxes(*marginal_moments(self.model, designs[~inside]))
            gain = collapse_gain(boxes, mask, self._upper_cells, self._lower_cells)
            gains = gains.masked_scatter(~inside, gain)
        gains = refuse_nan(gains.reshape(X.shape[:-2]))
        if self.cost_aware_utility is None:
            return gains
        return self.cost_aware_utility(X=X, deltas=gains, X_evaluation_mask=mask)

    def _apply(self, *args: Any, **kwargs: Any) -> FlexiBO:
        """Move to another dtype or device, with the boxes as they are."""
        super()._apply(*args, **kwargs)
        self.model.train().eval()  # GPyTorch drops its caches, which were not moved
        region = (side.to(self.X_designs) for side in self._design_region)
        self._design_region = ConfidenceRegion(*region)
        self._undominated = self._undominated.to(self.X_designs.device)
        self._row_index = RowIndex(self.X_designs)
        pending = None if self.X_pending is None else self.X_pending.to(self.X_designs)
        self.set_X_pending(pending, self.X_pending_evaluation_mask)
        return self

    def _boxes(self, mean: Tensor, variance: Tensor) -> ConfidenceRegion:
        return confidence_region(
            mean * self.weights, variance * self.weights.square(), self.beta
        )

    def _model_region(self, X: Tensor) -> ConfidenceRegion:
        with torch.no_grad():
            return self._boxes(*marginal_moments(self.model, X))

    def _set_region(
        self, rows: RowIndex, region: ConfidenceRegion, competing: Tensor
    ) -> None:
        """Derive what scoring needs from the boxes of the designs that compete."""
        self._rows = rows
        self._region = region
        self._competing = competing
        lower, upper = region.lower[competing], region.upper[competing]
        self._lower_cells = improvement_cells(lower[front_mask(lower)], self.ref_point)
        self._upper_cells = improvement_cells(upper[front_mask(upper)], self.ref_point)
        self._pair_cells = improvement_cells(second_order_front(upper), self.ref_point)


def _check_designs(X: Tensor, Y: Tensor | None, num_outcomes: int) -> None:
    check_designs(X)
    duplicated = (RowIndex(X).find(X) != torch.arange(len(X), device=X.device)).sum()
    if duplicated > 0:
        raise InputDataError(
            f"Expected unique rows in X_designs, but got {int(duplicated)} duplicates."
            " Pass torch.unique(X_designs, dim=0)."
        )
    if Y is None:
        return
    Y = check_floating(Y, "Y_designs")
    if Y.shape != torch.Size([len(X), num_outcomes]):
        raise BotorchTensorDimensionError(
            f"Expected Y_designs to be {len(X)} x {num_outcomes}, but got shape"
            f" {shape_to_str(Y.shape)}. Pass a row per design, a column per outcome."
        )
    if Y.isinf().any():
        raise InputDataError(
            "Expected Y_designs to hold finite values or NaN (not measured), but got"
            " infinity. Leave failed measurements out."
        )
