"""What SymPy and sampling tell of an activation given as a formula.

Everything is a function of the text and remembered by it, so that nothing compiled
has to be stored, copied, or sent to other processes.
"""

from __future__ import annotations

import functools
import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from manifold_flow.activations.named import Jet
from manifold_flow.errors import ActivationError
from manifold_flow.intervals import SignDecision, decide_sign
from theory import expressions

__all__ = ["compiled_jet", "compiled_leading", "direction", "sign", "symbolic"]

Array = NDArray[np.float64]

MEMORY = 256  # formulas, and signs, that are remembered
GRID = np.sinh(np.linspace(-7.0, 7.0, 141))  # dense near 0, up to 548


@functools.lru_cache(MEMORY)
def symbolic(text: str, order: int) -> Any:
    """Return a derivative of the formula as a SymPy expression."""
    expression = expressions.parse(text)
    if order < 0:
        raise ActivationError(f"a derivative has an order >= 0, not {order}.")
    (variable,) = expression.free_symbols
    return expression.diff(variable, order)


@functools.lru_cache(MEMORY)
def sign(text: str, order: int, low: float, high: float) -> SignDecision:
    """Decide the sign of a derivative on [low, high]."""
    return decide_sign(symbolic(text, order), low, high)


def compiled_jet(text: str, z: Array) -> Jet:
    """Return (φ, φ', φ'', φ''') of the formula; compiled when first asked."""
    return cast(Jet, _compiled(text, 4)(z))


def compiled_leading(text: str, z: Array, orders: int) -> tuple[Array, ...]:
    """Return the first of (φ, φ', φ'', φ'''); compiled when first asked."""
    return cast(tuple[Array, ...], _compiled(text, orders)(z))


@functools.lru_cache(MEMORY)
def _compiled(text: str, orders: int) -> Any:
    return expressions.numeric([symbolic(text, order) for order in range(orders)])


def direction(text: str) -> int:
    """Return 1 if φ increases, -1 if it decreases, 0 if it is not known to do either.

    Proved where the sign of φ' can be; where φ has kinks, seen on a sample grid only.
    """
    decided = sign(text, 1, -math.inf, math.inf).sign
    if decided == "undecided":
        slopes = _grid_slopes(text)
        return int((slopes > 0).all()) - int((slopes < 0).all())
    known = {"positive": 1, "nonnegative": 1, "negative": -1, "nonpositive": -1}
    return known.get(decided, 0)


def _grid_slopes(text: str) -> Array:
    """Return φ' on the grid, without the points where it overflows."""
    with np.errstate(all="ignore"):
        slopes = compiled_jet(text, GRID)[1]
    return slopes[np.isfinite(slopes)]
