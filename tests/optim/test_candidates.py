r"""The search for the best pair against closed forms, dense grids and loops."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.acquisition.multi_objective import qHypervolumeKnowledgeGradient
from botorch.exceptions.errors import InputDataError, UnsupportedError
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo import DecoupledCostUtility, LogDamped
from botorch_flexibo.acquisition import per_cost, unweighted
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.models import CostModel
from botorch_flexibo.optim import SearchOptions, SearchSpace, optimize_acqf_decoupled
from botorch_flexibo.optim import candidates as candidates_module
from botorch_flexibo.optim.candidates import (
    ContinuousCandidates,
    FiniteCandidates,
    Pick,
)

SINGLES = torch.eye(2, dtype=torch.bool)
ALL_MASKS = torch.tensor([[True, False], [False, True], [True, True]])
BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
NO_COSTS = (0.0, 0.0)

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def gp_list(d: int, n: int = 10) -> ModelListGP:
    X = rand(n, d, seed=0)
    Y = torch.stack([(4 * X[:, 0]).sin() + X[:, -1], (3 * X[:, 1]).cos()], dim=-1)
    return ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:])).eval()


class Hills(DecoupledAcquisitionFunction):
    """A round hill per outcome, so that the best design is known in closed form.

    Pending measurements of an outcome leave holes in its hill.
    """

    def __init__(
        self,
        centres: Tensor,
        *,
        heights: tuple[float, ...] = (1.0, 1.0),
        width: float = 0.4,
        costs: Model | tuple[float, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(gp_list(centres.shape[-1]))
        self.centres, self.width = centres, width
        self.heights = torch.tensor(heights).to(centres)
        self.cost_aware_utility = None
        if costs is not None:
            if isinstance(costs, tuple):
                costs = FixedCostModel(torch.tensor(costs).to(centres))
            self.cost_aware_utility = DecoupledCostUtility(costs, **kwargs)

    def forward(self, X: Tensor) -> Tensor:
        distance = (X.squeeze(-2).unsqueeze(-2) - self.centres).square().sum(dim=-1)
        gains = self.heights * (-distance / (2 * self.width**2)).exp()
        if self.X_pending is not None:
            near = (X - self.X_pending).square().sum(dim=-1)
            hole = 1 - (-near / (2 * 0.1**2)).exp()
            mask = self.X_pending_evaluation_mask
            gains = gains * torch.where(mask, hole.unsqueeze(-1), 1.0).prod(dim=-2)
        gains = (gains * self.X_evaluation_mask[0]).sum(dim=-1)
        if self.cost_aware_utility is None:
            return gains
        return self.cost_aware_utility(
            X=X, deltas=gains, X_evaluation_mask=self.X_evaluation_mask
        )


TWO_HILLS = tensor([0.7, 0.6], [0.2, 0.3])


class Waves(DecoupledAcquisitionFunction):
    """Many local optima of different height."""

    def forward(self, X: Tensor) -> Tensor:
        x, y = X.squeeze(-2).unbind(dim=-1)
        first = (9 * x).sin() * (7 * y + 1).cos() + x + 0.3 * y + 2
        second = (8 * y + x).sin() + (5 * x).cos() * y + 2
        gains = torch.stack([first, second], dim=-1)
        return (gains * self.X_evaluation_mask[0]).sum(dim=-1)


def lookahead(d: int = 2, **kwargs: Any) -> qFlexiBOLookahead:
    return qFlexiBOLookahead(
        gp_list(d),
        tensor(-2.0, -2.0),
        rand(24, d, seed=3),
        quadrature_nodes=2,
        **kwargs,
    )


def search(
    acqf: DecoupledAcquisitionFunction,
    space: SearchSpace,
    *,
    masks: Tensor = SINGLES,
    X_revisit: Tensor | None = None,
    taken: tuple[tuple[Tensor, Tensor], ...] = (),
    **options: Any,
) -> ContinuousCandidates | FiniteCandidates:
    kind = ContinuousCandidates if space.choices is None else FiniteCandidates
    return kind(
        acqf,
        space,
        masks,
        X_revisit=X_revisit,
        taken=taken,
        options=SearchOptions(**options),
    )


def best(
    acqf: DecoupledAcquisitionFunction,
    space: SearchSpace,
    max_cost: float = math.inf,
    **kwargs: Any,
) -> Pick:
    pick = search(acqf, space, **kwargs).best(max_cost)
    assert pick is not None
    return pick


def grid(*sizes: int) -> Tensor:
    axes = [torch.linspace(0, 1, size, dtype=torch.float64) for size in sizes]
    return torch.cartesian_prod(*axes)


def values(acqf: DecoupledAcquisitionFunction, X: Tensor, mask: Tensor) -> Tensor:
    acqf.X_evaluation_mask = mask.reshape(1, -1)
    with torch.no_grad():
        return acqf(X.unsqueeze(-2))


# The best design of a continuous space ----------------------------------------------


@pytest.mark.parametrize("mask", ALL_MASKS, ids=["first", "second", "both"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Hills(TWO_HILLS), id="hills"),
        pytest.param(lambda: Waves(gp_list(2)), id="waves"),
        pytest.param(lookahead, id="lookahead"),
    ],
)
def test_no_design_of_a_dense_grid_is_better(make: Any, mask: Tensor) -> None:
    acqf = make()
    pick = best(acqf, SearchSpace(BOUNDS), masks=mask[None])
    assert pick.X.shape == (1, 2)
    assert pick.value.item() == pytest.approx(values(acqf, pick.X, mask).item())
    assert torch.equal(pick.mask, mask[None])
    others = values(acqf, grid(145, 138), mask)
    assert len(others) > 20_000
    assert pick.value >= 0.99 * others.max() > 0


def test_the_best_mask_wins() -> None:
    for heights, expected in (((2.0, 1.0), 0), ((1.0, 2.0), 1)):
        pick = best(Hills(TWO_HILLS, heights=heights), SearchSpace(BOUNDS))
        assert pick.mask.tolist() == [SINGLES[expected].tolist()]
        assert pick.value.item() == pytest.approx(2.0, rel=1e-4)
        assert torch.allclose(pick.X, TWO_HILLS[[expected]], atol=1e-2)
        assert pick.cost is None


def test_costs_decide_between_equal_gains() -> None:
    pick = best(Hills(TWO_HILLS, costs=(4.0, 0.5)), SearchSpace(BOUNDS))
    assert pick.mask.tolist() == [[False, True]]
    assert pick.value.item() == pytest.approx(2.0, rel=1e-4)
    assert pick.cost is not None
    assert pick.cost.item() == 0.5


@dtypes
def test_results_have_the_dtype_of_the_bounds(dtype: torch.dtype) -> None:
    acqf = Hills(TWO_HILLS.to(dtype), costs=(1.0, 2.0))
    space = SearchSpace(BOUNDS.to(dtype))
    for revisit in (None, TWO_HILLS.to(dtype)):
        pick = best(acqf, space, X_revisit=revisit)
        assert pick.cost is not None
        assert pick.X.dtype == pick.value.dtype == pick.cost.dtype == dtype
        assert pick.value.item() == pytest.approx(1.0, rel=1e-3)
        assert pick.value.shape == pick.cost.shape == ()


@pytest.mark.parametrize("scale", [1e-12, 1e-30, 1e9])
@pytest.mark.parametrize("kind", ["box", "constrained", "mixed"])
def test_the_scale_of_the_gains_does_not_matter(kind: str, scale: float) -> None:
    options: dict[str, Any] = {"box": {}}.get(kind, {})
    expected = TWO_HILLS[0]
    if kind == "constrained":  # x + y <= 0.8
        options["inequality_constraints"] = [
            (torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.8)
        ]
        expected = tensor(0.45, 0.35)
    if kind == "mixed":
        options["discrete_dims"] = {1: [0.0, 0.5, 1.0]}
        expected = tensor(0.7, 0.5)
    acqf = Hills(TWO_HILLS, heights=(scale, scale))
    pick = best(acqf, SearchSpace(BOUNDS, **options), masks=SINGLES[:1], raw_samples=32)
    top = values(acqf, expected[None], SINGLES[0]).item()
    assert pick.value.item() == pytest.approx(top, rel=1e-3)
    assert torch.allclose(pick.X, expected, atol=0.02)


class Logarithmic(Hills):
    """The logarithms of gains: negative, and best where the gains are."""

    def forward(self, X: Tensor) -> Tensor:
        return super().forward(X).log()


@pytest.mark.parametrize("height", [1e-6, 0.9])
def test_negative_values_are_refined_too(height: float) -> None:
    acqf = Logarithmic(TWO_HILLS, heights=(height, 0.1 * height))
    pick = best(acqf, SearchSpace(BOUNDS), raw_samples=16)
    assert pick.value.item() == pytest.approx(math.log(height), abs=1e-3)
    assert torch.allclose(pick.X, TWO_HILLS[:1], atol=0.02)
    assert pick.mask.tolist() == [[True, False]]


def test_designs_to_start_from_are_refined() -> None:
    # A hill that no raw design sees.
    acqf = Hills(TWO_HILLS, heights=(1e6, 1.0), width=0.01)
    space = SearchSpace(BOUNDS)
    missed = best(acqf, space, raw_samples=4)
    assert missed.value < 1
    start = TWO_HILLS[:1] + 0.01
    found = best(acqf, space, raw_samples=4, X_start=start)
    assert torch.allclose(found.X, TWO_HILLS[:1], atol=1e-4)
    assert found.value.item() == pytest.approx(1e6, rel=1e-3)


def test_more_effort_is_never_worse() -> None:
    acqf = Waves(gp_list(2))
    found = [
        best(acqf, SearchSpace(BOUNDS), **options).value.item()
        for options in (
            {"raw_samples": 2, "num_restarts": 1, "maxiter": 1},
            {"raw_samples": 2, "num_restarts": 1, "maxiter": 30},
            {"raw_samples": 256, "num_restarts": 4, "maxiter": 30},
        )
    ]
    # Refinement stops short of the top by less than its tolerance.
    tolerance = candidates_module._TOLERANCE
    assert found[0] <= found[1] <= found[2] * (1 + tolerance)
    assert found[0] < found[-1]


# Spaces with structure ---------------------------------------------------------------


def test_linear_constraints_hold_and_the_optimum_lies_on_their_edge() -> None:
    space = SearchSpace(
        BOUNDS,
        inequality_constraints=[(torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.8)],
    )
    pick = best(Hills(TWO_HILLS), space, masks=SINGLES[:1])
    assert pick.X.sum() <= 0.8 + 1e-6
    # The foot of the perpendicular from (.7, .6) on x + y = .8.
    assert torch.allclose(pick.X, tensor([0.45, 0.35]), atol=1e-2)
    # The other hill lies inside: its top is reached.
    pick = best(Hills(TWO_HILLS), space, masks=SINGLES[1:])
    assert torch.allclose(pick.X, TWO_HILLS[1:], atol=1e-2)


def test_fixed_columns_hold_exactly_alone_and_with_constraints() -> None:
    space = SearchSpace(BOUNDS, fixed_features={1: 0.1})
    pick = best(Hills(TWO_HILLS), space, masks=SINGLES[:1])
    assert pick.X[0, 1] == 0.1
    assert pick.X[0, 0].item() == pytest.approx(0.7, abs=1e-2)
    space = SearchSpace(
        BOUNDS,
        fixed_features={1: 0.1},
        inequality_constraints=[(torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.5)],
    )
    pick = best(Hills(TWO_HILLS), space, masks=SINGLES[:1])
    assert pick.X[0, 1] == 0.1
    assert pick.X[0, 0].item() == pytest.approx(0.4, abs=1e-2)
    assert pick.X.sum() <= 0.5 + 1e-6


def test_a_space_with_all_columns_fixed_has_one_design() -> None:
    space = SearchSpace(BOUNDS, fixed_features={0: 0.25, 1: 0.5})
    acqf = Hills(TWO_HILLS)
    pick = best(acqf, space)
    assert torch.equal(pick.X, tensor([0.25, 0.5]))
    expected = max(values(acqf, pick.X, mask).item() for mask in SINGLES)
    assert pick.value.item() == pytest.approx(expected)


MIXED_BOUNDS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 2.0]], dtype=torch.float64)
MIXED: dict[str, Any] = {
    "discrete_dims": {1: [0.0, 0.25, 0.5, 0.75, 1.0]},
    "cat_dims": {2: [0.0, 1.0, 2.0]},
}
MANY_VALUES = {0: [i / 32 for i in range(33)], 1: [i / 25 for i in range(26)]}
MIXED_HILLS = tensor([0.3, 0.6, 1.2], [0.8, 0.1, 1.9])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(MIXED, [0.3, 0.5, 1.0], id="both"),
        pytest.param({"cat_dims": {2: [0, 1, 2]}}, [0.3, 0.6, 1.0], id="label"),
        pytest.param({**MIXED, "fixed_features": {2: 2.0}}, [0.3, 0.5, 2.0], id="fix"),
        pytest.param(
            {**MIXED, "fixed_features": {0: 0.9}}, [0.9, 0.5, 1.0], id="fixed-number"
        ),
        pytest.param(
            {
                **MIXED,
                "inequality_constraints": [
                    (torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.7)
                ],
            },
            [0.2, 0.5, 1.0],
            id="constrained",
        ),
        pytest.param({"discrete_dims": MANY_VALUES}, [0.3125, 0.6, 1.2], id="many"),
        pytest.param(
            {
                "discrete_dims": MANY_VALUES,
                "inequality_constraints": [
                    (torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.7)
                ],
            },
            [0.21875, 0.48, 1.2],
            id="many-constrained",
        ),
        pytest.param(
            {**MIXED, "discrete_dims": {0: [0.0, 0.1, 1.0], 1: [0.0, 0.7, 1.0]}},
            [0.1, 0.7, 1.0],
            id="all-separate",
        ),
    ],
)
def test_separate_columns_take_allowed_values_only(
    options: dict[str, Any], expected: list[float]
) -> None:
    space = SearchSpace(MIXED_BOUNDS, **options)
    acqf = Hills(MIXED_HILLS)
    pick = best(acqf, space, masks=SINGLES[:1], raw_samples=64)
    for column in {**space.discrete_dims, **space.cat_dims}:
        assert pick.X[0, column].item() == expected[column]
    for column, value in space.fixed_features.items():
        assert pick.X[0, column].item() == value
    assert torch.allclose(pick.X, tensor(expected), atol=1e-2)
    assert pick.value.item() == pytest.approx(
        values(acqf, tensor(expected), SINGLES[0]).item(), rel=1e-3
    )


def test_a_lookahead_on_a_mixed_space_is_as_good_as_a_dense_grid() -> None:
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    space = SearchSpace(bounds, discrete_dims={1: [0, 0.5, 1]}, cat_dims={2: [0, 1]})
    acqf = lookahead(3)
    X = torch.cartesian_prod(
        torch.linspace(0, 1, 301, dtype=torch.float64), tensor(0, 0.5, 1), tensor(0, 1)
    )
    for mask in SINGLES:
        pick = best(acqf, space, masks=mask[None], raw_samples=64)
        assert pick.value >= 0.99 * values(acqf, X, mask).max() > 0
        assert pick.X[0, 1].item() in (0, 0.5, 1)
        assert pick.X[0, 2].item() in (0, 1)


class Fidelity(GenericDeterministicModel):
    """Costs that grow with the last column."""

    def __init__(self) -> None:
        super().__init__(lambda X: (0.02 + X[..., -1:]) * tensor(10.0, 1.0), 2)


def test_a_fidelity_column_is_chosen_by_value_per_cost() -> None:
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    designs = rand(24, 3, seed=3)
    designs[:, 2] = 1.0
    model = gp_list(3)
    for gp in model.models:  # a low fidelity tells much of what a high one does
        gp.covar_module.lengthscale = tensor(0.4, 0.4, 4.0)
    acqf = qFlexiBOLookahead(
        model,
        tensor(-2.0, -2.0),
        designs,
        quadrature_nodes=2,
        cost_aware_utility=DecoupledCostUtility(Fidelity()),
    )
    free = best(acqf, SearchSpace(bounds), raw_samples=128)
    fixed = best(acqf, SearchSpace(bounds, fixed_features={2: 1.0}), raw_samples=128)
    whole, target = grid(24, 24, 36), grid(144, 140, 1)
    target[:, 2] = 1.0
    for pick, others in ((free, whole), (fixed, target)):
        top = max(values(acqf, others, mask).max().item() for mask in SINGLES)
        assert pick.value.item() >= 0.99 * top > 0
        assert pick.cost is not None
        own = Fidelity()(pick.X)[pick.mask].item()
        assert pick.cost.item() == pytest.approx(own)
    assert fixed.X[0, 2] == 1.0
    assert free.X[0, 2] < 0.9
    assert free.value > fixed.value


def test_a_lookahead_projects_its_designs_to_the_target_fidelity() -> None:
    acqf = lookahead(3, target_fidelities={2: 1.0})
    assert (acqf.X_designs[:, 2] == 1.0).all()


# Pairs that are taken, limits, ties --------------------------------------------------


def test_a_pair_that_is_taken_is_not_proposed_again() -> None:
    # The best design is a corner, which the search finds exactly every time.
    acqf = Hills(tensor([2.0, 2.0], [-1.0, 2.0]), heights=(9.0, 9.0), width=2.0)
    corners = tensor([1.0, 1.0], [0.0, 1.0])
    candidates = search(acqf, SearchSpace(BOUNDS))
    seen = set()
    for _ in range(5):
        pick = candidates.best(math.inf)
        assert pick is not None
        pair = (*pick.X[0].tolist(), *pick.mask[0].tolist())
        assert pair not in seen
        seen.add(pair)
        candidates.exclude(pick.X, pick.mask)
    for corner, mask in zip(corners, SINGLES, strict=True):
        assert (*corner.tolist(), *mask.tolist()) in seen


def test_a_mask_with_an_outcome_that_is_taken_is_not_proposed() -> None:
    acqf = Hills(tensor([2.0, 2.0], [2.0, 2.0]), width=2.0)
    corner = tensor([1.0, 1.0])
    space = SearchSpace(BOUNDS)
    assert torch.equal(best(acqf, space, masks=ALL_MASKS).X, corner)
    taken = ((corner, SINGLES[:1]),)
    pick = best(acqf, space, masks=ALL_MASKS, taken=taken)
    assert not (torch.equal(pick.X, corner) and pick.mask[0, 0])


def test_on_separate_values_the_next_best_design_is_proposed() -> None:
    values_ = [0.0, 0.5, 1.0]
    space = SearchSpace(BOUNDS, discrete_dims={0: values_, 1: values_})
    candidates = search(Hills(TWO_HILLS), space, masks=SINGLES[:1])
    # Squared distances from (.7, .6): .05, .25, .26 of (.5, .5), (1, 1) and (.5, 1)...
    designs = torch.cartesian_prod(tensor(*values_), tensor(*values_))
    order = (designs - TWO_HILLS[0]).square().sum(dim=-1).argsort()
    for k in range(9):
        pick = candidates.best(math.inf)
        assert pick is not None
        assert pick.X[0].tolist() == designs[order[k]].tolist()
        candidates.exclude(pick.X, pick.mask)
    assert candidates.best(math.inf) is None


def test_what_costs_too_much_is_left_out() -> None:
    acqf = Hills(TWO_HILLS, heights=(100.0, 1.0), costs=(10.0, 1.0))
    candidates = search(acqf, SearchSpace(BOUNDS))
    dear, cheap = candidates.best(10.0), candidates.best(9.99)
    assert dear is not None
    assert cheap is not None
    assert dear.mask.tolist() == [[True, False]]
    assert cheap.mask.tolist() == [[False, True]]
    assert candidates.best(0.99) is None


def test_where_the_best_design_is_too_dear_an_affordable_one_is_found() -> None:
    slope = GenericDeterministicModel(
        lambda X: (1 + 9 * X[..., :1]).expand(*X.shape[:-1], 2), 2
    )
    acqf = Hills(TWO_HILLS, costs=slope, weighting=torch.ones_like)
    pick = best(acqf, SearchSpace(BOUNDS), max_cost=5.0, masks=SINGLES[:1])
    assert pick.cost is not None
    assert pick.cost <= 5.0
    # Raw designs below x = 4/9 are affordable.
    raw = SearchSpace(BOUNDS).sample(256, seed=0)
    raw = raw[raw[:, 0] <= 4 / 9]
    assert pick.value >= values(acqf, raw, SINGLES[0]).max()


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_ties_go_to_the_cheaper_pair(finite: bool) -> None:
    choices = rand(9, 2, seed=1) if finite else None
    acqf = Hills(TWO_HILLS, heights=(0.0, 0.0), costs=(10.0, 1.0))
    pick = best(acqf, SearchSpace(BOUNDS, choices))
    assert pick.value == 0
    assert pick.mask.tolist() == [[False, True]]
    assert pick.cost == 1.0
    assert (pick.X >= 0).all()
    assert (pick.X <= 1).all()


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_of_negative_gains_a_dearer_twin_is_never_preferred(finite: bool) -> None:
    choices = rand(9, 2, seed=1) if finite else None
    same = tensor([0.5, 0.5], [0.5, 0.5])
    for heights in ((-1.0, -1.0), (1.0, 1.0)):
        for costs in ((10.0, 1.0), (1.0, 10.0)):
            acqf = Hills(same, heights=heights, costs=costs)
            pick = best(acqf, SearchSpace(BOUNDS, choices))
            assert pick.cost == 1.0


# Designs to revisit -------------------------------------------------------------------


@pytest.mark.parametrize(("height", "expected"), [(1.5, True), (0.5, False)])
def test_a_design_to_revisit_competes_with_the_whole_space(
    height: float, expected: bool
) -> None:
    # Costs one at the design to revisit, ten elsewhere.
    old = tensor([0.123, 0.456])

    def costs(X: Tensor) -> Tensor:
        there = (X == old).all(dim=-1, keepdim=True)
        return torch.where(there, 1.0, 10.0).expand(*X.shape[:-1], 2).to(X)

    # Its gain is `height` tenths of the top of the hill, which costs ten.
    distance = math.sqrt(-2 * 0.3**2 * math.log(height / 10))
    centre = old + tensor(distance, 0.0)
    assert centre[0, 0] < 0.9
    acqf = Hills(
        centre.expand(2, 2), width=0.3, costs=GenericDeterministicModel(costs, 2)
    )
    pick = best(acqf, SearchSpace(BOUNDS), X_revisit=old, masks=SINGLES[:1])
    assert torch.equal(pick.X, old) is expected
    assert pick.cost == (1.0 if expected else 10.0)


def test_no_designs_to_revisit_is_the_same_as_none() -> None:
    acqf = Hills(TWO_HILLS)
    for choices in (None, rand(9, 2, seed=1)):
        space = SearchSpace(BOUNDS, choices)
        one = best(acqf, space)
        other = best(acqf, space, X_revisit=torch.empty(0, 2, dtype=torch.float64))
        assert torch.equal(one.X, other.X)
        assert torch.equal(one.mask, other.mask)


def test_designs_to_revisit_extend_a_finite_set() -> None:
    choices = rand(9, 2, seed=1)
    pick = best(Hills(TWO_HILLS), SearchSpace(BOUNDS, choices), X_revisit=TWO_HILLS)
    assert torch.equal(pick.X, TWO_HILLS[:1])


# Finite sets --------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [10, 30, None])
def test_a_batch_of_the_best_pairs_rescored_is_as_good_as_one_of_all_rescored(
    limit: int | None,
) -> None:
    choices = rand(150, 2, seed=5)

    def batch(max_rescored: int | None) -> list[Pick]:
        acqf = lookahead(cost_aware_utility=DecoupledCostUtility(COSTS))
        candidates = search(
            acqf, SearchSpace(BOUNDS, choices), max_rescored=max_rescored
        )
        picks = []
        for _ in range(4):
            pick = candidates.best(math.inf)
            assert pick is not None
            picks.append(pick)
            candidates.exclude(pick.X, pick.mask)
            acqf.set_X_pending(
                torch.cat([p.X for p in picks]), torch.cat([p.mask for p in picks])
            )
        return picks

    full, quick = batch(None), batch(limit)
    total = sum(pick.value.item() for pick in full)
    assert torch.equal(full[0].X, quick[0].X)
    # Those best at first are near each other: once one is pending, so are the others.
    least = {10: 0.9, 30: 0.99, None: 1.0 - 1e-12}[limit]
    assert sum(p.value.item() for p in quick) >= least * total
    pairs = {(*p.X[0].tolist(), *p.mask[0].tolist()) for p in quick}
    assert len(pairs) == 4


COSTS = FixedCostModel(tensor(3.0, 1.0))


class Counting(Hills):
    """Counts the designs that are scored."""

    count = 0

    def forward(self, X: Tensor) -> Tensor:
        self.count += len(X)
        return super().forward(X)


def test_later_picks_score_as_many_designs_as_asked_for() -> None:
    choices = rand(50, 2, seed=5)
    acqf = Counting(TWO_HILLS)
    candidates = search(acqf, SearchSpace(BOUNDS, choices), max_rescored=7)
    counts = []
    for _ in range(3):
        acqf.count = 0
        pick = candidates.best(math.inf)
        assert pick is not None
        candidates.exclude(pick.X, pick.mask)
        counts.append(acqf.count)
    assert counts == [100, 16, 18]  # also the one and two designs picked already


def test_designs_picked_already_take_no_place_of_those_rescored() -> None:
    choices = rand(50, 2, seed=5)
    request = optimize_acqf_decoupled(
        Hills(TWO_HILLS),
        BOUNDS,
        choices=choices,
        q=8,
        options=SearchOptions(max_rescored=2),
    )
    assert request.acq_value is not None
    assert (request.acq_value > 0).all()


def test_all_pairs_come_out_when_few_are_rescored() -> None:
    choices = rand(6, 2, seed=5)
    candidates = search(Hills(TWO_HILLS), SearchSpace(BOUNDS, choices), max_rescored=1)
    pairs = set()
    for _ in range(12):
        pick = candidates.best(math.inf)
        assert pick is not None
        pairs.add((*pick.X[0].tolist(), *pick.mask[0].tolist()))
        candidates.exclude(pick.X, pick.mask)
    assert len(pairs) == 12
    assert candidates.best(math.inf) is None


def test_of_many_choices_some_are_scored_with_those_to_start_from() -> None:
    choices = rand(200, 2, seed=5)
    acqf = Counting(TWO_HILLS)
    space = SearchSpace(BOUNDS, choices)
    start = torch.cat([choices[[7, 150]], tensor([0.123, 0.456])])  # one is no choice
    candidates = search(acqf, space, max_choices=20, X_start=start, X_revisit=start[:1])
    scored = set()
    while (pick := candidates.best(math.inf)) is not None:
        scored.add(tuple(pick.X[0].tolist()))
        candidates.exclude(pick.X, torch.ones_like(pick.mask))
    assert 20 <= len(scored) <= 22
    assert (
        {tuple(x.tolist()) for x in start[:2]}
        <= scored
        <= set(map(tuple, choices.tolist()))
    )
    other = search(acqf, space, max_choices=20, seed=1)
    assert other.best(math.inf) is not None
    # As many as there are, or more: all.
    for limit in (200, 1000, None):
        acqf.count = 0
        search(acqf, space, max_choices=limit).best(math.inf)
        assert acqf.count == 400


@pytest.mark.parametrize(
    "weighting",
    [per_cost, unweighted, LogDamped(0.5)],
    ids=["per-cost", "unweighted", "log-damped"],
)
@pytest.mark.parametrize("price", [0.0, 3.0])
def test_costs_of_a_finite_set_are_predicted_once_per_decision(
    weighting: Any, price: float
) -> None:
    asked = []

    class Prices(CostModel):
        _num_outputs = 2

        def forward(self, X: Tensor) -> Tensor:
            asked.append(X[..., 0].numel())
            return torch.stack([3 + X[..., 0], 0.5 + X[..., 1]], dim=-1)

    choices = rand(60, 2, seed=5)
    utility = DecoupledCostUtility(Prices(), weighting, decision_cost=price)
    acqf = lookahead(cost_aware_utility=utility)
    candidates = search(acqf, SearchSpace(BOUNDS, choices))
    pick = candidates.best(math.inf)
    assert pick is not None
    candidates.exclude(pick.X, pick.mask)
    candidates.best(math.inf)
    assert asked == [60, 60]  # once per mask
    assert acqf.cost_aware_utility is utility
    acqf.X_evaluation_mask = pick.mask
    with torch.no_grad():
        assert pick.value.item() == pytest.approx(acqf(pick.X.unsqueeze(0)).item())


# Randomness ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="continuous"),
        pytest.param({"discrete_dims": {1: [0, 0.5, 1]}}, id="mixed"),
        pytest.param({"cat_dims": {1: [0, 0.5, 1]}}, id="labels"),
        pytest.param({"choices": rand(20, 2, seed=0)}, id="finite"),
        pytest.param(
            {
                "inequality_constraints": [
                    (torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.8)
                ]
            },
            id="constrained",
        ),
    ],
)
def test_the_seed_alone_decides_and_the_global_state_is_untouched(
    options: dict[str, Any],
) -> None:
    acqf = Waves(gp_list(2))
    space = SearchSpace(BOUNDS, **options)
    picks = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        random.seed(global_seed)
        state = torch.get_rng_state()
        picks.append(best(acqf, space, seed=5, raw_samples=16, num_restarts=2))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(picks[0].X, picks[1].X)
    assert torch.equal(picks[0].value, picks[1].value)
    other = best(acqf, space, seed=6, raw_samples=16, num_restarts=2)
    assert torch.isfinite(other.value)


# Errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_values_that_are_nan_are_refused(finite: bool) -> None:
    choices = rand(9, 2, seed=1) if finite else None
    acqf = Hills(TWO_HILLS)
    acqf.heights = tensor(1.0, math.nan)
    n = 9 if finite else 16
    with pytest.raises(
        InputDataError,
        match=rf"^Expected acquisition values without NaN, but got {n} NaN of {n}\."
        r" Check the model's posterior for NaN means or variances, and",
    ):
        best(acqf, SearchSpace(BOUNDS, choices), raw_samples=16)


@pytest.mark.parametrize("where", ["choices", "revisit", "mixed"])
def test_one_shot_acquisition_functions_need_a_continuous_space(where: str) -> None:
    acqf = qHypervolumeKnowledgeGradient(
        gp_list(2), tensor(-2.0, -2.0), num_fantasies=2, num_pareto=2
    )
    designs = rand(5, 2, seed=1)
    space = SearchSpace(
        BOUNDS,
        designs if where == "choices" else None,
        discrete_dims={1: [0, 1]} if where == "mixed" else {},
    )
    with pytest.raises(
        UnsupportedError,
        match=r"^Expected a continuous space for a one-shot acquisition function, but"
        r" got choices, separate values or designs to revisit for"
        r" qHypervolumeKnowledgeGradient\. Leave them out\.$",
    ):
        optimize_acqf_decoupled(
            acqf, space, X_revisit=designs if where == "revisit" else None
        )


def test_designs_to_start_from_that_violate_a_constraint_are_not_proposed() -> None:
    space = SearchSpace(
        BOUNDS,
        inequality_constraints=[(torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.8)],
    )
    pick = best(Hills(TWO_HILLS), space, masks=SINGLES[:1], X_start=TWO_HILLS)
    assert pick.X.sum() <= 0.8 + 1e-6


def test_a_feasible_set_too_small_for_raw_designs_is_found_or_explained() -> None:
    constraint = (torch.tensor([0, 1]), tensor(1.0, 1.0), 1.999)
    space = SearchSpace(BOUNDS, inequality_constraints=[constraint])
    try:
        pick = best(Hills(TWO_HILLS), space, raw_samples=32)
    except InputDataError:
        return
    assert pick.X.sum() >= 1.999 - 1e-6
