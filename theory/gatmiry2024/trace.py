"""The trace of the Hessian on M."""

from __future__ import annotations

from itertools import product

import sympy

from theory.activations import Z
from theory.gatmiry2024.definitions import (
    SMOOTH,
    Network,
    Parts,
    phi,
    reals,
)
from theory.statement import Scope, statement


@statement(
    "gatmiry2024/lemma-3",
    title="The trace of the Hessian on M",
    claim=r"\theta \in M \implies \operatorname{Tr} \nabla^2 L = F(\theta) = "
    r"2 \sum_i q_i \|x_i\|^2 \sum_j a_j^2 \varphi'(z_{ij})^2",
    hypotheses=(SMOOTH,),
    reference="Gatmiry et al. 2024, Lemma 3; theory notes 1.3",
    scope=Scope.ALL_SIZES,
    control={"factor": 1},
)
def lemma_3(factor: int = 2, activation: sympy.Expr | None = None) -> Parts:
    """Sum ∂²/∂θ_jk² of q_i(r_i − y_i)² over samples and neurons, each by itself.

    One sample and one neuron in dimension 3 are therefore the general case: the other
    neurons enter as a constant, and y is what makes the residual vanish.
    """
    f = phi(Z) if activation is None else activation
    # dummies, because a given activation has letters of its own
    a, q, y, others = (sympy.Dummy(name, real=True) for name in "aqyb")
    z, x = Z, [sympy.Dummy(f"x{k}", real=True) for k in range(3)]
    loss = q * (others + a * f.xreplace({Z: z}) - y) ** 2

    def along(expression: sympy.Expr, k: int) -> sympy.Expr:
        return x[k] * expression.diff(z)  # ∂/∂θ_k, since z = xᵀθ

    trace = sum(along(along(loss, k), k) for k in range(3)).doit()
    on_manifold = trace.subs(y, others + a * f.xreplace({Z: z}))
    slope = f.diff(Z).xreplace({Z: z})
    closed = factor * q * sum(xk**2 for xk in x) * a**2 * slope**2
    yield "one sample, one neuron", on_manifold.doit() - closed


@statement(
    "gatmiry2024/trace-extension",
    title="How F is continued off M does not matter",
    claim=r"P_T \nabla (\operatorname{Tr} \nabla^2 L) = P_T \nabla F \text{ on } M",
    hypotheses=(),
    reference="theory notes 1.3",
    scope=Scope.FIXED_SIZE,
    control={"on_manifold": False},
)
def trace_extension(on_manifold: bool = True) -> Parts:
    """Tr ∇²L is Σ_j Σ_ik K_ik ∂²L/∂z_ij∂z_kj; it minus F vanishes on M.

    Its gradient there is Σ_i 2w_i(Σ_j a_jφ'')∇r_i, a combination of the normals.  Off M
    it is not: the control leaves the residuals free.
    """
    net, y = Network(2, 2), reals("y", 2)
    K = net.gram_of_inputs
    q = [w / K[i, i] for i, w in enumerate(net.w)]  # w_i = q_i ‖x_i‖²
    loss = sum(qi * (r - yi) ** 2 for qi, r, yi in zip(q, net.outputs, y, strict=True))
    trace = sum(
        K[i, k] * loss.diff(net.z[i, j], net.z[k, j])
        for i, k, j in product(range(2), repeat=3)
    )
    second = net.slope(2)
    normal_part = sympy.zeros(2, 2)
    for i, normal in enumerate(net.normals):
        curvature = sum(net.a[j] * second[i, j] for j in range(2))
        normal_part += 2 * net.w[i] * curvature * normal
    gradient = net.gradient(trace - net.trace)
    if on_manifold:
        gradient = gradient.subs(dict(zip(y, net.outputs, strict=True))).doit()
    yield "the gradients differ by normal vectors", gradient - normal_part
