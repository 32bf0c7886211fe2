"""The two-layer network in exact arithmetic: every derivative is taken by SymPy.

The loss is written down once and differentiated; no formula of the package, and none
that was derived by hand, is used.  All data are dyadic rationals, so that the package
computes with the same numbers to the last bit, and the targets are the outputs at the
point, so that it lies on the zero-loss manifold.
"""

from functools import cached_property

import mpmath
import numpy as np
import sympy

import manifold_flow as mf
from theory import expressions
from theory.activations import Z
from theory.gatmiry2024.definitions import Network, phi

DIGITS = 40
N, D, M = 2, 3, 2
INPUTS = sympy.Matrix([[1, -1, 2], [3, 1, -2]]) / 4
POINT = sympy.Matrix([3, -2, 5, -4, 1, 6]) / 8
AWAY = POINT + sympy.Matrix([1, 2, -1, 3, -2, 1]) / 16
DIRECTIONS = sympy.Matrix(N, M * D, lambda i, k: sympy.Rational(2 * k - 3 * i - 4, 4))
VECTOR = sympy.Matrix(M * D, 1, lambda k, _: sympy.Rational(5 - 2 * k, 2))
SCALES = {
    "half_mean": sympy.Rational(1, 2 * N),
    "mean": sympy.Rational(1, N),
    "sum": sympy.S.One,
}


def precise(exact):
    """Evaluate to forty digits, so that nothing cancels in what is compared."""
    return sympy.Matrix(exact).evalf(DIGITS)


def floats(exact):
    """Return an exact matrix, rounded once, as an array."""
    return np.array(precise(exact).tolist(), dtype=float)


def column(exact):
    return floats(exact).ravel()


class ExactTwoLayer:
    """r_i(θ) = Σ_j a_j φ(x_iᵀθ_j) − y_i and L = s Σ_i q_i r_i², as expressions in θ."""

    def __init__(self, activation, loss, output_weights=(1, 1), sample_weights=(1, 1)):
        self.text, self.loss_name = activation, loss
        self.a = [sympy.Rational(str(a)) for a in output_weights]
        self.q = [sympy.Rational(str(q)) for q in sample_weights]
        self.s = SCALES[loss]
        self.phi = expressions.parse(activation)
        self.theta = sympy.Matrix(sympy.symbols(f"theta_:{M * D}", real=True))
        self.z = INPUTS * self.theta.reshape(M, D).T
        outputs = [
            sum(a * self.phi.subs(Z, z) for a, z in zip(self.a, row, strict=True))
            for row in self.z.tolist()
        ]
        start = dict(zip(self.theta, POINT, strict=True))
        self.targets = [output.xreplace(start) for output in outputs]
        self.residuals = sympy.Matrix(
            [r - y for r, y in zip(outputs, self.targets, strict=True)]
        )
        self.loss = self.s * sum(
            q * r**2 for q, r in zip(self.q, self.residuals, strict=True)
        )

    def at(self, expression, point=POINT):
        """Evaluate a matrix of expressions at a point, to forty digits."""
        with mpmath.workdps(DIGITS):
            function = sympy.lambdify(
                list(self.theta), sympy.Matrix(expression), "mpmath", cse=True
            )
            return sympy.Matrix(function(*point).tolist())

    def model(self):
        """Return the same network in the package."""
        return mf.TwoLayerNetwork(
            floats(INPUTS),
            column(self.targets),
            M,
            self.text,
            [float(a) for a in self.a],
            [float(q) for q in self.q],
            self.loss_name,
        )

    # --- derivatives, as expressions in θ --------------------------------------------

    @cached_property
    def jacobian(self):
        return self.residuals.jacobian(self.theta)

    @cached_property
    def curvatures(self):
        """Second derivatives of the loss by residual."""
        r = sympy.Symbol("r")
        return [(self.s * q * r**2).diff(r, 2) for q in self.q]

    @cached_property
    def hessian_trace(self):
        """Tr ∇²L of the loss itself, residual term and all."""
        return sum(self.loss.diff(t, 2) for t in self.theta)

    def gradient(self, function):
        return sympy.Matrix([function.diff(t) for t in self.theta])

    def hessian(self, function):
        slope = self.gradient(function)
        upper = {
            (i, k): slope[i].diff(self.theta[k])
            for i in range(M * D)
            for k in range(i, M * D)
        }
        return sympy.Matrix(M * D, M * D, lambda i, k: upper[min(i, k), max(i, k)])

    @cached_property
    def residual_hessians(self):
        return [self.hessian(residual) for residual in self.residuals]

    # --- geometry at the point, to forty digits --------------------------------------

    @cached_property
    def normal_solver(self):
        """Return J and G⁻¹J at the point."""
        rows = self.at(self.jacobian)
        return rows, (rows * rows.T).LUsolve(rows)

    @cached_property
    def tangent_projection(self):
        rows, solved = self.normal_solver
        return sympy.eye(M * D) - rows.T * solved

    @cached_property
    def riemannian_gradient(self):
        return self.tangent_projection * self.at(self.gradient(self.hessian_trace))

    @cached_property
    def riemannian_hessian(self):
        """P (D²F − Σ_i α_i D²r_i) P of F = Tr ∇²L, the loss differentiated."""
        slope = self.at(self.gradient(self.hessian_trace))
        alpha = self.normal_solver[1] * slope
        total = self.at(self.hessian(self.hessian_trace))
        for weight, bend in zip(alpha, self.residual_hessians, strict=True):
            total -= weight * self.at(bend)
        return self.tangent_projection * total * self.tangent_projection

    # --- the closed forms of theory/gatmiry2024, this activation put in --------------

    @cached_property
    def abstract(self):
        """The network of the statements, and what its symbols stand for here."""
        network = Network(N, M)
        gram = INPUTS * INPUTS.T
        weights = [self.s * q * gram[i, i] for i, q in enumerate(self.q)]
        start = dict(zip(self.theta, POINT, strict=True))
        values = dict(zip(network.z, self.z.xreplace(start), strict=True))
        values |= dict(zip(network.gram_of_inputs, gram, strict=True))
        values |= dict(zip(network.w, weights, strict=True))
        values |= dict(zip(network.a, self.a, strict=True))
        return network, weights, values

    def put_in(self, expression):
        """Replace φ and every symbol of an expression of the statements."""
        values = self.abstract[2]
        with_phi = expression.subs(phi, sympy.Lambda(Z, self.phi)).doit()
        return precise(with_phi.xreplace(values))

    @cached_property
    def closed_gradient(self):
        """grad_M F by its coefficients 4 w a² φ'Δ on the x_i (riemannian-gradient)."""
        network = self.abstract[0]
        det = self.put_in(sympy.Matrix([network.gram.det()]))[0]
        return (self.put_in(network.scaled_gradient) / det).T * INPUTS

    @cached_property
    def closed_hessian_coefficients(self):
        """4 w a² (φ'φ''' + φ''Δ) of lemma-6, Δ = φ'' − α/(4wa)."""
        network, weights, _ = self.abstract
        det = self.put_in(sympy.Matrix([network.gram.det()]))[0]
        alpha = self.put_in(network.multipliers) / det
        first, second, third = (self.put_in(network.slope(k)) for k in (1, 2, 3))

        def entry(i, j):
            delta = second[i, j] - alpha[i] / (4 * weights[i] * self.a[j])
            inner = first[i, j] * third[i, j] + second[i, j] * delta
            return 4 * weights[i] * self.a[j] ** 2 * inner

        return sympy.Matrix(N, M, entry)

    # --- all of it, by name ---

    def numbers(self):
        """Return every number that the package computes too, rounded once."""
        return self._derivatives() | self._sharpnesses() | self._geometry()

    def _derivatives(self):
        theta = list(self.theta)
        contracted = sum(
            (
                bend * DIRECTIONS[i, :].T
                for i, bend in enumerate(self.residual_hessians)
            ),
            sympy.zeros(M * D, 1),
        )
        off_manifold = {
            "residual off M": self.residuals,
            "contracted Hessian": contracted,
            "contracted third": contracted.jacobian(theta) * VECTOR,
            "loss gradient off M": self.gradient(self.loss),
            "loss Hessian off M": self.hessian(self.loss) * VECTOR,
        }
        found = {name: column(self.at(e, AWAY)) for name, e in off_manifold.items()}
        rows = self.at(self.jacobian)
        return found | {
            "loss off M": float(self.at([self.loss], AWAY)[0]),
            "Jacobian": floats(rows),
            "Gram matrix": floats(rows * rows.T),
        }

    def _sharpnesses(self):
        """Values and gradients of functions of JᵀCJ (p, p), which is ∇²L on M.

        Two of its eigenvalues are not zero.  Their sum is the trace t, their product e
        the sum of the principal minors, ½(t² − Tr (JᵀCJ)²).
        """
        t, e = sympy.symbols("t e", positive=True)
        functions = {
            "HessianTrace": t,
            "HessianLogPseudoDeterminant": sympy.log(e),
            "HessianTopEigenvalue": (t + sympy.sqrt(t**2 - 4 * e)) / 2,
        }
        rows, curvature = self.at(self.jacobian), sympy.diag(*self.curvatures)
        full = rows.T * curvature * rows
        trace = full.trace()
        values = {t: trace, e: (trace**2 - (full * full).trace()) / 2}
        slopes = []
        for parameter in self.theta:
            half = rows.T * curvature * self.at(self.jacobian.diff(parameter))
            change = half + half.T
            along = trace * change.trace() - (full * change).trace()
            slopes.append({t: change.trace(), e: along})
        found = {}
        for name, function in functions.items():
            found[name] = float(function.xreplace(values))
            found[f"gradient of {name}"] = column(
                [
                    sum(function.diff(s).xreplace(values) * slope[s] for s in (t, e))
                    for slope in slopes
                ]
            )
        return found | {"HessianTrace": float(self.at([self.hessian_trace])[0])}

    def _geometry(self):
        return {
            "Riemannian gradient": column(self.riemannian_gradient),
            "Riemannian gradient, closed": column(self.closed_gradient),
            "Riemannian Hessian": floats(self.riemannian_hessian),
            "Hessian coefficients": floats(self.closed_hessian_coefficients),
            "lemma 6": np.diag(floats(self.riemannian_hessian)),
        }
