"""From an optimizer to what it follows."""

from manifold_flow.limits.diffusion import LimitingDiffusion
from manifold_flow.limits.finite_step import finite_step_flow
from manifold_flow.limits.largest_step import TrackingStep, largest_tracking_step
from manifold_flow.limits.modes import Schedule, schedule
from manifold_flow.limits.sde import integrate_sde
from manifold_flow.limits.second_derivative import limit_map_hessian
from manifold_flow.limits.theorems import limiting_flow, require_same_model

__all__ = [
    "LimitingDiffusion",
    "Schedule",
    "TrackingStep",
    "finite_step_flow",
    "integrate_sde",
    "largest_tracking_step",
    "limit_map_hessian",
    "limiting_flow",
    "require_same_model",
    "schedule",
]
