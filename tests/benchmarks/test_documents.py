"""Tables of the documents are those of the stored results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

import numpy as np
import pandas as pd
from pandas import Series

from benchmarks.experiment import FOLDER, Store
from benchmarks.report import (
    at_budget,
    cost_of_peer,
    cost_to_reach,
    interval,
    markdown,
    ranks,
    regrets,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = FOLDER / "results"
REAL = Store(
    RESULTS,
    "real",
    methods=(
        "FlexiBO",
        "look-ahead FlexiBO",
        "qLogNEHVI + variance/cost",
        "coupled qLogNParEGO",
        "coupled qLogNEHVI",
        "Optuna, TPE",
        "random, coupled",
    ),
    complete=True,
)
BATTERY = Store(
    RESULTS,
    "battery",
    matching="(10:1)",
    methods=(
        "look-ahead FlexiBO",
        "qLogNEHVI + variance/cost",
        "C-MOKG",
        "coupled qLogNEHVI",
        "coupled qLogNParEGO",
        "FlexiBO, discretised",
        "random, coupled",
    ),
)
PER_COST = "coupled qLogNEHVI, per cost"
AWARE = replace(
    REAL,
    methods=("FlexiBO", "look-ahead FlexiBO", "coupled qLogNEHVI", PER_COST),
)
NEAR = replace(BATTERY, matching="(3:1)")
EQUAL = replace(BATTERY, matching="(1:1)")
FORMER = "look-ahead FlexiBO, |U|=128"
# Where variance per cost was not run on all seeds.
DEAR = replace(
    BATTERY,
    matching="(100:1)",
    methods=(
        "look-ahead FlexiBO",
        "C-MOKG",
        "coupled qLogNEHVI",
        "coupled qLogNParEGO",
        "FlexiBO, discretised",
        "random, coupled",
    ),
)
THREE = replace(DEAR, name="three_outcomes", matching="(10:1)")
OTHERS = tuple(
    replace(THREE, matching=f"({costs})", seeds=(0, 1, 2, 3, 4))
    for costs in ("100:1", "3:1", "1:1")
)


def rows(lines: list[str]) -> dict[str, list[str]]:
    """The cells of a table by the text of the first, without head and rule."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {name: others for name, *others in cells[2:]}


def table_below(text: str, head: str) -> list[str]:
    """The lines of the table that starts with a line."""
    lines = text[text.index(f"\n{head}") + 1 :].splitlines()
    ends = [k for k, line in enumerate(lines) if not line.lstrip().startswith("|")]
    return lines[: ends[0]]


@pytest.mark.parametrize(
    ("document", "head", "store", "kind"),
    [
        ("README.md", "| | FlexiBO |", REAL, "errors"),
        ("docs/results.md", "| regret | FlexiBO |", REAL, "regret"),
        ("docs/results.md", "| percent missing (seeds) |", AWARE, "errors"),
        ("docs/results.md", "| problem | look-ahead", BATTERY, "regret"),
        ("docs/results.md", "| at 3:1 | look-ahead", NEAR, "regret"),
        ("docs/results.md", "| at 1:1 | look-ahead", EQUAL, "regret"),
        ("docs/results.md", "| at 100:1 | look-ahead", DEAR, "regret"),
        ("docs/results.md", "| three outcomes | look-ahead", THREE, "regret"),
    ],
)
def test_a_table_says_what_is_stored(
    document: str, head: str, store: Store, kind: str
) -> None:
    written = rows(table_below((ROOT / document).read_text("utf-8"), head))
    stored = rows(markdown(store, kind).splitlines())
    assert len(written) == len(stored)
    for name, cells in written.items():
        known = [each for each in stored if name.startswith(each.split(" (")[0])]
        assert cells == stored[max(known, key=len)], name


def test_the_readme_says_how_many_seeds_each_table_had() -> None:
    written = rows(table_below((ROOT / "README.md").read_text("utf-8"), "| | FlexiBO"))
    seeds = REAL.runs().groupby("problem")["seed"].nunique()
    for problem, count in seeds.items():
        named = [name for name in written if name.startswith(str(problem))]
        assert [name.split(" (")[-1] for name in named] in (
            [f"{count})"],
            ["10)", "10)"],  # CIFAR-10 begins the name of CIFAR-100
        )


def test_the_regret_on_tables_is_as_written() -> None:
    regret = regrets(REAL.curves())
    assert not regret.isna().any(axis=None)
    text, last = words("README.md"), words("docs/results.md")
    mean_ranks, critical = ranks(regret)
    first, second, third, fourth = mean_ranks.head(4)
    assert list(mean_ranks.index[:3]) == [*reversed(OURS), REAL.methods[2]]
    order = f"a mean rank of {first:.1f} of seven, FlexiBO {second:.1f}, variance per"
    assert f"{order} cost {third:.1f}, the others {fourth:.1f} and more" in text
    assert f"({len(regret)} runs, critical difference {critical:.1f})" in text
    gap = regret["coupled qLogNEHVI"] - regret[OURS[1]]
    assert f"{gap.mean():.2f} +- {interval(gap):.2f} below coupled qLogNEHVI's" in text
    assert f"better in {(gap > 0).sum()} of {len(gap)}" in text
    by_table = gap.groupby("problem").mean()
    assert len(by_table) == 7
    assert f"{by_table.mean():.2f} +- {interval(by_table):.2f} with the seven" in text
    level = regret[OURS[0]] - regret[OURS[1]]
    assert f"level ({level.mean():.2f} +- {interval(level):.2f} apart)" in last


def test_three_outcomes_at_other_cost_ratios_are_as_written() -> None:
    text = words("docs/results.md")
    document = (ROOT / "docs/results.md").read_text("utf-8")
    written = rows(table_below(document, "| three outcomes at | look-ahead"))
    regret = pd.concat(regrets(store.curves()) for store in OTHERS)
    assert regret.shape == (30, 6) and not regret.isna().any(axis=None)
    means = regret.groupby("problem").mean()
    assert len(written) == len(means) == 6
    for name, row in means.iterrows():
        problem, costs = str(name).rstrip(")").split(" (")
        cells = [f"{x:.2f}" for x in row[list(THREE.methods or ())]]
        found = written[f"{problem.split(',')[0]}, {costs}"]
        assert [cell.replace("*", "") for cell in found] == cells
    mean_ranks, critical = ranks(regret)
    first, second = (mean_ranks[m] for m in ("look-ahead FlexiBO", THREE.methods[4]))
    assert f"{first:.1f} and {second:.1f} of six" in text
    assert f"30 runs, critical difference {critical:.1f}" in text
    gaps = regret.rsub(regret["look-ahead FlexiBO"], axis=0)
    for name in ("FlexiBO, discretised", "coupled qLogNEHVI", "C-MOKG"):
        gap = -gaps[name]
        numbers = f"{gap.mean():.2f} +- {interval(gap):.2f}"
        wins = (regret["look-ahead FlexiBO"] < regret[name]).sum()
        assert numbers in text and f"({wins}" in text
    runs = pd.concat(store.runs() for store in OTHERS).groupby("method")["measured"]
    ours, peer = (
        f"{runs.mean()[m]:.2f}" for m in ("look-ahead FlexiBO", "coupled qLogNEHVI")
    )
    assert f"measured {ours} on average, coupled qLogNEHVI {peer}" in text


def test_what_costs_alone_buy_is_as_written() -> None:
    regret = regrets(AWARE.curves())
    text = words("docs/results.md")
    gap = regret.rsub(regret[PER_COST], axis=0)
    numbers = {m: f"{gap[m].mean():.2f} +- {interval(gap[m]):.2f}" for m in gap}
    better, count = (gap > 0).sum(), len(gap)
    peer = -gap["coupled qLogNEHVI"]
    below = f"{peer.mean():.2f} +- {interval(peer):.2f} below qLogNEHVI's"
    assert f"{below} (lower in {(peer > 0).sum()} of {count} runs)" in text
    assert f"and {numbers[OURS[1]]} and {numbers[OURS[0]]} above" in text
    assert f"lower in {better[OURS[1]]} and {better[OURS[0]]})" in text
    by_table = gap.groupby("problem").mean()
    first, second = (
        f"{by_table[m].mean():.2f} +- {interval(by_table[m]):.2f}"
        for m in reversed(OURS)
    )
    assert f"as units {first} and {second}" in text
    means = regret.groupby("problem").mean()
    tables = ["HPOLib, slice", "HPOBench, vehicle"]
    assert (means.loc[tables].idxmin(axis=1) == PER_COST).all()
    ours, theirs = (means.loc[tables, m].round(2) for m in (OURS[1], PER_COST))
    pairs = [f"{a[0]:.2f} and {a[1]:.2f}" for a in (theirs.to_list(), ours.to_list())]
    assert "({}; look-ahead FlexiBO {})".format(*pairs) in text
    lead = f"{numbers[OURS[1]]} below it ({better[OURS[1]]} of {count} runs)"
    assert lead in words("README.md")


def test_the_readme_says_how_many_runs_reach_95_percent() -> None:
    reached = [
        np.isfinite(cost_to_reach(REAL.curves(), 0.95, column)).sum()
        for column in ("measured", "identified")
    ]
    names = [*OURS, "coupled qLogNEHVI"]
    numbers = "in {} (FlexiBO), {} (look-ahead FlexiBO) and {} (coupled qLogNEHVI)"
    text = words("README.md")
    assert numbers.format(*reached[0][names]) in text
    assert "identified in {}, {} and {}".format(*reached[1][names]) in text


def test_what_flexibo_measured_more_than_lookahead_is_as_written() -> None:
    share = at_budget(REAL.curves())["measured"].unstack("method")
    more = 100 * (share[OURS[0]] - share[OURS[1]])
    names = ["NAS-Bench-201, CIFAR-100", "NAS-Bench-201, CIFAR-10"]
    names += ["crossbar", "deep shift"]
    first, *others = (
        f"{more[name].mean():.1f} +- {interval(more[name]):.1f}" for name in names
    )
    text = words("docs/results.md")
    assert f"CIFAR-100 ({first} points)" in text
    assert f"({', '.join(others)})" in text


@pytest.mark.parametrize("config", ["real", "battery"])
def test_a_longer_search_of_qlognehvi_does_what_is_written(config: str) -> None:
    default, longer = "coupled qLogNEHVI", "coupled qLogNEHVI, searched at length"
    methods = (default, longer)
    curves = Store(RESULTS, config, (0, 1, 2), methods, "").curves()
    regret = regrets(curves)
    gap = (regret[default] - regret[longer]).dropna()
    wins, losses = (gap > 0).sum(), (gap < 0).sum()
    text = words("docs/results.md")
    assert f"{gap.mean():.2f} +- {interval(gap):.2f} lower on the" in text
    assert f"({len(gap)} runs, better in {wins}, worse in {losses})" in text
    if config == "real":
        share = at_budget(curves)["measured"].unstack("method").dropna()
        missing = 100 * (1 - share.groupby("problem").mean())
        for name in ("NAS-Bench-201, ImageNet16", "HPOLib, slice"):
            later, before = missing.loc[name, [longer, default]]
            assert f"{later:.1f} %" in text and f"instead of {before:.1f} %" in text


@pytest.mark.parametrize("ratio", ["10:1", "1:1"])
def test_drawn_widths_do_what_is_written(ratio: str) -> None:
    methods = {
        "drawn from 0": FORMER,
        "drawn from 1/2": "look-ahead FlexiBO, beta from 1/2",
        "beta = 1": "look-ahead FlexiBO, beta=1",
    }
    fixed = methods["beta = 1"]
    seeds, known = (0, 1, 2, 3, 4), tuple(methods.values())
    curves = Store(RESULTS, "study", seeds, known, f"({ratio})").curves()
    table = table_below(
        (ROOT / "docs/results.md").read_text("utf-8"), "| drawn or fixed | regret |"
    )
    written = rows([line.replace("*", "") for line in table])
    regret = regrets(curves)
    assert len(regret.dropna()) == 35
    last = curves[curves["spent"] == curves["spent"].max()]
    for name, method in methods.items():
        gap = regret[method] - regret[fixed]
        compared = [
            f"{gap.mean():.2f} +- {interval(gap):.2f}",
            f"{(gap < 0).sum()} / {(gap > 0).sum()}",
        ]
        end = last[last["method"] == method]
        assert written[f"{ratio}, {name}"] == [
            f"{regret[method].mean():.2f}",
            *(["", ""] if method == fixed else compared),
            f"{end['identified'].mean():.2f}",
            f"{end['measured'].mean():.2f}",
            f"{(end['identified'] < 0.5).sum()} of {len(end)}",
        ]


@pytest.mark.parametrize(
    ("row", "now", "before"),
    [
        ("10:1, seeds 0-9", ("study", "(10:1)"), ("study", "(10:1)")),
        ("1:1, seeds 0-4", ("study", "(1:1)"), ("study", "(1:1)")),
        ("100:1, seeds 0-1", ("study", "(100:1)"), ("study", "(100:1)")),
        ("recorded trainings, seeds 0-2", ("real", ""), ("study_tables", "")),
    ],
)
def test_fewer_reference_designs_do_what_is_written(
    row: str, now: tuple[str, str], before: tuple[str, str]
) -> None:
    table = table_below(
        (ROOT / "docs/results.md").read_text("utf-8"), "| 32 designs instead of 128 |"
    )
    columns = []
    for (name, matching), method in ((now, "look-ahead FlexiBO"), (before, FORMER)):
        seeds = (0, 1, 2) if row.startswith("recorded") else None
        store = Store(RESULTS, name, seeds, (method,), matching)
        measured = store.runs().set_index(["problem", "seed"])["measured"]
        columns.append((regrets(store.curves())[method], measured))
    (regret, measured), (former, less) = columns
    gap = (regret - former).dropna()
    more = (measured - less).dropna()
    assert rows(table)[row] == [
        str(len(gap)),
        f"{regret[gap.index].mean():.2f}",
        f"{gap.mean():.2f} +- {interval(gap):.2f}",
        f"{(gap < -1e-9).sum()} / {(gap > 1e-9).sum()}",
        f"{measured[gap.index].mean():.2f}",
        f"{more.mean():.2f} +- {interval(more):.2f}",
    ]


@pytest.mark.parametrize("variant", ["exploiting at last", "rising weight"])
def test_weights_that_depend_on_the_budget_do_what_is_written(variant: str) -> None:
    default, method = "look-ahead FlexiBO", f"look-ahead FlexiBO, {variant}"
    curves = Store(RESULTS, "study", (0, 1), (default, method), "(10:1)").curves()
    regret = regrets(curves)
    gap = (regret[method] - regret[default]).dropna()
    assert len(gap) == 14
    last = curves[curves["spent"] == curves["spent"].max()]
    measured = last.set_index(["problem", "seed", "method"])["measured"].unstack()
    more = (measured[method] - measured[default]).dropna()
    table = table_below(
        (ROOT / "docs/results.md").read_text("utf-8"),
        "| weight of the measured front |",
    )
    assert rows(table)[variant] == [
        f"{regret[method].mean():.2f}",
        f"{gap.mean():.2f} +- {interval(gap):.2f}",
        f"{(gap < -1e-9).sum()} / {(gap > 1e-9).sum()}",
        f"{more.mean():.2f} +- {interval(more):.2f}",
    ]


def test_more_weight_on_what_is_measured_does_what_is_written() -> None:
    default = "look-ahead FlexiBO"
    method = f"{default}, |U|=32, weight 0.3"
    written = []
    for config, where, runs in (("study_tables", "real", 12), ("study", "study", 14)):
        curves = pd.concat(
            Store(RESULTS, name, methods=(kind,)).curves()
            for name, kind in ((config, method), (where, default))
        )
        regret = regrets(curves)
        gap = (regret[method] - regret[default]).dropna()
        assert len(gap) == runs
        last = curves[curves["spent"] == curves["spent"].max()]
        measured = last.set_index(["problem", "seed", "method"])["measured"].unstack()
        more = (measured[method] - measured[default]).dropna()
        written.append((gap.mean(), interval(gap), more.mean(), interval(more)))
    tables, battery = written
    text = words("docs/results.md")
    assert (
        "{:.2f} +- {:.2f} higher and it has measured {:.3f} +- {:.3f} more".format(
            *tables
        )
        in text
    )
    higher, around, less, spread = battery
    assert (
        f"{higher:.2f} +- {around:.2f} higher and {-less:.2f} +- {spread:.2f}" in text
    )


def test_the_lead_over_variance_per_cost_is_what_is_written() -> None:
    methods = ("look-ahead FlexiBO", "qLogNEHVI + variance/cost")
    gaps: list[dict] = []  # by problem and seed
    for store in (BATTERY, NEAR, EQUAL):
        regret = regrets(replace(store, methods=methods).curves())
        ours, theirs = (regret[method].to_dict() for method in methods)
        gaps.append({run: ours[run] - theirs[run] for run in ours})
    _, near, equal = gaps
    later = {run: gap for run, gap in equal.items() if run[1] >= 5}
    # All runs, and those by which nothing was chosen.
    for parts, runs, wins in (
        (gaps, 210, 121),
        ([near, later], 105, 59),
    ):
        gap = Series([each for part in parts for each in part.values()])
        lead = f"{-gap.mean():.2f} +- {interval(gap):.2f}"
        assert (len(gap), (gap < 0).sum()) == (runs, wins)
        text = (ROOT / "docs/results.md").read_text("utf-8").replace("\n", " ")
        assert f"{runs} " in text
        assert f"{lead} above" in text
        assert f"worse in {wins}" in text


@pytest.mark.parametrize(
    ("method", "lead", "wins"),
    [
        ("C-MOKG", "0.19 +- 0.09", 47),
        ("coupled qLogNEHVI", "0.56 +- 0.16", 63),
        ("FlexiBO, discretised", "0.47 +- 0.19", 50),
    ],
)
def test_the_lead_at_very_unequal_costs_is_what_is_written(
    method: str, lead: str, wins: int
) -> None:
    regret = regrets(DEAR.curves())
    gap = regret["look-ahead FlexiBO"] - regret[method]
    assert len(gap.dropna()) == 70
    assert (gap < 0).sum() == wins
    assert f"{-gap.mean():.2f} +- {interval(gap):.2f}" == lead
    text = (ROOT / "docs/results.md").read_text("utf-8").replace("\n", " ")
    assert f"{lead} below" in text


@pytest.mark.parametrize(
    ("method", "lead", "wins"),
    [
        ("C-MOKG", "0.26 +- 0.07", 19),
        ("coupled qLogNEHVI", "0.22 +- 0.06", 19),
        ("FlexiBO, discretised", "0.09 +- 0.06", 14),
    ],
)
def test_the_lead_with_three_outcomes_is_what_is_written(
    method: str, lead: str, wins: int
) -> None:
    regret = regrets(THREE.curves())
    gap = regret["look-ahead FlexiBO"] - regret[method]
    assert len(gap.dropna()) == 20
    assert (gap < 0).sum() == wins
    assert f"{-gap.mean():.2f} +- {interval(gap):.2f}" == lead
    assert f"{lead} below" in words("docs/results.md")
    ranks = regret.rank(axis=1)
    for problem in (*ranks.index.unique("problem"), None):
        means = (ranks if problem is None else ranks.loc[problem]).mean()
        assert means.idxmin() == "look-ahead FlexiBO"


def test_what_is_written_of_three_outcomes_is_stored() -> None:
    runs = THREE.runs()
    shares = runs.groupby("method")[["measured", "identified"]].mean()
    ranks = regrets(THREE.curves()).rank(axis=1).mean()
    ours, peer, finite = "look-ahead FlexiBO", *THREE.methods[2::2][:2]
    text = words("docs/results.md")
    assert f"({ranks[ours]:.1f} of six over all, FlexiBO on 1,000 designs" in text
    assert f"designs {ranks[finite]:.1f})" in text
    measured, identified = shares["measured"], shares["identified"]
    assert f"most, {identified[ours]:.2f} on average" in text
    assert f"FlexiBO {identified[finite]:.2f}, qLogNEHVI {identified[peer]:.2f}" in text
    assert f"{measured[peer]:.2f} to its {measured[ours]:.2f}" in text
    assert f"({measured[peer]:.2f} to {measured[ours]:.2f})" in words("README.md")


OURS = ["FlexiBO", "look-ahead FlexiBO"]


def words(document: str) -> str:
    """A document without line breaks and indentation."""
    return " ".join((ROOT / document).read_text("utf-8").split())


@pytest.mark.parametrize("column", ["measured", "identified"])
def test_the_readme_says_when_methods_have_what_qlognehvi_ends_with(
    column: str,
) -> None:
    parts = cost_of_peer(REAL.curves(), "coupled qLogNEHVI", column)
    there = parts.drop(index="geometric mean")[OURS].notna().sum()
    assert there.to_list() == [6, 7]
    flexibo, ours = (f"{100 * x:.0f} %" for x in parts.loc["geometric mean", OURS])
    text = words("README.md")
    if column == "measured":
        assert (
            f"look-ahead FlexiBO {ours} on all seven tables; FlexiBO {flexibo}" in text
        )
    else:
        assert f"*Identified*: {ours} on all seven, and {flexibo} on six" in text


def test_the_readme_says_how_far_the_best_other_method_is() -> None:
    errors = 100 * (1 - at_budget(REAL.curves())["measured"])
    table = errors.groupby(["problem", "method"]).mean().unstack("method").round(1)
    best = table.drop(columns=OURS).min(axis=1)
    flexibo, ours = ((best - table[name]).round(1) for name in OURS)
    text = words("README.md")
    for gained in (flexibo, ours):
        assert (gained > 0).sum() == 6
    ahead = flexibo[flexibo > 0]
    assert f"{ahead.min()} to {ahead.max()} points lower on six tables" in text
    assert f"{-flexibo.min()} higher on HPOLib" in text
    ahead = ours[ours > 0]
    assert f"{ahead.min()} to {ahead.max()} lower on six" in text
    assert f"{-ours.min()} higher on deep shift" in text
    nas = table[table.index.str.startswith("NAS")]
    worse = nas[OURS[1]] / nas[OURS[0]]
    assert f"{worse.min():.1f} to {worse.max():.1f} times FlexiBO's" in text


def test_the_readme_says_how_much_of_the_battery_is_measured() -> None:
    table = rows(table_below((ROOT / "README.md").read_text("utf-8"), "  | costs |"))
    stores = {"100:1": DEAR, "10:1": BATTERY, "3:1": NEAR, "1:1": EQUAL}
    for costs, store in stores.items():
        means = store.runs().groupby("method")["measured"].mean()
        names = ["look-ahead FlexiBO", *BATTERY.methods[1:4]]
        shares = [f"{means[n]:.2f}" if n in means else "-" for n in names]
        assert table[costs][-1].replace("*", "") == ", ".join(shares)


def ax_shares(method: str) -> np.ndarray:
    """Measured and identified shares, ``seeds x hours x 2``, after 4, 8 and 16 h."""
    lines = (RESULTS / "ax_nasbench201.jsonl").read_text("utf-8").splitlines()
    runs = [run for run in map(json.loads, lines) if run["method"] == method]
    traces = np.array([run["trace"] for run in sorted(runs, key=lambda r: r["seed"])])
    hours = np.linspace(1.0, 16.0, traces.shape[1])
    return traces[:, [int((hours == h).argmax()) for h in (4, 8, 16)], 1:]


def test_what_is_written_of_ax_is_stored() -> None:
    default, ours = ax_shares("Ax default"), ax_shares("flexibo strategy")
    text = (ROOT / "docs/results.md").read_text("utf-8").replace("**", "")
    table = rows(table_below(text, "| GPU hours | 4 | 8 | 16 |"))
    for name, shares in (
        ("Ax's default strategy", default),
        ("this package's strategy", ours),
    ):
        means = shares.mean(axis=0)
        assert table[name] == [f"{a:.3f} / {b:.3f}" for a, b in means]
    wins = (ours > default).sum(axis=0)
    assert table["ahead in, of five seeds"] == [f"{a} / {b}" for a, b in wins]
    last = (ours - default)[:, -1, 0]
    low, high = sorted(-last[last < 0])[0], max(-last)
    assert f"by {low:.2f} to {high:.2f}, and is behind by {last.max():.2f}" in text
    assert f"ends at {default[last.argmax(), -1, 0]:.2f}" in text
    former = ax_shares("flexibo strategy, former").mean(axis=0)[:, 0]
    assert "had measured {:.3f}, {:.3f} and {:.3f}".format(*former) in text
    readme = words("README.md")
    means = [f"{x:.2f}" for x in (*ours.mean(0)[:, 0], *default.mean(0)[:, 0])]
    assert "{}, {} and {} measured".format(*means[:3]) in readme
    assert "strategy {}, {} and {};".format(*means[3:]) in readme
    numbers = {2: "two", 3: "three", 4: "four"}
    ahead = [numbers[count] for count in wins[:, 0]]
    assert "ahead in {}, {} and {} of the seeds".format(*ahead) in readme


def test_sensitivities_are_those_stored() -> None:
    names = {
        "ZDT1, d = 2": "ZDT1, d=2",
        "ZDT1, d = 6, noise 0.1": "ZDT1, d=6, noise 0.1",
        "ZDT1, d = 20": "ZDT1, d=20",
        "DTLZ2, d = 6": "DTLZ2, m=2",
        "DTLZ2, d = 6, three outcomes": "DTLZ2, m=3",
        "DTLZ2, d = 6, four outcomes": "DTLZ2, m=4",
    }
    runs = Store(RESULTS, "sensitivity_problem", seeds=(0,)).runs()
    stored = runs.set_index(["problem", "method"])[["measured", "identified"]]
    text = (ROOT / "docs/results.md").read_text("utf-8")
    head = "| | look-ahead FlexiBO | coupled qLogNEHVI | random |"
    methods = ["look-ahead FlexiBO", "coupled qLogNEHVI", "random, coupled"]
    table = rows(table_below(text.replace("**", ""), head))
    assert len(table) == len(names)
    for name, problem in names.items():
        shares = [stored.loc[(problem, method)] for method in methods]
        assert table[name] == [f"{a:.3f} / {b:.3f}" for a, b in shares]


def test_scoring_is_as_fast_as_is_written() -> None:
    stored = json.loads((RESULTS / "throughput.json").read_text("utf-8"))
    large = stored["large"]["cpu"]
    seconds = large["set_up_and_scoring_seconds"]
    alone = seconds / large["posterior_of_single_designs_seconds"]
    joint = seconds / large["joint_posterior_seconds"]
    text = words("docs/results.md")
    assert f"takes {alone:.1f} times what their posterior means" in text
    assert f"{joint:.1f} times GPyTorch's joint posterior" in text
    pairs = {
        row["outcomes"]: row["pairs_per_second"]
        for row in stored["rows"]
        if row["sweep"] == "outcomes"
    }
    three, four = (f"{pairs[2] / pairs[m]:.0f}" for m in (3, 4))
    assert f"third outcome makes scoring {three} times slower, a fourth {four}" in text
    assert f"{three} and {four} times as long to score" in words("README.md")


@pytest.mark.parametrize(("problem", "seeds"), [("BraninCurrin", 5), ("ZDT2", 3)])
def test_hvkg_is_as_slow_as_is_written(problem: str, seeds: int) -> None:
    store = Store(RESULTS, "hvkg", matching=problem)
    runs = store.runs().groupby("method")[["cpu_seconds", "decisions"]].sum()
    seconds = runs["cpu_seconds"] / runs["decisions"]
    regret = regrets(store.curves())[["look-ahead FlexiBO", "HVKG"]]
    ours, theirs = (f"{x:.2f}" for x in regret.mean())
    assert len(regret.dropna()) == seeds
    text = words("docs/results.md")
    ratio = seconds["HVKG"] / seconds["look-ahead FlexiBO"]
    assert f"{ratio:.0f} times less" in text
    assert f"{ours} against {theirs}" in text
    regret = regret.dropna()
    lower = (regret["look-ahead FlexiBO"] < regret["HVKG"]).sum()
    assert lower == {"BraninCurrin": 4, "ZDT2": 3}[problem]


def test_what_winsorising_changes_is_as_written() -> None:
    curves = Store(RESULTS, "real").curves()
    text = (ROOT / "docs/results.md").read_text("utf-8")
    written = rows(table_below(text, "| winsorised | regret |"))
    regret, last = regrets(curves), at_budget(curves)
    for method, cells in written.items():
        with_it = f"{method}, winsorised"
        gap = (regret[with_it] - regret[method]).dropna()
        assert len(gap) == 26
        wins, losses = (gap < 0).sum(), (gap > 0).sum()
        expected = [f"{gap.mean():.2f} +- {interval(gap):.2f}", f"{wins} / {losses}"]
        for column in ("measured", "identified"):
            share = last[column].unstack("method")
            less = 100 * (share[method] - share[with_it]).dropna()
            expected.append(f"{less.mean():.1f} +- {interval(less):.1f}")
        assert cells == expected, method
    battery = regrets(Store(RESULTS, "battery", matching="(10:1)").curves())
    ours = "look-ahead FlexiBO"
    gap = (battery[f"{ours}, winsorised"] - battery[ours]).dropna()
    assert len(gap) == 21
    numbers = f"{gap.mean():.2f} +- {interval(gap):.2f} higher (10:1, three seeds)"
    assert numbers in " ".join(text.split())


def test_what_problems_as_units_tell_is_as_written() -> None:
    text, ours = words("docs/results.md"), "look-ahead FlexiBO"
    variance = "qLogNEHVI + variance/cost"
    gaps: dict[str, list[str]] = {}
    criticals = []
    stores = {"100:1": DEAR, "10:1": BATTERY, "3:1": NEAR, "1:1": EQUAL}
    for costs, store in stores.items():
        methods = (*(store.methods or ()), "random, decoupled")
        curves = replace(store, methods=methods).curves()
        means = regrets(curves).groupby("problem").mean()
        assert len(means) == 7
        mean_ranks, critical = ranks(means)
        criticals.append(critical)
        for method in {"coupled qLogNEHVI", "C-MOKG", variance} & set(means):
            gap = means[method] - means[ours]
            numbers = f"{gap.mean():.2f} +- {interval(gap):.2f}"
            gaps.setdefault(method, []).append(numbers)
        if costs == "3:1":
            both = mean_ranks[[variance, ours]]
            assert "at 3:1 ({:.1f} and {:.1f} of eight)".format(*both) in text
    assert f"is {min(criticals):.1f} to {max(criticals):.1f} ranks" in text
    qlognehvi, kg = gaps["coupled qLogNEHVI"], gaps["C-MOKG"]
    assert "({}, {}) and not surely".format(*qlognehvi[:2]) in text
    assert "at 3:1 and 1:1 ({}, {})".format(*qlognehvi[2:]) in text
    assert f"C-MOKG at 10:1 and 1:1 ({kg[1]}, {kg[3]})" in text
    assert f"at no ratio ({', '.join(gaps[variance])} at 10:1" in text


def test_what_a_part_of_the_rows_costs_is_as_written() -> None:
    stored = pd.DataFrame(json.loads((RESULTS / "fit_rows.json").read_text())["runs"])
    means = stored.groupby(["fitted", "problem"])[["rmse", "nll"]].mean()
    text = (ROOT / "docs/reliability.md").read_text("utf-8")
    written = rows(table_below(text, "| rows fitted |"))
    assert len(written) == 4
    for fitted, cells in written.items():
        expected = means.loc[int(fitted.replace(",", ""))]
        for cell, (rmse, nll) in zip(cells, expected.to_numpy(), strict=True):
            pair = f"{rmse:.3f} / {nll:.3f}".replace("0.", ".")
            assert cell.split(",")[0] == pair
