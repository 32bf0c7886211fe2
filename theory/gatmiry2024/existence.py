"""Where there is no minimiser, no rate or no M, and what the theorem leaves out."""

from __future__ import annotations

import sympy

from theory.activations import Z, activation_of, first_positive, third_positive
from theory.gatmiry2024.definitions import Parts
from theory.statement import Hypothesis, Scope, statement

SIGNED = Hypothesis("signed-weights", "instead of a = 1: a = (1, −1), and φ'' > 0")
NO_UNIFORM_SLOPE = Hypothesis("slope-not-uniform", "instead of φ' ≥ ρ1 > 0: inf φ' = 0")
UNREACHABLE = Hypothesis("unreachable-target", "instead of y_i/m in φ(R): outside")
OUT_OF_SCOPE = Hypothesis("signs-fail", "instead of φ' > 0 and φ''' > 0: one fails")
NOT_LOG_CONVEX = Hypothesis(
    "slope-not-log-convex", "instead of φ'φ''' ≥ φ''²: φ'' larger"
)


@statement(
    "gatmiry2024/unattained-minimum",
    title="Signed weights without coercivity: the infimum is not attained",
    claim=r"\varphi = e^z + z,\ a = (1, -1):\quad \inf_M F = 4 w "
    r"\text{ is not attained, and no point of } M \text{ is stationary}",
    hypotheses=(SIGNED,),
    reference="theory notes 1.12b",
    scope=Scope.THIS_ACTIVATION,
    control={"second": 1},
)
def unattained_minimum(second: int = -1) -> Parts:
    """Stationary needs e^{z_1} = β = −e^{z_2}, and F − 4 is a sum of positive terms.

    On M, z_1 = y + s + e^s − e^{z_1} < y + s + e^s for s = z_2, so F → 4 as s → −∞.
    """
    z1, z2, s, y = sympy.symbols("z1 z2 s y", real=True)
    # β = a_jφ''(z_j) for both neurons: e^{z_1} − e^{z_2}/a_2 = 0
    multipliers = sympy.exp(z1) - sympy.exp(z2) / second
    yield "the multipliers disagree where z_1 = z_2", multipliers.subs(z2, z1) > 0
    if second < 0:  # the control is refuted by the line above alone
        yield "and everywhere", multipliers > 0

    def trace(first: sympy.Expr, other: sympy.Expr) -> sympy.Expr:
        return 2 * ((1 + sympy.exp(first)) ** 2 + (1 + sympy.exp(other)) ** 2)

    yield "F > 4", sympy.expand(trace(z1, z2) - 4) > 0
    above = trace(y + s + sympy.exp(s), s)
    yield "F → 4 along M", sympy.limit(above, s, -sympy.oo) - 4


@statement(
    "gatmiry2024/slow-start",
    title="Without a uniform slope the flow may wait arbitrarily long",
    claim=r"\varphi = e^z,\ p = e^{z}:\quad \tfrac{d}{dt} (1/p) \ge -4\beta, "
    r"\text{ so going from } p_0 \text{ to } p \text{ takes at least } "
    r"(1/p_0 - 1/p) / (4 \sup\beta)",
    hypotheses=(NO_UNIFORM_SLOPE,),
    reference="theory notes 1.8, 1.13",
    scope=Scope.FIXED_SIZE,
    control={"slope": 1},
)
def slow_start(slope: int = 0) -> Parts:
    """ż = −4φ'(φ'' − β) gives (1/p)˙ = 4(p − β), and β is a weighted mean of the p_j.

    With two samples, the first one of the neuron in quasi-equilibrium, K is replaced by
    its Schur complement S: ṗ ≈ 4wβS p².  A slope at −∞ (the control) is the cure.
    """
    p, beta, w = sympy.symbols("p beta w", positive=True)
    f = sympy.exp(Z) + slope * Z
    first, second = (f.diff(Z, k).subs(Z, sympy.log(p)) for k in (1, 2))
    speed = -4 * first * (second - beta)  # ż, for K = w = 1
    yield "(1/p)˙ + 4β = 4p", -speed / p + 4 * beta - 4 * p
    K11, K22 = sympy.symbols("K11 K22", positive=True)
    K12 = sympy.Symbol("K12", real=True)
    v2 = -w * beta * p  # wφ'Δ at a small p, to leading order
    v1 = -K12 * v2 / K11  # the first sample does not move
    schur = K22 - K12**2 / K11
    yield (
        "two samples: ṗ = 4wβSp²",
        (p * (-4) * (K12 * v1 + K22 * v2) - 4 * w * beta * schur * p**2),
    )


@statement(
    "gatmiry2024/unreachable-target",
    title="Targets outside the range of the outputs: M is empty",
    claim=r"\varphi = e^z,\ y < 0:\quad \sum_j \varphi(z_j) - y > 0",
    hypotheses=(UNREACHABLE,),
    reference="theory notes 1.13",
    scope=Scope.THIS_ACTIVATION,
    control={"negative": False},
)
def unreachable_target(negative: bool = True) -> Parts:
    """A sum of positive numbers minus a negative one is positive."""
    z = sympy.symbols("z0:3", real=True)
    y = sympy.Symbol("y", negative=negative, positive=not negative)
    residual = sum(sympy.exp(zj) for zj in z) - y
    at_zero = residual.subs(dict.fromkeys(z, 0)).subs(y, -3 if negative else 3)
    yield "the residual at z = 0 and |y| = 3 is positive", at_zero > 0
    if negative:
        yield "the residual is positive", residual > 0


@statement(
    "gatmiry2024/out-of-scope-activations",
    title="The usual activations are not covered",
    claim=r"\text{softplus, sigmoid, tanh, ReLU, GELU: } "
    r"\varphi' > 0 \text{ or } \varphi''' > 0 \text{ fails}",
    hypotheses=(OUT_OF_SCOPE,),
    reference="theory notes 1.13",
    scope=Scope.THIS_ACTIVATION,
    control={"names": ("cubic", "sinh", "exp_plus_linear")},
)
def out_of_scope_activations(
    names: tuple[str, ...] = ("softplus", "sigmoid(z)", "tanh", "relu", "gelu"),
) -> Parts:
    """Find an exact point where a sign is wrong."""
    for name in names:
        activation = activation_of(name)
        decisions = first_positive(activation), third_positive(activation)
        yield name, any(decision.holds is False for decision in decisions)


@statement(
    "gatmiry2024/top-eigenvalue-not-collapsed",
    title="The collapse need not minimise the top eigenvalue",
    claim=r"\varphi = z^3/6 + z,\ K = \begin{pmatrix} 1 & 1/2 \\ 1/2 & 1 \end{pmatrix},"
    r"\ z^* = (2, 4),\ m = 2:\quad \lambda_{\max} \text{ falls along } "
    r"u_{1\cdot} = \varphi(2) \pm 2, \text{ while } F \text{ grows}",
    hypotheses=(NOT_LOG_CONVEX,),
    reference="theory notes 1.12g",
    scope=Scope.INSTANCE,
    control={"log_convex": True},
)
def top_eigenvalue_not_collapsed(log_convex: bool = False) -> Parts:
    """Compare two points of M by the largest root of a quadratic, to 30 digits.

    So the limit of full-batch SAM (top eigenvalue) may differ from that of label noise
    (trace).  For sinh, whose slope is log-convex, the same move raises λ_max.
    """
    f = sympy.sinh(Z) if log_convex else Z**3 / 6 + Z
    slope = f.diff(Z)

    def solve(output: sympy.Expr) -> sympy.Expr:
        """Return z with φ(z) = u to 40 digits."""
        if log_convex:
            return sympy.asinh(output).evalf(40)
        (root,) = sympy.Poly(f - output, Z).real_roots()
        return root.evalf(40)

    def spectrum(offset: int) -> tuple[sympy.Expr, sympy.Expr]:
        """Return λ_max(∇²L) and F at u_1 = φ(2) ± offset, u_2 = φ(4)."""
        first = [solve(f.subs(Z, 2) + sign * offset) for sign in (1, -1)]
        P = [[slope.subs(Z, z) for z in first], [slope.subs(Z, 4)] * 2]
        a, b = (2 * sum(p**2 for p in row) for row in P)
        c = sum(p * q for p, q in zip(*P, strict=True))  # 2 K_12 Σ_j p q
        top = (a + b) / 2 + sympy.sqrt(((a - b) / 2) ** 2 + c**2)
        return top.evalf(30), (a + b).evalf(30)

    (top, trace), (moved_top, moved_trace) = spectrum(0), spectrum(2)
    yield "the top eigenvalue falls", bool(moved_top < top)
    yield "the trace grows", bool(moved_trace > trace)
    if not log_convex:
        yield (
            "333.792 becomes 333.577",
            bool(
                abs(top - sympy.Rational("333.792")) < sympy.Rational("0.001")
                and abs(moved_top - sympy.Rational("333.577")) < sympy.Rational("0.001")
            ),
        )
