r"""What BoTorch's registry builds against acquisition functions built by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.input_constructors import get_acqf_input_constructor
from botorch.acquisition.multi_objective.objective import (
    IdentityMCMultiOutputObjective,
    WeightedMCMultiOutputObjective,
)
from botorch.exceptions.errors import InputDataError, UnsupportedError
from botorch.models import ModelListGP, SingleTaskGP, SingleTaskMultiFidelityGP
from botorch.models.cost import FixedCostModel
from botorch.models.transforms.input import Normalize
from botorch.utils.datasets import SupervisedDataset
from torch import Tensor

from botorch_flexibo import (
    DecoupledCostUtility,
    FlexiBO,
    SearchSpace,
    qFlexiBOLookahead,
    sample_region_designs,
)

BOUNDS = [(0.0, 1.0), (0.0, 2.0)]
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def inputs(n: int, seed: int, d: int = 2) -> Tensor:
    X = rand(n, d, seed=seed)
    X[:, 1] *= 2.0
    return X


def outcomes(X: Tensor) -> Tensor:
    first = (3 * X[:, 0]).sin() - X[:, 1] / 2
    second = (3 * X[:, 0] + 2).sin() + X[:, 1] / 4
    return torch.stack([first, second], dim=-1)


def dataset(X: Tensor, *columns: int) -> SupervisedDataset:
    return SupervisedDataset(
        X,
        outcomes(X)[:, list(columns)],
        feature_names=[f"x{j}" for j in range(X.shape[-1])],
        outcome_names=[f"y{i}" for i in columns],
    )


SHARED = inputs(7, seed=1)
# Every outcome has designs of its own, two of them shared.
OWN = [SHARED[:6], torch.cat([inputs(4, seed=2), SHARED[2:4]])]
REF = torch.tensor([-2.5, -2.0], dtype=torch.float64)
DESIGNS = inputs(12, seed=3)
STRANGERS = inputs(5, seed=4).unsqueeze(-2)
COSTS = FixedCostModel(torch.tensor([8.0, 0.5], dtype=torch.float64))


def gp(X: Tensor, y: Tensor) -> SingleTaskGP:
    bounds = torch.tensor(BOUNDS, dtype=torch.float64).T
    return SingleTaskGP(X, y, input_transform=Normalize(2, bounds=bounds))


def gp_list(decoupled: bool = False) -> ModelListGP:
    designs = OWN if decoupled else [SHARED, SHARED]
    return ModelListGP(*(gp(X, outcomes(X)[:, [i]]) for i, X in enumerate(designs)))


def build(
    cls: type[AcquisitionFunction],
    model: ModelListGP,
    training_data: SupervisedDataset | dict[str, SupervisedDataset],
    **kwargs: Any,
) -> Any:
    """As BoTorch and Ax do: arguments from the registry, then the class."""
    if cls is qFlexiBOLookahead:
        kwargs.setdefault("bounds", BOUNDS)
    constructor = get_acqf_input_constructor(cls)
    return cls(**constructor(model=model, training_data=training_data, **kwargs))


def assert_equal_scores(actual: Any, expected: Any, X: Tensor = STRANGERS) -> None:
    for mask in ([[True, False]], [[False, True]], [[True, True]]):
        values = []
        for acqf in (actual, expected):
            acqf.X_evaluation_mask = torch.tensor(mask)
            with torch.no_grad():
                values.append(acqf(X))
        assert values[1].abs().max() > 1e-4
        torch.testing.assert_close(*values, **CLOSE)


CLASSES = pytest.mark.parametrize("cls", [qFlexiBOLookahead, FlexiBO])


def test_importing_the_package_registers_the_constructors():
    code = (
        "import botorch_flexibo\n"
        "from botorch.acquisition import input_constructors\n"
        "for name in ('qFlexiBOLookahead', 'FlexiBO'):\n"
        "    cls = getattr(botorch_flexibo, name)\n"
        "    input_constructors.get_acqf_input_constructor(cls)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("options", [{}, {"beta": 4.0}, {"objective": "mirror"}])
@CLASSES
def test_a_built_function_scores_like_one_made_by_hand(cls, options):
    options = dict(options)
    ref_point = REF
    if "objective" in options:
        weights = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        options["objective"] = WeightedMCMultiOutputObjective(weights)
    options["cost_aware_utility"] = DecoupledCostUtility(COSTS)
    X = DESIGNS[:5].unsqueeze(-2) if cls is FlexiBO else STRANGERS
    expected = cls(gp_list(), ref_point, DESIGNS, **options)
    acqf = build(
        cls,
        gp_list(),
        dataset(SHARED, 0, 1),
        ref_point=ref_point,
        X_designs=DESIGNS,
        **options,
    )
    assert type(acqf) is cls
    assert_equal_scores(acqf, expected, X)


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_number_of_nodes_is_passed_on(nodes):
    expected = qFlexiBOLookahead(gp_list(), REF, DESIGNS, quadrature_nodes=nodes)
    acqf = build(
        qFlexiBOLookahead,
        gp_list(),
        dataset(SHARED, 0, 1),
        ref_point=REF,
        X_designs=DESIGNS,
        quadrature_nodes=nodes,
    )
    assert acqf.quadrature_nodes == nodes
    assert_equal_scores(acqf, expected)


# Reference designs -----------------------------------------------------------------


def sampled(model: ModelListGP, X: Tensor, seed: int, **kwargs: Any) -> Tensor:
    bounds = torch.tensor(BOUNDS, dtype=torch.float64).T
    return sample_region_designs(
        model, SearchSpace(bounds), REF, X=X, seed=seed, **kwargs
    )


@pytest.mark.parametrize("seed", [0, 5])
def test_reference_designs_are_sampled_by_seed_within_the_bounds(seed):
    state = torch.get_rng_state()
    acqf = build(
        qFlexiBOLookahead,
        gp_list(),
        dataset(SHARED, 0, 1),
        ref_point=REF,
        beta=2.0,
        seed=seed,
    )
    assert torch.equal(torch.get_rng_state(), state)
    expected = sampled(gp_list(), SHARED, seed, beta=2.0)
    assert torch.equal(acqf.X_designs, expected)
    lower, upper = torch.tensor(BOUNDS, dtype=torch.float64).T
    assert ((acqf.X_designs >= lower) & (acqf.X_designs <= upper)).all()
    assert acqf.X_designs[:, 1].max() > 1
    by_hand = qFlexiBOLookahead(gp_list(), REF, expected, beta=2.0)
    assert_equal_scores(acqf, by_hand)


def test_reference_designs_of_another_seed_differ():
    first, second = (
        build(
            qFlexiBOLookahead,
            gp_list(),
            dataset(SHARED, 0, 1),
            ref_point=REF,
            seed=seed,
        ).X_designs
        for seed in (0, 1)
    )
    assert first.shape != second.shape or not torch.equal(first, second)


def test_reference_designs_follow_the_objective():
    weights = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    objective = WeightedMCMultiOutputObjective(weights)
    acqf = build(
        qFlexiBOLookahead,
        gp_list(),
        dataset(SHARED, 0, 1),
        ref_point=REF,
        objective=objective,
    )
    expected = sampled(gp_list(), SHARED, 0, objective=objective)
    assert torch.equal(acqf.X_designs, expected)
    assert not torch.equal(expected, sampled(gp_list(), SHARED, 0))


@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=str)
def test_data_sets_with_designs_of_their_own_are_joined(order):
    names = ["first", "second"]
    training_data = {names[i]: dataset(OWN[i], i) for i in order}
    acqf = build(qFlexiBOLookahead, gp_list(True), training_data, ref_point=REF)
    distinct = torch.cat(OWN).unique(dim=0)
    assert len(distinct) == len(OWN[0]) + len(OWN[1]) - 2
    expected = sampled(gp_list(True), distinct, 0)
    assert torch.equal(acqf.X_designs, expected)
    by_hand = qFlexiBOLookahead(gp_list(True), REF, expected)
    assert_equal_scores(acqf, by_hand)


def test_flexibo_takes_data_sets_with_designs_of_their_own():
    training_data = {"first": dataset(OWN[0], 0), "second": dataset(OWN[1], 1)}
    acqf = build(
        FlexiBO, gp_list(True), training_data, ref_point=REF, X_designs=DESIGNS
    )
    assert_equal_scores(
        acqf, FlexiBO(gp_list(True), REF, DESIGNS), DESIGNS[:5].unsqueeze(-2)
    )


@pytest.mark.parametrize("given", [False, True], ids=["sampled", "given"])
@pytest.mark.parametrize("key", [2, -1])
def test_target_fidelities_fix_the_designs_and_not_the_candidates(key, given):
    X = rand(8, 3, seed=7)
    model = ModelListGP(
        *(
            SingleTaskMultiFidelityGP(X, outcomes(X)[:, [i]], data_fidelities=[2])
            for i in range(2)
        )
    )
    designs = rand(6, 3, seed=8)
    acqf = build(
        qFlexiBOLookahead,
        model,
        dataset(X, 0, 1),
        bounds=[(0.0, 1.0)] * 3,
        ref_point=REF,
        target_fidelities={key: 1.0},
        X_designs=designs if given else None,
    )
    assert (acqf.X_designs[:, 2] == 1.0).all()
    if not given:
        bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
        designs = sample_region_designs(
            model, SearchSpace(bounds, fixed_features={2: 1.0}), REF, X=X
        )
    expected = qFlexiBOLookahead(model, REF, designs, target_fidelities={2: 1.0})
    assert_equal_scores(acqf, expected, rand(4, 1, 3, seed=9))


@pytest.mark.parametrize("targets", [None, {}])
def test_designs_stay_without_target_fidelities(targets):
    acqf = build(
        qFlexiBOLookahead,
        gp_list(),
        dataset(SHARED, 0, 1),
        ref_point=REF,
        X_designs=DESIGNS,
        target_fidelities=targets,
    )
    assert torch.equal(acqf.X_designs, DESIGNS)


# Reference points ------------------------------------------------------------------

MINUS_PLUS = torch.tensor([-1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (None, [-2.5, -2.0]),
        (IdentityMCMultiOutputObjective(), [-2.5, -2.0]),
        (WeightedMCMultiOutputObjective(MINUS_PLUS), [2.5, -4.0]),
    ],
    ids=["none", "identity", "weights"],
)
@CLASSES
def test_thresholds_are_outcomes_and_become_objectives(cls, objective, expected):
    acqf = build(
        cls,
        gp_list(),
        dataset(SHARED, 0, 1),
        objective_thresholds=REF,
        objective=objective,
        X_designs=DESIGNS,
    )
    assert acqf.ref_point.tolist() == expected


@CLASSES
def test_a_reference_point_is_in_objective_space_and_comes_before_thresholds(cls):
    acqf = build(
        cls,
        gp_list(),
        dataset(SHARED, 0, 1),
        objective_thresholds=REF + 1,
        ref_point=REF,
        objective=WeightedMCMultiOutputObjective(MINUS_PLUS),
        X_designs=DESIGNS,
    )
    assert acqf.ref_point.tolist() == REF.tolist()


@CLASSES
def test_reference_points_take_the_dtype_of_the_data(cls):
    for options in ({"ref_point": REF.float()}, {"objective_thresholds": REF.float()}):
        acqf = build(
            cls, gp_list(), dataset(SHARED, 0, 1), X_designs=DESIGNS, **options
        )
        assert acqf.ref_point.dtype == torch.float64


@pytest.mark.parametrize("signs", [[-1.0, 1.0], [-1.0, -1.0]], ids=str)
@CLASSES
def test_minimised_outcomes_score_like_negated_ones_maximised(cls, signs):
    weights = torch.tensor(signs, dtype=torch.float64)
    thresholds = weights * REF  # worst values in the units of the outcomes
    acqf = build(
        cls,
        gp_list(),
        dataset(SHARED, 0, 1),
        objective_thresholds=thresholds,
        objective=WeightedMCMultiOutputObjective(weights),
        X_designs=DESIGNS,
    )
    Y = outcomes(SHARED) * weights
    negated = ModelListGP(*(gp(SHARED, Y[:, [i]]) for i in range(2)))
    X = DESIGNS[:5].unsqueeze(-2) if cls is FlexiBO else STRANGERS
    expected = cls(negated, REF, DESIGNS)
    for mask in ([[True, False]], [[True, True]]):
        values = []
        for one in (acqf, expected):
            one.X_evaluation_mask = torch.tensor(mask)
            with torch.no_grad():
                values.append(one(X))
        torch.testing.assert_close(*values, rtol=1e-6, atol=1e-9)


# Errors ----------------------------------------------------------------------------


@CLASSES
def test_a_missing_reference_point_is_refused(cls):
    message = (
        "Expected ref_point or objective_thresholds, but got neither. Pass a point"
        " below the front."
    )
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        build(cls, gp_list(), dataset(SHARED, 0, 1), X_designs=DESIGNS)


def test_flexibo_asks_for_its_designs():
    with pytest.raises(
        TypeError, match=r"missing 1 required keyword-only argument: 'X_designs'$"
    ):
        build(FlexiBO, gp_list(), dataset(SHARED, 0, 1), ref_point=REF)


def test_bounds_and_reference_points_keep_their_precision() -> None:
    arguments = get_acqf_input_constructor(qFlexiBOLookahead)(
        model=gp_list(),
        training_data=dataset(SHARED, 0, 1),
        bounds=[(0.0, 0.8), (0.0, 0.9)],
        ref_point=[0.1, -1.1],
        target_fidelities={1: 0.9},
    )
    assert arguments["ref_point"].tolist() == [0.1, -1.1]
    assert (arguments["X_designs"][:, 1] == 0.9).all()


@pytest.mark.parametrize("kind", [FlexiBO, qFlexiBOLookahead])
def test_pending_designs_are_passed_on_and_constraints_refused(kind: Any) -> None:
    construct = get_acqf_input_constructor(kind)
    arguments = {
        "model": gp_list(),
        "training_data": dataset(SHARED, 0, 1),
        "ref_point": torch.full((2,), -3.0).double(),
        "X_designs": inputs(8, seed=1),
    }
    if kind is qFlexiBOLookahead:
        arguments["bounds"] = BOUNDS
    pending = inputs(8, seed=1)[:1]
    acqf = kind(**construct(**arguments, X_pending=pending))
    assert torch.equal(acqf.X_pending, pending)
    free = kind(**construct(**arguments))
    where = pending.unsqueeze(0)
    assert acqf(where).item() < free(where).item()
    with pytest.raises(UnsupportedError, match="no outcome constraints, but got 1"):
        construct(**arguments, constraints=[lambda Y: Y[..., 0]])
