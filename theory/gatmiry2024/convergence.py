"""Convergence of the flow: a Polyak–Łojasiewicz inequality and its consequences."""

from __future__ import annotations

import sympy

from theory.activations import Z
from theory.gatmiry2024.definitions import (
    INCREASING,
    INDEPENDENT,
    INTERVAL,
    NONZERO_WEIGHTS,
    PAPER,
    Network,
    Parts,
    nonnegatives,
    positives,
    reals,
    rotation_of_plane,
)
from theory.statement import Scope, statement


@statement(
    "gatmiry2024/theorem-2",
    title="A global Polyak–Łojasiewicz inequality on M",
    claim=r"|\operatorname{grad}_M F|^2 \ge 2c\,(F - F^*), \quad "
    r"c = 4 \mu\, w_{\min} a_{\min}^2 \rho_1^2 \min_I \varphi'''/\varphi'",
    hypotheses=(*PAPER, NONZERO_WEIGHTS, INTERVAL),
    reference="Gatmiry et al. 2024, Theorem 2; theory notes 1.8 (stronger)",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"factor": 5},
)
def theorem_2(factor: int = 4, m: int = 3) -> Parts:
    """In outputs, g'' ≥ 2κ: a strongly convex function on Σ_ju_j = y.

    Its gap is at most |P∇h|²/4κ = Σ a²Δ²/κ: complete the square, where the linear term
    may be shifted by any b because the displacements sum to 0, and the remainders R_j
    of Taylor's formula are nonnegative.  And |grad|² ≥ 16μ Σ w²a⁴φ'²Δ².  With one
    sample the ratio tends to 1 at the collapse, so c cannot be larger.
    """
    kappa, b = sympy.symbols("kappa b", positive=True)
    slope, remainder = reals("s", m), reals("R", m)  # g'(u_j), and R_j ≥ 0
    move = reals("d", m)  # u*_j − u_j
    move[m - 1] = -sum(move[: m - 1])
    gap = -sum(
        s * d + kappa * d**2 + r for s, d, r in zip(slope, move, remainder, strict=True)
    )
    bound = sum((s - b) ** 2 for s in slope) / (4 * kappa)
    squares = sum(
        kappa * (d + (s - b) / (2 * kappa)) ** 2
        for s, d in zip(slope, move, strict=True)
    )
    yield "gap = bound − squares − remainders", gap - (bound - squares - sum(remainder))
    yield "Taylor's remainder", _taylor()
    a, w, delta, mu, rho = sympy.symbols("a w Delta mu rho", positive=True)
    shift = (2 * a * delta) ** 2 / (4 * kappa)  # g' − 2β = 2aΔ
    gap_of_f = 2 * w * shift
    square_of_gradient = mu * (4 * w * a**2 * rho * delta) ** 2
    c = factor * mu * w * a**2 * rho**2 * kappa
    yield (
        "|grad|² at its least is 2c × gap at its most",
        (square_of_gradient - 2 * c * gap_of_f),
    )
    yield "the ratio tends to 1", _ratio_at_collapse() - sympy.Rational(factor, 4)


def _taylor() -> sympy.Expr:
    """d/ds [G + (1−s)G'] = (1−s)G'': integrated, the remainder is ∫(1−s)G'' ≥ κ d²."""
    s = sympy.Symbol("s", real=True)
    G = sympy.Function("G", real=True)(s)
    return (G + (1 - s) * G.diff(s)).diff(s) - (1 - s) * G.diff(s, 2)


def _ratio_at_collapse() -> sympy.Expr:
    """Return lim |grad|²/(2·4μw a²φ'²(φ'''/φ')·gap), n = 1, cubic, z = ±t around 0.

    With y = 0 the points (t, −t) are on M, and φ'''/φ' and φ' are those at 0.
    """
    t = sympy.Symbol("t", positive=True)
    f = Z**3 / 6 + Z
    p1, p2 = f.diff(Z), f.diff(Z, 2)
    z = (t, -t)
    gram = sum(p1.subs(Z, zj) ** 2 for zj in z)
    beta = sum((p1**2 * p2).subs(Z, zj) for zj in z) / gram
    gradient = 16 * sum((p1 * (p2 - beta)).subs(Z, zj) ** 2 for zj in z)
    gap = 2 * sum((p1**2).subs(Z, zj) - 1 for zj in z)
    return sympy.limit(gradient / (8 * gap), t, 0)


@statement(
    "gatmiry2024/exponential-rate",
    title="The flow converges exponentially, and its path is short",
    claim=r"\dot\theta = -\operatorname{grad}_M F \implies F - F^* \le "
    r"(F_0 - F^*) e^{-2ct}, \quad \|\theta(t) - \theta(\infty)\| \le "
    r"\sqrt{2(F_0 - F^*)/c}\; e^{-ct}",
    hypotheses=(*PAPER, NONZERO_WEIGHTS, INTERVAL),
    reference="Gatmiry et al. 2024, Theorem 2; theory notes 1.8",
    scope=Scope.ALL_SIZES,
    any_activation=True,
    control={"factor": 3},
)
def exponential_rate(factor: int = 2) -> Parts:
    """dF/dt = −|grad|² and |grad|² ≥ 2c(F − F*) make (F − F*)e^{2ct} decrease.

    They also make |grad| ≤ −d/dt √(2(F − F*)/c): integrated, the length left at t.
    The inequality enters as |grad|² = 2c(F − F*) + s with s ≥ 0; at s = 0 the rate is
    attained, so it cannot be larger.
    """
    t = sympy.Symbol("t", nonnegative=True)
    c, gap = sympy.symbols("c gap", positive=True)
    s = sympy.Symbol("s", nonnegative=True)
    E = sympy.Function("E", real=True)(t)
    speed_squared = 2 * c * gap + s

    def along(expression: sympy.Expr) -> sympy.Expr:
        falling = expression.diff(t).subs(E.diff(t), -speed_squared)
        return falling.subs(E, gap)

    grown = along(E * sympy.exp(2 * c * t))
    yield "(F − F*)e^{2ct} falls by s e^{2ct}", grown + s * sympy.exp(2 * c * t)
    attained = along(E * sympy.exp(factor * c * t)).subs(s, 0)
    yield "it does not grow where the rate is attained", sympy.factor(attained) <= 0
    left = sympy.sqrt(2 * E / c)
    excess = along(left) ** 2 - speed_squared  # speed ≤ −d left/dt, both positive
    yield (
        "the length left falls at least as fast as the path grows",
        excess - speed_squared * s / (2 * c * gap),
    )


@statement(
    "gatmiry2024/local-rate",
    title="The exact rate at the end",
    claim=r"\delta\dot Z_j = -K\,\mathrm{diag}(4 w_i \varphi'(z^*_i) "
    r"\varphi'''(z^*_i))\,\delta z_j",
    hypotheses=PAPER,
    reference="theory notes 1.8",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"factor": 2},
)
def local_rate(factor: int = 4) -> Parts:
    """Linearise the flow at the collapsed point, on displacements that sum to 0.

    Two samples and two neurons: δz_1 = −δz_2, and the multipliers do not move to first
    order because they are symmetric in the neurons.
    """
    net = Network(2, 2, plain=True)
    zeta, moved = reals("c", 2), reals("e", 2)
    velocity = -net.gram_of_inputs * net.scaled_gradient  # det(G) ż
    collapse = {net.z[i, j]: zeta[i] for i in range(2) for j in range(2)}

    def at_collapse(expression: sympy.Expr) -> sympy.Expr:
        return expression.subs(collapse).doit()

    det = at_collapse(net.gram.det())
    slopes = [at_collapse(net.slope(1)[i, 0]) for i in range(2)]
    thirds = [at_collapse(net.slope(3)[i, 0]) for i in range(2)]
    weights = sympy.diag(
        *[factor * w * p1 * p3 for w, p1, p3 in zip(net.w, slopes, thirds, strict=True)]
    )
    claim = -det * net.gram_of_inputs * weights * moved
    for i in range(2):
        # along δz_i1 = e_i, δz_i2 = −e_i
        change = sum(
            moved[k]
            * (velocity[i, 0].diff(net.z[k, 0]) - velocity[i, 0].diff(net.z[k, 1]))
            for k in range(2)
        )
        yield f"sample {i}", at_collapse(change) - claim[i]


@statement(
    "gatmiry2024/phase-one",
    title="Gradient descent on the loss reaches M exponentially fast",
    claim=r"\|\nabla L\|^2 \ge 4 q_{\min} \mu \rho_1^2 (\textstyle\sum_j a_j^2)\, L",
    hypotheses=(INCREASING, INDEPENDENT, NONZERO_WEIGHTS, INTERVAL),
    reference="theory notes 1.11",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"constant": 5},
)
def phase_one(constant: int = 4) -> Parts:
    """∇L = 2JᵀQe, so ‖∇L‖² = 4eᵀQGQe ≥ 4 λ_min(G) Σq_i²e_i², and q_i² ≥ q_min q_i.

    With G = RDRᵀ any matrix of two samples, D_i = λ + g_i and q_i = q_min + p_i, the
    rest is 4Σ g_i (RᵀQe)_i² + 4λΣ p_i q_i e_i²; it vanishes where g and p do.
    """
    net = Network(2, 2)
    q, y = positives("q", 2), reals("y", 2)
    residual = [r - yi for r, yi in zip(net.outputs, y, strict=True)]
    loss = sum(qi * e**2 for qi, e in zip(q, residual, strict=True))
    slope = net.gradient(loss)
    weighted = sympy.Matrix([qi * e for qi, e in zip(q, residual, strict=True)])
    closed = 4 * (weighted.T * net.gram * weighted)[0]
    yield "‖∇L‖² = 4 eᵀQGQe", net.inner(slope, slope) - closed
    low, least = sympy.symbols("lambda q_min", positive=True)
    g, p, e = nonnegatives("g", 2), nonnegatives("p", 2), reals("e", 2)
    R = rotation_of_plane()
    Q = sympy.diag(least + p[0], least + p[1])
    G = R * sympy.diag(low + g[0], low + g[1]) * R.T
    square, value = 4 * (e.T * Q * G * Q * e)[0], (e.T * Q * e)[0]
    turned = R.T * Q * e
    slack = 4 * sum(
        g[i] * turned[i] ** 2 + low * p[i] * Q[i, i] * e[i] ** 2 for i in range(2)
    )
    yield "the bound and nonnegative terms", square - 4 * least * low * value - slack
    at = dict.fromkeys([*g, *p], 0) | {e[0]: 1, e[1]: 0}
    attained = sympy.simplify((square - constant * least * low * value).subs(at))
    yield "the bound where it is attained", attained >= 0
