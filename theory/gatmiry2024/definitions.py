r"""The setting of the two-layer paper, as symbols.

.. math::
    r_θ(x) = \sum_j a_j φ(θ_j^⊤ x), \quad
    L = \sum_i q_i (r_θ(x_i) - y_i)^2, \quad w_i = q_i ‖x_i‖^2, \quad
    F = \operatorname{Tr} ∇^2 L.

Inputs enter only through the preactivations z_ij = x_iᵀθ_j, which are free coordinates
when the inputs are independent.  The paper is a_j = 1, q_i = 1.
"""

from __future__ import annotations

import sympy

from theory.activations import Z, first_positive, third_positive
from theory.statement import Hypothesis

__all__ = ["Z", "phi"]

INCREASING = Hypothesis("increasing", "φ' > 0 on the real line", first_positive)
CONVEX_SLOPE = Hypothesis("convex-slope", "φ''' > 0 on the real line", third_positive)
SIGNS = (INCREASING, CONVEX_SLOPE)
INDEPENDENT = Hypothesis("independent-inputs", "x_1, ..., x_n are independent (n ≤ d)")
REACHABLE = Hypothesis("reachable-targets", "M is not empty: y_i/m lies in φ(R)")
NONZERO_WEIGHTS = Hypothesis("nonzero-weights", "a_j ≠ 0 for all j, and q_i > 0")

#: an undefined activation
phi = sympy.Function("varphi", real=True)
