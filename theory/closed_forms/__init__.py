r"""Exact flows and minimisers as formulas: oracles for the tests.

Every function takes exact numbers or SymPy expressions and returns the like, so that a
test can hold a numerical answer against ``float(...)`` of the exact one.

=========================================  =========================================
Two-layer network, theory notes 1.5        `collapsed_point`, `least_trace`
... with positive output weights, 1.12a    `stationary_point`, `output_of_multiplier`
Diagonal network, 3.2 and 3.3              `diagonal_flow`, `weighted_l1`
Matrix sensing and deep factorisation,     `nuclear_norm`, `least_matrix_trace`,
4.1 and 5.1                                `least_deep_trace`
Deep linear regression, 6.2                `sharpness_at_scale`, `minimal_sharpness`
=========================================  =========================================
"""

from __future__ import annotations

from theory.closed_forms.deep_linear import minimal_sharpness, sharpness_at_scale
from theory.closed_forms.factored import (
    diagonal_flow,
    least_deep_trace,
    least_matrix_trace,
    nuclear_norm,
    weighted_l1,
)
from theory.closed_forms.two_layer import (
    collapsed_point,
    least_trace,
    output_of_multiplier,
    stationary_point,
)

__all__ = [
    "collapsed_point",
    "diagonal_flow",
    "least_deep_trace",
    "least_matrix_trace",
    "least_trace",
    "minimal_sharpness",
    "nuclear_norm",
    "output_of_multiplier",
    "sharpness_at_scale",
    "stationary_point",
    "weighted_l1",
]
