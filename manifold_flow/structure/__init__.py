r"""A flow in the structure of its model: what a solver needs to be fast.

A limiting flow moves :math:`\theta` of size p, but a model often knows far smaller
coordinates in which the same flow is nearly linear, or its Newton matrices nearly
diagonal.  It declares them as a :class:`StructuredFlow`; the solvers of
:mod:`manifold_flow.solvers` know nothing else of it.

:class:`NeuronwiseFlow` is that of two-layer networks; docs/fast.md derives it.
"""

from manifold_flow.structure.abstract import (
    ImplicitFlow,
    NewtonMatrix,
    Observation,
    Splitting,
    StructuredFlow,
)
from manifold_flow.structure.neuronwise import NeuronwiseFlow

__all__ = [
    "ImplicitFlow",
    "NeuronwiseFlow",
    "NewtonMatrix",
    "Observation",
    "Splitting",
    "StructuredFlow",
]
