r"""Figures: what is drawn equals the numbers it stands for.

Areas are compared with moocore (which shares no code with the package), intervals with
``scipy.stats.t.interval``, curves with a look-up written as a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import moocore
import numpy as np
import pytest
import torch
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from scipy import stats

from botorch_flexibo.history import DecoupledHistory, RequestRecord
from botorch_flexibo.loop import InitialDesign, run_decoupled_optimization
from botorch_flexibo.plotting import (
    plot_cost_breakdown,
    plot_hypervolume,
    plot_measurement_strip,
    plot_pareto_region,
)
from botorch_flexibo.policies import RandomPolicy
from botorch_flexibo.test_functions import DecoupledBraninCurrin
from botorch_flexibo.utils.pareto_region import ConfidenceRegion

mpl.use("Agg")

MAX_HV = 8.0
GREY = to_rgba("0.55")[:3]
# One request: its decision, the outcomes measured, its hypervolume.
Step = tuple[int, tuple[bool, ...], float]

A, B, AB = (True, False), (False, True), (True, True)
STEPS: list[Step] = [
    (0, AB, math.nan),
    (0, AB, 2.0),
    (1, B, math.nan),
    (2, B, 3.0),
    (3, A, 6.0),
]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def ax() -> Axes:
    return plt.figure(figsize=(5, 4)).add_subplot()


def make_history(
    steps: Sequence[Step],
    costs: Sequence[float] = (10.0, 1.0),
    *,
    names: tuple[str, ...] | None = None,
    unit: str = "units",
    max_hv: float = MAX_HV,
) -> DecoupledHistory:
    """A run with one design per request and constant costs."""
    records, spent = [], 0.0
    for i, (decision, mask, hv) in enumerate(steps):
        paid = tuple(c if on else 0.0 for c, on in zip(costs, mask, strict=True))
        spent += sum(paid)
        records.append(
            RequestRecord(
                decision=decision,
                design=i,
                measured=mask,
                values=tuple(1.0 if on else math.nan for on in mask),
                predicted_cost=math.nan,
                costs=paid,
                cumulative_cost=spent,
                hv_measured=float(i),
                hv_identified=hv,
                policy_seconds=0.0,
                fit_seconds=0.0,
            )
        )
    Y = torch.tensor([record.values for record in records])
    return DecoupledHistory(
        X=torch.arange(float(len(records))).unsqueeze(-1),
        Y=Y.reshape(len(records), len(costs)),
        records=tuple(records),
        stop_reason="budget",
        outcome_names=names or tuple(f"f{i + 1}" for i in range(len(costs))),
        cost_unit=unit,
        budget=spent,
        max_hv=max_hv,
    )


def extreme_history(unit: str = "s") -> DecoupledHistory:
    """Costs of 500:1, about 20 expensive and 300 cheap measurements."""
    steps: list[Step] = [(0, AB, 1.0)] * 4
    for i in range(16):
        steps += [(i + 1, B, 1.0)] * 18 + [(i + 1, A, 1.0)]
    return make_history(steps, (500.0, 1.0), names=("error", "energy"), unit=unit)


@pytest.fixture(scope="module")
def real_runs() -> list[DecoupledHistory]:
    problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
    return [
        run_decoupled_optimization(
            problem,
            RandomPolicy(),
            budget=50.0,
            initial_design=InitialDesign(3),
            choices=problem.discretize(60, seed=7),
            seed=seed,
        )
        for seed in range(2)
    ]


def random_region(n: int, seed: int) -> ConfidenceRegion:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    width = 0.3 * torch.rand(n, 2, generator=generator, dtype=torch.float64)
    width[torch.rand(n, 2, generator=generator) < 0.3] = 0.0
    return ConfidenceRegion(mean, mean - width, mean + width)


def golden_region() -> ConfidenceRegion:
    """Golden example: undominated {1, 3, 5, 6}, volumes 67 and 35."""
    corners = torch.tensor(
        [
            [[0.0, 1], [2, 1], [4, 1]],
            [[1, 5], [2, 6], [3, 7]],
            [[2, 3], [3.5, 3.5], [5, 4]],
            [[4, 2], [6.5, 2], [9, 2]],
            [[8, 1], [8, 2], [8, 3]],
            [[10, 1], [11, 1.5], [12, 2]],
            [[8, 4], [9, 5], [10, 6]],
        ],
        dtype=torch.float64,
    )
    return ConfidenceRegion(corners[:, 1], corners[:, 0], corners[:, 2])


def polygon_area(vertices: np.ndarray) -> float:
    """Shoelace formula."""
    x, y = vertices.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def line(ax: Axes, label: str) -> Line2D:
    (found,) = [item for item in ax.get_lines() if item.get_label() == label]
    return found


def legend_labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def row_annotations(ax: Axes) -> list[Annotation]:
    return [text for text in ax.texts if isinstance(text, Annotation)]


# -- all of them


def draw_region(ax: Axes | None) -> Axes:
    return plot_pareto_region(golden_region(), torch.zeros(2), ax=ax)


def draw_hypervolume(ax: Axes | None) -> Axes:
    return plot_hypervolume({"a": [make_history(STEPS)] * 2}, ax=ax)


def draw_strip(ax: Axes | None) -> Axes:
    return plot_measurement_strip(make_history(STEPS), ax=ax)


def draw_breakdown(ax: Axes | None) -> Axes:
    return plot_cost_breakdown({"a": make_history(STEPS)}, ax=ax)


every_plot = pytest.mark.parametrize(
    "draw", [draw_region, draw_hypervolume, draw_strip, draw_breakdown]
)


@every_plot
def test_draws_on_the_given_axes_and_opens_no_figure(
    draw: Callable[[Axes | None], Axes], ax: Axes
) -> None:
    before = plt.get_fignums()
    assert draw(ax) is ax
    assert plt.get_fignums() == before
    ax.figure.canvas.draw()


@every_plot
def test_creates_a_figure_of_column_width_and_changes_no_setting(
    draw: Callable[[Axes | None], Axes],
) -> None:
    before = dict(mpl.rcParams)
    ax = draw(None)
    assert dict(mpl.rcParams) == before
    assert ax.figure.get_figwidth() == 3.5
    assert ax.get_xlabel() != ""


@every_plot
def test_legend_lies_above_the_axes_and_within_the_figure(
    draw: Callable[[Axes | None], Axes],
) -> None:
    ax = draw(None)
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1
    assert legend.x0 >= 0
    assert legend.x1 <= ax.figure.bbox.x1


# -- plot_pareto_region


def moocore_volume(region: ConfidenceRegion, ref_point: torch.Tensor) -> float:
    upper, lower = (
        moocore.hypervolume(side.numpy(), ref=ref_point.numpy(), maximise=True)
        for side in (region.upper, region.lower)
    )
    return upper - lower


@pytest.mark.parametrize("ref", [-0.5, 0.3, 0.8])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_shaded_area_is_the_volume_of_the_region(n: int, ref: float, ax: Axes) -> None:
    region = random_region(n, seed=n)
    ref_point = torch.tensor([ref, ref / 2], dtype=torch.float64)
    plot_pareto_region(region, ref_point, ax=ax)
    (fill,) = ax.patches
    expected = moocore_volume(region, ref_point)
    assert polygon_area(fill.get_xy()) == pytest.approx(expected, abs=1e-12)
    assert legend_labels(ax)[0] == f"Pareto region, V = {expected:.3g}"


@pytest.mark.parametrize(
    ("label", "volume"), [("optimistic front", 67.0), ("pessimistic front", 35.0)]
)
def test_area_under_each_front_is_its_hypervolume(
    label: str, volume: float, ax: Axes
) -> None:
    plot_pareto_region(golden_region(), torch.zeros(2), ax=ax)
    stairs = line(ax, label).get_xydata()
    assert polygon_area(np.vstack([stairs, [0.0, 0.0]])) == volume
    steps = np.diff(stairs, axis=0)
    assert ((steps == 0).sum(axis=1) == 1).all()  # steps, not slopes


def test_boxes_are_those_of_the_undominated_designs(ax: Axes) -> None:
    region = golden_region()
    plot_pareto_region(region, torch.zeros(2), ax=ax)
    (boxes,) = [item for item in ax.collections if isinstance(item, PolyCollection)]
    drawn = [path.vertices[:4] for path in boxes.get_paths()]
    assert len(drawn) == 4
    for box, u in zip(drawn, (1, 3, 5, 6), strict=True):
        assert box.min(axis=0).tolist() == region.lower[u].tolist()
        assert box.max(axis=0).tolist() == region.upper[u].tolist()


def test_fronts_are_clipped_at_the_reference_point(ax: Axes) -> None:
    region = golden_region()
    ref_point = torch.tensor([2.5, 1.5], dtype=torch.float64)
    plot_pareto_region(region, ref_point, ax=ax)
    for label in ("optimistic front", "pessimistic front"):
        assert (line(ax, label).get_xydata() >= ref_point.numpy()).all()
    assert (ax.get_xlim()[0], ax.get_ylim()[0]) == (2.5, 1.5)


def test_nothing_above_the_reference_point_leaves_no_area(ax: Axes) -> None:
    ref_point = torch.tensor([100.0, 100.0], dtype=torch.float64)
    plot_pareto_region(golden_region(), ref_point, ax=ax)
    assert polygon_area(ax.patches[0].get_xy()) == 0.0
    assert legend_labels(ax)[0] == "Pareto region, V = 0"


def test_each_design_is_marked_by_what_was_measured(ax: Axes) -> None:
    region = golden_region()
    measured = torch.tensor([A, A, B, AB, AB, AB, (False, False)])
    names = ("accuracy [%]", "-energy [J]")
    plot_pareto_region(
        region, torch.zeros(2), measured=measured, outcome_names=names, ax=ax
    )
    expected = {
        "accuracy [%] measured": [0, 1],
        "-energy [J] measured": [2],
        "both measured": [3, 4, 5],
        "mean, not measured": [6],
    }
    for label, rows in expected.items():
        drawn = line(ax, label).get_xydata()
        assert drawn.tolist() == region.mean[rows].tolist()
        assert label in legend_labels(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == names


def test_without_marks_all_means_are_drawn_alike(ax: Axes) -> None:
    region = golden_region()
    plot_pareto_region(region, torch.zeros(2), ax=ax)
    drawn = line(ax, "mean of a design").get_xydata()
    assert drawn.tolist() == region.mean.tolist()


def test_region_that_requires_grad_can_be_drawn(ax: Axes) -> None:
    mean = torch.ones(3, 2, requires_grad=True)
    region = ConfidenceRegion(mean, mean - 1, mean + 1)
    plot_pareto_region(region, torch.zeros(2), ax=ax)
    assert polygon_area(ax.patches[0].get_xy()) == pytest.approx(4.0)


def test_other_numbers_of_outcomes_are_not_supported() -> None:
    sides = torch.zeros(3, 4, 3)
    with pytest.raises(UnsupportedError, match=r"region of two outcomes.*pair"):
        plot_pareto_region(ConfidenceRegion(sides, sides, sides), torch.zeros(3))


def test_batch_of_regions_is_refused() -> None:
    sides = torch.zeros(3, 4, 2)
    with pytest.raises(BotorchTensorDimensionError, match=r"`n x 2`.*one by one"):
        plot_pareto_region(ConfidenceRegion(sides, sides, sides), torch.zeros(2))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"measured": torch.ones(6, 2, dtype=torch.bool)},
            BotorchTensorDimensionError,
            r"one row per design.*~Y.isnan\(\)",
        ),
        ({"measured": torch.ones(7, 2)}, InputDataError, "measured of dtype torch.b"),
        ({"outcome_names": ["a"]}, InputDataError, r"two outcome_names, but got \['a'"),
        (
            {"ref_point": torch.zeros(3)},
            BotorchTensorDimensionError,
            "ref_point to have 2 elements",
        ),
        (
            {"ref_point": torch.tensor([0.0, math.nan])},
            InputDataError,
            "finite ref_point",
        ),
    ],
)
def test_arguments_that_do_not_fit_the_region_are_refused(
    options: dict, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        plot_pareto_region(golden_region(), **({"ref_point": torch.zeros(2)} | options))


@pytest.mark.parametrize("value", [99.0, math.nan])
def test_mean_outside_its_box_is_refused(value: float) -> None:
    region = golden_region()
    region.mean[2, 1] = value
    with pytest.raises(InputDataError, match=r"lower <= mean <= upper.* 1 of 14"):
        plot_pareto_region(region, torch.zeros(2))


# -- plot_hypervolume


def test_line_follows_the_last_value_known_at_each_cost(ax: Axes) -> None:
    plot_hypervolume({"a": [make_history(STEPS)]}, ax=ax)
    drawn = line(ax, "a")
    assert drawn.get_drawstyle() == "steps-post"
    assert drawn.get_xdata().tolist() == [22.0, 23.0, 24.0, 34.0]
    assert drawn.get_ydata().tolist() == [2 / 8, 2 / 8, 3 / 8, 6 / 8]
    assert legend_labels(ax) == ["a"]  # one run has no band


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("metric", ["hv_identified", "hv_measured"])
def test_mean_line_ends_at_the_mean_of_the_last_values(
    metric: str, relative: bool, real_runs: list[DecoupledHistory], ax: Axes
) -> None:
    plot_hypervolume({"random": real_runs}, metric=metric, relative=relative, ax=ax)
    unit = real_runs[0].max_hv if relative else 1.0
    last = np.mean([getattr(run.records[-1], metric) for run in real_runs]) / unit
    x, y = line(ax, "random").get_xydata()[-1]
    assert y == pytest.approx(last)
    assert x == max(run.total_cost for run in real_runs)
    assert metric.removeprefix("hv_") in ax.get_ylabel()
    assert ("share" in ax.get_ylabel()) == relative


def value_at(history: DecoupledHistory, cost: float) -> float:
    value = math.nan
    for record in history.records:
        if record.cumulative_cost <= cost and not math.isnan(record.hv_identified):
            value = record.hv_identified
    return value


def runs_of_unequal_length(n: int) -> list[DecoupledHistory]:
    generator = torch.Generator().manual_seed(0)
    runs = []
    for k in range(n):
        hv = torch.rand(3 + k, generator=generator).tolist()
        runs.append(make_history([(0, AB, v) for v in hv], (10.0 + k, 1.0)))
    return runs


@pytest.mark.parametrize("n", [2, 4, 5, 7])
def test_mean_and_band_agree_with_a_look_up_at_every_cost(n: int, ax: Axes) -> None:
    runs = runs_of_unequal_length(n)
    plot_hypervolume({"a": runs}, relative=False, ax=ax)
    x, y = line(ax, "a").get_xydata().T
    assert set(x) == {  # all steps from where every run has a value
        record.cumulative_cost
        for run in runs
        for record in run.records
        if record.cumulative_cost >= 10.0 + n
    }
    values = np.array([[value_at(run, cost) for cost in x] for run in runs])
    np.testing.assert_allclose(y, values.mean(axis=0))
    if n < 5:
        low, high = values.min(axis=0), values.max(axis=0)
        label = f"min–max of {n} runs"
    else:
        low, high = stats.t.interval(
            0.95, n - 1, loc=values.mean(axis=0), scale=stats.sem(values, axis=0)
        )
        label = f"95% CI of mean ({n} runs)"
    assert legend_labels(ax) == ["a", label]
    (band,) = ax.collections
    edges = band.get_paths()[0].vertices
    for cost, bottom, top in zip(x, low, high, strict=True):
        at = edges[edges[:, 0] == cost, 1]
        assert np.isclose(at, bottom).any()
        assert np.isclose(at, top).any()


def test_all_methods_of_a_figure_have_the_same_kind_of_band(ax: Axes) -> None:
    runs = runs_of_unequal_length(6)
    plot_hypervolume({"many": runs, "few": runs[:3]}, ax=ax)
    assert legend_labels(ax) == ["many", "few", "min–max of 3–6 runs"]
    top = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(
        max(
            value_at(run, cost) / MAX_HV
            for run in runs
            for cost in line(ax, "many").get_xdata()
        )
    )


def test_methods_differ_in_colour_and_line_style(ax: Axes) -> None:
    plot_hypervolume({str(i): [make_history(STEPS)] for i in range(28)}, ax=ax)
    looks = {(item.get_color(), item.get_linestyle()) for item in ax.get_lines()}
    assert len(looks) == 28


@pytest.mark.parametrize(
    ("unit", "cost", "shown", "factor"),
    [
        ("s", 2000.0, "s", 1.0),
        ("s", 4000.0, "h", 1 / 3600),
        ("seconds", 4000.0, "h", 1 / 3600),
        ("J", 4000.0, "J", 1.0),
    ],
)
def test_more_than_two_hours_of_seconds_are_shown_in_hours(
    unit: str, cost: float, shown: str, factor: float
) -> None:
    history = make_history([(0, A, 1.0), (1, B, 2.0)], (cost, 500.0), unit=unit)
    history_twice = make_history([(0, AB, 1.0)] * 2, (cost, 500.0), unit=unit)
    curve = plot_hypervolume({"a": [history], "b": [history_twice]})
    assert curve.get_xlabel() == f"cost spent ({shown})"
    end = line(curve, "a").get_xdata()[-1]
    assert end == pytest.approx((cost + 500.0) * factor)
    strip = plot_measurement_strip(history_twice)
    assert strip.get_xlabel() == f"cost spent ({shown})"
    assert strip_marks(strip)[0][-1] == pytest.approx(2 * (cost + 500.0) * factor)
    bars = plot_cost_breakdown({"a": history_twice})
    assert bars.get_xlabel() == f"cost spent ({shown})"
    assert bars.patches[0].get_width() == pytest.approx(2 * cost * factor)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(InputDataError, match=r"hv_identified, hv_measured.*'hv'"):
        plot_hypervolume({"a": [make_history(STEPS)]}, metric="hv")


def test_metric_that_was_never_recorded_is_refused() -> None:
    history = make_history([(0, AB, math.nan)] * 3)
    with pytest.raises(InputDataError, match=r"value of hv_identified.*'a'.*3 records"):
        plot_hypervolume({"a": [make_history(STEPS), history]})


@pytest.mark.parametrize("max_hv", [math.nan, 0.0, math.inf])
def test_share_of_an_unknown_maximum_is_refused(max_hv: float) -> None:
    history = make_history(STEPS, max_hv=max_hv)
    with pytest.raises(InputDataError, match=r"positive max_hv.*relative=False"):
        plot_hypervolume({"a": [history]})
    ax = plot_hypervolume({"a": [history]}, relative=False)
    assert line(ax, "a").get_ydata()[-1] == 6.0


# -- plot_measurement_strip


def strip_marks(ax: Axes) -> dict[int, list[float]]:
    """Positions of the marks of each row."""
    marks: dict[int, list[float]] = {}
    for item in ax.collections:
        assert isinstance(item, LineCollection)
        for (x0, y0), (x1, y1) in item.get_segments():
            assert x0 == x1
            marks.setdefault(round((y0 + y1) / 2), []).append(x0)
    return {row: sorted(at) for row, at in marks.items()}


def test_strip_has_one_mark_per_measurement_at_its_cost(ax: Axes) -> None:
    plot_measurement_strip(make_history(STEPS), ax=ax)
    assert strip_marks(ax) == {0: [11.0, 22.0, 34.0], 1: [11.0, 22.0, 23.0, 24.0]}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["f1", "f2"]
    assert ax.get_ylim() == (1.5, -0.5)  # the first outcome on top
    assert [text.get_text() for text in row_annotations(ax)] == [
        "3 measured",
        "4 measured",
    ]


def test_strip_of_a_real_run_has_as_many_marks_as_measurements(
    real_runs: list[DecoupledHistory], ax: Axes
) -> None:
    history = real_runs[0]
    plot_measurement_strip(history, ax=ax)
    counts = [len(at) for _, at in sorted(strip_marks(ax).items())]
    assert counts == list(history.num_measurements.values())


def test_strip_counts_requests_from_one(ax: Axes) -> None:
    plot_measurement_strip(make_history(STEPS), x="request", ax=ax)
    assert strip_marks(ax) == {0: [1.0, 2.0, 5.0], 1: [1.0, 2.0, 3.0, 4.0]}
    assert ax.get_xlabel() == "number of request"


def test_only_the_initial_design_is_grey(ax: Axes) -> None:
    plot_measurement_strip(make_history(STEPS), ax=ax)
    grey = [
        len(item.get_segments())
        for item in ax.collections
        if tuple(item.get_color()[0][:3]) == GREY
    ]
    assert grey == [2, 2]
    assert legend_labels(ax) == ["initial design"]


def test_hundreds_of_marks_are_thin_and_translucent(ax: Axes) -> None:
    history = extreme_history()
    plot_measurement_strip(history, ax=ax)
    _, expensive, _, cheap = ax.collections
    assert (len(expensive.get_segments()), len(cheap.get_segments())) == (16, 288)
    assert cheap.get_alpha() < expensive.get_alpha() == 1.0
    assert cheap.get_linewidth()[0] < expensive.get_linewidth()[0]


def test_counts_of_the_strip_lie_right_of_the_axes_within_the_figure() -> None:
    ax = plot_measurement_strip(extreme_history())
    ax.figure.canvas.draw()
    for text in row_annotations(ax):
        extent = text.get_window_extent()
        assert ax.get_window_extent().x1 < extent.x0
        assert extent.x1 <= ax.figure.bbox.x1


def test_unknown_x_of_the_strip_is_refused() -> None:
    with pytest.raises(InputDataError, match=r"x to be one of cost, request.*'time'"):
        plot_measurement_strip(make_history(STEPS), x="time")


def test_strip_of_an_empty_run_is_refused() -> None:
    with pytest.raises(InputDataError, match=r"each with records, but got \[0\]"):
        plot_measurement_strip(make_history([]))


# -- plot_cost_breakdown


def bars(ax: Axes) -> np.ndarray:
    """Left end and width of each bar, outcomes x methods x 2."""
    return np.array(
        [[(bar.get_x(), bar.get_width()) for bar in row] for row in ax.containers]
    )


def test_bars_are_the_costs_by_outcome_end_to_end(
    real_runs: list[DecoupledHistory], ax: Axes
) -> None:
    plot_cost_breakdown({"a": real_runs[0], "b": real_runs[1:]}, ax=ax)
    for method, run in enumerate(real_runs):
        spent = list(run.cost_by_outcome.values())
        starts, widths = bars(ax)[:, method].T
        assert widths.tolist() == pytest.approx(spent)
        assert starts.tolist() == pytest.approx([0.0, spent[0]])
    assert legend_labels(ax) == ["branin", "currin"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_bars_and_numbers_are_means_over_runs(ax: Axes) -> None:
    runs = [make_history(STEPS), make_history(STEPS[:4])]
    plot_cost_breakdown({"a": runs}, ax=ax)
    assert bars(ax)[:, 0, 1].tolist() == [25.0, 4.0]
    assert [text.get_text() for text in row_annotations(ax)] == ["2.5", "4"]
    assert ax.get_xlabel() == "mean cost spent (units)"
    assert "mean count" in ax.get_legend().get_title().get_text()


def test_set_ups_are_a_segment_of_their_own(ax: Axes) -> None:
    class Trained(DecoupledBraninCurrin):
        """A network is trained, once, before either outcome is measured."""

        setup_outcomes = (True, True)

        def setup_cost(self, X: torch.Tensor) -> torch.Tensor:
            return X.new_full(X.shape[:-1], 7.0)

    run = run_decoupled_optimization(
        Trained(costs=(2.0, 1.0)),
        RandomPolicy(),
        budget=60.0,
        initial_design=InitialDesign(3),
        seed=0,
    )
    plot_cost_breakdown({"a": run}, ax=ax)
    assert legend_labels(ax) == ["set-up", "branin", "currin"]
    widths = bars(ax)[:, 0, 1].tolist()
    assert sum(widths) == pytest.approx(run.total_cost)
    assert widths[0] == pytest.approx(run.total_setup_cost)
    num_designs = len(run.X)
    assert widths[0] == 7.0 * num_designs
    assert row_annotations(ax)[0].get_text() == str(num_designs)


def test_numbers_overlap_neither_each_other_nor_a_foreign_segment() -> None:
    cheap_only = make_history(
        [(0, AB, 1.0)] + [(1, B, 1.0)] * 250,
        (500.0, 1.0),
        names=("error", "energy"),
        unit="s",
    )
    coupled = make_history(
        [(0, AB, 1.0)] * 20, (500.0, 1.0), names=("error", "energy"), unit="s"
    )
    ax = plot_cost_breakdown(
        {"FlexiBO": extreme_history(), "coupled": coupled, "cheap only": cheap_only}
    )
    ax.figure.canvas.draw()
    texts = row_annotations(ax)
    assert [text.get_text() for text in texts] == [
        *("20", "292"),
        *("20", "20"),
        *("1", "251"),
    ]
    segments = [bar for row in zip(*ax.containers, strict=True) for bar in row]
    extents = [text.get_window_extent() for text in texts]
    for i, extent in enumerate(extents):
        assert not any(extent.overlaps(other) for other in extents[:i])
        assert ax.get_window_extent().x0 < extent.x0
        assert extent.x1 < ax.get_window_extent().x1
        # Within its own segment or beside the bar, in the segment's colour.
        touched = [bar for bar in segments if bar.get_window_extent().overlaps(extent)]
        assert touched in ([], [segments[i]])
        box = texts[i].get_bbox_patch()
        assert box.get_facecolor() == segments[i].get_facecolor()
    inside = [
        bool(bar.get_window_extent().overlaps(e))
        for bar, e in zip(segments, extents, strict=True)
    ]
    assert inside == [True, False, True, False, False, False]


@pytest.mark.parametrize("plot", [plot_hypervolume, plot_cost_breakdown])
@pytest.mark.parametrize(
    ("histories", "match"),
    [
        ({}, "at least one method"),
        ({"a": []}, r"at least one history for 'a'.*got \[\] records"),
        ({"a": [make_history(STEPS), make_history([])]}, r"got \[5, 0\] records"),
        (
            {"a": [make_history(STEPS)], "b": [make_history(STEPS, unit="s")]},
            r"share the unit of costs and the outcomes.*axes of their own",
        ),
        (
            {"a": [make_history(STEPS)], "b": [make_history(STEPS, names=("x", "y"))]},
            r"share the unit of costs and the outcomes",
        ),
        (
            [make_history(STEPS)],
            r"^Expected a history, or histories by the name of their method, but got"
            r" list\. Pass \{name: \[history, \.\.\.\]\}\.$",
        ),
        ({"a": None}, r"^Expected histories for 'a', but got NoneType\. Pass \{name:"),
        ({"a": [1.0]}, r"^Expected histories for 'a', but got float\. Pass \{name:"),
    ],
)
def test_histories_that_cannot_be_compared_are_refused(
    plot: Callable[..., Axes], histories: Any, match: str
) -> None:
    with pytest.raises(InputDataError, match=match):
        plot(histories)


def test_one_history_is_drawn_as_the_run() -> None:
    history = make_history(STEPS)
    ax = plot_cost_breakdown(history)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["run"]
    for histories in (history, {"run": history}):
        ax = plot_hypervolume(histories, metric="hv_measured", relative=False)
        (line,) = ax.get_lines()
        assert line.get_label() == "run"
        expected = [record.hv_measured for record in history.records]
        assert set(line.get_ydata()) <= set(expected)
