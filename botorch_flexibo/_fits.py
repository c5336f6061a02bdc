r"""The fits of a run: made, or read from its record."""

from __future__ import annotations

import torch
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo.checkpoint import RunRecord
from botorch_flexibo.models.decoupled import DecoupledModelFitter, FittedParameters
from botorch_flexibo.utils.seeds import seeded


class RecordedFits:
    r"""Fits models once per new data, and records the hyperparameters.

    What the record holds is not fitted again; a model is then built only when somebody
    wants it. It is the same to the last bit.
    """

    def __init__(
        self, fitter: DecoupledModelFitter, record: RunRecord, seed: int
    ) -> None:
        """Nothing is fitted yet.

        Args:
            fitter: What makes models of data.
            record: Where fits are recorded.
            seed: The seed of a fit that must be repeated from a random start.
        """
        self._fitter = fitter
        self._record = record
        self._seed = seed
        self._known: dict[int, FittedParameters] = {}
        self._read: tuple[Tensor, Tensor] | None = None
        self._last: Tensor | None = None
        self._model: ModelList | None = None

    def fit(self, X: Tensor, Y: Tensor) -> None:
        r"""Fit what is new in the data, or note what was fitted then.

        Args:
            X: A ``n x d``-dim tensor of designs.
            Y: A ``n x m``-dim tensor of outcomes, NaN where not measured. As long as it
                is the same object, nothing is new.
        """
        if Y is self._last:
            return
        recorded = self._record.fit()
        if recorded is not None:
            self._known.update(recorded)
            self._read = X, Y
            self._last = Y
            self._model = None
            return
        self._model = self._fit(X, Y)
        self._last = Y
        fitted = self._fitter.state_dict()
        new = {
            outcome: parameters
            for outcome, parameters in fitted.items()
            if not _equal(parameters, self._known.get(outcome))
        }
        self._known = fitted
        self._record.add_fit(new)

    def model(self, X: Tensor, Y: Tensor) -> ModelList:
        r"""The model of the data.

        Args:
            X: A ``n x d``-dim tensor of designs.
            Y: A ``n x m``-dim tensor of outcomes, NaN where not measured.

        Returns:
            The model.
        """
        self.fit(X, Y)
        if self._model is None:
            self._model = self._fit(X, Y)
        return self._model

    def unrecorded_model(self, X: Tensor, Y: Tensor) -> ModelList:
        r"""The model of the data for a look that is no part of the run.

        Args:
            X: A ``n x d``-dim tensor of designs.
            Y: A ``n x m``-dim tensor of outcomes, NaN where not measured.

        Returns:
            The model.
        """
        return self._fit(X, Y)

    def _fit(self, X: Tensor, Y: Tensor) -> ModelList:
        if self._read is not None:
            self._fitter.load_state_dict(self._known, *self._read)
            self._read = None
        with seeded(self._seed):
            return self._fitter.fit(X, Y)


def _equal(new: FittedParameters, old: FittedParameters | None) -> bool:
    return (
        old is not None
        and new.num_rows == old.num_rows
        and all(
            torch.equal(_plain(p), _plain(old.parameters[name]))
            for name, p in new.parameters.items()
        )
    )


def _plain(parameter: Tensor) -> Tensor:
    """As it is read from a record, wherever and in whatever precision it is used."""
    return parameter.to("cpu", torch.float64)
