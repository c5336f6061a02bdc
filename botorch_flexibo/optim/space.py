r"""Search spaces: bounds, finite sets, fixed, discrete and categorical columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from botorch.utils.sampling import draw_sobol_samples, get_polytope_samples
from torch import Tensor

from botorch_flexibo.utils.checks import check_floating, check_points
from botorch_flexibo.utils.rows import unique_rows

# Spaces of separate values with at most so many designs are enumerated.
_MAX_ENUMERATED = 10_000
# With linear constraints so many times more Sobol designs are drawn.
_OVERSAMPLING = 16
# What constraints may be violated by, if not by the rounding of their terms.
_SLACK = 1e-9

LinearConstraint = tuple[Tensor, Tensor, float]


@dataclass(frozen=True)
class SearchSpace:
    r"""Where designs may lie.

    Attributes:
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        choices: A ``n x d``-dim tensor of designs to choose from, or None if the
            columns below describe the space. Those that violate a constraint are left
            out.
        fixed_features: Columns held at a value, in choices too.
        discrete_dims: Allowed values of ordinal columns.
        cat_dims: Allowed values of categorical columns.
        inequality_constraints: Triples ``(indices, coefficients, rhs)`` meaning
            ``sum coefficients * x[indices] >= rhs``, as in ``optimize_acqf``.

    Example:
        >>> bounds = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
        >>> SearchSpace(bounds, discrete_dims={1: [0, 1, 2, 3]}).sample(4, seed=0).shape
        torch.Size([4, 2])
    """

    bounds: Tensor
    choices: Tensor | None = None
    fixed_features: Mapping[int, float] = field(default_factory=dict)
    discrete_dims: Mapping[int, Sequence[float]] = field(default_factory=dict)
    cat_dims: Mapping[int, Sequence[float]] = field(default_factory=dict)
    inequality_constraints: Sequence[LinearConstraint] = ()

    def __post_init__(self) -> None:
        """Check shapes and columns.

        Raises:
            BotorchTensorDimensionError: If shapes do not fit.
            InputDataError: If a column does not exist, a choice is out of bounds or
                has a value that its column does not allow, no choice meets the
                constraints, the bounds are not finite and in order, or a tensor has the
                wrong dtype.
        """
        bounds = check_floating(self.bounds, "bounds")
        if bounds.ndim != 2 or bounds.shape[0] != 2:
            raise BotorchTensorDimensionError(
                "Expected bounds of shape `2 x d`, but got"
                f" {shape_to_str(bounds.shape)}. Pass the lower bounds in the first row"
                " and the upper ones in the second."
            )
        ordered = bounds[0] <= bounds[1]  # False for NaN
        if not ordered.all() or (self.choices is None and bounds.isinf().any()):
            raise InputDataError(
                "Expected finite bounds, the lower ones first, but got"
                f" {bounds.tolist()}. Pass torch.stack([lower, upper])."
            )
        d = bounds.shape[-1]
        columns = [*self.fixed_features, *self.discrete_dims, *self.cat_dims]
        if not all(-d <= column < d for column in columns):
            raise InputDataError(
                f"Expected columns within 0..{d - 1}, but got {sorted(columns)}. Name"
                " columns of the bounds."
            )
        for name in ("fixed_features", "discrete_dims", "cat_dims"):
            columns = {j % d: values for j, values in getattr(self, name).items()}
            object.__setattr__(self, name, columns)  # negative columns from the end
        self._check_constraints(bounds)
        separate = {**self.discrete_dims, **self.cat_dims}
        fixed = {column: [value] for column, value in self.fixed_features.items()}
        for column, values in (separate | fixed).items():
            _check_values(column, values, bounds)
        if self.choices is not None:
            check_within(self.choices, "choices", bounds)
            self._check_separate(self.choices)
            self._settle(self.choices)

    def _check_constraints(self, bounds: Tensor) -> None:
        """Refuse constraints on other columns; all are in the precision of bounds."""
        checked = []
        for columns, coefficients, rhs in self.inequality_constraints:
            indices = torch.as_tensor(columns, device=bounds.device)
            weights = torch.as_tensor(
                coefficients, dtype=bounds.dtype, device=bounds.device
            )
            d = bounds.shape[-1]
            known = indices.ndim == 1 and not indices.is_floating_point()
            known = known and bool(((indices >= -d) & (indices < d)).all())
            if not known or weights.shape != indices.shape:
                raise InputDataError(
                    f"Expected constraints on columns within 0..{d - 1}, with one"
                    f" coefficient each, but got {columns} and {coefficients}. Pass"
                    " (indices, coefficients, rhs), as to optimize_acqf."
                )
            checked.append((indices, weights, float(rhs)))
        object.__setattr__(self, "inequality_constraints", checked)

    @property
    def is_mixed(self) -> bool:
        """Whether some columns allow separate values only."""
        return bool(self.discrete_dims or self.cat_dims)

    def project(self, X: Tensor) -> Tensor:
        r"""Set fixed columns and move separate ones to their nearest value.

        Args:
            X: A ``... x d``-dim tensor of designs.

        Returns:
            A tensor of the same shape.
        """
        X = X.clone()
        for column, value in self.fixed_features.items():
            X[..., column] = value
        for column, allowed in self._separate_values().items():
            if column in self.fixed_features:
                continue
            X[..., column] = _nearest(X[..., column], allowed)
        return X

    def enumerated(self) -> SearchSpace:
        """This space with its designs as choices if they are few, or as it is."""
        columns = self._separate_values()
        for column, value in self.fixed_features.items():
            columns[column] = self.bounds.new_tensor([value])
        d = self.bounds.shape[-1]
        count = math.prod(len(values) for values in columns.values())
        if self.choices is not None or len(columns) < d or count > _MAX_ENUMERATED:
            return self
        grid = torch.cartesian_prod(*(columns[j] for j in range(d))).reshape(-1, d)
        return replace(self, choices=self.feasible(grid))

    def feasible(self, X: Tensor) -> Tensor:
        r"""Those designs that meet the linear constraints.

        Args:
            X: A ``n x d``-dim tensor of designs.

        Returns:
            A ``k x d``-dim tensor of designs.
        """
        return X[self.is_feasible(X)]

    def is_feasible(self, X: Tensor) -> Tensor:
        r"""Which designs meet the linear constraints, up to rounding.

        Args:
            X: A ``n x d``-dim tensor of designs.

        Returns:
            A ``n``-dim boolean tensor.
        """
        keep = torch.ones(len(X), dtype=torch.bool, device=X.device)
        eps = torch.finfo(X.dtype).eps
        for indices, coefficients, rhs in self.inequality_constraints:
            terms = (X[:, indices] * coefficients.to(X)).double()
            size = terms.abs().sum(dim=-1) + abs(rhs)
            keep &= terms.sum(dim=-1) >= rhs - (eps * size).clamp_min(_SLACK)
        return keep

    def members(self, X: Tensor) -> Tensor:
        r"""Those designs that lie in the space.

        Args:
            X: A ``n x d``-dim tensor of designs.

        Returns:
            A ``k x d``-dim tensor of designs.
        """
        return X[self.is_member(X)]

    def is_member(self, X: Tensor) -> Tensor:
        r"""Which designs lie in the space, whether they are among its choices or not.

        Args:
            X: A ``n x d``-dim tensor of designs.

        Returns:
            A ``n``-dim boolean tensor: those within the bounds that have allowed
            separate values and the fixed ones, and meet the linear constraints.
        """
        keep = ((X >= self.bounds[0]) & (X <= self.bounds[1])).all(dim=-1)
        for column, allowed in self._separate_values().items():
            keep &= _is_allowed(X[:, column], allowed)
        for column, value in self.fixed_features.items():
            keep &= X[:, column] == value
        return keep & self.is_feasible(X)

    def sample(self, n: int, seed: int) -> Tensor:
        r"""Scrambled Sobol designs, or the choices of a finite space.

        Args:
            n: The number of designs; a finite space gives all its choices.
            seed: The seed.

        Returns:
            A ``k x d``-dim tensor of designs, those that violate a constraint left out.
        """
        if self.choices is not None:
            return self.choices
        factor = _OVERSAMPLING if self.inequality_constraints else 1
        X = draw_sobol_samples(self.bounds, n=factor * n, q=1, seed=seed).squeeze(-2)
        span = self.bounds[1] - self.bounds[0]
        unit = (X - self.bounds[0]) / torch.where(span > 0, span, 1.0)
        for column, allowed in self._separate_values().items():  # equal chances
            index = (unit[:, column] * len(allowed)).long().clamp_max(len(allowed) - 1)
            X[:, column] = allowed[index]
        X = self.feasible(self.project(X))[:n]
        if len(X) < n and self.inequality_constraints and not self.is_mixed:
            more = get_polytope_samples(
                n - len(X),
                self.bounds,
                inequality_constraints=list(self.inequality_constraints),
                seed=seed,
            )
            X = torch.cat([X, self.feasible(self.project(more))])
        return X

    def mutate(self, parents: Tensor, n: int, step: float, seed: int) -> Tensor:
        r"""Children of random parents: crossover and Gaussian steps.

        Args:
            parents: A ``k x d``-dim tensor of designs.
            n: The number of children.
            step: Standard deviation of the step as a share of each column's range.
            seed: The seed.

        Returns:
            A ``n' x d``-dim tensor of designs, ``n' <= n``: those that violate a
            constraint are left out.
        """
        generator = torch.Generator().manual_seed(seed)
        d = self.bounds.shape[-1]
        rows = torch.randint(len(parents), (2, n), generator=generator)
        first, second = parents[rows[0]], parents[rows[1]]
        cross = torch.rand(n, 1, generator=generator).to(parents) < 0.3
        swap = torch.rand(n, d, generator=generator).to(parents) < 0.5
        crossed = torch.where(cross & swap, second, first)
        noise = torch.randn(n, d, generator=generator).to(parents)
        moved = torch.rand(n, d, generator=generator).to(parents) < max(0.5, 1 / d)
        span = self.bounds[1] - self.bounds[0]
        children = crossed + step * span * noise * moved
        for column in self.cat_dims:
            allowed = self._separate_values()[column].to(parents)
            draw = torch.randint(len(allowed), (n,), generator=generator)
            redraw = torch.rand(n, generator=generator).to(parents) < max(step, 1 / d)
            kept = crossed[:, column]
            children[:, column] = torch.where(redraw, allowed[draw], kept)
        children = children.clamp(self.bounds[0], self.bounds[1])
        return self.feasible(self.project(children))

    def _check_separate(self, choices: Tensor) -> None:
        """Refuse choices with a value that is not allowed, but for rounding."""
        for column, allowed in self._separate_values().items():
            wrong = ~_is_allowed(choices[:, column], allowed)
            if column not in self.fixed_features and wrong.any():
                raise InputDataError(
                    f"Expected choices with values of column {column} among"
                    f" {allowed.tolist()}, but got {choices[wrong][0].tolist()}. Leave"
                    " the values or such choices out."
                )

    def _settle(self, choices: Tensor) -> None:
        """Choices have the fixed values and meet the constraints, each once."""
        if not self.inequality_constraints and not self.fixed_features:
            return
        kept = unique_rows(self.feasible(self.project(choices)))
        if len(kept) == 0:
            raise InputDataError(
                "Expected choices that meet the constraints, but got"
                f" {len(choices)} of which none does. Pass others, or loosen the"
                " constraints."
            )
        object.__setattr__(self, "choices", kept)

    def _separate_values(self) -> dict[int, Tensor]:
        return {
            column: torch.as_tensor(
                values, dtype=self.bounds.dtype, device=self.bounds.device
            )
            for column, values in {**self.discrete_dims, **self.cat_dims}.items()
        }


def as_space(bounds: Tensor | SearchSpace) -> SearchSpace:
    """A search space, also of bounds alone."""
    return bounds if isinstance(bounds, SearchSpace) else SearchSpace(bounds)


def _nearest(values: Tensor, allowed: Tensor) -> Tensor:
    """The allowed value that each is nearest to, the lower one of two."""
    levels = allowed.sort().values
    x = values.to(levels).contiguous()
    above = torch.searchsorted(levels, x).clamp_max(len(levels) - 1)
    below = (above - 1).clamp_min(0)
    is_lower = (x - levels[below]).abs() <= (levels[above] - x).abs()
    return torch.where(is_lower, levels[below], levels[above]).to(values)


def _is_allowed(values: Tensor, allowed: Tensor) -> Tensor:
    """Which values are allowed ones, but for rounding."""
    rounding = 1e2 * torch.finfo(values.dtype).eps * allowed.abs().max().clamp_min(1.0)
    return (values - _nearest(values, allowed)).abs() <= rounding


def _check_values(column: int, values: Sequence[float], bounds: Tensor) -> None:
    allowed = torch.as_tensor(values, dtype=bounds.dtype, device=bounds.device)
    inside = (allowed >= bounds[0, column]) & (allowed <= bounds[1, column])
    if len(allowed) == 0 or not inside.all():
        raise InputDataError(
            f"Expected values of column {column} within its bounds"
            f" {bounds[:, column].tolist()}, but got {allowed.tolist()}. Leave out"
            " those beyond, or widen the bounds."
        )


def check_within(X: object, name: str, bounds: Tensor) -> None:
    r"""Refuse designs that are not in a space.

    Args:
        X: A ``n x d``-dim tensor of designs.
        name: What the message calls them.
        bounds: The ``2 x d``-dim bounds of the space.

    Raises:
        InputDataError: If one is out of bounds.
    """
    X = check_points(X, name, bounds, "the bounds")
    outside = ~((X >= bounds[0]) & (X <= bounds[1])).all(dim=-1)
    if outside.any():
        first = int(outside.nonzero()[0])
        raise InputDataError(
            f"Expected all {name} within the bounds, but got {X[first].tolist()}"
            f" in row {first}. Pass the bounds of the design set."
        )
