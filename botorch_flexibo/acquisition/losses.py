r"""What a measurement is to reduce: hypervolumes of corners of confidence boxes.

References:

.. [Iqbal2023flexibo]
    M. S. Iqbal, J. Su, L. Kotthoff, and P. Jamshidi. FlexiBO: A Decoupled Cost-Aware
    Multi-Objective Optimization Approach for Deep Neural Networks. Journal of
    Artificial Intelligence Research 77, 2023. arXiv:2001.06588.

.. [Daulton2023hvkg]
    S. Daulton, M. Balandat, and E. Bakshy. Hypervolume Knowledge Gradient: A Lookahead
    Approach for Multi-Objective Bayesian Optimization with Partial Information.
    Proceedings of the 40th International Conference on Machine Learning, 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

from botorch_flexibo.utils.checks import check_beta


@dataclass(frozen=True)
class HypervolumeLoss:
    r"""What a measurement is to reduce: ``sum_k w_k HV{mean + s_k sd}``.

    Attributes:
        terms: Pairs ``(w_k, s_k)`` of a weight and a number of standard deviations.
    """

    terms: tuple[tuple[float, float], ...]

    @classmethod
    def region(cls, beta: float = 1.0) -> HypervolumeLoss:
        r"""Volume of the Pareto region [Iqbal2023flexibo]_: ``HV{hi} - HV{lo}``.

        Args:
            beta: The confidence scale: boxes are ``mean -+ sqrt(beta) * sd``.

        Returns:
            The loss.

        Raises:
            InputDataError: If ``beta`` is negative or not finite.
        """
        half_width = _half_width(beta)
        return cls(((1.0, half_width), (-1.0, -half_width)))

    @classmethod
    def pessimistic(cls, beta: float = 1.0) -> HypervolumeLoss:
        r"""Minus the hypervolume that is certain: ``-HV{lo}``.

        Args:
            beta: The confidence scale: lower corners are ``mean - sqrt(beta) * sd``.

        Returns:
            The loss.

        Raises:
            InputDataError: If ``beta`` is negative or not finite.
        """
        return cls(((-1.0, -_half_width(beta)),))

    @classmethod
    def optimistic(cls, beta: float = 1.0) -> HypervolumeLoss:
        r"""Hypervolume that is possible but not expected: ``HV{hi} - HV{mean}``.

        Args:
            beta: The confidence scale: upper corners are ``mean + sqrt(beta) * sd``.

        Returns:
            The loss.

        Raises:
            InputDataError: If ``beta`` is negative or not finite.
        """
        return cls(((1.0, _half_width(beta)), (-1.0, 0.0)))

    @classmethod
    def balanced(cls, beta: float = 1.0) -> HypervolumeLoss:
        r"""The region less what the means promise: ``HV{hi} - HV{mean} - HV{lo}``.

        Args:
            beta: The confidence scale: boxes are ``mean -+ sqrt(beta) * sd``.

        Returns:
            The loss.

        Raises:
            InputDataError: If ``beta`` is negative or not finite.
        """
        half_width = _half_width(beta)
        return cls(((1.0, half_width), (-1.0, 0.0), (-1.0, -half_width)))

    @classmethod
    def knowledge_gradient(cls, beta: float = 1.0) -> HypervolumeLoss:
        """Minus the hypervolume of the means [Daulton2023hvkg]_, on the design set.

        Args:
            beta: Ignored: means have no width.

        Returns:
            The loss.
        """
        return cls(((-1.0, 0.0),))


def _half_width(beta: float) -> float:
    return check_beta(beta) ** 0.5
