r"""Models of half-filled tables: one GP per outcome, each on its own rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.exceptions.warnings import InputDataWarning
from botorch.fit import fit_gpytorch_mll
from botorch.logging import shape_to_str
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_flexibo.models._kernels import mixed_covar_module


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
    ) -> None:
        r"""Fitter for one search space.

        Args:
            bounds: A ``2 x d``-dim tensor of lower and upper bounds.
            categorical_features: Columns whose values are labels without an order.
                Ordinal columns need no mention: they are numbers.
            refit_growth: Fit hyperparameters again when an outcome's rows have grown by
                this fraction since the last fit. 0 fits at every change.

        Raises:
            InputDataError: If a categorical column does not exist or ``refit_growth``
                is negative.
        """
        d = bounds.shape[-1]
        if not all(0 <= column < d for column in categorical_features):
            raise InputDataError(
                f"Expected categorical_features within 0..{d - 1}, but got"
                f" {list(categorical_features)}."
            )
        if not 0 <= refit_growth < torch.inf:
            raise InputDataError(
                f"Expected a finite refit_growth >= 0, but got {refit_growth}."
            )
        self.bounds = bounds
        self.categorical_features = sorted(categorical_features)
        self.refit_growth = refit_growth
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
        _check_data(X, Y, self.bounds)
        return ModelListGP(*(self._fit_outcome(X, Y, i) for i in range(Y.shape[-1])))

    def _fit_outcome(self, X: Tensor, Y: Tensor, i: int) -> SingleTaskGP:
        rows = ~Y[:, i].isnan()
        X_i, y_i = X[rows], Y[rows, i : i + 1]
        last = self._fitted.get(i)
        if last is not None and torch.equal(last.X, X_i) and torch.equal(last.y, y_i):
            return last.model
        model = self._build(X_i, y_i)
        if last is not None:
            model.load_state_dict(_hyperparameters(last.model), strict=False)
        count = len(y_i)
        if last is None or count >= last.num_at_last_fit * (1 + self.refit_growth):
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        else:
            count = last.num_at_last_fit
        model.eval()
        self._fitted[i] = _FittedOutcome(X_i, y_i, model, count)
        return model

    def _build(self, X: Tensor, y: Tensor) -> SingleTaskGP:
        categorical = self.categorical_features
        d = X.shape[-1]
        numeric = [column for column in range(d) if column not in categorical]
        normalize = None
        if numeric:
            normalize = Normalize(d, indices=numeric, bounds=self.bounds.to(X))
        covar_module = mixed_covar_module(d, categorical) if categorical else None
        with warnings.catch_warnings():
            # A single row cannot be standardised; BoTorch says so and leaves it as is.
            if len(y) == 1:
                warnings.simplefilter("ignore", InputDataWarning)
            return SingleTaskGP(
                X,
                y,
                covar_module=covar_module,
                input_transform=normalize,
                outcome_transform=Standardize(m=1),
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
        for i, (num_at_last_fit, parameters) in state.items():
            rows = ~Y[:, i].isnan()
            X_i, y_i = X[rows], Y[rows, i : i + 1]
            model = self._build(X_i, y_i)
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
) -> ModelListGP:
    r"""Fit one GP per outcome to a half-filled table, in one call.

    Args:
        X: A ``n x d``-dim tensor of designs.
        Y: A ``n x m``-dim tensor of outcomes, NaN where not measured.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        categorical_features: Columns whose values are labels without an order.

    Returns:
        A fitted model list with one single-output model per outcome.

    Example:
        >>> X = torch.rand(6, 2, dtype=torch.double)
        >>> Y = torch.stack([X.sum(dim=-1), X.prod(dim=-1)], dim=-1)
        >>> Y[3:, 0] = torch.nan
        >>> bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> fit_decoupled_model(X, Y, bounds=bounds).num_outputs
        2
    """
    fitter = DecoupledModelFitter(bounds, categorical_features=categorical_features)
    return fitter.fit(X, Y)


def _hyperparameters(model: SingleTaskGP) -> dict[str, Tensor]:
    """State of kernel, mean and likelihood, without the data-dependent transforms."""
    return {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(("outcome_transform", "input_transform"))
    }


def _check_data(X: Tensor, Y: Tensor, bounds: Tensor) -> None:
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
        raise BotorchTensorDimensionError(
            "Expected X to be `n x d` and Y `n x m` with the same n, but got"
            f" {shape_to_str(X.shape)} and {shape_to_str(Y.shape)}."
        )
    if X.shape[-1] != bounds.shape[-1]:
        raise BotorchTensorDimensionError(
            f"Expected X with {bounds.shape[-1]} columns, as the bounds, but got"
            f" {X.shape[-1]}."
        )
    if not X.isfinite().all():
        raise InputDataError("Expected finite X, but got NaN or infinity.")
    if Y.isinf().any():
        raise InputDataError(
            "Expected Y to hold finite values or NaN (not measured), but got infinity."
        )
    missing = Y.isnan().all(dim=0).nonzero().flatten().tolist()
    if missing:
        raise InputDataError(
            f"Expected every outcome to be measured at least once, but outcomes"
            f" {missing} never were. Measure one design on all outcomes first."
        )
