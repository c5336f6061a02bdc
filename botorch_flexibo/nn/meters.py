r"""Meters: the energy that this machine spends on a piece of work.

They answer another question than :mod:`~botorch_flexibo.nn.energy`. Shifts are
*emulated* here, as multiplications plus the work of rounding, so a shift network costs
more energy on ordinary hardware than the float network it came from, not less. A meter
shows that; only the model shows what shift hardware would save. Every meter therefore
labels its numbers: "measured" if hardware counters gave them, "estimated" if they
follow from time, load and nominal powers.

What cannot be measured is None, never zero.

:class:`CodeCarbonMeter` needs the extra ``energy``. :class:`ZeusMeter` needs Zeus,
which is in no extra: one of its requirements installs a module under the name that
``pydoclint``, a development tool here, uses for another.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar

from botorch.exceptions.errors import InputDataError

from botorch_flexibo.nn.energy import JOULES_PER_KWH, EnergyEstimate, EnergySource
from botorch_flexibo.utils.checks import check_count

_WINDOW = "botorch_flexibo"


class EnergyMeter(ABC):
    r"""Runs a piece of work and says what energy it took.

    Attributes:
        source: The label of its numbers.
        method: What gives the numbers.
    """

    source: ClassVar[EnergySource]
    method: ClassVar[str]

    def measure(
        self, work: Callable[[], object], *, repeats: int = 1
    ) -> EnergyEstimate | None:
        r"""Run a piece of work and measure it.

        Args:
            work: What to run, in this process: what child processes spend is not
                counted in full.
            repeats: How often to run it in a row. One inference is far below the
                resolution of any meter; a second or more in total is safe.

        Returns:
            The energy of one run; None if it cannot be measured here. The work is run
            in any case.

        Raises:
            InputDataError: If ``repeats`` is less than 1.
        """
        check_count(repeats, "repeats")

        def run() -> None:
            for _ in range(repeats):
                work()

        joules = self._joules(run)
        # A counter that has not moved says nothing about the work.
        if joules is None or not 0 < joules < math.inf:
            return None
        return EnergyEstimate(joules / repeats, self.source, self.method)

    @abstractmethod
    def _joules(self, work: Callable[[], None]) -> float | None:
        """Run the work; its energy in J, or None."""


class CPUTimeMeter(EnergyMeter):
    r"""A nominal power times the CPU time of this process; needs no extra.

    Unlike wall-clock time, CPU time hardly depends on what else the machine does. It
    counts all threads of the process, and not what an accelerator does.

    Attributes:
        watts: The power of one busy core, in W.

    Example:
        >>> from botorch_flexibo.nn import CPUTimeMeter
        >>> energy = CPUTimeMeter(watts=4.0).measure(lambda: sum(range(10**6)))
        >>> energy.source
        'estimated'
    """

    source = "estimated"
    method = "nominal power x CPU time"

    def __init__(self, watts: float) -> None:
        r"""Set the power.

        Args:
            watts: The power of one busy core, > 0, in W.

        Raises:
            InputDataError: If it is not positive and finite.
        """
        if not 0 < watts < math.inf:
            raise InputDataError(
                f"Expected watts to be positive and finite, but got {watts}. Give the"
                " power of one busy core."
            )
        self.watts = watts

    def _joules(self, work: Callable[[], None]) -> float | None:
        start = time.process_time()
        work()
        return self.watts * (time.process_time() - start)


class CodeCarbonMeter(EnergyMeter):
    r"""CodeCarbon's ``OfflineEmissionsTracker`` of this process.

    It uses no network, writes no file and works everywhere. The first measurement of a
    process takes about two seconds longer, which are not counted.

    NOTE: its numbers are always labelled "estimated". Even where it reads counters of
    the CPU, it adds a constant power for the memory; where it finds none, the CPU's
    power is guessed from its load. With CodeCarbon 3.3.2 on a machine without counters
    the constant power is most of the result, which is then little more than wall-clock
    time and noisy on a shared machine. :class:`ZeusMeter` reads counters only.

    NOTE: greenhouse gas is computed from the energy by
    :meth:`~botorch_flexibo.nn.energy.EnergyEstimate.grams_co2eq`, not by CodeCarbon, so
    that energies of all sources use the same grid. The country given to CodeCarbon
    spares it the look-up of one; the energy does not depend on it.

    Example:
        >>> from botorch_flexibo.nn import CodeCarbonMeter
        >>> meter = CodeCarbonMeter()  # doctest: +SKIP
        >>> meter.measure(train).grams_co2eq()  # doctest: +SKIP
        0.0021
    """

    source = "estimated"
    method = "CodeCarbon, this process"

    def __init__(self) -> None:
        r"""Load CodeCarbon.

        Raises:
            ImportError: If it is not installed.
        """
        self._tracker = _load(
            "codecarbon", "botorch-flexibo[energy]"
        ).OfflineEmissionsTracker
        # A tracker sets this level as well, but speaks before it does.
        logging.getLogger("codecarbon").setLevel(logging.ERROR)

    def _joules(self, work: Callable[[], None]) -> float | None:
        tracker = self._tracker(
            country_iso_code="DEU",
            tracking_mode="process",
            output_methods=[],
            log_level="error",
        )
        tracker.start()
        try:
            work()
        finally:
            # CodeCarbon logs its failures instead of raising them, and returns None.
            emissions = tracker.stop()
        if emissions is None:
            return None
        return tracker.final_emissions_data.energy_consumed * JOULES_PER_KWH


class ZeusMeter(EnergyMeter):
    r"""Hardware counters, read by Zeus: NVML of GPUs and RAPL of CPUs.

    It adds up the energy of the given GPUs, CPU packages and their memory. Counters
    count everything that runs on a device, so the machine should be otherwise idle.

    NOTE: the counter of a GPU moves every 20 to 100 ms. If one has not moved, the work
    was too short to be measured, and the answer is None: use ``repeats``.

    Example:
        >>> from botorch_flexibo.nn import ZeusMeter
        >>> ZeusMeter(gpus=[0]).measure(infer, repeats=1000).source  # doctest: +SKIP
        'measured'
    """

    source = "measured"
    method = "Zeus, hardware counters"

    def __init__(self, gpus: Sequence[int] | None = None) -> None:
        r"""Look for counters.

        Args:
            gpus: Indices of the GPUs to measure, as torch counts them; None for all.

        Raises:
            ImportError: If Zeus is not installed.
        """
        self._monitor = _load("zeus.monitor", "zeus>=0.16").ZeusMonitor(
            gpu_indices=None if gpus is None else list(gpus)
        )

    def _joules(self, work: Callable[[], None]) -> float | None:
        monitor = self._monitor
        if not monitor.gpu_indices and not monitor.cpu_indices:
            work()
            return None
        monitor.begin_window(_WINDOW, restart=True)
        work()
        window = monitor.end_window(_WINDOW)
        gpus = list(window.gpu_energy.values())
        if min(gpus, default=1.0) <= 0:
            return None
        others = (window.cpu_energy or {}, window.dram_energy or {})
        return math.fsum(gpus + [joules for part in others for joules in part.values()])


def _load(module: str, requirement: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name.
        requirement: What to install to have it.

    Returns:
        The module.

    Raises:
        ImportError: If its package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This meter needs the package {module.partition('.')[0]}. Install it with"
            f" `pip install '{requirement}'`."
        ) from error
