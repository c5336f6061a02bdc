r"""Callbacks of the closed loop."""

from __future__ import annotations

from collections.abc import Callable

from tqdm.auto import tqdm

from botorch_flexibo.history import DecoupledHistory

# Called with the history; a callback that returns True ends the run.
Callback = Callable[[DecoupledHistory], bool | None]


class ProgressBar:
    r"""A callback that shows spent budget and hypervolume with tqdm.

    Example:
        >>> history = run_decoupled_optimization(
        ...     DecoupledZDT1(dim=2, costs=(10.0, 1.0)),
        ...     RandomPolicy(),
        ...     budget=60.0,
        ...     initial_design=InitialDesign(4),
        ...     callbacks=[ProgressBar("tuning")],
        ... )
    """

    def __init__(self, description: str = "") -> None:
        """Progress bar, hidden when the output is not a terminal.

        Args:
            description: The text before the bar.
        """
        self._description = description
        self._bar: tqdm | None = None

    def __call__(self, history: DecoupledHistory) -> None:
        """Move the bar to the cost spent so far."""
        spent = min(history.total_cost, history.budget)
        if self._bar is None or spent < self._bar.n:  # another run
            self._bar = tqdm(
                total=history.budget,
                desc=self._description,
                unit=history.cost_unit,
                unit_scale=True,
                disable=None,
            )
        self._bar.set_postfix(history.num_measurements, refresh=False)
        self._bar.update(spent - self._bar.n)
        if spent >= history.budget:
            self._bar.close()
            self._bar = None
