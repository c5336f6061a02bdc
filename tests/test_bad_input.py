r"""What makes no sense is refused by name, says what to do, and changes nothing."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    CandidateGenerationError,
    InputDataError,
    UnsupportedError,
)
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    DecoupledCostUtility,
    DecoupledHistory,
    EvaluationRequest,
    FlexiBO,
    InitialDesign,
    InvalidCostError,
    LogDamped,
    PABOPolicy,
    RandomPolicy,
    SearchSpace,
    TolerateFailures,
    optimize_acqf_decoupled,
    qFlexiBOLookahead,
    run_decoupled_optimization,
    sample_region_designs,
)
from botorch_flexibo.acquisition import LinearScalarizationKnowledgeGradient
from botorch_flexibo.models import LogNormalCostModel, PaidCosts, SetupCostModel
from botorch_flexibo.optim import SearchOptions
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledBraninCurrin, TabularProblem
from tests.bad_values import (
    BAD_COSTS,
    BAD_COUNTS,
    BAD_NUMBERS,
    INF,
    NAN,
    mask_error,
    no_reals,
    no_tensor,
    other_place,
    refused,
    tensor,
)
from tests.processes import in_another_process
from tests.runs import Faulty


def some_designs(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, dtype=torch.double, generator=generator)


X = some_designs(8, seed=0)
Y = torch.stack([X.sum(dim=-1), -X.prod(dim=-1)], dim=-1)
DESIGNS = some_designs(12, seed=1)
BOUNDS = tensor([0.0, 0.0], [1.0, 1.0])
REF = tensor(-0.5, -1.5)
GPS = SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:])
MODEL = ModelListGP(*GPS).eval()
COSTS = FixedCostModel(tensor(10.0, 1.0))
NO_TENSOR: dict[str, Any] = {"None": None, "string": "x", "list": [[0.5, 0.5]]}
NO_REALS: dict[str, Tensor] = {
    "integers": torch.ones(3, 2, dtype=torch.long),
    "bools": torch.ones(3, 2, dtype=torch.bool),
    "complex": torch.ones(3, 2, dtype=torch.cdouble),
}


def not_finite(name: str) -> str:
    return f"Expected finite {name}, but got NaN or infinity. Leave such rows out."


# --- acquisition functions --------------------------------------------------------

ACQUISITIONS: dict[str, Callable[..., Any]] = {
    "FlexiBO": lambda model=MODEL, ref=REF, designs=DESIGNS, **options: FlexiBO(
        model, ref, designs, **options
    ),
    "qFlexiBOLookahead": lambda model=MODEL, ref=REF, designs=DESIGNS, **options: (
        qFlexiBOLookahead(model, ref, designs, **options)
    ),
    "C-MOKG": lambda model=MODEL, designs=DESIGNS, **options: (
        LinearScalarizationKnowledgeGradient(model, designs, **options)
    ),
}
WITH_REF = ["FlexiBO", "qFlexiBOLookahead"]


def state_of(acqf: DecoupledAcquisitionFunction) -> list[object]:
    """What an acquisition function is: its tensors, and its values."""
    values = acqf(DESIGNS.unsqueeze(-2)).tolist()
    parts = (acqf.X_evaluation_mask, acqf.X_pending, acqf.X_pending_evaluation_mask)
    return [values, *(None if part is None else part.tolist() for part in parts)]


def ref_messages() -> dict[str, tuple[Any, type[Exception], str]]:
    def no_numbers(value: object) -> str:
        return (
            f"Expected ref_point to hold real numbers, but got {value!r}. Pass a tensor"
            " with the worst value of interest of each outcome."
        )

    def shape(text: str) -> str:
        return (
            "Expected ref_point to have 2 elements, one per outcome, but got shape"
            f" `{text}`. Pass a `m`-dim tensor."
        )

    kinds: dict[str, Any] = {
        "None": None,
        "string": "xy",
        "strings": ["x", "y"],
        "bools": torch.tensor([True, False]),
        "list of bools": [True, False],
        "complex": torch.tensor([1j, 0j]),
    }
    cases: dict[str, tuple[Any, type[Exception], str]] = {
        name: (value, InputDataError, no_numbers(value))
        for name, value in kinds.items()
    }
    for length in (0, 1, 3):
        cases[f"{length} values"] = (
            torch.zeros(length),
            BotorchTensorDimensionError,
            shape(str(length)),
        )
    cases["a row"] = torch.zeros(1, 2), BotorchTensorDimensionError, shape("1 x 2")
    for number in (NAN, INF, -INF):
        cases[str(number)] = (
            tensor(number, 0.0),
            InputDataError,
            f"Expected a finite ref_point, but got [{number}, 0.0]. Pass the worst"
            " value of interest of each outcome.",
        )
    return cases


REF_CASES = ref_messages()


@pytest.mark.parametrize("acquisition", WITH_REF)
@pytest.mark.parametrize("case", REF_CASES.values(), ids=REF_CASES)
def test_reference_points_that_are_none_are_refused(
    acquisition: str, case: tuple[Any, type[Exception], str]
) -> None:
    ref, kind, message = case
    refused(lambda: ACQUISITIONS[acquisition](ref=ref), kind, message)


@pytest.mark.parametrize("acquisition", WITH_REF)
@pytest.mark.parametrize("number", [-1e308, -1e200])
def test_reference_points_so_low_that_volumes_overflow_are_refused(
    acquisition: str, number: float
) -> None:
    with pytest.raises(InputDataError) as info:
        ACQUISITIONS[acquisition](ref=tensor(number, number))
    pattern = (
        r"Expected outcomes and a ref_point that span a finite volume, but got \[.*\]"
        r" and \[.*\]\. Scale the outcomes, or move ref_point closer to the front\."
    )
    assert re.fullmatch(pattern, str(info.value))


@pytest.mark.parametrize("acquisition", WITH_REF)
@pytest.mark.parametrize("ref", [[9.0, 9.0], [1e308, 1e308], (9, 9)])
def test_a_reference_point_that_nothing_reaches_leaves_nothing_to_gain(
    acquisition: str, ref: Any
) -> None:
    values = ACQUISITIONS[acquisition](ref=ref)(DESIGNS.unsqueeze(-2))
    assert values.tolist() == [0.0] * len(DESIGNS)


def design_messages() -> dict[str, tuple[Any, type[Exception], str]]:
    name = "X_designs"
    cases: dict[str, tuple[Any, type[Exception], str]] = {
        key: (value, InputDataError, no_tensor(name, value))
        for key, value in NO_TENSOR.items()
    }
    for key, value in NO_REALS.items():
        cases[key] = value, InputDataError, no_reals(name, value)
    for key, value in (("empty", DESIGNS[:0]), ("1-dim", X[0]), ("3-dim", X[None])):
        shape = " x ".join(str(size) for size in value.shape)
        cases[key] = (
            value,
            BotorchTensorDimensionError,
            f"Expected {name} to be `n x d` with n >= 1, but got shape `{shape}`. Pass"
            " one design per row.",
        )
    for key, value in (("NaN", NAN), ("inf", INF), ("-inf", -INF)):
        bad = torch.where(DESIGNS > 0.8, value, DESIGNS)
        cases[key] = bad, InputDataError, not_finite(name)
    return cases


DESIGN_CASES = design_messages()


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize("case", DESIGN_CASES.values(), ids=DESIGN_CASES)
def test_design_sets_that_are_none_are_refused(
    acquisition: str, case: tuple[Any, type[Exception], str]
) -> None:
    designs, kind, message = case
    refused(lambda: ACQUISITIONS[acquisition](designs=designs), kind, message)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize("columns", [1, 3])
def test_designs_of_another_space_are_refused(acquisition: str, columns: int) -> None:
    designs = torch.rand(4, columns, dtype=torch.double)
    with pytest.raises(InputDataError) as info:
        ACQUISITIONS[acquisition](designs=designs)
    pattern = (
        "Expected X_designs with the columns, dtype and device of the model's inputs,"
        rf" but got shape `4 x {columns}`, torch\.float64 on cpu, and the model says:"
        r" .* Pass designs of the space that it was fitted on\."
    )
    assert re.fullmatch(pattern, str(info.value), flags=re.DOTALL)


@pytest.mark.parametrize(
    ("acquisition", "like"),
    [
        ("FlexiBO", "the model's posterior"),
        ("qFlexiBOLookahead", "the model"),
        ("C-MOKG", "the model"),
    ],
)
def test_designs_of_another_precision_are_refused(acquisition: str, like: str) -> None:
    refused(
        lambda: ACQUISITIONS[acquisition](designs=DESIGNS.float()),
        InputDataError,
        other_place("X_designs", like, "torch.float32 on cpu"),
    )


NAN_MESSAGE = (
    r"Expected (acquisition values|posterior means( and variances)?) without NaN, but"
    r" got \d+ NaN of \d+\. Check the model's posterior for NaN means or variances, and"
    r" outcomes, ref_point and beta for numbers so large that volumes overflow\."
)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_values_that_are_nan_are_refused(acquisition: str) -> None:
    """Distances to such a design overflow."""
    acqf = ACQUISITIONS[acquisition]()
    with pytest.raises(InputDataError) as info:
        acqf(tensor([[1e308, 1e308]]))
    assert re.fullmatch(NAN_MESSAGE, str(info.value))
    assert acqf(CANDIDATES).isfinite().all()


@pytest.mark.parametrize("acquisition", ["qFlexiBOLookahead", "C-MOKG"])
def test_posteriors_that_are_nan_are_refused(acquisition: str) -> None:
    designs = torch.cat([DESIGNS, tensor([1e308, 1e308])])
    with pytest.raises(InputDataError) as info:
        ACQUISITIONS[acquisition](designs=designs)
    assert re.fullmatch(NAN_MESSAGE, str(info.value))


@pytest.mark.parametrize("acquisition", WITH_REF)
@pytest.mark.parametrize(
    "beta", [*BAD_NUMBERS.values(), INF, -1.0, torch.ones(2)], ids=repr
)
def test_a_beta_that_is_no_number_is_refused(acquisition: str, beta: Any) -> None:
    if isinstance(beta, list):
        beta = [1, 2]
    what = "one finite number" if acquisition == "FlexiBO" else "a finite beta"
    words = f"beta to be {what}" if acquisition == "FlexiBO" else what
    refused(
        lambda: ACQUISITIONS[acquisition](beta=beta),
        InputDataError,
        f"Expected {words} >= 0, but got {beta!r}. Pass 1 for boxes of one standard"
        " deviation to each side.",
    )


@pytest.mark.parametrize("nodes", BAD_COUNTS.values(), ids=BAD_COUNTS)
@pytest.mark.parametrize("acquisition", ["qFlexiBOLookahead", "C-MOKG"])
def test_nodes_that_are_no_count_are_refused(acquisition: str, nodes: Any) -> None:
    refused(
        lambda: ACQUISITIONS[acquisition](quadrature_nodes=nodes),
        InputDataError,
        f"Expected at least one node and one variable, but got num_nodes={nodes!r} and"
        " dim=1. Pass whole numbers; one node is the mean.",
    )


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize(
    "model", [None, "model", SingleTaskGP(X, Y), [MODEL]], ids=type
)
def test_models_that_are_no_list_are_refused(acquisition: str, model: Any) -> None:
    """In the words of BoTorch's base class."""
    full = {"C-MOKG": "LinearScalarizationKnowledgeGradient"}.get(
        acquisition, acquisition
    )
    message = f"{full} requires using a ModelList."
    refused(lambda: ACQUISITIONS[acquisition](model=model), ValueError, message)


BAD_MASKS: dict[str, tuple[Any, type[Exception], str]] = {
    "string": ("x", InputDataError, mask_error("str")),
    "list": ([[True, False]], InputDataError, mask_error("list")),
    "floats": (torch.ones(1, 2), InputDataError, mask_error("torch.float32")),
    "integers": (torch.tensor([[1, 0]]), InputDataError, mask_error("torch.int64")),
    "complex": (
        torch.ones(1, 2, dtype=torch.cfloat),
        InputDataError,
        mask_error("torch.complex64"),
    ),
    "1-dim": (
        torch.tensor([True, False]),
        BotorchTensorDimensionError,
        "Expected X_evaluation_mask to be `q x m`, but got shape `2`.",
    ),
    "an outcome too many": (
        torch.ones(1, 3, dtype=torch.bool),
        BotorchTensorDimensionError,
        "Expected X_evaluation_mask to be `q x m`, but got shape `1 x 3`.",
    ),
}


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize("case", BAD_MASKS.values(), ids=BAD_MASKS)
def test_masks_that_are_none_are_refused(
    acquisition: str, case: tuple[Any, type[Exception], str]
) -> None:
    mask, kind, message = case
    make = ACQUISITIONS[acquisition]
    refused(lambda: make(X_evaluation_mask=mask), kind, message)


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_a_mask_of_another_kind_set_later_is_refused(acquisition: str) -> None:
    acqf = ACQUISITIONS[acquisition]()
    for mask, message in (
        (torch.ones(1, 2), mask_error("torch.float32")),
        (torch.ones(1, 2, dtype=torch.long), mask_error("torch.int64")),
    ):
        acqf.X_evaluation_mask = mask
        refused(lambda: acqf(DESIGNS[:2].unsqueeze(-2)), InputDataError, message)


CANDIDATES = DESIGNS[:3].unsqueeze(-2)


def column_error(shape: str) -> str:
    return (
        f"Expected X with 2 columns, as X_designs, but got shape `{shape}`. Pass a"
        " `batch_shape x q x d` tensor."
    )


BAD_CANDIDATES: dict[str, tuple[Any, type[Exception], str]] = {
    "NaN": (CANDIDATES * NAN, InputDataError, not_finite("X")),
    "inf": (CANDIDATES * INF, InputDataError, not_finite("X")),
    "a column too many": (
        torch.rand(3, 1, 3, dtype=torch.double),
        BotorchTensorDimensionError,
        column_error("3 x 1 x 3"),
    ),
    "a column too few": (
        CANDIDATES[..., :1],
        BotorchTensorDimensionError,
        column_error("3 x 1 x 1"),
    ),
    "another precision": (
        CANDIDATES.float(),
        InputDataError,
        other_place("X", "X_designs", "torch.float32 on cpu"),
    ),
    "another device": (
        CANDIDATES.to("meta"),
        InputDataError,
        other_place("X", "X_designs", "torch.float64 on meta"),
    ),
    **{
        name: (
            value.unsqueeze(-2),
            InputDataError,
            no_reals("X", value),
        )
        for name, value in NO_REALS.items()
    },
}


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize("case", BAD_CANDIDATES.values(), ids=BAD_CANDIDATES)
def test_candidates_that_cannot_be_scored_are_refused(
    acquisition: str, case: tuple[Any, type[Exception], str]
) -> None:
    candidates, kind, message = case
    acqf = ACQUISITIONS[acquisition]()
    before = state_of(acqf)
    refused(lambda: acqf(candidates), kind, message)
    assert state_of(acqf) == before


@pytest.mark.parametrize("acquisition", ["FlexiBO", "C-MOKG"])
def test_pairs_of_candidates_are_refused_where_one_is_scored(acquisition: str) -> None:
    """In the words of BoTorch's decorator."""
    refused(
        lambda: ACQUISITIONS[acquisition]()(DESIGNS.reshape(6, 2, 2)),
        AssertionError,
        "Expected X to be `batch_shape x q=1 x d`, but got X with shape"
        " torch.Size([6, 2, 2]).",
    )


def pending_shape(shape: str) -> str:
    return (
        "Expected X_pending to be `n x 2`, with the columns of X_designs, but got shape"
        f" `{shape}`. Pass one design per row."
    )


ONE_MASK = torch.tensor([[True, False]])
PENDING = "X_pending_evaluation_mask"
BAD_PENDING: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "string": ("x", ONE_MASK, InputDataError, no_tensor("X_pending", "x")),
    "integers": (
        NO_REALS["integers"],
        ONE_MASK,
        InputDataError,
        no_reals("X_pending", NO_REALS["integers"]),
    ),
    "NaN": (X[:1] * NAN, ONE_MASK, InputDataError, not_finite("X_pending")),
    "1-dim": (X[0], ONE_MASK, BotorchTensorDimensionError, pending_shape("2")),
    "a column too many": (
        torch.rand(1, 3, dtype=torch.double),
        ONE_MASK,
        BotorchTensorDimensionError,
        pending_shape("1 x 3"),
    ),
    "another precision": (
        X[:1].float(),
        ONE_MASK,
        InputDataError,
        other_place("X_pending", "X_designs", "torch.float32 on cpu"),
    ),
    "another device": (
        X[:1].to("meta"),
        ONE_MASK,
        InputDataError,
        other_place("X_pending", "X_designs", "torch.float64 on meta"),
    ),
    "mask of floats": (
        X[:1],
        torch.ones(1, 2),
        InputDataError,
        mask_error("torch.float32", PENDING),
    ),
    "mask of other shape": (
        X[:1],
        torch.ones(1, 3, dtype=torch.bool),
        BotorchTensorDimensionError,
        f"Expected `{PENDING}` of shape `1 x 2`, but got `1 x 3`.",
    ),
}


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
@pytest.mark.parametrize("case", BAD_PENDING.values(), ids=BAD_PENDING)
def test_pending_points_that_are_none_are_refused_and_the_old_ones_kept(
    acquisition: str, case: tuple[Any, Any, type[Exception], str]
) -> None:
    pending, mask, kind, message = case
    acqf = ACQUISITIONS[acquisition](X_evaluation_mask=ONE_MASK)
    acqf.set_X_pending(X[:2], torch.tensor([[True, False], [True, True]]))
    before = state_of(acqf)
    refused(lambda: acqf.set_X_pending(pending, mask), kind, message)
    assert state_of(acqf) == before


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_without_a_mask_all_outcomes_are_pending(acquisition: str) -> None:
    values = []
    for mask in (None, torch.ones(2, 2, dtype=torch.bool)):
        acqf = ACQUISITIONS[acquisition](X_evaluation_mask=ONE_MASK)
        acqf.set_X_pending(X[:2], mask)
        values.append(acqf(DESIGNS.unsqueeze(-2)))
    assert torch.equal(*values)


OUTCOMES = torch.full((len(DESIGNS), 2), NAN, dtype=torch.double)
BAD_OUTCOMES: dict[str, tuple[Any, type[Exception], str]] = {
    "string": ("x", InputDataError, no_tensor("Y_designs", "x")),
    "integers": (
        NO_REALS["integers"],
        InputDataError,
        no_reals("Y_designs", NO_REALS["integers"]),
    ),
    "complex": (
        OUTCOMES.to(torch.cdouble),
        InputDataError,
        no_reals("Y_designs", OUTCOMES.to(torch.cdouble)),
    ),
    "inf": (
        OUTCOMES.nan_to_num(INF),
        InputDataError,
        "Expected Y_designs to hold finite values or NaN (not measured), but got"
        " infinity. Leave failed measurements out.",
    ),
    "an outcome too few": (
        OUTCOMES[:, :1],
        BotorchTensorDimensionError,
        "Expected Y_designs to be 12 x 2, but got shape `12 x 1`. Pass a row per"
        " design, a column per outcome.",
    ),
    "a design too few": (
        OUTCOMES[:-1],
        BotorchTensorDimensionError,
        "Expected Y_designs to be 12 x 2, but got shape `11 x 2`. Pass a row per"
        " design, a column per outcome.",
    ),
}


@pytest.mark.parametrize("case", BAD_OUTCOMES.values(), ids=BAD_OUTCOMES)
def test_known_outcomes_that_are_none_are_refused(
    case: tuple[Any, type[Exception], str],
) -> None:
    outcomes, kind, message = case
    refused(lambda: FlexiBO(MODEL, REF, DESIGNS, Y_designs=outcomes), kind, message)


def test_copies_of_a_design_are_refused_where_designs_compete() -> None:
    refused(
        lambda: FlexiBO(MODEL, REF, X[:1].repeat(500, 1)),
        InputDataError,
        "Expected unique rows in X_designs, but got 499 duplicates. Pass"
        " torch.unique(X_designs, dim=0).",
    )


# --- choosing --------------------------------------------------------------------


def choose(**changes: Any) -> EvaluationRequest:
    options: dict[str, Any] = {
        "acq_function": FlexiBO(MODEL, REF, DESIGNS),
        "bounds": BOUNDS,
        "choices": DESIGNS,
        **changes,
    }
    return optimize_acqf_decoupled(
        options.pop("acq_function"), options.pop("bounds"), **options
    )


def rows_shape(name: str, shape: str) -> str:
    return (
        f"Expected {name} to be `n x 2`, with the columns of the bounds, but got shape"
        f" `{shape}`. Pass one design per row."
    )


def wrong(name: str, number: float) -> str:
    """What is said of a design made of this number."""
    if name == "X_avoid":
        return not_finite(name)
    return (
        f"Expected all {name} within the bounds, but got [{number}, {number}] in row 0."
        " Pass the bounds of the design set."
    )


def bad_designs(name: str) -> dict[str, tuple[Any, type[Exception], str]]:
    """What is wrong with designs of a space, whatever they are for."""
    f32 = other_place(name, "the bounds", "torch.float32 on cpu")
    meta = other_place(name, "the bounds", "torch.float64 on meta")
    kind = BotorchTensorDimensionError
    wide = torch.rand(4, 3, dtype=torch.double)
    return {
        f"{name}: string": ("x", InputDataError, no_tensor(name, "x")),
        f"{name}: list": ([[0.5, 0.5]], InputDataError, no_tensor(name, [])),
        **{
            f"{name}: {key}": (value, InputDataError, no_reals(name, value))
            for key, value in NO_REALS.items()
        },
        f"{name}: wide": (wide, kind, rows_shape(name, "4 x 3")),
        f"{name}: 1-dim": (DESIGNS[0], kind, rows_shape(name, "2")),
        f"{name}: f32": (DESIGNS.float(), InputDataError, f32),
        f"{name}: meta": (DESIGNS.to("meta"), InputDataError, meta),
        **{
            f"{name}: {number}": (DESIGNS * number, InputDataError, wrong(name, number))
            for number in (NAN, INF)
        },
    }


def outside(name: str) -> dict[str, tuple[Any, type[Exception], str]]:
    far = torch.cat([DESIGNS[:1], tensor([0.5, 1.5])])
    message = (
        f"Expected all {name} within the bounds, but got [0.5, 1.5] in row 1. Pass the"
        " bounds of the design set."
    )
    return {f"{name}: out of bounds": (far, InputDataError, message)}


BAD_SETS = {
    **bad_designs("choices"),
    **outside("choices"),
    **bad_designs("X_revisit"),
    **outside("X_revisit"),
    **bad_designs("X_avoid"),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_designs_that_are_not_in_the_space_are_refused(case: str) -> None:
    value, kind, message = BAD_SETS[case]
    acqf = FlexiBO(MODEL, REF, DESIGNS)
    acqf.set_X_pending(X[:1], ONE_MASK)
    before = state_of(acqf)
    name = case.partition(":")[0]
    refused(lambda: choose(acq_function=acqf, **{name: value}), kind, message)
    assert state_of(acqf) == before


def bounds_order(bounds: Tensor) -> str:
    return (
        f"Expected finite bounds, the lower ones first, but got {bounds.tolist()}. Pass"
        " torch.stack([lower, upper])."
    )


def bounds_shape(shape: str) -> str:
    return (
        f"Expected bounds of shape `2 x d`, but got `{shape}`. Pass the lower bounds in"
        " the first row and the upper ones in the second."
    )


ENDLESS = tensor([0.0, 0.0], [INF, 1.0])
BAD_CHOICES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "bounds None": ({"bounds": None}, InputDataError, no_tensor("bounds", None)),
    "bounds list": ({"bounds": [[0, 1]]}, InputDataError, no_tensor("bounds", [])),
    "bounds of integers": (
        {"bounds": BOUNDS.long()},
        InputDataError,
        no_reals("bounds", BOUNDS.long()),
    ),
    "bounds 1-dim": (
        {"bounds": BOUNDS[0]},
        BotorchTensorDimensionError,
        bounds_shape("2"),
    ),
    "bounds of three rows": (
        {"bounds": DESIGNS[:3]},
        BotorchTensorDimensionError,
        bounds_shape("3 x 2"),
    ),
    "bounds NaN": (
        {"bounds": BOUNDS * NAN},
        InputDataError,
        bounds_order(BOUNDS * NAN),
    ),
    "bounds turned round": (
        {"bounds": BOUNDS.flip(0)},
        InputDataError,
        bounds_order(BOUNDS.flip(0)),
    ),
    "endless bounds": (
        {"bounds": ENDLESS, "choices": None},
        InputDataError,
        bounds_order(ENDLESS),
    ),
    "masks list": (
        {"evaluation_masks": [[True, False]]},
        InputDataError,
        mask_error("list", "evaluation_masks"),
    ),
    "masks of floats": (
        {"evaluation_masks": torch.eye(2)},
        InputDataError,
        mask_error("torch.float32", "evaluation_masks"),
    ),
    "masks of three outcomes": (
        {"evaluation_masks": torch.eye(3, dtype=torch.bool)},
        BotorchTensorDimensionError,
        "Expected evaluation_masks to be `k x 2`, but got shape `3 x 3`. Pass one row"
        " per mask.",
    ),
    "an empty mask": (
        {"evaluation_masks": torch.tensor([[True, False], [False, False]])},
        InputDataError,
        "Expected at least one mask, each with at least one outcome, but got [[True,"
        " False], [False, False]]. None stands for every outcome on its own.",
    ),
    "avoided mask alone": (
        {"X_avoid_evaluation_mask": ONE_MASK},
        InputDataError,
        "Expected X_avoid with X_avoid_evaluation_mask, but got the mask alone. Pass"
        " both or none.",
    ),
    "avoided mask of floats": (
        {"X_avoid": X[:1], "X_avoid_evaluation_mask": torch.ones(1, 2)},
        InputDataError,
        mask_error("torch.float32", "X_avoid_evaluation_mask"),
    ),
    "avoided mask of other shape": (
        {"X_avoid": X, "X_avoid_evaluation_mask": ONE_MASK},
        BotorchTensorDimensionError,
        "Expected a mask of shape `8 x 2` for the designs to avoid, but got `1 x 2`."
        " Pass one row per design.",
    ),
    "no acquisition function": (
        {"acq_function": None},
        UnsupportedError,
        "Expected a DecoupledAcquisitionFunction, which knows what one outcome is"
        " worth, but got NoneType. Use FlexiBO or qFlexiBOLookahead, or optimize_acqf"
        " of BoTorch.",
    ),
    "everything measured": (
        {"X_avoid": DESIGNS},
        CandidateGenerationError,
        "Expected at least one pair to choose from, but all pairs of designs and masks"
        " are measured, pending or above max_cost. Stop, or allow more designs,"
        " masks or cost.",
    ),
    "no designs": (
        {"choices": DESIGNS[:0]},
        CandidateGenerationError,
        "Expected at least one pair to choose from, but all pairs of designs and masks"
        " are measured, pending or above max_cost. Stop, or allow more designs,"
        " masks or cost.",
    ),
    "costs unknown": (
        {"max_cost": 3.0},
        InputDataError,
        "Expected an acquisition function whose cost_aware_utility is a"
        " DecoupledCostUtility, because max_cost and batch_cost need predicted costs."
        " Leave them out or pass such a utility.",
    ),
}
for key, number in BAD_COUNTS.items():
    BAD_CHOICES[f"q {key}"] = (
        {"q": number},
        InputDataError,
        f"Expected q to be a whole number >= 1, but got {number!r}. Pass the number of"
        " requests.",
    )
for key, number in {**BAD_NUMBERS, "list": [1, 2]}.items():
    BAD_CHOICES[f"max_cost {key}"] = (
        {"max_cost": number},
        InputDataError,
        f"Expected max_cost to be a number, but got {number!r}. Leave it out for no"
        " limit.",
    )
for key, number in {**BAD_NUMBERS, "list": [1, 2], "0": 0, "-inf": -INF}.items():
    BAD_CHOICES[f"batch_cost {key}"] = (
        {"batch_cost": number},
        InputDataError,
        f"Expected batch_cost > 0, but got {number!r}. Leave it out for no limit.",
    )


@pytest.mark.parametrize("case", BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_what_makes_no_choice_is_refused(
    case: tuple[dict[str, Any], type[Exception], str],
) -> None:
    changes, kind, message = case
    refused(lambda: choose(**changes), kind, message)


EFFORTS = ("raw_samples", "num_restarts", "maxiter", "max_batch_size")
LIMITS = ("max_rescored", "max_choices")


@pytest.mark.parametrize("name", [*EFFORTS, *LIMITS])
@pytest.mark.parametrize("value", BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_an_effort_that_is_no_count_is_refused(name: str, value: Any) -> None:
    if value is None and name in LIMITS:
        assert SearchOptions(**{name: None}) == SearchOptions()
        return
    refused(
        lambda: SearchOptions(**{name: value}),
        InputDataError,
        f"Expected {name} >= 1, but got {value!r}. Pass a whole number.",
    )


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_a_number_of_region_designs_that_is_no_count_is_refused(number: Any) -> None:
    refused(
        lambda: sample_region_designs(
            MODEL, SearchSpace(BOUNDS), REF, num_designs=number
        ),
        InputDataError,
        f"Expected num_designs >= 1, but got {number!r}. Pass a whole number.",
    )


# --- costs -----------------------------------------------------------------------


def cost_error(number: float) -> str:
    return (
        f"Expected costs that are positive and finite, but got {number}. Bound the cost"
        " model away from zero."
    )


@pytest.mark.parametrize("number", BAD_COSTS.values(), ids=BAD_COSTS)
@pytest.mark.parametrize("learned", [False, True], ids=["BoTorch's", "set-up"])
def test_believed_costs_that_are_none_are_refused_and_nothing_is_changed(
    number: float, learned: bool
) -> None:
    costs: Any = FixedCostModel(tensor(10.0, number))
    if learned:
        costs = SetupCostModel(costs, FixedCostModel(tensor(0.0)))
    acqf = FlexiBO(MODEL, REF, DESIGNS)
    before = state_of(acqf)
    acqf.cost_aware_utility = DecoupledCostUtility(costs)
    refused(lambda: choose(acq_function=acqf), InvalidCostError, cost_error(number))
    acqf.cost_aware_utility = None
    assert state_of(acqf) == before


@pytest.mark.parametrize("pair", [(1e-300, 1e-300), (1e300, 1e300), (1e-150, 1e150)])
def test_costs_of_any_scale_give_finite_values(pair: tuple[float, float]) -> None:
    utility = DecoupledCostUtility(FixedCostModel(tensor(*pair)))
    acqf = FlexiBO(MODEL, REF, DESIGNS, cost_aware_utility=utility)
    request = optimize_acqf_decoupled(acqf, BOUNDS, choices=DESIGNS, q=2)
    assert request.acq_value is not None
    assert request.acq_value.isfinite().all()


def test_costs_too_far_apart_to_be_compared_are_refused() -> None:
    utility = DecoupledCostUtility(FixedCostModel(tensor(1e-300, 1e300)))
    refused(
        lambda: utility.cost(DESIGNS),
        InvalidCostError,
        "Expected costs whose ratio is finite, but got 1e-300 and 1e+300. Express all"
        " costs in one unit.",
    )


@pytest.mark.parametrize("number", BAD_COSTS.values(), ids=BAD_COSTS)
def test_guesses_and_payments_that_are_no_costs_are_refused(number: float) -> None:
    refused(
        lambda: LogNormalCostModel(tensor(10.0, number), bounds=BOUNDS),
        InvalidCostError,
        f"Expected prior_costs that are positive and finite, but got {number}. Guess a"
        " positive cost of each outcome.",
    )
    if not math.isnan(number):  # NaN: nothing was measured
        model = LogNormalCostModel(tensor(10.0, 1.0), bounds=BOUNDS)
        before = model(DESIGNS).tolist()
        paid = PaidCosts(X[:1], tensor([1.0, number]), tensor(0.0))
        refused(
            lambda: model.update(paid),
            InvalidCostError,
            "Expected payments that are positive and finite, or NaN where nothing was"
            f" measured, but got {number}. Leave out measurements that were free.",
        )
        assert model(DESIGNS).tolist() == before


@pytest.mark.parametrize("number", [*BAD_NUMBERS.values(), 0.0, -1.0, INF], ids=repr)
def test_numbers_of_cost_models_that_are_none_are_refused(number: Any) -> None:
    if number == [1]:
        number = "list"
    refused(
        lambda: LogDamped(number),
        InvalidCostError,
        f"Expected a positive, finite unit of cost, but got {number!r}. Pass the cost"
        " of the cheapest outcome.",
    )
    refused(
        lambda: LogNormalCostModel(tensor(1.0), bounds=BOUNDS, prior_sd=number),
        InputDataError,
        "Expected a positive, finite prior_sd and a finite max_ratio >= 1, but got"
        f" prior_sd={number!r} and max_ratio=10.0. Leave them out for the defaults.",
    )
    if number != 0.0 or isinstance(number, bool):
        refused(
            lambda: DecoupledCostUtility(COSTS, decision_cost=number),
            InvalidCostError,
            f"Expected a finite decision_cost >= 0, but got {number!r}. Use 0 if only"
            " measurements cost something.",
        )


# --- runs ------------------------------------------------------------------------


def start(**changes: Any) -> DecoupledHistory:
    options: dict[str, Any] = {
        "problem": DecoupledBraninCurrin(costs=(10.0, 1.0)),
        "policy": RandomPolicy(),
        "budget": 40.0,
        "initial_design": InitialDesign(2),
        **changes,
    }
    return run_decoupled_optimization(
        options.pop("problem"), options.pop("policy"), **options
    )


PROBLEM = DecoupledBraninCurrin(costs=(10.0, 1.0))
CHOICES = PROBLEM.discretize(4, seed=0)
BAD_RUNS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    f"{name} {value}": (
        {name: value},
        InputDataError,
        f"Expected {name} of type {kinds}, but got {value!r}. Pass such an object.",
    )
    for name, kinds in (
        ("problem", "DecoupledProblem"),
        ("policy", "Policy"),
        ("initial_design", "InitialDesign"),
        ("on_failure", "TolerateFailures or RaiseFailures"),
        ("cost_model", "Model or NoneType"),
        ("strict", "bool"),
    )
    for value in ("x", 3)
}
for key, number in {
    **BAD_NUMBERS,
    "list": [1, 2],
    "0": 0,
    "-1": -1,
    "inf": INF,
}.items():
    BAD_RUNS[f"budget {key}"] = (
        {"budget": number},
        InputDataError,
        f"Expected a positive, finite budget in units, but got {number!r}. Pass what"
        " may be spent.",
    )
for key, number in {
    **BAD_NUMBERS,
    "fraction": 1.5,
    "1e308": 1e308,
    "huge": 2**63,
}.items():
    BAD_RUNS[f"seed {key}"] = (
        {"seed": number},
        InputDataError,
        "Expected seed to be a whole number from -2^31 to 2^62, but got"
        f" {number!r}. Pass 0 for the default.",
    )
for key, value in {"None": None, "string": "x", "function": print, "1": [1]}.items():
    BAD_RUNS[f"callbacks {key}"] = (
        {"callbacks": value},
        InputDataError,
        f"Expected callbacks to be a sequence of functions, but got {value!r}. Pass ()"
        " for none.",
    )
BAD_RUNS |= {
    "no choices": (
        {"choices": CHOICES[:0]},
        InputDataError,
        "Expected at least one design in choices, but got none. Leave choices out for"
        " the whole space.",
    ),
    "choices in single precision": (
        {"choices": CHOICES.float()},
        InputDataError,
        other_place("choices", "the bounds", "torch.float32 on cpu"),
    ),
    "choices NaN": (
        {"choices": CHOICES * NAN},
        InputDataError,
        wrong("choices", NAN),
    ),
    "choices out of bounds": (
        {"choices": tensor([99.0, 0.0])},
        InputDataError,
        "Expected all choices within the bounds, but got [99.0, 0.0] in row 0. Pass the"
        " bounds of the design set.",
    ),
}


@pytest.mark.parametrize("case", BAD_RUNS.values(), ids=BAD_RUNS)
def test_what_makes_no_run_is_refused_before_anything_is_measured_or_written(
    case: tuple[dict[str, Any], type[Exception], str], tmp_path: Path
) -> None:
    changes, kind, message = case
    record = tmp_path / "run.jsonl"
    refused(lambda: start(checkpoint=record, **changes), kind, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [*BAD_COUNTS.values()], ids=BAD_COUNTS)
def test_initial_designs_and_attempts_that_are_no_counts_are_refused(
    number: Any,
) -> None:
    refused(
        lambda: InitialDesign(number),
        InputDataError,
        f"Expected 1 <= num_complete <= num_designs, but got num_complete=None and"
        f" num_designs={number!r}. Pass whole numbers, num_complete=None for all.",
    )
    refused(
        lambda: TolerateFailures(max_attempts=number),
        InputDataError,
        f"Expected max_attempts >= 1 and max_in_a_row >= 1, but got {number!r} and 5."
        " Pass whole numbers, or RaiseFailures() to stop at the first failure.",
    )


@pytest.mark.parametrize("number", BAD_COSTS.values(), ids=BAD_COSTS)
def test_a_run_with_beliefs_that_are_no_costs_measures_nothing(number: float) -> None:
    asked: list[Tensor] = []

    class Watched(DecoupledBraninCurrin):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            asked.append(X)
            return super()._measure(X, evaluation_mask)

    refused(
        lambda: start(
            problem=Watched(costs=(10.0, 1.0)),
            cost_model=FixedCostModel(tensor(10.0, number)),
        ),
        InvalidCostError,
        cost_error(number),
    )
    assert asked == []


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_a_run_in_any_unit_of_costs_makes_the_same_requests(scale: float) -> None:
    plain = start(problem=Faulty(), budget=45.0)
    scaled = start(problem=Faulty(costs=(10.0 * scale, scale)), budget=45.0 * scale)
    assert scaled.X.tolist() == plain.X.tolist()
    assert [r.measured for r in scaled.records] == [r.measured for r in plain.records]


# --- what is odd, but makes sense ------------------------------------------------


def table_problem(X: Tensor, Y: Tensor) -> TabularProblem:
    return TabularProblem(
        X,
        Y,
        torch.tensor([10.0, 1.0]).expand_as(Y),
        ref_point=[-5.0, -5.0],
        outcome_names=["a", "b"],
        cost_unit="s",
    )


def test_a_single_design_is_measured_and_the_run_ends() -> None:
    history = start(problem=table_problem(X[:1], Y[:1]), budget=1000.0)
    assert history.stop_reason == "exhausted"
    assert history.Y.tolist() == Y[:1].tolist()


def test_choices_that_are_500_copies_of_a_design_are_one_design() -> None:
    copies = CHOICES[:1].repeat(500, 1)
    history = start(choices=copies, budget=1000.0, initial_design=InitialDesign(1))
    assert history.stop_reason == "exhausted"
    assert history.X.tolist() == CHOICES[:1].tolist()
    request = choose(choices=DESIGNS[:1].repeat(500, 1), q=5)
    assert request.X.tolist() == DESIGNS[[0, 0]].tolist()  # once for each outcome


def test_one_value_per_outcome_is_enough_to_go_on() -> None:
    history = start(
        problem=Faulty(), budget=14.0, initial_design=InitialDesign(1), policy=PABO
    )
    assert history.stop_reason == "budget"
    assert len(history.X) > 1
    assert not history.Y.isnan().all(dim=0).any()


PABO = PABOPolicy(options=SearchOptions(raw_samples=16, num_restarts=1, maxiter=3))


def test_without_a_complete_design_models_of_single_outcomes_do() -> None:
    """No design has both outcomes: FlexiBO chooses, PABO says what it needs."""
    first = SingleTaskGP(X[:4], Y[:4, :1])
    model = ModelListGP(first, SingleTaskGP(X[4:], Y[4:, 1:])).eval()
    request = choose(acq_function=FlexiBO(model, REF, DESIGNS))
    assert request.acq_value is not None
    assert request.acq_value.item() > 0
    half = Y.clone()
    half[:4, 1], half[4:, 0] = NAN, NAN
    state = DecoupledState(
        X=X, Y=half, space=SearchSpace(BOUNDS), ref_point=REF, cost_model=COSTS
    )
    refused(
        lambda: PABOPolicy()(ModelList(), state),
        InputDataError,
        "Expected an archive of at least one design measured on all outcomes at the"
        f" target fidelity, but none of {len(X)} is, those that failed not counted."
        " Start with InitialDesign(num_complete=1) or more.",
    )


def test_with_everything_measured_everywhere_nothing_is_to_gain() -> None:
    acqf = FlexiBO(MODEL, REF, DESIGNS, Y_designs=-DESIGNS)
    assert acqf(DESIGNS.unsqueeze(-2)).tolist() == [0.0] * len(DESIGNS)
    problem = table_problem(X, Y)
    history = start(problem=problem, budget=1000.0, initial_design=InitialDesign(8))
    assert history.stop_reason == "exhausted"
    assert history.total_cost == 8 * 11.0


def test_a_constant_outcome_is_a_point_and_the_other_one_is_measured() -> None:
    flat = GenericDeterministicModel(lambda x: 0.0 * x[..., :1] + 3.0)
    model = ModelList(flat, GPS[1])
    acqf = FlexiBO(model, REF, DESIGNS)
    values = []
    for outcome in torch.eye(2, dtype=torch.bool):
        acqf.X_evaluation_mask = outcome.unsqueeze(0)
        values.append(acqf(DESIGNS.unsqueeze(-2)))
    assert values[0].tolist() == [0.0] * len(DESIGNS)
    assert values[1].max() > 0


def test_one_objective_is_a_front_of_one_point() -> None:
    """In one dimension the region is an interval: largest upper less largest lower."""
    model = ModelListGP(GPS[0])
    acqf = FlexiBO(model, REF[:1], DESIGNS)
    mean, lower, upper = acqf.design_region
    assert acqf.volume.item() == pytest.approx((upper.max() - lower.max()).item())
    gains = acqf(DESIGNS.unsqueeze(-2))
    for k in range(len(DESIGNS)):
        low, high = lower.clone(), upper.clone()
        low[k] = high[k] = mean[k]
        left = (high.max() - low.max()).item()
        assert gains[k].item() == pytest.approx(acqf.volume.item() - left, abs=1e-12)


def import_without_matplotlib() -> str:
    sys.modules["matplotlib"] = None  # pyright: ignore[reportArgumentType]
    try:
        importlib.import_module("botorch_flexibo.plotting")
    except ImportError as error:
        return str(error)
    return ""


def test_figures_without_matplotlib_name_what_to_install() -> None:
    assert in_another_process(import_without_matplotlib) == (
        "Expected Matplotlib, which figures need, but it is not installed. Install it"
        " with `pip install 'botorch-flexibo[plots]'`."
    )
