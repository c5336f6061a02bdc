r"""Figures of a decoupled optimisation: its region, its progress, its spending.

Every function draws on one Matplotlib ``Axes`` and returns it, so figures are combined,
titled and saved with Matplotlib's own means. Without an ``ax`` a figure of
single-column width is created. Legends lie above the axes, never on data. Colours can
be told apart with a colour vision deficiency.

It needs Matplotlib: ``pip install 'botorch-flexibo[plots]'``.
"""

from importlib.util import find_spec

if find_spec("matplotlib") is None:
    raise ImportError(
        "Expected Matplotlib, which figures need, but it is not installed. Install it"
        " with `pip install 'botorch-flexibo[plots]'`."
    )

from botorch_flexibo.plotting.progress import plot_hypervolume
from botorch_flexibo.plotting.region import plot_pareto_region
from botorch_flexibo.plotting.spending import (
    plot_cost_breakdown,
    plot_measurement_strip,
)

__all__ = [
    "plot_cost_breakdown",
    "plot_hypervolume",
    "plot_measurement_strip",
    "plot_pareto_region",
]
