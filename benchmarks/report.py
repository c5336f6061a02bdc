"""Tables and figures of stored experiments; nothing is run.

    python -m benchmarks.report real --seeds 0 1 2 --figure out/real.png
    python -m benchmarks.report real --complete --methods FlexiBO NSGA-II
    python -m benchmarks.report deep_shift --peer "SMAC3, ParEGO and Hyperband"
    python -m benchmarks.report battery --matching "(10:1)" --markdown regret

Shares are of the largest hypervolume. *measured*: the designs whose outcomes were all
measured, at the target fidelity. *identified*: the truth of the front that a model of
the data points to. The regret of a run is log10(1 - identified share), at least -4,
averaged over the budget. *error*: what is missing to the largest hypervolume when the
budget is spent, at equal total cost, the form in which FlexiBO's paper reports; final
shares are those after the last request, which may overspend. Costs are those after the
initial designs. Intervals are 95 % of the mean (Student's t); differences
are paired by problem and seed. Ranks are of the regret; two methods whose mean ranks
differ by less than the critical difference (Nemenyi, 5 %) are not told apart.
"""

from __future__ import annotations

import argparse
import math
from itertools import zip_longest
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.experiment import FOLDER, KEY, Store

TARGETS = (0.9, 0.95, 0.99)
SMALLEST_REGRET = 1e-4
LEVEL = 0.95
# Figures show the range of fewer seeds: an interval of theirs covers everything.
FEW_SEEDS = 5


def interval(values: pd.Series) -> float:
    """Half the width of the interval of the mean, NaN for a single value."""
    if len(values) < 2:
        return np.nan
    return float(values.sem() * stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))


def regrets(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean log regret, one row per instance, one column per method."""
    log = np.log10((1 - curves["identified"]).clip(lower=SMALLEST_REGRET))
    means = curves.assign(regret=log).groupby(KEY)["regret"].mean()
    return means.unstack("method")


def shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Final shares per problem and method, with intervals, and what they took."""
    rows = []
    for (problem, method), group in runs.groupby(["problem", "method"], sort=False):
        row = {"problem": problem, "method": method, "seeds": len(group)}
        for name in ("measured", "identified"):
            row[name] = f"{group[name].mean():.3f} +- {interval(group[name]):.3f}"
        row["decisions"] = f"{group['decisions'].mean():.0f}"
        row["optimizer s"] = f"{group['optimizer_seconds'].mean():.0f}"
        rows.append(row)
    return pd.DataFrame(rows).set_index(["problem", "method"])


def cost_to_reach(curves: pd.DataFrame, share: float, column: str) -> pd.DataFrame:
    """Cost at which a share is reached for good, infinite if it is not.

    Interpolated between the points of the grid. One row per instance, one column per
    method.
    """

    def cost(group: pd.DataFrame) -> float:
        values, spent = group[column].to_numpy(), group["spent"].to_numpy()
        below = np.flatnonzero(values < share)
        if len(below) == 0:
            return float(spent[0])
        last = below[-1]
        if last + 1 == len(values):
            return np.inf
        rise = (share - values[last]) / (values[last + 1] - values[last])
        return float(spent[last] + rise * (spent[last + 1] - spent[last]))

    columns = curves[[*KEY, "spent", column]].sort_values("spent")
    costs = columns.groupby(KEY)[["spent", column]].apply(cost)
    return costs.unstack("method")


def reached(curves: pd.DataFrame, share: float, column: str) -> pd.DataFrame:
    """Median costs per problem; "-" where most runs did not reach the share."""
    median = cost_to_reach(curves, share, column).groupby("problem").median()
    return median.map(lambda cost: "-" if np.isinf(cost) else f"{cost:.1f}")


def at_budget(curves: pd.DataFrame) -> pd.DataFrame:
    """Shares when the budget is spent, and no more, one row per run.

    The last request of a run may cost more than what is left.
    """
    return curves[curves["spent"] == curves["spent"].max()].set_index(KEY)


def errors(curves: pd.DataFrame, peer: str) -> pd.DataFrame:
    """Hypervolume errors at equal total cost in percent, and what a peer's exceeds."""
    error = 100 * (1 - at_budget(curves)["measured"])
    table = error.groupby(["problem", "method"]).mean().unstack("method")
    gained = table.rsub(table[peer], axis="index").drop(columns=peer)
    both = pd.concat({"error, %": table, f"less than {peer}": gained}, axis="columns")
    return both.round(1)


def cost_of_peer(curves: pd.DataFrame, peer: str, column: str) -> pd.DataFrame:
    """At which part of the budget the mean curve is for good where a peer's ends.

    Per problem, and the geometric mean over those where the method gets there. A
    method that does not get there has NaN.
    """
    means = curves.groupby(["problem", "method", "spent"])[column].mean().reset_index()
    budget = means["spent"].max()
    parts = {}
    for problem, group in means.groupby("problem", sort=False):
        ends = group[group["spent"] == budget].set_index("method")[column]
        if peer in ends:
            alone = group.assign(seed=0)
            costs = cost_to_reach(alone, float(ends[peer]), column)
            parts[problem] = costs.loc[(problem, 0)].replace(np.inf, np.nan) / budget
    table = pd.DataFrame(parts).T
    table.loc["geometric mean"] = np.exp(np.log(table.clip(lower=1e-3)).mean())
    return table.round(2)


def ranks(frame: pd.DataFrame) -> tuple[pd.Series, float]:
    """Mean ranks, the best first, and the critical difference of two of them."""
    number, count = frame.shape
    mean = frame.rank(axis="columns").mean().sort_values()
    quantile = stats.studentized_range.ppf(LEVEL, count, np.inf) / np.sqrt(2)
    return mean, float(quantile * np.sqrt(count * (count + 1) / (6 * number)))


def paired(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """What each method loses on the reference, on the instances that all finished."""
    mean_ranks, critical = ranks(frame)
    rows = []
    for method in mean_ranks.index:
        difference = frame[method] - frame[reference]
        better, worse = (difference < 0).sum(), (difference > 0).sum()
        rows.append(
            {
                "method": method,
                "mean log regret": frame[method].mean(),
                "mean rank": mean_ranks[method],
                f"minus {reference}": difference.mean(),
                "+-": interval(difference),
                "better / worse": f"{better} / {worse}",
            }
        )
    table = pd.DataFrame(rows).set_index("method").round(3)
    table.index.name = f"{len(frame)} instances, critical difference {critical:.2f}"
    return table


def _error_cells(store: Store) -> list[pd.DataFrame]:
    """Errors of the measured and of the identified front in percent, at equal cost."""
    ends = at_budget(store.curves())
    return [
        _by_problem(100 * (1 - ends[name]), store).round(1)
        for name in ("measured", "identified")
    ]


def _regret_cells(store: Store) -> list[pd.DataFrame]:
    """Mean log regrets, and their mean over the problems."""
    table = _by_problem(regrets(store.curves()).stack(), store)
    table.loc["mean"] = table.mean()
    return [table.round(2)]


def _by_problem(values: pd.Series, store: Store) -> pd.DataFrame:
    """Means over the seeds; problems as stored, methods as asked for."""
    table = values.groupby(["problem", "method"]).mean().unstack("method")
    runs = store.runs()
    methods = list(store.methods or runs["method"].unique())
    return table.loc[list(runs["problem"].unique()), methods]


MARKDOWN = {"errors": (_error_cells, ".1f"), "regret": (_regret_cells, ".2f")}


def markdown(store: Store, kind: str) -> str:
    """A table of the documents: a row per problem, the lowest number in bold."""
    cells, style = MARKDOWN[kind]
    tables = cells(store)
    methods = list(tables[0].columns)
    lines = [f"| | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for problem in tables[0].index:
        rows = [table.loc[problem] for table in tables]
        texts = [
            " / ".join(
                f"**{row[method]:{style}}**"
                if row[method] == row.min()
                else f"{row[method]:{style}}"
                for row in rows
            )
            for method in methods
        ]
        lines.append(f"| {problem} | {' | '.join(texts)} |")
    return "\n".join(lines)


def print_tables(
    store: Store,
    title: str,
    reference: str = "look-ahead FlexiBO",
    peer: str = "coupled qLogNEHVI",
) -> None:
    """All tables of an experiment, as text."""
    runs, curves = store.runs(), store.curves()
    print(f"\n{title}\n\n{shares(runs).to_string()}")
    for column in ("measured", "identified"):
        for share in TARGETS:
            costs = reached(curves, share, column)
            print(f"\ncost to reach {share:.0%} ({column})\n{costs.to_string()}")
    if peer in set(runs["method"]):
        print(f"\nhypervolume errors at the budget\n{errors(curves, peer).to_string()}")
        for column in ("measured", "identified"):
            table = cost_of_peer(curves, peer, column).to_string()
            print(f"\npart of the cost to {peer}'s last share ({column})\n{table}")
    frame = regrets(curves).dropna()
    chosen = reference if reference in frame else frame.columns[0]
    if len(frame) > 0:
        print(f"\n{paired(frame, chosen).to_string()}")


# What figures show: an axis, a share, and what the axis is called.
VIEWS = (
    ("spent", "measured", "cost [complete measurements]"),
    ("spent", "identified", "cost [complete measurements]"),
    ("dear", "measured", "dear measurements"),
    ("optimizer_seconds", "measured", "optimiser [s]"),
)


def plot(store: Store, path: Path, num_views: int = len(VIEWS)) -> None:
    """The first views, a panel per problem, up to four problems in a row."""
    curves = store.curves()
    problems = list(curves["problem"].unique())
    methods = list(store.methods or curves["method"].unique())
    columns = min(len(problems), 4)
    rows = math.ceil(len(problems) / columns)
    size = (3.1 * columns, 2.5 * rows * num_views)
    figure, axes = plt.subplots(
        rows * num_views, columns, figsize=size, squeeze=False, layout="constrained"
    )
    for view, block in zip(VIEWS, np.split(axes, num_views), strict=False):
        for problem, axis in zip_longest(problems, block.flat):
            if problem is None:
                axis.set_axis_off()
            else:
                _panel(axis, curves[curves["problem"] == problem], methods, view)
    handles = [plt.Line2D([], [], color=f"C{k}") for k in range(len(methods))]
    figure.legend(handles, methods, loc="outside lower center", ncols=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(
    axis: plt.Axes, curves: pd.DataFrame, methods: list[str], view: tuple[str, str, str]
) -> None:
    """All methods on one problem."""
    x, y, label = view
    for k, method in enumerate(methods):
        _band(axis, curves[curves["method"] == method], x, y, f"C{k}")
    lowest = curves[curves["spent"] > 0][y].quantile(0.05)
    axis.set(
        title=curves["problem"].iloc[0],
        xlabel=label,
        ylabel=f"share, {y}",
        ylim=(max(0.0, lowest - 0.05), 1.0),
    )
    if x == "optimizer_seconds":
        axis.set_xscale("symlog")


def _band(axis: plt.Axes, curves: pd.DataFrame, x: str, y: str, color: str) -> None:
    """Mean over the seeds at each point of the grid; its interval, or their range."""
    grouped = curves.groupby("spent")
    mean = grouped[y].mean()
    low, high = grouped[y].min(), grouped[y].max()
    if curves["seed"].nunique() >= FEW_SEEDS:
        width = grouped[y].apply(interval)
        low, high = mean - width, mean + width
    place = grouped[x].mean() if x != "spent" else pd.Series(mean.index, mean.index)
    axis.plot(place, mean, color=color, linewidth=1.2)
    axis.fill_between(place, low, high, color=color, alpha=0.12, linewidth=0)


def main() -> None:
    """Print the tables of configs, and draw the figure of one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="+", help="names of configs")
    parser.add_argument("--results", type=Path, default=FOLDER / "results")
    parser.add_argument("--seeds", type=int, nargs="+", help="these only")
    parser.add_argument("--methods", nargs="+", help="these only")
    parser.add_argument("--matching", default="", help="problems with this text")
    parser.add_argument(
        "--complete",
        action="store_true",
        help="only seeds of a problem on which all these methods ran",
    )
    parser.add_argument("--reference", default="look-ahead FlexiBO")
    parser.add_argument("--peer", default="coupled qLogNEHVI")
    parser.add_argument("--figure", type=Path, help="draw the first config")
    parser.add_argument(
        "--views",
        type=int,
        choices=range(1, len(VIEWS) + 1),
        default=len(VIEWS),
        help="how many views of each problem it shows",
    )
    parser.add_argument(
        "--markdown",
        choices=list(MARKDOWN),
        help="instead of all tables that of a document: errors of the measured and of"
        " the identified front in percent at the budget, or mean log10 regrets",
    )
    args = parser.parse_args()
    seeds = None if args.seeds is None else tuple(args.seeds)
    methods = None if args.methods is None else tuple(args.methods)
    stores = [
        Store(args.results, name, seeds, methods, args.matching, args.complete)
        for name in args.config
    ]
    for store in stores:
        if args.markdown:
            print(markdown(store, args.markdown))
        else:
            print_tables(store, store.name, args.reference, args.peer)
    if args.figure:
        plot(stores[0], args.figure, args.views)


if __name__ == "__main__":
    main()
