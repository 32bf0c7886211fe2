"""From an optimizer to what it follows."""

from manifold_flow.limits.diffusion import LimitingDiffusion
from manifold_flow.limits.sde import integrate_sde
from manifold_flow.limits.second_derivative import limit_map_hessian
from manifold_flow.limits.theorems import limiting_flow

__all__ = ["LimitingDiffusion", "integrate_sde", "limit_map_hessian", "limiting_flow"]
