r"""Where the best (design, mask) pair of an acquisition function is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from botorch.acquisition.acquisition import (
    AcquisitionFunction,
    OneShotAcquisitionFunction,
)
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import CandidateGenerationError
from botorch.utils.sampling import manual_seed
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import decoupled_utility
from botorch_flexibo.optim._refinement import refine, spread
from botorch_flexibo.optim._scoring import masked_costs, masked_values, values_at_costs
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.utils.checks import check_count
from botorch_flexibo.utils.rows import RowIndex, unique_rows

_UNLIMITED = ("max_rescored", "max_choices")
_EFFORTS = ("raw_samples", "num_restarts", "maxiter", "max_batch_size", *_UNLIMITED)
# A mask whose best raw value is this much worse than a positive best is not refined.
_HOPELESS = 0.2
# Refinement ends when a step improves the value by a smaller part. Fronts have kinks:
# line searches would go on there for next to nothing.
_TOLERANCE = 1e-4
# Designs of a continuous space are the same if no column differs by more than this part
# of its width.
_SAME = 1e-6
# Smaller values are not refined: scaled to order one, they could overflow.
_NEGLIGIBLE = 1e-100


@dataclass(frozen=True)
class SearchOptions:
    r"""Effort of the search for the best design.

    Attributes:
        raw_samples: Raw designs scored per pick on a continuous or mixed space.
        num_restarts: How many of them are refined by gradients, per mask. On a mixed
            space BoTorch's optimiser draws as many samples again to start from.
        maxiter: The most iterations of the refinement. It ends where a step improves
            the value by less than a ten-thousandth.
        X_start: A ``n x d``-dim tensor of further designs to start from.
        max_batch_size: The number of designs scored at once.
        max_rescored: On a finite set, how many of the best pairs of the first pick are
            scored again for the later picks of a batch, besides those at designs picked
            already. Gains mostly shrink when others are pending, so that the best later
            picks are nearly always among the best first ones. None scores all again.
        max_choices: Of a finite set of more designs so many are drawn at random, and
            scored with those of ``X_start`` and those to revisit. None scores all.
        seed: Seed of the raw designs.
    """

    raw_samples: int = 256
    num_restarts: int = 4
    maxiter: int = 30
    X_start: Tensor | None = None
    max_batch_size: int = 4096
    max_rescored: int | None = None
    max_choices: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputDataError: If a number is not whole, or less than 1.
        """
        for name in _EFFORTS:
            value = getattr(self, name)
            if value is not None or name not in _UNLIMITED:
                check_count(value, name)


class Pick(NamedTuple):
    """One measurement: ``1 x d`` design, ``1 x m`` mask, scalar value and cost."""

    X: Tensor
    mask: Tensor
    value: Tensor
    cost: Tensor | None


class FiniteCandidates:
    """All masks at all designs of a finite set."""

    def __init__(
        self,
        acq_function: DecoupledAcquisitionFunction,
        space: SearchSpace,
        masks: Tensor,
        *,
        X_revisit: Tensor | None,
        taken: Sequence[tuple[Tensor, Tensor]],
        options: SearchOptions,
    ) -> None:
        """Finite candidates, without the pairs that are taken."""
        designs = [] if space.choices is None else [_some_choices(space, options)]
        designs += [] if X_revisit is None else [X_revisit]
        self._acqf = acq_function
        self._X = unique_rows(torch.cat(designs))
        self._rows = RowIndex(self._X)
        self._masks = masks
        self._options = options
        shape = len(self._X), len(masks)
        self._allowed = torch.ones(shape, dtype=torch.bool, device=self._X.device)
        for X, mask in taken:
            self.exclude(X, mask)
        self._scores: Tensor | None = None
        self._picked: list[int] = []
        self._costs: tuple[object, Tensor | None] = (None, None)

    def best(self, max_cost: float) -> Pick | None:
        """The best allowed pair that costs at most ``max_cost``, if there is one."""
        allowed = self._allowed
        costs = self._predicted_costs()
        if costs is not None:
            allowed = allowed & (costs <= max_cost)
        if not allowed.any():
            return None
        scores = self._score(allowed)
        design, mask = _best_pair(scores, allowed, costs)
        self._picked.append(design)
        return Pick(
            self._X[[design]],
            self._masks[[mask]],
            scores[design, mask],
            None if costs is None else costs[design, mask],
        )

    def exclude(self, X: Tensor, mask: Tensor) -> None:
        """Forbid all masks that contain an outcome of ``X`` in ``mask``."""
        row = self._rows.find(X)
        taken = torch.zeros(len(self._X), mask.shape[-1], device=self._X.device)
        taken.index_add_(0, row[row >= 0], mask[row >= 0].to(taken))
        self._allowed = self._allowed & ((taken @ self._masks.to(taken).T) == 0)

    def _predicted_costs(self) -> Tensor | None:
        """Costs of all pairs. Cost models do not change, they are replaced."""
        utility = decoupled_utility(self._acqf)
        model = None if utility is None else utility.cost_model
        if model is None or self._costs[0] is not model:
            costs = masked_costs(self._acqf, self._X, self._masks)
            self._costs = model, costs
        return self._costs[1]

    def _score(self, allowed: Tensor) -> Tensor:
        """Values of all pairs, ``n x k``; later picks score the best pairs only."""
        limit = self._options.max_rescored
        if self._scores is None or limit is None or limit >= len(self._X):
            everything = torch.arange(len(self._X), device=self._X.device)
            rows = [everything] * len(self._masks)
        else:
            previous = self._scores.masked_fill(~allowed, -torch.inf)
            previous[self._picked] = torch.inf  # a set-up may have made them cheap
            count = min(limit + len(set(self._picked)), len(self._X))
            rows = previous.topk(count, dim=0).indices.unbind(dim=-1)
        values = [self._masked_values(k, row) for k, row in enumerate(rows)]
        scores = values[0].new_full(self._allowed.shape, -torch.inf)
        for k, (value, row) in enumerate(zip(values, rows, strict=True)):
            scores[row, k] = value
        if self._scores is None:
            self._scores = scores
        return scores

    def _masked_values(self, k: int, row: Tensor) -> Tensor:
        """Values of the ``k``-th mask at some designs, costs not predicted again."""
        mask, size = self._masks[k], self._options.max_batch_size
        costs = self._predicted_costs()
        if costs is None:
            return masked_values(self._acqf, self._X[row], mask, size)
        return values_at_costs(self._acqf, self._X[row], mask, size, costs[row, k])


def _some_choices(space: SearchSpace, options: SearchOptions) -> Tensor:
    """The choices, or so many of them as are wanted and those to start from."""
    choices = space.sample(1, seed=0)
    limit = options.max_choices
    if limit is None or len(choices) <= limit:
        return choices
    generator = torch.Generator().manual_seed(options.seed)
    rows = torch.randperm(len(choices), generator=generator)[:limit].to(choices.device)
    if options.X_start is not None:
        start = RowIndex(choices).find(options.X_start)
        rows = torch.cat([start[start >= 0], rows])
    return choices[rows.unique()]


class ContinuousCandidates:
    """The best design of a continuous or mixed space, for each mask."""

    def __init__(
        self,
        acq_function: DecoupledAcquisitionFunction,
        space: SearchSpace,
        masks: Tensor,
        *,
        X_revisit: Tensor | None,
        taken: Sequence[tuple[Tensor, Tensor]],
        options: SearchOptions,
    ) -> None:
        """Continuous candidates and designs to revisit."""
        self._one_shot = isinstance(acq_function, OneShotAcquisitionFunction)
        self._acqf = acq_function
        self._space = space
        self._masks = masks
        self._options = options
        self._taken = list(taken)
        self._num_picks = 0
        nothing = space.bounds[:0]
        self._revisit = nothing if X_revisit is None else X_revisit

    def best(self, max_cost: float) -> Pick | None:
        """The best pair that costs at most ``max_cost``, if there is one."""
        seed = self._options.seed + self._num_picks
        self._num_picks += 1
        with manual_seed(seed):  # optimisers may draw from the global generator
            if self._one_shot:
                picks = [self._optimize(mask, None, 1.0) for mask in self._masks]
            else:
                picks = self._revisited(max_cost) + self._refined(seed, max_cost)
        allowed = [
            pick
            for pick in picks
            if (pick.cost is None or float(pick.cost) <= max_cost)
            and not self._is_taken(pick.X, pick.mask).any()
        ]
        return max(
            allowed,
            key=lambda pick: (float(pick.value), -float(pick.cost or 0.0)),
            default=None,
        )

    def exclude(self, X: Tensor, mask: Tensor) -> None:
        """Forbid all masks that contain an outcome of ``X`` in ``mask``."""
        self._taken.append((X, mask))
        if not self._one_shot:  # its other outcomes may be worth measuring too
            self._revisit = torch.cat([self._revisit, X])

    def _revisited(self, max_cost: float) -> list[Pick]:
        if len(self._revisit) == 0:
            return []
        candidates = FiniteCandidates(
            self._acqf,
            replace(self._space, choices=None),
            self._masks,
            X_revisit=self._revisit,
            taken=self._taken,
            options=self._options,
        )
        pick = candidates.best(max_cost)
        return [] if pick is None else [pick]

    def _is_taken(self, X: Tensor, mask: Tensor) -> Tensor:
        """Which rows of ``X`` have an outcome of ``mask`` measured or pending.

        A search that ends at the same corner twice ends there up to rounding.
        """
        taken = torch.zeros(len(X), dtype=torch.bool, device=X.device)
        low, high = self._space.bounds
        width = (high - low).clamp_min(torch.finfo(X.dtype).tiny)
        for X_taken, X_mask in self._taken:
            known = X_taken[(X_mask & mask).any(dim=-1)].to(X)
            if len(known) > 0:
                apart = torch.cdist(
                    (X - low) / width, (known - low) / width, p=torch.inf
                )
                taken |= (apart <= _SAME).any(dim=-1)
        return taken

    def _refined(self, seed: int, max_cost: float) -> list[Pick]:
        """The best raw designs of each mask, refined where that may pay."""
        raw = self._raw_designs(seed)
        costs = masked_costs(self._acqf, raw, self._masks)
        size = self._options.max_batch_size
        columns = []
        for k, mask in enumerate(self._masks):
            forbidden = self._is_taken(raw, mask)
            if costs is not None:
                forbidden |= costs[:, k] > max_cost
            value = masked_values(self._acqf, raw, mask, size)
            columns.append(value.masked_fill(forbidden, -torch.inf))
        best = torch.stack(columns).max()
        picks = []
        for mask, value in zip(self._masks, columns, strict=True):
            top = value.max()
            if top == -torch.inf:
                continue
            picks.append(self._pick(raw[[int(value.argmax())]], mask, top))
            if (best > 0 and top < _HOPELESS * best) or top.abs() < _NEGLIGIBLE:
                continue
            starts = spread(raw, value, self._space.bounds, self._options.num_restarts)
            scale = float(top.abs())
            picks.append(self._optimize(mask, starts, scale))
        return picks

    def _raw_designs(self, seed: int) -> Tensor:
        space = self._space
        raw = space.sample(self._options.raw_samples, seed=seed)
        if self._options.X_start is not None:
            starts = space.feasible(space.project(self._options.X_start))
            raw = torch.cat([raw, starts])
        if len(raw) == 0:
            raise CandidateGenerationError(
                "Expected designs that meet the constraints, but none of"
                f" {self._options.raw_samples} samples does. Pass some as"
                " SearchOptions(X_start=...)."
            )
        return unique_rows(raw)

    def _optimize(self, mask: Tensor, starts: Tensor | None, scale: float) -> Pick:
        self._acqf.X_evaluation_mask = mask.unsqueeze(0)
        X, values = refine(
            self._acqf if starts is None else _Scaled(self._acqf, scale),
            starts,
            space=self._space,
            options=self._options,
            # Values that are not scaled have no tolerance.
            tolerance=None if starts is None else _TOLERANCE,
        )
        best = int(values.argmax())
        return self._pick(X[[best]], mask, values[best] * scale)

    def _pick(self, X: Tensor, mask: Tensor, value: Tensor) -> Pick:
        masks = mask.unsqueeze(0)
        costs = masked_costs(self._acqf, X, masks)
        return Pick(X, masks, value, None if costs is None else costs[0, 0])


class _Scaled(AcquisitionFunction):
    """Values of order one, which optimisers with absolute tolerances expect."""

    def __init__(self, acq_function: AcquisitionFunction, scale: float) -> None:
        super().__init__(model=acq_function.model)
        self.acq_function = acq_function
        self.scale = scale

    def forward(self, X: Tensor) -> Tensor:
        return self.acq_function(X) / self.scale


def _best_pair(
    scores: Tensor, allowed: Tensor, costs: Tensor | None
) -> tuple[int, int]:
    """The best allowed pair; ties go to the cheaper, then the first one."""
    best = scores.masked_fill(~allowed, -torch.inf).max()
    tied = allowed & (scores == best)
    if costs is not None:
        tied &= costs == costs[tied].min()
    design, mask = tied.nonzero()[0].tolist()
    return design, mask
