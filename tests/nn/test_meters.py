from __future__ import annotations

import math
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.nn import CodeCarbonMeter, CPUTimeMeter, EnergyMeter, ZeusMeter


class Counter(EnergyMeter):
    """A meter whose counter moves by a given amount."""

    source = "measured"
    method = "counter"

    def __init__(self, joules: float | None) -> None:
        self.joules = joules

    def _joules(self, work: Callable[[], None]) -> float | None:
        work()
        return self.joules


def burn(seconds: float) -> None:
    """Keep this process busy for that CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


# --- every meter --------------------------------------------------------------------


def test_energy_is_that_of_one_run() -> None:
    runs: list[int] = []
    estimate = Counter(10.0).measure(lambda: runs.append(1), repeats=4)
    assert estimate is not None
    assert (estimate.joules, estimate.source, len(runs)) == (2.5, "measured", 4)


@pytest.mark.parametrize("joules", [None, 0.0, -1.0, math.nan, math.inf])
def test_what_cannot_be_measured_is_none_and_the_work_is_done(
    joules: float | None,
) -> None:
    runs: list[int] = []
    assert Counter(joules).measure(lambda: runs.append(1)) is None
    assert runs == [1]


def test_repeats_below_one_raise() -> None:
    with pytest.raises(InputDataError, match="repeats"):
        Counter(1.0).measure(lambda: None, repeats=0)


# --- CPU time -----------------------------------------------------------------------


def test_cpu_time_meter_counts_the_cpu_time_of_the_work() -> None:
    inside: list[float] = []

    def work() -> None:
        start = time.process_time()
        burn(0.02)
        inside.append(time.process_time() - start)

    start = time.process_time()
    estimate = CPUTimeMeter(watts=5.0).measure(work, repeats=3)
    outside = time.process_time() - start
    assert estimate is not None
    assert 5.0 * sum(inside) / 3 <= estimate.joules <= 5.0 * outside / 3
    assert estimate.source == "estimated"


def test_cpu_time_meter_does_not_count_waiting() -> None:
    meter = CPUTimeMeter(watts=5.0)
    busy, idle = (
        meter.measure(lambda: burn(0.1)),
        meter.measure(lambda: time.sleep(0.1)),
    )
    assert busy is not None
    assert idle is None or idle.joules < 0.5 * busy.joules


@pytest.mark.parametrize("watts", [0.0, -1.0, math.inf, math.nan])
def test_bad_power_raises(watts: float) -> None:
    with pytest.raises(InputDataError, match="watts"):
        CPUTimeMeter(watts)


# --- optional packages --------------------------------------------------------------


@pytest.mark.parametrize(
    "meter, package, requirement",
    [
        (CodeCarbonMeter, "codecarbon", "botorch-flexibo[energy]"),
        (ZeusMeter, "zeus", "zeus>="),
    ],
)
def test_missing_package_says_what_to_install(
    meter: Any, package: str, requirement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.monitor", raising=False)
    with pytest.raises(ImportError, match=f"{package}.*{re.escape(requirement)}"):
        meter()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Addresses to which a connection was tried; none succeeds."""
    tried: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def test_codecarbon_estimates_offline_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[Any]
) -> None:
    pytest.importorskip("codecarbon")
    monkeypatch.chdir(tmp_path)
    meter = CodeCarbonMeter()
    short, long = (meter.measure(lambda s=s: burn(s)) for s in (0.2, 1.0))
    assert short is not None and long is not None
    assert 0 < short.joules < long.joules
    assert short.source == "estimated"
    assert list(tmp_path.iterdir()) == []
    assert connections == []


def test_codecarbon_meter_survives_failing_work() -> None:
    pytest.importorskip("codecarbon")
    meter = CodeCarbonMeter()

    def fail() -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        meter.measure(fail)
    assert meter.measure(lambda: burn(0.1)) is not None


def test_zeus_measures_or_says_that_it_cannot() -> None:
    monitor = pytest.importorskip("zeus.monitor").ZeusMonitor()
    has_counters = bool(monitor.gpu_indices or monitor.cpu_indices)
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        burn(0.5)

    estimate = ZeusMeter().measure(work)
    assert runs == [1]
    assert (estimate is not None) == has_counters
    if estimate is not None:
        assert estimate.source == "measured"
