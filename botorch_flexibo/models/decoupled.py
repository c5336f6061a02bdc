r"""Models of half-filled tables: one GP per outcome, each on its own rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple, Self, cast

import torch
from botorch.exceptions.errors import InputDataError
from botorch.exceptions.warnings import InputDataWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_flexibo.models._checks import check_settings, check_table
from botorch_flexibo.models._kernels import mixed_covar_module
from botorch_flexibo.models._normalize import normalize_numeric
from botorch_flexibo.models.winsorize import Winsorize

# Fitting 1,000 rows takes seconds and 2,000 nearly a minute; what is fitted on half of
# 2,000 rows predicts as well (docs/reliability.md, "Scale").
_MAX_FIT_ROWS = 1000
_SUBSET_SEED = 0


@dataclass
class _FittedOutcome:
    """The model of one outcome with the data it was built from."""

    X: Tensor
    y: Tensor
    model: SingleTaskGP
    num_at_last_fit: int


class FittedParameters(NamedTuple):
    """The fitted parameters of one outcome's model.

    Attributes:
        num_rows: How many rows the outcome had when they were fitted.
        parameters: The parameters by name.
    """

    num_rows: int
    parameters: Mapping[str, Tensor]


class DecoupledModelFitter:
    r"""Turns ``X`` and ``Y`` with NaN for "not measured" into a fitted ``ModelListGP``.

    Outcome ``i`` is modelled on the rows where it was measured. Continuous and ordinal
    inputs are normalised to the unit cube and share a Matern or RBF kernel with one
    length scale each (BoTorch's ``SingleTaskGP``); that of categorical inputs is
    multiplied by a Hamming kernel, also with one length scale each. Outcomes are
    standardised.

    The fitter remembers its last models: an outcome without new data is reused as it
    is, and one with little new data keeps its hyperparameters and is conditioned on the
    new rows. Hyperparameters are fitted again, from where they were, once the rows of
    the outcome have grown by the fraction ``refit_growth``.

    Cheap outcomes gather far more rows than expensive ones. Of more than
    ``max_fit_rows``, a random part of that size, always the same one, tells the
    hyperparameters; the posterior is conditioned on all rows. It takes one Cholesky
    factor, so that 5,000 rows are a matter of seconds. For more than about 10,000
    write a loop of your own with a variational model (BoTorch's
    ``SingleTaskVariationalGP``): FlexiBO takes it, look-ahead does not, as it needs
    exact GPs.

    Example:
        >>> X = torch.rand(6, 2, dtype=torch.double)
        >>> Y = torch.stack([X.sum(dim=-1), X.prod(dim=-1)], dim=-1)
        >>> Y[3:, 0] = torch.nan  # the first outcome was measured three times only
        >>> fitter = DecoupledModelFitter(bounds=torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        >>> [len(model.train_targets) for model in fitter.fit(X, Y).models]
        [3, 6]
    """

    def __init__(
        self,
        bounds: Tensor,
        *,
        categorical_features: Sequence[int] = (),
        refit_growth: float = 0.1,
        max_fit_rows: int = _MAX_FIT_ROWS,
        winsorize: Winsorize | None = None,
    ) -> None:
        r"""Fitter for one search space.

        Args:
            bounds: A ``2 x d``-dim tensor of lower and upper bounds.
            categorical_features: Columns whose values are labels without an order.
                Ordinal columns need no mention: they are numbers.
            refit_growth: Fit hyperparameters again when an outcome's rows have grown by
                this fraction since the last fit. 0 fits at every change.
            max_fit_rows: The most rows of an outcome on which hyperparameters are
                fitted.
            winsorize: What is done about outliers among the worst outcomes. None models
                all outcomes as they are.

        Raises:
            BotorchTensorDimensionError: If the bounds are not ``2 x d``.
            InputDataError: If the bounds are not finite and ascending, a categorical
                column does not exist, ``refit_growth`` is negative or
                ``max_fit_rows`` is less than 2.
        """
        check_settings(bounds, categorical_features, refit_growth, max_fit_rows)
        self.bounds = bounds
        self.categorical_features = sorted(categorical_features)
        self.refit_growth = refit_growth
        self.max_fit_rows = max_fit_rows
        self.winsorize = winsorize
        self._fitted: dict[int, _FittedOutcome] = {}

    def fit(self, X: Tensor, Y: Tensor) -> ModelListGP:
        r"""Model the data measured so far.

        Args:
            X: A ``n x d``-dim tensor of designs.
            Y: A ``n x m``-dim tensor of outcomes, NaN where not measured.

        Returns:
            A model list with one single-output model per outcome.

        Raises:
            BotorchTensorDimensionError: If the shapes do not fit.
            InputDataError: If ``X`` is not finite, ``Y`` infinite, or an outcome was
                never measured.
        """
        check_table(X, Y, self.bounds)
        Y = self._to_model(Y)
        return ModelListGP(*(self._fit_outcome(X, Y, i) for i in range(Y.shape[-1])))

    def unfitted(self) -> Self:
        """A fitter with the same settings that has not fitted anything."""
        other = copy(self)
        other._fitted = {}
        return other

    def _to_model(self, Y: Tensor) -> Tensor:
        """What is modelled of these outcomes."""
        return Y if self.winsorize is None else self.winsorize(Y)

    def _fit_outcome(self, X: Tensor, Y: Tensor, i: int) -> SingleTaskGP:
        rows = ~Y[:, i].isnan()
        X_i, y_i = X[rows], Y[rows, i : i + 1]
        last = self._fitted.get(i)
        if last is not None and torch.equal(last.X, X_i) and torch.equal(last.y, y_i):
            return last.model
        model = self._build(X_i, y_i, outcome_transform=Standardize(m=1))
        if last is not None:
            model.load_state_dict(_hyperparameters(last.model), strict=False)
        count = len(y_i)
        if last is None or count >= last.num_at_last_fit * (1 + self.refit_growth):
            self._fit_hyperparameters(model, X_i, y_i)
        else:
            count = last.num_at_last_fit
        model.eval()
        self._fitted[i] = _FittedOutcome(X_i, y_i, model, count)
        return model

    def _fit_hyperparameters(self, model: SingleTaskGP, X: Tensor, y: Tensor) -> None:
        """Fit those of a model of these rows, from where they are."""
        if len(y) <= self.max_fit_rows:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            return
        rows = _subset(len(y), self.max_fit_rows).to(y.device)
        # In the units of all rows, for which the hyperparameters are meant.
        standardize = cast(Standardize, model.outcome_transform)
        with torch.no_grad():
            z, _ = standardize.eval()(y[rows])
        part = self._build(X[rows], z, outcome_transform=None)
        part.load_state_dict(_hyperparameters(model), strict=False)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(part.likelihood, part))
        model.load_state_dict(_hyperparameters(part), strict=False)

    def _build(
        self, X: Tensor, y: Tensor, *, outcome_transform: Standardize | None
    ) -> SingleTaskGP:
        """A model of these rows; without a transform ``y`` is standardised."""
        categorical = self.categorical_features
        d = X.shape[-1]
        normalize = normalize_numeric(self.bounds.to(X), categorical)
        covar_module = mixed_covar_module(d, categorical) if categorical else None
        with warnings.catch_warnings():
            # A single value cannot be standardised, and a part of the rows is only
            # nearly so if all rows are. BoTorch says so and goes on.
            if outcome_transform is None or bool((y == y[0]).all()):
                warnings.simplefilter("ignore", InputDataWarning)
            return SingleTaskGP(
                X,
                y,
                covar_module=covar_module,
                input_transform=normalize,
                outcome_transform=outcome_transform,
            )

    def state_dict(self) -> dict[int, FittedParameters]:
        """What was fitted so far, by outcome, to go on from in another process."""
        return {
            i: FittedParameters(
                last.num_at_last_fit,
                {name: p.detach() for name, p in last.model.named_parameters()},
            )
            for i, last in self._fitted.items()
        }

    def load_state_dict(
        self, state: Mapping[int, FittedParameters], X: Tensor, Y: Tensor
    ) -> None:
        r"""Go on from what was fitted, as if these data had been fitted last.

        Args:
            state: What :meth:`state_dict` returned.
            X: The ``n x d``-dim designs of the last call of :meth:`fit`.
            Y: Their ``n x m``-dim outcomes then.

        Raises:
            InputDataError: If the parameters are not those of these models.
        """
        Y = self._to_model(Y)
        for i, (num_at_last_fit, parameters) in state.items():
            rows = ~Y[:, i].isnan()
            X_i, y_i = X[rows], Y[rows, i : i + 1]
            model = self._build(X_i, y_i, outcome_transform=Standardize(m=1))
            expected = {name: p.shape for name, p in model.named_parameters()}
            if expected != {name: p.shape for name, p in parameters.items()}:
                raise InputDataError(
                    f"Expected parameters {sorted(expected)} of outcome {i}, but got"
                    f" {sorted(parameters)}, or others of the same names. Load them"
                    " with the version that saved them."
                )
            model.load_state_dict(dict(parameters), strict=False)
            model.eval()
            self._fitted[i] = _FittedOutcome(X_i, y_i, model, num_at_last_fit)


def fit_decoupled_model(
    X: Tensor,
    Y: Tensor,
    *,
    bounds: Tensor,
    categorical_features: Sequence[int] = (),
    max_fit_rows: int = _MAX_FIT_ROWS,
    winsorize: Winsorize | None = None,
) -> ModelListGP:
    r"""Fit one GP per outcome to a half-filled table, in one call.

    Args:
        X: A ``n x d``-dim tensor of designs.
        Y: A ``n x m``-dim tensor of outcomes, NaN where not measured.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        categorical_features: Columns whose values are labels without an order.
        max_fit_rows: The most rows of an outcome on which hyperparameters are fitted;
            predictions use all.
        winsorize: What is done about outliers among the worst outcomes. None models all
            outcomes as they are.

    Returns:
        A fitted model list with one single-output model per outcome.

    Raises:
        BotorchTensorDimensionError: If the shapes do not fit.
        InputDataError: If bounds, columns or numbers are not those that
            :class:`DecoupledModelFitter` takes, ``X`` is not finite, ``Y`` infinite, or
            an outcome was never measured.

    Example:
        >>> X = torch.rand(6, 2, dtype=torch.double)
        >>> Y = torch.stack([X.sum(dim=-1), X.prod(dim=-1)], dim=-1)
        >>> Y[3:, 0] = torch.nan
        >>> bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> fit_decoupled_model(X, Y, bounds=bounds).num_outputs
        2
    """
    fitter = DecoupledModelFitter(
        bounds,
        categorical_features=categorical_features,
        max_fit_rows=max_fit_rows,
        winsorize=winsorize,
    )
    return fitter.fit(X, Y)


def _subset(n: int, size: int) -> Tensor:
    """Random rows, the same ones for the same numbers, in order.

    NOTE: Not the best rows, nor spread ones: a random part keeps how the rows are
    distributed, for which the likelihood is meant.
    """
    generator = torch.Generator().manual_seed(_SUBSET_SEED)
    return torch.randperm(n, generator=generator)[:size].sort().values


def _hyperparameters(model: SingleTaskGP) -> dict[str, Tensor]:
    """State of kernel, mean and likelihood, without the data-dependent transforms."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(("outcome_transform", "input_transform"))
    }
