r"""Look-ahead FlexiBO: what a measurement tells about the whole Pareto region.

A measurement moves and narrows the boxes of all correlated designs. For Gaussian
processes both effects are known before measuring: variances shrink by a fixed amount,
and means move along one direction per measurement. So the expected volume of the
Pareto region afterwards is a quadrature over a few normal variables: no fantasy models,
no one-shot optimisation.

References:

.. [Iqbal2023flexibo]
    M. S. Iqbal, J. Su, L. Kotthoff, and P. Jamshidi. FlexiBO: A Decoupled Cost-Aware
    Multi-Objective Optimization Approach for Deep Neural Networks. Journal of
    Artificial Intelligence Research 77, 2023. arXiv:2001.06588.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from botorch.acquisition.cost_aware import CostAwareUtility
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.models.model import Model, ModelList
from botorch.utils.transforms import is_ensemble, t_batch_mode_transform
from torch import Tensor

from botorch_flexibo.acquisition._effects import (
    Moves,
    OwnBoxes,
    common_size,
    effect_of_measuring,
)
from botorch_flexibo.acquisition._inputs import (
    check_candidates,
    check_designs,
    full_mask,
    model_takes,
    refuse_nan,
    set_pending,
)
from botorch_flexibo.acquisition.baseline import (
    MeasuredBaseline,
    MeasuredFront,
    Progress,
)
from botorch_flexibo.acquisition.losses import HypervolumeLoss
from botorch_flexibo.utils.checks import check_like, check_mask
from botorch_flexibo.utils.conditioning import ConditionedGP
from botorch_flexibo.utils.fronts import as_ref_point, check_volume, front_mask
from botorch_flexibo.utils.moving_front import (
    Joining,
    MovingOutcome,
    expected_hypervolume,
    joined_hypervolume,
    num_elements,
    volume,
)
from botorch_flexibo.utils.objective import separable_weights
from botorch_flexibo.utils.quadrature import gaussian_quadrature

# Elements of a chunk's largest temporary. Those that stay in cache are several times
# faster than larger ones: 4 MiB of float64.
_CHUNK_ELEMENTS = 2**19


class qFlexiBOLookahead(DecoupledAcquisitionFunction):
    r"""Expected reduction of the Pareto region's volume, per unit of cost.

    Reference designs ``U`` have confidence boxes ``mean -+ sqrt(beta) * sd``; the
    Pareto region between the fronts of their upper and lower corners has volume ``V``
    [Iqbal2023flexibo]_. After measuring outcomes ``S`` of ``X``, with posterior
    covariances ``k_i`` of outcome ``i`` and one standard normal ``z`` per measurement,

    ``mean_i'(u) = mean_i(u) + D_i(u) z_i`` and ``sd_i'(u)^2 = sd_i(u)^2 - |D_i(u)|^2``

    with ``D_i(u) = k_i(u, X_i) chol(k_i(X_i, X_i) + noise_i)^-T`` and ``X_i`` the
    points that measure outcome ``i``. The designs ``X`` join ``U``, so that what they
    tell about themselves counts. The value is ``(V - E[V']) / cost(X, S)``, the
    expectation by quadrature. All outcomes are maximised. :meth:`set_baseline` adds the
    expected improvement of the front of measured designs.

    With one node the means stay, and the gain is never negative. With more it is the
    expected gain of a measurement whose result is not known yet, and can be slightly
    negative.

    Pending points narrow the boxes; their means stay as they are.

    NOTE: FlexiBO's Pareto region is that of a finite design set. Here ``X`` need not be
    in it, and the region is that of ``U`` and ``X``, before and after measuring.

    Example:
        >>> X = torch.rand(8, 2, dtype=torch.double)
        >>> Y = torch.stack([X.sum(dim=-1), -X.prod(dim=-1)], dim=-1)
        >>> model = ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:]))
        >>> reference = torch.rand(50, 2, dtype=torch.double)
        >>> acqf = qFlexiBOLookahead(model, Y.amin(dim=0), reference)
        >>> acqf.X_evaluation_mask = torch.tensor([[True, False], [False, True]])
        >>> acqf(torch.rand(5, 2, 2, dtype=torch.double)).shape
        torch.Size([5])
    """

    # Buffers, so that `.to()` moves them.
    ref_point: Tensor
    weights: Tensor
    X_designs: Tensor

    def __init__(
        self,
        model: ModelList,
        ref_point: Tensor,
        X_designs: Tensor,
        *,
        beta: float = 1.0,
        loss: Callable[[float], HypervolumeLoss] = HypervolumeLoss.region,
        quadrature_nodes: int = 6,
        objective: MCMultiOutputObjective | None = None,
        cost_aware_utility: CostAwareUtility | None = None,
        target_fidelities: Mapping[int, float] | None = None,
        X_evaluation_mask: Tensor | None = None,
        X_pending: Tensor | None = None,
        X_pending_evaluation_mask: Tensor | None = None,
    ) -> None:
        r"""Look-ahead FlexiBO.

        Args:
            model: A model list of exact single-output GPs, one per outcome.
            ref_point: A ``m``-dim reference point below the front, in objective space.
            X_designs: A ``N x d``-dim tensor of reference designs, see
                ``sample_region_designs``. The cost of a value grows linearly in ``N``
                for two outcomes, quadratically for three.
            beta: The confidence scale: boxes are ``mean -+ sqrt(beta) * sd``.
            loss: Maps ``beta`` to what is to be reduced: the region's volume, or
                another constructor of :class:`HypervolumeLoss`.
            quadrature_nodes: Nodes per measurement. One keeps the means where they are.
            objective: None, identity, or one weight per outcome (-1: minimise).
            cost_aware_utility: Turns values into values per cost. It is called with
                ``X_evaluation_mask``. None gives the reduction itself.
            target_fidelities: The value of each fidelity column at which the front is
                wanted. Reference designs are projected to it, and candidates where they
                join these.
            X_evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.
            X_pending: A ``n' x d``-dim tensor of designs being measured.
            X_pending_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes
                being measured there. None means all.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If ``X_designs`` or the reference point is not finite or not
                that of the model, a tensor has the wrong dtype, or a volume would
                overflow.
            UnsupportedError: If a model is not an exact GP, an outcome transform is not
                affine, or the objective is not separable.
        """
        if X_evaluation_mask is not None:
            check_mask(X_evaluation_mask, "X_evaluation_mask")
        super().__init__(model=model, X_evaluation_mask=X_evaluation_mask)
        check_designs(X_designs)
        m = model.num_outputs
        ref_point = as_ref_point(ref_point, X_designs, num_outcomes=m)
        gaussian_quadrature(quadrature_nodes, dim=1)  # refuses less than one node
        self.loss = loss(beta)
        self.quadrature_nodes = quadrature_nodes
        self.cost_aware_utility = cost_aware_utility
        self.register_buffer("ref_point", ref_point)
        self.register_buffer("weights", separable_weights(objective, m).to(X_designs))
        self._target_fidelities = dict(target_fidelities or {})
        self._baseline: MeasuredBaseline | None = None
        if target_fidelities:
            X_designs = torch.unique(self._at_target(X_designs), dim=0)
        self.register_buffer("X_designs", X_designs)
        submodels = cast(Iterable[Model], model.models)
        self._data_gps = [ConditionedGP(submodel) for submodel in submodels]
        self._num_models = common_size([gp.num_models for gp in self._data_gps])
        self._is_batched = self._num_models > 1 and not is_ensemble(model)
        check_like(X_designs, "X_designs", self._data_gps[0].scale, "the model")
        with model_takes(X_designs):
            self._set_gps(self._data_gps)
        refuse_nan(self._mean + self._sd, "posterior means and variances")
        check_volume(self._mean + self._sd, torch.zeros_like(self.ref_point))
        if X_pending is not None:
            self.set_X_pending(X_pending, X_pending_evaluation_mask)

    @property
    def expected_loss(self) -> Tensor:
        """Loss before measuring, with pending measurements taken as made."""
        return self._current if self._is_batched else self._current.mean(dim=0)

    def set_X_pending(
        self,
        X_pending: Tensor | None = None,
        X_pending_evaluation_mask: Tensor | None = None,
    ) -> None:
        r"""Narrow the boxes by measurements that are still running.

        Args:
            X_pending: A ``n' x d``-dim tensor of designs being measured.
            X_pending_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes
                being measured. None means all.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If a tensor has the wrong dtype or a design is not finite.
        """
        set_pending(self, X_pending, X_pending_evaluation_mask, designs=self.X_designs)
        self._condition(self.X_pending, self.X_pending_evaluation_mask)

    def set_baseline(self, baseline: MeasuredBaseline | None) -> None:
        r"""Value improvements of the front of measured designs too.

        Args:
            baseline: The measured designs. None values knowledge alone.

        Raises:
            BotorchTensorDimensionError: If it has other columns or outcomes.
        """
        if baseline is not None:
            baseline.check_shape(self.X_designs.shape[-1], self.num_outputs)
            baseline = baseline.to(self.X_designs)
        self._baseline = baseline
        self._set_gps(self._gps)

    # BoTorch types the decorator for its base class only.
    @t_batch_mode_transform()  # pyright: ignore[reportArgumentType]
    def forward(self, X: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        r"""Value of measuring the masked outcomes of batches of designs together.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.

        Returns:
            A ``batch_shape``-dim tensor of expected reductions of the loss, per cost if
            a ``cost_aware_utility`` was given.

        Raises:
            BotorchTensorDimensionError: If ``X_evaluation_mask`` is not ``q x m``, or
                ``X`` has other columns than the reference designs.
            InputDataError: If ``X`` is not finite or of another dtype or device, or a
                value is NaN.
        """
        X = check_candidates(X, self.X_designs)
        mask = full_mask(self.X_evaluation_mask, X, self.num_outputs)
        batch_shape = X.shape[:-2]
        if self._is_batched:  # one value per model and batch: models come first
            batch_shape = torch.broadcast_shapes(batch_shape, (self._num_models,))
            expanded = X.expand(*batch_shape, *X.shape[-2:]).movedim(-3, 0)
            count = batch_shape[:-1].numel()
            batches = expanded.reshape(self._num_models, count, *X.shape[-2:])
        else:
            batches = X.reshape(1, batch_shape.numel(), *X.shape[-2:])
        gains = refuse_nan(self._chunked_gains(batches, mask))  # s x b
        if self._is_batched:
            gains = gains.reshape(self._num_models, *batch_shape[:-1]).movedim(0, -1)
        else:
            gains = gains.mean(dim=0).reshape(batch_shape)
        if self.cost_aware_utility is None:
            return gains
        return self.cost_aware_utility(X=X, deltas=gains, X_evaluation_mask=mask)

    def _chunked_gains(self, X: Tensor, mask: Tensor) -> Tensor:
        variables = [count for count in mask.sum(dim=0).tolist() if count > 0]
        num_points = len(self.X_designs)
        if self._baseline is not None:
            sizes = [front.points.shape[-2] for front in self._fronts]
            num_points = max(num_points, *sizes)
        per_batch = self._num_models * num_elements(
            num_points,
            self.num_outputs,
            variables,
            self.quadrature_nodes,
            num_joining=X.shape[-2],
        )
        chunks = X.split(max(1, _CHUNK_ELEMENTS // per_batch), dim=1)
        gains = []
        for chunk in chunks:  # small ones have room for several terms of the loss
            num_terms = _CHUNK_ELEMENTS // (per_batch * max(1, chunk.shape[1]))
            gains.append(self._gain(chunk, mask, max(1, num_terms)))
        return torch.cat(gains, dim=1)

    def _gain(self, X: Tensor, mask: Tensor, num_terms: int) -> Tensor:
        """Gains of ``1 x b x q x d`` or ``s x b x q x d``, so many terms at once."""
        if X.shape[1] == 0 or not mask.any():
            return (0.0 * X.sum(dim=(-2, -1))).expand(self._num_models, -1)
        own, moves = self._effects(X, mask)
        firsts = range(0, len(self._scales), num_terms)
        terms = [self._reduction(own, moves, slice(k, k + num_terms)) for k in firsts]
        gain = torch.stack(terms).sum(dim=0)
        if self._baseline is not None:
            at_target = (self._at_target(X) == X).all(dim=-1)
            joining = Joining(own.mean, {i: moved.own for i, moved in moves.items()})
            progress = self._paid.progress(X, mask)
            for front, (paid, missing) in zip(self._fronts, progress, strict=True):
                counting = Progress(paid * at_target, missing)
                gain = gain + self._baseline.improvement(
                    front, joining, counting, self.quadrature_nodes
                )
        return gain

    def _reduction(
        self, own: OwnBoxes, moves: Mapping[int, Moves], terms: slice
    ) -> Tensor:
        """Expected reduction, ``s x b``, of ``t`` terms of the loss at once."""
        points, scales = self._corners[terms].flatten(0, 1), self._scales[terms]

        def corners(mean: Tensor, sd: Tensor) -> Tensor:
            return (mean + scales.reshape(-1, *[1] * mean.ndim) * sd).flatten(0, 1)

        def repeated(directions: Tensor) -> Tensor:
            shape = len(scales), self._num_models, *directions.shape[1:]
            return directions.expand(shape).flatten(0, 1)

        moving = {
            i: MovingOutcome(
                corners(self._mean[:, None, :, i], moved.sd), repeated(moved.directions)
            )
            for i, moved in moves.items()
        }
        joining = Joining(
            corners(own.mean, own.after),
            {i: repeated(moved.own) for i, moved in moves.items()},
        )
        now = joined_hypervolume(points, corners(own.mean, own.before))
        then = expected_hypervolume(points, moving, joining, self.quadrature_nodes)
        reductions = (now - then).unflatten(0, (len(scales), -1))
        return torch.tensordot(self._term_weights[terms], reductions, dims=1)

    def _at_target(self, X: Tensor) -> Tensor:
        if not self._target_fidelities:
            return X
        return project_to_target_fidelity(X, self._target_fidelities, X.shape[-1])

    def _effects(self, X: Tensor, mask: Tensor) -> tuple[OwnBoxes, dict[int, Moves]]:
        """Own boxes, ``s x b x q x m`` each, and how measured outcomes move."""
        own = self._at_target(X)
        boxes, moves = [], {}
        for i, (gp, targets) in enumerate(zip(self._gps, self._targets, strict=True)):
            everywhere = own is X and bool(mask[:, i].all())
            points = own if everywhere else X[..., mask[:, i], :]
            box, moved = effect_of_measuring(gp, targets, points, own, self.weights[i])
            boxes.append(box)
            if moved is not None:
                moves[i] = moved
        own_boxes = OwnBoxes(*(self._stack(part) for part in zip(*boxes, strict=True)))
        return own_boxes._replace(mean=own_boxes.mean - self.ref_point), moves

    def _apply(self, *args: Any, **kwargs: Any) -> qFlexiBOLookahead:
        """Move to another dtype or device, and compute again what is cached."""
        super()._apply(*args, **kwargs)
        submodels = cast(Iterable[Model], self.model.models)
        self._data_gps = [ConditionedGP(submodel) for submodel in submodels]
        if self._baseline is not None:
            self._baseline = self._baseline.to(self.X_designs)
        pending, pending_mask = self.X_pending, self.X_pending_evaluation_mask
        if pending is not None:
            self.X_pending = pending = pending.to(self.X_designs)
        self._condition(pending, pending_mask)
        return self

    def _condition(self, X: Tensor | None, mask: Tensor | None) -> None:
        gps = enumerate(self._data_gps)
        self._set_gps([gp.condition_masked(X, mask, outcome) for outcome, gp in gps])

    def _set_gps(self, gps: list[ConditionedGP]) -> None:
        """Whiten the reference designs and compute the loss before measuring."""
        self._gps = gps
        with torch.no_grad():
            self._targets = [gp.whiten(self.X_designs) for gp in gps]
            pairs = zip(gps, self._targets, strict=True)
            means, sds = zip(*(gp.moments(target) for gp, target in pairs), strict=True)
            self._mean = self._stack(means) * self.weights - self.ref_point
            self._sd = self._stack(sds) * self.weights.abs()
            terms = self._mean.new_tensor(self.loss.terms)
            self._term_weights, self._scales = terms.unbind(dim=-1)
            # t x s x N x m
            self._corners = self._mean + self._scales[:, None, None, None] * self._sd
            volumes = volume(self._corners)
            self._current = torch.tensordot(self._term_weights, volumes, dims=1)
            if self._baseline is not None:
                pending = self.X_pending, self.X_pending_evaluation_mask
                self._paid = self._baseline.with_pending(*pending)
                self._fronts = [self._front(X) for X in self._paid.front_designs()]

    def _front(self, X: Tensor) -> MeasuredFront:
        """The front of posterior means of designs at the target, and the origin."""
        X = X[(self._at_target(X) == X).all(dim=-1)]
        means = [gp.moments(gp.whiten(X))[0] for gp in self._gps]
        Y = self._stack(means) * self.weights - self.ref_point
        if self._num_models == 1:
            Y = Y[:, front_mask(Y[0])]
        origin = torch.zeros_like(self._mean[:, :1])
        return MeasuredFront.of(torch.cat([Y, origin], dim=-2))

    def _stack(self, outcomes: Sequence[Tensor]) -> Tensor:
        shape = self._num_models, *outcomes[0].shape[1:]
        return torch.stack([y.expand(shape) for y in outcomes], dim=-1)
