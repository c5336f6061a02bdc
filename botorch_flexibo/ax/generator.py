r"""The generator of decoupled measurements: models, and a policy on top."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from ax.core.search_space import SearchSpaceDigest
from ax.generators.torch.botorch_modular.generator import BoTorchGenerator
from ax.generators.torch.botorch_modular.surrogate import SurrogateSpec
from ax.generators.torch_base import TorchGenResults, TorchOptConfig
from botorch.models import ModelListGP
from botorch.models.model import Model
from botorch.utils.datasets import SupervisedDataset
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from botorch_flexibo.ax.costs import Costs, build_cost_model
from botorch_flexibo.ax.inputs import (
    DecoupledInputs,
    DecoupledOptConfig,
    Proposals,
)
from botorch_flexibo.ax.metadata import Request
from botorch_flexibo.ax.policies import build_policy, recall, remembered
from botorch_flexibo.failures import Failures, TolerateFailures
from botorch_flexibo.models import CostModel
from botorch_flexibo.optim import EvaluationRequest, SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.utils.fronts import front_mask
from botorch_flexibo.utils.rows import RowIndex, unique_rows
from botorch_flexibo.utils.seeds import stream

_ROUNDED = "Negative variance values detected"
_SEARCH_STOPPED = "Optimization failed (in `gen_candidates_scipy`|on the second try)"


class DecoupledGenerator(BoTorchGenerator):
    r"""Chooses designs and, for each, the objectives to measure.

    One GP per objective on the data that exist for it, and a policy of this package on
    top. The choice leaves as candidate metadata.
    """

    def __init__(
        self,
        acquisition: str = "lookahead",
        acquisition_options: dict[str, Any] | None = None,
        costs: dict[str, Any] | None = None,
        fidelity: dict[str, float] | None = None,
        failures: dict[str, int] | None = None,
        seed: int = 0,
        surrogate_spec: SurrogateSpec | None = None,
        refit_on_cv: bool = False,
    ) -> None:
        r"""Decoupled generator. All arguments are numbers, strings or collections.

        Args:
            acquisition: The name of a policy, see :func:`build_policy`.
            acquisition_options: Its options.
            costs: What :meth:`Costs.to_json` returns.
            fidelity: The target of each parameter that is a fidelity.
            failures: The numbers of :class:`TolerateFailures`. None means its defaults.
            seed: Seed of all randomness.
            surrogate_spec: The models. None means Ax's defaults, one per objective.
            refit_on_cv: Whether to fit again in each fold of a cross-validation.
        """
        if surrogate_spec is None:
            surrogate_spec = SurrogateSpec(allow_batched_models=False)
        super().__init__(
            surrogate_spec=surrogate_spec,
            refit_on_cv=refit_on_cv,
            # A model is a function of the data alone: a run that was saved and loaded
            # goes on like one that was not.
            warm_start_refit=False,
        )
        self.acquisition = acquisition
        self.policy_options = acquisition_options or {}
        build_policy(acquisition, self.policy_options)  # refuses names
        self.costs = Costs.from_json(costs or {"run": {}, "learned": False})
        self.fidelity = fidelity or {}
        self.tolerance = TolerateFailures(**(failures or {}))
        self.seed = seed
        self.proposals = Proposals()

    def gen(
        self,
        n: int,
        search_space_digest: SearchSpaceDigest,
        torch_opt_config: TorchOptConfig,
    ) -> TorchGenResults:
        r"""Choose designs and the objectives to measure there.

        Args:
            n: The number of measurements; those at one design become one arm.
            search_space_digest: The space of the model.
            torch_opt_config: Options of :class:`DecoupledTorchAdapter`.

        Returns:
            The designs, with the requests as candidate metadata.
        """
        inputs = cast(DecoupledOptConfig, torch_opt_config).inputs
        state = self._state(search_space_digest, torch_opt_config, inputs)
        _warn_of_closed(inputs)
        model = self._model(inputs.objectives)
        # A new one each time: all it knows is in the experiment.
        policy = build_policy(self.acquisition, self.policy_options)
        recall(policy, inputs.memory, _designs(state))
        requests = []
        with warnings.catch_warnings():
            # NOTE: Hypervolumes have kinks, at which SciPy's line search finds no
            # descent; BoTorch 0.18 warns, and its best design counts all the same. At
            # designs with data a variance may be zero but for rounding, which
            # GPyTorch 1.15 corrects and warns of.
            warnings.filterwarnings("ignore", _SEARCH_STOPPED, RuntimeWarning)
            warnings.filterwarnings("ignore", _ROUNDED, NumericalWarning)
            for _ in range(n):
                request = policy(model, state)
                requests.append(request)
                state = _with_pending(state, request)
        return _results(requests, inputs.objectives, remembered(policy))

    def best_point(
        self,
        search_space_digest: SearchSpaceDigest,
        torch_opt_config: TorchOptConfig,
    ) -> Tensor | None:
        """Several objectives have no best point.

        Args:
            search_space_digest: Ignored.
            torch_opt_config: Ignored.

        Returns:
            None.
        """
        return None

    def ref_point(
        self, search_space_digest: SearchSpaceDigest, torch_opt_config: TorchOptConfig
    ) -> Tensor:
        """The reference point of the next suggestion, in the space of the model."""
        inputs = cast(DecoupledOptConfig, torch_opt_config).inputs
        return self._state(search_space_digest, torch_opt_config, inputs).ref_point

    def _model(self, objectives: Sequence[str]) -> ModelListGP:
        """The GPs of the objectives, in their order."""
        models: Sequence[Model] = self.surrogate.model.models  # pyright: ignore
        positions = [self.surrogate.outcomes.index(name) for name in objectives]
        return ModelListGP(*(models[i] for i in positions))  # pyright: ignore

    def _state(
        self,
        digest: SearchSpaceDigest,
        options: TorchOptConfig,
        inputs: DecoupledInputs,
    ) -> DecoupledState:
        X, Y = _table(self._datasets(inputs.objectives))
        space = _space(digest, options, inputs.columns.bounds.to(X))
        targets = dict(
            inputs.columns.encode(name, target)
            for name, target in self.fidelity.items()
        )
        # The model learns from designs elsewhere, which only users can attach.
        inside = _is_inside(X, space)
        X_known = X[inside] if inside.any() else X
        failures = inputs.failures.failures(X)
        costs = inputs.failures.believed_costs(self._cost_model(inputs), failures)
        if failures is not None:
            failures = _tried_again_inside(failures, space)
        return DecoupledState(
            X=X[inside],
            Y=Y[inside],
            space=space,
            ref_point=self._ref_point(
                _at(X_known, targets), options.objective_thresholds, inputs
            ),
            cost_model=costs,
            iteration=inputs.num_proposed + 1,
            seed=stream(self.seed, inputs.num_proposed),
            target_fidelities=targets,
            X_pending=inputs.X_pending if len(inputs.X_pending) > 0 else None,
            X_pending_evaluation_mask=(
                inputs.pending_mask if len(inputs.X_pending) > 0 else None
            ),
            failures=failures,
        )

    def _datasets(self, objectives: Sequence[str]) -> list[SupervisedDataset]:
        data = self.surrogate.training_data
        datasets = {dataset.outcome_names[0]: dataset for dataset in data}
        return [datasets[name] for name in objectives]

    def _ref_point(
        self, X: Tensor, thresholds: Tensor | None, inputs: DecoupledInputs
    ) -> Tensor:
        """Thresholds where given, else inferred from the front of the means.

        NOTE: Ax infers from arms that have all metrics, of which there may be none.
        """
        if thresholds is not None and not thresholds.isnan().any():
            return thresholds
        # The variance, which may be negative by rounding, is not needed.
        mean = self._model(inputs.objectives).posterior(X).mean.detach()
        inferred = infer_reference_point(mean[front_mask(mean)])
        if thresholds is None:
            return inferred
        return torch.where(thresholds.isnan(), inferred, thresholds)

    def _cost_model(self, inputs: DecoupledInputs) -> Model:
        model = build_cost_model(self.costs, inputs.objectives, inputs.columns)
        if isinstance(model, CostModel) and len(inputs.paid.X) > 0:
            model = model.update(inputs.paid)
        return model


def _warn_of_closed(inputs: DecoupledInputs) -> None:
    """Say which objectives are not asked for any more; an error does if all are."""
    counts = inputs.failures.closed
    if all(counts):
        return
    for name, count in zip(inputs.objectives, counts, strict=True):
        if count > 0:
            warnings.warn(
                f"{name!r} failed at {count} designs in a row and is not asked for any"
                " more. Attach a value of it to go on, or allow more by"
                " flexibo_generation_strategy(failures=TolerateFailures(...)).",
                RuntimeWarning,
                stacklevel=2,
            )


def _table(datasets: Sequence[SupervisedDataset]) -> tuple[Tensor, Tensor]:
    """All designs, each once, with the mean of what was measured there, else NaN."""
    X = unique_rows(torch.cat([dataset.X for dataset in datasets]))
    index = RowIndex(X)
    columns = []
    for dataset in datasets:
        row = index.find(dataset.X)
        weight = _weights(dataset, row)
        values = weight * dataset.Y.squeeze(-1)
        total = X.new_zeros(len(X)).index_add(0, row, values)
        columns.append(total / X.new_zeros(len(X)).index_add(0, row, weight))
    return X, torch.stack(columns, dim=-1)  # 0 / 0 is NaN


def _weights(dataset: SupervisedDataset, row: Tensor) -> Tensor:
    """By the inverse of the variances, where those at a design are all positive."""
    equal = torch.ones_like(dataset.Y.squeeze(-1))
    if dataset.Yvar is None:
        return equal
    variance = dataset.Yvar.squeeze(-1)
    least = variance.new_full((int(row.max()) + 1,), torch.inf)
    least = least.scatter_reduce(0, row, variance, "amin")[row]
    return torch.where(least > 0, least / variance, equal)


def _space(
    digest: SearchSpaceDigest, options: TorchOptConfig, bounds: Tensor
) -> SearchSpace:
    constraints = []
    if options.linear_constraints is not None:
        # Ax: A x <= b. BoTorch: sum of coefficients times x >= rhs.
        for row, bound in zip(*options.linear_constraints, strict=True):
            indices = row.nonzero().squeeze(-1)
            constraints.append((indices, -row[indices], -float(bound)))
    discrete = digest.discrete_choices
    return SearchSpace(
        bounds,
        fixed_features=options.fixed_features or {},
        discrete_dims={j: list(discrete[j]) for j in digest.ordinal_features},
        cat_dims={j: list(discrete[j]) for j in digest.categorical_features},
        inequality_constraints=constraints,
    )


def _is_inside(X: Tensor, space: SearchSpace) -> Tensor:
    """Which designs lie within the bounds and have allowed separate values."""
    inside = ((X >= space.bounds[0]) & (X <= space.bounds[1])).all(dim=-1)
    for column, values in {**space.discrete_dims, **space.cat_dims}.items():
        inside &= torch.isin(X[:, column], X.new_tensor(values))
    return inside


def _tried_again_inside(failures: Failures, space: SearchSpace) -> Failures:
    """Without further attempts at designs outside the space, nor at copies of them.

    They lie there if the space was changed, or for the time of fixed parameters. What
    is given up stays so.
    """
    kept = failures.given_up | space.is_member(failures.X).unsqueeze(-1)
    return replace(failures, counts=failures.counts * kept)


def _at(X: Tensor, target_fidelities: Mapping[int, float]) -> Tensor:
    """Designs with their fidelities at the targets."""
    X = X.clone()
    for column, target in target_fidelities.items():
        X[:, column] = target
    return X


def _with_pending(state: DecoupledState, request: EvaluationRequest) -> DecoupledState:
    """The state once a request is being measured."""
    X, mask = request.X, request.evaluation_mask
    if state.X_pending is not None and state.X_pending_evaluation_mask is not None:
        X = torch.cat([state.X_pending, X])
        mask = torch.cat([state.X_pending_evaluation_mask, mask])
    return replace(
        state,
        X_pending=X,
        X_pending_evaluation_mask=mask,
        iteration=state.iteration + 1,
        seed=state.seed + 1,
    )


def _designs(state: DecoupledState) -> Tensor:
    """All designs measured or being measured."""
    return state.X if state.X_pending is None else torch.cat([state.X, state.X_pending])


def _results(
    requests: Sequence[EvaluationRequest],
    objectives: Sequence[str],
    memory: Mapping[str, Any] | None,
) -> TorchGenResults:
    """One arm per design: Ax keeps one entry of metadata per arm."""
    X = torch.cat([request.X for request in requests])
    mask = torch.cat([request.evaluation_mask for request in requests])
    cost = torch.cat([_or_nan(request.cost, request.X) for request in requests])
    value = torch.cat([_or_nan(request.acq_value, request.X) for request in requests])
    designs = unique_rows(X)
    row = RowIndex(designs).find(X)
    metadata = []
    for k in range(len(designs)):
        here = row == k
        names = zip(objectives, mask[here].any(dim=0).tolist(), strict=True)
        request = Request(
            objectives=tuple(name for name, asked in names if asked),
            cost=_or_none(float(cost[here].sum())),
            acq_value=_or_none(float(value[here].sum())),
            memory=memory,
        )
        metadata.append(request.to_metadata())
    return TorchGenResults(
        points=designs.detach().cpu(),
        weights=torch.ones(len(designs), dtype=designs.dtype),
        candidate_metadata=metadata,
    )


def _or_nan(values: Tensor | None, X: Tensor) -> Tensor:
    return X.new_full((len(X),), torch.nan) if values is None else values


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
