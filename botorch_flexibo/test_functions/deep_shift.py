r"""Tuning deep shift networks: error against energy, with epochs as fidelity."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from botorch_flexibo.nn.data import ClassificationData, digits
from botorch_flexibo.nn.energy import EnergyModel
from botorch_flexibo.nn.training import TrainingResult
from botorch_flexibo.test_functions._deep_shift_networks import (
    NetworkFactory,
    small_cnn,
    small_resnet,
)
from botorch_flexibo.test_functions._deep_shift_outcomes import (
    ANALYTIC_SECONDS,
    AnalyticOutcomes,
    check_objectives,
)
from botorch_flexibo.test_functions._deep_shift_recorded import (
    EPOCHS,
    RecordedDeepShift,
    recorded_learning_curves,
)
from botorch_flexibo.test_functions._deep_shift_space import (
    DeepShiftSettings,
    DeepShiftSpace,
    Fidelity,
    default_row,
)
from botorch_flexibo.test_functions._deep_shift_training import (
    ResumedTrainings,
    TrainingRuns,
)
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.fronts import as_ref_point

__all__ = [
    "DeepShiftProblem",
    "RecordedDeepShift",
    "TrainingRuns",
    "recorded_learning_curves",
    "small_cnn",
    "small_resnet",
]


class DeepShiftProblem(DecoupledProblem):
    r"""Tune a deep shift network and its training, with real trainings.

    The problem of Hennig, Tornede and Lindauer (arXiv 2404.01965): the settings of a
    shift network (DeepShift, Elhoushi et al., 2021) are chosen for error and energy,
    with the number of epochs as fidelity. A design has d = 12 columns:

    ============================  ====================================================
    ``log10_lr``                  logarithm of the learning rate, 1e-3 .. 0.2
    ``log10_weight_decay``        logarithm of the weight decay, 1e-6 .. 1e-2
    ``batch_size``                level of 32, 64, 128
    ``optimizer``                 one of seven, categorical
    ``momentum``                  0 .. 0.9, *only with SGD*
    ``weight_bits``               bits of a weight, 2 .. 5
    ``activation_integer_bits``   bits of an activation before the point, 2 .. 16
    ``activation_fraction_bits``  and after it, 2 .. 16
    ``shift_depth``               convolutions that are shifts, from the output, 0 .. n
    ``shift_type``                Q or PS, categorical
    ``rounding``                  deterministic or stochastic, categorical
    ``epochs``                    level of the numbers of epochs, the fidelity
    ============================  ====================================================

    Bits, shift type and rounding act *only if the shift depth is positive*. Where a
    parameter does not act, :meth:`canonical` gives it the value of the default network,
    so that two canonical designs never describe the same network, training and epochs.
    Any design may be evaluated; what is remembered, and its cost, are those of its
    canonical form. ``discretize`` gives canonical designs.

    Outcomes, all maximised, are chosen by name:

    - ``"error"``: minus the validation error, a fraction, after the design's epochs. A
      training that diverges is no failure: its network answers the same class always,
      and its error is what that gets wrong.
    - ``"energy"``: minus the logarithm to base 10 of the *modelled* energy of an
      inference in nJ, see :class:`~botorch_flexibo.nn.energy.EnergyModel`. Logarithmic,
      because a bit or a layer changes the energy by a factor; on a linear scale the
      networks of few bits would be squeezed into the last percents of the range.
    - ``"multiplications"``: minus the share of the products of an inference that are
      multiplications of floats rather than shifts.
    - ``"emissions"``: minus the decimal logarithm of the *modelled* greenhouse gas of
      an inference in pg of CO2 equivalents: the energy times the German grid's factor.

    All but the first do not depend on the epochs. With ``fidelity="shift_depth"``,
    networks with fewer shift layers, which train faster, inform about those of shifts
    only; there is no column for the epochs then, and trainings take the last of
    ``epochs``.

    NOTE: the space differs from that of the released code where that has faults or dead
    parameters: rates are on a logarithmic scale, inactive parameters are recognised,
    the batch size is used, bits end where nothing changes any more, and the number of
    epochs is not a parameter beside the fidelity.

    A training that is asked for more epochs goes on where it stopped, bit for bit as if
    it had never stopped, and only the further epochs are paid for. The cost of an error
    is the wall-clock seconds that its measurement took; before it is measured,
    :meth:`cost` predicts them. The error after fewer epochs than were trained already
    is read off the learning curve. Reading off and the analytic outcomes are *assumed*
    to cost 0.01 s. Since costs depend on what was trained before, use one problem per
    run; a model of such costs is :class:`~botorch_flexibo.models.ResumedCostModel`.

    The search sees training and validation images only; :meth:`test_scores` judges its
    results.

    NOTE: ``evaluate_true`` trains all networks it is given, and
    ``run_decoupled_optimization`` calls it to judge fronts. To spend nothing beyond the
    budget, use :class:`RecordedDeepShift`, or a loop as in ``benchmarks.deep_shift``.

    Attributes:
        data: The images.
        space: What the columns of a design mean.

    Example:
        >>> import torch
        >>> from botorch_flexibo.test_functions.deep_shift import DeepShiftProblem
        >>> problem = DeepShiftProblem()
        >>> X = torch.cat([problem.default_design, problem.float_design])
        >>> energy = torch.tensor([[False, True]]).expand(2, -1)
        >>> (10 ** -problem.evaluate(X, energy)[:, 1]).round().tolist()  # nJ
        [200.0, 899.0]
    """

    knows_truth = False

    def __init__(
        self,
        objectives: Sequence[str] = ("error", "energy"),
        *,
        data: ClassificationData | None = None,
        network: NetworkFactory = small_cnn,
        epochs: Sequence[int] = EPOCHS,
        fidelity: Fidelity = "epochs",
        runs: TrainingRuns | None = None,
        energy: EnergyModel | None = None,
        ref_point: Sequence[float] | None = None,
    ) -> None:
        r"""Set up the problem; nothing is trained yet.

        Args:
            objectives: Two or more of ``"error"``, ``"energy"``,
                ``"multiplications"`` and ``"emissions"``.
            data: The images; None for :func:`~botorch_flexibo.nn.data.digits`, which
                needs the extra ``bench``.
            network: Makes the float network for an image shape and a number of classes,
                for example :func:`small_cnn` or :func:`small_resnet`.
            epochs: The numbers of epochs that a training may have, ascending. The last
                is the target; with only one, there is no column for the epochs.
            fidelity: The column that is a fidelity: ``"epochs"`` or ``"shift_depth"``.
            runs: Seed, device and folder of the trainings.
            energy: The energy model, of a 45 nm process by default.
            ref_point: Reference point on the maximised scale; None for an error of 0.3
                and what the float network needs.

        Raises:
            ImportError: If the digits are needed and scikit-learn is not installed.
            InputDataError: If the network has no convolution, the epochs are no
                positive whole numbers that ascend, or the fidelity is unknown.
            ValueError: If the objectives are not two or more of those known.
        """
        names = check_objectives(objectives)
        data = digits() if data is None else data
        trainings = ResumedTrainings(network, data, runs or TrainingRuns())
        analytic = AnalyticOutcomes(trainings, data, energy or EnergyModel())
        space = DeepShiftSpace(analytic.num_convolutions, tuple(epochs), fidelity)
        self.dim, self.num_objectives = len(space.columns), len(names)
        self._bounds = space.bounds
        self.continuous_inds, self.discrete_inds, self.categorical_inds = space.kinds
        point = analytic.ref_point(names) if ref_point is None else ref_point
        self._ref_point = as_ref_point(point, num_outcomes=len(names)).tolist()
        super().__init__()
        self.outcome_names = names
        self.cost_unit = "s"
        self.target_fidelities = space.target_fidelities
        self.data = data
        self.space = space
        self._trainings = trainings
        self._analytic = analytic
        # What was paid for the error of each training after so many epochs.
        self._paid: dict[tuple[DeepShiftSettings, int], float] = {}

    @property
    def default_design(self) -> Tensor:
        """The default network of the released code, at the target: ``1 x d``."""
        return self._reference_design(self.space.num_convolutions)

    @property
    def float_design(self) -> Tensor:
        """The float network with the default training, at the target: ``1 x d``."""
        return self.canonical(self._reference_design(0))

    def canonical(self, X: Tensor) -> Tensor:
        r"""Give parameters without effect the values of the default network.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A tensor of the same shape. Its rows are equal if and only if they describe
            the same network, training and epochs.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        return self.space.canonical(self._checked(X))

    def discretize(self, n: int, seed: int) -> Tensor:
        r"""Draw ``n`` canonical designs, see :meth:`DecoupledProblem.discretize`.

        Args:
            n: The number of designs, at least 1.
            seed: Seed of the design set.

        Returns:
            An ``n x d`` tensor of designs.

        Raises:
            ValueError: If ``n`` is smaller than 1.
        """
        return self.canonical(super().discretize(n, seed))

    def cost(self, X: Tensor) -> Tensor:
        r"""Price each outcome of each design, measured alone.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape x m`` tensor of costs in s, strictly positive. For an error
            what its measurement took, or, if it is still to be measured, what it would
            take now by :meth:`training_seconds` and the epochs trained already.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        rows = self._checked(X).reshape(-1, self.dim)
        pairs = zip(self.space.settings(rows), self.space.epochs_of(rows), strict=True)
        error = rows.new_tensor([self._seconds(*pair) for pair in pairs])
        others = torch.full_like(error, ANALYTIC_SECONDS)
        columns = [error if n == "error" else others for n in self.outcome_names]
        return torch.stack(columns, dim=-1).reshape(*X.shape[:-1], len(columns))

    def training_seconds(self, X: Tensor) -> Tensor:
        r"""Model of the time that one core needs to train each design from scratch.

        With S steps per epoch, N training images, L layers, of which K are shift
        layers, and M products of an inference::

            seconds = epochs (S (L t_layer + K t_shift) + N M t_product)

        The three times were fitted to the recorded trainings, on one core of a two-core
        virtual machine. Other machines are faster or slower by a factor.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape`` tensor in seconds.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        X = self._checked(X)
        rows = X.reshape(-1, self.dim)
        pairs = zip(self.space.settings(rows), self.space.epochs_of(rows), strict=True)
        seconds = [self._analytic.epoch_seconds(s) * epochs for s, epochs in pairs]
        return X.new_tensor(seconds).reshape(X.shape[:-1])

    def train_networks(self, X: Tensor) -> list[TrainingResult]:
        r"""Train each design for its epochs, or go on with its training.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            The ``n`` results, with learning curves and the seconds really taken.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        self._validate_designs(X)
        results = []
        for settings, epochs in zip(
            self.space.settings(X), self.space.epochs_of(X), strict=True
        ):
            known = self._trainings.result(settings)
            result = self._trainings.advance(settings, epochs)
            before = known.epoch_seconds if known is not None else ()
            paid = result.seconds - max(before, default=0.0)
            self._paid.setdefault((settings, epochs), max(paid, ANALYTIC_SECONDS))
            results.append(result)
        return results

    def test_scores(self, X: Tensor) -> Tensor:
        r"""Judge networks on images that the search has not seen.

        Args:
            X: An ``n x d`` tensor of designs. Their epochs do not matter: all networks
                are trained to the end, free of charge.

        Returns:
            An ``n`` tensor: the shares of the test images that the networks get wrong.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        self._validate_designs(X)
        last = self.space.epochs[-1]
        errors = [
            self._trainings.test_error(settings, last)
            for settings in self.space.settings(X)
        ]
        return X.new_tensor(errors)

    def decode(self, X: Tensor) -> pd.DataFrame:
        r"""Turn designs into readable values.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            A data frame with ``n`` rows: rates instead of their logarithms, names,
            sizes and numbers of epochs; parameters without effect are missing.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a design is out of bounds or an integer fractional.
        """
        self._validate_designs(X)
        return self.space.decoded(X)

    def _seconds(self, settings: DeepShiftSettings, epochs: int) -> float:
        """What the error of a training took, or would take now."""
        paid = self._paid.get((settings, epochs))
        if paid is not None:
            return paid
        per_epoch, done = self._analytic.epoch_seconds(settings), 0
        known = self._trainings.result(settings)
        if known is not None:
            done = len(known.epoch_seconds)
            per_epoch = known.seconds / done
        return max(per_epoch * (epochs - done), ANALYTIC_SECONDS)

    def _reference_design(self, shift_depth: int) -> Tensor:
        row = default_row(self.space.columns, shift_depth, len(self.space.epochs) - 1)
        return row.to(self.bounds)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        mask = torch.ones(*X.shape[:-1], self.num_objectives, dtype=torch.bool)
        return self._measure(X, mask.to(X.device))

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        rows = self._checked(X).reshape(-1, self.dim)
        known = [self._analytic.outcomes(s) for s in self.space.settings(rows)]
        columns = []
        for i, name in enumerate(self.outcome_names):
            if name == "error":
                wanted = evaluation_mask[..., i].reshape(-1)
                column = rows.new_full((len(rows),), torch.nan)
                errors = [result.error for result in self.train_networks(rows[wanted])]
                column[wanted] = -column.new_tensor(errors)
            else:
                column = rows.new_tensor([outcomes[name] for outcomes in known])
            columns.append(column)
        return torch.stack(columns, dim=-1).reshape(*X.shape[:-1], len(columns))

    def _checked(self, X: Tensor) -> Tensor:
        """Refuse what is not a ``batch_shape x d`` tensor of designs.

        Args:
            X: The tensor to check.

        Returns:
            The tensor.

        Raises:
            BotorchTensorDimensionError: If the last dimension is not ``d``.
        """
        self._validate_columns(X)
        self._validate_designs(X.reshape(-1, self.dim))
        return X
