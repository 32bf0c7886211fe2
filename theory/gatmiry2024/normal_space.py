"""The normal space of M: its basis, its Gram matrix, and what the data leave free."""

from __future__ import annotations

import sympy

from theory.gatmiry2024.definitions import (
    INCREASING,
    INDEPENDENT,
    NONZERO_WEIGHTS,
    TWO_NEURONS,
    Network,
    Parts,
    reals,
)
from theory.statement import Scope, statement


@statement(
    "gatmiry2024/lemma-1",
    title="A basis of the normal space, and its Gram matrix",
    claim=r"G = JJ^\top = K \circ (P\,\mathrm{diag}(a^2) P^\top), \quad "
    r"P_{ij} = \varphi'(z_{ij}), \quad "
    r"\lambda_{\min}(G) \ge \mu \rho_1^2 \textstyle\sum_j a_j^2",
    hypotheses=(INCREASING, INDEPENDENT, NONZERO_WEIGHTS),
    reference="Gatmiry et al. 2024, Lemma 1; theory notes 1.2",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"power": 1},
)
def lemma_1(
    power: int = 2,
    n: int = 2,
    m: int = 2,
) -> Parts:
    """Give row i of J the block a_jφ'(z_ij)x_i in neuron j.

    Σ_i c_i v_i has the block Xᵀ(D_j c), from which K⁻¹X recovers c_i a_jφ'_ij; that
    vanishes only with c, so the rows are independent and M has codimension n.  In
    cᵀGc = Σ_j (D_jc)ᵀK(D_jc) replace K by μ and φ'² by ρ1².
    """
    net = Network(n, m)
    X = reals("x", n, n + 1)
    K, P = X * X.T, net.slope(1)
    blocks = [
        sympy.Matrix(n, n + 1, lambda i, k, j=j: _chain(net, X, i, j, k))
        for j in range(m)
    ]
    weights = sympy.diag(*[a**power for a in net.a])
    closed = K.multiply_elementwise(P * weights * P.T)
    yield "G from the rows of J", sum((b * b.T for b in blocks), -closed)
    c = reals("c", n)
    scaled = [sympy.diag(*(net.a[j] * P[:, j])) * c for j in range(m)]
    for j in range(m):
        recovered = K.adjugate() * X * (blocks[j].T * c)
        yield f"c recovered from neuron {j}", recovered - K.det() * scaled[j]
    mu, rho = sympy.symbols("mu rho", positive=True)
    K = net.gram_of_inputs
    slack = [(s.T * (K - mu * sympy.eye(n)) * s)[0] for s in scaled]
    slack += [
        mu * net.a[j] ** 2 * (P[i, j] ** 2 - rho**2) * c[i] ** 2
        for i in range(n)
        for j in range(m)
    ]
    bound = mu * rho**2 * sum(a**2 for a in net.a) * (c.T * c)[0]
    yield (
        "cᵀGc is the bound and nonnegative terms",
        (c.T * net.gram * c)[0] - bound - sum(slack),
    )


def _chain(net: Network, X: sympy.Matrix, i: int, j: int, k: int) -> sympy.Expr:
    """Return ∂r_i/∂θ_jk by the chain rule through the preactivations."""
    return sum(X[h, k] * net.outputs[i].diff(net.z[h, j]) for h in range(net.n))


@statement(
    "gatmiry2024/lq-reduction",
    title="Only the Gram matrix of the inputs matters",
    claim=r"X = LQ,\ QQ^\top = I: \quad \theta_j = Q^\top\vartheta_j + \theta_j^\perp "
    r"\implies z = L\vartheta, \quad \nabla_\theta = Q^\top \nabla_\vartheta",
    hypotheses=(INDEPENDENT,),
    reference="theory notes 1.9, 1.10",
    scope=Scope.FIXED_SIZE,
    control={"scale": 2},
)
def lq_reduction(scale: int = 1) -> Parts:
    """Rows of Q are an orthonormal basis of the span of the inputs; here any in R³.

    Preactivations do not see θ^⊥, gradients are the lifted gradients, norms of inputs
    and inner products stay: flows and step-by-step algorithms commute with the lift.
    """
    rotation, b = _rotation(), sympy.Symbol("b", real=True)
    Q, off = scale * rotation[:2, :], rotation[2, :].T * b
    L = reals("l", 2, 2)
    L[0, 1] = 0
    X = L * Q
    small = reals("v", 2)
    theta = Q.T * small + off
    yield "preactivations", X * theta - L * small
    yield "Gram matrix and norms", X * X.T - L * L.T
    slopes = reals("s", 2)  # any derivative by the preactivations
    yield "gradients are lifted", X.T * slopes - Q.T * (L.T * slopes)
    yield "the lift is an isometry", Q * Q.T - sympy.eye(2)
    yield "gradients leave the rest alone", off.T * (X.T * slopes)


def _rotation() -> sympy.Matrix:
    """Return every rotation of R³ but for half turns (Cayley's formula)."""
    p, q, r = sympy.symbols("p q r", real=True)
    skew = sympy.Matrix([[0, -r, q], [r, 0, -p], [-q, p, 0]])
    identity = sympy.eye(3)
    return (identity - skew) * (identity + skew).inv()


@statement(
    "gatmiry2024/linear-constraint",
    title="In the outputs of the neurons the constraint is linear",
    claim=r"\dot U_j = -4 D_j K D_j (w \circ (a_j \varphi''_j - \beta)), \qquad "
    r"\textstyle\sum_j \dot U_j = 0 \text{ also off } M",
    hypotheses=(INCREASING, INDEPENDENT, NONZERO_WEIGHTS, TWO_NEURONS),
    reference="theory notes 1.10",
    scope=Scope.FIXED_SIZE,
    any_activation=True,
    control={"factor": 2},
)
def linear_constraint(factor: int = 4, n: int = 2, m: int = 2) -> Parts:
    """u_ij = a_jφ(z_ij) moves by a_jφ'_ij ż_ij, and ż_j = K times the coefficients.

    Σ_jU̇_j = −J grad_M F = 0 by the choice of β, at every θ.  A step of a Runge–Kutta or
    linear multistep method adds combinations of velocities, so it keeps the sums too.
    """
    net = Network(n, m)
    P, second, K = net.slope(1), net.slope(2), net.gram_of_inputs
    det, velocity = net.gram.det(), -K * net.scaled_gradient
    total = sympy.zeros(net.n, 1)
    for j in range(net.m):
        D = sympy.diag(*(net.a[j] * P[:, j]))
        moved = D * velocity[:, j]
        inside = sympy.Matrix(
            n,
            1,
            lambda i, _, j=j: (
                det * net.w[i] * net.a[j] * second[i, j] - net.multipliers[i] / 4
            ),
        )
        yield f"velocity of neuron {j}", moved + factor * D * K * D * inside
        total += moved
    yield "the sums do not move", total


@statement(
    "gatmiry2024/runge-kutta-keeps-sums",
    title="Every Runge–Kutta method keeps linear invariants",
    claim=r"\mathbf 1^\top f \equiv 0 \implies \mathbf 1^\top u_{k+1} = "
    r"\mathbf 1^\top u_k",
    reference="theory notes 1.10",
    scope=Scope.FIXED_SIZE,
    control={"leak": 1},
)
def runge_kutta_keeps_sums(leak: int = 0) -> Parts:
    """Stages, explicit or implicit, are velocities, whose entries sum to 0.

    A step adds a combination of them, and a multistep method one of earlier steps, so
    the stages may be any vectors of sum 0; any weights and step size do.
    """
    u, step, weights = reals("u", 3), sympy.Symbol("h", real=True), reals("b", 2)
    after = u
    for s in range(2):
        first, second = reals(f"k{s}", 2)
        stage = sympy.Matrix([first, second, leak - first - second])
        after = after + step * weights[s] * stage
    yield "the sum after a step", sum(after) - sum(u)
