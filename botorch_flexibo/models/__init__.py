r"""Models of half-filled tables."""

from botorch_flexibo.models.decoupled import DecoupledModelFitter, fit_decoupled_model

__all__ = ["DecoupledModelFitter", "fit_decoupled_model"]
