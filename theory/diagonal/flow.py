"""The sharpness flow of the diagonal network is solved by exponentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.diagonal.definitions import NONZERO_START, ZERO_LOSS, Network
from theory.matrices import matrix_of
from theory.statement import Scope, statement

T = sympy.Symbol("t", positive=True)


@statement(
    "diagonal/closed-form",
    title="The sharpness flow is a sinh of linear functionals",
    claim=r"w_k(t) = 2 s_k \sinh(4 (Z^\top A)_k + \ell_k), \quad "
    r"s_k = |u_{0k}v_{0k}| e^{-16 c_k t}, \quad \ell_k = \ln|u_{0k}/v_{0k}|",
    hypotheses=(NONZERO_START, ZERO_LOSS),
    reference="theory notes 3.2",
    scope=Scope.FIXED_SIZE,
    control={"rate": 8},
)
def closed_form(rate: int = 16) -> Iterator[tuple[str, Any]]:
    """Integrate u̇_k = −u_k(8c_k − 2(Zᵀα)_k) with A = ∫α, and v̇_k likewise.

    A is an undefined function, so the exponentials solve the flow for every multiplier
    α = Ȧ, in particular for the one that keeps it on Γ.
    """
    net = Network()
    lifts = sympy.Matrix([sympy.Function(f"A_{i}", real=True)(T) for i in range(2)])
    velocity = net.sharpness_velocity(lifts.diff(T))
    p, q = sympy.symbols("p_:2", positive=True), sympy.symbols("q_:2", positive=True)
    for signs in ((1, 1), (1, -1), (-1, 1)):
        solution = {}
        for k in range(2):
            lift, decay = (net.z.T * lifts)[k], -rate * net.moment(k) * T / 2
            solution[net.u[k]] = signs[0] * p[k] * sympy.exp(decay + 2 * lift)
            solution[net.v[k]] = signs[1] * q[k] * sympy.exp(decay - 2 * lift)
        for k, variable in enumerate(net.variables):
            motion = solution[variable].diff(T) - velocity[k].subs(solution)
            yield f"{variable} follows the flow, signs {signs}", motion
        for k in range(2):
            s = p[k] * q[k] * sympy.exp(-rate * net.moment(k) * T)
            angle = 4 * (net.z.T * lifts)[k] + sympy.log(p[k] / q[k])
            law = 2 * s * sympy.sinh(angle)
            yield f"w_{k}, signs {signs}", net.w[k].subs(solution) - law


@statement(
    "diagonal/product-law",
    title="Products u_k v_k decay exponentially along the sharpness flow",
    claim=r"u_k v_k(t) = u_{0k} v_{0k}\, e^{-16 c_k t}",
    hypotheses=(ZERO_LOSS,),
    reference="theory notes 3.2",
    scope=Scope.FIXED_SIZE,
    control={"rate": 8},
)
def product_law(rate: int = 16) -> Iterator[tuple[str, Any]]:
    """Add u̇_k/u_k and v̇_k/v_k: the multiplier has opposite signs and cancels."""
    net = Network()
    velocity = net.sharpness_velocity(matrix_of("alpha", 2, 1))
    for k in range(2):
        change = velocity[k] * net.v[k] + net.u[k] * velocity[k + 2]
        yield (
            f"d(u_{k} v_{k})/dt = −16 c_{k} u_{k} v_{k}",
            change + rate * net.moment(k) * net.u[k] * net.v[k],
        )


def _potential(w: sympy.Expr, s: sympy.Expr, ell: sympy.Expr) -> sympy.Expr:
    """Return one coordinate of the convex objective."""
    root = sympy.sqrt(w**2 + 4 * s**2)
    return (w * sympy.asinh(w / (2 * s)) - root) / 4 - ell * w / 4


@statement(
    "diagonal/convex-program",
    title="Every point of the flow minimises a strictly convex function",
    claim=r"w(t) = \arg\min_{Zw=y} \sum_k \tfrac14\left[w_k \operatorname{arcsinh}"
    r"\tfrac{w_k}{2s_k} - \sqrt{w_k^2+4s_k^2}\right] - \tfrac14 \ell_k w_k",
    hypotheses=(NONZERO_START, ZERO_LOSS),
    reference="Woodworth et al. 2020 (static); theory notes 3.2",
    scope=Scope.ALL_SIZES,
    control={"gain": 2},
)
def convex_program(gain: int = 4) -> Iterator[tuple[str, Any]]:
    """At w(t) the gradient is ZᵀA, normal to Zw = y; the Hessian is positive.

    The objective is a sum over k, so one coordinate is all sizes.
    """
    w, ell = sympy.symbols("w ell", real=True)
    s = sympy.Symbol("s", positive=True)
    potential = _potential(w, s, ell)
    slope = potential.diff(w).simplify()
    yield "slope", slope - (sympy.asinh(w / (2 * s)) - ell) / 4
    point = 2 * s * sympy.sinh(gain * slope + ell)
    yield "the gradient at w(t) is (ZᵀA)_k", point - w
    curvature = 1 / (4 * sympy.sqrt(w**2 + 4 * s**2))
    yield "curvature", potential.diff(w, 2) - curvature
    yield "it is positive", curvature > 0


@statement(
    "diagonal/limit-is-l1",
    title="As time goes on the convex function becomes a weighted ℓ1 norm",
    claim=r"\frac{1}{4t}\sum_k \tfrac14\left[w_k \operatorname{arcsinh}"
    r"\tfrac{w_k}{2s_k(t)} - \sqrt{w_k^2+4s_k(t)^2} - \ell_k w_k\right]"
    r"\to \sum_k c_k |w_k|",
    hypotheses=(NONZERO_START, ZERO_LOSS),
    reference="theory notes 3.2",
    scope=Scope.ALL_SIZES,
    control={"rate": 8},
)
def limit_is_l1(rate: int = 16) -> Iterator[tuple[str, Any]]:
    """Open arcsinh: −ln 2s_k ~ 16c_k t is the only term that grows."""
    x, s0, c = sympy.symbols("x s_0 c", positive=True)
    ell = sympy.Symbol("ell", real=True)
    scale = s0 * sympy.exp(-rate * c * T)
    for sign in (1, -1):
        mean = _potential(sign * x, scale, ell) / (4 * T)
        yield f"limit at sign {sign}", sympy.limit(mean, T, sympy.oo) - c * x


@statement(
    "diagonal/dead-coordinate",
    title="A coordinate with u_k = 0 can never turn positive",
    claim=r"u_k(0) = 0 \implies u_k(t) = 0 \text{ and } w_k(t) \le 0 "
    r"\text{ for all } t",
    hypotheses=(ZERO_LOSS,),
    reference="theory notes 3.6",
    scope=Scope.FIXED_SIZE,
    control={"start": 1},
)
def dead_coordinate(start: int = 0) -> Iterator[tuple[str, Any]]:
    """Both the velocity and the gradient of u_k contain the factor u_k.

    The nonzero start of the closed form is therefore needed: an ℓ1 solution with
    w_k > 0 is out of reach.
    """
    net = Network()
    begin = {net.u[0]: sympy.Integer(start)}
    velocity = net.sharpness_velocity(matrix_of("alpha", 2, 1))
    yield "sharpness flow keeps u_0", velocity[0].subs(begin)
    yield "gradient flow and SGD keep u_0", net.loss.diff(net.u[0]).subs(begin)
    yield "w_0 = −v_0²", net.w[0].subs(begin) + net.v[0] ** 2
