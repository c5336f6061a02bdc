"""Draws `docs/figures/decoupled.svg`: `python docs/_draw.py`, from the table below.

An example of twelve hours in a laboratory, not a run. Measuring the error of a design
takes three hours, measuring its latency one.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

HOURS = {"error": 3, "latency": 1}
COLOURS = {"error": "#0072b2", "latency": "#e69f00"}
END = 12
# For each machine: what it measures, one after the other.
WAYS = {
    "coupled: which design?": {
        "machine": "A error, A latency, B error, B latency, C error, C latency",
    },
    "decoupled, competitive: which design and which outcome?": {
        "machine": "A latency, B latency, C latency, B error, D latency, E latency,"
        " E error, F latency",
    },
    "decoupled, non-competitive: which design, for each machine?": {
        "GPU": "A error, B error, D error, I error",
        "board": "A latency, B latency, C latency, D latency, E latency, F latency,"
        " G latency, H latency, I latency, J latency, K latency, L latency",
    },
}


def jobs_of(text: str) -> list[tuple[str, str, int]]:
    """Return design, outcome and start of each job."""
    jobs, now = [], 0
    for job in text.split(", "):
        design, outcome = job.split()
        jobs.append((design, outcome, now))
        now += HOURS[outcome]
    return jobs


def draw_schedule(ax: Axes, machines: dict[str, str]) -> None:
    """Draw who measures what, and when."""
    for row, text in enumerate(machines.values()):
        jobs = jobs_of(text)
        for outcome, hours in HOURS.items():
            starts = [start for _, what, start in jobs if what == outcome]
            bars = [(start + 0.04, hours - 0.08) for start in starts]
            ax.broken_barh(bars, (row - 0.4, 0.8), color=COLOURS[outcome])
        for design, outcome, start in jobs:
            middle = start + HOURS[outcome] / 2
            colour = "w" if outcome == "error" else "k"
            ax.text(middle, row, design, ha="center", va="center", color=colour)
    ax.set_yticks(range(len(machines)), machines)
    ax.set_xticks(range(0, END + 1, 3))
    ax.set_xlim(0, END)
    ax.set_ylim(len(machines) - 0.5, -0.5)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(left=False)


def draw_table(ax: Axes, machines: dict[str, str]) -> None:
    """Draw the table of data that comes out: a full square for what was measured."""
    done = {job[:2] for text in machines.values() for job in jobs_of(text)}
    designs = sorted({design for design, _ in done})
    for row, outcome in enumerate(HOURS):
        colours = [
            COLOURS[outcome] if (design, outcome) in done else "w" for design in designs
        ]
        edges = ["0.8" if colour == "w" else colour for colour in colours]
        ax.scatter(
            range(len(designs)),
            [row] * len(designs),
            s=220,
            marker="s",
            c=colours,
            edgecolors=edges,
        )
    ax.set_xticks(range(len(designs)), designs)
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(HOURS)), HOURS)
    ax.set_xlim(-0.6, END - 0.4)
    ax.set_ylim(1.6, -0.6)
    ax.set_aspect("equal")
    ax.set_anchor("W")
    ax.tick_params(left=False, top=False)
    ax.spines[:].set_visible(False)


def main() -> None:
    """Draw the figure."""
    plt.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "decoupled", "font.size": 8}
    )
    fig, axes = plt.subplots(
        len(WAYS),
        2,
        figsize=(8.0, 3.9),
        width_ratios=(1.2, 1),
        height_ratios=[1 + len(machines) for machines in WAYS.values()],
        layout="constrained",
    )
    for (left, right), (title, machines) in zip(axes, WAYS.items(), strict=True):
        draw_schedule(left, machines)
        draw_table(right, machines)
        left.set_title(title, loc="left", fontsize=9)
    axes[-1, 0].set_xlabel("hours")
    fig.savefig(
        Path(__file__).parent / "figures" / "decoupled.svg", metadata={"Date": None}
    )


if __name__ == "__main__":
    main()
