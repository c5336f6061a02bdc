r"""Analyses that read half-measured experiments rightly, for ``compute_analyses``.

Of Ax's own analyses, those that work on trials see only the trials with all metrics:
``UtilityProgressionAnalysis`` and ``get_trace`` show a few points or none, and
``PredictableMetricsAnalysis`` fails. Those that work on models (slices, contours,
sensitivities, cross-validation, predicted arms) read half-measured data rightly.

Example:
    >>> from botorch_flexibo.ax.analysis import CostBreakdown
    >>> CostBreakdown().validate_applicable_state() is not None
    True
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from ax.adapter.base import Adapter
from ax.analysis.analysis import Analysis
from ax.analysis.plotly.plotly_analysis import (
    PlotlyAnalysisCard,
    create_plotly_analysis_card,
)
from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.observation import ObservationFeatures
from ax.generation_strategy.generation_strategy import GenerationStrategy
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.ax._log import (
    front_volume,
    maximized,
    measured_table,
    measurement_log,
    reference_point,
)
from botorch_flexibo.ax.costs import Costs
from botorch_flexibo.ax.metadata import generator_arguments, objective_names
from botorch_flexibo.ax.registry import FlexiboGenerators
from botorch_flexibo.utils.fronts import front_mask

# Okabe and Ito: told apart with a colour vision deficiency.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class _DecoupledAnalysis(Analysis):
    """An analysis of the log of an experiment with a strategy of this package."""

    title: str
    subtitle: str

    def validate_applicable_state(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> str | None:
        """Why the analysis cannot be made, None if it can.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            adapter: Ignored.

        Returns:
            The reason or None.
        """
        if experiment is None or generation_strategy is None:
            return "Needs an experiment and its generation strategy."
        try:
            objective_names(experiment)
            generator_arguments(generation_strategy)
        except UnsupportedError as error:
            return str(error)
        if experiment.lookup_data().df.empty:
            return "Needs a measurement."
        return None

    def compute(
        self,
        experiment: Experiment | None = None,
        generation_strategy: GenerationStrategy | None = None,
        adapter: Adapter | None = None,
    ) -> PlotlyAnalysisCard:
        """Make the card.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            adapter: Ignored.

        Returns:
            The card.

        Raises:
            InputDataError: If the analysis cannot be made.
        """
        reason = self.validate_applicable_state(experiment, generation_strategy)
        if reason is not None or experiment is None or generation_strategy is None:
            raise InputDataError(f"Expected data of a decoupled experiment. {reason}")
        arguments = generator_arguments(generation_strategy)
        log = measurement_log(experiment, Costs.from_json(arguments["costs"]))
        frame, figure = self.figure(experiment, generation_strategy, log)
        return create_plotly_analysis_card(
            name=type(self).__name__,
            title=self.title,
            subtitle=self.subtitle,
            df=frame,
            fig=figure,
        )

    @abstractmethod
    def figure(
        self,
        experiment: Experiment,
        generation_strategy: GenerationStrategy,
        log: pd.DataFrame,
    ) -> tuple[pd.DataFrame, go.Figure]:
        """The data and the figure.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            log: The measurements so far, a row each in their order.

        Returns:
            A data frame and a Plotly figure.
        """


class HypervolumeOverCost(_DecoupledAnalysis):
    """Hypervolume against all that was paid: measured, and of the front of the means.

    Designs are judged at the target fidelity: what was measured elsewhere is predicted.
    Models are fitted to the data at up to ``num_points`` moments of the run.
    """

    title = "Hypervolume over cost"
    subtitle = (
        "Measured: designs with all objectives. Predicted: the front of the posterior"
        " means of all designs so far, measured values where they exist."
    )

    def __init__(self, num_points: int = 20) -> None:
        """Analysis.

        Args:
            num_points: The largest number of moments to fit models at.
        """
        self.num_points = num_points

    def figure(
        self,
        experiment: Experiment,
        generation_strategy: GenerationStrategy,
        log: pd.DataFrame,
    ) -> tuple[pd.DataFrame, go.Figure]:
        """The data and the figure.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            log: The measurements so far, a row each in their order.

        Returns:
            ``cumulative_cost``, ``hv_measured`` and ``hv_predicted`` at some moments,
            and the figure.
        """
        objectives = list(objective_names(experiment))
        arguments = generator_arguments(generation_strategy)
        final = maximized(experiment, _predicted(experiment, arguments, log))
        ref_point = reference_point(experiment, final)
        rows = []
        for stop in _moments(log, objectives, self.num_points):
            past = log.iloc[:stop]
            known = _known(experiment, arguments, past)
            predicted = _predicted(experiment, arguments, past)
            measured, identified = (
                front_volume(maximized(experiment, table), ref_point)
                for table in (known, known.combine_first(predicted))
            )
            rows.append((past["cumulative_cost"].iloc[-1], measured, identified))
        columns = ["cumulative_cost", "hv_measured", "hv_predicted"]
        frame = pd.DataFrame(rows, columns=columns)
        figure = go.Figure()
        for color, name in zip(_COLORS, columns[1:], strict=False):
            figure.add_scatter(
                x=frame["cumulative_cost"],
                y=frame[name],
                name=name.removeprefix("hv_"),
                line={"shape": "hv", "color": color},
            )
        figure.update_layout(xaxis_title="cost", yaxis_title="hypervolume")
        return frame, figure


class MeasurementStrip(_DecoupledAnalysis):
    """What was measured when: one mark per measurement and objective."""

    title = "Measurements over cost"
    subtitle = "One mark per measurement; crosses failed."

    def figure(
        self,
        experiment: Experiment,
        generation_strategy: GenerationStrategy,
        log: pd.DataFrame,
    ) -> tuple[pd.DataFrame, go.Figure]:
        """The data and the figure.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            log: The measurements so far, a row each in their order.

        Returns:
            The log and the figure.
        """
        figure = go.Figure()
        for color, name in zip(_COLORS, objective_names(experiment), strict=False):
            rows = log.loc[log["metric_name"] == name]
            figure.add_scatter(
                x=rows["cumulative_cost"],
                y=rows["metric_name"],
                name=name,
                mode="markers",
                text=rows["arm_name"],
                marker={
                    "color": color,
                    "symbol": np.where(rows["mean"].isna(), "x", "line-ns-open"),
                    "size": 12,
                },
            )
        figure.update_layout(xaxis_title="cost", showlegend=False)
        return log, figure


class CostBreakdown(_DecoupledAnalysis):
    """Where the money went: cost and number of measurements by objective."""

    title = "Cost by objective"
    subtitle = "All that was paid, failed measurements and set-ups included."

    def figure(
        self,
        experiment: Experiment,
        generation_strategy: GenerationStrategy,
        log: pd.DataFrame,
    ) -> tuple[pd.DataFrame, go.Figure]:
        """The data and the figure.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            log: The measurements so far, a row each in their order.

        Returns:
            ``metric_name``, ``cost`` and ``measurements``, and the figure.
        """
        groups = log.groupby("metric_name", sort=False)["cost"]
        frame = groups.agg(cost="sum", measurements="count").reset_index()
        labels = [f"{count} measurements" for count in frame["measurements"]]
        figure = go.Figure(go.Bar(x=frame["metric_name"], y=frame["cost"], text=labels))
        figure.update_layout(yaxis_title="cost")
        return frame, figure


class DecoupledFront(_DecoupledAnalysis):
    """Two objectives of all designs: measured, or predicted where not measured.

    The first two objectives are shown at the target fidelity; hollow marks have a
    predicted value.
    """

    title = "Measured and predicted designs"
    subtitle = "Filled: both objectives measured. Hollow: one of them predicted."

    def figure(
        self,
        experiment: Experiment,
        generation_strategy: GenerationStrategy,
        log: pd.DataFrame,
    ) -> tuple[pd.DataFrame, go.Figure]:
        """The data and the figure.

        Args:
            experiment: The experiment.
            generation_strategy: Its strategy.
            log: The measurements so far, a row each in their order.

        Returns:
            A row per design with its values, ``is_measured`` and ``is_optimal``, and
            the figure.
        """
        objectives = list(objective_names(experiment))
        arguments = generator_arguments(generation_strategy)
        known = _known(experiment, arguments, log)
        predicted = _predicted(experiment, arguments, log)
        frame = known.combine_first(predicted).loc[:, objectives]
        complete = known.reindex(frame.index).notna().all(axis=1)
        frame = frame.assign(is_measured=complete)
        values = maximized(experiment, frame)
        frame["is_optimal"] = front_mask(values).numpy()
        figure = go.Figure()
        for measured, symbol in ((True, "circle"), (False, "circle-open")):
            rows = frame.loc[frame["is_measured"] == measured]
            figure.add_scatter(
                x=rows[objectives[0]],
                y=rows[objectives[1]],
                mode="markers",
                name="measured" if measured else "partly predicted",
                text=rows.index,
                marker={
                    "symbol": symbol,
                    "color": np.where(rows["is_optimal"], _COLORS[1], _COLORS[0]),
                },
            )
        figure.update_layout(xaxis_title=objectives[0], yaxis_title=objectives[1])
        return frame.reset_index(), figure


def _moments(log: pd.DataFrame, objectives: list[str], num_points: int) -> list[int]:
    """Numbers of measurements at which every objective has data, evenly spread."""
    valid = log["mean"].notna().to_numpy()
    names = log["metric_name"].to_numpy()
    first = max(int(np.argmax(valid & (names == name))) for name in objectives)
    stops = np.linspace(first + 1, len(log), min(num_points, len(log) - first))
    return sorted({round(stop) for stop in stops})


def _known(
    experiment: Experiment, arguments: dict[str, Any], log: pd.DataFrame
) -> pd.DataFrame:
    """What was measured at the target fidelity, by arm name."""
    arms, fidelity = experiment.arms_by_name, arguments["fidelity"]
    at_target = [
        all(arms[name].parameters.get(key) == v for key, v in fidelity.items())
        for name in log["arm_name"]
    ]
    return measured_table(log.loc[at_target], list(objective_names(experiment)))


def _predicted(
    experiment: Experiment, arguments: dict[str, Any], log: pd.DataFrame
) -> pd.DataFrame:
    """Posterior means at the target fidelity for all designs of a log, by arm name."""
    data = experiment.lookup_data().df
    adapter = FlexiboGenerators.DECOUPLED(
        experiment=experiment,
        data=Data(df=data.loc[data["trial_index"].isin(log["trial_index"])]),
        **arguments,
    )
    names = list(dict.fromkeys(log["arm_name"]))
    features = [
        ObservationFeatures(
            {**experiment.arms_by_name[name].parameters, **arguments["fidelity"]}
        )
        for name in names
    ]
    means, _ = adapter.predict(features)
    objectives = objective_names(experiment)
    frame = pd.DataFrame({name: means[name] for name in objectives}, index=names)
    return frame.rename_axis("arm_name")
