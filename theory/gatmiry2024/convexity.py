"""Convexity: hidden and global in the outputs, geodesic and local on M."""

from __future__ import annotations

from itertools import product

import sympy

from theory.activations import Z
from theory.gatmiry2024.definitions import (
    INCREASING,
    INDEPENDENT,
    INTERVAL,
    NONZERO_WEIGHTS,
    REGULAR,
    SIGNS,
    SMOOTH,
    Network,
    Parts,
    nonnegatives,
    phi,
    reals,
    rotation_of_plane,
)
from theory.statement import Scope, statement


@statement(
    "gatmiry2024/hidden-convexity",
    title="The trace is convex in the outputs of the neurons",
    claim=r"g(u) = a^2 \varphi'(\varphi^{-1}(u/a))^2 \implies "
    r"g' = 2a\varphi'', \quad g'' = 2\varphi'''/\varphi' > 0",
    hypotheses=(*SIGNS, NONZERO_WEIGHTS),
    reference="Gatmiry et al. 2024, proof of Theorem 1; theory notes 1.5",
    scope=Scope.ALL_SIZES,
    control={"factor": 3},
)
def hidden_convexity(factor: int = 2, activation: sympy.Expr | None = None) -> Parts:
    """With u = aφ(z), d/du = (1/aφ') d/dz: differentiate a²φ'(z)² twice.

    The sign of a does not matter: g'' contains none.
    """
    a = sympy.Dummy("a", real=True, nonzero=True)
    f = phi(Z) if activation is None else activation
    first, second, third = (f.diff(Z, order) for order in (1, 2, 3))

    def d_du(expression: sympy.Expr) -> sympy.Expr:
        return expression.diff(Z) / (a * first)

    g = a**2 * first**2
    yield "g' = 2aφ''", d_du(g) - 2 * a * second
    yield "g'' = 2φ'''/φ'", d_du(d_du(g)) - factor * third / first


@statement(
    "gatmiry2024/lemma-5",
    title="The Hessian on a manifold given by equations",
    claim=r"\operatorname{Hess}_M F(u, u) = D^2F(u, u) - \sum_i \alpha_i D^2f_i(u, u),"
    r"\quad \alpha = (JJ^\top)^{-1} J \nabla F",
    hypotheses=(REGULAR,),
    reference="Gatmiry et al. 2024, Lemma 5; theory notes 0.1, 1.6",
    scope=Scope.FIXED_SIZE,
    control={"sign": -1},
)
def lemma_5(sign: int = 1) -> Parts:
    """Differentiate F twice along a geodesic γ of M, whose acceleration is normal.

    f(γ) constant gives Jγ̈ = −D²f(γ̇, γ̇), so γ̈ = −Jᵀ(JJᵀ)⁻¹D²f(γ̇, γ̇).  Two
    constraints in three dimensions; all derivatives at the point are symbols, and q, h
    stand for D²f(γ̇, γ̇) and D²F(γ̇, γ̇).
    """
    t = sympy.Symbol("t", real=True)
    velocity, slope, J = reals("u", 3), reals("g", 3), reals("J", 2, 3)
    q, h = reals("q", 2), sympy.Symbol("h", real=True)
    gram = J * J.T
    det, adjugate = gram.det(), gram.adjugate()
    scaled_acceleration = -J.T * adjugate * q  # det(JJᵀ) γ̈

    def along(linear: sympy.Matrix, quadratic: sympy.Expr) -> sympy.Expr:
        """Return det(JJᵀ) times d²/dt² of a function along γ at t = 0."""
        path = det * (linear * velocity * t)[0] + det * quadratic * t**2 / 2
        path += (linear * scaled_acceleration)[0] * t**2 / 2
        return path.diff(t, 2)

    for i in range(2):
        yield f"f_{i} is constant to second order", along(J[i, :], q[i])
    scaled_alpha = adjugate * J * slope
    claim = det * h - sign * scaled_alpha.dot(q)
    yield "F along the geodesic", along(slope.T, h) - claim


@statement(
    "gatmiry2024/lemma-6",
    title="The Hessian of the trace on M, explicitly",
    claim=r"\operatorname{Hess}_M F(u, u) = 4 \sum_{ij} w_i a_j^2 "
    r"[\varphi' \varphi''' + \varphi'' \Delta]_{ij} (x_i^\top u_j)^2",
    hypotheses=(INCREASING, SMOOTH, INDEPENDENT, NONZERO_WEIGHTS),
    reference="Gatmiry et al. 2024, Lemma 6; theory notes 1.6",
    scope=Scope.ALL_SIZES,
    control={"factor": 2},
)
def lemma_6(factor: int = 4, activation: sympy.Expr | None = None) -> Parts:
    """Put D²F and D²r into Lemma 5; both are sums over samples and neurons.

    Along θ_j + t u_j the preactivation is z + t s with s = x_iᵀu_j, so one sample and
    one neuron, with the coupling α_i = 4w_iβ_i, are the general case.
    """
    f = phi(Z) if activation is None else activation
    w, a, beta, s = (sympy.Dummy(name, real=True, nonzero=True) for name in "wabs")
    first, second, third = (f.diff(Z, order) for order in (1, 2, 3))

    def along(function: sympy.Expr) -> sympy.Expr:
        return s**2 * function.diff(Z, 2)

    alpha, delta = 4 * w * beta, second - beta / a
    hessian = along(2 * w * a**2 * first**2) - alpha * along(a * f)
    claim = factor * w * a**2 * (first * third + second * delta) * s**2
    yield "one sample, one neuron", hessian - claim
    yield "two samples, two neurons", _hessian_of_network(Network(2, 2), factor)


def _hessian_of_network(net: Network, factor: int) -> sympy.Expr:
    """Return det(G) times Lemma 5 minus Lemma 6."""
    s = reals("s", net.n, net.m)  # x_iᵀu_j
    first, second, third = (net.slope(order) for order in (1, 2, 3))
    det = net.gram.det()

    def along(function: sympy.Expr) -> sympy.Expr:
        """Return the second derivative along s, all mixed terms included."""
        pairs = list(zip(net.z, s, strict=True))
        return sum(
            function.diff(z, other) * sz * s_other
            for z, sz in pairs
            for other, s_other in pairs
        )

    lemma_5_form = det * along(net.trace) - sum(
        alpha * along(output)
        for alpha, output in zip(net.multipliers, net.outputs, strict=True)
    )
    claim = sympy.S.Zero
    for i, j in product(range(net.n), range(net.m)):
        a, w = net.a[j], net.w[i]
        delta = det * second[i, j] - net.multipliers[i] / (4 * w * a)
        inside = det * first[i, j] * third[i, j] + second[i, j] * delta
        claim += factor * w * a**2 * inside * s[i, j] ** 2
    return lemma_5_form - claim


@statement(
    "gatmiry2024/lemma-4",
    title="Where the gradient vanishes the Hessian is positive",
    claim=r"\operatorname{grad}_M F = 0 \implies \operatorname{Hess}_M F(u, u) \ge "
    r"4 \mu\, w_{\min} a_{\min}^2 \rho_1 \rho_2 |u|^2 "
    r"\text{ for } u_j \in \operatorname{span}\{x_i\}",
    hypotheses=(*SIGNS, INDEPENDENT, NONZERO_WEIGHTS, INTERVAL),
    reference="Gatmiry et al. 2024, Lemma 4; theory notes 1.6",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"constant": 5},
)
def lemma_4(constant: int = 4) -> Parts:
    """Δ = 0 leaves 4Σ w a²φ'φ'''(x_iᵀu_j)², a sum of nonnegative terms.

    For u = Xᵀc let s = Kc be the x_iᵀu and K = RDRᵀ any Gram matrix of two inputs.
    With w a²φ'φ''' = least + p_i and D_i = μ + e_i the Hessian is its bound plus
    4Σ p_i s_i² + 4·least·Σ (μ + e_i)e_i (Rᵀc)_i².  The bound is attained where p and e
    vanish, so the constant cannot be larger.
    """
    mu, least = sympy.symbols("mu least", positive=True)
    p, e = nonnegatives("p", 2), nonnegatives("e", 2)
    R, c = rotation_of_plane(), reals("c", 2)
    K = R * sympy.diag(mu + e[0], mu + e[1]) * R.T
    s, r = K * c, R.T * c
    hessian = sum(4 * (least + p[i]) * s[i] ** 2 for i in range(2))
    norm = (c.T * K * c)[0]
    slack = 4 * sum(
        p[i] * s[i] ** 2 + least * (mu + e[i]) * e[i] * r[i] ** 2 for i in range(2)
    )
    yield "the bound and nonnegative terms", hessian - 4 * mu * least * norm - slack
    at = dict.fromkeys([*p, *e], 0) | {c[0]: 1, c[1]: 0}
    attained = sympy.simplify((hessian - constant * mu * least * norm).subs(at))
    yield "the bound where it is attained", attained >= 0


@statement(
    "gatmiry2024/local-geodesic-convexity",
    title="F is geodesically convex where its gradient is small",
    claim=r"|\operatorname{grad}_M F| \le \delta^* = 2\sqrt\mu \min_{ij} "
    r"w_i a_j^2 \varphi'^2 \varphi''' / |\varphi''| \implies "
    r"\operatorname{Hess}_M F(u, u) \ge 2 \sum_{ij} w_i a_j^2 \varphi' \varphi''' "
    r"(x_i^\top u_j)^2",
    hypotheses=(*SIGNS, INDEPENDENT, NONZERO_WEIGHTS, INTERVAL),
    reference="theory notes 1.7",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"radius": 3},
)
def local_geodesic_convexity(radius: int = 2) -> Parts:
    """|grad|² = Σ_j c_jᵀKc_j ≥ μ|c|² with c_ij = 4wa²φ'Δ: Δ ≤ |grad|/(4√μ wa²φ').

    At the radius δ* this makes |φ''Δ| = ½φ'φ''', so the coefficient φ'φ''' + φ''Δ of
    Lemma 6 lies between ½φ'φ''' and 3/2 φ'φ''': both bounds of the theorem, 4·½ = 2
    and 4·3/2 = 6.  A larger radius (the control) allows less than the lower one.
    """
    mu, w, a, p1, p2, p3 = sympy.symbols("mu w a p1 p2 p3", positive=True)
    delta_star = radius * sympy.sqrt(mu) * w * a**2 * p1**2 * p3 / p2
    largest = delta_star / sympy.sqrt(mu) / (4 * w * a**2 * p1)  # |Δ| at the radius
    lower, upper = (4 * (p1 * p3 + sign * p2 * largest) for sign in (-1, 1))
    yield "the lower factor is 2", sympy.expand(lower - 2 * p1 * p3) >= 0
    yield "the upper factor is 6", sympy.expand(6 * p1 * p3 - upper) >= 0
    e, R, c = nonnegatives("e", 2), rotation_of_plane(), reals("c", 2)
    K = R * sympy.diag(mu + e[0], mu + e[1]) * R.T
    rest = sum(e[i] * (R.T * c)[i] ** 2 for i in range(2))
    yield (
        "cᵀKc − μ|c|² is a sum of squares",
        ((c.T * K * c)[0] - mu * (c.T * c)[0] - rest),
    )


@statement(
    "gatmiry2024/global-geodesic-convexity-fails",
    title="F is not geodesically convex on all of M",
    claim=r"n = 1,\ x = 1,\ m = 2,\ \varphi = z^3/6 + z,\ (z_1, z_2) = (10, 1): "
    r"\quad \operatorname{Hess}_M F(u, u) < -29",
    hypotheses=(*SIGNS, INDEPENDENT),
    reference="theory notes 1.7",
    scope=Scope.INSTANCE,
    control={"first": 1},
)
def global_geodesic_convexity_fails(first: int = 10) -> Parts:
    """Evaluate Lemma 6 at one exact point, on the only unit tangent vector.

    Hidden convexity is global, geodesic convexity local: the gradient there is far
    above δ*.  The control takes equal neurons, where the Hessian is positive.
    """
    f = Z**3 / 6 + Z
    z = [sympy.Integer(first), sympy.S.One]
    jets = [[f.diff(Z, k).subs(Z, zj) for k in (1, 2, 3)] for zj in z]
    gram = sum(p1**2 for p1, _, _ in jets)
    beta = sum(p1**2 * p2 for p1, p2, _ in jets) / gram
    tangent = [jets[1][0], -jets[0][0]]  # Σ φ'_j u_j = 0, of norm² gram
    hessian = 4 * sum(
        (p1 * p3 + p2 * (p2 - beta)) * u**2 / gram
        for (p1, p2, p3), u in zip(jets, tangent, strict=True)
    )
    gradient = 16 * sum(p1**2 * (p2 - beta) ** 2 for p1, p2, _ in jets)
    radius = 2 * min(p1**2 * p3 / p2 for p1, p2, p3 in jets)
    near = sympy.Rational(1, 100)
    yield "the Hessian is −29.77", bool(abs(hessian + 29.77) < near)
    yield "the gradient is 53.98", bool(abs(sympy.sqrt(gradient) - 53.98) < near)
    yield "δ* = 9/2 is far below it", radius - sympy.Rational(9, 2)
