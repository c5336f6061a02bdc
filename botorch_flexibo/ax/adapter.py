r"""Adapters: between an Ax experiment and generators that measure single metrics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, cast

import torch
from ax.adapter.base import GenResults
from ax.adapter.data_utils import ExperimentData
from ax.adapter.random import RandomAdapter
from ax.adapter.torch import TorchAdapter
from ax.core.arm import Arm
from ax.core.data import Data
from ax.core.experiment import Experiment
from ax.core.observation import ObservationFeatures
from ax.core.optimization_config import OptimizationConfig
from ax.core.outcome_constraint import ObjectiveThreshold
from ax.core.parameter import (
    ChoiceParameter,
    DerivedParameter,
    FixedParameter,
    RangeParameter,
)
from ax.core.search_space import SearchSpace, SearchSpaceDigest
from ax.generators.torch_base import TorchOptConfig
from ax.generators.types import TConfig
from botorch.exceptions.warnings import InputDataWarning
from torch import Tensor

from botorch_flexibo.ax._pending import abandoned, pending
from botorch_flexibo.ax.checks import check_options, check_supported
from botorch_flexibo.ax.columns import Columns
from botorch_flexibo.ax.generator import DecoupledGenerator
from botorch_flexibo.ax.initial import PlannedSobolGenerator
from botorch_flexibo.ax.inputs import DecoupledInputs, DecoupledOptConfig, Proposals
from botorch_flexibo.ax.metadata import (
    Request,
    experiment_behind,
    last_memory,
    measured_metrics,
    objective_names,
    payment_of,
    request_of,
)
from botorch_flexibo.ax.plan import PlanProgress
from botorch_flexibo.failures import FailureLog
from botorch_flexibo.models import PaidCosts

_CONSTANT = r"Data \(outcome observations\) is not standardized"


class DecoupledTorchAdapter(TorchAdapter):
    """Tells a decoupled generator what is pending for each metric, and what was paid.

    NOTE: Ax counts a metric as pending at every arm that lacks it, for ever, and from
    100 trials on also the metrics that were measured. What was really asked for is
    computed here from the candidate metadata instead.
    """

    def infer_objective_thresholds(
        self,
        search_space: SearchSpace | None = None,
        optimization_config: OptimizationConfig | None = None,
        fixed_features: ObservationFeatures | None = None,
    ) -> list[ObjectiveThreshold]:
        """The reference point of the next suggestion, for Ax's Pareto fronts.

        NOTE: Ax infers from arms that have all metrics, of which there may be none.

        Args:
            search_space: The search space. None means that of the experiment.
            optimization_config: The objectives. None means those of the experiment.
            fixed_features: Parameters that are held fixed.

        Returns:
            A threshold for each objective, in its unit.
        """
        arguments = self._get_transformed_gen_args(
            search_space=(search_space or self._search_space).clone(),
            optimization_config=optimization_config,
            fixed_features=fixed_features,
        )
        digest, options = self._get_transformed_model_gen_args(
            search_space=arguments.search_space,
            pending_observations={},
            fixed_features=arguments.fixed_features,
            optimization_config=arguments.optimization_config,
        )
        generator = cast(DecoupledGenerator, self.generator)
        return self._untransform_objective_thresholds(
            objective_thresholds=generator.ref_point(digest, options),
            objective_weights=options.objective_weights,
            opt_config_metrics=options.opt_config_metrics or {},
            fixed_features=options.fixed_features,
        )

    def _process_and_transform_data(
        self, experiment: Experiment, data: Data | None = None
    ) -> tuple[ExperimentData, SearchSpace]:
        # NOTE: Ax 1.3.1 would keep the objectives and thresholds of the first fit.
        self._optimization_config = experiment.optimization_config
        return super()._process_and_transform_data(experiment, data)

    def _fit(
        self, search_space: SearchSpace, experiment_data: ExperimentData, **kwargs: Any
    ) -> None:
        cast(DecoupledGenerator, self.generator).proposals = Proposals()
        with warnings.catch_warnings():
            # NOTE: Ax standardises all but metrics that were constant so far, of which
            # there are more when few values exist; BoTorch 0.18 warns of these.
            warnings.filterwarnings("ignore", _CONSTANT, InputDataWarning)
            super()._fit(search_space, experiment_data, **kwargs)

    def _gen(
        self,
        n: int,
        search_space: SearchSpace,
        pending_observations: dict[str, list[ObservationFeatures]],
        fixed_features: ObservationFeatures | None,
        model_gen_options: TConfig | None = None,
        optimization_config: OptimizationConfig | None = None,
    ) -> GenResults:
        results = super()._gen(
            n=n,
            search_space=search_space,
            pending_observations={},
            fixed_features=fixed_features,
            model_gen_options=model_gen_options,
            optimization_config=optimization_config,
        )
        generator = cast(DecoupledGenerator, self.generator)
        generator.proposals.add(results.observation_features)
        return results

    def _get_transformed_model_gen_args(
        self,
        search_space: SearchSpace,
        pending_observations: dict[str, list[ObservationFeatures]],
        fixed_features: ObservationFeatures | None,
        model_gen_options: TConfig | None = None,
        optimization_config: OptimizationConfig | None = None,
    ) -> tuple[SearchSpaceDigest, TorchOptConfig]:
        experiment = experiment_behind(self)
        generator = cast(DecoupledGenerator, self.generator)
        check_supported(experiment, generator.acquisition)
        check_options(
            experiment,
            generator.costs,
            fidelity=generator.fidelity,
            fixed_parameters={},
        )
        digest, options = super()._get_transformed_model_gen_args(
            search_space=search_space,
            pending_observations={},
            fixed_features=fixed_features,
            model_gen_options=model_gen_options,
            optimization_config=optimization_config,
        )
        return digest, DecoupledOptConfig(
            **{name.name: getattr(options, name.name) for name in fields(options)},
            inputs=self._inputs(digest),
        )

    def _inputs(self, digest: SearchSpaceDigest) -> DecoupledInputs:
        experiment = experiment_behind(self)
        objectives = objective_names(experiment)
        generator = cast(DecoupledGenerator, self.generator)
        proposals = generator.proposals.requests
        running = [
            (self._features(arm), asked)
            for _, arm, asked in chain(pending(experiment), abandoned(experiment))
        ]
        running += [(features, request.objectives) for features, request in proposals]
        return DecoupledInputs(
            objectives=objectives,
            X_pending=self._rows([features for features, _ in running]),
            pending_mask=_mask([names for _, names in running], objectives),
            paid=self._paid(objectives),
            columns=self._columns(digest),
            num_proposed=len(experiment.trials) + len(proposals),
            failures=self._failures(objectives),
            memory=proposals[-1][1].memory if proposals else last_memory(experiment),
        )

    def _features(self, arm: Arm) -> ObservationFeatures:
        """An arm in the space of the model."""
        features = [ObservationFeatures.from_arm(arm)]
        for transform in self.transforms.values():
            features = transform.transform_observation_features(features)
        return features[0]

    def _rows(self, features: list[ObservationFeatures]) -> Tensor:
        if not features:
            return self._array_to_tensor([]).reshape(0, len(self.parameters))
        return self._transform_observation_features(features)

    def _paid(self, objectives: tuple[str, ...]) -> PaidCosts:
        """One row per arm of a trial with data; only told costs are known.

        What a failed measurement cost tells nothing about one that succeeds.
        """
        experiment = experiment_behind(self)
        measured = measured_metrics(experiment)
        believed = cast(DecoupledGenerator, self.generator).costs
        features, costs, setups = [], [], []
        for trial in experiment.trials.values():
            payment = payment_of(trial)
            told = () if payment is None else payment.told
            known = {name: payment.costs[name] for name in told}  # pyright: ignore
            for arm in trial.arms:
                names = measured.get((trial.index, arm.name), set())
                if not names:
                    continue
                features.append(self._features(arm))
                row = [known.get(name, 0.0) for name in objectives]
                costs.append([cost if cost > 0 else torch.nan for cost in row])
                # It is set up if a metric that needs it was measured.
                set_up = believed.needs_setup(tuple(names))
                setups.append(0.0 if set_up else torch.nan)
        table = self._array_to_tensor(costs).reshape(-1, len(objectives))
        return PaidCosts(self._rows(features), table, self._array_to_tensor(setups))

    def _failures(self, objectives: tuple[str, ...]) -> FailureLog:
        """What failed, in the order of the trials.

        A metric that was asked for and has no data failed. Trials of other origin can
        only succeed, as nobody knows what was asked for.
        """
        experiment = experiment_behind(self)
        measured = measured_metrics(experiment)
        generator = cast(DecoupledGenerator, self.generator)
        log = FailureLog(len(objectives), generator.tolerance)
        ended = [
            (trial, arm)
            for trial in experiment.trials.values()
            if trial.status.is_completed or trial.status.is_failed
            for arm in trial.arms
        ]
        rows = self._rows([self._features(arm) for _, arm in ended])
        for row, (trial, arm) in zip(rows, ended, strict=True):
            # Ax leaves data of failed trials out of the models.
            known = measured.get((trial.index, arm.name), set())
            known = known if trial.status.is_completed else set()
            request = request_of(trial, arm)
            asked = known if request is None else set(request.objectives)
            log.note(
                row,
                measured=[name in known for name in objectives],
                failed=[name in asked - known for name in objectives],
            )
        return log

    def _columns(self, digest: SearchSpaceDigest) -> Columns:
        parameters = experiment_behind(self).search_space.parameters
        log10, logit, labels, fixed, derived = set(), set(), set(), {}, {}
        for name, parameter in parameters.items():
            if isinstance(parameter, FixedParameter):
                if parameter.is_numeric:
                    fixed[name] = float(parameter.value)  # pyright: ignore
            elif isinstance(parameter, DerivedParameter):
                if parameter.is_numeric:
                    weights = parameter.parameter_names_to_weights
                    derived[name] = (parameter.intercept, weights)
            elif isinstance(parameter, RangeParameter) and parameter.logit_scale:
                logit.add(name)
            elif isinstance(parameter, (RangeParameter, ChoiceParameter)):
                # Ax takes 16, 32, 64, ... for a logarithmic scale by itself.
                if parameter.log_scale:
                    log10.add(name)
                elif not parameter.is_numeric:
                    labels.add(name)
        return Columns(
            names=tuple(self.parameters),
            log10=frozenset(log10),
            logit=frozenset(logit),
            labels=frozenset(labels),
            fixed=fixed,
            bounds=torch.tensor(
                digest.bounds, dtype=torch.double, device=self.device
            ).T,
            derived=derived,
        )


class PlannedAdapter(RandomAdapter):
    """Quasi-random designs, each with the metrics that the generator's plan says."""

    def _fit(self, search_space: SearchSpace, experiment_data: ExperimentData) -> None:
        cast(PlannedSobolGenerator, self.generator).proposals = Proposals()
        super()._fit(search_space, experiment_data)

    def _gen(
        self,
        n: int,
        search_space: SearchSpace,
        pending_observations: dict[str, list[ObservationFeatures]],
        fixed_features: ObservationFeatures | None,
        optimization_config: OptimizationConfig | None,
        model_gen_options: TConfig | None,
    ) -> GenResults:
        experiment = experiment_behind(self)
        generator = cast(PlannedSobolGenerator, self.generator)
        check_supported(experiment, generator.followed_by)
        generator.intervals = _logarithmic_integers(experiment)
        results = super()._gen(
            n=n,
            search_space=search_space,
            pending_observations=pending_observations,
            fixed_features=fixed_features,
            optimization_config=optimization_config,
            model_gen_options=model_gen_options,
        )
        proposals = generator.proposals
        for features in results.observation_features:
            proposed = [request for _, request in proposals.requests]
            number = PlanProgress.of(
                experiment, len(generator.plan.entries), proposed
            ).next_entry
            names = generator.plan.entry(number, objective_names(experiment))
            features.metadata = Request(names, entry=number).to_metadata()
            proposals.add([features])
        return results


def _logarithmic_integers(experiment: Experiment) -> frozenset[str]:
    """Integer ranges on a logarithmic scale, of which the model has the values."""
    return frozenset(
        name
        for name, parameter in experiment.search_space.parameters.items()
        if isinstance(parameter, RangeParameter)
        and parameter.log_scale
        and parameter.python_type is int
    )


def _mask(requested: Sequence[Sequence[str]], objectives: Sequence[str]) -> Tensor:
    """Which objectives are requested, one row per request."""
    rows = [[name in names for name in objectives] for names in requested]
    return torch.tensor(rows, dtype=torch.bool).reshape(-1, len(objectives))
