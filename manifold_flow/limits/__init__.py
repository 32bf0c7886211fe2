"""From an optimizer to what it follows."""

from manifold_flow.limits.finite_step import finite_step_flow
from manifold_flow.limits.largest_step import TrackingStep, largest_tracking_step
from manifold_flow.limits.modes import Schedule, schedule
from manifold_flow.limits.theorems import limiting_flow

__all__ = [
    "Schedule",
    "TrackingStep",
    "finite_step_flow",
    "largest_tracking_step",
    "limiting_flow",
    "schedule",
]
