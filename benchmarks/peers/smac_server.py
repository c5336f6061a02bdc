"""Runs SMAC3: reads lines of JSON, answers ``ask`` with a design.

Needs only SMAC3 and the standard library. The first line describes the columns of
the search space; then ``{"ask": true}`` is answered with the values of the columns,
and the index of the budget if there are any; ``{"tell": [...]}`` gives the costs of
what was asked for last.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from typing import Any

from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
from smac.multi_objective.parego import ParEGO
from smac.runhistory.dataclasses import TrialValue


def parameter(name: str, column: dict[str, Any]) -> Any:
    """The hyperparameter of a column."""
    values = column["values"]
    if column["kind"] == "category":
        return CategoricalHyperparameter(name, [int(v) for v in values])
    if column["kind"] == "int":
        return UniformIntegerHyperparameter(name, int(values[0]), int(values[1]))
    return UniformFloatHyperparameter(name, *values)


def facade(setting: dict[str, Any], folder: str) -> Any:
    """SMAC3 as its documentation recommends it, with ParEGO.

    ``incumbent_selection="highest_budget"``, because with its default Hyperband fails
    under several objectives (SMAC3 issue 1050).
    """
    space = ConfigurationSpace(seed=setting["seed"])
    names = [f"x{j}" for j in range(len(setting["columns"]))]
    space.add([parameter(n, c) for n, c in zip(names, setting["columns"], strict=True)])
    budgets = setting["budgets"]
    kind = HyperparameterOptimizationFacade if budgets is None else MultiFidelityFacade
    scenario = Scenario(
        space,
        objectives=[f"cost{k}" for k in range(setting["num_objectives"])],
        n_trials=100_000,
        seed=setting["seed"],
        deterministic=True,
        output_directory=folder,
        **(
            {}
            if budgets is None
            else {"min_budget": budgets[0], "max_budget": budgets[-1]}
        ),
    )
    initial = []
    for row in setting["initial"]:
        values = {
            n: value if c["kind"] == "float" else int(value)
            for n, c, value in zip(names, setting["columns"], row, strict=True)
        }
        initial.append(Configuration(space, values=values))
    intensifier = {}
    if budgets is not None:
        intensifier["intensifier"] = kind.get_intensifier(
            scenario, eta=3, incumbent_selection="highest_budget"
        )
    return kind(
        scenario,
        lambda config, seed=0, budget=0.0: 0.0,
        initial_design=kind.get_initial_design(
            scenario, n_configs=0, additional_configs=initial
        ),
        multi_objective_algorithm=ParEGO(scenario),
        logging_level=logging.ERROR,
        overwrite=True,
        **intensifier,
    )


def main() -> None:
    """Answer until the input ends."""
    setting = json.loads(sys.stdin.readline())
    out, sys.stdout = sys.stdout, sys.stderr  # nothing else may be printed there
    asked = None
    with tempfile.TemporaryDirectory() as folder:
        smac = facade(setting, folder)
        for line in sys.stdin:
            message = json.loads(line)
            if "tell" in message:
                smac.tell(asked, TrialValue(cost=message["tell"], time=0.0))
                continue
            asked = smac.ask()
            values = [float(asked.config[f"x{j}"]) for j in range(len(asked.config))]
            if setting["budgets"] is not None:
                budgets = setting["budgets"]
                level = min(
                    range(len(budgets)), key=lambda k: abs(budgets[k] - asked.budget)
                )
                values.append(float(level))
            out.write(json.dumps(values) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
