"""What moves continuously, and ``integrate``."""

from manifold_flow.flow.abstract import Flow
from manifold_flow.flow.drift import DriftFlow
from manifold_flow.flow.gradient import GradientFlow, gradient_flow, limit_map
from manifold_flow.flow.integration import integrate
from manifold_flow.flow.limiting import LimitingFlow

__all__ = [
    "DriftFlow",
    "Flow",
    "GradientFlow",
    "LimitingFlow",
    "gradient_flow",
    "integrate",
    "limit_map",
]
