"""From an optimizer to what it follows."""

from manifold_flow.limits.theorems import limiting_flow

__all__ = ["limiting_flow"]
