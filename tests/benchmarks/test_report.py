r"""Tables of stored experiments against numbers computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("matplotlib")

import matplotlib.pyplot as plt

from benchmarks.experiment import Experiment, ProblemSpec, Store
from benchmarks.report import (
    cost_of_peer,
    cost_to_reach,
    errors,
    markdown,
    plot,
    ranks,
    regrets,
)

# Shares at a spent cost of 0, 1 and 2 of two methods on two seeds.
SHARES = {
    ("ours", 0): (0.5, 0.9, 0.95),
    ("ours", 1): (0.5, 0.7, 0.85),
    ("peer", 0): (0.5, 0.6, 0.8),
    ("peer", 1): (0.5, 0.9, 0.6),  # it falls back
}


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = [
        ("p", method, seed, float(spent), share, share)
        for (method, seed), values in SHARES.items()
        for spent, share in enumerate(values)
    ]
    columns = ["problem", "method", "seed", "spent", "measured", "identified"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def test_a_share_counts_as_reached_once_it_is_kept(curves: pd.DataFrame) -> None:
    costs = cost_to_reach(curves, 0.7, "measured")
    assert costs.loc[("p", 0)].to_dict() == pytest.approx({"ours": 0.5, "peer": 1.5})
    assert costs.loc[("p", 1)].to_dict() == pytest.approx(
        {"ours": 1.0, "peer": math.inf}
    )
    assert (cost_to_reach(curves, 0.5, "measured") == 0.0).all(axis=None)


def test_the_mean_curve_is_compared_with_the_end_of_the_peers(
    curves: pd.DataFrame,
) -> None:
    # The peer's mean rises from 0.5 to 0.75 within the first of two units and ends at
    # 0.7; ours is at 0.8 after the first.
    parts = cost_of_peer(curves, "peer", "measured")
    assert parts.loc["p"].to_dict() == {"ours": 0.33, "peer": 0.4}
    assert parts.loc["geometric mean"].to_dict() == {"ours": 0.33, "peer": 0.4}
    # Ours ends at 0.9, where the peer never is.
    parts = cost_of_peer(curves, "ours", "measured")
    assert math.isnan(parts.loc["p", "peer"])


def test_errors_are_what_is_missing_in_percent(curves: pd.DataFrame) -> None:
    table = errors(curves[curves["spent"] == 2.0], "peer")
    assert table["error, %"].loc["p"].to_dict() == {"ours": 10.0, "peer": 30.0}
    assert table["less than peer"].loc["p"].to_dict() == {"ours": 20.0}


def test_regrets_are_mean_logarithms_and_the_lower_ranks_first(
    curves: pd.DataFrame,
) -> None:
    frame = regrets(curves)
    expected = (math.log10(0.5) + math.log10(0.1) + math.log10(0.05)) / 3
    assert frame.loc[("p", 0), "ours"] == pytest.approx(expected)
    mean, critical = ranks(frame)
    assert mean.to_dict() == {"ours": 1.5, "peer": 1.5}
    # Nemenyi's critical difference of two methods on two instances, at 5 %.
    assert critical == pytest.approx(1.960 * math.sqrt(2 * 3 / (6 * 2)), rel=1e-3)


def test_a_figure_shows_chosen_methods_and_seeds_of_what_is_stored(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    everything = curves.assign(dear=curves["spent"], optimizer_seconds=1.0, decisions=1)
    everything.to_csv(tmp_path / "x.curves.csv", index=False)
    everything[everything["spent"] == 2.0].to_csv(tmp_path / "x.runs.csv", index=False)
    assert len(Store(tmp_path, "x").runs()) == 4
    some = Store(tmp_path, "x", seeds=(1,), methods=("ours",))
    assert some.runs()[["method", "seed"]].to_numpy().tolist() == [["ours", 1]]
    assert some.curves()["measured"].tolist() == [0.5, 0.7, 0.85]
    plot(some, tmp_path / "one.png", num_views=1)
    plot(Store(tmp_path, "x"), tmp_path / "all.png")
    one, all_views = (
        plt.imread(tmp_path / name).shape for name in ("one.png", "all.png")
    )
    assert all_views[0] == 4 * one[0] and all_views[1] == one[1]


def test_runs_that_decided_nothing_are_kept_and_left_out_of_tables(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    curves.to_csv(tmp_path / "x.curves.csv", index=False)
    runs = curves[curves["spent"] == 2.0].assign(decisions=[3, 0, 5, 0])
    runs.to_csv(tmp_path / "x.runs.csv", index=False)
    store = Store(tmp_path, "x")
    assert store.runs()["seed"].tolist() == [0, 0]
    assert set(store.curves()["seed"]) == {0}
    spec = ProblemSpec("p", "ZDT1")
    experiment = Experiment("x", "", (spec,), ("ours", "peer"), seeds=3, budget=2.0)
    missing = [case.key for case in store.missing(experiment.cases())]
    assert missing == [("p", "ours", 2), ("p", "peer", 2)]


def test_problems_are_chosen_by_a_part_of_their_names(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    both = [curves.assign(problem=name) for name in ("p (1:1)", "p (10:1)")]
    runs = pd.concat(both).query("spent == 2.0").assign(decisions=1)
    runs.to_csv(tmp_path / "x.runs.csv", index=False)
    chosen = Store(tmp_path, "x", matching="(1:1)").runs()
    assert set(chosen["problem"]) == {"p (1:1)"} and len(chosen) == 4


def test_incomplete_instances_are_left_out_if_asked_for(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    both = pd.concat(curves.assign(problem=name) for name in ("p", "q"))
    absent = (both["problem"] == "q") & (both["method"] == "peer") & (both["seed"] == 1)
    both = both[~absent]
    both.to_csv(tmp_path / "x.curves.csv", index=False)
    runs = both.query("spent == 2.0").assign(decisions=1)
    runs.to_csv(tmp_path / "x.runs.csv", index=False)
    assert len(Store(tmp_path, "x").runs()) == 7
    kept = Store(tmp_path, "x", complete=True)
    pairs = kept.curves()[["problem", "seed"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["p", 0], ["p", 1], ["q", 0]]
    alone = Store(tmp_path, "x", methods=("ours",), complete=True)
    assert len(alone.runs()) == 4


def test_tables_of_documents_have_the_lowest_number_in_bold(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    curves = curves.assign(identified=curves["identified"] - 0.05, decisions=1)
    curves.to_csv(tmp_path / "x.curves.csv", index=False)
    curves[curves["spent"] == 2.0].to_csv(tmp_path / "x.runs.csv", index=False)
    head, rule, *rows = markdown(Store(tmp_path, "x"), "errors").splitlines()
    assert (head, rule) == ("| | ours | peer |", "|---|---|---|")
    assert rows == ["| p | **10.0** / **15.0** | 30.0 / 35.0 |"]
    # Sums of six logarithms of 1 - share, by hand -2.639 and -3.498, over six.
    store = Store(tmp_path, "x", methods=("peer", "ours"))
    *_, row, mean = markdown(store, "regret").splitlines()
    assert row == "| p | -0.44 | **-0.58** |"
    assert mean == row.replace("| p", "| mean")
