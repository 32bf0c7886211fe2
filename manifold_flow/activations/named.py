"""The named activations: derivatives and inverses in closed form, without SymPy.

Every jet maps an array z to (φ, φ', φ'', φ''') with shared subexpressions.  Orders may
be one and the same array, so the results are to be read, not written.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["NAMED", "Jet", "Pair", "Rule", "cubic"]

Array = NDArray[np.float64]
Jet = tuple[Array, Array, Array, Array]
Pair = tuple[Array, Array]

INF = math.inf
GELU_MINIMUM = -0.16997120747990369  # at z = -0.7517915246935645


@dataclass(frozen=True)
class Rule:
    """What is known in closed form of one activation.

    Attributes
    ----------
    expression : str
        The formula in z.
    jet : callable
        z to (φ, φ', φ'', φ''').
    inverse : callable or None
        u to z; None when φ is not injective.
    range : tuple of float
        Infimum and supremum of φ.
    closed : bool
        Whether the lower end of the range is attained.
    pair : callable or None
        z to (φ, φ'), where that is much less work than the jet.
    """

    expression: str
    jet: Callable[[Array], Jet]
    inverse: Callable[[Array], Array] | None = None
    range: tuple[float, float] = (-INF, INF)
    closed: bool = False
    pair: Callable[[Array], Pair] | None = None

    def leading(self, z: Array, orders: int) -> tuple[Array, ...]:
        """Return the first of (φ, φ', φ'', φ''') at every z, as many as asked for."""
        if orders <= 2 and self.pair is not None:
            return self.pair(z)[:orders]
        return self.jet(z)[:orders]


def cubic(nu: float) -> Rule:
    """Return z³/6 + νz, whose inverse is one of Cardano's formulas.

    Examples
    --------
    >>> cubic(0.5).expression
    'z**3/6 + 0.5*z'
    """
    factor = "" if nu == 1 else f"{int(nu) if nu.is_integer() else nu!r}*"
    return Rule(
        f"z**3/6 + {factor}z",
        functools.partial(_cubic, nu),
        functools.partial(_cubic_inverse, nu),
        pair=functools.partial(_cubic_pair, nu),
    )


def _cubic(nu: float, z: Array) -> Jet:
    half = z * z / 2
    return z * (half / 3 + nu), half + nu, z, np.ones_like(z)


def _cubic_pair(nu: float, z: Array) -> Pair:
    half = z * z
    half *= 0.5
    slope = half + nu
    half *= 1.0 / 3.0
    half += nu
    half *= z
    return half, slope


def _cubic_inverse(nu: float, u: Array) -> Array:
    root = math.sqrt(2 * nu)
    return np.asarray(2 * root * np.sinh(np.arcsinh(1.5 * u / (nu * root)) / 3))


def _sinh(z: Array) -> Jet:
    s, c = np.sinh(z), np.cosh(z)
    return s, c, s, c


def _exp(z: Array) -> Jet:
    e = np.exp(z)
    return e, e, e, e


def _exp_plus_linear(z: Array) -> Jet:
    e = np.exp(z)
    return e + z, e + 1, e, e


def _exp_plus_linear_inverse(u: Array) -> Array:
    # omega = exp(z); each form is the one without cancellation on its side.
    omega = special.wrightomega(u)
    return np.asarray(np.where(u > 0, np.log(omega), u - omega))


def _tanh_pair(z: Array) -> Pair:
    q = np.exp(-2 * np.abs(z))
    return np.tanh(z), 4 * q / (1 + q) ** 2  # 1 - t² would cancel


def _tanh(z: Array) -> Jet:
    t, slope = _tanh_pair(z)
    return t, slope, -2 * t * slope, slope * (6 * t * t - 2)


def _softplus_pair(z: Array) -> Pair:
    q = np.exp(-np.abs(z))
    return np.maximum(z, 0) + np.log1p(q), np.where(z >= 0, 1.0, q) / (1 + q)


def _softplus(z: Array) -> Jet:
    q = np.exp(-np.abs(z))
    bump = q / (1 + q) ** 2
    return *_softplus_pair(z), bump, -bump * np.tanh(z / 2)


def _softplus_inverse(u: Array) -> Array:
    return np.asarray(u + np.log(-np.expm1(-u)))


def _relu(z: Array) -> Jet:
    zero = np.zeros_like(z)
    return np.maximum(z, 0), np.where(z > 0, 1.0, 0.0), zero, zero


def _gelu(z: Array) -> Jet:
    y = np.clip(z, -40, 40)  # the density is 0 beyond, and inf * 0 is not
    density = np.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    cumulated = special.ndtr(z)
    first = cumulated + y * density
    value = np.where(z < -40, 0.0, z * cumulated)
    return value, first, (2 - y * y) * density, y * (y * y - 4) * density


def _square(z: Array) -> Jet:
    return z * z, 2 * z, np.full_like(z, 2.0), np.zeros_like(z)


def _linear(z: Array) -> Jet:
    zero = np.zeros_like(z)
    return z, np.ones_like(z), zero, zero


NAMED: Mapping[str, Rule] = MappingProxyType(
    {
        "cubic": cubic(1.0),
        "sinh": Rule("sinh(z)", _sinh, np.arcsinh),
        "exp": Rule("exp(z)", _exp, np.log, (0.0, INF)),
        "exp_plus_linear": Rule(
            "exp(z) + z", _exp_plus_linear, _exp_plus_linear_inverse
        ),
        "tanh": Rule("tanh(z)", _tanh, np.arctanh, (-1.0, 1.0), pair=_tanh_pair),
        "softplus": Rule(
            "softplus(z)",
            _softplus,
            _softplus_inverse,
            (0.0, INF),
            pair=_softplus_pair,
        ),
        "relu": Rule("relu(z)", _relu, None, (0.0, INF), closed=True),
        "gelu": Rule("gelu(z)", _gelu, None, (GELU_MINIMUM, INF), closed=True),
        "square": Rule("z**2", _square, None, (0.0, INF), closed=True),
        "linear": Rule("z", _linear, np.positive),
    }
)
