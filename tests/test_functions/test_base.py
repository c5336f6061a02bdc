from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.test_functions.base import MultiObjectiveTestProblem
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.test_functions import DecoupledProblem, TabularProblem


class Mixed(DecoupledProblem):
    """One continuous, one integer and one categorical column; cost grows with X."""

    dim = 3
    num_objectives = 2
    _bounds = [(-1.0, 1.0), (2.0, 5.0), (0.0, 2.0)]
    _ref_point = [0.0, 0.0]
    continuous_inds = [0]
    discrete_inds = [1]
    categorical_inds = [2]
    outcome_names = ("first", "second")
    cost_unit = "J"

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return torch.stack([X.sum(dim=-1), X.prod(dim=-1)], dim=-1)

    def cost(self, X: Tensor) -> Tensor:
        return torch.stack([X[..., 1], 10 * X[..., 1]], dim=-1)


class Recording(Mixed):
    """Remembers what it was asked to measure."""

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        self.asked = evaluation_mask
        return super()._measure(X, evaluation_mask)


def _table(n: int = 20) -> TabularProblem:
    generator = torch.Generator().manual_seed(0)
    return TabularProblem(
        torch.rand(n, 2, generator=generator, dtype=torch.float64),
        torch.rand(n, 2, generator=generator, dtype=torch.float64),
        torch.ones(n, 2),
        ref_point=[0.0, 0.0],
        outcome_names=["a", "b"],
        cost_unit="s",
    )


X_OK = torch.tensor([[0.5, 3.0, 1.0], [-1.0, 5.0, 0.0]], dtype=torch.float64)
MASK_OK = torch.tensor([[True, False], [False, True]])


def test_is_a_botorch_problem_with_the_documented_attributes() -> None:
    problem = Mixed()
    assert isinstance(problem, MultiObjectiveTestProblem)
    assert problem.choices is None
    assert problem.categorical_features == [2]
    assert problem.cost_unit == "J"


@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_by_default_there_are_no_set_ups_and_no_fidelities(
    dtype: torch.dtype, batch_shape: list[int]
) -> None:
    for problem in (Mixed(), _table()):
        X = torch.rand(*batch_shape, problem.dim, dtype=dtype)
        price = problem.setup_cost(X)
        assert price.dtype == dtype
        assert torch.equal(price, torch.zeros(batch_shape, dtype=dtype))
        assert problem.setup_features is None
        assert problem.setup_outcomes is None
        assert problem.target_fidelities == {}


def test_cost_is_abstract() -> None:
    class NoCost(Mixed):
        cost = DecoupledProblem.cost

    with pytest.raises(TypeError, match="abstract"):
        NoCost()


@given(bits=st.lists(st.booleans(), min_size=2, max_size=20))
@settings(max_examples=30, deadline=None)
def test_evaluate_is_nan_exactly_where_the_mask_is_false(bits: list[bool]) -> None:
    mask = torch.tensor(bits[: len(bits) // 2 * 2]).view(-1, 2)
    problem = Mixed()
    X = problem.discretize(len(mask), seed=1)
    Y = problem.evaluate(X, mask)
    assert torch.equal(Y.isnan(), ~mask)
    assert torch.equal(Y[mask], problem(X)[mask])


def test_evaluate_no_design_gives_no_row() -> None:
    Y = Mixed().evaluate(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.bool))
    assert Y.shape == (0, 2)


@pytest.mark.parametrize("noise_std", [0.3, [0.0, 0.3]], ids=["shared", "per outcome"])
def test_evaluate_has_the_noise_of_forward(noise_std: float | list[float]) -> None:
    problem = Mixed(noise_std=noise_std)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = problem(X_OK)
        torch.manual_seed(0)
        actual = problem.evaluate(X_OK, torch.ones_like(MASK_OK))
    assert torch.equal(actual, expected)
    assert not torch.equal(actual, problem.evaluate_true(X_OK))


class Live(DecoupledProblem):
    """Measures by itself: all there is to derive from is abstract."""

    dim, num_objectives, continuous_inds = 1, 2, [0]
    _bounds, _ref_point = [(0.0, 1.0)], [-2.0, -3.0]
    outcome_names, knows_truth = ("-error", "-energy"), False

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        return torch.cat([-X, -2 * X], dim=-1)

    def cost(self, X: Tensor) -> Tensor:
        return X.new_ones(*X.shape[:-1], 2)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        raise NotImplementedError("only a training tells")


class LiveAgain(Live):
    """Derived from a class that one can use, but nothing in it applies a sign."""

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        return super()._measure(X, evaluation_mask)


class Declared(Live):
    """Applies the sign, and says so."""

    handles_negate_and_noise = True

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        Y = super()._measure(X, evaluation_mask)
        return -Y if self.negate else Y


IGNORED = [("negate", False, True), ("noise_std", None, 0.1)]
IGNORED.append(("noise_std", None, [0.0, 0.1]))


@pytest.mark.parametrize("kind", [Live, LiveAgain])
@pytest.mark.parametrize(("name", "default", "value"), IGNORED, ids=str)
def test_what_a_measure_of_its_own_would_ignore_is_refused(
    kind: type[DecoupledProblem], name: str, default: object, value: Any
) -> None:
    message = (
        f"Expected {name}={default} for {kind.__name__}, whose own _measure it does not"
        f" reach, but got {value!r}. Return values to maximise from _measure, with"
        " their noise, and give _ref_point likewise; or apply both there, as forward"
        " does, and set handles_negate_and_noise = True."
    )
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        kind(**{name: value})
    problem = kind()
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        setattr(problem, name, value)
    assert getattr(problem, name) == default


def test_a_measure_of_its_own_takes_what_changes_nothing() -> None:
    problem = Live(negate=False, noise_std=[0.0, 0.0])
    X = torch.tensor([[0.5]]).double()
    assert problem.evaluate(X, MASK_OK[:1])[0, 0] == -0.5
    assert problem.ref_point.tolist() == [-2.0, -3.0]


def test_a_measure_of_its_own_may_say_that_it_applies_sign_and_noise() -> None:
    problem = Declared(negate=True, noise_std=0.1)
    X = torch.tensor([[0.5]]).double()
    assert problem.evaluate(X, MASK_OK[:1])[0, 0] == 0.5
    assert problem.ref_point.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("derived", [False, True])
def test_a_measure_around_that_of_a_complete_problem_keeps_sign_and_noise(
    derived: bool,
) -> None:
    class Further(Recording):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            return super()._measure(X, evaluation_mask)

    kind = Further if derived else Recording
    problem, everything = kind(negate=True), torch.ones_like(MASK_OK)
    assert torch.equal(problem.evaluate(X_OK, everything), -problem.evaluate_true(X_OK))
    noisy = kind(noise_std=0.1).evaluate(X_OK, everything)
    assert not torch.equal(noisy, problem.evaluate_true(X_OK))


def test_evaluate_hands_the_mask_to_measure() -> None:
    problem = Recording()
    problem.evaluate(X_OK, MASK_OK)
    assert torch.equal(problem.asked, MASK_OK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_evaluate_keeps_dtype_and_gradient(dtype: torch.dtype) -> None:
    X = X_OK.to(dtype).requires_grad_()
    Y = Mixed().evaluate(X, MASK_OK)
    assert Y.dtype == dtype
    Y[MASK_OK].sum().backward()
    assert X.grad is not None
    assert X.grad.isfinite().all()


@pytest.mark.parametrize(
    ("X", "mask", "error", "match"),
    [
        (X_OK[0], MASK_OK[:1], BotorchTensorDimensionError, r"`n x 3`, got \(3,\)"),
        (X_OK[:, :2], MASK_OK, BotorchTensorDimensionError, r"`n x 3`, got \(2, 2\)"),
        (X_OK.expand(2, 2, 3), MASK_OK, BotorchTensorDimensionError, r"\(2, 2, 3\)"),
        (X_OK.long(), MASK_OK, InputDataError, r"but got torch.int64. .*`.double\(\)`"),
        (X_OK + 1, MASK_OK, InputDataError, r"within the bounds .* row 0 = \[1.5"),
        (X_OK * torch.nan, MASK_OK, InputDataError, r"within the bounds .* \[nan"),
        (
            X_OK + torch.tensor([[0.0, 0.0, 0.0], [0.0, -0.5, 0.0]]),
            MASK_OK,
            InputDataError,
            r"integers in the columns \[1, 2\] .* row 1 = \[-1.0, 4.5, 0.0\]",
        ),
        (X_OK, MASK_OK[:1], BotorchTensorDimensionError, r"\(2, 2\) .*got\s\(1, 2\)"),
        (X_OK, MASK_OK[0], BotorchTensorDimensionError, r"one row per design"),
        (X_OK, MASK_OK.long(), InputDataError, r"boolean tensor, but got torch.int64"),
    ],
    ids=[
        "one-dimensional X",
        "wrong d",
        "batched X",
        "integer X",
        "out of bounds",
        "nan",
        "fractional integer",
        "rows of mask",
        "one-dimensional mask",
        "mask not boolean",
    ],
)
def test_evaluate_explains_wrong_input(
    X: Tensor, mask: Tensor, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        Mixed().evaluate(X, mask)


@pytest.mark.parametrize("problem", [Mixed(), _table()], ids=["continuous", "table"])
def test_discretize_is_deterministic_and_leaves_the_global_rng(
    problem: DecoupledProblem,
) -> None:
    state = torch.get_rng_state()
    X = problem.discretize(16, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert X.shape == (16, problem.dim)
    assert X.dtype == torch.float64
    assert torch.equal(X, problem.discretize(16, seed=3))
    assert not torch.equal(X, problem.discretize(16, seed=4))


def test_discretize_covers_integer_columns_evenly() -> None:
    X = Mixed().discretize(1200, seed=0)
    Mixed().evaluate(X, torch.ones(1200, 2, dtype=torch.bool))  # all are valid
    for column, levels in ((1, [2.0, 3.0, 4.0, 5.0]), (2, [0.0, 1.0, 2.0])):
        values, counts = X[:, column].unique(return_counts=True)
        assert values.tolist() == levels
        assert counts.double().sub(1200 / len(levels)).abs().max() < 30


@pytest.mark.parametrize("n", [1, 7, 20])
def test_discretize_of_a_table_draws_different_designs_of_it(n: int) -> None:
    problem = _table()
    rows = problem.indices(problem.discretize(n, seed=0))
    assert len(rows.unique()) == n


@pytest.mark.parametrize(
    ("problem", "n", "match"),
    [
        (Mixed(), 0, r"`n` >= 1, got 0"),
        (_table(), -1, r"`n` >= 1, got -1"),
        (_table(), 21, r"`n` <= 20, the number of designs .* got 21"),
    ],
    ids=["zero", "negative", "more than choices"],
)
def test_discretize_explains_wrong_n(
    problem: DecoupledProblem, n: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        problem.discretize(n, seed=0)


def test_choices_follow_the_module_to_another_dtype() -> None:
    problem = _table().to(torch.float32)
    assert problem.choices is not None
    assert problem.choices.dtype == problem.bounds.dtype == torch.float32
