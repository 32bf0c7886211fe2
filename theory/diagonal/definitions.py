r"""The setting of the diagonal linear network, as symbols.

.. math::
    f_i(u, v) = \langle u^2 - v^2, z_i\rangle, \quad
    L = \frac{1}{2n}\sum_i (f_i - y_i)^2, \quad
    c_k = \frac1n \sum_i z_{ik}^2, \quad w = u^2 - v^2.

Z is the n × d matrix of the z_i.  Γ is {L = 0}; the sharpness flow is
(u̇, v̇) = −grad_Γ Tr ∇²L = −(∇Tr ∇²L − Jᵀα), where α ∈ Rⁿ keeps the velocity tangent.
Unless a statement says otherwise, n = d = 2.
"""

from __future__ import annotations

import sympy

from theory.matrices import gradient, hessian_trace, matrix_of
from theory.statement import Hypothesis

__all__ = ["Network"]

NONZERO_START = Hypothesis("nonzero-start", "u_k(0) v_k(0) ≠ 0 for all k")
ZERO_LOSS = Hypothesis("zero-loss-start", "the flow starts on Γ, so Z w = y throughout")
SAMPLE_STEPS = Hypothesis(
    "sample-steps", "each step uses one sample, loss ½(f_i − y_i − ε)², fresh noise ε"
)


class Network:
    """The model with n = d = 2 and every entry a symbol.

    Parameters
    ----------
    sign : int
        Of v² in the predictions; the model is −1.
    """

    def __init__(self, sign: int = -1) -> None:
        self.z = matrix_of("z", 2, 2)
        self.u = matrix_of("u", 2, 1)
        self.v = matrix_of("v", 2, 1)
        self.y = matrix_of("y", 2, 1)
        self.variables = [*self.u, *self.v]
        self.w = self.u.applyfunc(lambda x: x**2) + sign * self.v.applyfunc(
            lambda x: x**2
        )
        self.predictions = self.z * self.w
        residuals = self.predictions - self.y
        self.loss = (residuals.T * residuals)[0] / 4  # 1/(2n), n = 2

    def moment(self, k: int) -> sympy.Expr:
        """Return c_k, the mean square of the k-th input."""
        return (self.z[0, k] ** 2 + self.z[1, k] ** 2) / 2

    def trace(self) -> sympy.Expr:
        """Return Tr ∇²L, differentiated from the loss."""
        return hessian_trace(self.loss, self.variables)

    def sharpness_velocity(self, alpha: sympy.Matrix) -> sympy.Matrix:
        """Return −(∇Tr ∇²L − Jᵀα), first of u, then of v."""
        jacobian = self.predictions.jacobian(self.variables)
        return -(gradient(self.trace(), self.variables) - jacobian.T * alpha)
