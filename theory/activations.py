"""Activations as expressions, and the signs that the theorems ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sympy

from theory.expressions import parse
from theory.signs import positive_everywhere
from theory.statement import Decision

__all__ = ["NAMED", "Z", "activation_of", "first_positive", "third_positive"]

Z = sympy.Symbol("z", real=True)

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
