r"""Finite step size: what label noise regularises when η is not infinitesimal.

The setting is that of `theory.li2021`, with the covariance of the fluctuations exact in
η: the drift :math:`-\tfrac12 η P_T D^3L[C]` is taken with the fixed point C of the
second moments of the linearised update.  What the higher orders in the distance to Γ
add at the same power of η is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import sympy
from sympy.polys.matrices import DomainMatrix

from theory.germs import (
    CURVATURES,
    INTERPOLATION,
    SMALL_STEP,
    X,
    at_origin,
    germ,
    gradient,
    on_zero_loss,
    residuals,
    tangent_part,
    trilinear,
)
from theory.li2021 import clock
from theory.li2021.definitions import CONSTANT_RANK, INDEPENDENT_NOISE, MATCHED
from theory.statement import Scope, statement

c, sigma, eta, h = sympy.symbols("c sigma eta h", positive=True)
I2 = sympy.eye(2)
HALF, SIXTEENTH = sympy.Rational(1, 2), sympy.Rational(1, 16)


def _symmetric(name: str, size: int) -> sympy.Matrix:
    return sympy.Matrix(
        size,
        size,
        lambda i, j: sympy.Symbol(f"{name}_{min(i, j)}{max(i, j)}", real=True),
    )


def _second_moment(after: sympy.Matrix, moments: dict[Any, sympy.Expr]) -> sympy.Matrix:
    """Return E[after afterᵀ] for centred variables with these products' means."""
    variables = sorted({x for pair in moments for x in pair}, key=str)

    def mean(entry: sympy.Expr) -> sympy.Expr:
        polynomial = sympy.Poly(entry, *variables)
        total = sympy.S.Zero
        for powers, factor in polynomial.terms():
            pair = [x for x, k in zip(variables, powers, strict=True) for _ in range(k)]
            total += factor * moments.get(tuple(pair), sympy.S.Zero)
        return total

    return (after * after.T).applyfunc(mean)


@statement(
    "finite-step/covariance",
    title="The stationary covariance of the fluctuations, exact in the step size",
    claim=r"HC + CH - \eta HCH = \eta cH \implies C = \eta c(2 - \eta H)^{-1}P_N",
    hypotheses=(CONSTANT_RANK, MATCHED, SMALL_STEP),
    reference="Damian, Ma, Lee 2021; theory notes 8.1",
    scope=Scope.FIXED_SIZE,
    control={"quadratic": 0},
)
def covariance(quadratic: int = 1) -> Iterator[tuple[str, Any]]:
    """Take the second moments of the update δ⁺ = (I − ηH)δ − ηξ on the normal space.

    For a generic 2 × 2 Hessian they give the equation; the closed form solves it, and
    in the frame of the eigenvectors it is the only solution.
    """
    H, C = _symmetric("H", 2), _symmetric("C", 2)
    delta, xi = (
        sympy.symbols("delta_1:3", real=True),
        sympy.symbols("xi_1:3", real=True),
    )
    after = (I2 - eta * H) * sympy.Matrix(delta) - eta * sympy.Matrix(xi)
    moments = {
        (x[i], x[j]): matrix[i, j]
        for x, matrix in ((delta, C), (xi, c * H))
        for i, j in ((0, 0), (0, 1), (1, 1))
    }
    change = _second_moment(after, moments) - C
    equation = H * C + C * H - quadratic * eta * H * C * H - eta * c * H
    yield "stationary ⟺ HC + CH − ηHCH = ηcH", change + eta * equation
    solved = eta * c * (2 * I2 - eta * H).inv()
    entries = [(0, 0), (0, 1), (1, 1)]
    yield (
        "the closed form is stationary",
        change.subs({C[e]: solved[e] for e in entries}),
    )
    frame = {H[0, 1]: 0, H[0, 0]: CURVATURES[2], H[1, 1]: CURVATURES[3]}
    names = [C[e] for e in entries]
    found = sympy.solve(list(change.subs(frame)), names, dict=True)
    yield "there is one solution", len(found) == 1 and len(found[0]) == 3
    yield "it is the closed form", C.subs(found[0]) - solved.subs(frame)


@statement(
    "finite-step/regulariser",
    title="The drift at finite step size is the gradient of a log-determinant",
    claim=r"-\tfrac12\eta P_TD^3L[C] = -\eta^2 c\operatorname{grad}_\Gamma R_\eta, "
    r"\quad R_\eta = -\tfrac{1}{2\eta}\operatorname{tr}\log(I - \tfrac\eta2\nabla^2L)",
    hypotheses=(CONSTANT_RANK, MATCHED, SMALL_STEP),
    reference="Damian, Ma, Lee 2021; theory notes 8.1",
    scope=Scope.FIXED_SIZE,
    control={"inside": sympy.S.One},
)
def regulariser(inside: sympy.Expr = HALF) -> Iterator[tuple[str, Any]]:
    """Solve HC + CH − ηHCH = ηcH for the generic germ, and differentiate R_η along Γ.

    tr log is log det, so R_η needs no eigenvalues; its slope along Γ is that at
    tangent displacements.
    """
    H = sympy.diag(*CURVATURES)
    C = sympy.zeros(4)
    C[2:, 2:] = _symmetric("C", 2)
    names = [C[2, 2], C[2, 3], C[3, 3]]
    equations = H * C + C * H - eta * H * C * H - eta * c * H
    C = C.subs(sympy.solve(list(equations), names, dict=True)[0])
    drift = -eta * tangent_part(trilinear(germ(), C)) / 2
    on_tangents = sympy.hessian(germ(), X).subs({X[2]: 0, X[3]: 0})
    matrix = DomainMatrix.from_Matrix(sympy.eye(4) - inside * eta * on_tangents)
    determinant = matrix.domain.to_sympy(matrix.det())
    slope = at_origin(gradient(determinant, X)) / at_origin(determinant)
    yield "−½ηP_T D³L[C] = −η²c grad R_η", drift - eta * c * tangent_part(slope) / 2


@statement(
    "finite-step/expansion",
    title="The regulariser at finite step size exceeds a quarter of the trace",
    claim=r"R_\eta = \tfrac14\operatorname{Tr}\nabla^2L + "
    r"\tfrac{\eta}{16}\operatorname{Tr}(\nabla^2L)^2 + O(\eta^2) \ge "
    r"\tfrac14\operatorname{Tr}\nabla^2L",
    hypotheses=(SMALL_STEP,),
    reference="Damian, Ma, Lee 2021; theory notes 8 and 8.1",
    scope=Scope.ALL_SIZES,
    control={"second": sympy.Rational(1, 8)},
)
def expansion(second: sympy.Expr = SIXTEENTH) -> Iterator[tuple[str, Any]]:
    """R_η and the traces are sums over eigenvalues h: expand one term.

    The difference to h/4 vanishes at h = 0 and its slope is ηh/(4(2 − ηh)) ≥ 0, so
    large eigenvalues pay more than their share.
    """
    term = -sympy.log(1 - eta * h / 2) / (2 * eta)
    series = sympy.series(eta * term, eta, 0, 3).removeO()
    yield "expansion", sympy.expand(series / eta) - h / 4 - second * eta * h**2
    x = sympy.Symbol("x", positive=True)
    slope = (term - h / 4).diff(h)
    yield "the difference is 0 at h = 0", term.subs(h, 0)
    yield "its slope is ηh/(4(2 − ηh))", slope - eta * h / (4 * (2 - eta * h))
    below = sympy.cancel(slope.subs(h, 2 * x / (eta * (1 + x))))  # any 0 < ηh < 2
    yield "its slope is positive", below > 0


@statement(
    "finite-step/determinant",
    title="At finite step size the full-batch flow minimises a log-determinant of JJᵀ",
    claim=r"cR_\eta = \kappa F_\eta, \quad "
    r"F_\eta = -\tfrac2\eta\log\det(I - \eta JJ^\top) = F + O(\eta)",
    hypotheses=(INTERPOLATION, INDEPENDENT_NOISE, SMALL_STEP),
    reference="theory notes 8.1, loss Σ(·)², c = 2σ², κ = σ²/2",
    scope=Scope.FIXED_SIZE,
    control={"factor": 1},
)
def determinant(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """With H = 2JᵀJ, det(I − ηH/2) = det(I − ηJᵀJ) = det(I − ηJJᵀ): no large matrix.

    H is that of the loss of two undefined models of three parameters, and c that of
    its full-batch label noise.  cR_η and κF_η are 0 at J = 0 and have the same
    slopes.  The gradient of F_η weighs the Gram matrix by (I − ηG)⁻¹, as
    differentiating along a path of Jacobians shows.
    """
    t, parameters = sympy.Symbol("t", real=True), sympy.symbols("theta_1:4", real=True)
    models = sympy.Matrix(residuals(2, parameters))
    H = on_zero_loss(sympy.hessian(models.dot(models), parameters))
    J = on_zero_loss(models.jacobian(parameters))
    G = J * J.T
    yield "H = 2JᵀJ", H - 2 * J.T * J
    large, D = (sympy.eye(3) - eta * H / 2).det(), (I2 - eta * G).det()
    yield "det(I − ηH/2) = det(I − ηJJᵀ)", sympy.expand(large - D)
    noise = clock.covariance(sympy.S.One, clock.FULL)[0, 0]
    constant = sympy.cancel(noise / clock.hessian(sympy.S.One)[0, 0])
    rate = sigma**2 / 2  # li2021/clock-full-batch, with c = 2σ²
    # slopes of −(c/2η) log det(I − ηH/2) and of κF_η, times both determinants
    for k, entry in enumerate(J):
        slopes = constant / 2 * large.diff(entry) * D
        slopes -= rate * factor * D.diff(entry) * large
        yield f"d(cR_η) = κ dF_η, entry {k} of J", sympy.expand(slopes)
    small = I2 - eta * G
    first_order = sympy.expand(D).coeff(eta, 1)
    yield "F_η = 2 Tr JJᵀ + O(η)", -factor * first_order - 2 * G.trace()
    move = sympy.Matrix([[1, t], [t, 2]])
    path = (I2 - eta * (G + t * move)).det()
    slope = -factor / eta * path.diff(t).subs(t, 0) / D
    weighed = 2 * (small.adjugate() / D * (G + t * move).diff(t).subs(t, 0)).trace()
    yield "dF_η = 2 tr (I − ηG)⁻¹dG", slope - weighed


@statement(
    "finite-step/minibatch",
    title="The stationary covariance of minibatch label noise",
    claim=r"C = J^\top NJ: \ \tfrac{2\eta}{n}(GN + NG) - \eta^2\bigl[(1 - p)"
    r"\tfrac{4}{n^2}GNG + p\tfrac4n\operatorname{diag}(GNG)\bigr] = "
    r"\eta^2\tfrac{4\sigma^2}{nB}I, \quad p = \tfrac{n - B}{B(n - 1)}",
    hypotheses=(INDEPENDENT_NOISE,),
    reference="theory notes 8.2, loss (1/n)Σ(·)², batches without replacement",
    scope=Scope.FIXED_SIZE,
    control={"spread": 0},
)
def minibatch(spread: int = 1) -> Iterator[tuple[str, Any]]:
    """Write δ = Jᵀu: the update is u_i⁺ = u_i − (2η/B)(Gu − ε)_i for i in the batch.

    Average its second moments over all batches of one, two and three out of three
    samples, for generic Gram matrix G = JJᵀ and second moments N.
    """
    n = 3
    G, N = _symmetric("G", n), _symmetric("N", n)
    u, epsilon = (
        sympy.symbols("u_1:4", real=True),
        sympy.symbols("epsilon_1:4", real=True),
    )
    moments = {(u[i], u[j]): N[i, j] for i, j in product(range(n), repeat=2) if i <= j}
    moments |= {(e, e): sigma**2 for e in epsilon}
    for size in range(1, n + 1):
        batches = list(combinations(range(n), size))
        after = sympy.zeros(n)
        for batch in batches:
            chosen = sympy.diag(*(1 if i in batch else 0 for i in range(n)))
            residual = G * sympy.Matrix(u) - sympy.Matrix(epsilon)
            step = sympy.Matrix(u) - 2 * eta / size * chosen * residual
            after += _second_moment(step, moments) / len(batches)
        p = sympy.Rational(spread * (n - size), size * (n - 1))
        GNG = G * N * G
        diagonal = sympy.diag(*GNG.diagonal())
        noisy = (1 - p) * 4 / n**2 * GNG + p * sympy.Rational(4, n) * diagonal
        equation = sympy.Rational(2, n) * eta * (G * N + N * G) - eta**2 * noisy
        forcing = eta**2 * 4 * sigma**2 / (n * size) * sympy.eye(n)
        yield f"B = {size}", (after - N + equation - forcing).applyfunc(sympy.expand)
