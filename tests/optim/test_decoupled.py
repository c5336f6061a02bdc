r"""The search over designs and masks against loops and closed forms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    CandidateGenerationError,
    InputDataError,
)
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from botorch.utils.transforms import t_batch_mode_transform
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.acquisition import DecoupledCostUtility, FlexiBO
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.models.cost import SetupCostModel
from botorch_flexibo.optim import (
    EvaluationRequest,
    SearchOptions,
    SearchSpace,
    optimize_acqf_decoupled,
)

PROPERTY = settings(deadline=None, max_examples=150)
DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))

BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
SINGLES = torch.eye(2, dtype=torch.bool)
ALL_MASKS = torch.tensor([[True, False], [False, True], [True, True]])


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def gp_list(d: int = 2, n: int = 8, seed: int = 0) -> ModelListGP:
    X = rand(n, d, seed=seed)
    Y = torch.stack([(4 * X[:, 0]).sin(), (3 * X[:, 1]).cos() - X[:, 0]], dim=-1)
    return ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:]))


def flexibo(designs: Tensor, costs: list[float] | None = None, **kwargs) -> FlexiBO:
    utility = None
    if costs is not None:
        utility = DecoupledCostUtility(
            FixedCostModel(torch.tensor(costs, dtype=torch.float64))
        )
    return FlexiBO(
        gp_list(designs.shape[-1]),
        ref_point=torch.tensor([-2.0, -2.0]),
        X_designs=designs,
        cost_aware_utility=utility,
        **kwargs,
    )


class TableAcquisition(DecoupledAcquisitionFunction):
    """Values that are looked up: designs are numbers, masks are numbered."""

    def __init__(
        self, table: Tensor, masks: Tensor, costs: Tensor | None = None
    ) -> None:
        m = masks.shape[-1]
        super().__init__(
            ModelList(*[GenericDeterministicModel(lambda X: X[..., :1])] * m)
        )
        self.table, self.masks, self.calls = table, masks, 0
        self.cost_aware_utility = None
        if costs is not None:
            model = GenericDeterministicModel(lambda X: costs[X[..., 0].long()], m)
            self.cost_aware_utility = DecoupledCostUtility(model)

    def forward(self, X: Tensor) -> Tensor:
        self.calls += 1
        column = (self.masks == self.X_evaluation_mask).all(dim=-1).nonzero()[0, 0]
        return self.table[X[..., 0, 0].long(), column]


class MaskedVariance(DecoupledAcquisitionFunction):
    """Posterior variance of the masked outcomes, given the pending measurements."""

    @t_batch_mode_transform(expected_q=1)
    def forward(self, X: Tensor) -> Tensor:
        variances = []
        for i, model in enumerate(self.model.models):
            if self.X_pending is not None:
                mask = self.X_pending_evaluation_mask
                pending = self.X_pending if mask is None else self.X_pending[mask[:, i]]
                if len(pending) > 0:
                    mean = model.posterior(pending).mean
                    model = model.condition_on_observations(pending, mean)  # noqa: PLW2901
            variances.append(model.posterior(X).variance[..., 0, 0])
        variance = torch.stack(variances, dim=-1)
        if self.X_evaluation_mask is not None:
            variance = variance * self.X_evaluation_mask[0]
        return variance.sum(dim=-1)


def masked_variance(designs: Tensor) -> MaskedVariance:
    return MaskedVariance(gp_list(designs.shape[-1]))


ACQUISITIONS = [
    pytest.param(flexibo, id="FlexiBO"),
    pytest.param(masked_variance, id="MaskedVariance"),
]


def manual_greedy(
    acqf: DecoupledAcquisitionFunction, choices: Tensor, masks: Tensor, q: int
) -> list[tuple[int, int, float]]:
    """Score pair by pair, take the first best, make it pending, repeat."""
    picks: list[tuple[int, int, float]] = []
    taken: set[tuple[int, int]] = set()
    for _ in range(q):
        best = None
        for u, k in itertools.product(range(len(choices)), range(len(masks))):
            outcomes = masks[k].nonzero().flatten().tolist()
            if any((u, i) in taken for i in outcomes):
                continue
            acqf.X_evaluation_mask = masks[k : k + 1]
            with torch.no_grad():
                value = acqf(choices[u].reshape(1, 1, -1)).item()
            if best is None or value > best[2] + 1e-12:
                best = (u, k, value)
        picks.append(best)
        taken |= {(best[0], i) for i in masks[best[1]].nonzero().flatten().tolist()}
        acqf.set_X_pending(
            torch.stack([choices[u] for u, _, _ in picks]),
            torch.stack([masks[k] for _, k, _ in picks]),
        )
    acqf.X_evaluation_mask = None
    acqf.set_X_pending(None)
    return picks


def assert_picks(
    request: EvaluationRequest,
    picks: list[tuple[int, int, float]],
    choices: Tensor,
    masks: Tensor,
) -> None:
    assert torch.equal(request.X, choices[[u for u, _, _ in picks]])
    assert torch.equal(request.evaluation_mask, masks[[k for _, k, _ in picks]])
    assert request.acq_value.tolist() == pytest.approx(
        [value for _, _, value in picks], rel=1e-8, abs=1e-12
    )


# The choice ------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [None, ALL_MASKS], ids=["singles", "all-masks"])
@pytest.mark.parametrize("make", ACQUISITIONS)
def test_the_best_pair_is_the_argmax_over_all_pairs(make, masks):
    choices = rand(30, 2, seed=1)
    acqf = make(choices)
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=choices, evaluation_masks=masks
    )
    masks = SINGLES if masks is None else masks
    assert request.X.shape == request.evaluation_mask.shape == (1, 2)
    assert request.cost is None
    assert_picks(request, manual_greedy(acqf, choices, masks, q=1), choices, masks)


@pytest.mark.parametrize("masks", [SINGLES, ALL_MASKS], ids=["singles", "all-masks"])
@pytest.mark.parametrize("make", ACQUISITIONS)
def test_a_batch_is_what_greedy_picks_with_pending_pairs_give(make, masks):
    choices = rand(8, 2, seed=2)
    acqf = make(choices)
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=choices, q=4, evaluation_masks=masks
    )
    assert_picks(request, manual_greedy(acqf, choices, masks, q=4), choices, masks)


@pytest.mark.parametrize("make", ACQUISITIONS)
def test_earlier_picks_of_a_batch_change_the_value_of_later_ones(make):
    choices = rand(12, 2, seed=2)
    acqf = make(choices)
    request = optimize_acqf_decoupled(acqf, BOUNDS, choices=choices, q=4)
    alone = []
    for X, mask in zip(request.X, request.evaluation_mask, strict=True):
        acqf.X_evaluation_mask = mask.unsqueeze(0)
        alone.append(acqf(X.unsqueeze(0)).item())
    assert request.acq_value[0].item() == pytest.approx(alone[0])
    assert request.acq_value[-1].item() != pytest.approx(alone[-1], rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_dtype_and_device_of_the_choices(dtype, device):
    choices = torch.arange(4, dtype=dtype, device=device).unsqueeze(-1)
    table = torch.tensor([[1, 2], [3, 9], [4, 5], [0, 0]], dtype=dtype, device=device)
    acqf = TableAcquisition(table, SINGLES.to(device), costs=table + 1)
    bounds = torch.tensor([[0.0], [3.0]], dtype=dtype, device=device)
    request = optimize_acqf_decoupled(acqf, bounds, choices=choices, q=3)
    assert request.X.flatten().tolist() == [1, 2, 2]
    assert request.acq_value.tolist() == [9, 5, 4]
    assert request.cost.tolist() == [10, 6, 5]
    for tensor in (request.X, request.acq_value, request.cost):
        assert tensor.dtype == dtype
        assert tensor.device.type == device
    assert request.evaluation_mask.tolist() == [[0, 1], [0, 1], [1, 0]]
    assert request.evaluation_mask.dtype == torch.bool


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        # Equal values everywhere: the cheapest pair first.
        pytest.param([[3, 2], [3, 1], [1, 3]], [(1, 1), (2, 0)], id="cheaper"),
        # Equal costs too: the first design, then the first mask.
        pytest.param([[1, 1], [1, 1], [1, 1]], [(0, 0), (0, 1)], id="first"),
        pytest.param([[2, 2], [2, 1], [1, 1]], [(1, 1), (2, 0)], id="design"),
        # No costs known.
        pytest.param(None, [(0, 0), (0, 1)], id="no-costs"),
    ],
)
def test_ties_go_to_the_cheaper_then_the_first_design_then_the_first_mask(
    costs, expected
):
    choices = torch.arange(3.0).unsqueeze(-1)
    costs = None if costs is None else torch.tensor(costs, dtype=torch.float64)
    acqf = TableAcquisition(torch.zeros(3, 2), SINGLES, costs)
    bounds = torch.tensor([[0.0], [2.0]])
    request = optimize_acqf_decoupled(acqf, bounds, choices=choices, q=2)
    designs = request.X.flatten().long().tolist()
    masks = request.evaluation_mask.long().argmax(dim=-1).tolist()
    assert list(zip(designs, masks, strict=True)) == expected


@st.composite
def problems(draw) -> dict:
    """Small tables with many ties, pairs to avoid, pending pairs and a cost limit."""
    n = draw(st.integers(1, 5))
    masks = draw(st.sampled_from([SINGLES, ALL_MASKS, ALL_MASKS.flip(0)]))

    def grid(columns: int, values: st.SearchStrategy) -> list:
        return [[draw(values) for _ in range(columns)] for _ in range(n)]

    values = st.sampled_from([-math.inf, 0.0, 1.0, 2.0])
    taken = st.sampled_from([False, False, True])
    return {
        "table": torch.tensor(grid(len(masks), values), dtype=torch.float64),
        "masks": masks,
        "costs": torch.tensor(grid(2, st.integers(1, 3)), dtype=torch.float64),
        "avoid": torch.tensor(grid(2, taken)),
        "pending": torch.tensor(grid(2, taken)),
        "max_cost": draw(st.sampled_from([0.5, 1.0, 2.0, 3.5, math.inf])),
        "q": draw(st.integers(1, 6)),
    }


@PROPERTY
@given(problem=problems())
def test_choices_follow_the_stated_order_and_limits(problem):
    table, masks, costs = problem["table"], problem["masks"], problem["costs"]
    n = len(table)
    choices = torch.arange(n, dtype=torch.float64).unsqueeze(-1)

    taken = {
        tuple(p) for p in (problem["avoid"] | problem["pending"]).nonzero().tolist()
    }
    expected = []
    spent = 0.0
    while len(expected) < problem["q"]:
        pairs = []
        for u, k in itertools.product(range(n), range(len(masks))):
            outcomes = masks[k].nonzero().flatten().tolist()
            cost = sum(costs[u, i].item() for i in outcomes)
            free = not any((u, i) in taken for i in outcomes)
            if free and spent + cost <= problem["max_cost"]:
                pairs.append((-table[u, k].item(), cost, u, k))
        if not pairs:
            break
        _, cost, u, k = min(pairs)
        expected.append((u, masks[k].tolist(), table[u, k].item(), cost))
        spent += cost
        taken |= {(u, i) for i in masks[k].nonzero().flatten().tolist()}

    acqf = TableAcquisition(table, masks, costs)
    acqf.set_X_pending(choices, problem["pending"])

    def choose() -> EvaluationRequest:
        return optimize_acqf_decoupled(
            acqf,
            torch.tensor([[0.0], [n - 1.0]], dtype=torch.float64),
            choices=choices,
            q=problem["q"],
            evaluation_masks=masks,
            X_avoid=choices,
            X_avoid_evaluation_mask=problem["avoid"],
            max_cost=problem["max_cost"],
        )

    if not expected:
        with pytest.raises(CandidateGenerationError, match=r"at least one pair"):
            choose()
        return
    request = choose()
    fields = [request.X[:, 0].long(), *request[1:]]
    actual = [
        tuple(field[i].tolist() for field in fields) for i in range(len(request.X))
    ]
    assert actual == expected


CHOICES = rand(9, 2, seed=5)
SHARED_FLEXIBO = flexibo(CHOICES, costs=[5.0, 1.0])


@PROPERTY
@given(
    avoid=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), max_size=14),
    pending=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), max_size=6),
    masks=st.sampled_from([SINGLES, ALL_MASKS]),
    q=st.integers(1, 4),
)
def test_measured_and_pending_pairs_are_never_proposed(avoid, pending, masks, q):
    def as_arguments(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        # One row per pair: a design may come several times. Strangers do no harm.
        X = torch.stack(
            [*(CHOICES[u] for u, _ in pairs), torch.full((2,), 0.123).to(CHOICES)]
        )
        return X, SINGLES[[*(i for _, i in pairs), 0]]

    SHARED_FLEXIBO.set_X_pending(*as_arguments(pending))
    X_avoid, X_avoid_mask = as_arguments(avoid)
    request = optimize_acqf_decoupled(
        SHARED_FLEXIBO,
        BOUNDS,
        choices=CHOICES,
        q=q,
        evaluation_masks=masks,
        X_avoid=X_avoid,
        X_avoid_evaluation_mask=X_avoid_mask,
    )
    proposed = [
        (int((CHOICES == x).all(dim=-1).nonzero()), i)
        for x, mask in zip(request.X, request.evaluation_mask, strict=True)
        for i in mask.nonzero().flatten().tolist()
    ]
    assert not set(proposed) & {*avoid, *pending}
    assert len(proposed) == len(set(proposed))  # no pair twice
    assert len(request.X) <= q


def test_a_design_to_avoid_without_a_mask_is_avoided_altogether():
    request = optimize_acqf_decoupled(
        flexibo(CHOICES), BOUNDS, choices=CHOICES, q=99, X_avoid=CHOICES[:6]
    )
    assert len(request.X) == 6
    assert {tuple(x) for x in request.X.tolist()} == {
        tuple(x) for x in CHOICES[6:].tolist()
    }


def test_copies_of_a_choice_are_proposed_and_avoided_like_one():
    choices = CHOICES[[0, 1, 0, 2, 1]]
    acqf = flexibo(CHOICES)
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=choices, q=99, X_avoid=CHOICES[:1]
    )
    pairs = [
        (*x, *mask)
        for x, mask in zip(
            request.X.tolist(), request.evaluation_mask.tolist(), strict=True
        )
    ]
    assert len(pairs) == len(set(pairs))
    assert not (request.X == CHOICES[0]).all(dim=-1).any()
    assert len(pairs) == 4


def test_fewer_than_q_are_returned_when_fewer_pairs_are_left():
    request = optimize_acqf_decoupled(flexibo(CHOICES), BOUNDS, choices=CHOICES, q=50)
    assert len(request.X) == len(request.acq_value) == 18
    rows = torch.cat([request.X, request.evaluation_mask], dim=-1)
    assert len(torch.unique(rows, dim=0)) == 18


def test_no_pair_left_is_an_error():
    with pytest.raises(
        CandidateGenerationError,
        match=r"^Expected at least one pair to choose from, but all pairs of designs"
        r" and masks are measured, pending or above max_cost\. Stop, or allow"
        r" more designs, masks or cost\.$",
    ):
        optimize_acqf_decoupled(
            flexibo(CHOICES), BOUNDS, choices=CHOICES, X_avoid=CHOICES
        )
    acqf = flexibo(CHOICES)
    acqf.set_X_pending(CHOICES)
    with pytest.raises(CandidateGenerationError, match=r"all pairs"):
        optimize_acqf_decoupled(acqf, BOUNDS, choices=CHOICES)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 4096])
def test_choices_do_not_depend_on_the_batch_size(batch_size):
    table = rand(9, 2, seed=1)
    acqf = TableAcquisition(table, SINGLES)
    request = optimize_acqf_decoupled(
        acqf,
        torch.tensor([[0.0], [8.0]]),
        choices=torch.arange(9.0).unsqueeze(-1),
        options=SearchOptions(max_batch_size=batch_size),
    )
    assert request.acq_value.item() == table.max().item()
    assert acqf.calls == 2 * math.ceil(9 / batch_size)


# Costs -----------------------------------------------------------------------------


def test_predicted_costs_are_reported_for_each_pick():
    acqf = flexibo(CHOICES, costs=[10.0, 1.0])
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=CHOICES, q=8, evaluation_masks=ALL_MASKS
    )
    costs = torch.tensor([10.0, 1.0], dtype=torch.float64)
    assert torch.equal(request.cost, (request.evaluation_mask * costs).sum(dim=-1))
    assert len(request.cost.unique()) > 1


@pytest.mark.parametrize(
    ("limit", "num_dear", "num_cheap"), [(1.0, 0, 1), (9.0, 0, 9), (99.0, 9, 9)]
)
def test_a_batch_costs_at_most_the_limit_and_uses_it(limit, num_dear, num_cheap):
    acqf = flexibo(CHOICES, costs=[10.0, 1.0])
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=CHOICES, q=99, max_cost=limit
    )
    assert request.evaluation_mask.sum(dim=0).tolist() == [num_dear, num_cheap]
    assert request.cost.sum() == limit


@pytest.mark.parametrize("limit", [10.0, 25.5, 60.0])
def test_a_batch_ends_when_no_pair_fits_into_the_limit(limit):
    acqf = flexibo(CHOICES, costs=[10.0, 1.0])
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=CHOICES, q=99, max_cost=limit
    )
    left = limit - request.cost.sum().item()
    assert left >= 0
    all_cheap_taken = request.evaluation_mask[:, 1].sum() == len(CHOICES)
    assert left < 1.0 or (all_cheap_taken and left < 10.0)


def test_a_limit_below_every_cost_is_an_error():
    with pytest.raises(CandidateGenerationError, match=r"or above max_cost\."):
        optimize_acqf_decoupled(
            flexibo(CHOICES, costs=[10.0, 1.0]), BOUNDS, choices=CHOICES, max_cost=0.9
        )


@pytest.mark.parametrize("make", ACQUISITIONS)
@pytest.mark.parametrize("limit", ["max_cost", "batch_cost"])
def test_a_limit_without_a_cost_model_is_an_error(limit, make):
    with pytest.raises(
        InputDataError, match=r"DecoupledCostUtility, because max_cost and batch_cost"
    ):
        optimize_acqf_decoupled(make(CHOICES), BOUNDS, choices=CHOICES, **{limit: 1.0})


@pytest.mark.parametrize(
    ("batch_cost", "expected"),
    [(0.5, [1]), (1, [1]), (1.5, [1, 1]), (2, [1, 1]), (2.5, [1, 1, 10]), (99, None)],
)
def test_a_batch_ends_once_its_cost_reaches_the_limit(batch_cost, expected):
    # Two cheap pairs come first, then the dear ones.
    table = torch.tensor([[5.0, 9.0], [4.0, 8.0]])
    costs = torch.tensor([[10.0, 1.0], [10.0, 1.0]])
    request = optimize_acqf_decoupled(
        TableAcquisition(table, SINGLES, costs),
        torch.tensor([[0.0], [1.0]]),
        choices=torch.arange(2.0).unsqueeze(-1),
        q=9,
        batch_cost=batch_cost,
    )
    assert request.cost.tolist() == (expected or [1, 1, 10, 10])


# The acquisition function is left as it was found ----------------------------------


class FailingFlexiBO(FlexiBO):
    """Fails at the given call of `forward`, if any."""

    fail_at = 0

    def forward(self, X: Tensor) -> Tensor:
        self.fail_at -= 1
        if self.fail_at == 0:
            raise RuntimeError("the model went away")
        return super().forward(X)


MASK = torch.tensor([[False, True]])
PENDING_MASK = torch.tensor([[True, False], [True, True]])
STATES = [
    pytest.param(None, None, None, id="fresh"),
    pytest.param(MASK, None, None, id="mask"),
    pytest.param(None, CHOICES[:2], None, id="pending"),
    pytest.param(None, CHOICES[:2], PENDING_MASK, id="pending-mask"),
    pytest.param(MASK, CHOICES[:2], PENDING_MASK, id="mask-and-pending-mask"),
    pytest.param(None, 0.5 * CHOICES[:2], PENDING_MASK, id="pending-outside"),
]


def snapshots(acqf: DecoupledAcquisitionFunction) -> Iterator[Tensor | None]:
    yield acqf.X_evaluation_mask
    yield acqf.X_pending
    yield acqf.X_pending_evaluation_mask
    with torch.no_grad():
        yield acqf(CHOICES.unsqueeze(-2))


def assert_as_found(
    acqf: DecoupledAcquisitionFunction, before: list[Tensor | None]
) -> None:
    for now, then in zip(snapshots(acqf), before, strict=True):
        assert (now is None) == (then is None)
        assert now is None or torch.equal(now, then)


def in_state(
    acqf: DecoupledAcquisitionFunction,
    mask: Tensor | None,
    pending: Tensor | None,
    pending_mask: Tensor | None,
) -> list[Tensor | None]:
    acqf.set_X_pending(pending, pending_mask)
    acqf.X_evaluation_mask = mask
    return list(snapshots(acqf))


@pytest.mark.parametrize(("mask", "pending", "pending_mask"), STATES)
@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("make", ACQUISITIONS)
def test_the_acquisition_function_is_left_as_found(
    make, q, mask, pending, pending_mask
):
    acqf = make(CHOICES)
    before = in_state(acqf, mask, pending, pending_mask)
    optimize_acqf_decoupled(acqf, BOUNDS, choices=CHOICES, q=q)
    assert_as_found(acqf, before)


@pytest.mark.parametrize(("mask", "pending", "pending_mask"), STATES)
@pytest.mark.parametrize("call", [1, 2, 3, 6], ids=lambda call: f"call{call}")
def test_the_acquisition_function_is_left_as_found_after_an_error(
    call, mask, pending, pending_mask
):
    acqf = FailingFlexiBO(gp_list(), torch.tensor([-2.0, -2.0]), CHOICES)
    before = in_state(acqf, mask, pending, pending_mask)
    acqf.fail_at = call
    with pytest.raises(RuntimeError, match=r"the model went away"):
        optimize_acqf_decoupled(acqf, BOUNDS, choices=CHOICES, q=3)
    assert_as_found(acqf, before)


# Continuous spaces -----------------------------------------------------------------


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


QUICK = SearchOptions(raw_samples=64, num_restarts=2)
CENTRES = tensor([0.7, 0.6], [0.2, 0.3])


class Hills(DecoupledAcquisitionFunction):
    """A round hill per outcome, with holes at its pending measurements."""

    fail_at = 0

    def __init__(
        self,
        heights: tuple[float, float] = (1.0, 1.0),
        *,
        costs: Any = None,
        centres: Tensor = CENTRES,
        **kwargs: Any,
    ) -> None:
        super().__init__(gp_list())
        self.heights, self.centres = tensor(*heights), centres
        self.cost_aware_utility = None
        if costs is not None:
            if isinstance(costs, tuple):
                costs = FixedCostModel(tensor(*costs))
            self.cost_aware_utility = DecoupledCostUtility(costs, **kwargs)

    def forward(self, X: Tensor) -> Tensor:
        self.fail_at -= 1
        if self.fail_at == 0:
            raise RuntimeError("the model went away")
        gains = self.gains(X.squeeze(-2))
        mask = self.X_evaluation_mask
        gains = gains.sum(dim=-1) if mask is None else (gains * mask[0]).sum(dim=-1)
        if self.cost_aware_utility is None:
            return gains
        return self.cost_aware_utility(X=X, deltas=gains, X_evaluation_mask=mask)

    def gains(self, X: Tensor) -> Tensor:
        """Value of each outcome alone: ``n x 2``."""
        distance = (X.unsqueeze(-2) - self.centres).square().sum(dim=-1)
        gains = self.heights * (-distance / (2 * 0.4**2)).exp()
        if self.X_pending is not None:
            near = (X.unsqueeze(-2) - self.X_pending).square().sum(dim=-1)
            hole = (1 - (-near / (2 * 0.1**2)).exp()).unsqueeze(-1)
            mask = self.X_pending_evaluation_mask
            if mask is not None:
                hole = torch.where(mask, hole, 1.0)
            gains = gains * hole.prod(dim=-2)
        return gains


def pairs_of(request: EvaluationRequest) -> list[tuple[tuple[float, ...], int]]:
    rows = request.evaluation_mask.nonzero().tolist()
    return [(tuple(request.X[k].tolist()), i) for k, i in rows]


def best_on_a_grid(acqf: Hills, n: int = 142) -> float:
    axis = torch.linspace(0, 1, n, dtype=torch.float64)
    X = torch.cartesian_prod(axis, axis)
    values = []
    for mask in SINGLES:
        acqf.X_evaluation_mask = mask[None]
        values.append(acqf(X.unsqueeze(-2)).max().item())
    acqf.X_evaluation_mask = None
    return max(values)


def test_each_pick_of_a_batch_is_as_good_as_a_dense_grid_given_those_before():
    acqf = Hills((1.6, 1.0), costs=(3.0, 2.0))
    request = optimize_acqf_decoupled(acqf, BOUNDS, q=4)
    assert len(set(pairs_of(request))) == 4
    assert request.evaluation_mask.any(dim=0).all()  # both outcomes
    for k in range(4):
        given = None if k == 0 else (request.X[:k], request.evaluation_mask[:k])
        acqf.set_X_pending(*(given or (None,)))
        assert request.acq_value[k].item() >= 0.99 * best_on_a_grid(acqf)
        acqf.X_evaluation_mask = request.evaluation_mask[k : k + 1]
        assert request.acq_value[k].item() == pytest.approx(
            acqf(request.X[k : k + 1].unsqueeze(0)).item()
        )
        acqf.X_evaluation_mask = None


def test_a_lookahead_batch_on_a_continuous_space_has_falling_values():
    acqf = qFlexiBOLookahead(
        gp_list(), tensor(-2.0, -2.0), rand(20, 2, seed=4), quadrature_nodes=1
    )
    request = optimize_acqf_decoupled(acqf, BOUNDS, q=4, options=QUICK)
    assert len(set(pairs_of(request))) == 4
    assert (request.acq_value > 0).all()
    # Up to how well each one was optimised.
    assert (request.acq_value.diff() <= 0.02 * request.acq_value[0]).all()
    assert (request.X >= 0).all()
    assert (request.X <= 1).all()


def test_pending_points_of_the_acquisition_function_are_kept_away_from():
    acqf = Hills((2.0, 1.0))
    free = optimize_acqf_decoupled(acqf, BOUNDS, options=QUICK)
    assert torch.allclose(free.X, CENTRES[:1], atol=0.01)
    acqf.set_X_pending(CENTRES[:1], SINGLES[:1])
    request = optimize_acqf_decoupled(acqf, BOUNDS, q=3, options=QUICK)
    first = request.X[request.evaluation_mask[:, 0]]
    assert len(first) > 0
    assert ((first - CENTRES[0]).norm(dim=-1) > 0.1).all()
    # Each of the outcomes on their own: the other one is free there.
    acqf.set_X_pending(CENTRES[:1], SINGLES[1:])
    request = optimize_acqf_decoupled(acqf, BOUNDS, options=QUICK)
    assert torch.allclose(request.X, CENTRES[:1], atol=0.01)


def test_a_space_with_structure_holds_for_every_pick():
    bounds = torch.tensor([[0.0, 0.0], [1.0, 4.0]], dtype=torch.float64)
    space = SearchSpace(bounds, discrete_dims={1: [0, 1, 2, 3, 4]})
    request = optimize_acqf_decoupled(Hills(), space, q=4, options=QUICK)
    assert set(request.X[:, 1].tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    constraint = (torch.tensor([0, 1]), tensor(-1.0, -1.0), -0.8)
    for fixed in ({}, {1: 0.25}):
        space = SearchSpace(
            BOUNDS, fixed_features=fixed, inequality_constraints=[constraint]
        )
        request = optimize_acqf_decoupled(Hills(), space, q=4, options=QUICK)
        assert (request.X.sum(dim=-1) <= 0.8 + 1e-6).all()
        assert len(set(pairs_of(request))) == 4
        if fixed:
            assert (request.X[:, 1] == 0.25).all()


# Outcome 0 runs for 5, outcome 1 for 1; a set-up costs 10.
OLD = tensor([0.3123, 0.4321])


def setup_costs(X_paid: Tensor | None = None) -> SetupCostModel:
    run = FixedCostModel(tensor(5.0, 1.0))
    return SetupCostModel(run, FixedCostModel(tensor(10.0)), X_paid=X_paid)


def test_a_design_that_is_set_up_is_measured_again_where_that_is_worth_more():
    def ask(acqf: Hills, *measured: bool) -> EvaluationRequest:
        return optimize_acqf_decoupled(
            acqf,
            BOUNDS,
            X_revisit=OLD,
            X_avoid=OLD,
            X_avoid_evaluation_mask=torch.tensor([measured]),
            options=QUICK,
        )

    costs = setup_costs(OLD)
    # Elsewhere the cheap outcome costs 11, there 1: worth more above 1/11 of the top.
    request = ask(Hills((0.01, 1.0), costs=costs), True, False)
    assert torch.equal(request.X, OLD)
    assert request.evaluation_mask.tolist() == [[False, True]]
    assert request.cost.tolist() == [1.0]
    far = torch.stack([CENTRES[0], OLD[0] + 0.68])
    acqf = Hills((0.01, 1.0), costs=costs, centres=far)
    assert acqf.gains(OLD)[0, 1] < 1 / 11
    request = ask(acqf, True, False)
    assert not torch.equal(request.X, OLD)
    assert request.cost.tolist() == [11.0]
    # Never what is measured already, however much it is worth.
    request = ask(Hills((100.0, 1.0), costs=costs), True, False)
    assert (OLD, 0) not in [(x, i) for x, i in pairs_of(request)]
    assert not (torch.equal(request.X, OLD) and request.evaluation_mask[0, 0])
    request = ask(Hills((0.01, 1.0), costs=costs), True, True)
    assert not torch.equal(request.X, OLD)


@pytest.mark.parametrize(("apart", "again"), [(1e-12, False), (1e-4, True)])
def test_what_was_measured_up_to_rounding_is_not_measured_again(apart, again):
    # Outcome 0 gains most by far, and most of all in a corner.
    corner = tensor([1.0, 1.0])
    acqf = Hills((1.0, 1e-3), centres=corner.expand(2, 2))
    request = optimize_acqf_decoupled(
        acqf,
        BOUNDS,
        X_avoid=corner - apart,
        X_avoid_evaluation_mask=torch.tensor([[True, False]]),
        options=QUICK,
    )
    assert request.evaluation_mask.tolist() == [[True, False]]
    assert bool((request.X - corner).abs().max() < 1e-7) == again


def test_a_column_without_width_does_not_hide_what_was_measured():
    bounds = torch.tensor([[0.0, 0.5], [1.0, 0.5]], dtype=torch.float64)
    best = tensor([1.0, 0.5])
    request = optimize_acqf_decoupled(
        Hills((1.0, 1e-3), centres=best.expand(2, 2)),
        bounds,
        X_avoid=best - tensor([1e-12, 0.0]),
        X_avoid_evaluation_mask=torch.tensor([[True, False]]),
        options=QUICK,
    )
    assert (request.X - best).abs().max() > 1e-6 or request.evaluation_mask[0, 1]


def test_a_pick_sets_its_design_up_for_the_rest_of_a_batch():
    # Both outcomes gain most at the first choice.
    choices = torch.cat([CENTRES[:1], tensor([0.0, 0.0], [0.1, 0.9])])
    same = CENTRES[:1].expand(2, 2)
    acqf = Hills((9.0, 0.5), costs=setup_costs(), centres=same)
    request = optimize_acqf_decoupled(acqf, BOUNDS, choices=choices, q=2)
    assert torch.equal(request.X, choices[[0, 0]])
    assert request.evaluation_mask.tolist() == [[True, False], [False, True]]
    assert request.cost.tolist() == [15.0, 1.0]
    assert request.acq_value.tolist() == pytest.approx([9.0 / 15.0, 0.5])


def test_a_pick_sets_its_design_up_for_the_rest_of_a_batch_on_a_continuous_space():
    same = CENTRES[:1].expand(2, 2)
    acqf = Hills((9.0, 1.0), costs=setup_costs(), centres=same)
    request = optimize_acqf_decoupled(acqf, BOUNDS, q=2, options=QUICK)
    assert torch.equal(request.X[0], request.X[1])
    assert request.cost.tolist() == [15.0, 1.0]


def test_pending_points_are_set_up_for_every_pick():
    choices = torch.cat([CENTRES, tensor([0.9, 0.1])])
    acqf = Hills((0.5, 1.0), costs=setup_costs())
    acqf.set_X_pending(CENTRES[1:], SINGLES[:1])
    request = optimize_acqf_decoupled(acqf, BOUNDS, choices=choices)
    assert pairs_of(request) == [(tuple(CENTRES[1].tolist()), 1)]
    assert request.cost.tolist() == [1.0]


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_a_decision_is_paid_once_per_batch(finite):
    acqf = Hills(costs=(3.0, 2.0), decision_cost=10.0)
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=rand(25, 2, seed=6) if finite else None, q=4
    )
    costs = tensor(3.0, 2.0)[request.evaluation_mask.long().argmax(dim=-1)]
    assert torch.equal(request.cost, costs)
    for k in range(4):
        given = None if k == 0 else (request.X[:k], request.evaluation_mask[:k])
        acqf.set_X_pending(*(given or (None,)))
        gain = acqf.gains(request.X[k : k + 1])[0, request.evaluation_mask[k]].item()
        # The first bears its part: four fill the batch.
        price = costs[k].item() + (10.0 / 4 if k == 0 else 0.0)
        assert request.acq_value[k].item() == pytest.approx(gain / price)
    assert acqf.cost_aware_utility.decision_cost == 10.0


@given(
    dear=st.floats(1.0, 40.0),
    price=st.floats(0.0, 30.0),
    q=st.integers(1, 12),
    per_batch=st.integers(1, 12),
)
def test_a_batch_is_of_the_kind_that_is_worth_most_per_cost(dear, price, q, per_batch):
    class Flat(Hills):
        def gains(self, X: Tensor) -> Tensor:
            return self.heights.expand(len(X), 2)

    cost = tensor(10.0, 10.0 / per_batch)
    acqf = Flat((dear, 1.0), costs=tuple(cost.tolist()), decision_cost=price)
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=rand(12, 2, seed=3), q=q, batch_cost=10.0
    )
    # Brute force over whole batches of one kind: one dear, or as many cheap as fit.
    size = tensor(1.0, float(min(q, per_batch)))
    worth = size * tensor(dear, 1.0) / (size * cost + price)
    assume(abs(worth[0] - worth[1]) > 1e-9 * worth.sum())
    kind = int(worth.argmax())
    assert request.evaluation_mask[0].tolist() == SINGLES[kind].tolist()
    assert request.acq_value[0].item() == pytest.approx(worth[kind].item())


def test_a_batch_that_max_cost_ends_is_paid_by_what_fits():
    acqf = Hills((1.0, 0.0), costs=(2.0, 9.0), decision_cost=10.0)
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=CENTRES[:1], q=8, max_cost=4.0
    )
    # Two of them cost 4: half of the price each.
    assert request.acq_value[0].item() == pytest.approx(1.0 / (2.0 + 10.0 / 2))


def test_the_price_of_a_decision_is_no_part_of_the_limits():
    acqf = Hills(costs=(3.0, 2.0), decision_cost=100.0)
    request = optimize_acqf_decoupled(acqf, BOUNDS, q=9, max_cost=10.0, options=QUICK)
    assert 8.0 <= request.cost.sum() <= 10.0


@pytest.mark.parametrize("limit", [1.0, 12.0, 25.0])
def test_a_batch_on_a_continuous_space_costs_at_most_the_limit(limit):
    acqf = Hills((30.0, 1.0), costs=(10.0, 1.0))
    request = optimize_acqf_decoupled(acqf, BOUNDS, q=6, max_cost=limit, options=QUICK)
    assert request.cost.sum() <= limit
    # What is left pays for no other pair, or the batch is full.
    assert limit - request.cost.sum() < 1.0 or len(request.X) == 6
    with pytest.raises(CandidateGenerationError, match=r"or above max_cost\."):
        optimize_acqf_decoupled(acqf, BOUNDS, max_cost=0.99, options=QUICK)


@pytest.mark.parametrize("limit", [0.5, 2.0, 2.5, 11.0])
def test_a_batch_on_a_continuous_space_ends_once_its_cost_reaches_the_limit(limit):
    acqf = Hills((30.0, 1.0), costs=(10.0, 1.0))
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, q=6, batch_cost=limit, options=QUICK
    )
    spent = request.cost.cumsum(dim=0)
    assert (spent[:-1] < limit).all()
    assert spent[-1] >= limit or len(request.X) == 6


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_without_any_gain_a_cheap_pair_is_returned(finite):
    acqf = Hills((0.0, 0.0), costs=(10.0, 1.0))
    request = optimize_acqf_decoupled(
        acqf, BOUNDS, choices=CHOICES if finite else None, q=3, options=QUICK
    )
    assert request.acq_value.tolist() == [0.0] * 3
    assert request.cost.tolist() == [1.0] * 3
    assert len(set(pairs_of(request))) == 3


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_gains_of_any_scale_give_the_same_batch(finite):
    requests = [
        optimize_acqf_decoupled(
            Hills((scale, scale), costs=(3.0, 2.0)),
            BOUNDS,
            choices=CHOICES if finite else None,
            q=2,
            options=QUICK,
        )
        for scale in (1.0, 1e-12)
    ]
    # Single bits differ, and so do the last steps of the search.
    assert torch.allclose(requests[0].X, requests[1].X, atol=1e-3)
    assert torch.equal(requests[0].evaluation_mask, requests[1].evaluation_mask)
    scaled = 1e12 * requests[1].acq_value
    assert torch.allclose(scaled, requests[0].acq_value, rtol=1e-4)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_the_seed_alone_decides_and_the_global_state_is_untouched(finite):
    acqf = Hills(costs=(3.0, 2.0))
    requests = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        request = optimize_acqf_decoupled(
            acqf, BOUNDS, choices=CHOICES if finite else None, q=3, options=QUICK
        )
        assert torch.equal(torch.get_rng_state(), state)
        requests.append(request)
    for one, other in zip(*requests, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("call", [1, 2, 4, 9, 30])
@pytest.mark.parametrize("pending", [False, True], ids=["fresh", "pending"])
def test_everything_is_put_back_after_an_error_on_a_continuous_space(pending, call):
    costs = setup_costs(OLD)
    acqf = Hills(costs=costs, decision_cost=7.0)
    mask = torch.tensor([[True, True]])
    before = in_state(acqf, mask, CENTRES[:1], SINGLES[:1]) if pending else None
    if before is None:
        before = in_state(acqf, mask, None, None)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    acqf.fail_at = call
    with pytest.raises(RuntimeError, match=r"the model went away"):
        optimize_acqf_decoupled(acqf, BOUNDS, X_revisit=OLD, q=5, options=QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    assert_as_found(acqf, before)
    assert acqf.cost_aware_utility.cost_model is costs
    assert acqf.cost_aware_utility.decision_cost == 7.0
    assert acqf.cost_aware_utility.with_decision(tensor(1.0)) == 8.0


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_costs_are_put_back_after_a_batch(finite):
    costs = setup_costs(OLD)
    acqf = Hills(costs=costs, decision_cost=7.0)
    before = in_state(acqf, None, CENTRES[:1], SINGLES[:1])
    optimize_acqf_decoupled(
        acqf, BOUNDS, choices=CHOICES if finite else None, q=3, options=QUICK
    )
    assert_as_found(acqf, before)
    assert acqf.cost_aware_utility.cost_model is costs
    assert acqf.cost_aware_utility.decision_cost == 7.0
    assert acqf.cost_aware_utility.with_decision(tensor(1.0)) == 8.0
    assert costs(CENTRES[:1]).tolist() == [[15.0, 11.0]]


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("nodes", [1, 2])
def test_rescoring_a_fifth_of_the_designs_loses_little(nodes, seed):
    # Gains of a lookahead may also grow when others are pending, so some is lost.
    choices = rand(200, 2, seed=seed)
    totals = []
    for max_rescored in (None, 40):
        acqf = qFlexiBOLookahead(
            gp_list(), tensor(-2.0, -2.0), choices[:25], quadrature_nodes=nodes
        )
        request = optimize_acqf_decoupled(
            acqf,
            BOUNDS,
            choices=choices,
            q=4,
            options=SearchOptions(max_rescored=max_rescored),
        )
        totals.append(request.acq_value.sum().item())
    assert totals[1] >= 0.97 * totals[0] > 0


def test_rescoring_a_few_designs_loses_nothing_where_gains_only_shrink():
    choices = rand(200, 2, seed=5)
    requests = [
        optimize_acqf_decoupled(
            Hills(costs=(3.0, 2.0)),
            BOUNDS,
            choices=choices,
            q=6,
            options=SearchOptions(max_rescored=max_rescored),
        )
        for max_rescored in (None, 100)
    ]
    for one, other in zip(*requests, strict=True):
        assert torch.equal(one, other)


def test_a_pair_that_a_pick_makes_cheap_is_rescored():
    # Alone, the cheap outcome of the first design is the worst pair of all.
    choices = torch.cat([CENTRES[:1], CENTRES[1:] + 0.05 * rand(8, 2, seed=0)])
    centres = torch.stack([CENTRES[0], CENTRES[1]])
    requests = [
        optimize_acqf_decoupled(
            Hills((10.0, 1.0), costs=setup_costs(), centres=centres),
            BOUNDS,
            choices=choices,
            q=2,
            options=SearchOptions(max_rescored=max_rescored),
        )
        for max_rescored in (None, 2)
    ]
    assert pairs_of(requests[0])[1] == (tuple(CENTRES[0].tolist()), 1)
    assert pairs_of(requests[1]) == pairs_of(requests[0])


# Size ------------------------------------------------------------------------------


def test_a_hundred_thousand_choices_run():
    choices = rand(100_000, 4, seed=7)
    X = rand(20, 4, seed=8)
    Y = torch.stack([(4 * X[:, 0]).sin(), X.sum(dim=-1).cos()], dim=-1)
    acqf = FlexiBO(
        ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:])),
        ref_point=torch.tensor([-2.0, -2.0]),
        X_designs=choices,
        beta=0.1,
    )
    bounds = torch.tensor([[0.0] * 4, [1.0] * 4], dtype=torch.float64)
    request = optimize_acqf_decoupled(acqf, bounds, choices=choices)
    assert request.X.shape == (1, 4)
    acqf.X_evaluation_mask = request.evaluation_mask
    sample = acqf(choices[::997].unsqueeze(-2))
    assert request.acq_value.item() >= sample.max().item() > 0
    assert acqf(request.X).item() == pytest.approx(request.acq_value.item())


# Errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "bounds"),
    [
        pytest.param(CHOICES[0], BOUNDS, id="choices-one-dim"),
        pytest.param(CHOICES.unsqueeze(0), BOUNDS, id="choices-batch"),
        pytest.param(CHOICES, BOUNDS[:, :1], id="bounds-columns"),
    ],
)
def test_choices_and_bounds_that_do_not_fit_are_refused(choices, bounds):
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected choices to be `n x \d`, with the columns of the bounds, but",
    ):
        optimize_acqf_decoupled(flexibo(CHOICES), bounds, choices=choices)


@pytest.mark.parametrize("choices", [CHOICES, None], ids=["finite", "continuous"])
@pytest.mark.parametrize("bounds", [BOUNDS[:1], BOUNDS[0]], ids=["rows", "one-dim"])
def test_bounds_that_are_no_bounds_are_refused(bounds, choices):
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected bounds of shape `2 x d`, but got `.*`\. Pass the lower",
    ):
        optimize_acqf_decoupled(flexibo(CHOICES), bounds, choices=choices)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_choices_out_of_bounds_are_refused(value):
    choices = CHOICES.clone()
    choices[3, 1] = value
    with pytest.raises(
        InputDataError, match=r"within the bounds, but got \[.*\] in row 3\. Pass the"
    ):
        optimize_acqf_decoupled(flexibo(CHOICES), BOUNDS, choices=choices)


def test_choices_on_the_bounds_are_taken():
    request = optimize_acqf_decoupled(flexibo(CHOICES), BOUNDS, choices=BOUNDS, q=9)
    assert len(request.X) == 4


@pytest.mark.parametrize("q", [0, -1])
def test_fewer_than_one_request_is_refused(q):
    with pytest.raises(InputDataError, match=rf"a whole number >= 1, but got {q}\."):
        optimize_acqf_decoupled(flexibo(CHOICES), BOUNDS, choices=CHOICES, q=q)


@pytest.mark.parametrize(
    "masks",
    [
        pytest.param(torch.tensor([True, False]), id="one-dim"),
        pytest.param(torch.ones(2, 3, dtype=torch.bool), id="columns"),
    ],
)
def test_masks_of_another_shape_are_refused(masks):
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"evaluation_masks to be `k x 2`, but got shape `.*`\. Pass one row",
    ):
        optimize_acqf_decoupled(
            flexibo(CHOICES), BOUNDS, choices=CHOICES, evaluation_masks=masks
        )


@pytest.mark.parametrize(
    "masks",
    [
        pytest.param(torch.empty(0, 2, dtype=torch.bool), id="no-masks"),
        pytest.param(torch.tensor([[True, False], [False, False]]), id="empty-mask"),
    ],
)
def test_masks_without_outcomes_are_refused(masks):
    with pytest.raises(
        InputDataError, match=r"at least one mask, each with at least one outcome"
    ):
        optimize_acqf_decoupled(
            flexibo(CHOICES), BOUNDS, choices=CHOICES, evaluation_masks=masks
        )


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (3,)], ids=str)
def test_masks_that_do_not_fit_the_designs_to_avoid_are_refused(shape):
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"mask of shape `3 x 2` for the designs to avoid, but got `",
    ):
        optimize_acqf_decoupled(
            flexibo(CHOICES),
            BOUNDS,
            choices=CHOICES,
            X_avoid=CHOICES[:3],
            X_avoid_evaluation_mask=torch.ones(shape, dtype=torch.bool),
        )


def test_values_that_are_nan_are_refused():
    table = torch.zeros(3, 2)
    table[1, 1] = math.nan
    with pytest.raises(InputDataError, match=r"without NaN, but got 1 NaN of 3\."):
        optimize_acqf_decoupled(
            TableAcquisition(table, SINGLES),
            torch.tensor([[0.0], [2.0]]),
            choices=torch.arange(3.0).unsqueeze(-1),
        )


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_limits_that_allow_nothing_are_refused(limit):
    acqf = flexibo(CHOICES, costs=[10.0, 1.0])
    with pytest.raises(
        InputDataError, match=rf"^Expected batch_cost > 0, but got {limit}\. Leave it"
    ):
        optimize_acqf_decoupled(acqf, BOUNDS, choices=CHOICES, batch_cost=limit)


def test_choices_belong_to_the_space_if_there_is_one():
    acqf = flexibo(CHOICES)
    space = SearchSpace(BOUNDS, CHOICES)
    with pytest.raises(
        InputDataError,
        match=r"^Expected choices in the SearchSpace, but got them as an argument too\."
        r" Pass SearchSpace\(bounds, choices=choices\)\.$",
    ):
        optimize_acqf_decoupled(acqf, space, choices=CHOICES)
    request = optimize_acqf_decoupled(acqf, space, q=3)
    expected = optimize_acqf_decoupled(acqf, BOUNDS, choices=CHOICES, q=3)
    assert torch.equal(request.X, expected.X)
    assert torch.equal(request.evaluation_mask, expected.evaluation_mask)


def test_a_mask_to_avoid_without_its_designs_is_refused():
    mask = torch.ones(len(CHOICES), 2, dtype=torch.bool)
    with pytest.raises(InputDataError, match=r"but got the mask alone\."):
        optimize_acqf_decoupled(
            flexibo(CHOICES), BOUNDS, choices=CHOICES, X_avoid_evaluation_mask=mask
        )


def test_designs_to_revisit_that_violate_a_constraint_are_left_out() -> None:
    at_least = (torch.tensor([0]), torch.tensor([1.0]).double(), 0.5)
    acqf = Hills(centres=OLD.expand(2, 2))  # nothing is better than the old design
    for X_old, inside in ((OLD, False), (OLD + 0.3, True)):
        space = SearchSpace(BOUNDS, inequality_constraints=[at_least])
        acqf.centres = X_old.expand(2, 2)
        request = optimize_acqf_decoupled(
            acqf, space, X_revisit=X_old, options=SearchOptions(raw_samples=16)
        )
        assert torch.equal(request.X, X_old) == inside
        assert (request.X[:, 0] >= 0.5 - 1e-9).all()
