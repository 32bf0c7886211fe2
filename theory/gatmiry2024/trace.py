"""The trace of the Hessian on M."""

from __future__ import annotations

import sympy

from theory.activations import Z
from theory.gatmiry2024.definitions import (
    NONZERO_WEIGHTS,
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
    hypotheses=(NONZERO_WEIGHTS,),
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
    a, z = sympy.Symbol("a", real=True, nonzero=True), sympy.Symbol("z", real=True)
    q, y, others = sympy.symbols("q y b", real=True)
    x = reals("x", 3)
    loss = q * (others + a * f.xreplace({Z: z}) - y) ** 2

    def along(expression: sympy.Expr, k: int) -> sympy.Expr:
        return x[k] * expression.diff(z)  # ∂/∂θ_k, since z = xᵀθ

    trace = sum(along(along(loss, k), k) for k in range(3)).doit()
    on_manifold = trace.subs(y, others + a * f.xreplace({Z: z}))
    slope = f.diff(Z).xreplace({Z: z})
    closed = factor * q * (x.T * x)[0] * a**2 * slope**2
    yield "one sample, one neuron", on_manifold.doit() - closed


@statement(
    "gatmiry2024/trace-extension",
    title="How F is continued off M does not matter",
    claim=r"P_T \nabla (\operatorname{Tr} \nabla^2 L) = P_T \nabla F \text{ on } M",
    hypotheses=(NONZERO_WEIGHTS,),
    reference="theory notes 1.3",
    scope=Scope.FIXED_SIZE,
    control={"on_manifold": False},
)
def trace_extension(on_manifold: bool = True) -> Parts:
    """Tr ∇²L − F = Σ_i 2q_i(r_i − y_i)‖x_i‖²Σ_j a_jφ'' vanishes on M.

    Its gradient there is a combination of the normals ∇r_i.  Off M it is not: the
    control leaves the residuals free.
    """
    net = Network(2, 2)
    residuals = [r - y for r, y in zip(net.outputs, reals("y", 2), strict=True)]
    second = net.slope(2)
    curvature = [
        sum(net.a[j] * second[i, j] for j in range(net.m)) for i in range(net.n)
    ]
    difference = sum(
        2 * w * r * c for w, r, c in zip(net.w, residuals, curvature, strict=True)
    )
    normal_part = sum(
        (
            2 * w * c * normal
            for w, c, normal in zip(net.w, curvature, net.normals, strict=True)
        ),
        sympy.zeros(net.n, net.m),
    )
    gradient = net.gradient(difference)
    if on_manifold:
        values = dict(zip(reals("y", 2), net.outputs, strict=True))
        gradient = gradient.subs(values).doit()
    yield "the gradients differ by normal vectors", gradient - normal_part
