r"""Runs that are killed, cut off, damaged or mistaken for others, and go on."""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledHistory,
    DecoupledModelFitter,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    PABOPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.exceptions import ExperimentLockedError, ExperimentStorageError
from botorch_flexibo.failures import RaiseFailures, TolerateFailures
from botorch_flexibo.models import LogNormalCostModel, SetupCostModel, Winsorize
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    IntersectedFlexiBOFactory,
    Policy,
    Supervisor,
)
from botorch_flexibo.test_functions import DecoupledProblem
from tests.processes import PROCESSES, in_another_process
from tests.runs import Faulty, FaultyTable, trace

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs flock"),
    pytest.mark.filterwarnings("ignore:Optimization failed:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]

LITTLE = SearchOptions(raw_samples=32, num_restarts=1, maxiter=10)
LOOKAHEAD = LookaheadFactory(num_designs=16, quadrature_nodes=2)


class NoisyTable(FaultyTable):
    """A grid of designs whose outcomes are noisy and need a training."""

    setup_outcomes = (True, False)

    def __init__(self, fault: Any = None) -> None:
        super().__init__(fault)
        self.noise_std = 0.1

    def setup_cost(self, X: Tensor) -> Tensor:
        return 1.0 + X[..., 0]


class JudgedTable(FaultyTable):
    """A grid of designs whose truth judges the identified front."""

    knows_truth = True


def learned_costs(problem: DecoupledProblem) -> SetupCostModel:
    def guess(*costs: float) -> LogNormalCostModel:
        return LogNormalCostModel(
            torch.tensor(costs, dtype=torch.float64), bounds=problem.bounds
        )

    outcomes = torch.tensor([True, False])
    return SetupCostModel(guess(5.0, 0.2), guess(2.0), setup_outcomes=outcomes)


class Case:
    """A kind of run that is started, interrupted and resumed."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        problem: Callable[[Any], DecoupledProblem] = FaultyTable,
        **options: Any,
    ) -> None:
        self.policy = policy
        self.problem = problem
        self.options = {"budget": 60.0, "initial_design": InitialDesign(3), **options}

    def run(self, fault: Any = None, **options: Any) -> DecoupledHistory:
        problem = self.problem(fault)
        learned = self.options.get("cost_model") == "learned"
        costs = {"cost_model": learned_costs(problem)} if learned else {}
        options = {**self.options, **costs, **options}
        return run_decoupled_optimization(problem, self.policy(), **options)


def winsorising(num_ranges: float = 0.0) -> DecoupledModelFitter:
    """A fitter of the table that raises all that is below the lower quartile."""
    table = FaultyTable()
    rule = Winsorize(table.ref_point + 1.0, num_ranges)
    return DecoupledModelFitter(table.bounds, winsorize=rule)


CASES = {
    "random": Case(RandomPolicy),
    "judged": Case(RandomPolicy, JudgedTable, budget=45.0),
    "noise and set-ups": Case(RandomPolicy, NoisyTable),
    "learned costs": Case(RandomPolicy, NoisyTable, cost_model="learned", budget=30.0),
    "strict": Case(
        RandomPolicy,
        strict=True,
        cost_model=FixedCostModel(torch.tensor([8.0, 0.15]).double()),
    ),
    "batches": Case(
        lambda: AcquisitionPolicy(FlexiBOFactory(), q=3), NoisyTable, budget=40.0
    ),
    "lookahead": Case(lambda: AcquisitionPolicy(LOOKAHEAD), JudgedTable, budget=35.0),
    "winsorised lookahead": Case(
        lambda: AcquisitionPolicy(LOOKAHEAD), budget=35.0, fitter=winsorising()
    ),
    "continuous lookahead": Case(
        lambda: AcquisitionPolicy(LOOKAHEAD, options=LITTLE), Faulty
    ),
    "intersected": Case(
        lambda: AcquisitionPolicy(IntersectedFlexiBOFactory(FlexiBOFactory())),
        budget=25.0,
    ),
    "variance": Case(VariancePerCostPolicy, budget=35.0),
    "coupled": Case(CoupledPolicy, budget=100.0),
    "discretized": Case(
        lambda: DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory()), 30), Faulty
    ),
    "pabo": Case(PABOPolicy, budget=100.0),
    "predicted pabo": Case(
        lambda: PABOPolicy(Supervisor(gate="predicted"), q=2), Faulty
    ),
}


def stop_at(number: int) -> Any:
    """An interrupt at some request."""

    def fault(x: Tensor, mask: Tensor, count: int) -> None:
        if count == number:
            raise KeyboardInterrupt

    return fault


def path_in(folder: Path) -> Path:
    return folder / "run.jsonl"


# --- interrupts -----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    name: str, tmp_path: Path
) -> None:
    case, path = CASES[name], path_in(tmp_path)
    full = case.run()
    assert len(full.records) > 6
    lengths, history = [], full
    # Also within batches and, the first time, within the initial design.
    step = max(3, len(full.records) // 5)
    for _ in range(len(full.records)):
        history = case.run(stop_at(step if lengths else 3), checkpoint=path)
        lengths.append(len(history.records))
        if history.stop_reason != "interrupted":
            break
        done = trace(history)[:-1]  # the last may have had its front judged
        assert done == trace(full)[: len(done)]
    assert len(lengths) > 3
    assert lengths == sorted(set(lengths)) or lengths[-1] == lengths[-2]
    for resumed in (history, case.run(stop_at(1), checkpoint=path)):
        assert trace(resumed) == trace(full)
        assert torch.equal(resumed.X, full.X)
        assert torch.equal(resumed.Y.nan_to_num(), full.Y.nan_to_num())
        assert resumed.stop_reason == full.stop_reason


def test_a_record_changes_nothing(tmp_path: Path) -> None:
    case = CASES["noise and set-ups"]
    assert trace(case.run(checkpoint=path_in(tmp_path))) == trace(case.run())


def test_failures_are_remembered(tmp_path: Path) -> None:
    def run(stop: int | None, **options: Any) -> DecoupledHistory:
        def fault(x: Tensor, mask: Tensor, count: int) -> None:
            if count == stop:
                raise KeyboardInterrupt
            # A quarter of the designs cannot be measured.
            if bool(mask[0]) and bool(x[0] > 0.7):
                raise ArithmeticError("the loss is NaN")

        return run_decoupled_optimization(
            FaultyTable(fault),
            RandomPolicy(),
            budget=150.0,
            initial_design=InitialDesign(4),
            on_failure=TolerateFailures(max_in_a_row=2),
            **options,
        )

    full, path = run(None), path_in(tmp_path)
    history = full
    assert full.num_failures["dear"] > 1
    for _ in range(len(full.records)):
        history = run(3, checkpoint=path)
    assert trace(history) == trace(full)
    assert set(history.closed_outcomes) == {"dear"}
    assert history.closed_outcomes == full.closed_outcomes


class RowByRow(Policy):
    """Asks for both outcomes of a new design in two rows, by believed costs."""

    uses_model = False

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        X = state.space.sample(1, seed=state.seed).repeat(2, 1)
        mask = torch.eye(2, dtype=torch.bool)
        cost = predicted_costs(state.cost_model, X, mask)
        return EvaluationRequest(X, mask, cost=cost)


def test_strict_runs_stop_at_the_same_failure(tmp_path: Path) -> None:
    """What follows a failure is priced anew, by what is recorded only."""

    class Trained(Faulty):
        def setup_cost(self, X: Tensor) -> Tensor:
            return torch.full_like(X[..., 0], 10.0)

    def run(stop: int | None, **options: Any) -> DecoupledHistory:
        def fault(x: Tensor, mask: Tensor, count: int) -> None:
            if count == stop:
                raise KeyboardInterrupt
            if bool(mask[0]) and not bool(mask[1]):
                raise ArithmeticError("the loss is NaN")

        return run_decoupled_optimization(
            Trained(fault, costs=(2.0, 1.0)),
            RowByRow(),
            budget=2 * 13.0 + 23.0 + 22.0,
            initial_design=InitialDesign(2),
            cost_model=SetupCostModel(
                FixedCostModel(torch.tensor([2.0, 1.0]).double()),
                FixedCostModel(torch.tensor([10.0]).double()),
            ),
            strict=True,
            **options,
        )

    full, path = run(None), path_in(tmp_path)
    history = full
    # Twelve units for what failed, eleven for what should have cost one.
    assert [r.decision for r in full.records] == [0, 0, 1, 1, 2]
    assert full.stop_reason == "unaffordable"
    for _ in range(len(full.records) + 1):
        history = run(2, checkpoint=path)
    assert trace(history) == trace(full)
    assert history.stop_reason == full.stop_reason


@pytest.mark.parametrize("memory", [False, True])
def test_a_request_without_designs_is_read_back(memory: bool, tmp_path: Path) -> None:
    class Pausing(RandomPolicy):
        has_memory = memory

        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            if state.iteration % 2 == 0:
                return EvaluationRequest(state.X[:0], state.measured[:0])
            return super().__call__(model, state)

    case, path = Case(Pausing, budget=50.0), path_in(tmp_path)
    full = case.run()
    case.run(stop_at(6), checkpoint=path)
    assert b'"X":[]' in path.read_bytes()
    assert trace(case.run(checkpoint=path)) == trace(full)


def test_callbacks_see_what_is_new_and_where_the_run_was_left(tmp_path: Path) -> None:
    seen: list[int] = []

    def watch(history: DecoupledHistory) -> bool:
        seen.append(len(history.records))
        return len(seen) % 3 == 0

    case, path = CASES["random"], path_in(tmp_path)
    first = case.run(checkpoint=path, callbacks=[watch])
    assert first.stop_reason == "callback"
    assert seen == [3, 4, 5]
    case.run(checkpoint=path, callbacks=[watch])
    assert seen == [3, 4, 5, 5, 6, 7]


# --- kills ----------------------------------------------------------------------------

KILLED = ("random", "batches", "pabo")


def nap(x: Tensor, mask: Tensor, count: int) -> None:
    """A measurement that takes a moment."""
    time.sleep(0.002)


def run_and_report(name: str, path: Path, reports: Connection) -> None:
    """A run that tells when it begins and what it has written."""

    def report(history: DecoupledHistory) -> None:
        reports.send(len(history.records))

    CASES[name].run(nap, checkpoint=path, callbacks=[report])
    reports.send(-1)


def kill_after(name: str, path: Path, seconds: float) -> tuple[int, bool]:
    """Kill a run; return what it had reported, and whether it had finished."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_and_report, args=(name, path, sender))
    process.start()
    sender.close()
    reports = [receiver.recv()]
    time.sleep(seconds)
    process.kill()
    process.join()
    try:
        while True:
            reports.append(receiver.recv())
    except EOFError:
        return max(reports), reports[-1] == -1


@pytest.mark.parametrize("kills", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_instant_goes_on_with_the_same_requests(
    kills: int, tmp_path: Path
) -> None:
    instants = random.Random(kills)
    full = {name: trace(CASES[name].run()) for name in KILLED}
    count, runs = 0, 0
    while count < kills:
        name = KILLED[runs % len(KILLED)]
        path = tmp_path / f"{runs}.jsonl"
        reported, finished = 0, False
        while not finished and count < kills:
            reached, finished = kill_after(name, path, instants.uniform(0.0, 0.1))
            # Nothing that was reported is lost.
            answers = path.read_bytes().count(b'"kind":"answer"')
            assert answers >= reached >= reported
            reported = reached
            count += not finished
        assert trace(CASES[name].run(checkpoint=path)) == full[name]
        runs += 1
    assert runs >= 2


# --- files that are not whole ---------------------------------------------------------


def small(path: Path | None = None, **options: Any) -> DecoupledHistory:
    case = Case(RandomPolicy, NoisyTable, budget=20.0, initial_design=InitialDesign(1))
    return case.run(checkpoint=path, **options)


def test_cut_at_any_byte_a_run_goes_on_with_what_is_left(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    full = trace(small(path))
    content = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(content) if byte == ord("\n")]
    # Every byte around the ends of lines, and every 97th.
    sizes = {end + shift for end in ends for shift in (-2, -1, 0, 1)}
    sizes |= set(range(0, len(content), 97))
    for size in sorted(s for s in sizes if 0 <= s <= len(content)):
        path.write_bytes(content[:size])
        assert trace(small(path)) == full
        # All the same, but for the wall times.
        kinds = re.findall(rb'"kind":"(\w+)"', path.read_bytes())
        assert kinds == re.findall(rb'"kind":"(\w+)"', content)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_cut_at_every_byte_a_run_goes_on_with_what_is_left(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    full = trace(small(path))
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        assert trace(small(path)) == full


def test_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    for content in (b"notes", b"\x00", b'{"crc":"00000000","kind":"run"'):
        path.write_bytes(content)
        with pytest.raises(ExperimentStorageError, match=str(path)):
            small(path)
        assert path.read_bytes() == content


def test_an_empty_file_is_the_beginning_of_a_record(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    path.touch()
    assert trace(small(path)) == trace(small())


def full_disk(path: Path, size: int) -> str:
    """Run while no file may grow beyond a size, which fails as a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        small(path)
    except ExperimentStorageError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("size", [0, 200, 1500, 2500])
def test_a_full_disk_stops_the_run_and_costs_one_answer(
    size: int, tmp_path: Path
) -> None:
    path = path_in(tmp_path)
    message = in_another_process(full_disk, path, size)
    assert str(path) in message
    assert "File too large" in message
    assert trace(small(path)) == trace(small())


# --- other runs -----------------------------------------------------------------------

CHANGES: dict[str, dict[str, Any]] = {
    "budget": {"budget": 21.0},
    "seed": {"seed": 1},
    "strict": {"strict": True},
    "initial_design": {"initial_design": InitialDesign(2)},
    "choices": {"choices": torch.tensor([[0.0, 0.5], [1.0, 0.5]]).double()},
    "on_failure": {"on_failure": RaiseFailures()},
    "cost_model": {"cost_model": FixedCostModel(torch.ones(2).double())},
    "fitter": {"fitter": winsorising()},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_record_of_another_run_is_refused_and_the_difference_named(
    name: str, tmp_path: Path
) -> None:
    path = path_in(tmp_path)
    small(path)
    content = path.read_bytes()
    with pytest.raises(ExperimentStorageError, match=f"{name} is .* there and .* now"):
        small(path, **CHANGES[name])
    assert path.read_bytes() == content


def test_the_record_of_another_fitter_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    small(path, fitter=winsorising())
    assert small(path, fitter=winsorising()).stop_reason == "budget"
    with pytest.raises(ExperimentStorageError, match=r"num_ranges': 0.0.*ranges': 1.5"):
        small(path, fitter=winsorising(1.5))
    with pytest.raises(ExperimentStorageError, match="there and None now"):
        small(path)


def test_another_budget_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    small(path)
    advice = (
        r" or use another file\. The budget of a run is fixed: one that is to get more"
        r" later is started with the most it may ever spend, and ended earlier by a"
        r" callback\.$"
    )
    with pytest.raises(ExperimentStorageError, match=advice):
        small(path, budget=21.0)
    with pytest.raises(ExperimentStorageError, match=r" or use another file\.$"):
        small(path, seed=1)


@pytest.mark.parametrize("name", ["random", "pabo", "batches"])
def test_a_run_ended_at_a_limit_goes_on_when_the_limit_is_raised(
    name: str, tmp_path: Path
) -> None:
    path, case = path_in(tmp_path), CASES[name]
    whole = case.run()
    spent = [record.cumulative_cost for record in whole.records]
    start = sum(record.decision == 0 for record in whole.records)
    limit = spent[start]

    def enough(history: DecoupledHistory) -> bool:
        return history.total_cost >= limit

    first = case.run(checkpoint=path, callbacks=[enough])
    assert first.stop_reason == "callback"
    assert start < len(first.records) < len(whole.records)
    limit = math.inf
    assert trace(case.run(checkpoint=path, callbacks=[enough])) == trace(whole)
    answers = [line for line in path.read_text().splitlines() if '"answer"' in line]
    assert len(answers) == len(whole.records)


def test_the_record_of_another_problem_or_policy_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    case = Case(RandomPolicy, budget=20.0)
    case.run(checkpoint=path)
    case.problem = NoisyTable
    with pytest.raises(ExperimentStorageError, match="problem is 'FaultyTable' there"):
        case.run(checkpoint=path)
    case.problem, case.policy = FaultyTable, PABOPolicy
    with pytest.raises(ExperimentStorageError, match="policy is 'RandomPolicy' there"):
        case.run(checkpoint=path)
    case.policy = lambda: AcquisitionPolicy(FlexiBOFactory())
    inner = tmp_path / "inner.jsonl"
    case.run(checkpoint=inner)
    case.policy = lambda: AcquisitionPolicy(LOOKAHEAD)
    with pytest.raises(ExperimentStorageError, match=r"FlexiBOFactory, q=1.*Lookahead"):
        case.run(checkpoint=inner)


def test_a_policy_that_does_not_repeat_itself_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    draws = random.Random(0)

    class Moody(Policy):
        uses_model = False

        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            X = torch.tensor([[draws.random(), 0.5]]).double()
            return EvaluationRequest(X, torch.tensor([[False, True]]))

    case = Case(Moody, Faulty, budget=45.0)
    case.run(stop_at(6), checkpoint=path)
    content = path.read_bytes()
    with pytest.raises(ExperimentStorageError, match="does not repeat itself"):
        case.run(checkpoint=path)
    assert path.read_bytes() == content


def test_a_record_that_goes_on_after_the_end_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    small(path)
    extra = [line for line in path.read_bytes().splitlines() if b'"decision"' in line]
    path.write_bytes(path.read_bytes() + extra[-1] + b"\n")
    with pytest.raises(ExperimentStorageError, match="goes on"):
        small(path)


def hold(path: Path, ready: Connection) -> None:
    """A run that never ends."""

    def wait(history: DecoupledHistory) -> None:
        ready.send(os.getpid())
        time.sleep(600)

    small(path, callbacks=[wait])


def test_a_second_process_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=hold, args=(path, sender), daemon=True)
    process.start()
    pid = receiver.recv()
    with pytest.raises(ExperimentLockedError, match=f"process {pid} on"):
        small(path)
    os.kill(pid, signal.SIGKILL)
    process.join()
    assert trace(small(path)) == trace(small())


def test_a_second_run_in_the_same_process_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    with pytest.raises(ExperimentLockedError, match="this process"):
        small(path, callbacks=[lambda history: bool(small(path).budget)])
    assert trace(small(path)) == trace(small())


# --- hostile records ------------------------------------------------------------------


def line(body: str) -> bytes:
    """A line with a correct checksum, whatever is in it."""
    rest = body.encode()[1:]
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def deep(kind: str, levels: int = 10**5) -> str:
    return f'{{"kind":"{kind}","X":{levels * "["}{levels * "]"}}}'


DECISION = (
    '{"kind":"decision","number":0,"X":[[0.5,0.5]],"mask":[[true,true]],"cost":null,'
    '"policy_seconds":0.0,"fit_seconds":0.0,"effort":{}}'
)
ANSWER = (
    '{"kind":"answer","values":[1.0,2.0],"errors":["",""],"costs":[1.0,1.0],'
    '"seconds":0.0,"setup_cost":0.0}'
)
HOSTILE = {
    "deep": deep("decision"),
    "giant number": f'{{"kind":"decision","number":{10**5 * "9"}}}',
    "large integer": DECISION.replace("[[0.5,0.5]]", f"[[1{400 * '0'},0.5]]"),
    "keys twice": '{"kind":"decision","kind":"answer"}',
    "NaN": DECISION.replace("0.5", "NaN"),
    "infinity": DECISION.replace("0.5", "1e999"),
    "class": '{"kind":"decision","__class__":"os.system","__reduce__":["rm"]}',
    "no kind": "{}",
    "wrong kind": ANSWER,
    "kind of wrong type": '{"kind":["decision"]}',
    "designs of wrong type": DECISION.replace("[[0.5,0.5]]", '"[[0.5,0.5]]"'),
    "text for a number": DECISION.replace("0.5", '"0.5"', 1),
    "truth for a number": DECISION.replace("0.5", "true", 1),
    "too many columns": DECISION.replace("[0.5,0.5]", "[0.5,0.5,0.5]"),
    "rows that do not fit": DECISION.replace("[[0.5,0.5]]", "[[0.5,0.5],[0.5]]"),
    "more designs than masks": DECISION.replace("[[0.5,0.5]]", "[[0.5,0.5],[1,1]]"),
    "too many outcomes": DECISION.replace("[true,true]", "[true,true,true]"),
    "mask of numbers": DECISION.replace("true", "1"),
    "no designs": DECISION.replace("[[0.5,0.5]]", "[]"),
    "unknown effort": DECISION.replace('"effort":{}', '"effort":{"__class__":1}'),
    "other designs": DECISION,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_decisions_are_refused_by_name_and_line(
    name: str, tmp_path: Path
) -> None:
    path = path_in(tmp_path)
    small(path)
    header = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(header + line(HOSTILE[name]) + line(ANSWER))
    content = path.read_bytes()
    with pytest.raises(ExperimentStorageError, match=f"line 2 of {path}"):
        small(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1.0,2.0]", "[1.0]"),
        ("[1.0,2.0]", "[1.0,2.0,3.0]"),
        ("[1.0,2.0]", "{}"),
        ('["",""]', "[0,1]"),
        ('"setup_cost":0.0', '"setup_cost":"free"'),
        ('"seconds":0.0,', ""),
    ],
)
def test_hostile_answers_are_refused_by_name_and_line(
    old: str, new: str, tmp_path: Path
) -> None:
    path = path_in(tmp_path)
    small(path)
    first = path.read_bytes().splitlines(keepends=True)[:2]
    path.write_bytes(b"".join(first) + line(ANSWER.replace(old, new)) + line(ANSWER))
    with pytest.raises(ExperimentStorageError, match=f"line 3 of {path}"):
        small(path)


@pytest.mark.parametrize("fit", ["[]", '{"0":{}}', '{"7":{}}', '{"x":{}}'])
def test_hostile_fits_are_refused_by_name_and_line(fit: str, tmp_path: Path) -> None:
    path = path_in(tmp_path)
    case = Case(lambda: AcquisitionPolicy(FlexiBOFactory()), budget=30.0)
    case.run(checkpoint=path)
    lines = path.read_bytes().splitlines(keepends=True)
    where = next(k for k, text in enumerate(lines) if b'"kind":"fit"' in text)
    lines[where] = line(f'{{"kind":"fit","outcomes":{fit}}}')
    path.write_bytes(b"".join(lines))
    with pytest.raises(ExperimentStorageError, match=f"line {where + 1} of {path}"):
        case.run(checkpoint=path)


def test_a_header_that_is_none_is_refused(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    path.write_bytes(line(DECISION))
    with pytest.raises(ExperimentStorageError, match=f"line 1 of {path}"):
        small(path)


def test_records_hold_plain_numbers_that_others_can_read(tmp_path: Path) -> None:
    path = path_in(tmp_path)
    history = small(path)
    entries = [json.loads(text) for text in path.read_text().splitlines()]
    answers = [entry for entry in entries if entry["kind"] == "answer"]
    assert entries[0]["outcome_names"] == ["dear", "cheap"]
    for record, answer in zip(history.records, answers, strict=True):
        values = [math.nan if v is None else v for v in answer["values"]]
        assert str(values) == str(list(record.values))
        assert answer["costs"] == list(record.costs)
