"""The two-layer network with a fixed second layer: theory notes 1.5 and 1.12."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sympy

from theory.activations import Z

__all__ = ["collapsed_point", "least_trace", "output_of_multiplier", "stationary_point"]


@cache  # SymPy solves for seconds
def _inverse(increasing: sympy.Expr, value: Any) -> sympy.Expr:
    """Return the real root of an increasing function of z minus a value."""
    equation = increasing - sympy.sympify(value)
    if equation.is_polynomial(Z) and not equation.free_symbols - {Z}:
        roots = sympy.real_roots(equation, Z)
    else:
        roots = [root for root in sympy.solve(equation, Z) if root.is_real is not False]
    if len(roots) != 1:
        raise ValueError(
            f"{increasing} = {value} has the real solutions {roots}; a closed form "
            "needs exactly one. Use a function that increases on the real line and a "
            "value in its range."
        )
    return roots[0]


def collapsed_point(
    activation: sympy.Expr, targets: Sequence[Any], neurons: int
) -> sympy.Matrix:
    r"""Return the column of z*_i = φ⁻¹(y_i/m), the same for all neurons.

    Parameters
    ----------
    activation : sympy.Expr
        φ, increasing, in ``theory.activations.Z``.
    targets : sequence
        The y_i.
    neurons : int
        m; all output weights are 1.

    Examples
    --------
    >>> collapsed_point(Z**3/6 + Z, [sympy.Rational(20, 3), 0], 2).T
    Matrix([[2, 0]])
    >>> collapsed_point(sympy.sinh(Z), [3], 3)
    Matrix([[log(1 + sqrt(2))]])
    """
    return sympy.Matrix([_inverse(activation, sympy.S(y) / neurons) for y in targets])


def least_trace(
    activation: sympy.Expr,
    targets: Sequence[Any],
    neurons: int,
    weights: Sequence[Any],
) -> sympy.Expr:
    r"""Return F* = 2m Σ_i w_i φ'(z*_i)², the least trace of the two-layer network.

    Parameters
    ----------
    activation, targets, neurons
        As for `collapsed_point`.
    weights : sequence
        w_i = q_i ‖x_i‖², for the loss Σ q_i (r(x_i) − y_i)².

    Examples
    --------
    >>> targets = [sympy.Rational(20, 3), sympy.Rational(88, 3)]
    >>> least_trace(Z**3/6 + Z, targets, 2, [1, 1])
    360
    """
    slope = activation.diff(Z)
    point = collapsed_point(activation, targets, neurons)
    terms = (w * slope.subs(Z, z) ** 2 for w, z in zip(weights, point, strict=True))
    return sympy.simplify(2 * neurons * sum(terms, sympy.S.Zero))


def stationary_point(
    activation: sympy.Expr, output_weights: Sequence[Any], beta: Any
) -> sympy.Matrix:
    r"""Return the row of z_j = (φ'')⁻¹(β/a_j): stationary on M for the multiplier β.

    Parameters
    ----------
    activation : sympy.Expr
        φ with φ''' > 0.
    output_weights : sequence
        The a_j.
    beta : number
        The multiplier of one input.

    Examples
    --------
    >>> stationary_point(Z**3/6 + Z, [1, 2], 3)
    Matrix([[3, 3/2]])
    """
    bend = activation.diff(Z, 2)
    return sympy.Matrix([[_inverse(bend, sympy.S(beta) / a) for a in output_weights]])


def output_of_multiplier(
    activation: sympy.Expr, output_weights: Sequence[Any], beta: Any
) -> sympy.Expr:
    r"""Return Σ_j a_j φ(z_j) at `stationary_point`; the minimiser's β makes it y_i.

    It increases with β when all a_j are positive.

    Parameters
    ----------
    activation, output_weights, beta
        As for `stationary_point`.

    Examples
    --------
    >>> output_of_multiplier(Z**3/6 + Z, [1, 2], 2)
    17/3
    """
    point = stationary_point(activation, output_weights, beta)
    terms = (
        a * activation.subs(Z, z) for a, z in zip(output_weights, point, strict=True)
    )
    return sympy.simplify(sum(terms, sympy.S.Zero))
