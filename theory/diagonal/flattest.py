"""The flattest interpolators of the diagonal network solve a weighted ℓ1 problem."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import sympy

from theory.closed_forms import diagonal_flow, weighted_l1
from theory.diagonal.definitions import Network
from theory.matrices import hessian_trace
from theory.statement import Scope, statement


@statement(
    "diagonal/trace",
    title="Trace of the Hessian of the diagonal network",
    claim=r"\operatorname{Tr}\nabla^2 L = 4 \sum_k c_k (u_k^2 + v_k^2)",
    reference="theory notes 3.1",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def trace(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """Residuals cancel between u_k and v_k, so it holds off Γ as well."""
    net = Network()
    claimed = sum(net.moment(k) * (net.u[k] ** 2 + net.v[k] ** 2) for k in range(2))
    yield "trace", net.trace() - factor * claimed


@statement(
    "diagonal/flattest-is-l1",
    title="The flattest interpolator has the least weighted ℓ1 norm",
    claim=r"\tfrac14 \operatorname{Tr}\nabla^2 L \ge \sum_k c_k |w_k|, \text{ with "
    r"equality iff } c_k u_k v_k = 0 \text{ for all } k",
    reference="slides, ℓ1 bound; theory notes 3.3",
    scope=Scope.FIXED_SIZE,
    control={"weighted": False},
)
def flattest_is_l1(weighted: bool = True) -> Iterator[tuple[str, Any]]:
    """For every choice of signs σ, ¼Tr − Σ c_k σ_k w_k = 2Σ c_k (v_k² or u_k²) ≥ 0.

    At σ = sgn w it is 2 Σ c_k min(u_k², v_k²), which is 0 iff all c_k u_k v_k are.
    """
    net = Network()
    c = [net.moment(k) if weighted else sympy.S.One for k in range(2)]
    for signs in product((1, -1), repeat=2):
        norm = sum(c[k] * signs[k] * net.w[k] for k in range(2))
        rest = [net.v[k] if signs[k] > 0 else net.u[k] for k in range(2)]
        squares = sum(2 * net.moment(k) * rest[k] ** 2 for k in range(2))
        yield f"gap at signs {signs}", net.trace() / 4 - norm - squares
        w = sympy.symbols("w_:2", positive=True)
        flattest: dict[sympy.Symbol, sympy.Expr] = {}
        for k in range(2):
            live, dead = (net.u, net.v) if signs[k] > 0 else (net.v, net.u)
            flattest |= {live[k]: sympy.sqrt(w[k]), dead[k]: sympy.S.Zero}
        reached = net.w.subs(flattest)
        wanted = sympy.Matrix([signs[k] * w[k] for k in range(2)])
        yield f"any w of signs {signs} is reached", reached - wanted
        attained = net.trace().subs(flattest) / 4 - sum(c[k] * w[k] for k in range(2))
        yield f"attained at signs {signs}", attained


@statement(
    "diagonal/not-unweighted-l1",
    title="The flow does not find the solution of least unweighted ℓ1 norm",
    claim=r"z = (1, 2),\; y = 2,\; (u, v)(0) = \Phi(1, 1):\; w(t) \to (2, 0) = "
    r"\arg\min \textstyle\sum c_k|w_k| \ne (0, 1) = \arg\min \|w\|_1",
    reference="theory notes 3.6",
    scope=Scope.INSTANCE,
    control={"second": 1},
)
def not_unweighted_l1(second: int = 2) -> Iterator[tuple[str, Any]]:
    """Follow the closed form from the point that gradient flow reaches from u = v = 1.

    With e = e^(−32t) and A = 4t + ¼ ln X, Zw increases in X > 0, so one X(t) keeps
    the flow on Γ.  Zw exceeds 2 at X = 2 and falls short of it at X = 2 − 8e, e < ¼:
    X → 2, w → (2, 0), and w_1 dies as 4e^(−32t).  The off-support rate is
    16 c_k(1 − |ρ_k|) with the certificate ρ_1 = z_1 z_0/c_1.
    """
    z, y = sympy.Matrix([[1, second]]), sympy.Matrix([2])
    u, v = sympy.symbols("u_:2", real=True), sympy.symbols("v_:2", real=True)
    prediction = sum(z[k] * (u[k] ** 2 - v[k] ** 2) for k in range(2))
    sharpness = hessian_trace((prediction - y[0]) ** 2 / 2, (*u, *v))
    c = [sharpness.diff(x, 2) / 8 for x in u]  # the trace is 4 Σ c (u² + v²)
    value, weighted = weighted_l1(z, y, c)
    _, plain = weighted_l1(z, y, [1, 1])
    yield "one flattest vertex", weighted == [sympy.Matrix([2, 0])]
    yield "value", value - 2
    yield "the unweighted one differs", plain == [sympy.Matrix([0, 1])]
    t, e, X = sympy.symbols("t e X", positive=True)
    rate = 16 * c[1] * (1 - sympy.Rational(z[1] * z[0], c[1]))
    lift = 4 * t + sympy.log(X) / 4
    pairs = [diagonal_flow(1, 1, c[k], t, z[k] * lift) for k in range(2)]
    w = [X - e / X, e * X**2 - e**3 / X**2]
    for k, (p, q) in enumerate(pairs):
        yield f"w_{k} on the flow", p**2 - q**2 - w[k].subs(e, sympy.exp(-rate * t))
    reached = w[0] + z[1] * w[1]
    yield "Zw increases in X", reached.diff(X) > 0
    above, short = sympy.factor(reached.subs(X, 2) - 2), e * (15 - e**2) / 2
    yield "Zw > 2 at X = 2, e < 1", above - short
    low = 2 - 8 * e  # the rest is negative if 0 < low < 2
    rest = -(2 - low) * (1 - low**2 / 4) - e / low - 2 * e**3 / low**2
    yield "Zw < 2 at X = 2 − 8e, e < ¼", reached.subs(X, low) - 2 - rest
    limits = [sympy.expand(f).subs({X: 2, e: 0}) for f in (*w, w[1] / e)]
    yield "the flow ends there", sympy.Matrix(limits[:2]) - weighted[0]
    yield "w_1 ~ 4e^(−32t)", limits[2] - 4
