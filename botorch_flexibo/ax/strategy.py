r"""The generation strategy: initial designs by a plan, then single measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ax.core.trial_status import TrialStatus
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.generation_strategy.transition_criterion import (
    MaxGenerationParallelism,
    PausingCriterion,
)
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax.costs import Costs, NamedCost, check_storable
from botorch_flexibo.ax.criteria import InitialDataAwaited, ObjectivesObserved
from botorch_flexibo.ax.plan import MeasurementPlan, cheap_first
from botorch_flexibo.ax.policies import build_policy
from botorch_flexibo.ax.registry import FlexiboGenerators
from botorch_flexibo.ax.told import check_mapping
from botorch_flexibo.failures import TolerateFailures
from botorch_flexibo.utils.checks import check_seed, finite_number, is_count

_INITIAL = "initial designs"
_DECOUPLED = "decoupled"
_NUM_COMPLETE = 3


def flexibo_generation_strategy(
    costs: Mapping[str, float | NamedCost] | Costs,
    *,
    n_init: int = 6,
    init_plan: str | Sequence[Sequence[str]] = "coupled",
    acquisition: str = "lookahead",
    acquisition_options: Mapping[str, Any] | None = None,
    fidelity: Mapping[str, float] | None = None,
    failures: TolerateFailures | None = None,
    seed: int = 0,
    max_parallelism: int | None = None,
) -> GenerationStrategy:
    r"""A strategy that chooses the design and the objectives to measure there.

    Each trial it proposes has one arm, and says in its metadata which metrics to
    measure (:func:`get_next_measurements`, :func:`objectives_for`). It may be set on a
    new experiment or on one that ran with another strategy: earlier trials count as
    initial designs, measured on all metrics they have data for.

    Args:
        costs: What measuring each objective costs, all in one unit: numbers, or
            :class:`Costs` for costs that depend on the design, are learned, or share
            a set-up. Only their ratios matter for a choice.
        n_init: The number of initial designs, scrambled Sobol points. One that fails is
            replaced once; if an objective has no data then, up to ``n_init`` further
            ones are measured on everything.
        init_plan: What to measure there: ``"coupled"`` (everything), ``"cheap_first"``
            (everything at up to three, then only the cheapest objective), or for each
            design the names of its metrics.
        acquisition: ``"lookahead"``, ``"flexibo"``, ``"hvkg"`` or ``"pabo"``. An
            experiment with integers or choices is refused by ``"hvkg"``, before its
            first design: use ``"lookahead"``.
        acquisition_options: Options of the acquisition, see :func:`build_policy`.
        fidelity: The target of each parameter that is a fidelity, for example
            ``{"epochs": 81}``. The front is wanted there; trials may be elsewhere. For
            the acquisition ``"lookahead"`` only.
        failures: When a measurement that failed is not asked for again. A metric that
            failed is believed to cost ``(attempts + 1) / (successes + 1)`` times as
            much; one that is closed is opened again by a value, also one of a trial
            that you attach. None means the defaults.
        seed: Seed of all randomness.
        max_parallelism: How many measurements may run at once. None means any number.

    Returns:
        The strategy, for ``client.set_generation_strategy``.

    Raises:
        InputDataError: If a number, name or plan is not valid.

    Example:
        >>> from botorch_flexibo.ax import flexibo_generation_strategy
        >>> strategy = flexibo_generation_strategy({"error": 20.0, "energy": 1.0})
        >>> strategy.current_node_name
        'initial designs'
    """
    _check_numbers(n_init, max_parallelism, seed, failures)
    costs = costs if isinstance(costs, Costs) else Costs(costs)
    if not costs.run:
        raise InputDataError(
            "Expected a cost for each objective, but got none. Give the cost of each by"
            " its name."
        )
    plan = _plan(init_plan, costs, n_init)
    for values, name in (
        (acquisition_options, "acquisition_options"),
        (fidelity, "fidelity"),
    ):
        check_mapping({} if values is None else values, name)
    options = dict(acquisition_options or {})
    build_policy(acquisition, options)  # refuses names and options
    _check_fidelity(fidelity or {}, acquisition)
    check_storable(options, what="acquisition_options")
    generator_kwargs = {
        "acquisition": acquisition,
        "acquisition_options": options,
        "costs": costs.to_json(),
        "fidelity": dict(fidelity or {}),
        "failures": asdict(failures or TolerateFailures()),
        "seed": seed,
    }
    nodes = [
        _initial_node(plan, n_init, seed, max_parallelism, acquisition),
        GenerationNode(
            name=_DECOUPLED,
            generator_specs=[
                GeneratorSpec(
                    FlexiboGenerators.DECOUPLED, generator_kwargs=generator_kwargs
                )
            ],
            pausing_criteria=_parallelism(max_parallelism),
            # A design may be measured again for another objective.
            should_deduplicate=False,
        ),
    ]
    return GenerationStrategy(nodes=nodes, name="FlexiBO")


def _check_numbers(
    n_init: object, max_parallelism: object, seed: object, failures: object
) -> None:
    if not is_count(n_init) or not (
        max_parallelism is None or is_count(max_parallelism)
    ):
        raise InputDataError(
            "Expected n_init >= 1 and max_parallelism >= 1 or None, but got"
            f" n_init={n_init!r} and max_parallelism={max_parallelism!r}. Pass whole"
            " numbers."
        )
    check_seed(seed)
    if failures is not None and not isinstance(failures, TolerateFailures):
        raise InputDataError(
            f"Expected failures to be TolerateFailures(...) or None, but got"
            f" {failures!r}. Pass None for the defaults."
        )


def _check_fidelity(fidelity: Mapping[str, float], acquisition: str) -> None:
    if any(finite_number(target) is None for target in fidelity.values()):
        raise InputDataError(
            f"Expected finite targets of fidelities, but got {dict(fidelity)}. Give"
            " the value at which the front is wanted."
        )
    if fidelity and acquisition != "lookahead":
        raise InputDataError(
            'Expected acquisition="lookahead" for fidelities, but got'
            f" {acquisition!r}, which would take cheap runs for the target. Leave"
            " one of them out."
        )


def _initial_node(
    plan: list[list[str]],
    n_init: int,
    seed: int,
    max_parallelism: int | None,
    acquisition: str,
) -> GenerationNode:
    return GenerationNode(
        name=_INITIAL,
        generator_specs=[
            GeneratorSpec(
                FlexiboGenerators.PLANNED_SOBOL,
                generator_kwargs={
                    "plan": plan,
                    "seed": seed,
                    "followed_by": acquisition,
                },
            )
        ],
        transition_criteria=[ObjectivesObserved(_DECOUPLED, n_init)],
        pausing_criteria=[InitialDataAwaited(n_init), *_parallelism(max_parallelism)],
        # The generator does so itself; a design drawn again here would take an entry
        # of the plan, or be drawn in the end by a generator without a plan.
        should_deduplicate=False,
    )


def _parallelism(max_parallelism: int | None) -> list[PausingCriterion]:
    if max_parallelism is None:
        return []
    return [
        MaxGenerationParallelism(
            threshold=max_parallelism,
            only_in_statuses=[TrialStatus.RUNNING],
            use_all_trials_in_exp=True,
        )
    ]


def _plan(
    init_plan: str | Sequence[Sequence[str]], costs: Costs, n_init: int
) -> list[list[str]]:
    if not isinstance(init_plan, str):
        known = isinstance(init_plan, Sequence)
        if not known or not all(
            isinstance(entry, (list, tuple)) for entry in init_plan
        ):
            raise _no_plan(init_plan)
        entries = [list(entry) for entry in init_plan]
        MeasurementPlan.from_lists(entries)
        unknown = {name for entry in entries for name in entry} - set(costs.run)
        if unknown or len(entries) != n_init:
            raise InputDataError(
                f"Expected a plan of n_init={n_init} entries with metrics of"
                f" {list(costs.run)}, but got {entries}. Pass one entry per design."
            )
        return entries
    if init_plan == "coupled":
        return [list(costs.run)] * n_init
    if init_plan != "cheap_first":
        raise _no_plan(init_plan)
    named = [name for name, cost in costs.run.items() if isinstance(cost, NamedCost)]
    if named:
        raise InputDataError(
            'Expected numbers as costs for the plan "cheap_first", but got functions'
            f" for {named}. Give the plan as a list."
        )
    numbers = {name: float(cost) for name, cost in costs.run.items()}  # pyright: ignore
    return cheap_first(numbers, n_init, min(n_init, _NUM_COMPLETE))


def _no_plan(init_plan: object) -> InputDataError:
    return InputDataError(
        'Expected init_plan to be "coupled", "cheap_first" or a list of metrics for'
        f" each design, but got {init_plan!r}. Choose one of these."
    )
