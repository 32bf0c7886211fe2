"""What fails when a hypothesis is dropped; a statement holds if its failure is seen.

All are small enough for exact arithmetic; n = 1, K = 1, w = 1 unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from theory.activations import Z
from theory.critical_points import real_critical_points
from theory.gatmiry2024.definitions import Parts, phi, reals
from theory.statement import Hypothesis, Scope, statement

WITHOUT_SLOPE = Hypothesis("slope-vanishes", "instead of φ' > 0: φ'(z) = 0 somewhere")
WITHOUT_THIRD = Hypothesis("third-not-positive", "instead of φ''' > 0: not everywhere")


def _jets(f: sympy.Expr, z: sympy.Expr) -> list[sympy.Expr]:
    """Return φ', φ'', φ''' at a point."""
    return [f.diff(Z, order).subs(Z, z) for order in (1, 2, 3)]


def _gradient(f: sympy.Expr, point: Sequence[sympy.Expr]) -> list[sympy.Expr]:
    """Return grad_M F in z for one sample with K = w = 1: 4φ'(φ'' − β)."""
    jets = [_jets(f, z) for z in point]
    beta = sum(p1**2 * p2 for p1, p2, _ in jets) / sum(p1**2 for p1, _, _ in jets)
    return [4 * p1 * (p2 - beta) for p1, p2, _ in jets]


def _trace(f: sympy.Expr, point: Sequence[sympy.Expr]) -> sympy.Expr:
    return 2 * sum(f.diff(Z).subs(Z, z) ** 2 for z in point)


@statement(
    "gatmiry2024/flat-spot",
    title="Without φ' > 0: a neuron sticks where φ' = 0",
    claim=r"\varphi = z^3:\quad (s, s, 0) \text{ is stationary and } "
    r"F(s, s, 0) / F^* = (3/2)^{1/3}",
    hypotheses=(WITHOUT_SLOPE,),
    reference="theory notes 1.13",
    scope=Scope.THIS_ACTIVATION,
    control={"nu": sympy.Rational(1, 20)},
)
def flat_spot(nu: sympy.Expr = sympy.S.Zero) -> Parts:
    """The coefficient 4φ'(φ'' − β) of the stuck neuron vanishes because φ'(0) does.

    All real critical points are counted for two neurons: the collapsed one and two with
    a stuck neuron.  A slope ν > 0 at 0 cures it.
    """
    f, s = Z**3 + nu * Z, sympy.Symbol("s", positive=True)
    yield "(s, s, 0) is stationary", sympy.Matrix(_gradient(f, (s, s, sympy.S.Zero)))
    total, collapsed = real_critical_points(f, sympy.S.One, 2)
    yield "three critical points, one collapsed", (total, collapsed) == (3, 1)
    mean = s * sympy.Rational(2, 3) ** sympy.Rational(1, 3)  # 3 mean³ = 2 s³
    ratio = sympy.simplify(_trace(Z**3, (s, s, 0)) / _trace(Z**3, (mean, mean, mean)))
    yield "its trace is larger", ratio**3 - sympy.Rational(3, 2)


@statement(
    "gatmiry2024/sign-change",
    title="Without φ''' > 0: the collapse of tanh is a maximum",
    claim=r"\varphi = \tanh,\ m = 2:\quad g(u) = (1 - u^2)^2,\ g'' = 12u^2 - 4 < 0 "
    r"\iff |y/2| < 1/\sqrt3",
    hypotheses=(WITHOUT_THIRD,),
    reference="theory notes 1.13",
    scope=Scope.THIS_ACTIVATION,
    control={"mean": sympy.Rational(7, 10)},
)
def sign_change(mean: sympy.Expr = sympy.Rational(3, 10)) -> Parts:
    """In u = tanh z, F = 2[g(u) + g(y − u)] is a polynomial; enumerate its extrema.

    At y/2 = 3/10 the collapse is a local maximum and the only critical point with
    |u_j| < 1: no minimiser exists.  At 7/10 it is a minimum, which is the control.
    """
    u = sympy.Symbol("u", real=True)
    slope = sympy.tanh(Z).diff(Z) ** 2
    g = (1 - u**2) ** 2
    yield "g(tanh z) = (tanh' z)²", slope - g.subs(u, sympy.tanh(Z))
    along = 2 * (g + g.subs(u, 2 * mean - u))
    yield "g'' = 12u² − 4", g.diff(u, 2) - (12 * u**2 - 4)
    yield "the collapse is critical", along.diff(u).subs(u, mean)
    yield "and a maximum", bool(along.diff(u, 2).subs(u, mean) < 0)
    critical = sympy.Poly(along.diff(u), u)
    low, high = 2 * mean - 1, sympy.S.One  # both u and y − u in (−1, 1)
    yield "it is the only one", critical.count_roots(low, high) == 1


@statement(
    "gatmiry2024/zero-third-derivative",
    title="With φ''' = 0 there is no bias",
    claim=r"\varphi = z^2:\quad F = 8 \textstyle\sum_i w_i y_i "
    r"\text{ on } M,\quad \operatorname{grad}_M F = 0",
    hypotheses=(WITHOUT_THIRD,),
    reference="theory notes 1.13",
    scope=Scope.FIXED_SIZE,
    control={"power": 3},
)
def zero_third_derivative(power: int = 2) -> Parts:
    """φ'² = 4φ, so F is a function of the outputs, which M fixes."""
    f, z = Z**power, reals("z", 3)
    output = sum(f.subs(Z, zj) for zj in z)
    yield "F = 8y", _trace(f, list(z)) - 8 * output
    yield "the gradient vanishes", sympy.Matrix(_gradient(f, list(z)))


@statement(
    "gatmiry2024/negative-third-derivative",
    title="With φ''' < 0 the collapse is a maximum",
    claim=r"\varphi = z^{3/2}:\quad \operatorname{Hess}_M F = 4\varphi'\varphi''' = "
    r"-9/(4z) < 0 \text{ at the collapse}",
    hypotheses=(WITHOUT_THIRD,),
    reference="theory notes 1.13",
    scope=Scope.THIS_ACTIVATION,
    control={"power": sympy.Rational(5, 2)},
)
def negative_third_derivative(power: sympy.Expr = sympy.Rational(3, 2)) -> Parts:
    """Take Lemma 6 with Δ = 0 on the unit tangent vector (1, −1)/√2."""
    z, t = sympy.symbols("z t", positive=True)
    f = t**power
    p1, _, p3 = (f.diff(t, k).subs(t, z) for k in (1, 2, 3))
    yield "Hess = −9/4z", 4 * p1 * p3 + sympy.Rational(9, 4) / z
    # F itself along M, where the outputs are 1 ± e: φ'² = p² u^{2(p−1)/p}
    e = sympy.Symbol("e", real=True)
    in_output = [(1 + sign * e) ** (2 * (power - 1) / power) for sign in (1, -1)]
    trace = 2 * power**2 * sum(in_output)
    # at z = 1: |dz|² = 2 (2/3)² de², and −9/4 times 8/9 is −2
    yield "F falls away from it as fast", trace.diff(e, 2).subs(e, 0) + 2


@statement(
    "gatmiry2024/dependent-inputs",
    title="With dependent inputs there are stationary points with two clusters",
    claim=r"d = 1,\ x = (1, 2),\ m = 4:\quad (s, t, t, t) \in M,\ s \ne t, "
    r"\text{ is stationary, and no collapsed point is on } M",
    hypotheses=(Hypothesis("dependent-inputs", "instead of independent inputs"),),
    reference="theory notes 1.13",
    scope=Scope.THIS_ACTIVATION,
    control={"samples": 1},
)
def dependent_inputs(samples: int = 2) -> Parts:
    """In θ the outputs of the cubic are Σθ³/6 + Σθ and 8Σθ³/6 + 2Σθ.

    So M fixes Σθ and Σθ³.  At a point with only two values the three gradients of F, Σθ
    and Σθ³ are functions of the value, hence dependent: a Lagrange point.  A collapsed
    point needs 16 Σθ³ = (Σθ)³.  The control has one sample (x = 1).
    """
    x = (1, 2)[:samples]
    f = Z**3 / 6 + Z
    theta = [sympy.Integer(1), *[-sympy.Rational(1, 3)] * 3]  # s = 1, t = −1/3

    def along(function: sympy.Expr) -> list[sympy.Expr]:
        """Return the gradient of Σ_j function(θ_j)."""
        return [function.diff(Z).subs(Z, value) for value in theta]

    outputs = [f.subs(Z, xi * Z) for xi in x]
    trace = sum(2 * xi**2 * f.diff(Z).subs(Z, xi * Z) ** 2 for xi in x)
    J = sympy.Matrix([along(output) for output in outputs])
    extended = J.col_join(sympy.Matrix([along(trace)]))
    yield "J has full rank", J.rank() == len(x)
    yield "the gradient of F is normal", extended.rank() == J.rank()
    targets = [sum(output.subs(Z, value) for value in theta) for output in outputs]
    shared = sympy.Symbol("c", real=True)
    common = sympy.gcd_list(
        [
            4 * output.subs(Z, shared) - y
            for output, y in zip(outputs, targets, strict=True)
        ]
    )
    yield "no collapsed point is on M", not common.has(shared)


@statement(
    "gatmiry2024/more-samples-than-features",
    title="For n > d all neurons are critical points of one potential",
    claim=r"\operatorname{grad}_M F = 0 \implies \nabla \psi_\alpha(\theta_j) = 0\ "
    r"\forall j, \quad \psi_\alpha(\theta) = \sum_i [2 w_i \varphi'(\theta^\top x_i)^2 "
    r"- \alpha_i \varphi(\theta^\top x_i)]",
    hypotheses=(Hypothesis("any-n", "n may exceed d"),),
    reference="theory notes 1.12f",
    scope=Scope.FIXED_SIZE,
    control={"factor": 1},
)
def more_samples_than_features(factor: int = 2) -> Parts:
    """F − Σ_iα_i r_i is a sum over neurons of one function ψ_α of θ_j.

    So the number of clusters is at most that of the critical points of ψ_α.  At a local
    minimum a value shared by two neurons has ∇²ψ_α ⪰ 0: move them apart, u_j = −u_k.
    """
    X, theta = reals("x", 3, 2), reals("t", 2, 2)  # n = 3 > d = 2, two neurons
    w, alpha = reals("w", 3), reals("alpha", 3)

    def potential(neuron: sympy.Matrix) -> sympy.Expr:
        total = sympy.S.Zero
        for i in range(3):
            z = (X[i, :] * neuron)[0]
            slope = phi(Z).diff(Z).subs(Z, z).doit()
            total += factor * w[i] * slope**2 - alpha[i] * phi(z)
        return total

    def lagrangian(at: sympy.Matrix) -> sympy.Expr:
        total = sympy.S.Zero
        for i in range(3):
            row = X[i, :] * at
            slopes = [phi(Z).diff(Z).subs(Z, z).doit() for z in row]
            total += 2 * w[i] * sum(s**2 for s in slopes)
            total -= alpha[i] * sum(phi(z) for z in row)
        return total

    columns = [theta[:, j] for j in range(2)]
    yield (
        "F − Σα_i r_i is a sum of potentials",
        lagrangian(theta) - sum(map(potential, columns)),
    )
    shared, v, t = theta[:, 0], reals("v", 2), sympy.Symbol("s", real=True)
    apart = potential(shared + t * v) + potential(shared - t * v)
    yield (
        "moving two equal neurons apart sees ∇²ψ",
        (
            apart.diff(t, 2).subs(t, 0).doit()
            - 2 * potential(shared + t * v).diff(t, 2).subs(t, 0).doit()
        ),
    )
