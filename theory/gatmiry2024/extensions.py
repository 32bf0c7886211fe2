"""Beyond the paper: output weights, other losses and noise, the top eigenvalue."""

from __future__ import annotations

import sympy

from theory.activations import Z
from theory.gatmiry2024.definitions import (
    INDEPENDENT,
    NONZERO_WEIGHTS,
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
COERCIVE = Hypothesis("coercive", "φ' → ∞ at both ends, so that F has a minimum on M")
PSD = Hypothesis("gram", "K is positive semidefinite (it is a Gram matrix)")


def _log_convex(activation: sympy.Expr) -> Decision:
    from theory.signs import positive_everywhere

    first, second, third = (activation.diff(Z, k) for k in (1, 2, 3))
    excess = sympy.simplify((first * third - second**2).rewrite(sympy.exp))
    if excess == 0:
        return Decision(True, "φ'φ''' = φ''²")
    return positive_everywhere("φ'φ''' − φ''²", excess, Z)


LOG_CONVEX = Hypothesis(
    "log-convex-slope", "φ'φ''' ≥ φ''² (φ' is log-convex)", _log_convex
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
    scope=Scope.THIS_ACTIVATION,
    control={"activation": sympy.exp(Z) + Z},
)
def signed_weights(activation: sympy.Expr | None = None) -> Parts:
    """No formula of Theorem 1 contains the sign of a; only existence does.

    F is a sum of nonnegative terms 2w a²φ'², so a sublevel set bounds each φ', and z
    with it.  For the cubic and a = (1, −1) the minimiser is (β, −β) with 2φ(β) = y.
    """
    f = Z**3 / 6 + Z if activation is None else activation
    for end in (-sympy.oo, sympy.oo):
        yield f"φ' → ∞ at {end}", bool(sympy.limit(f.diff(Z), Z, end) == sympy.oo)
    odd = sympy.simplify(f + f.subs(Z, -Z)) == 0
    yield "φ is odd, so (β, −β) solves φ'' = β/a", bool(odd)
    yield (
        "and its output 2φ(β) takes every value",
        all(sympy.limit(f, Z, end) == end for end in (-sympy.oo, sympy.oo)),
    )


@statement(
    "gatmiry2024/weighted-loss",
    title="Weighted losses: the same minimiser; which noise is matched",
    claim=r"\Sigma = c \nabla^2 L \iff \sigma_i^2 = c / (2 q_i); \quad "
    r"\text{or } i \text{ drawn with probability} \propto q_i "
    r"\text{ and } \sigma \text{ constant}",
    hypotheses=(NONZERO_WEIGHTS,),
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

    def covariance(terms: list[tuple[sympy.Expr, sympy.Expr]]) -> sympy.Matrix:
        """Return Σ_i E(factor_i²) ∇r_i∇r_iᵀ for independent noise."""
        total = sympy.zeros(3, 3)
        for i, (factor, variance) in enumerate(terms):
            total += factor**2 * variance * J[i, :].T * J[i, :]
        return total

    full = covariance([(2 * qi, c / (2 * qi**power)) for qi in q])
    yield "variances c/2q_i", full - c * hessian
    total = sum(q)
    share = [qi / total for qi in q]
    drawn = covariance(
        [(2 * qi / p, p * sigma**2) for qi, p in zip(q, share, strict=True)]
    )
    yield "samples drawn ∝ q_i", drawn - 2 * total * sigma**2 * hessian


@statement(
    "gatmiry2024/unmatched-noise",
    title="With any label noise the collapsed point is stationary",
    claim=r"C = J^\top N J,\ QGN + NGQ = 2Q^2 S: \quad "
    r"P_T D^3L[C] = 0 \text{ at } z_{ij} = z^*_i",
    hypotheses=(INDEPENDENT, NONZERO_WEIGHTS),
    reference="theory notes 1.12d",
    scope=Scope.FIXED_SIZE,
    control={"opposite": 1},
)
def unmatched_noise(opposite: int = -1) -> Parts:
    """The covariance C of the fluctuations solves HC + CH = Σ in the normal space.

    D³L[v, C] = 4Σq_iD²r_i[v, C∇r_i] on tangent v.  At the collapse the vectors C∇r_i
    have equal blocks and a tangent v has Σ_j x_iᵀv_j = 0, so the drift vanishes,
    whatever N is.  That no other point is stationary is not proved.
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
    first, second, K = reals("p", size), reals("c", size), symmetric("K", size)
    along = reals("v", size)  # x_iᵀv_1; a tangent v has x_iᵀv_2 = −x_iᵀv_1
    drift = sympy.S.Zero
    for i in range(size):
        block = sum((N * G)[k, i] * first[k] * K[i, k] for k in range(size))
        drift += 4 * Q[i, i] * second[i] * block * (along[i] + opposite * along[i])
    yield "no drift at the collapse", drift


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
    hypotheses=(*SIGNS, PSD, LOG_CONVEX),
    reference="theory notes 1.12g",
    scope=Scope.ALL_SIZES,
    control={"power": 1},
)
def top_eigenvalue(power: int = 2) -> Parts:
    """H = φ'∘φ⁻¹ is convex, so the mean of h(u_ij) over neurons is h(ū_i) + e_i, e ≥ 0.

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
