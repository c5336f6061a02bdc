r"""The front that a model identifies, against moocore and the true front."""

from __future__ import annotations

import math

import moocore
import pytest
import torch
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    CandidateGenerationError,
    InputDataError,
)
from botorch.models import ModelListGP
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo import fit_decoupled_model
from botorch_flexibo.optim import (
    SearchSpace,
    identified_front,
    sample_region_designs,
)
from botorch_flexibo.test_functions import DecoupledBraninCurrin, DecoupledDTLZ2

PROBLEM = DecoupledBraninCurrin()
Data = tuple[ModelListGP, Tensor, Tensor]


def front_of(
    model: Model,
    bounds: Tensor,
    *,
    choices: Tensor | None,
    X: Tensor,
    Y: Tensor,
    seed: int,
    fixed_features: dict[int, float] | None = None,
) -> Tensor:
    space = SearchSpace(bounds, choices, fixed_features=fixed_features or {})
    return identified_front(model, space, X=X, Y=Y, seed=seed)


def rows(X: Tensor) -> set[tuple[float, ...]]:
    return set(map(tuple, X.tolist()))


def posterior_means(model: ModelListGP, X: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([m.posterior(X).mean for m in model.models], dim=-1)


def pareto_set(X: Tensor, Y: Tensor) -> set[tuple[float, ...]]:
    return rows(X[torch.from_numpy(moocore.is_nondominated(Y.numpy(), maximise=True))])


@pytest.fixture(scope="module")
def sparse() -> Data:
    """Twelve designs, half of them measured on one outcome only."""
    X = PROBLEM.discretize(12, seed=0)
    Y = PROBLEM(X)
    Y[:3, 0] = math.nan
    Y[3:6, 1] = math.nan
    return fit_decoupled_model(X, Y, bounds=PROBLEM.bounds), X, Y


@pytest.fixture(scope="module")
def dense() -> Data:
    X = PROBLEM.discretize(60, seed=1)
    Y = PROBLEM(X)
    return fit_decoupled_model(X, Y, bounds=PROBLEM.bounds), X, Y


def test_of_choices_it_is_the_pareto_set_of_values_or_else_means(sparse: Data) -> None:
    model, X, Y = sparse
    fresh = PROBLEM.discretize(60, seed=5)
    # Measured and fresh choices; some measured designs are not among the choices.
    choices = torch.cat([fresh[:30], X[2:9], fresh[30:]])
    believed = posterior_means(model, choices)
    for k in range(2, 9):
        known = ~Y[k].isnan()
        believed[28 + k, known] = Y[k, known]
    front = front_of(model, PROBLEM.bounds, choices=choices, X=X, Y=Y, seed=0)
    expected = pareto_set(choices, believed)
    assert rows(front) == expected
    assert len(front) == len(expected) > 2


def test_of_three_outcomes_it_is_the_pareto_set_of_means() -> None:
    problem = DecoupledDTLZ2(dim=4, num_objectives=3)
    X = problem.discretize(10, seed=0)
    Y = problem(X)
    model = fit_decoupled_model(X, Y, bounds=problem.bounds)
    choices = problem.discretize(64, seed=9)
    front = front_of(model, problem.bounds, choices=choices, X=X, Y=Y, seed=0)
    assert rows(front) == pareto_set(choices, posterior_means(model, choices))


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_a_measured_value_replaces_the_mean(sparse: Data, finite: bool) -> None:
    model, X, Y = sparse
    choices = X if finite else None
    # A value beyond all means on both outcomes leaves no other design on the front ...
    best = Y.clone()
    best[8] = 1e4
    front = front_of(model, PROBLEM.bounds, choices=choices, X=X, Y=best, seed=0)
    assert rows(front) == rows(X[8:9])
    # ... and one below all of them leaves the front without it.
    worst = Y.clone()
    worst[8] = -1e4
    front = front_of(model, PROBLEM.bounds, choices=choices, X=X, Y=worst, seed=0)
    assert rows(X[8:9]).isdisjoint(rows(front))
    assert len(front) > 1


def test_one_measured_value_keeps_the_mean_of_the_other_outcome(sparse: Data) -> None:
    model, X, Y = sparse
    # Design 0 lacks the first outcome. Its second one is best by far: on the front,
    # but alone there only if its mean of the first outcome is best, too.
    Y = Y.clone()
    Y[0, 1] = 1e4
    believed = torch.where(Y.isnan(), posterior_means(model, X), Y)
    front = front_of(model, PROBLEM.bounds, choices=X, X=X, Y=Y, seed=0)
    assert rows(front) == pareto_set(X, believed)
    assert rows(X[:1]) < rows(front)


def test_on_a_continuous_space_it_reaches_nearly_all_of_the_true_hypervolume(
    dense: Data,
) -> None:
    model, X, Y = dense
    front = front_of(model, PROBLEM.bounds, choices=None, X=X, Y=Y, seed=0)
    assert (front >= PROBLEM.bounds[0]).all()
    assert (front <= PROBLEM.bounds[1]).all()

    def share(Y: Tensor) -> float:
        ref = (-PROBLEM.ref_point).numpy()
        return moocore.hypervolume(-Y.numpy(), ref=ref) / PROBLEM.max_hv

    # The data alone have .53; two thousand Sobol designs, all measured, .89.
    assert share(Y) < 0.6
    assert share(PROBLEM(front)) > 0.99


def test_on_a_continuous_space_no_design_is_better_by_the_means(dense: Data) -> None:
    model, X, Y = dense
    front = front_of(model, PROBLEM.bounds, choices=None, X=X, Y=Y, seed=0)
    means = posterior_means(model, front)
    assert len(front) == len(rows(front)) > 50
    assert moocore.is_nondominated(means.numpy(), maximise=True).all()
    others = posterior_means(model, PROBLEM.discretize(512, seed=7))
    ref = torch.minimum(means.amin(dim=0), others.amin(dim=0)) - 1
    reached, with_others = (
        moocore.hypervolume(-values.numpy(), ref=-ref.numpy())
        for values in (means, torch.cat([means, others]))
    )
    assert with_others == pytest.approx(reached, rel=1e-3)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_it_depends_on_the_seed_alone(sparse: Data, finite: bool) -> None:
    model, X, Y = sparse
    choices = PROBLEM.discretize(50, seed=2) if finite else None
    fronts = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        front = front_of(model, PROBLEM.bounds, choices=choices, X=X, Y=Y, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        assert not front.requires_grad
        fronts.append(front)
    assert torch.equal(fronts[0], fronts[1])
    if finite:  # nothing is drawn
        assert torch.equal(fronts[0], fronts[2])
    else:
        assert not torch.equal(fronts[0], fronts[2])


def test_bounds_far_from_the_unit_cube_are_searched_in_full() -> None:
    lower = torch.tensor([-2000.0, 1e-4], dtype=torch.float64)
    upper = torch.tensor([3000.0, 3e-4], dtype=torch.float64)
    bounds = torch.stack([lower, upper])
    X = lower + PROBLEM.discretize(60, seed=1) * (upper - lower)
    Y = PROBLEM((X - lower) / (upper - lower))
    model = fit_decoupled_model(X, Y, bounds=bounds)
    front = front_of(model, bounds, choices=None, X=X, Y=Y, seed=0)
    assert (front >= lower).all()
    assert (front <= upper).all()
    unit = ((front - lower) / (upper - lower)).clamp(0, 1)
    ref = (-PROBLEM.ref_point).numpy()
    volume = moocore.hypervolume(-PROBLEM(unit).numpy(), ref=ref)
    assert volume > 0.98 * PROBLEM.max_hv


# Columns that are held ---------------------------------------------------------------


def project(X: Tensor, fixed: dict[int, float]) -> Tensor:
    projected = X.clone()
    for column, value in fixed.items():
        projected[:, column] = value
    return projected


@pytest.mark.parametrize("fixed", [{1: 0.25}, {0: 0.5}, {-1: 0.25}], ids=str)
def test_choices_are_projected_on_fixed_columns_and_compared_there(
    sparse: Data, fixed: dict[int, float]
) -> None:
    model, X, Y = sparse
    choices = torch.cat([PROBLEM.discretize(60, seed=5), X])
    front = front_of(
        model,
        PROBLEM.bounds,
        choices=choices,
        X=X,
        Y=Y,
        seed=0,
        fixed_features=fixed,
    )
    # No design was measured there: means only, although X are among the choices.
    projected = project(choices, fixed)
    assert rows(front) == pareto_set(projected, posterior_means(model, projected))
    assert len(front) > 1


def test_choices_that_differ_in_fixed_columns_only_are_one(sparse: Data) -> None:
    model, X, Y = sparse
    base = PROBLEM.discretize(40, seed=5)
    copies = torch.cat([project(base, {1: value}) for value in (0.1, 0.25, 0.7)])
    once = front_of(
        model, PROBLEM.bounds, choices=project(base, {1: 0.25}), X=X, Y=Y, seed=0
    )
    front = front_of(
        model,
        PROBLEM.bounds,
        choices=copies,
        X=X,
        Y=Y,
        seed=0,
        fixed_features={1: 0.25},
    )
    assert torch.equal(front, once)
    assert len(rows(front)) == len(front)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_only_values_measured_at_the_fixed_columns_replace_means(
    sparse: Data, finite: bool
) -> None:
    model, X, Y = sparse
    X, Y = X.clone(), Y.clone()
    X[8, 1] = 0.25
    # By far the best design, at the fixed value and elsewhere.
    for best in (8, 9):
        values = Y.clone()
        values[best] = 1e4
        front = front_of(
            model,
            PROBLEM.bounds,
            choices=X if finite else None,
            X=X,
            Y=values,
            seed=0,
            fixed_features={1: 0.25},
        )
        assert (front[:, 1] == 0.25).all()
        if best == 8:
            assert rows(front) == rows(X[8:9])
        else:
            assert len(front) > 1


def test_on_a_continuous_space_the_rest_is_searched_in_full(dense: Data) -> None:
    model, X, Y = dense
    front = front_of(
        model,
        PROBLEM.bounds,
        choices=None,
        X=X,
        Y=Y,
        seed=0,
        fixed_features={1: 0.25},
    )
    assert (front[:, 1] == 0.25).all()
    assert (front >= PROBLEM.bounds[0]).all()
    assert (front <= PROBLEM.bounds[1]).all()
    line = torch.linspace(0, 1, 5001, dtype=torch.float64)
    grid = torch.stack([line, torch.full_like(line, 0.25)], dim=-1)
    means, others = posterior_means(model, front), posterior_means(model, grid)
    ref = torch.minimum(means.amin(dim=0), others.amin(dim=0)) - 1
    reached, best = (
        moocore.hypervolume(-values.numpy(), ref=-ref.numpy())
        for values in (means, others)
    )
    assert reached > 0.999 * best


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_no_fixed_column_is_the_same_as_none(sparse: Data, finite: bool) -> None:
    model, X, Y = sparse
    choices = PROBLEM.discretize(50, seed=2) if finite else None
    fronts = [
        front_of(
            model,
            PROBLEM.bounds,
            choices=choices,
            X=X,
            Y=Y,
            seed=0,
            fixed_features=fixed,
        )
        for fixed in (None, {})
    ]
    assert torch.equal(*fronts)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_fixed_columns_that_do_not_exist_are_refused(
    sparse: Data, finite: bool
) -> None:
    model, X, Y = sparse
    with pytest.raises(
        InputDataError, match=r"^Expected columns within 0\.\.1, but got \[2\]\. Name"
    ):
        front_of(
            model,
            PROBLEM.bounds,
            choices=X if finite else None,
            X=X,
            Y=Y,
            seed=0,
            fixed_features={2: 1.0},
        )


# Reference designs of the uncertain region --------------------------------------------


def hv(Y: Tensor, ref: Tensor) -> float:
    return moocore.hypervolume(-Y.numpy(), ref=(-ref).numpy())


def mean_and_sd(model: ModelListGP, X: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        posteriors = [m.posterior(X.unsqueeze(-2)) for m in model.models]
    mean = torch.cat([p.mean.squeeze(-2) for p in posteriors], dim=-1)
    variance = torch.cat([p.variance.squeeze(-2) for p in posteriors], dim=-1)
    return mean, variance.sqrt()


SPACE = SearchSpace(PROBLEM.bounds)


@pytest.mark.parametrize("with_data", [False, True], ids=["no-data", "data"])
@pytest.mark.parametrize("num_designs", [1, 2, 3, 40, 128])
def test_region_designs_are_unique_within_bounds_and_at_most_as_many_as_asked_for(
    sparse: Data, num_designs: int, with_data: bool
) -> None:
    model, X, Y = sparse
    designs = sample_region_designs(
        model,
        SPACE,
        Y.nan_to_num(math.inf).amin(dim=0),
        num_designs=num_designs,
        X=X if with_data else None,
    )
    assert designs.shape == (num_designs, 2)
    assert designs.dtype == torch.float64
    assert not designs.requires_grad
    assert len(rows(designs)) == num_designs
    assert (designs >= PROBLEM.bounds[0]).all()
    assert (designs <= PROBLEM.bounds[1]).all()


def test_bounds_alone_are_a_space(sparse: Data) -> None:
    model, X, Y = sparse
    ref_point = tensor(-400.0, -20.0)
    regions, fronts = zip(
        *(
            (
                sample_region_designs(model, space, ref_point, num_designs=16, X=X),
                identified_front(model, space, X=X, Y=Y, seed=0),
            )
            for space in (PROBLEM.bounds, SPACE)
        ),
        strict=True,
    )
    assert torch.equal(*regions)
    assert torch.equal(*fronts)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_region_designs_depend_on_the_seed_alone(sparse: Data, finite: bool) -> None:
    model, X, _ = sparse
    space = SearchSpace(PROBLEM.bounds, PROBLEM.discretize(200, seed=2))
    results = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        designs = sample_region_designs(
            model,
            space if finite else SPACE,
            tensor(-400.0, -20.0),
            num_designs=16,
            X=X,
            seed=seed,
        )
        assert torch.equal(torch.get_rng_state(), state)
        results.append(designs)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Found and possible: a front of a grid of 10,000 designs, and what designs reach of it.
@pytest.mark.parametrize(("num_designs", "share"), [(128, 0.975), (512, 0.99)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_region_designs_reach_the_fronts_of_a_fine_grid(
    sparse: Data, num_designs: int, share: float, seed: int
) -> None:
    model, X, Y = sparse
    ref = Y.nan_to_num(math.inf).amin(dim=0)
    axis = torch.linspace(0, 1, 100, dtype=torch.float64)
    grid_mean, grid_sd = mean_and_sd(model, torch.cartesian_prod(axis, axis))
    designs = sample_region_designs(
        model, SPACE, ref, num_designs=num_designs, X=X, seed=seed
    )
    mean, sd = mean_and_sd(model, designs)
    # Of the means, the upper and the lower corners.
    for scale in (0.0, 1.0, -1.0):
        possible = hv(grid_mean + scale * grid_sd, ref)
        assert hv(mean + scale * sd, ref) >= share * possible > 0


@pytest.mark.parametrize("beta", [0.0, 0.25, 4.0])
def test_no_region_design_is_certainly_dominated_or_below_the_reference_point(
    sparse: Data, beta: float
) -> None:
    model, X, _ = sparse
    ref = tensor(-60.0, -9.0)
    designs = sample_region_designs(
        model, SPACE, ref, num_designs=64, beta=beta, X=X, seed=3
    )
    mean, sd = mean_and_sd(model, designs)
    upper, lower = mean + beta**0.5 * sd, mean - beta**0.5 * sd
    assert (upper > ref - 1e-6).all()
    for k, corner in enumerate(upper):
        others = lower[[i for i in range(len(lower)) if i != k]]
        assert not (others > corner + 1e-6).all(dim=-1).any()


def test_wider_boxes_give_a_wider_set_of_designs(sparse: Data) -> None:
    model, X, _ = sparse
    spread = []
    for beta in (0.0, 1.0, 16.0):
        designs = sample_region_designs(
            model, SPACE, tensor(-400.0, -20.0), beta=beta, X=X
        )
        mean, _ = mean_and_sd(model, designs)
        others = mean_and_sd(model, PROBLEM.discretize(512, seed=7))[0]
        # The share of other designs whose means beat one of them.
        beaten = (others.unsqueeze(1) > mean).all(dim=-1).any(dim=0)
        spread.append(beaten.double().mean().item())
    assert spread == sorted(spread)
    assert spread[0] < 0.2 < spread[-1]


def test_region_designs_of_a_finite_space_are_choices(sparse: Data) -> None:
    model, X, _ = sparse
    choices = torch.cat([PROBLEM.discretize(200, seed=2), X])
    space = SearchSpace(PROBLEM.bounds, choices[torch.arange(212).remainder(208)])
    ref = tensor(-400.0, -20.0)
    few = sample_region_designs(model, space, ref, num_designs=20, X=X[:8])
    assert rows(few) <= rows(choices)
    assert len(rows(few)) == len(few) == 20
    # If all fit, those that may be on the front are all there.
    every = sample_region_designs(model, space, ref, num_designs=999)
    mean, sd = mean_and_sd(model, space.sample(1, seed=0))
    front = pareto_set(space.sample(1, seed=0), mean)
    assert front <= rows(every) <= rows(choices)
    for scale in (-1.0, 1.0):
        assert pareto_set(space.sample(1, seed=0), mean + scale * sd) <= rows(every)
    assert len(every) < len(rows(space.sample(1, seed=0)))


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
@pytest.mark.parametrize("num_designs", [1, 10])
def test_with_nothing_above_the_reference_point_the_nearest_designs_are_returned(
    sparse: Data, finite: bool, num_designs: int
) -> None:
    model, _, _ = sparse
    choices = PROBLEM.discretize(300, seed=2)
    space = SearchSpace(PROBLEM.bounds, choices if finite else None)
    ref = tensor(1e5, 1e5)
    designs = sample_region_designs(model, space, ref, num_designs=num_designs)
    assert designs.shape == (num_designs, 2)
    assert len(rows(designs)) == num_designs
    if finite:
        mean, sd = mean_and_sd(model, choices)
        excess = (mean + sd - ref).amin(dim=-1)
        nearest = choices[excess.argsort(descending=True)[:num_designs]]
        assert rows(designs) == rows(nearest)


def test_region_designs_for_three_outcomes_reach_the_front_of_the_means() -> None:
    problem = DecoupledDTLZ2(dim=4, num_objectives=3)
    X = problem.discretize(12, seed=0)
    Y = problem(X)
    model = fit_decoupled_model(X, Y, bounds=problem.bounds)
    ref = Y.amin(dim=0) - 0.1
    designs = sample_region_designs(model, SearchSpace(problem.bounds), ref, X=X)
    assert designs.shape == (128, 4)
    assert len(rows(designs)) == 128
    others = mean_and_sd(model, problem.discretize(2048, seed=5))[0]
    assert hv(mean_and_sd(model, designs)[0], ref) >= 0.88 * hv(others, ref)


def test_region_designs_of_a_structured_space_lie_in_it(sparse: Data) -> None:
    model, X, _ = sparse
    constraint = (torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.9)
    for options in (
        {"discrete_dims": {1: [0.0, 0.3, 1.0]}},
        {"cat_dims": {0: [0.0, 0.3, 1.0]}},
        {"fixed_features": {1: 0.25}},
        {"inequality_constraints": [constraint]},
    ):
        space = SearchSpace(PROBLEM.bounds, **options)
        feasible = X[X.sum(dim=-1) <= 0.9]  # measured designs are projected only
        designs = sample_region_designs(
            model, space, tensor(-400.0, -20.0), num_designs=32, X=feasible
        )
        assert len(designs) == 32
        assert torch.equal(space.project(designs), designs)
        if "inequality_constraints" in options:
            assert (designs.sum(dim=-1) <= 0.9 + 1e-9).all()


@pytest.mark.parametrize("num_designs", [0, -3])
def test_fewer_than_one_region_design_is_refused(
    sparse: Data, num_designs: int
) -> None:
    with pytest.raises(
        InputDataError,
        match=rf"^Expected num_designs >= 1, but got {num_designs}\.",
    ):
        sample_region_designs(
            sparse[0], SPACE, tensor(-18.0, -6.0), num_designs=num_designs
        )


@pytest.mark.parametrize(
    ("ref_point", "beta", "match"),
    [
        ([-18.0], 1.0, r"^Expected (a finite )?ref_point"),
        ([-18.0, math.nan], 1.0, r"^Expected (a finite )?ref_point"),
        ([-18.0, -6.0], -1.0, r"^Expected a finite beta >= 0, but got -1.0"),
    ],
)
def test_region_designs_of_no_region_are_refused(
    sparse: Data, ref_point: list[float], beta: float, match: str
) -> None:
    error = (InputDataError, BotorchTensorDimensionError)
    with pytest.raises(error, match=match):
        sample_region_designs(sparse[0], SPACE, tensor(*ref_point), beta=beta)


def test_the_reference_point_may_be_a_list(sparse: Data) -> None:
    found = [
        sample_region_designs(sparse[0], SPACE, ref_point, num_designs=8)
        for ref_point in ([-18.0, -6.0], tensor(-18.0, -6.0))
    ]
    assert torch.equal(*found)


def test_rows_of_one_design_count_together(sparse: Data) -> None:
    model, X, Y = sparse
    best = torch.full((1, 2), 1e3).double()
    apart = torch.full((2, 2), math.nan).double()
    apart[0, 0] = apart[1, 1] = 1e3
    where = PROBLEM.bounds.mean(dim=0, keepdim=True)

    def front(X_more: Tensor, Y_more: Tensor) -> set[tuple[float, ...]]:
        data = {"X": torch.cat([X, X_more]), "Y": torch.cat([Y, Y_more])}
        return rows(front_of(model, PROBLEM.bounds, choices=None, **data, seed=0))

    assert front(where, best) == front(where.repeat(2, 1), apart) == rows(where)
    # What was measured several times counts with its mean.
    again = torch.stack([best[0] - 1, best[0] + 1])
    assert front(where.repeat(2, 1), again) == rows(where)


def test_measured_designs_outside_the_space_are_no_designs_of_it(sparse: Data) -> None:
    model, X, Y = sparse
    bounds = PROBLEM.bounds
    # Below the diagonal of the square only.
    limit = (torch.tensor([0, 1]), torch.tensor([-1.0, -1.0]).double(), -8.0)
    space = SearchSpace(bounds, inequality_constraints=[limit])
    beyond = torch.stack([bounds[1], bounds[1] + 1.0])
    X = torch.cat([X, beyond])
    Y = torch.cat([Y, torch.full((2, 2), 1e3).double()])
    front = identified_front(model, space, X=X, Y=Y, seed=0)
    designs = sample_region_designs(model, space, [-1e3, -1e3], X=X)
    for kept in (front, designs):
        assert space.is_feasible(kept).all()
        assert ((kept >= bounds[0]) & (kept <= bounds[1])).all()


def test_a_space_without_designs_is_reported(sparse: Data) -> None:
    model, X, Y = sparse
    nowhere = (torch.tensor([0, 1]), torch.tensor([1.0, 1.0]).double(), 1e3)
    space = SearchSpace(
        PROBLEM.bounds, discrete_dims={0: [0.0]}, inequality_constraints=[nowhere]
    )
    for ask in (
        lambda: identified_front(model, space, X=X, Y=Y, seed=0),
        lambda: sample_region_designs(model, space, [-1e3, -1e3], X=X),
    ):
        with pytest.raises(CandidateGenerationError, match="none of the samples does"):
            ask()


def test_nothing_needs_to_be_measured_yet(sparse: Data) -> None:
    model, X, Y = sparse
    front = identified_front(
        model, SearchSpace(PROBLEM.bounds), X=X[:0], Y=Y[:0], seed=0
    )
    assert len(front) > 0
