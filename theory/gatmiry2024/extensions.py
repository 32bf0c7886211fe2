"""Beyond the paper: output weights, other losses and noise, the top eigenvalue."""

from __future__ import annotations

import sympy

from theory.activations import Z
from theory.gatmiry2024.definitions import (
    EQUAL_WEIGHTS,
    INCREASING,
    INDEPENDENT,
    NONZERO_WEIGHTS,
    REGULAR,
    SIGNS,
    Network,
    Parts,
    phi,
    positives,
    reals,
    symmetric,
)
from theory.statement import Decision, Hypothesis, Scope, statement

POSITIVE_WEIGHTS = Hypothesis("positive-weights", "a_j > 0 for all j, and φ(R) = R")


def _coercive(activation: sympy.Expr) -> Decision:
    for end in (-sympy.oo, sympy.oo):
        limit = sympy.limit(activation.diff(Z), Z, end)
        if limit != sympy.oo:
            return Decision(
                False if limit.is_finite else None, f"φ' → {limit} at {end}"
            )
    return Decision(True, "φ' → ∞ at both ends")


COERCIVE = Hypothesis("coercive", "φ' → ∞ at both ends", _coercive)


def _log_convex(activation: sympy.Expr) -> Decision:
    from theory.signs import positive_everywhere

    first, second, third = (activation.diff(Z, k) for k in (1, 2, 3))
    excess = sympy.simplify((first * third - second**2).rewrite(sympy.exp))
    if excess == 0:
        return Decision(True, "φ'φ''' = φ''²")
    return positive_everywhere("φ'φ''' − φ''²", excess, Z)


LOG_CONVEX = Hypothesis(
    "log-convex-slope", "φ'φ''' > φ''² (φ' is log-convex), or = everywhere", _log_convex
)


@statement(
    "gatmiry2024/positive-weights",
    title="The flattest point with positive output weights",
    claim=r"z^*_{ij} = (\varphi'')^{-1}(\beta_i / a_j), \quad "
    r"\tfrac{d}{d\beta} \sum_j a_j \varphi((\varphi'')^{-1}(\beta / a_j)) = "
    r"\sum_j \varphi'_j / \varphi'''_j > 0",
    hypotheses=(*SIGNS, INDEPENDENT, POSITIVE_WEIGHTS),
    reference="theory notes 1.12a",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"power": 2},
)
def positive_weights(power: int = 1) -> Parts:
    """Stationary means φ''(z_ij) = β_i/a_j; the constraint then fixes β_i.

    Its left side increases in β, as the implicit derivative of z_j is 1/(a_jφ''').  For
    the cubic φ'' = z, so Z* = β(1/a)ᵀ has rank one.
    """
    net = Network(2, 2)
    beta = reals("b", 2)
    second = net.slope(2)
    stationary = {
        second[i, j]: beta[i] / net.a[j] ** power for i in range(2) for j in range(2)
    }
    yield "such points are stationary", net.scaled_gradient.xreplace(stationary)
    b, a = sympy.symbols("beta a", positive=True)
    z = sympy.Function("z", real=True)(b)
    equation = phi(z).diff(z, 2) - b / a
    speed = sympy.solve(equation.diff(b).doit(), z.diff(b))[0]
    output = (a * phi(z)).diff(b).subs(z.diff(b), speed).doit()
    ratio = phi(z).diff(z) / phi(z).diff(z, 3)
    yield "dy/dβ = φ'/φ'''", output - ratio


@statement(
    "gatmiry2024/signed-weights",
    title="Signed output weights: the same, where a minimum exists",
    claim=r"\varphi' \to \infty \text{ at } \pm\infty \implies "
    r"\{F \le F_0\} \text{ is bounded: } \varphi'(z_{ij})^2 \le F_0 / (2 w_i a_j^2)",
    hypotheses=(*SIGNS, INDEPENDENT, NONZERO_WEIGHTS, COERCIVE),
    reference="theory notes 1.12b",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"bound": 3},
)
def signed_weights(bound: int = 2) -> Parts:
    """No formula of Theorem 1 contains the sign of a; only existence does.

    F is a sum of terms 2w a²φ'², so each of them is at most F: a sublevel set bounds
    φ', and z with it where φ' → ∞.  A bound of 3 fails where the other terms are small.
    """
    net = Network(1, 2)
    first, (a, b), w = net.slope(1), net.a, net.w[0]
    other = 2 * w * b**2 * first[0, 1] ** 2
    yield (
        "F is the term and another",
        net.trace - 2 * w * a**2 * first[0, 0] ** 2 - other,
    )
    share = net.trace - bound * w * a**2 * first[0, 0] ** 2
    alone = share.subs(first[0, 1], 0) / (w * a**2 * first[0, 0] ** 2)
    yield "the bound where the other term is 0", sympy.cancel(alone) >= 0
    beta = sympy.Symbol("beta", real=True)
    cubic = Z**3 / 6 + Z
    opposite = cubic.diff(Z, 2).subs(Z, -beta) - (beta / -1)
    yield "cubic, a = (1, −1): z = (β, −β) has φ'' = β/a", opposite
    output = cubic.subs(Z, beta) - cubic.subs(Z, -beta)
    yield "and its output, 2φ(β), increases", output.diff(beta) > 0


@statement(
    "gatmiry2024/weighted-loss",
    title="Weighted losses: the same minimiser; which noise is matched",
    claim=r"\Sigma = c \nabla^2 L \iff \sigma_i^2 = c / (2 q_i); \quad "
    r"\text{or } i \text{ drawn with probability} \propto q_i "
    r"\text{ and } \sigma \text{ constant}",
    hypotheses=(REGULAR, NONZERO_WEIGHTS),
    reference="theory notes 1.12c",
    scope=Scope.FIXED_SIZE,
    control={"power": 2},
)
def weighted_loss(power: int = 1) -> Parts:
    """Gradient noise is −2q_iε_i∇r_i, its covariance 4JᵀQ²SJ; the Hessian is 2JᵀQJ.

    Drawing sample i with probability p_i, the unbiased gradient is the one of sample i
    over p_i.  That the collapsed point stays is Theorem 1 for these w_i.
    """
    q, (c, sigma) = positives("q", 2), sympy.symbols("c sigma", positive=True)
    J = reals("J", 2, 3)
    hessian = 2 * J.T * sympy.diag(*q) * J

    full = _covariance(J, [(2 * qi, c / (2 * qi**power)) for qi in q])
    yield "variances c/2q_i", full - c * hessian
    unknown = positives("v", 2)
    free = _covariance(J, [(2 * qi, v) for qi, v in zip(q, unknown, strict=True)])
    # independent ∇r_i make each coefficient of ∇r_i∇r_iᵀ vanish
    parts = [4 * qi**2 * v - 2 * c * qi for qi, v in zip(q, unknown, strict=True)]
    matching = sympy.solve(parts, unknown)
    yield (
        "and only they",
        sympy.Matrix(
            [
                matching[v] - c / (2 * qi**power)
                for qi, v in zip(q, unknown, strict=True)
            ]
        ),
    )
    yield (
        "the coefficients",
        free
        - c * hessian
        - sum(
            (part * J[i, :].T * J[i, :] for i, part in enumerate(parts)),
            sympy.zeros(3, 3),
        ),
    )
    total = sum(q)
    share = [qi / total for qi in q]
    drawn = _covariance(
        J, [(2 * qi / p, p * sigma**2) for qi, p in zip(q, share, strict=True)]
    )
    yield "samples drawn ∝ q_i", drawn - 2 * total * sigma**2 * hessian


def _covariance(
    J: sympy.Matrix, terms: list[tuple[sympy.Expr, sympy.Expr]]
) -> sympy.Matrix:
    """Return Σ_i factor_i² variance_i ∇r_i∇r_iᵀ, of independent noise."""
    total = sympy.zeros(3, 3)
    for i, (factor, variance) in enumerate(terms):
        total += factor**2 * variance * J[i, :].T * J[i, :]
    return total


@statement(
    "gatmiry2024/unmatched-noise",
    title="With any label noise the collapsed point is stationary",
    claim=r"C = J^\top N J,\ QGN + NGQ = 2Q^2 S: \quad "
    r"P_T D^3L[C] = 0 \text{ at } z_{ij} = z^*_i",
    hypotheses=(INCREASING, INDEPENDENT, EQUAL_WEIGHTS),
    reference="theory notes 1.12d",
    scope=Scope.FIXED_SIZE,
    control={"collapsed": False},
)
def unmatched_noise(collapsed: bool = True) -> Parts:
    """The covariance C of the fluctuations solves HC + CH = Σ in the normal space.

    D³L[v, C] = 4Σq_iD²r_i[v, C∇r_i] on tangent v.  At the collapse the vectors C∇r_i
    have equal blocks and a tangent v has Σ_j x_iᵀv_j = 0, so the drift vanishes,
    whatever N is.  Away from it (the control) it does not.  That no other point is
    stationary is not proved.
    """
    size, J = 2, reals("J", 2, 3)
    Q = sympy.diag(*positives("q", size))
    N, G = symmetric("N", size), J * J.T
    H, C = 2 * J.T * Q * J, J.T * N * J
    law = Q * G * N + N * G * Q
    yield "HC + CH = 2Jᵀ(QGN + NGQ)J", H * C + C * H - 2 * J.T * law * J
    s, G = sympy.Symbol("s", positive=True), symmetric("G", size)
    scaled = s * G.adjugate()  # det(G) N for N = sG⁻¹, and QS = s
    matched = Q * G * scaled + scaled * G * Q - 2 * s * G.det() * Q
    yield "matched noise: N = sG⁻¹", matched
    yield "D³L[v, b, b] = 4q D²r[v, b] ∇r·b", _third_derivative()
    yield "no drift at the collapse", _drift(N, Q, collapsed)


def _drift(N: sympy.Matrix, Q: sympy.Matrix, collapsed: bool) -> sympy.Expr:
    """Return D³L[v, C] for C = JᵀNJ and any tangent v, two samples and two neurons."""
    net, v = Network(2, 2, plain=True), reals("v", 2, 2)  # x_iᵀv_j
    first, second = net.slope(1), net.slope(2)
    drift = sympy.S.Zero
    for i in range(2):
        # C∇r_i = Σ_k (NG)_ki ∇r_k, and its preactivations x_iᵀ(·)_j
        vector = sum(
            ((N * net.gram)[k, i] * net.normals[k] for k in range(2)), sympy.zeros(2, 2)
        )
        seen = (net.gram_of_inputs * vector)[i, :]
        tangent = (
            v[i, 0],
            -v[i, 0] * first[i, 0] / first[i, 1],
        )  # Σ_j φ'_ij x_iᵀv_j = 0
        drift += (
            4 * Q[i, i] * sum(second[i, j] * tangent[j] * seen[j] for j in range(2))
        )
    if not collapsed:
        return drift
    return drift.subs({net.z[i, 1]: net.z[i, 0] for i in range(2)}).doit()


def _third_derivative() -> sympy.Expr:
    """Expand q r² along a tangent v and any b, where r = 0 and ∇r·v = 0."""
    q, slope, vv, vb, bb = sympy.symbols("q slope vv vb bb", real=True)
    s, t = sympy.symbols("s t", real=True)  # the point is s v + t b
    cubic = sum(
        c * s**k * t ** (3 - k) for k, c in enumerate(sympy.symbols("c0:4", real=True))
    )
    r = slope * t + vv * s**2 / 2 + vb * s * t + bb * t**2 / 2 + cubic
    third = (q * r**2).diff(s, t, t).subs({s: 0, t: 0})
    return third - 4 * q * vb * slope


@statement(
    "gatmiry2024/top-eigenvalue",
    title="For log-convex slopes the collapse also minimises the top eigenvalue",
    claim=r"\varphi'\varphi''' \ge \varphi''^2 \implies "
    r"\lambda_{\max}(\nabla^2 L) \ge \lambda_{\max}(\nabla^2 L)|_{Z^*} \text{ on } M",
    hypotheses=(*SIGNS, INDEPENDENT, EQUAL_WEIGHTS, LOG_CONVEX),
    reference="theory notes 1.12g",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"power": 1},
)
def top_eigenvalue(power: int = 2) -> Parts:
    """As h = φ'∘φ⁻¹ is convex, its mean over neurons is h(ū_i) + e_i with e ≥ 0.

    With the top eigenvector v at the collapse and K' = K∘vvᵀ ⪰ 0, λ_max is at least
    m(h + e)ᵀK'(h + e) ≥ m hᵀK'h + 2m eᵀK'h, and K'h = λ v∘v/h ≥ 0 entry by entry.
    """
    first, second, third = (phi(Z).diff(Z, k) for k in (1, 2, 3))
    h_second = (first.diff(Z) / first).diff(Z) / first
    claimed = (first * third - second**power) / first**3
    yield "h'' = (φ'φ''' − φ''²)/φ'³", h_second - claimed
    for f, excess in (
        (sympy.sinh(Z), sympy.S.One),
        (sympy.exp(Z) + Z, sympy.exp(Z)),
        (sympy.exp(Z), sympy.S.Zero),
        (Z**3 / 6 + Z, 1 - Z**2 / 2),
    ):
        p1, p2, p3 = (f.diff(Z, k) for k in (1, 2, 3))
        yield f"its numerator for {f}", p1 * p3 - p2**2 - excess
    size = 2
    K, v, h = symmetric("K", size), reals("v", size), positives("h", size)
    eigen = sympy.Symbol("lambda", positive=True)
    weighted = sympy.Matrix(size, size, lambda i, k: K[i, k] * v[i] * v[k])
    at = sympy.Matrix(size, size, lambda i, k: K[i, k] * h[i] * h[k])
    residual = at * v - eigen * v  # vanishes for the eigenvector
    for i in range(size):
        row = (weighted * sympy.Matrix(h))[i]
        yield (
            f"(K'h)_{i} = λv²/h",
            row - eigen * v[i] ** 2 / h[i] - (v[i] * residual[i] / h[i]),
        )
    e, hv = sympy.Matrix(positives("e", size)), sympy.Matrix(h)
    after, before = hv + e, hv
    rest = (e.T * weighted * e)[0]  # nonnegative, as K' is
    yield (
        "the square is expanded",
        (after.T * weighted * after)[0]
        - ((before.T * weighted * before)[0] + 2 * (e.T * weighted * before)[0] + rest),
    )
    yield from _rayleigh_and_jensen(K, v, weighted)


def _rayleigh_and_jensen(
    K: sympy.Matrix, v: sympy.Matrix, weighted: sympy.Matrix
) -> Parts:
    """λ_max ≥ vᵀΣ D_jKD_j v = Σ P_jᵀK'P_j ≥ m P̄ᵀK'P̄, as K' = K∘vvᵀ ⪰ 0."""
    P = reals("P", 2, 2)  # φ'(z_ij)
    mean = (P[:, 0] + P[:, 1]) / 2
    diagonal = [sympy.diag(*P[:, j]) for j in range(2)]
    rayleigh = (v.T * sum((D * K * D for D in diagonal), sympy.zeros(2, 2)) * v)[0]
    squares = sum((P[:, j].T * weighted * P[:, j])[0] for j in range(2))
    yield "Rayleigh: vᵀΣ D_jKD_j v = Σ P_jᵀK'P_j", rayleigh - squares
    spread = sum(
        ((P[:, j] - mean).T * weighted * (P[:, j] - mean))[0] for j in range(2)
    )
    yield (
        "Jensen: m P̄ᵀK'P̄ and squares of P_j − P̄",
        (squares - 2 * (mean.T * weighted * mean)[0] - spread),
    )
