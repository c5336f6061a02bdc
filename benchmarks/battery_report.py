"""Tables of the battery: regret per problem, mean ranks, and paired differences.

The regret of a run is its log10 hypervolume regret averaged over the budget (lower is
better). Methods are compared on the instances (problem, ratio, seed) that all of them
finished; the intervals are those of the mean of paired differences (95 %, Student's t).

    python -m benchmarks.battery_report --reference "look-ahead FlexiBO"
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.battery import RESULTS, stored

INSTANCE = ["problem", "ratio", "seed"]


def table(path: Path) -> pd.DataFrame:
    """Mean log regret, one row per instance, one column per method."""
    rows = [
        {
            **{name: row[name] for name in [*INSTANCE, "method"]},
            "regret": float(np.mean(row["log_regret"])),
        }
        for row in stored(path)
    ]
    frame = pd.DataFrame(rows)
    return frame.pivot(index=INSTANCE, columns="method", values="regret")


def per_problem(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean regret per problem and ratio, with the number of seeds."""
    grouped = frame.groupby(level=["problem", "ratio"])
    means = grouped.mean().round(2)
    means.insert(0, "seeds", grouped.size())
    return means


def paired(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Mean regret and rank, and what each method loses on the reference."""
    rows = []
    ranks = frame.rank(axis="columns").mean()
    for method in frame.columns:
        difference = frame[method] - frame[reference]
        error = stats.sem(difference) if method != reference else 0.0
        width = error * stats.t.ppf(0.975, len(frame) - 1)
        rows.append(
            {
                "method": method,
                "mean log regret": frame[method].mean(),
                "mean rank": ranks[method],
                "minus reference": difference.mean(),
                "+-": width,
                "worse than reference": int((difference > 0).sum()),
            }
        )
    return pd.DataFrame(rows).set_index("method").sort_values("mean log regret")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--reference", default="look-ahead FlexiBO")
    parser.add_argument("--methods", nargs="+")
    args = parser.parse_args()
    frame = table(args.results)
    if args.methods:
        frame = frame[args.methods]
    complete = frame.dropna()
    print(per_problem(complete).to_string())
    print(f"\n{len(complete)} instances finished by all methods\n")
    print(paired(complete, args.reference).round(3).to_string())


if __name__ == "__main__":
    main()
