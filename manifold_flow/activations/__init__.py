"""Activations: φ, its derivatives, its inverse, its range, and signs on an interval."""

from manifold_flow.activations.activation import Activation
from manifold_flow.activations.inversion import monotone_inverse

__all__ = ["Activation", "monotone_inverse"]
