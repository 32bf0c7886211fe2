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
    TWO_NEURONS,
    Network,
    Parts,
    phi,
    reals,
)
from theory.statement import Decision, Hypothesis, Scope, statement

CUBIC = Z**3 / 6 + Z


@statement(
    "gatmiry2024/riemannian-gradient",
    title="The Riemannian gradient of the trace",
    claim=r"(\operatorname{grad}_M F)_j = 4 \sum_i w_i a_j^2 \varphi'_{ij} "
    r"\Delta_{ij} x_i, \quad \Delta_{ij} = \varphi''(z_{ij}) - \beta_i / a_j, \quad "
    r"\beta_i = \alpha_i / (4 w_i)",
    hypotheses=(INCREASING, INDEPENDENT, NONZERO_WEIGHTS, TWO_NEURONS),
    reference="theory notes 1.4",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"factor": 2},
)
def riemannian_gradient(factor: int = 4, n: int = 2, m: int = 2) -> Parts:
    """Take ∇F − Jᵀα with Gα = J∇F, and read off the coefficient of x_i in block j.

    Everything is multiplied by det G, so that no symbolic inverse is needed.
    """
    net = Network(n, m)
    yield from _closed_gradient(net, factor)
    yield "J grad_M F = 0", _along_normals(net)


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


def _along_normals(net: Network) -> sympy.Matrix:
    """Return det(G) J grad_M F, with the J and the G of the network."""
    return sympy.Matrix([net.inner(v, net.scaled_gradient) for v in net.normals])


@statement(
    "gatmiry2024/theorem-1",
    title="Stationary points are collapsed and globally flattest",
    claim=r"\operatorname{grad}_M F = 0 \iff \varphi''(z_{ij}) = \beta_i\ \forall j "
    r"\iff z_{ij} = \varphi^{-1}(y_i/m)\ \forall i, j \iff F = \min_M F",
    hypotheses=PAPER,
    reference="Gatmiry et al. 2024, Theorem 1; theory notes 1.5",
    scope=Scope.FIXED_SIZE,
    control={"example": Z**4 / 12 + Z},
)
def theorem_1(
    example: sympy.Expr = CUBIC,
    n: int = 2,
    m: int = 3,
    activation: sympy.Expr | None = None,
) -> Parts:
    """Stationary ⟹ φ'Δ = 0 ⟹ φ'' constant over neurons ⟹ collapsed, as φ''' > 0.

    Collapsed ⟹ stationary, by substitution.  Collapsed ⟹ flattest: F − F* is twice the
    weighted sum of the Bregman distances of g = φ'² ∘ φ⁻¹, whose second derivative
    2φ'''/φ' is positive; the linear terms drop out on M.  The control is an activation
    with φ''' < 0 somewhere: two different neurons then share φ''.
    """
    net = Network(n, m, plain=True)
    yield from _closed_gradient(net, 4)
    yield "J grad_M F = 0", _along_normals(net)
    yield from _second_derivative_is_injective(example)
    yield "collapsed points are stationary", _at_collapse(net)
    yield "F − F* is a sum of Bregman distances", _bregman(net)
    f = phi(Z) if activation is None else activation
    first, third = f.diff(Z), f.diff(Z, 3)
    g_first = (first**2).diff(Z) / first
    yield "g' = 2φ''", g_first - 2 * f.diff(Z, 2)
    yield "g'' = 2φ'''/φ'", g_first.diff(Z) / first - 2 * third / first


def _second_derivative_is_injective(example: sympy.Expr) -> Parts:
    """φ''(z + d) − φ''(z) is d times a mean of φ''', which is positive."""
    s, z, d = sympy.symbols("s z d", real=True)
    between = phi(Z).diff(Z, 2).subs(Z, z + s * d)
    mean = d * phi(Z).diff(Z, 3).subs(Z, z + s * d)
    yield "φ'' along a segment moves by φ'''", (between.diff(s) - mean).doit()
    second = example.diff(Z, 2)
    slope = (second.subs(Z, 1) - second.subs(Z, -1)) / 2
    yield "φ'' tells 1 from −1", slope > 0


def _at_collapse(net: Network) -> sympy.Matrix:
    """Return det(G) grad_M F where all neurons carry the same preactivations."""
    zeta = reals("c", net.n)
    collapse = {net.z[i, j]: zeta[i] for i in range(net.n) for j in range(net.m)}
    return net.scaled_gradient.subs(collapse).doit()


def _bregman(net: Network) -> sympy.Expr:
    """Return F − F* minus 2Σ_i w_iΣ_j [φ'² − φ'² − 2φ''(φ − φ)] between z_ij and ζ_i.

    On M the collapsed preactivation ζ_i has mφ(ζ_i) = Σ_jφ(z_ij).
    """
    zeta = reals("c", net.n)
    first, value = net.slope(1), net.slope(0)
    total = net.trace
    for i in range(net.n):
        at = [phi(Z).diff(Z, order).subs(Z, zeta[i]).doit() for order in range(3)]
        total -= 2 * net.w[i] * net.m * at[1] ** 2
        for j in range(net.m):
            linear = 2 * at[2] * (value[i, j] - at[0])
            total -= 2 * net.w[i] * (first[i, j] ** 2 - at[1] ** 2 - linear)
        total = total.xreplace({at[0]: net.outputs[i] / net.m})
    return total


@statement(
    "gatmiry2024/theorem-1-all-sizes",
    title="Theorem 1, the local identities for all n and m",
    claim=r"c_{ij} := \partial_{z_{ij}} \Big(F - \sum_k \alpha_k r_k\Big)"
    r" = 4 w_i a_j \varphi'(z_{ij})\, (a_j \varphi''(z_{ij}) - \beta_i), \quad "
    r"\beta_i = \alpha_i / (4 w_i)",
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
    α_i only.  At a stationary point independence makes every c_ij vanish, and φ' > 0
    divides: aφ'' = β.  Sums over indexed symbols carry any n and m.
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
    local = [sympy.Dummy(name, real=True) for name in ("w_i", "a_j", "alpha_i")]
    names = dict(zip((w[i], a[j], alpha[i]), local, strict=True)) | {z[i, j]: Z}
    wi, aj, ai = local
    delta = aj * f.diff(Z, 2) - ai / (divisor * wi)
    yield (
        "c_ij = 4 w a φ' (aφ'' − β)",
        (coefficient.xreplace(names).doit() - 4 * wi * aj * f.diff(Z) * delta),
    )


def _is_polynomial(activation: sympy.Expr) -> Decision:
    rational = bool(activation.is_polynomial(Z)) and activation.free_symbols <= {Z}
    return Decision(rational, f"{activation} is not a polynomial with rational numbers")


@statement(
    "gatmiry2024/theorem-1-enumeration",
    title="Theorem 1 by enumerating all critical points",
    claim=r"y \in \{\tfrac52, -\tfrac12, -\tfrac72, \dots\}: \quad "
    r"\#\{\text{real critical points of } F|_M\} = 1 = \#\{\text{collapsed ones}\}",
    hypotheses=(
        *PAPER,
        Hypothesis("polynomial", "φ is a rational polynomial", _is_polynomial),
    ),
    reference="Gatmiry et al. 2024, Theorem 1; theory notes 1.5, without their proof",
    scope=Scope.INSTANCE,
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
    f = CUBIC if activation is None else activation
    f -= (1 - slope_at_zero) * f.diff(Z).subs(Z, 0) * Z
    for i in range(n):
        total, collapsed = real_critical_points(f, sympy.Rational(5, 2) - 3 * i, m)
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
