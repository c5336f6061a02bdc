r"""The improvement of the front of measured designs, part of look-ahead values.

Expected improvements come from ``moocore`` at NumPy's Gauss-Hermite nodes, and from
BoTorch's closed form. ``moocore`` minimises, hence the signs.
"""

from __future__ import annotations

import math
from typing import Any

import moocore
import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.analytic import (
    ExpectedHypervolumeImprovement,
)
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from torch import Tensor

from botorch_flexibo import DecoupledCostUtility
from botorch_flexibo.acquisition import MeasuredBaseline, qFlexiBOLookahead
from botorch_flexibo.exceptions import InvalidCostError

NODES = 6
X = torch.rand(9, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
DESIGNS, STRANGERS = torch.rand(
    2, 6, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64
)
ALL_BUT = torch.ones(9, 3, dtype=torch.bool)
ALL_BUT[5, 0] = ALL_BUT[6, 1] = ALL_BUT[7, :] = ALL_BUT[8, 2] = False


def outcomes(X: Tensor, m: int) -> Tensor:
    columns = [(3 * X[:, 0] + 2 * k).sin() + X[:, 1] * (k - 1) for k in range(m)]
    return torch.stack(columns, dim=-1)


def fitted(m: int, noise: float = 1e-2) -> ModelListGP:
    models = []
    for k, y in enumerate(outcomes(X, m).unbind(dim=-1)):
        rows = ALL_BUT[:, k]
        model = SingleTaskGP(X[rows], y[rows, None])
        model.likelihood.noise = noise
        models.append(model.eval())
    return ModelListGP(*models)


def reference(m: int) -> Tensor:
    return torch.full((m,), -2.5, dtype=torch.float64)


def flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def lookahead(m: int, **options: Any) -> qFlexiBOLookahead:
    return qFlexiBOLookahead(
        options.pop("model", fitted(m)), reference(m), DESIGNS, **options
    )


def improvements(
    acqf: qFlexiBOLookahead, baseline: MeasuredBaseline, X: Tensor, mask: Tensor
) -> Tensor:
    """What the baseline adds to the values of batches."""
    acqf.X_evaluation_mask = mask
    with torch.no_grad():
        acqf.set_baseline(None)
        alone = acqf(X)
        acqf.set_baseline(baseline)
        both = acqf(X)
    return both - alone


def moments(model: ModelListGP, X: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        posterior = model.posterior(X)
    return posterior.mean, posterior.variance


def volume(Y: Tensor, ref_point: Tensor) -> float:
    return moocore.hypervolume(-Y.numpy(), ref=-ref_point.numpy())


def brute_force(
    model: ModelListGP, front: Tensor, x: Tensor, outcome: int, ref_point: Tensor
) -> float:
    """Every node by itself: measuring one outcome of one design."""
    mean, variance = (part.squeeze(0) for part in moments(model, x))
    noise = model.models[outcome].likelihood.noise.item()
    scale = model.models[outcome].outcome_transform.stdvs.item()
    move = variance[outcome] / (variance[outcome] + scale**2 * noise).sqrt()
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    total = 0.0
    for z, weight in zip(nodes, weights / weights.sum(), strict=True):
        y = mean.clone()
        y[outcome] += z * move
        total += weight * volume(torch.cat([front, y.unsqueeze(0)]), ref_point)
    return total - volume(front, ref_point)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_the_improvement_equals_brute_force_over_the_nodes(
    m: int, weight: float
) -> None:
    model = fitted(m)
    decisive = flags(*(k == 0 for k in range(m)))
    baseline = MeasuredBaseline(X, ALL_BUT[:, :m], decisive, weight)
    front = moments(model, X[ALL_BUT[:, 0]])[0]
    acqf = lookahead(m, model=model)
    actual = improvements(
        acqf, baseline, STRANGERS.unsqueeze(-2), decisive.unsqueeze(0)
    )
    expected = [
        weight * brute_force(model, front, x, 0, reference(m))
        for x in STRANGERS.split(1)
    ]
    assert max(expected) > 1e-3
    assert actual.tolist() == pytest.approx(expected, abs=1e-9)


def test_completing_a_design_has_the_expected_improvement_of_botorch() -> None:
    model = fitted(2, noise=1e-4)
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 1), weight=1.0)
    front = moments(model, X[ALL_BUT[:, :2].all(dim=-1)])[0]
    acqf = lookahead(2, model=model, quadrature_nodes=8)
    candidates = STRANGERS.unsqueeze(-2)
    actual = improvements(acqf, baseline, candidates, flags(1, 1).unsqueeze(0))
    partitioning = FastNondominatedPartitioning(reference(2), Y=front)
    ehvi = ExpectedHypervolumeImprovement(model, [-2.5, -2.5], partitioning)
    with torch.no_grad():
        expected = ehvi(candidates)
    # 8 x 8 nodes meet the kink at the front; noise hides a little of the outcome.
    assert (expected > 0.01).any()
    torch.testing.assert_close(actual, expected, rtol=0.05, atol=5e-3)


@pytest.mark.parametrize(
    ("decisive", "mask", "row", "share"),
    [
        ((1, 0), (1, 0), None, 1.0),
        ((1, 0), (0, 1), None, 0.0),
        ((1, 0), (0, 1), 6, 0.0),  # outcome 0 is measured there: it is past the stage
        ((1, 1), (0, 1), 6, 1.0),
        ((1, 1), (1, 0), 6, 0.0),
        ((1, 1), (1, 0), 5, 1.0),
        ((1, 1), (1, 0), 7, 0.0),  # nothing is measured there
        ((1, 1), (1, 1), 7, 1.0),
        ((1, 1), (1, 0), None, 0.0),
        ((1, 1), (1, 1), None, 1.0),
    ],
    ids=str,
)
def test_a_design_counts_once_what_is_decisive_is_measured_or_asked_for(
    decisive: tuple[int, ...], mask: tuple[int, ...], row: int | None, share: float
) -> None:
    x = torch.tensor([[0.95, 0.99]]).double() if row is None else X[[row]]
    costs = torch.tensor([6.0, 2.0]).double()
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2], flags(*decisive), costs=costs)
    asked = flags(*mask).unsqueeze(0)
    paid, missing = baseline.progress(x, asked)[0]
    assert paid.item() == share * missing.item()
    assert (paid > 0).item() is (share > 0)
    # Against a front that all designs improve, where nothing is measured.
    empty = MeasuredBaseline(X, ALL_BUT[:, :2] & False, flags(*decisive), costs=costs)
    if row is None:
        gain = improvements(lookahead(2), empty, x.unsqueeze(0), asked)
        assert bool(gain > 0.1) is (share > 0)
        assert share > 0 or gain.abs().item() < 1e-12


@pytest.mark.parametrize("costs", [None, [5.0, 3.0, 0.5]], ids=["equal", "unequal"])
def test_begun_designs_count_by_the_cost_of_what_they_lack(
    costs: list[float] | None,
) -> None:
    """Three decisive outcomes: against brute force."""
    model, weight = fitted(3, noise=1e-4), 0.7
    prices = torch.tensor(costs or [1.0] * 3).double()
    known = ALL_BUT.clone()
    known[:4] = flags(0, 1, 0)
    known[4] = flags(0, 1, 1)
    given = None if costs is None else prices
    baseline = MeasuredBaseline(X, known, flags(1, 1, 1), weight, costs=given)
    front = moments(model, X[known.all(dim=-1)])[0]
    candidates = torch.cat([X[:5], STRANGERS[:2]])  # these are not begun
    acqf = lookahead(3, model=model)
    largest = 0.0
    for outcome in (0, 2):
        asked = (torch.arange(3) == outcome).unsqueeze(0)
        actual = improvements(acqf, baseline, candidates.unsqueeze(-2), asked)
        part = (prices[outcome] / (prices[0] + prices[2])).item()
        shares = [part] * 4 + [1.0 if outcome == 0 else 0.0] + [0.0] * 2
        expected = [
            weight * share * brute_force(model, front, x, outcome, reference(3))
            for x, share in zip(candidates.split(1), shares, strict=True)
        ]
        largest = max(largest, *expected[:4])
        assert actual.tolist() == pytest.approx(expected, abs=1e-9)
    assert largest > 1e-3


def test_designs_that_join_together_share_the_cost_of_what_they_lack() -> None:
    """Both are begun; the second is completed. One node: their means stay."""
    known = ALL_BUT & False
    known[:2] = torch.stack([flags(1, 0, 0), flags(1, 0, 1)])
    costs = torch.tensor([4.0, 2.0, 1.0]).double()
    baseline = MeasuredBaseline(X, known, flags(1, 1, 1), weight=1.0, costs=costs)
    pair, acqf = X[:2].unsqueeze(0), lookahead(3, quadrature_nodes=1)
    part, everything = (
        improvements(acqf, baseline, pair, flags(*rows, 0, 1, 0).view(2, 3)).item()
        for rows in ((0, 0, 1), (0, 1, 1))
    )
    assert everything > 0.1
    assert part == pytest.approx(everything * 3 / 5)


def test_a_design_of_the_front_does_not_join_it_again() -> None:
    """Measured again, its outcome moves its mean up or down: that improves nothing."""
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0), weight=1.0)
    for row, mask in ((6, (1, 0)), (0, (0, 1)), (0, (1, 1))):
        asked = flags(*mask).unsqueeze(0)
        assert not any(step.paid for step in baseline.progress(X[[row]], asked))
        value = improvements(lookahead(2), baseline, X[[row]].unsqueeze(0), asked)
        assert value.item() == 0


@pytest.mark.parametrize("m", [2, 3])
def test_completing_a_trained_design_improves_the_front_of_complete_ones(
    m: int,
) -> None:
    """Only the outcome asked for has to be complete, and only where it was not."""
    model, weight = fitted(m, noise=1e-4), 0.7
    known = ALL_BUT[:, :m].clone()
    known[:5, 1] = False  # trained, nothing else
    decisive, asked = (
        flags(*(k == 0 for k in range(m))),
        flags(*(k == 1 for k in range(m))),
    )
    baseline = MeasuredBaseline(X, known, decisive, weight)
    front = moments(model, X[known[:, 0] & known[:, 1]])[0]
    trained = X[known[:, 0] & ~known[:, 1]]
    actual = improvements(
        lookahead(m, model=model), baseline, trained.unsqueeze(-2), asked.unsqueeze(0)
    )
    expected = [
        weight * brute_force(model, front, x, 1, reference(m)) for x in trained.split(1)
    ]
    assert max(expected) > 1e-2
    assert actual.tolist() == pytest.approx(expected, abs=1e-9)
    # Not where nothing was trained, nor together with the training.
    strangers = torch.cat([STRANGERS, X[[5, 7]]]).unsqueeze(-2)
    nothing = improvements(
        lookahead(m, model=model), baseline, strangers, asked.unsqueeze(0)
    )
    assert nothing.abs().max().item() == 0
    for step in baseline.progress(strangers, (asked | decisive).unsqueeze(0))[1:]:
        assert not step.paid.any()


@pytest.mark.parametrize("m", [2, 3])
def test_where_everything_is_decisive_there_is_one_stage(m: int) -> None:
    baseline = MeasuredBaseline(X, ALL_BUT[:, :m], torch.ones(m, dtype=torch.bool))
    assert len(baseline.stages) == 1
    assert len(baseline.front_designs()) == 1


def test_several_outcomes_of_trained_designs_are_worth_the_sum() -> None:
    known = ALL_BUT & flags(1, 0, 0)
    baseline = MeasuredBaseline(X, known, flags(1, 0, 0))
    acqf = lookahead(3, quadrature_nodes=1)  # the others do not move along
    trained = X[known[:, 0]].unsqueeze(-2)
    one, other, both = (
        improvements(acqf, baseline, trained, flags(*mask).unsqueeze(0))
        for mask in ((0, 1, 0), (0, 0, 1), (0, 1, 1))
    )
    assert (one > 0.1).any()
    torch.testing.assert_close(both, one + other)


def test_a_trained_design_is_completed_once() -> None:
    acqf, asked = lookahead(2), flags(0, 1).unsqueeze(0)
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2] & flags(1, 0), flags(1, 0))
    x = X[[0]]
    before = improvements(acqf, baseline, x.unsqueeze(0), asked)
    acqf.set_X_pending(x, asked)
    pending = improvements(acqf, baseline, x.unsqueeze(0), asked)
    assert before.item() > 0.1
    assert 0 <= pending.item() < 0.05 * before.item()
    known = ALL_BUT[:, :2] & flags(1, 0)
    known[0, 1] = True
    acqf.set_X_pending(None)
    taken = MeasuredBaseline(X, known, flags(1, 0))
    assert improvements(acqf, taken, x.unsqueeze(0), asked).item() == 0


def test_what_is_pending_counts_as_measured() -> None:
    acqf, mask = lookahead(2), flags(1, 0).unsqueeze(0)
    nothing = torch.zeros(9, 2, dtype=torch.bool)
    baseline = MeasuredBaseline(X, nothing, flags(1, 0))
    x = STRANGERS[:1].unsqueeze(0)
    before = improvements(acqf, baseline, x, mask)
    acqf.set_X_pending(STRANGERS[:1], flags(0, 1).unsqueeze(0))
    cheap = improvements(acqf, baseline, x, mask)
    acqf.set_X_pending(STRANGERS[:1], mask)
    taken = improvements(acqf, baseline, x, mask)
    assert before.item() > 0.1
    assert cheap.item() > 0.1
    assert abs(taken.item()) < 0.05 * before.item()
    acqf.set_X_pending(None)
    assert improvements(acqf, baseline, x, mask).item() == pytest.approx(before.item())


def test_pending_outcomes_of_a_design_count_together() -> None:
    """Apart, as a greedy batch asks for them, with another design, or at once."""
    x, y = STRANGERS[:1], STRANGERS[1:2]
    known = ALL_BUT[:, :2] & False
    known[0] = flags(1, 0)
    baseline = MeasuredBaseline(X, known, flags(1, 1))
    at_once = baseline.with_pending(torch.cat([x, y]), flags(1, 1, 0, 1).view(2, 2))
    apart = baseline.with_pending(
        torch.cat([x, y, x]), flags(1, 0, 0, 1, 0, 1).view(3, 2)
    )
    for merged in (at_once, apart):
        (front,) = merged.front_designs()
        assert torch.equal(front, x)
        # What is missing at a design with a pending outcome completes it.
        designs = torch.cat([x, y, X[:1]])
        (step,) = merged.progress(designs, flags(1, 0).unsqueeze(0))
        assert step.paid.tolist() == [0, 1, 0]
        assert step.missing.tolist() == [0, 1, 1]
    (front,) = baseline.with_pending(X[:1], flags(0, 1).unsqueeze(0)).front_designs()
    assert torch.equal(front, X[:1])
    assert baseline.with_pending(None, None) is baseline
    assert len(baseline.with_pending(STRANGERS, None).front_designs()[0]) == 6


def test_designs_that_lack_what_will_never_be_measured_do_not_count() -> None:
    """Given up after failures, as pending or as what is asked for."""
    lost = STRANGERS[:1]

    def forbidden(X: Tensor) -> Tensor:
        return (X == lost).all(dim=-1, keepdim=True) & flags(1, 0, 0)

    known = ALL_BUT & False
    known[0] = flags(1, 1, 0)
    free = MeasuredBaseline(X, known, flags(1, 1, 0))
    baseline = MeasuredBaseline(X, known, flags(1, 1, 0), forbidden=forbidden)
    pending = STRANGERS[:2], flags(1, 1, 0).expand(2, 3)
    fronts = [b.with_pending(*pending).front_designs()[0] for b in (free, baseline)]
    assert [len(front) for front in fronts] == [3, 2]
    assert not (fronts[1] == lost).all(dim=-1).any()
    begun = [
        b.with_pending(lost, flags(0, 1, 0).unsqueeze(0)) for b in (free, baseline)
    ]
    steps = [b.progress(lost, flags(1, 0, 0).unsqueeze(0)) for b in begun]
    assert [first.paid.tolist() for first, _ in steps] == [[1.0], [0.0]]
    assert begun[1].to(X.float()).forbidden is forbidden


@pytest.mark.parametrize("q", [2, 3])
def test_what_rows_of_one_design_ask_for_counts_together(q: int) -> None:
    """A design in two rows of a batch is worth what it is in one."""
    known = ALL_BUT & False
    known[0] = flags(1, 0, 0)
    baseline = MeasuredBaseline(X, known, flags(1, 1, 1), weight=1.0)
    acqf = lookahead(3, quadrature_nodes=1)
    for x, rest in ((X[:1], flags(0, 1, 1)), (STRANGERS[:1], flags(1, 1, 1))):
        one = improvements(acqf, baseline, x.unsqueeze(0), rest.unsqueeze(0))
        parts = torch.diag(rest)[rest][:q]
        parts[-1] |= rest & ~parts.any(dim=0)
        rows = x.expand(1, len(parts), 2)
        several = improvements(acqf, baseline, rows, parts)
        assert one.item() > 1e-3
        assert several.item() == pytest.approx(one.item(), rel=1e-6)


def test_copies_of_a_design_whose_outcomes_are_pending_are_worth_little() -> None:
    acqf, both = lookahead(2), flags(1, 1).unsqueeze(0)
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2] & False, flags(1, 1), weight=1.0)
    copy = (STRANGERS[:1] + 1e-3).unsqueeze(0)
    values = []
    for rows, masks in (((0,), (1, 1)), ((0, 0), (1, 0, 0, 1))):
        acqf.set_X_pending(STRANGERS[list(rows)], flags(*masks).view(-1, 2))
        values.append(improvements(acqf, baseline, copy, both).item())
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_only_designs_at_the_target_fidelity_count() -> None:
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2] & False, flags(1, 0))
    acqf = lookahead(2, target_fidelities={1: 1.0})
    mask = flags(1, 0).unsqueeze(0)
    low, high = STRANGERS[:1].clone(), STRANGERS[:1].clone()
    low[:, 1], high[:, 1] = 0.5, 1.0
    assert improvements(acqf, baseline, low.unsqueeze(0), mask).abs().item() < 1e-12
    assert improvements(acqf, baseline, high.unsqueeze(0), mask).item() > 0.1
    # Nor do measurements at other fidelities make a front.
    measured = MeasuredBaseline(low, flags(1, 1).unsqueeze(0), flags(1, 0))
    acqf.set_baseline(measured)
    # the reference point alone
    assert [front.points.shape[-2] for front in acqf._fronts] == [1, 1]


@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3]], ids=str)
@pytest.mark.parametrize("q", [1, 2])
def test_batches_are_valued_one_by_one(q: int, batch_shape: list[int]) -> None:
    acqf = lookahead(2)
    acqf.set_baseline(MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0)))
    acqf.X_evaluation_mask = flags(1, 0).expand(q, 2)
    generator = torch.Generator().manual_seed(5)
    batches = torch.rand(*batch_shape, q, 2, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        values = acqf(batches)
        single = [acqf(x).item() for x in batches.reshape(-1, q, 2)]
    assert values.shape == (torch.Size(batch_shape) if batch_shape else (1,))
    assert values.flatten().tolist() == pytest.approx(single, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("mask", [[[1, 0]], [[1, 1]], [[1, 0], [1, 1]]], ids=str)
def test_the_gradient_is_right(mask: list[list[int]]) -> None:
    acqf = lookahead(2, quadrature_nodes=2)
    acqf.set_baseline(MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0), weight=5.0))
    acqf.X_evaluation_mask = torch.tensor(mask, dtype=torch.bool)
    candidates = STRANGERS[: len(mask)].unsqueeze(0).clone().requires_grad_()
    assert torch.autograd.gradcheck(acqf, (candidates,))


@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3]], ids=str)
@pytest.mark.parametrize("mask", [[[0, 1]], [[0, 1], [1, 0]]], ids=str)
def test_batches_with_trained_designs_are_valued_one_by_one(
    mask: list[list[int]], batch_shape: list[int]
) -> None:
    acqf, q = lookahead(2), len(mask)
    known = ALL_BUT[:, :2] & flags(1, 0)
    acqf.set_baseline(MeasuredBaseline(X, known, flags(1, 0), weight=5.0))
    acqf.X_evaluation_mask = torch.tensor(mask, dtype=torch.bool)
    generator = torch.Generator().manual_seed(5)
    batches = torch.rand(*batch_shape, q, 2, generator=generator, dtype=torch.float64)
    count = max(1, math.prod(batch_shape))
    batches[..., 0, :] = X[:count].reshape(*batch_shape, 2)
    with torch.no_grad():
        values = acqf(batches)
        single = [acqf(x).item() for x in batches.reshape(-1, q, 2)]
        acqf.set_baseline(None)
        alone = acqf(batches)
    assert (values > alone + 0.01).any()
    assert values.flatten().tolist() == pytest.approx(single, rel=1e-9, abs=1e-12)


def test_the_gradient_next_to_trained_designs_is_that_of_the_gain() -> None:
    """Whether a design is trained jumps: there is no slope to climb."""
    acqf, mask = lookahead(2, quadrature_nodes=2), flags(0, 1).unsqueeze(0)
    gradients = []
    for baseline in (None, MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0))):
        acqf.set_baseline(baseline)
        acqf.X_evaluation_mask = mask
        x = (X[:6] + 1e-9).unsqueeze(-2).requires_grad_()
        (gradient,) = torch.autograd.grad(acqf(x).sum(), x)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


def test_costs_divide_gain_and_improvement_alike() -> None:
    utility = DecoupledCostUtility(FixedCostModel(torch.tensor([8.0, 0.5]).double()))
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0))
    free, paid = lookahead(2), lookahead(2, cost_aware_utility=utility)
    for acqf in (free, paid):
        acqf.set_baseline(baseline)
        acqf.X_evaluation_mask = flags(1, 0).unsqueeze(0)
    with torch.no_grad():
        value = free(STRANGERS.unsqueeze(-2))
        assert (value > 0).all()
        torch.testing.assert_close(paid(STRANGERS.unsqueeze(-2)), value / 8.0)


def test_a_baseline_follows_the_acquisition_function_to_single_precision() -> None:
    acqf, mask = lookahead(2), flags(1, 0).unsqueeze(0)
    baseline = MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0))
    expected = improvements(acqf, baseline, STRANGERS.unsqueeze(-2), mask)
    acqf.to(torch.float32)
    actual = improvements(acqf, baseline, STRANGERS.unsqueeze(-2).float(), mask)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-2, atol=1e-3)


def test_without_designs_the_whole_volume_is_to_be_won() -> None:
    nothing = MeasuredBaseline(X[:0], ALL_BUT[:0, :2], flags(1, 0), weight=1.0)
    acqf, mask = lookahead(2), flags(1, 0).unsqueeze(0)
    x = STRANGERS[:1]
    actual = improvements(acqf, nothing, x.unsqueeze(0), mask)
    empty = reference(2).unsqueeze(0)
    assert actual.item() == pytest.approx(
        brute_force(fitted(2), empty, x, 0, reference(2))
    )


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf, "1"])
def test_weights_that_are_not_positive_are_refused(weight: Any) -> None:
    with pytest.raises(InputDataError, match=r"^Expected a positive weight and at"):
        MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 0), weight)


def test_a_baseline_without_decisive_outcomes_is_refused() -> None:
    with pytest.raises(InputDataError, match=r"but got 0\.5 and \[False, False\]"):
        MeasuredBaseline(X, ALL_BUT[:, :2], flags(0, 0), weight=0.5)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_costs_that_are_no_costs_are_refused(wrong: float) -> None:
    costs = torch.tensor([1.0, wrong]).double()
    with pytest.raises(InvalidCostError, match=r"^Expected costs that are positive"):
        MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 1), costs=costs)


def test_costs_of_other_outcomes_are_refused() -> None:
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected costs of shape `2`, but got `3`\. Pass a typical cost",
    ):
        MeasuredBaseline(X, ALL_BUT[:, :2], flags(1, 1), costs=torch.ones(3).double())


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BotorchTensorDimensionError, match=r"but got `9 x 2`, `9 x 3`"):
        MeasuredBaseline(X, ALL_BUT, flags(1, 0))
    with pytest.raises(InputDataError, match=r"Expected decisive to be a boolean"):
        MeasuredBaseline(X, ALL_BUT[:, :2], torch.tensor([1, 0]))


def test_a_baseline_of_another_problem_is_refused() -> None:
    three = MeasuredBaseline(X, ALL_BUT, flags(1, 0, 0))
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected a baseline of 2 columns and 2 outcomes, but got 2 and 3\.",
    ):
        lookahead(2).set_baseline(three)


def test_rows_of_one_design_count_as_one() -> None:
    once = MeasuredBaseline(X[:2], ALL_BUT[5:7], decisive=ALL_BUT[5])
    halves = torch.tensor([[False, True, False], [False, False, True]])
    masks = torch.cat([halves, ALL_BUT[6:7]])
    split = MeasuredBaseline(X[[0, 0, 1]], masks, decisive=ALL_BUT[5])
    assert torch.equal(split.X, once.X)
    assert torch.equal(split.evaluation_mask, once.evaluation_mask)
    for ours, theirs in zip(split.front_designs(), once.front_designs(), strict=True):
        assert torch.equal(ours, theirs)
