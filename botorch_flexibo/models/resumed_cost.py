r"""Costs of trainings that go on where they stopped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from torch import Tensor

from botorch_flexibo.models._cost_base import check_evaluation_mask
from botorch_flexibo.models.cost import CostModel, PaidCosts, masked_sum
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import RowIndex


class ResumedCostModel(CostModel):
    r"""Believed costs where raising the fidelity of a design continues its training.

    An outcome that needs the training costs ``rate(x) (a(s) - a_done(x))``: with
    ``a(s)`` the amount of training at fidelity ``s``, for example a number of epochs,
    ``a_done(x)`` the amount that was paid for this design already, and ``rate(x)`` the
    cost of one unit, which is learned from the payments. What was trained already is
    read off for ``read_off_cost``. The other outcomes cost the same at all fidelities.
    Of several outcomes that one training gives, the one asked for first pays it at its
    own rate (of those asked for together the most expensive), and the others are read
    off. Give them the same rate, or a training could be had for the lower one.

    Example:
        >>> import torch
        >>> from botorch_flexibo.models import (
        ...     LogNormalCostModel,
        ...     PaidCosts,
        ...     ResumedCostModel,
        ... )
        >>> bounds = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
        >>> rates = LogNormalCostModel(torch.tensor([2.0, 0.1]), bounds=bounds)
        >>> model = ResumedCostModel(
        ...     rates,
        ...     fidelity=1,
        ...     amounts=(1, 3, 9),
        ...     resumed_outcomes=torch.tensor([True, False]),
        ...     read_off_cost=0.01,
        ... )
        >>> X = torch.tensor([[0.5, 0.0], [0.5, 2.0]])
        >>> paid = PaidCosts(
        ...     X[:1], torch.tensor([[2.0, torch.nan]]), torch.tensor([torch.nan])
        ... )
        >>> model(X).tolist()[1][0], round(model.update(paid)(X).tolist()[1][0])
        (18.0, 16)
    """

    resumed_outcomes: Tensor

    def __init__(
        self,
        rate_model: CostModel,
        *,
        fidelity: int,
        amounts: Sequence[float],
        resumed_outcomes: Tensor,
        read_off_cost: float,
    ) -> None:
        r"""Cost model that knows of no payment yet.

        Args:
            rate_model: A model with ``m`` outputs: the cost of a unit of training for
                outcomes that need it, the cost of the others. It never sees a fidelity.
            fidelity: The column that holds the level of the fidelity, from 0.
            amounts: The amount of training of each level, positive and ascending.
            resumed_outcomes: A ``m``-dim boolean tensor: which outcomes need the
                training.
            read_off_cost: Cost of an outcome that is known from the training, > 0.

        Raises:
            BotorchTensorDimensionError: If ``resumed_outcomes`` does not fit.
            InputDataError: If the amounts are not positive and ascending, or
                ``read_off_cost`` is not positive.
        """
        super().__init__()
        self._num_outputs = rate_model.num_outputs
        if resumed_outcomes.shape != (self.num_outputs,):
            raise BotorchTensorDimensionError(
                f"Expected resumed_outcomes of shape `{self.num_outputs}`, one per"
                f" output of the rate_model, but got {tuple(resumed_outcomes.shape)}."
                " Pass True or False for each."
            )
        ends = [0.0, *amounts]
        if any(low >= high for low, high in pairwise(ends)):
            raise InputDataError(
                f"Expected positive, ascending amounts, but got {list(amounts)}. Give"
                " the training of each level of the fidelity."
            )
        if not 0 < read_off_cost < torch.inf:
            raise InputDataError(
                f"Expected a positive, finite read_off_cost, but got {read_off_cost}."
                " Give what looking up a value costs."
            )
        self.rate_model = rate_model
        self.fidelity = fidelity
        self.amounts = tuple(float(amount) for amount in amounts)
        self.read_off_cost = read_off_cost
        self.register_buffer("resumed_outcomes", resumed_outcomes)
        # Designs that were trained, fidelity left out, and how far.
        self._done: dict[tuple[float, ...], float] = {}

    def forward(self, X: Tensor) -> Tensor:
        r"""Cost of each outcome measured alone, given what is trained.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.

        Returns:
            A ``batch_shape x q x m``-dim tensor of costs.
        """
        return self._costs(X, self._trained(self._keys(X)))

    def joint_cost(self, X: Tensor, evaluation_mask: Tensor | None = None) -> Tensor:
        r"""Cost of a batch: what a training gives is paid once, the rest read off.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs. Points of one design go
                on where the points before them stop.
            evaluation_mask: A ``q x m``-dim boolean tensor of the outcomes to measure
                at each point. None means all.

        Returns:
            A ``batch_shape``-dim tensor of total costs.
        """
        keys = self._keys(X)
        resumed = self.resumed_outcomes.expand(X.shape[-2], -1)
        if evaluation_mask is not None:
            check_evaluation_mask(evaluation_mask, X.shape[-2], self.num_outputs)
            resumed = resumed & evaluation_mask
        equal = (keys.unsqueeze(-2) == keys.unsqueeze(-3)).all(dim=-1)
        before = (equal & resumed.any(dim=-1)).tril(diagonal=-1)
        amounts = torch.where(before, self._amounts(X).unsqueeze(-2), 0.0).amax(dim=-1)
        costs = self._costs(X, torch.maximum(self._trained(keys), amounts))
        trainings = torch.where(resumed, costs, 0.0).amax(dim=-1)
        num_read_off = (resumed.sum(dim=-1) - 1).clamp_min(0)
        others = masked_sum(
            torch.where(self.resumed_outcomes, 0.0, costs), evaluation_mask
        )
        return others + (trainings + self.read_off_cost * num_read_off).sum(dim=-1)

    def update(self, paid: PaidCosts) -> ResumedCostModel:
        r"""Learn rates, and how far each design is trained.

        Args:
            paid: All payments so far, in the order in which they were made.

        Returns:
            The model after these payments, without pending measurements.
        """
        model = self._copy()
        units = torch.ones_like(paid.costs)
        trained = (~paid.costs.isnan() & self.resumed_outcomes).any(dim=-1)
        keys = self._keys(paid.X)
        amounts = self._amounts(paid.X).tolist()
        resumed = torch.where(self.resumed_outcomes, paid.costs, torch.nan)
        highest = resumed.nan_to_num(nan=-torch.inf).argmax(dim=-1)
        for k in trained.nonzero().flatten().tolist():
            rest = model._train(keys[k], amounts[k])
            # Reading off says nothing about the rate; the highest cost is the training.
            units[k, self.resumed_outcomes] = torch.nan
            if rest > 0:
                units[k, highest[k]] = rest
        nothing = torch.full_like(paid.setup_costs, torch.nan)
        rates = PaidCosts(keys, paid.costs / units, nothing)
        model.rate_model = self.rate_model.update(rates)
        return model

    def with_pending(self, X: Tensor, evaluation_mask: Tensor) -> ResumedCostModel:
        r"""Costs of further measurements once pending trainings are done.

        Args:
            X: A ``n' x d``-dim tensor of pending designs.
            evaluation_mask: A ``n' x m``-dim boolean tensor of their outcomes.

        Returns:
            The model once these are trained.
        """
        model = self._copy()
        model._done = dict(self._done)
        X = X[(evaluation_mask & self.resumed_outcomes).any(dim=-1)]
        for key, amount in zip(self._keys(X), self._amounts(X).tolist(), strict=True):
            model._train(key, amount)
        return model

    def _costs(self, X: Tensor, trained: Tensor) -> Tensor:
        """Cost of each outcome alone, ``... x q x m``, of designs trained so far."""
        costs = posterior_mean(self.rate_model, self._keys(X))
        rest = (self._amounts(X) - trained).clamp_min(0.0).unsqueeze(-1)
        resumed = (costs * rest).clamp_min(self.read_off_cost)
        return torch.where(self.resumed_outcomes, resumed, costs)

    def _trained(self, keys: Tensor) -> Tensor:
        """The amount of training that is paid for already, ``... x q``."""
        if not self._done:
            return torch.zeros_like(keys[..., 0])
        row = RowIndex(keys.new_tensor(list(self._done))).find(keys)
        done = keys.new_tensor(list(self._done.values()))
        return torch.where(row >= 0, done[row], 0.0)

    def _train(self, key: Tensor, amount: float) -> float:
        """Note that a design is trained so far; what it took in addition."""
        name = tuple(key.tolist())
        done = self._done.get(name, 0.0)
        self._done[name] = max(done, amount)
        return amount - done

    def _copy(self) -> ResumedCostModel:
        """The same model without payments."""
        return ResumedCostModel(
            self.rate_model,
            fidelity=self.fidelity,
            amounts=self.amounts,
            resumed_outcomes=self.resumed_outcomes,
            read_off_cost=self.read_off_cost,
        )

    def _keys(self, X: Tensor) -> Tensor:
        """Designs at the lowest fidelity, by which trainings are recognised."""
        keys = X.clone()
        keys[..., self.fidelity] = 0.0
        return keys

    def _amounts(self, X: Tensor) -> Tensor:
        """The amount of training of each design: ``batch_shape x q``."""
        level = X[..., self.fidelity].round().long()
        return X.new_tensor(self.amounts)[level]
