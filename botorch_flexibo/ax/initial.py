r"""Initial designs: quasi-random, on the values that parameters may have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ax.core.search_space import SearchSpaceDigest
from ax.generators.random.sobol import SobolGenerator
from ax.generators.types import TConfig
from numpy.typing import NDArray

from botorch_flexibo.ax.inputs import Proposals
from botorch_flexibo.ax.plan import MeasurementPlan


class PlannedSobolGenerator(SobolGenerator):
    r"""Scrambled Sobol designs; the adapter gives them the metrics of a plan.

    NOTE: Ax's generators draw from intervals and leave separate values to transforms,
    which would make several columns of a choice, and round constrained integers by
    NumPy's global generator. Here each value of a column has an equal share of it.
    """

    def __init__(
        self,
        plan: list[list[str]] | None = None,
        seed: int | None = None,
        init_position: int = 0,
        deduplicate: bool = True,
        fallback_to_sample_polytope: bool = False,
        followed_by: str | None = None,
    ) -> None:
        r"""Sobol generator with a plan.

        Args:
            plan: The metrics of each design, see :class:`MeasurementPlan`. None
                measures all of them everywhere.
            seed: Seed of the scrambling.
            init_position: How many designs to skip, kept by Ax between calls.
            deduplicate: Whether to avoid designs of the experiment.
            fallback_to_sample_polytope: Whether to sample the polytope when too many
                designs violate a constraint.
            followed_by: The name of the acquisition that follows and may refuse the
                experiment. None means that any may follow.
        """
        super().__init__(
            deduplicate=deduplicate,
            seed=seed,
            init_position=init_position,
            fallback_to_sample_polytope=fallback_to_sample_polytope,
        )
        self.plan = MeasurementPlan.from_lists(plan)
        self.followed_by = followed_by
        self.proposals = Proposals()
        # Parameters whose values are dense where they are large: drawn as intervals.
        self.intervals: frozenset[str] = frozenset()
        self._values: dict[int, NDArray] = {}

    def gen(
        self,
        n: int,
        search_space_digest: SearchSpaceDigest,
        linear_constraints: tuple[NDArray, NDArray] | None = None,
        equality_constraints: tuple[NDArray, NDArray] | None = None,
        fixed_features: dict[int, float] | None = None,
        model_gen_options: TConfig | None = None,
        rounding_func: Callable[[NDArray], NDArray] | None = None,
        generated_points: NDArray | None = None,
    ) -> tuple[NDArray, NDArray]:
        r"""Draw designs on the values of the search space.

        Args:
            n: The number of designs.
            search_space_digest: The search space.
            linear_constraints: Coefficients ``A`` and bounds ``b`` of ``A x <= b``.
            equality_constraints: The same of ``A x = b``.
            fixed_features: The values of columns that are fixed.
            model_gen_options: Options of Ax's generator.
            rounding_func: Rounds a design to one of the experiment.
            generated_points: Designs to avoid, one a row.

        Returns:
            The designs, one a row, and their weights.
        """
        self._values = {
            column: np.array(values, dtype=float)
            for column, values in search_space_digest.discrete_choices.items()
            if column not in (fixed_features or {})
            and search_space_digest.feature_names[column] not in self.intervals
        }

        def rounded(design: NDArray) -> NDArray:
            design = self._nearest(design)
            return design if rounding_func is None else rounding_func(design)

        return super().gen(
            n=n,
            search_space_digest=search_space_digest,
            linear_constraints=linear_constraints,
            equality_constraints=equality_constraints,
            fixed_features=fixed_features,
            model_gen_options=model_gen_options,
            rounding_func=rounded,
            generated_points=generated_points,
        )

    def _gen_unconstrained(
        self,
        n: int,
        d: int,
        tunable_feature_indices: NDArray,
        fixed_features: dict[int, float] | None = None,
    ) -> NDArray:
        points = super()._gen_unconstrained(
            n, d, tunable_feature_indices, fixed_features
        )
        for column, values in self._values.items():
            lower, upper = self._bounds[column]
            if lower < upper:
                share = (points[:, column] - lower) / (upper - lower)
                index = (share * len(values)).astype(int)
                points[:, column] = values[index.clip(max=len(values) - 1)]
        return points

    def _nearest(self, design: NDArray) -> NDArray:
        """A design with separate values where it must have them.

        Those of the sampler of polytopes, for narrow constraints, have none.
        """
        design = design.copy()
        for column, values in self._values.items():
            design[column] = values[np.abs(values - design[column]).argmin()]
        return design
