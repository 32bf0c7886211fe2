"""Activations as expressions, and the signs that the theorems ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sympy
from sympy.calculus.util import continuous_domain

from theory.expressions import parse
from theory.signs import positive_everywhere
from theory.statement import Decision

__all__ = ["NAMED", "Z", "activation_of", "first_positive", "smooth", "third_positive"]

Z = sympy.Symbol("z", real=True)
#: where an activation must at least be a real number
PROBES = [sympy.Rational(k, 3) for k in (0, 1, -1, 5, -5, 20, -20)]

#: the names a user may give instead of a formula in z
NAMED: Mapping[str, str] = MappingProxyType(
    {
        "cubic": "z**3/6 + z",
        "sinh": "sinh(z)",
        "exp": "exp(z)",
        "exp_plus_linear": "exp(z) + z",
        "tanh": "tanh(z)",
        "softplus": "softplus(z)",
        "relu": "relu(z)",
        "gelu": "gelu(z)",
        "square": "z**2",
        "linear": "z",
    }
)


def activation_of(text: str) -> sympy.Expr:
    """Return the expression of a name or a formula; unknown letters are parameters.

    Parameters
    ----------
    text : str
        A name such as ``"sinh"``, or a formula in ``z``.

    Raises
    ------
    ExpressionError
        If it is neither.

    Examples
    --------
    >>> activation_of("z**3 + a*z")
    a*z + z**3
    """
    return parse(NAMED.get(text, text), parameters=None)


def first_positive(activation: sympy.Expr) -> Decision:
    """Decide φ' > 0 on the real line."""
    return positive_everywhere("φ'", activation.diff(Z), Z)


def third_positive(activation: sympy.Expr) -> Decision:
    """Decide φ''' > 0 on the real line."""
    return positive_everywhere("φ'''", activation.diff(Z, 3), Z)


def smooth(activation: sympy.Expr) -> Decision:
    """Decide whether φ is three times differentiable on the whole real line.

    Examples
    --------
    >>> smooth(activation_of("sinh")).holds, smooth(activation_of("tan(z)")).holds
    (True, False)
    """
    kinks = activation.atoms(sympy.Abs, sympy.Max, sympy.Min, sympy.sign)
    if any(kink.has(Z) for kink in kinks):
        return Decision(False, f"{activation} has a kink")
    for probe in PROBES if activation.free_symbols <= {Z} else ():
        value = activation.subs(Z, probe).evalf()
        if not (value.is_real and value.is_finite):
            return Decision(False, f"{activation} is no real number at z = {probe}")
    # erf is entire, which continuous_domain does not know
    entire = activation.replace(sympy.erf, lambda argument: argument)
    try:
        domains = [
            continuous_domain(entire.diff(Z, order), Z, sympy.S.Reals)
            for order in (0, 3)
        ]
    except NotImplementedError:
        return Decision(None, f"where {activation} is smooth could not be settled")
    if all(domain == sympy.S.Reals for domain in domains):
        return Decision(True, "φ is smooth on the real line")
    if any(d.has(sympy.ConditionSet) or d.free_symbols for d in domains):
        return Decision(None, f"where {activation} is smooth could not be settled")
    return Decision(False, f"{activation} is smooth on {domains[-1]} only")
