r"""Problems with a fidelity column, which lowers the cost of a measurement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.test_functions.multi_objective_multi_fidelity import MOMFBraninCurrin
from torch import Tensor

from botorch_flexibo.test_functions._tables import as_list
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.test_functions.synthetic import check_outcome_costs
from botorch_flexibo.utils.checks import finite_number


class DecoupledMOMFBraninCurrin(DecoupledProblem, MOMFBraninCurrin):
    r"""BoTorch's ``MOMFBraninCurrin`` (d = 2 + 1, m = 2), each outcome at its own cost.

    The designs lie in ``[0, 1]^3``. The last column is the fidelity ``s``: the outcomes
    of interest are those at ``s = 1``, and at ``s < 1`` both are biased and cheaper.
    Measuring outcome ``i`` costs::

        costs[i] * exp(rates[i] * (s - 1))

    which is ``costs[i]`` at the target. The rate 4.8 is that of BoTorch's tutorial on
    multi-objective multi-fidelity optimisation, where the cheapest measurement costs
    1/120 of the most expensive.

    With ``negate=True`` both outcomes are maximised and the reference point is (0, 0).
    ``max_hv`` is that of the front at ``s = 1``. Measurements at lower fidelities may
    have larger values and do not count for it.

    NOTE: BoTorch 0.18.1 has ``max_hv`` 0.52355, 4 percent more than any set of designs
    reaches at ``s = 1``. There Currin depends on the first column only, and the best
    second column for Branin has a closed form, so the front is a curve; its hypervolume
    is 0.5040108 up to the last digit.

    Attributes:
        costs: An ``m`` tensor of true costs at ``s = 1``, in ``cost_unit``.
        rates: An ``m`` tensor: how fast the costs grow with the fidelity.

    Example:
        >>> import torch
        >>> from botorch_flexibo.test_functions import DecoupledMOMFBraninCurrin
        >>> problem = DecoupledMOMFBraninCurrin(costs=(10.0, 1.0), rate=(4.8, 0.0))
        >>> X = torch.tensor([[0.5, 0.5, 1.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
        >>> [[round(c, 3) for c in row] for row in problem.cost(X).tolist()]
        [[10.0, 1.0], [0.082, 1.0]]
        >>> problem.target_fidelities
        {2: 1.0}
    """

    outcome_names = ("branin", "currin")
    target_fidelities = {2: 1.0}
    _max_hv = 0.5040108
    costs: Tensor
    rates: Tensor

    def __init__(
        self,
        *,
        costs: Sequence[float] = (10.0, 1.0),
        rate: float | Sequence[float] = 4.8,
        noise_std: float | list[float] | None = None,
        negate: bool = True,
    ) -> None:
        r"""Set up the problem.

        Args:
            costs: Cost of measuring (Branin, Currin) at ``s = 1``, strictly positive,
                in "units".
            rate: Growth rate of the costs in ``s``, not negative, one for both outcomes
                or one for each. An outcome of rate 0 costs the same at all fidelities.
            noise_std: Standard deviation of the observation noise, one for all outcomes
                or a list with one per outcome; None for noise-free observations.
            negate: Whether to negate the outcomes, so that they are maximised. False
                gives BoTorch's minimisation problem.

        Raises:
            InvalidCostError: If there are not two costs, or one is not finite or not
                strictly positive. It is a ``ValueError``.
            ValueError: If there are not one or two rates, or one is not finite or is
                negative.
        """
        super().__init__(noise_std=noise_std, negate=negate)
        m, dtype = self.num_objectives, self.bounds.dtype
        values = check_outcome_costs(costs, m)
        self.register_buffer("costs", torch.tensor(values, dtype=dtype))
        given = as_list(rate) or [rate] * m
        rates = [finite_number(one) for one in given]
        if len(rates) != m or not all(one is not None and one >= 0 for one in rates):
            raise ValueError(
                f"Expected `rate` finite and >= 0, one number or {m}, got {rate!r}. "
                "Use 0 for an outcome whose cost does not depend on the fidelity."
            )
        self.register_buffer("rates", torch.tensor(rates, dtype=dtype))

    def cost(self, X: Tensor) -> Tensor:
        r"""Price each outcome of each design, measured alone.

        Args:
            X: A ``batch_shape x d`` tensor of designs; the last column is the fidelity.

        Returns:
            A ``batch_shape x m`` tensor of true costs, strictly positive, in
            ``cost_unit``.

        Raises:
            BotorchTensorDimensionError: If the last dimension of ``X`` is not ``d``.
        """
        X = self._validate_columns(X)
        dtype = X.dtype if X.is_floating_point() else self.costs.dtype
        costs = self.costs.to(device=X.device, dtype=dtype)
        rates = self.rates.to(costs)
        return costs * (rates * (X[..., -1:] - 1)).exp()
