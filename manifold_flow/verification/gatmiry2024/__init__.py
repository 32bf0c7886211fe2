"""Gatmiry, Li, Reddi, Jegelka 2024: a module for each of theory, in its order."""

from manifold_flow.verification.gatmiry2024 import (
    convergence,
    convexity,
    counterexamples,
    existence,
    extensions,
    normal_space,
    stationary_points,
)

__all__ = [
    "convergence",
    "convexity",
    "counterexamples",
    "existence",
    "extensions",
    "normal_space",
    "stationary_points",
]
