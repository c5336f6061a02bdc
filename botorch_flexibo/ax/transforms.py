r"""Transforms of Ax's data: every objective is maximised, and arms keep their names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ax.adapter.base import Adapter
from ax.adapter.data_utils import ExperimentData
from ax.adapter.transforms.base import Transform
from ax.core.arm import Arm
from ax.core.objective import Objective
from ax.core.observation import ObservationData, ObservationFeatures
from ax.core.optimization_config import (
    MultiObjectiveOptimizationConfig,
    OptimizationConfig,
)
from ax.core.outcome_constraint import OutcomeConstraint
from ax.core.types import ComparisonOp, TParamValue
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
