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

__all__ = ["compiled_jet", "direction", "sampled_range", "sign", "symbolic"]

Array = NDArray[np.float64]

MEMORY = 256  # formulas, and signs, that are remembered
GRID = np.sinh(np.linspace(-7.0, 7.0, 141))  # dense near 0, up to 548
POWERS_OF_TEN = np.array([10.0**k for k in range(17)])
CONVERGED = 1e-6  # change from 10^8 to 10^16 below which a value has a limit


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
    return cast(Jet, _compiled(text)(z))


@functools.lru_cache(MEMORY)
def _compiled(text: str) -> Any:
    return expressions.numeric([symbolic(text, order) for order in range(4)])


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


@functools.lru_cache(MEMORY)
def sampled_range(text: str) -> tuple[float, float]:
    """Guess the infimum and supremum of φ from its values at ±10^k, k = 0..16.

    Heuristic: (-inf, inf), "not known", unless φ' has one sign on a sample grid.
    """
    slopes = _grid_slopes(text)
    if (slopes >= 0).all():
        return _limit(text, -1, -1), _limit(text, 1, 1)
    if (slopes <= 0).all():
        return _limit(text, 1, -1), _limit(text, -1, 1)
    return -math.inf, math.inf


def _grid_slopes(text: str) -> Array:
    """Return φ' on the grid, without the points where it overflows."""
    with np.errstate(all="ignore"):
        slopes = compiled_jet(text, GRID)[1]
    return slopes[np.isfinite(slopes)]


def _limit(text: str, side: int, default: int) -> float:
    """Return the limit of φ at side * inf; default * inf when values cannot tell."""
    with np.errstate(all="ignore"):
        values = compiled_jet(text, side * POWERS_OF_TEN)[0]
        change = abs(values[-1] - values[8])
        scale = np.abs(values).max()
    return float(values[-1]) if change <= CONVERGED * scale else default * math.inf
