"""Tables and a figure of the PABO comparison, drawn from the stored runs.

Shares are those of the hypervolume of the true front. "Measured" counts designs with
all outcomes paid for, "identified" the truth of the front that a model of the data
points to. Differences are paired by seed, with the 95 % interval of their mean
(Student's t). Optimiser seconds are wall seconds times the run's share of CPU time, so
that waiting for a core does not count.

    python -m benchmarks.pabo_comparison_report --figure docs/figures/pabo.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.environment import stored
from benchmarks.pabo_comparison import COMPARED, RESULTS, SETTINGS
from botorch_flexibo.policies.supervisor import Gate, Schedule

# A stored line.
Run = dict[str, Any]

LEVELS = (0.9, 0.95)
EFFORT = {"num_fits": "fits", "num_acquisitions": "acq", "num_gated": "gated"}
# Lines of the figure: colour and style.
SHOWN = {
    "PABO none, round_robin": ("tab:blue", "-"),
    "PABO observed, lead_skip": ("tab:cyan", "-"),
    "PABO predicted, lead_skip": ("tab:purple", "-"),
    "PABO observed, lead_skip + surrogate": ("tab:pink", "-"),
    "FlexiBO": ("tab:orange", "-"),
    "look-ahead FlexiBO": ("tab:red", "-"),
    "coupled qLogNEHVI": ("tab:green", "-"),
    "PESMO": ("tab:olive", "--"),
    "NSGA-II": ("tab:brown", ":"),
    "random": ("tab:gray", ":"),
}
AXES = {
    "expensive": "expensive evaluations",
    "cost": "cost",
    "seconds": "optimiser CPU seconds",
}


def load(path: Path) -> list[Run]:
    """Stored runs, each with its curve as a frame; column ``seconds`` is CPU time."""
    runs = []
    rows: list[Any] = stored(path)
    for row in rows:
        curve = pd.DataFrame(row["curve"])
        busy = row["cpu_seconds"] / max(row["wall_seconds"], 1e-9)
        curve["seconds"] = curve.pop("optimizer_seconds") * min(busy, 1.0)
        runs.append({**row, "curve": curve})
    return runs


def at(curve: pd.DataFrame, column: str, value: float, wanted: str) -> float:
    """Last value of ``wanted`` while ``column`` does not exceed ``value``."""
    reached = curve[column].searchsorted(value + 1e-9, side="right") - 1
    return float(curve[wanted].iloc[max(int(reached), 0)])


def first(curve: pd.DataFrame, column: str, value: float) -> float:
    """Expensive evaluations when ``column`` first reached ``value``, NaN if never."""
    reached = curve.loc[curve[column] >= value, "expensive"]
    return float(reached.iloc[0]) if len(reached) else np.nan


def summary(runs: list[Run]) -> pd.DataFrame:
    """Means over the seeds, one row per problem and method."""
    rows = []
    money = {
        name: min(r["curve"]["cost"].iloc[-1] for r in runs if r["problem"] == name)
        for name in {r["problem"] for r in runs}
    }
    for run in runs:
        curve = run["curve"]
        last = curve.iloc[-1]
        level = {f"to {x:.0%}": first(curve, "measured", x) for x in LEVELS}
        rows.append(
            {
                "problem": run["problem"],
                "method": run["method"],
                "seeds": run["seed"],
                "measured": last["measured"],
                "min": last["measured"],
                "equal cost": at(curve, "cost", money[run["problem"]], "measured"),
                "identified": run["identified"],
                "cost": last["cost"],
                "designs": last["designs"],
                **level,
                "opt s": last["seconds"],
                **{short: run["effort"][name] for name, short in EFFORT.items()},
                "skipped": run["effort"]["num_skipped"],
            }
        )
    frame = pd.DataFrame(rows)
    how = dict.fromkeys(frame.columns[2:], "mean") | {"seeds": "count", "min": "min"}
    how |= {f"to {x:.0%}": _median_if_reached for x in LEVELS}
    table = frame.groupby(["problem", "method"]).agg(how)
    index = pd.MultiIndex.from_product([SETTINGS, COMPARED])
    return table.reindex(index).dropna(how="all")


def _median_if_reached(evaluations: pd.Series) -> str:
    """Median evaluations of the runs that got there, and how many did."""
    reached = evaluations.dropna()
    if reached.empty:
        return "-"
    return f"{reached.median():.0f} ({len(reached)}/{len(evaluations)})"


def gate_savings(runs: list[Run]) -> pd.DataFrame:
    """Gate ``predicted`` against the others: dear evaluations, and what they cost."""
    rows = []
    for problem, schedule, gate in _product(SETTINGS, get_args(Schedule)):
        if gate == "predicted":
            continue
        pairs = _pairs(runs, problem, f"predicted, {schedule}", f"{gate}, {schedule}")
        for new, old in pairs:
            start = new["num_initial"]
            end = old["curve"].iloc[-1]
            spent = first(new["curve"], "designs", end["designs"]) - start
            same_designs = at(new["curve"], "designs", end["designs"], "measured")
            rows.append(
                {
                    "problem": problem,
                    "against": f"{gate}, {schedule}",
                    "saved %": 100 * (1 - spent / (end["expensive"] - start)),
                    "dear to same share": first(
                        new["curve"], "measured", end["measured"]
                    ),
                    "its own": first(old["curve"], "measured", end["measured"]),
                    "share, equal designs": same_designs - end["measured"],
                    "share, equal dear": new["curve"]["measured"].iloc[-1]
                    - end["measured"],
                }
            )
    return _mean_and_width(rows, ["problem", "against"])


def schedule_savings(runs: list[Run]) -> pd.DataFrame:
    """``lead_skip`` against ``round_robin``: work left out, and what it costs."""
    rows = []
    for problem, _, gate in _product(SETTINGS, ["both"]):
        for new, old in _pairs(
            runs, problem, f"{gate}, lead_skip", f"{gate}, round_robin"
        ):
            ratios = {
                f"{short} saved %": 100
                * (1 - new["effort"][name] / old["effort"][name])
                for name, short in EFFORT.items()
                if name != "num_gated"
            }
            a, b = new["curve"].iloc[-1], old["curve"].iloc[-1]
            ratios["seconds saved %"] = 100 * (1 - a["seconds"] / b["seconds"])
            ratios["share"] = a["measured"] - b["measured"]
            rows.append({"problem": problem, "gate": gate, **ratios})
    return _mean_and_width(rows, ["problem", "gate"])


def against(runs: list[Run], reference: str) -> pd.DataFrame | pd.Series:
    """Each PABO variant's final share minus that of a reference method."""
    rows = [
        {
            "method": method,
            "problem": problem,
            "share": new["curve"]["measured"].iloc[-1]
            - old["curve"]["measured"].iloc[-1],
        }
        for problem in SETTINGS
        for method in COMPARED
        if method.startswith("PABO")
        for new, old in _pairs(runs, problem, method.removeprefix("PABO "), reference)
    ]
    return _mean_and_width(rows, ["method", "problem"]).unstack()


def _product(problems: Any, schedules: Any) -> list[tuple[str, str, str]]:
    return [(p, s, g) for p in problems for s in schedules for g in get_args(Gate)]


def _pairs(runs: list[Run], problem: str, new: str, old: str) -> list[tuple[Run, Run]]:
    """Runs of two methods on the same seeds; PABO's names without "PABO"."""
    of = {
        name: {
            r["seed"]: r
            for r in runs
            if r["problem"] == problem and r["method"] in (name, f"PABO {name}")
        }
        for name in (new, old)
    }
    return [(of[new][s], of[old][s]) for s in sorted(of[new].keys() & of[old].keys())]


def _mean_and_width(rows: list[dict[str, Any]], index: list[str]) -> pd.DataFrame:
    """Means over the rows of equal index with the half width of the 95 % interval."""

    def text(values: pd.Series) -> str:
        digits = 1 if str(values.name).endswith("%") else 3
        if len(values) == 1:
            return f"{values.mean():+.{digits}f}"
        width = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
        return f"{values.mean():+.{digits}f} +- {width:.{digits}f}"

    return pd.DataFrame(rows).groupby(index, sort=False).agg(text)


def mean_curve(
    runs: list[Run], axis: str, num: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Mean measured share of runs over an axis, up to where the first one ends."""
    low = max(run["curve"][axis].iloc[0] for run in runs)
    high = min(run["curve"][axis].iloc[-1] for run in runs)
    if axis == "seconds":
        low = max(run["curve"][axis].iloc[1] for run in runs)
        grid = np.geomspace(max(low, 1e-2), max(high, 2e-2), num)
    else:
        grid = np.linspace(low, high, num)
    shares = [[at(run["curve"], axis, x, "measured") for x in grid] for run in runs]
    return grid, np.mean(shares, axis=0)


def plot(runs: list[Run], path: Path) -> None:
    """Crossbar-2 over three axes, the other problems over the evaluations."""
    figure, axes = plt.subplots(2, 3, figsize=(9.5, 5.4), layout="constrained")
    panels = [("crossbar-2", axis) for axis in AXES]
    panels += [(name, "expensive") for name in SETTINGS if name != "crossbar-2"]
    for (problem, axis), ax in zip(panels, axes.flat, strict=True):
        for method, (color, style) in SHOWN.items():
            chosen = [
                r for r in runs if (r["problem"], r["method"]) == (problem, method)
            ]
            if not chosen:
                continue
            x, y = mean_curve(chosen, axis)
            ax.plot(x, y, style, color=color, label=method, linewidth=1.3)
        if axis == "seconds":
            ax.set_xscale("log")
        ax.set_title(problem, fontsize=9)
        unit = " / s" if axis == "cost" else ""
        ax.set_xlabel(AXES[axis] + unit, fontsize=8)
        ax.set_ylabel("hypervolume share", fontsize=8)
        ax.tick_params(labelsize=7)
    found = [axis.get_legend_handles_labels() for axis in axes.flat]
    lines = {name: line for pair in found for line, name in zip(*pair, strict=True)}
    names = [name for name in SHOWN if name in lines]
    figure.legend(
        [lines[name] for name in names],
        names,
        loc="outside lower center",
        ncol=4,
        fontsize=7,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    pd.set_option("display.width", 220)
    runs = load(args.results)
    long = [r for r in runs if r["until_share"] < 1]
    runs = [r for r in runs if r["until_share"] >= 1]
    for problem, table in summary(runs).groupby(level=0, sort=False):
        print(f"\n{problem}\n{table.droplevel(0).round(3).to_string()}")
    if long:
        print(f"\nUntil a share is reached\n{summary(long).round(3).to_string()}")
    print(f"\nGate predicted against\n{gate_savings(runs).to_string()}")
    print(f"\nlead_skip against round_robin\n{schedule_savings(runs).to_string()}")
    for reference in ("random", "coupled qLogNEHVI"):
        print(f"\nShare minus that of {reference}\n{against(runs, reference)}")
    if args.figure:
        plot(runs, args.figure)


if __name__ == "__main__":
    main()
