r"""The setting of the two-layer paper, as symbols.

.. math::
    r_θ(x) = \sum_j a_j φ(θ_j^⊤ x), \quad
    L = \sum_i q_i (r_θ(x_i) - y_i)^2, \quad w_i = q_i ‖x_i‖^2, \quad
    F = \operatorname{Tr} ∇^2 L = 2 \sum_i w_i \sum_j a_j^2 φ'(z_{ij})^2.

Inputs enter through the preactivations z_ij = x_iᵀθ_j, which are free coordinates when
the inputs are independent, so symbols stand for them and ∂/∂θ_jk = Σ_i x_ik ∂/∂z_ij.
A vector whose block j is Σ_i c_ij x_i is written as its coefficients c, an (n, m)
matrix; inner products then need only K = XXᵀ.  The paper is a_j = 1, q_i = 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy

from theory.activations import Z, first_positive, smooth, third_positive
from theory.statement import Decision, Hypothesis

INCREASING = Hypothesis("increasing", "φ' > 0 on the real line", first_positive)
CONVEX_SLOPE = Hypothesis("convex-slope", "φ''' > 0 on the real line", third_positive)
SMOOTH = Hypothesis("smooth", "φ is C³ on the real line", smooth)
SIGNS = (INCREASING, CONVEX_SLOPE, SMOOTH)
INDEPENDENT = Hypothesis(
    "independent-inputs", "x_1, ..., x_n are linearly independent (so n ≤ d)"
)
REACHABLE = Hypothesis("reachable-targets", "M is not empty")
TWO_NEURONS = Hypothesis(
    "two-neurons",
    "m ≥ 2 (for m = 1, F is constant on M)",
    lambda m: Decision(m >= 2, f"m = {m}"),
    about="m",
)
REGULAR = Hypothesis("regular-point", "the constraint Jacobian J has full rank")
EQUAL_WEIGHTS = Hypothesis("equal-output-weights", "a_j = 1 for all j")
PAPER = (*SIGNS, INDEPENDENT, REACHABLE, TWO_NEURONS)
NONZERO_WEIGHTS = Hypothesis("nonzero-weights", "a_j ≠ 0 for all j, and q_i > 0")
INTERVAL = Hypothesis(
    "interval", "all z_ij and z*_ij lie in I, where φ' ≥ ρ1 and φ''' ≥ κ φ'"
)

Parts = Iterator[tuple[str, Any]]

#: an undefined activation
phi = sympy.Function("varphi", real=True)


def symmetric(name: str, n: int) -> sympy.Matrix:
    """Return a symmetric matrix of real symbols."""
    return sympy.Matrix(
        n, n, lambda i, k: sympy.Symbol(f"{name}{min(i, k)}{max(i, k)}", real=True)
    )


def reals(name: str, *shape: int) -> sympy.Matrix:
    """Return a column or a matrix of real symbols."""
    n, m = (*shape, 1)[:2]
    return sympy.Matrix(n, m, lambda i, j: sympy.Symbol(f"{name}{i}{j}", real=True))


def positives(name: str, n: int) -> list[sympy.Symbol]:
    """Return positive symbols."""
    return [sympy.Symbol(f"{name}{i}", positive=True) for i in range(n)]


def nonnegatives(name: str, n: int) -> list[sympy.Symbol]:
    """Return nonnegative symbols."""
    return [sympy.Symbol(f"{name}{i}", nonnegative=True) for i in range(n)]


def rotation_of_plane() -> sympy.Matrix:
    """Return every rotation of the plane but the half turn, rational in one symbol."""
    t = sympy.Symbol("tau", real=True)
    return sympy.Matrix([[1 - t**2, -2 * t], [2 * t, 1 - t**2]]) / (1 + t**2)


@dataclass(frozen=True)
class Network:
    """n samples, m neurons, any φ; every vector as coefficients in the basis x_i.

    Attributes
    ----------
    n, m : int
        Samples, neurons.
    plain : bool
        Output weights 1, as in the paper; symbols otherwise.
    """

    n: int
    m: int
    plain: bool = False

    @cached_property
    def z(self) -> sympy.Matrix:
        """Preactivations (n, m)."""
        return reals("z", self.n, self.m)

    @cached_property
    def gram_of_inputs(self) -> sympy.Matrix:
        """K (n, n)."""
        return symmetric("K", self.n)

    @cached_property
    def w(self) -> list[sympy.Expr]:
        """Weights q_i ‖x_i‖²."""
        return positives("w", self.n)

    @cached_property
    def a(self) -> list[sympy.Expr]:
        """Output weights."""
        if self.plain:
            return [sympy.S.One] * self.m
        return [sympy.Symbol(f"a{j}", real=True, nonzero=True) for j in range(self.m)]

    def slope(self, order: int) -> sympy.Matrix:
        """Return φ^(order)(z_ij) as an (n, m) matrix."""
        derivative = phi(Z).diff(Z, order)
        return self.z.applyfunc(lambda z: derivative.xreplace({Z: z}).doit())

    @cached_property
    def trace(self) -> sympy.Expr:
        """F as a function of z."""
        first = self.slope(1)
        return 2 * sum(
            self.w[i] * self.a[j] ** 2 * first[i, j] ** 2
            for i in range(self.n)
            for j in range(self.m)
        )

    @cached_property
    def outputs(self) -> list[sympy.Expr]:
        """Predictions r_i."""
        u = self.slope(0)
        return [sum(self.a[j] * u[i, j] for j in range(self.m)) for i in range(self.n)]

    def gradient(self, function: sympy.Expr) -> sympy.Matrix:
        """Return the coefficients ∂/∂z_ij of a Euclidean gradient in θ."""
        return self.z.applyfunc(function.diff)

    def inner(self, first: sympy.Matrix, second: sympy.Matrix) -> sympy.Expr:
        """Return the inner product of two vectors given by coefficients."""
        return (first.T * self.gram_of_inputs * second).trace()

    @cached_property
    def normals(self) -> list[sympy.Matrix]:
        """∇r_i, the rows of the Jacobian, as coefficients."""
        return [self.gradient(output) for output in self.outputs]

    @cached_property
    def gram(self) -> sympy.Matrix:
        """G = JJᵀ, from the rows of J."""
        return sympy.Matrix(
            self.n, self.n, lambda i, k: self.inner(self.normals[i], self.normals[k])
        )

    @cached_property
    def multipliers(self) -> sympy.Matrix:
        """det(G) α, where α = G⁻¹ J∇F; the factor keeps everything polynomial."""
        slope = self.gradient(self.trace)
        along = sympy.Matrix([self.inner(normal, slope) for normal in self.normals])
        return self.gram.adjugate() * along

    @cached_property
    def scaled_gradient(self) -> sympy.Matrix:
        """det(G) grad_M F = det(G) (∇F − Jᵀα), as coefficients."""
        return self.gram.det() * self.gradient(self.trace) - sum(
            (
                alpha * normal
                for alpha, normal in zip(self.multipliers, self.normals, strict=True)
            ),
            sympy.zeros(self.n, self.m),
        )
