r"""The record of a run in a file, from which a run that was killed goes on.

The first line says which run it is. After it come, in the order of the run,

============  ========================================================================
``decision``  what is asked for, before anything of it is measured
``answer``    what came back of one design; it is on the disk before it is used
``fit``       hyperparameters that were fitted
``front``     the hypervolume of the identified front
============  ========================================================================

To resume, the run is made again from its beginning: what the record holds is read
instead of being decided, measured or fitted, until the record ends. The file is a
``botorch_flexibo.utils.journal.Journal``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from botorch_flexibo.evaluation import Answer
from botorch_flexibo.exceptions import ExperimentStorageError
from botorch_flexibo.models.decoupled import FittedParameters
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.policies.base import Effort
from botorch_flexibo.utils.journal import Journal

_Fits = dict[int, FittedParameters]
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Decision:
    r"""A request, and how it came about.

    Attributes:
        number: The number of the decision, 0 for the initial design.
        request: The designs, what to measure there, and what that should cost.
        policy_seconds: Wall time of the policy.
        fit_seconds: Wall time of the model fit before it.
        effort: What the policy did.
    """

    number: int
    request: EvaluationRequest
    policy_seconds: float = 0.0
    fit_seconds: float = 0.0
    effort: Effort = field(default_factory=Effort)


class RunRecord:
    """Of a run that is not recorded: nothing to read, and nothing is written."""

    @property
    def is_replaying(self) -> bool:
        """Whether there is more to read."""
        return False

    @property
    def place(self) -> str:
        """How a message names the entry that was read last."""
        return ""

    def decision(self, like: Tensor, num_outcomes: int) -> Decision | None:
        r"""Read the next entry, a decision.

        Args:
            like: A ``... x d``-dim tensor with the dtype and device of designs.
            num_outcomes: The number of outcomes ``m``.

        Returns:
            The decision, None if the record has ended.
        """
        return None

    def answer(self, num_outcomes: int) -> Answer | None:
        r"""Read the next entry, an answer.

        Args:
            num_outcomes: The number of outcomes ``m``.

        Returns:
            The answer, None if the record has ended.
        """
        return None

    def fit(self) -> _Fits | None:
        """Read the next entry, the hyperparameters that were fitted, by outcome."""
        return None

    def front(self) -> float | None:
        """Read the next entry, the hypervolume of the identified front."""
        return None

    def add_decision(self, decision: Decision) -> None:
        """Append a decision."""

    def add_answer(self, answer: Answer) -> None:
        """Append an answer, down to the disk."""

    def add_fit(self, fits: Mapping[int, FittedParameters]) -> None:
        """Append the hyperparameters that were fitted."""

    def add_front(self, hypervolume: float) -> None:
        """Append the hypervolume of the identified front."""


class FileRecord(RunRecord):
    """Of a run that is recorded in a file."""

    def __init__(self, journal: Journal, header: Mapping[str, Any]) -> None:
        """Read the first line, or write it.

        Args:
            journal: The open file.
            header: Which run it is.

        Raises:
            ExperimentStorageError: If it is the file of another run.
        """
        self._journal = journal
        self._next = 1
        if not journal.entries:
            if not journal.is_cut_off(header):
                raise ExperimentStorageError(
                    f"Expected the record of a run in {journal.path}, but got something"
                    " else. Nothing was changed. Use another file."
                )
            journal.append(header)
        else:
            _check_header(journal, header)

    @property
    def is_replaying(self) -> bool:
        """Whether there is more to read."""
        return self._next < len(self._journal.entries)

    @property
    def place(self) -> str:
        """How a message names the entry that was read last."""
        return self._journal.where(self._next - 1)

    def decision(self, like: Tensor, num_outcomes: int) -> Decision | None:
        """Read the next entry, a decision."""
        d = like.shape[-1]

        def read(values: dict[str, Any]) -> Decision:
            X = like.new_tensor(_matrix(values["X"], _number, columns=d))
            mask = torch.tensor(
                _matrix(values["mask"], _truth, columns=num_outcomes),
                dtype=torch.bool,
                device=like.device,
            )
            # A request without designs has no rows to tell the number of columns.
            X, mask = X.reshape(-1, d), mask.reshape(-1, num_outcomes)
            cost = values["cost"]
            if cost is not None:
                cost = like.new_tensor(_numbers(cost))
            if len({len(x) for x in (X, mask, X if cost is None else cost)}) != 1:
                raise ValueError("designs, masks and costs of different numbers")
            return Decision(
                number=_count(values["number"]),
                request=EvaluationRequest(X, mask, cost=cost),
                policy_seconds=_number(values["policy_seconds"]),
                fit_seconds=_number(values["fit_seconds"]),
                effort=Effort(**{k: _number(v) for k, v in values["effort"].items()}),  # pyright: ignore[reportArgumentType]
            )

        return self._read("decision", read)

    def answer(self, num_outcomes: int) -> Answer | None:
        """Read the next entry, an answer."""

        def read(values: dict[str, Any]) -> Answer:
            answer = Answer(
                values=tuple(_numbers(values["values"])),
                errors=tuple(_text(v) for v in values["errors"]),
                costs=tuple(_numbers(values["costs"])),
                setup_cost=_number(values["setup_cost"]),
                seconds=_number(values["seconds"]),
            )
            lengths = {len(answer.values), len(answer.errors), len(answer.costs)}
            if lengths != {num_outcomes}:
                raise ValueError(f"not {num_outcomes} outcomes")
            return answer

        return self._read("answer", read)

    def fit(self) -> _Fits | None:
        """Read the next entry, the hyperparameters that were fitted, by outcome."""

        def read(values: dict[str, Any]) -> _Fits:
            return {
                int(outcome): FittedParameters(
                    _count(fitted["num_rows"]),
                    {
                        name: torch.tensor(_nested(value), dtype=torch.float64)
                        for name, value in fitted["parameters"].items()
                    },
                )
                for outcome, fitted in values["outcomes"].items()
            }

        return self._read("fit", read)

    def front(self) -> float | None:
        """Read the next entry, the hypervolume of the identified front."""
        return self._read("front", lambda values: _numbers([values["hypervolume"]])[0])

    def add_decision(self, decision: Decision) -> None:
        """Append a decision."""
        X, mask, _, cost = decision.request
        self._add(
            "decision",
            sync=False,
            number=decision.number,
            X=X.tolist(),
            mask=mask.tolist(),
            cost=None if cost is None else _without_nan(cost.tolist()),
            policy_seconds=decision.policy_seconds,
            fit_seconds=decision.fit_seconds,
            effort=asdict(decision.effort),
        )

    def add_answer(self, answer: Answer) -> None:
        """Append an answer, down to the disk."""
        values = {**asdict(answer), "values": _without_nan(answer.values)}
        self._add("answer", sync=True, **values)

    def add_fit(self, fits: Mapping[int, FittedParameters]) -> None:
        """Append the hyperparameters that were fitted."""
        outcomes = {
            str(outcome): {
                "num_rows": fitted.num_rows,
                "parameters": {n: p.tolist() for n, p in fitted.parameters.items()},
            }
            for outcome, fitted in fits.items()
        }
        self._add("fit", sync=False, outcomes=outcomes)

    def add_front(self, hypervolume: float) -> None:
        """Append the hypervolume of the identified front."""
        self._add("front", sync=False, hypervolume=_without_nan([hypervolume])[0])

    def _add(self, kind: str, *, sync: bool, **values: Any) -> None:
        self._journal.append({"kind": kind, **values}, sync=sync)

    def _read(self, kind: str, read: Callable[[dict[str, Any]], _T]) -> _T | None:
        if not self.is_replaying:
            return None
        entry = self._journal.entries[self._next]
        self._next += 1
        if entry.get("kind") != kind:
            raise ExperimentStorageError(
                f"Expected a {kind} in {self.place}, but got {entry.get('kind')!r}. It"
                " is the record of a run that went differently: start with another"
                " file."
            )
        try:
            return read(entry)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
        ) as error:
            raise ExperimentStorageError(
                f"Expected {self.place} to be a {kind} as it was written, but got one"
                f" that makes no sense ({type(error).__name__}: {error}). Take the file"
                " from a backup, or start with another one."
            ) from error


@contextmanager
def open_record(
    path: str | os.PathLike[str] | None, header: Mapping[str, Any]
) -> Iterator[RunRecord]:
    r"""The record of a run, to read and to go on with.

    Args:
        path: Its file. None keeps no record.
        header: Which run it is.

    Yields:
        The record.
    """
    if path is None:
        yield RunRecord()
        return
    with Journal(path) as journal:
        yield FileRecord(journal, header)


def _check_header(journal: Journal, header: Mapping[str, Any]) -> None:
    old = journal.entries[0]
    if old.get("kind") != "run":
        raise ExperimentStorageError(
            f"Expected {journal.where(0)} to be the header of a run, but got"
            f" {old.get('kind')!r}. Use another file."
        )
    differences = [
        f"{name} is {_short(old.get(name))} there and {_short(header.get(name))} now"
        for name in sorted({*old, *header})
        if old.get(name) != header.get(name)
    ]
    if differences:
        advice = "Call it as the run was started, or use another file."
        if old.get("budget") != header.get("budget"):
            advice += (
                " The budget of a run is fixed: one that is to get more later is"
                " started with the most it may ever spend, and ended earlier by a"
                " callback."
            )
        raise ExperimentStorageError(
            f"Expected the record of this run in {journal.path}, but got that of"
            f" another one: {'; '.join(differences)}. {advice}"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _number(value: object) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {_short(value)}")
    float(value)  # an integer may be too large
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"expected a count, got {_short(value)}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, got {_short(value)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {_short(value)}")
    return value


def _without_nan(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def _numbers(values: object) -> list[float]:
    """Numbers, NaN where there is none."""
    if not isinstance(values, list):
        raise TypeError(f"expected a list, got {_short(values)}")
    return [math.nan if value is None else _number(value) for value in values]


def _nested(value: object) -> Any:
    """A number, or nested lists of numbers."""
    return [_nested(v) for v in value] if isinstance(value, list) else _number(value)


def _matrix(
    rows: object, item: Callable[[object], _T], *, columns: int
) -> list[list[_T]]:
    if not isinstance(rows, list):
        raise TypeError(f"expected rows, got {_short(rows)}")
    table = [[item(value) for value in row] for row in rows]
    if any(len(row) != columns for row in table):
        raise ValueError("rows of the wrong length")
    return table
