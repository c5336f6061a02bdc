r"""What Ax has to know of this package to store and load its strategies."""

from __future__ import annotations

from ax.adapter.registry import (
    GeneratorRegistryBase,
    GeneratorSetup,
    Mixed_transforms,
)
from ax.adapter.transforms.log import Log
from ax.adapter.transforms.standardize_y import StandardizeY
from ax.storage.json_store.encoders import (
    pausing_criterion_to_dict,
    transition_criterion_to_dict,
)
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY
from ax.storage.transform_registry import register_transform

from botorch_flexibo.ax.adapter import DecoupledTorchAdapter, PlannedAdapter
from botorch_flexibo.ax.criteria import InitialDataAwaited, ObjectivesObserved
from botorch_flexibo.ax.generator import DecoupledGenerator
from botorch_flexibo.ax.initial import PlannedSobolGenerator
from botorch_flexibo.ax.transforms import (
    CompleteNoise,
    ExactLog,
    MaximizeY,
    SnapToArms,
    WinsorizeMeasured,
)

_OWN_TRANSFORMS = (SnapToArms, ExactLog, CompleteNoise, WinsorizeMeasured, MaximizeY)
# Choices stay one column each, with the values that it may have: both generators choose
# from these and never leave them.
_X_TRANSFORMS = [
    SnapToArms,
    *(ExactLog if transform is Log else transform for transform in Mixed_transforms),
]
_SETUPS = {
    "FlexiboPlannedSobol": GeneratorSetup(
        adapter_class=PlannedAdapter,
        generator_class=PlannedSobolGenerator,
        transforms=_X_TRANSFORMS,
    ),
    "FlexiboDecoupled": GeneratorSetup(
        adapter_class=DecoupledTorchAdapter,
        generator_class=DecoupledGenerator,
        transforms=[
            *_X_TRANSFORMS,
            CompleteNoise,
            WinsorizeMeasured,
            StandardizeY,
            MaximizeY,
        ],
    ),
}


class FlexiboGenerators(GeneratorRegistryBase):
    """The generators of this package, for Ax's ``GeneratorSpec``."""

    PLANNED_SOBOL = "FlexiboPlannedSobol"
    DECOUPLED = "FlexiboDecoupled"

    @property
    def GENERATOR_KEY_TO_GENERATOR_SETUP(
        self,
    ) -> dict[str, GeneratorSetup]:
        """The set-up of each generator."""
        return _SETUPS


def register() -> None:
    """Make JSON and SQL storage of Ax know this package; harmless when repeated."""
    CORE_DECODER_REGISTRY[FlexiboGenerators.__name__] = FlexiboGenerators
    for transform in _OWN_TRANSFORMS:
        register_transform(transform)
    CORE_ENCODER_REGISTRY[ObjectivesObserved] = transition_criterion_to_dict
    CORE_ENCODER_REGISTRY[InitialDataAwaited] = pausing_criterion_to_dict
    for criterion in (ObjectivesObserved, InitialDataAwaited):
        CORE_DECODER_REGISTRY[criterion.__name__] = criterion
