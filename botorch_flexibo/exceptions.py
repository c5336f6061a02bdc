r"""Errors of the package, beside those of ``botorch.exceptions``."""

from __future__ import annotations

from botorch.exceptions.errors import BotorchError


class InvalidCostError(BotorchError, ValueError):
    """Costs that are not positive, not finite, or too far apart to be compared."""
