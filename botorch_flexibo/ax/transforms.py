r"""Transforms of Ax's data: every objective is maximised, and arms keep their names."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping

from ax.adapter.base import Adapter
from ax.adapter.data_utils import ExperimentData
from ax.adapter.transforms.base import Transform
from ax.adapter.transforms.log import Log
from ax.adapter.transforms.winsorize import Winsorize
from ax.core.arm import Arm
from ax.core.objective import Objective
from ax.core.observation import ObservationData, ObservationFeatures
from ax.core.optimization_config import (
    MultiObjectiveOptimizationConfig,
    OptimizationConfig,
)
from ax.core.outcome_constraint import OutcomeConstraint
from ax.core.search_space import SearchSpace
from ax.core.types import ComparisonOp, TParamValue
from ax.exceptions.core import AxOptimizationWarning
from ax.generators.types import TConfig
from ax.utils.common.sympy import build_constraint_expression_str

from botorch_flexibo.ax.metadata import experiment_behind

# Going to the model's space and back changes floats by a few units in the last place.
_TOLERANCE = 1e-9


class MaximizeY(Transform):
    """Negates minimised objectives: BoTorch and this package maximise.

    It comes after all other transforms of outcomes, which read the directions.
    """

    def _signs(self) -> dict[str, float]:
        """-1 for the signature of each minimised objective."""
        if self.adapter is None:
            return {}
        config = experiment_behind(self.adapter).optimization_config
        if config is None:
            return {}
        weights = config.objective.metric_weights
        return {signature: -1.0 for signature, weight in weights if weight < 0}

    def transform_experiment_data(
        self, experiment_data: ExperimentData
    ) -> ExperimentData:
        """Negate the means of minimised objectives.

        Args:
            experiment_data: The data; they are changed in place.

        Returns:
            The data.
        """
        observations = experiment_data.observation_data
        for signature, sign in self._signs().items():
            if ("mean", signature) in observations:
                observations["mean", signature] *= sign
        return experiment_data

    def _transform_observation_data(
        self, observation_data: list[ObservationData]
    ) -> list[ObservationData]:
        signs = self._signs()
        for data in observation_data:
            for i, signature in enumerate(data.metric_signatures):
                sign = signs.get(signature, 1.0)
                data.means[i] *= sign
                data.covariance[i, :] *= sign
                data.covariance[:, i] *= sign
        return observation_data

    def _untransform_observation_data(
        self, observation_data: list[ObservationData]
    ) -> list[ObservationData]:
        return self._transform_observation_data(observation_data)

    def transform_optimization_config(
        self,
        optimization_config: OptimizationConfig,
        adapter: Adapter | None = None,
        fixed_features: ObservationFeatures | None = None,
    ) -> OptimizationConfig:
        """Maximise all objectives, with thresholds from below.

        Args:
            optimization_config: The configuration.
            adapter: Ignored.
            fixed_features: Ignored.

        Returns:
            A new configuration.
        """
        if not isinstance(optimization_config, MultiObjectiveOptimizationConfig):
            return optimization_config
        objective = optimization_config.objective
        return MultiObjectiveOptimizationConfig(
            objective=Objective(
                expression=", ".join(objective.metric_names),
                metric_name_to_signature=objective.metric_name_to_signature,
            ),
            outcome_constraints=optimization_config.outcome_constraints,
            objective_thresholds=self.untransform_outcome_constraints(
                optimization_config.objective_thresholds
            ),
            pruning_target_parameterization=(
                optimization_config.pruning_target_parameterization
            ),
        )

    def untransform_outcome_constraints(
        self,
        outcome_constraints: list[OutcomeConstraint],
        fixed_features: ObservationFeatures | None = None,
    ) -> list[OutcomeConstraint]:
        """Bound minimised objectives from the other side.

        Args:
            outcome_constraints: Thresholds of objectives.
            fixed_features: Ignored.

        Returns:
            The thresholds.
        """
        signs = self._signs()
        return [
            _negated(constraint)
            if signs.get(constraint.metric_signatures[0], 1.0) < 0
            else constraint
            for constraint in outcome_constraints
        ]


class ExactLog(Log):
    """Ax's ``Log``, equal to the last bit in data, designs and search spaces.

    NOTE: Ax 1.3.1 takes NumPy's logarithm of data and Python's of everything else; they
    differ in the last place of some values, and a design that is being measured would
    not be found among those that have data.
    """

    def transform_experiment_data(
        self, experiment_data: ExperimentData
    ) -> ExperimentData:
        """Take the logarithm of some parameters of the arms.

        Args:
            experiment_data: The data; they are changed in place.

        Returns:
            The data.
        """
        arm_data = experiment_data.arm_data
        for name in self.transform_parameters:
            arm_data[name] = arm_data[name].astype(float).map(math.log10)
        return experiment_data


class WinsorizeMeasured(Winsorize):
    """Ax's ``Winsorize`` without its advice, and for metrics that have values only.

    NOTE: Ax 1.3.1 warns at every fit that thresholds are missing, which is no fault
    here: a reference point is inferred. It also fails if all values of a metric are
    NaN, which is how Ax users may say that it was not measured.
    """

    def __init__(
        self,
        search_space: SearchSpace | None = None,
        experiment_data: ExperimentData | None = None,
        adapter: Adapter | None = None,
        config: TConfig | None = None,
    ) -> None:
        """Find where to clip.

        Args:
            search_space: Ignored.
            experiment_data: The data.
            adapter: The adapter with the objectives.
            config: Ax's options.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore",
                message="Encountered a `MultiObjective` without objective thresholds",
                category=AxOptimizationWarning,
            )
            super().__init__(
                search_space=search_space,
                experiment_data=_with_values(experiment_data),
                adapter=adapter,
                config=config,
            )

    def transform_experiment_data(
        self, experiment_data: ExperimentData
    ) -> ExperimentData:
        """Clip outliers, and leave metrics without values out.

        Args:
            experiment_data: The data; they are changed in place.

        Returns:
            The data.
        """
        data = super().transform_experiment_data(experiment_data)
        return data if (kept := _with_values(data)) is None else kept


class CompleteNoise(Transform):
    """Forgets standard errors of metrics that do not have one for every value.

    NOTE: Ax 1.3.1 hands missing ones to the model as NaN, which refuses them. The noise
    of such a metric is learned, as if there were none.
    """

    def transform_experiment_data(
        self, experiment_data: ExperimentData
    ) -> ExperimentData:
        """Leave incomplete standard errors out.

        Args:
            experiment_data: The data; they are changed in place.

        Returns:
            The data.
        """
        observations = experiment_data.observation_data
        for metric in experiment_data.metric_signatures:
            rows = observations["mean", metric].notna()
            if bool(observations.loc[rows, ("sem", metric)].isna().any()):
                observations["sem", metric] = math.nan
        return experiment_data


class SnapToArms(Transform):
    """Gives a proposed design the parameters of the arm that it is.

    The way to the model's space and back changes floats in the last place, and Ax
    would take the design for a new arm. It comes before all other transforms.
    """

    no_op_for_experiment_data = True

    def untransform_observation_features(
        self, observation_features: list[ObservationFeatures]
    ) -> list[ObservationFeatures]:
        """Replace parameters by those of an equal arm of the experiment.

        Args:
            observation_features: Designs; they are changed in place.

        Returns:
            The designs.
        """
        if self.adapter is None:
            return observation_features
        arms = experiment_behind(self.adapter).arms_by_signature.values()
        for features in observation_features:
            arm = _equal_arm(features.parameters, arms)
            if arm is not None:
                features.parameters = arm.parameters.copy()
        return observation_features


def _with_values(data: ExperimentData | None) -> ExperimentData | None:
    """The data without metrics whose values are all NaN."""
    if data is None:
        return None
    columns = [
        (kind, metric)
        for metric, values in data.observation_data["mean"].items()
        if values.isna().all()
        for kind in ("mean", "sem")
    ]
    return ExperimentData(
        arm_data=data.arm_data,
        observation_data=data.observation_data.drop(columns=columns),
    )


def _equal_arm(
    parameters: Mapping[str, TParamValue], arms: Iterable[Arm]
) -> Arm | None:
    for arm in arms:
        if arm.parameters.keys() == parameters.keys() and all(
            _equal(parameters[name], value) for name, value in arm.parameters.items()
        ):
            return arm
    return None


def _equal(value: TParamValue, other: TParamValue) -> bool:
    if isinstance(value, float) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE**2)
    return value == other


def _negated(constraint: OutcomeConstraint) -> OutcomeConstraint:
    """The same bound on the negative of the metric."""
    return OutcomeConstraint(
        expression=build_constraint_expression_str(
            metric_weights=[(constraint.metric_names[0], 1.0)],
            op="<=" if constraint.op == ComparisonOp.GEQ else ">=",
            bound=-constraint.bound,
            relative=constraint.relative,
        ),
        metric_name_to_signature=constraint.metric_name_to_signature,
    )
