"""When a method is stopped that buys nothing dear any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botorch_flexibo import DecoupledHistory


@dataclass(frozen=True)
class Starved:
    """A callback that ends a run which has stopped buying what is dear.

    It would go on for thousands of decisions. Its share stays.

    Attributes:
        dear: The index of the dear outcome.
        decisions: After how many decisions without it a run ends.
        target_fidelities: Where there are fidelities, only what is bought at their
            target counts.
    """

    dear: int
    decisions: int = 100
    target_fidelities: Mapping[int, float] = field(default_factory=dict)

    def __call__(self, history: DecoupledHistory) -> bool:
        bought = [
            record.decision
            for record in history.records
            if record.measured[self.dear] and self._at_target(history, record.design)
        ]
        last = max(bought, default=0)
        return history.records[-1].decision - last >= self.decisions

    def _at_target(self, history: DecoupledHistory, design: int) -> bool:
        targets = self.target_fidelities.items()
        return all(history.X[design, j] == to for j, to in targets)
