r"""A network and the crossbar accelerator it runs on, tuned together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

import pandas as pd
import torch
from torch import Tensor

from botorch_flexibo.nn._crossbar_cnn import CrossbarCNN
from botorch_flexibo.nn._crossbar_space import (
    CATEGORICAL,
    COLUMNS,
    LEVELS,
    CNNSettings,
    OutcomeModel,
    decoded,
    encoded,
    hardware_grid,
    level_values,
    network_settings,
)
from botorch_flexibo.nn.crossbar import ISAAC, CrossbarComponents
from botorch_flexibo.nn.data import ClassificationData, digits
from botorch_flexibo.nn.training import (
    TrainingResult,
    TrainingSettings,
    seeded,
    train_classifier,
)
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.test_functions.tabular import TabularProblem
from botorch_flexibo.utils.fronts import as_ref_point

RECORDED_TRAINING = TrainingSettings(epochs=10, batch_size=16)
r"""How the recorded networks were trained; learning rate and optimiser are columns."""
_ANALYTIC_SECONDS = 0.01


class CrossbarCNNProblem(DecoupledProblem):
    r"""Tune a small convolutional network and the crossbars it runs on, with trainings.

    The kind of problem of PABO (Parsa et al., ICCAD 2019): hyper-parameters of the
    network and of a memristive accelerator are chosen together, for error, energy and,
    as in its hierarchical successor (Parsa et al., Frontiers in Neuroscience, 2020),
    area. The papers' own networks, ranges and cost formulas are not used.

    A design has d = 14 columns. Each holds the number of a level, an integer counting
    from 0, and :meth:`decode` tells the values:

    ====================================  =============================================
    ``kernel_1``, ``kernel_2``            3, 5, 7
    ``maps_1``, ``maps_2``                feature maps, 8, 16, ..., 64
    ``hidden``                            width of the hidden layer, 32, 64, ..., 512
    ``dropout``                           0, 0.1, ..., 0.6
    ``lr``                                eight learning rates, 1e-4 to 1e-1
    ``optimizer``                         SGD (momentum 0.9) or Adam, categorical
    ``nonlinearity``                      ReLU or tanh, categorical
    ``weight_bits``, ``activation_bits``  2, 3, 4, 6, 8, 16
    ``crossbar_size``                     32, 64, 128, 256
    ``cell_bits``, ``dac_bits``           2, 4 and 1, 2
    ====================================  =============================================

    Outcomes, all maximised, are chosen by name:

    - ``"error"``: minus the validation error, a fraction, of an actual training.
      Weights and inputs of all layers are rounded to their bits. It does not depend on
      the last three columns, because computing in slices and streams is exact.
    - ``"energy"``: minus the energy of one inference in uJ, and ``"area"``: minus the
      chip area in mm^2, by the analytic model
      :func:`botorch_flexibo.nn.crossbar.crossbar_cost`.

    What is measured, modelled and assumed:

    - the error is *measured*. A network is trained once, with one seed, and remembered:
      :meth:`train_networks` also tells the seconds that the training really took;
    - its cost is *modelled*, because a cost must be known before it is paid and be the
      same each time: seconds of one core, calibrated with real trainings, see
      :meth:`training_seconds`. Each measurement of an error pays for a training, even
      if another design with the same network was trained before;
    - energy and area are *modelled*, and their cost of ``analytic_seconds``
      is *assumed*.

    NOTE: ``evaluate_true`` trains all networks it is given, so ``knows_truth`` is not
    set. :class:`RecordedCrossbarCNN` has the truth at hand.

    Attributes:
        data: The images.
        training_settings: How networks are trained, but for learning rate and
            optimiser.
        seed: Seed of initial weights and of the order of the images.

    Example:
        >>> import torch
        >>> from botorch_flexibo.test_functions.crossbar import CrossbarCNNProblem
        >>> problem = CrossbarCNNProblem(("error", "energy", "area"))
        >>> X = problem.discretize(2, seed=0)
        >>> problem.decode(X)["crossbar_size"].tolist()
        [256, 32]
        >>> free = torch.tensor([[False, True, True]]).expand(2, -1)
        >>> problem.evaluate(X, free).isnan().all(dim=0).tolist()  # nothing is trained
        [True, False, False]
    """

    knows_truth = False

    dim = len(COLUMNS)
    categorical_inds = [j for j, name in enumerate(COLUMNS) if name in CATEGORICAL]
    discrete_inds = [j for j, name in enumerate(COLUMNS) if name not in CATEGORICAL]
    _bounds = [(0.0, len(levels) - 1.0) for levels in LEVELS.values()]

    def __init__(
        self,
        objectives: Sequence[str] = ("error", "energy"),
        *,
        data: ClassificationData | None = None,
        training: TrainingSettings = RECORDED_TRAINING,
        seed: int = 0,
        device: torch.device | str = "cpu",
        components: CrossbarComponents = ISAAC,
        analytic_seconds: float = _ANALYTIC_SECONDS,
        ref_point: Sequence[float] | None = None,
    ) -> None:
        r"""Set up the problem; nothing is trained yet.

        Args:
            objectives: Two or three of ``"error"``, ``"energy"`` and ``"area"``.
            data: The images, at least 4 x 4 pixels; None for :func:`digits`, which
                needs the extra ``bench``.
            training: How to train; ``lr`` and ``optimizer`` are those of the design.
            seed: Seed of all trainings.
            device: Where to train.
            components: Numbers of the parts of the accelerator.
            analytic_seconds: Cost of each outcome but the error, in s, > 0.
            ref_point: Reference point on the maximised scale; None for the requirements
                of an error of 0.3, 0.5 uJ and 0.1 mm^2.

        Raises:
            ImportError: If the digits are needed and scikit-learn is not installed.
            InvalidCostError: If ``analytic_seconds`` is not positive and finite. It is
                a ``ValueError``.
            ValueError: If the objectives are not two or more of those known.
        """
        data = digits() if data is None else data
        model = OutcomeModel(
            tuple(objectives),
            analytic_seconds,
            components,
            image_shape=data.image_shape,
            num_classes=data.num_classes,
        )
        self.num_objectives = len(model.names)
        point = model.ref_point if ref_point is None else ref_point
        self._ref_point = as_ref_point(point, num_outcomes=self.num_objectives).tolist()
        super().__init__()
        self.outcome_names = model.names
        self.cost_unit = "s"
        self.data = data
        self.training_settings = training
        self.seed = seed
        self.device = torch.device(device)
        self._model = model
        self._trained: dict[CNNSettings, TrainingResult] = {}

    def cost(self, X: Tensor) -> Tensor:
        r"""Price each outcome of each design, measured alone.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape x m`` tensor of costs, strictly positive, in seconds:
            :meth:`training_seconds` for the error, ``analytic_seconds`` for others.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a value is not the number of a level.
        """
        return self._model.costs(self.training_seconds(X))

    def training_seconds(self, X: Tensor) -> Tensor:
        r"""Model of the time that one core needs for the training of each design.

        With T steps in all epochs together, W weights, N images and M
        multiply-accumulate operations of an inference::

            seconds = T (t_step + W t_weight) + epochs N M t_mac

        The three times were fitted to 40 trainings of random designs on one core of a
        two-core virtual machine, to which the model is within 25 percent. Other
        machines are faster or slower by a factor.

        Args:
            X: A ``batch_shape x d`` tensor of designs.

        Returns:
            A ``batch_shape`` tensor in seconds.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a value is not the number of a level.
        """
        seconds = self._model.training_seconds(
            level_values(self._checked(X)),
            self.training_settings,
            len(self.data.y_train),
        )
        return seconds.to(X) if X.is_floating_point() else seconds

    def train_networks(self, X: Tensor) -> list[TrainingResult]:
        r"""Train the network of each design, unless that was done before.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            The ``n`` results, with learning curves and the seconds really taken.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a value is not the number of a level.
        """
        self._validate_designs(X)
        return [self._train(network) for network in network_settings(X)]

    def decode(self, X: Tensor) -> pd.DataFrame:
        r"""Turn designs into readable values.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            A data frame with ``n`` rows and one column per column of ``X``.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x d``.
            InputDataError: If a value is not the number of a level.
        """
        self._validate_designs(X)
        return decoded(X)

    def _train(self, network: CNNSettings) -> TrainingResult:
        if network not in self._trained:
            data = self.data
            with seeded(self.seed):  # initial weights are drawn on the CPU
                model = CrossbarCNN(network, data.image_shape, data.num_classes)
            settings = replace(
                self.training_settings, lr=network.lr, optimizer=network.optimizer
            )
            self._trained[network] = train_classifier(
                model, data, settings, seed=self.seed, device=self.device
            )
        return self._trained[network]

    def _evaluate_true(self, X: Tensor) -> Tensor:
        mask = torch.ones(
            *X.shape[:-1], self.num_objectives, dtype=torch.bool, device=X.device
        )
        return self._measure(X, mask)

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        X = self._checked(X)
        error = X.new_full(X.shape[:-1], torch.nan, dtype=torch.float64)
        if "error" in self.outcome_names:
            wanted = evaluation_mask[..., self.outcome_names.index("error")]
            results = self.train_networks(X[wanted])
            error[wanted] = error.new_tensor([result.error for result in results])
        return self._model.outcomes(level_values(X), error).to(X)

    def _checked(self, X: Tensor) -> Tensor:
        r"""Raise unless ``X`` is a ``batch_shape x d`` tensor of designs.

        Args:
            X: The tensor to check.

        Returns:
            The tensor.

        Raises:
            BotorchTensorDimensionError: If the last dimension is not ``d``.
            InputDataError: If a value is not the number of a level.
        """
        self._validate_columns(X)
        self._validate_designs(X.reshape(-1, self.dim))
        return X


class RecordedCrossbarCNN(TabularProblem):
    r"""A grid of :class:`CrossbarCNNProblem` with recorded trainings.

    288 networks for the digits data set were trained once each (another seed moves an
    error by a point or two); every one is crossed with 16 settings of the hardware,
    which the analytic model prices. Columns and their meaning are those of the live
    problem, but only d = 8 of them vary: ``kernel_2`` (3, 5), ``maps_1`` (8, 16, 32),
    ``maps_2`` (8, 24, 64), ``weight_bits`` and ``activation_bits`` (2, 3, 4, 8) and all
    levels of the hardware. The others are fixed, see ``fixed``. ``decode`` gives values
    and :meth:`live_designs` the designs of the live problem.

    Outcomes are those of the live problem. The cost of an error is the CPU time, in
    seconds, that the training of this network took when it was recorded; that of other
    outcomes is ``analytic_seconds``, an assumption.

    Attributes:
        fixed: Value of each column that does not vary.

    Example:
        >>> from botorch_flexibo.test_functions.crossbar import RecordedCrossbarCNN
        >>> problem = RecordedCrossbarCNN()
        >>> problem.choices.shape, problem.outcome_names
        (torch.Size([4608, 8]), ('error', 'energy'))
        >>> problem.fixed["optimizer"], problem.fixed["hidden"]
        ('adam', 64)
    """

    def __init__(
        self,
        objectives: Sequence[str] = ("error", "energy"),
        *,
        components: CrossbarComponents = ISAAC,
        analytic_seconds: float = _ANALYTIC_SECONDS,
        ref_point: Sequence[float] | None = None,
        noise_std: float | list[float] | None = None,
    ) -> None:
        r"""Read the recorded trainings and price the hardware.

        Args:
            objectives: Two or three of ``"error"``, ``"energy"`` and ``"area"``.
            components: Numbers of the parts of the accelerator.
            analytic_seconds: Cost of each outcome but the error, in s, > 0.
            ref_point: Reference point on the maximised scale; None for the requirements
                of the live problem.
            noise_std: Standard deviation of the noise added to the maximised outcomes,
                one for all or a list with one per outcome; None for none.

        Raises:
            InvalidCostError: If ``analytic_seconds`` is not positive and finite. It is
                a ``ValueError``.
            ValueError: If the objectives are not two or more of those known.
        """
        model = OutcomeModel(tuple(objectives), analytic_seconds, components)
        grid = recorded_trainings().merge(hardware_grid(), how="cross")
        levels = encoded(grid)
        error = torch.tensor(grid["error"].to_numpy(dtype=float))
        seconds = torch.tensor(grid["cpu_seconds"].to_numpy(dtype=float))
        varying = (levels != levels[0]).any(dim=0)
        super().__init__(
            levels[:, varying],
            model.outcomes(level_values(levels), error),
            model.costs(seconds),
            ref_point=model.ref_point if ref_point is None else ref_point,
            outcome_names=model.names,
            cost_unit="s",
            noise_std=noise_std,
        )
        self._varying = varying
        self._fixed_levels = levels[0]
        pairs = list(zip(COLUMNS, varying.tolist(), strict=True))
        self.input_names = tuple(name for name, varies in pairs if varies)
        self.categories = {name: LEVELS[name] for name in self.input_names}
        first = decoded(levels[:1]).astype(object).iloc[0]
        self.fixed = {name: first[name] for name, varies in pairs if not varies}

    def live_designs(self, X: Tensor) -> Tensor:
        r"""The designs of :class:`CrossbarCNNProblem` with the same settings.

        Args:
            X: An ``n x d`` tensor of designs.

        Returns:
            An ``n x 14`` tensor.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
            InputDataError: If a design is not in the table.
        """
        self.indices(X)
        designs = self._fixed_levels.to(X).repeat(len(X), 1)
        designs[:, self._varying.to(X.device)] = X
        return designs


def recorded_trainings() -> pd.DataFrame:
    r"""The recorded trainings of :class:`RecordedCrossbarCNN`.

    Returns:
        One row per network: its settings, ``error``, ``loss``, ``seconds`` (wall clock)
        and ``cpu_seconds`` of the training, and the learning curve ``error_1``,
        ``error_2``, ... with the validation error after each epoch.
    """
    source = files("botorch_flexibo.test_functions") / "data" / "crossbar_digits.csv.gz"
    with source.open("rb") as file:
        return pd.read_csv(file, compression="gzip", comment="#")
