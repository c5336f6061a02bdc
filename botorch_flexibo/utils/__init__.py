r"""Pure tensor functions."""

from botorch_flexibo.utils.fronts import front_mask, hypervolume
from botorch_flexibo.utils.objective import separable_weights
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    collapse_gains,
    confidence_region,
    intersect_regions,
    pal_beta,
    region_volume,
    undominated,
)
from botorch_flexibo.utils.posterior import marginal_moments
from botorch_flexibo.utils.rows import RowIndex

__all__ = [
    "ConfidenceRegion",
    "RowIndex",
    "collapse_gains",
    "confidence_region",
    "front_mask",
    "hypervolume",
    "intersect_regions",
    "marginal_moments",
    "pal_beta",
    "region_volume",
    "separable_weights",
    "undominated",
]
