"""What moves continuously, and ``integrate``."""

from manifold_flow.flow.abstract import Flow
from manifold_flow.flow.drift import DriftFlow
from manifold_flow.flow.integration import integrate
from manifold_flow.flow.limiting import LimitingFlow

__all__ = ["DriftFlow", "Flow", "LimitingFlow", "integrate"]
