"""Stationary points of the trace on M: there is one, and it is the global minimum."""

from __future__ import annotations

import sympy

from theory.activations import Z
from theory.critical_points import real_critical_points
from theory.gatmiry2024.definitions import (
    INCREASING,
    INDEPENDENT,
    NONZERO_WEIGHTS,
    PAPER,
    Network,
    Parts,
    phi,
    reals,
    symmetric,
)
from theory.statement import Decision, Hypothesis, Scope, statement


@statement(
    "gatmiry2024/riemannian-gradient",
    title="The Riemannian gradient of the trace",
    claim=r"(\operatorname{grad}_M F)_j = 4 \sum_i w_i a_j^2 \varphi'_{ij} "
    r"\Delta_{ij} x_i, \quad \Delta_{ij} = \varphi''(z_{ij}) - \beta_i / a_j, \quad "
    r"\beta_i = \alpha_i / (4 w_i)",
    hypotheses=(INCREASING, INDEPENDENT, NONZERO_WEIGHTS),
    reference="theory notes 1.4",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def riemannian_gradient(factor: int = 4, n: int = 2, m: int = 2) -> Parts:
    """Take ∇F − Jᵀα with Gα = J∇F, and read off the coefficient of x_i in block j.

    Everything is multiplied by det G, so that no symbolic inverse is needed.
    """
    yield from _closed_gradient(Network(n, m), factor)
    yield from _tangency(n)


def _closed_gradient(net: Network, factor: int) -> Parts:
    first, second, det = net.slope(1), net.slope(2), net.gram.det()

    def closed(i: int, j: int) -> sympy.Expr:
        a, w = net.a[j], net.w[i]
        delta = det * second[i, j] - net.multipliers[i] / (4 * w * a)
        return factor * w * a**2 * first[i, j] * delta

    yield (
        "coefficients 4 w a² φ' Δ",
        net.scaled_gradient - sympy.Matrix(net.n, net.m, closed),
    )


def _tangency(n: int) -> Parts:
    """J(∇F − Jᵀα) = J∇F − Gα = 0 for α = G⁻¹J∇F, with symbols for G and J∇F."""
    G, along = symmetric("G", n), reals("s", n)
    yield "J grad_M F = 0", G.det() * along - G * (G.adjugate() * along)


@statement(
    "gatmiry2024/theorem-1",
    title="Stationary points are collapsed and globally flattest",
    claim=r"\operatorname{grad}_M F = 0 \iff \varphi''(z_{ij}) = \beta_i\ \forall j "
    r"\iff z_{ij} = \varphi^{-1}(y_i/m)\ \forall i, j \iff F = \min_M F",
    hypotheses=PAPER,
    reference="Gatmiry et al. 2024, Theorem 1; theory notes 1.5",
    scope=Scope.FIXED_SIZE,
    control={"curvature": 3},
)
def theorem_1(
    curvature: int = 2, n: int = 2, m: int = 3, activation: sympy.Expr | None = None
) -> Parts:
    """Stationary ⟹ φ'Δ = 0 ⟹ φ'' constant over neurons ⟹ collapsed, as φ''' > 0.

    Collapsed ⟹ stationary, by substitution.  Collapsed ⟹ flattest: F − F* is twice the
    weighted sum of the Bregman distances of g = φ'² ∘ φ⁻¹, whose second derivative
    2φ'''/φ' is positive; the linear terms drop out because Σ_j u_ij = y_i.
    """
    net = Network(n, m, plain=True)
    yield from _closed_gradient(net, 4)
    yield "collapsed points are stationary", _at_collapse(net)
    yield from _tangency(n)
    yield from _bregman(n, m)
    f = phi(Z) if activation is None else activation
    first, third = f.diff(Z), f.diff(Z, 3)
    g_second = ((first**2).diff(Z) / first).diff(Z) / first
    yield "g'' = 2φ'''/φ'", g_second - curvature * third / first


def _at_collapse(net: Network) -> sympy.Matrix:
    """Return det(G) grad_M F where all neurons carry the same preactivations."""
    zeta = reals("c", net.n)
    collapse = {net.z[i, j]: zeta[i] for i in range(net.n) for j in range(net.m)}
    return net.scaled_gradient.subs(collapse).doit()


def _bregman(n: int, m: int) -> Parts:
    """F − F* is a sum of Bregman distances in the outputs, on Σ_j u_ij = y_i."""
    g = sympy.Function("g", real=True)
    u, y = reals("u", n, m), reals("y", n)
    for i in range(n):
        u[i, m - 1] = y[i] - sum(u[i, : m - 1])
    gap = distances = sympy.S.Zero
    for i in range(n):
        mean = y[i] / m
        at_mean = sympy.Symbol(f"g1{i}", real=True)  # g'(y_i/m)
        gap += sum(g(u[i, j]) - g(mean) for j in range(m))
        distances += sum(
            g(u[i, j]) - g(mean) - at_mean * (u[i, j] - mean) for j in range(m)
        )
    yield "F − F* is a sum of Bregman distances", gap - distances


@statement(
    "gatmiry2024/theorem-1-all-sizes",
    title="Theorem 1, the local identities for all n and m",
    claim=r"c_{ij} = w_i (a_j^2 \varphi'^2)' - \alpha_i a_j \varphi' "
    r"\text{ vanishes} \iff a_j \varphi''(z_{ij}) = \beta_i",
    hypotheses=(*PAPER, NONZERO_WEIGHTS),
    reference="Gatmiry et al. 2024, Theorem 1; theory notes 1.5",
    scope=Scope.ALL_SIZES,
    control={"divisor": 2},
)
def theorem_1_all_sizes(
    divisor: int = 4, activation: sympy.Expr | None = None
) -> Parts:
    """Write c_ij for the coefficient of ∇(F − Σ_iα_i r_i) on x_i in block j.

    F and r are sums over samples and neurons, so c_ij involves (i, j) and the coupling
    α_i only; independence makes every c_ij vanish, and φ' > 0 divides.  Sums over
    indexed symbols carry any n and m.
    """
    f = phi(Z) if activation is None else activation
    n, m, i, j, k, h = sympy.symbols("n m i j k h", integer=True, positive=True)
    z, w, a, alpha = (sympy.IndexedBase(name) for name in ("z", "w", "a", "alpha"))

    def at(order: int) -> sympy.Expr:
        return f.diff(Z, order).subs(Z, z[k, h])

    both = (k, 1, n), (h, 1, m)
    trace = sympy.Sum(2 * w[k] * a[h] ** 2 * at(1) ** 2, *both)
    outputs = sympy.Sum(alpha[k] * a[h] * at(0), *both)
    coefficient = (trace.diff(z[i, j]) - outputs.diff(z[i, j])).doit()
    # i and j are one of the samples and one of the neurons
    coefficient = coefficient.subs({i <= n: True, j <= m: True})
    local = sympy.symbols("w_i a_j alpha_i", positive=True)
    names = dict(zip((w[i], a[j], alpha[i]), local, strict=True)) | {z[i, j]: Z}
    wi, aj, ai = local
    delta = aj * f.diff(Z, 2) - ai / (divisor * wi)
    yield (
        "c_ij = 4 w a φ' (aφ'' − β)",
        (coefficient.xreplace(names).doit() - 4 * wi * aj * f.diff(Z) * delta),
    )
    beta = sympy.Symbol("beta", real=True)
    factored = 4 * wi * aj * f.diff(Z) * (aj * f.diff(Z, 2) - beta)
    yield "it vanishes where aφ'' = β", factored.subs(beta, aj * f.diff(Z, 2))


def _is_polynomial(activation: sympy.Expr) -> Decision:
    rational = activation.is_polynomial(Z) and activation.free_symbols <= {Z}
    return Decision(rational, f"{activation} is not a polynomial with rational numbers")


@statement(
    "gatmiry2024/theorem-1-enumeration",
    title="Theorem 1 by enumerating all critical points",
    claim=r"\#\{\text{real critical points of } F|_M\} = 1 = "
    r"\#\{\text{collapsed ones}\}",
    hypotheses=(
        *PAPER,
        Hypothesis("polynomial", "φ is a rational polynomial", _is_polynomial),
    ),
    reference="Gatmiry et al. 2024, Theorem 1; theory notes 1.5, without their proof",
    scope=Scope.THIS_ACTIVATION,
    control={"slope_at_zero": 0},
)
def theorem_1_enumeration(
    slope_at_zero: int = 1,
    n: int = 2,
    m: int = 3,
    activation: sympy.Expr | None = None,
) -> Parts:
    """Solve the Lagrange equations of every sample by a Gröbner basis.

    The number of real solutions is the signature of a trace form, so nothing is
    rounded and the proof is not used.  The control takes the slope φ'(0) away: neurons
    at 0 are then stuck, and more critical points appear.
    """
    f = Z**3 / 6 + Z if activation is None else activation
    f -= (1 - slope_at_zero) * f.diff(Z).subs(Z, 0) * Z
    targets = [
        sympy.Rational(5, 2),
        sympy.Rational(-1, 3),
        sympy.S.One,
        -sympy.Rational(2),
    ]
    for i in range(n):
        total, collapsed = real_critical_points(f, targets[i], m)
        yield f"sample {i}: {total} critical point", total == 1
        yield f"sample {i}: {collapsed} collapsed", collapsed == 1


@statement(
    "gatmiry2024/limit-point",
    title="The limit in parameter space",
    claim=r"\theta_j(\infty) = (I - X^+X)\,\theta_j(0) + X^+ z^*_j",
    hypotheses=(INDEPENDENT,),
    reference="theory notes 1.9",
    scope=Scope.FIXED_SIZE,
    control={"keep": 0},
)
def limit_point(keep: int = 1) -> Parts:
    """Every velocity, and every step of (S)GD, is a combination of inputs.

    So the part (I − X⁺X)θ_j is frozen, and Xθ_j = z*_j fixes the rest: the limit is one
    point, not a set of minimisers.
    """
    X = reals("x", 2, 3)
    det = (X * X.T).det()
    pseudo = X.T * (X * X.T).adjugate()  # det(K) X⁺
    away = det * sympy.eye(3) - pseudo * X
    yield "velocities have no part off the span", away * (X.T * reals("c", 2))
    start, target = reals("t", 3), reals("z", 2)
    limit = keep * away * start + pseudo * target  # det(K) θ(∞)
    yield "its preactivations are z*", X * limit - det * target
    yield "its frozen part is that of the start", away * (limit - det * start)
