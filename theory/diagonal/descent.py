"""What gradient flow and label-noise SGD do to the products u_k v_k."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import sympy

from theory.diagonal.definitions import NONZERO_START, SAMPLE_STEPS, Network
from theory.statement import Scope, statement


@statement(
    "diagonal/gradient-flow",
    title="Gradient flow of the loss conserves the products u_k v_k",
    claim=r"\tfrac{d}{dt} u_k v_k = 0, \quad "
    r"w_k = 2|u_{0k}v_{0k}| \sinh(4(Z^\top A)_k + \ell_k)",
    hypotheses=(NONZERO_START,),
    reference="Woodworth et al. 2020; theory notes 3.2",
    scope=Scope.FIXED_SIZE,
    control={"sign": 1},
)
def gradient_flow(sign: int = -1) -> Iterator[tuple[str, Any]]:
    """u_k and v_k have opposite relative speeds because w = u² − v².

    So w is a point of the family of the sharpness flow whose scale s_k stays put.
    """
    net = Network(sign)
    slope = [net.loss.diff(variable) for variable in net.variables]
    for k in range(2):
        yield f"u_{k} v_{k}", slope[k] * net.v[k] + net.u[k] * slope[k + 2]
    t = sympy.Symbol("t", real=True)
    lifts = sympy.Matrix([sympy.Function(f"A_{i}", real=True)(t) for i in range(2)])
    p, q = sympy.symbols("p_:2", positive=True), sympy.symbols("q_:2", positive=True)
    lift = net.z.T * lifts
    path = {net.u[k]: p[k] * sympy.exp(2 * lift[k]) for k in range(2)}
    path |= {net.v[k]: q[k] * sympy.exp(-2 * lift[k]) for k in range(2)}
    residuals = {
        net.y[i]: net.predictions[i] + 2 * lifts[i].diff(t) for i in range(2)
    }  # Ȧ_i = −(f_i − y_i)/n
    for k, variable in enumerate(net.variables):
        speed = -slope[k].subs(residuals).subs(path)
        yield f"{variable} follows the flow", path[variable].diff(t) - speed
    for k in range(2):
        law = 2 * p[k] * q[k] * sympy.sinh(4 * lift[k] + sympy.log(p[k] / q[k]))
        yield f"w_{k}", net.w[k].subs(path) - law


@statement(
    "diagonal/label-noise-step",
    title="One label-noise step shrinks every product, exactly",
    claim=r"(u_k v_k)^+ = u_k v_k (1 - 4\eta^2 e^2 z_{ik}^2), \quad "
    r"\operatorname{E}\ln\frac{(u_kv_k)^+}{u_kv_k} = -16 c_k "
    r"\tfrac{\sigma^2}{4} \eta^2 + O(\eta^4) \text{ on } \Gamma",
    hypotheses=(SAMPLE_STEPS,),
    reference="theory notes 3.4",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def label_noise_step(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """u_k⁺ = u_k(1 − 2ηez) and v_k⁺ = v_k(1 + 2ηez): the product is a difference.

    On Γ the error e is the noise; the mean over the samples has the rate 16c_k of the
    flow at the clock σ²η²/4.
    """
    net = Network()
    eta, noise, sigma = sympy.symbols("eta epsilon sigma", positive=True)
    drift = [sympy.S.Zero, sympy.S.Zero]
    for i in range(2):
        error = net.predictions[i] - net.y[i] - noise
        loss = error**2 / 2
        step = {x: x - eta * loss.diff(x) for x in net.variables}
        for k in range(2):
            after = step[net.u[k]] * step[net.v[k]]
            shrink = 1 - factor * (eta * error * net.z[i, k]) ** 2
            yield f"sample {i}, k = {k}", after - net.u[k] * net.v[k] * shrink
            ratio = (after / (net.u[k] * net.v[k])).subs(net.y[i], net.predictions[i])
            ratio = sympy.cancel(ratio.subs(noise, sigma))
            drift[k] += sympy.log(ratio).diff(eta, 2).subs(eta, 0) / 2 / 2
    for k in range(2):
        rate = 4 * factor * net.moment(k)
        yield f"mean drift, k = {k}", drift[k] + rate * sigma**2 / 4


@statement(
    "diagonal/lasso",
    title="Label-noise SGD hovers around a Lasso solution",
    claim=r"\tfrac1n Z^\top(Z\bar w - y) = -\eta\sigma^2\, c \circ \operatorname{sgn} w"
    r" + O(\eta^2)",
    hypotheses=(SAMPLE_STEPS,),
    reference="theory notes 3.4",
    scope=Scope.FIXED_SIZE,
    control={"penalty": 2},
)
def lasso(penalty: int = 1) -> Iterator[tuple[str, Any]]:
    """In the stationary state E ln(u⁺/u) = 0; expand to the order η².

    Residuals of mean ημ_i and spread √η τ_i, noise ±σ: two-point laws have the moments
    that count.  The condition is that of the Lasso with penalty λ = ησ² and weights c.
    """
    u, v, y, noise, z = sympy.symbols("u v y epsilon z", real=True)
    root, sigma = sympy.symbols("h sigma", positive=True)  # η = h²
    loss = (z * (u**2 - v**2) - y - noise) ** 2 / 2
    mu, tau = (sympy.symbols(f"{name}_:2", real=True) for name in ("mu", "tau"))
    zs = sympy.symbols("z_:2", real=True)
    pull = sum(zs[i] * mu[i] for i in range(2)) / 2
    moment = sum(entry**2 for entry in zs) / 2
    w = sympy.Symbol("w", real=True)
    for variable, sign in ((u, 1), (v, -1)):
        ratio = sympy.cancel((variable - root**2 * loss.diff(variable)) / variable)
        ratio = ratio.subs(y, z * (u**2 - v**2) - sympy.Symbol("r"))
        series = sympy.S.Zero
        for i, side, spread in product(range(2), (1, -1), (1, -1)):
            residual = root**2 * mu[i] + root * spread * tau[i]
            values = {"r": residual, z: zs[i], noise: side * sigma}
            x = sympy.expand(1 - ratio.subs(values))
            series += -(x + x**2 / 2) / 8  # ln(1 − x), and x³ is of order h⁶
        series = sympy.expand(series)
        for order in range(4):
            yield f"{variable}: order h^{order} vanishes", series.coeff(root, order)
        drift = series.coeff(root, 4)
        yield (
            f"{variable}: ln-drift",
            drift + 2 * sign * (pull + sign * penalty * sigma**2 * moment),
        )
        objective = root**2 * penalty * sigma**2 * moment * sign * w
        y_of = [zs[i] * w - root**2 * mu[i] for i in range(2)]
        ys = sympy.symbols("y_:2", real=True)
        objective += sum((zs[i] * w - ys[i]) ** 2 for i in range(2)) / 4
        slope = objective.diff(w).subs(dict(zip(ys, y_of, strict=True)))
        condition = sympy.expand(slope + sign * root**2 * drift / 2)
        yield f"{variable}: the condition is the Lasso's", condition
