"""The activation of a network, as a value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.activations import formula
from manifold_flow.activations.extent import Extent, extent, gap
from manifold_flow.activations.inversion import first_wrong, monotone_inverse
from manifold_flow.activations.named import NAMED, Jet, Rule, cubic
from manifold_flow.errors import ActivationError, UnknownKeywordError, UnknownNameError
from manifold_flow.intervals import SignDecision
from theory import expressions

__all__ = ["Activation"]

Array = NDArray[np.float64]

# Words of one letter, and the constant pi, are left to the parser.
WORD = re.compile(r"(?!pi$)[A-Za-z]\w+(-[A-Za-z]\w+)*")
SMALLEST_NU, LARGEST_NU = 1e-12, 1e12


@dataclass(frozen=True, eq=False, repr=False)
class Activation:
    r"""An activation :math:`\varphi` with its first three derivatives and its inverse.

    Build it with :meth:`from_name`, :meth:`from_expression` or :meth:`of`.  Two
    activations are equal when their expressions are.  It is a plain value that pickles:
    what is compiled for an expression is remembered by its text, not stored here.

    Attributes
    ----------
    name : str
        A name such as "cubic", or the expression itself.
    expression : str
        The formula in z.
    rule : Rule or None
        The closed forms of a named activation.

    References
    ----------
    theory notes §1.1 (assumption A1) and §1.13 (what fails without it).

    Examples
    --------
    >>> phi = Activation.of("z**3/6 + z")
    >>> float(phi.inverse(phi(2.0)))
    2.0
    >>> phi.sign(3).sign, Activation.of("tanh").satisfies_hypotheses()
    ('positive', False)
    """

    name: str
    expression: str
    rule: Rule | None = None

    @classmethod
    def of(cls, value: Activation | str) -> Activation:
        """Return the activation meant by a name, an expression in z, or itself.

        Raises
        ------
        UnknownNameError
            For a word that is neither; names the nearest one.
        ActivationError
            For anything else.

        Examples
        --------
        >>> Activation.of("exp-plus-linear")
        Activation('exp(z) + z')
        """
        if isinstance(value, Activation):
            return value
        if not isinstance(value, str):
            raise ActivationError(
                "an activation is a name, an expression such as 'z**3/6 + z' or an "
                f"Activation, not {type(value).__name__}."
            )
        name = _canonical(value)
        if name in NAMED or re.fullmatch(WORD, value.strip()):
            return cls.from_name(value)
        return cls.from_expression(value)

    @classmethod
    def from_name(cls, name: str, **parameters: float) -> Activation:
        r"""Return a named activation.

        Parameters
        ----------
        name : str
            cubic (:math:`z^3/6 + \nu z`), sinh, exp, exp_plus_linear
            (:math:`e^z + z`), tanh, softplus, relu, gelu, square or linear.
        **parameters : float
            ``nu`` > 0 (default 1) of cubic.

        Raises
        ------
        UnknownNameError, UnknownKeywordError, ActivationError
            For an unknown name or keyword, or nu not between 1e-12 and 1e12.

        Examples
        --------
        >>> Activation.from_name("cubic", nu=0.5)
        Activation('z**3/6 + 0.5*z')
        """
        key = _canonical(name)
        if key not in NAMED:
            raise UnknownNameError("activation", name, NAMED)
        known = ("nu",) if key == "cubic" else ()
        for keyword in parameters.keys() - set(known):
            raise UnknownKeywordError(f"Activation {key!r}", keyword, known)
        rule = NAMED[key]
        if parameters:
            nu = float(parameters["nu"])
            if not SMALLEST_NU <= nu <= LARGEST_NU:
                raise ActivationError(
                    f"cubic needs {SMALLEST_NU:g} <= nu <= {LARGEST_NU:g}, got {nu:g}; "
                    "without slope at 0, spurious stationary points appear."
                )
            rule = cubic(nu)
        return cls(key, rule.expression, rule)

    @classmethod
    def from_expression(cls, text: str) -> Activation:
        """Return the activation written as an expression in z.

        Raises
        ------
        ActivationError
            With the parser's words, or if the text does not depend on z.

        Examples
        --------
        >>> float(Activation.from_expression("sinh(z) + z/5").derivative(0.0, 1))
        1.2
        """
        try:
            parsed = expressions.parse(text)
        except expressions.ExpressionError as error:
            raise ActivationError(str(error)) from error
        if not parsed.free_symbols:
            raise ActivationError(f"{text!r} is constant; an activation depends on z.")
        return cls(text.strip(), text.strip())

    def __call__(self, z: ArrayLike) -> Array:
        return self.derivatives(z)[0]

    def derivative(self, z: ArrayLike, order: int) -> Array:
        """Return the derivative of an order from 0 to 3 at every z."""
        if order not in range(4):
            raise ActivationError(f"derivatives exist for orders 0 to 3, not {order}.")
        return self.derivatives(z)[order]

    def derivatives(self, z: ArrayLike) -> Jet:
        r"""Return :math:`(\varphi, \varphi', \varphi'', \varphi''')` in one pass.

        Overflow gives inf without a warning.  The four arrays, each of the shape of z,
        may share memory with each other: read them, do not write to them.

        Examples
        --------
        >>> [float(d) for d in Activation.of("square").derivatives(3.0)]
        [9.0, 6.0, 2.0, 0.0]
        """
        points = np.array(z, dtype=float)  # a copy: an order may be z itself
        with np.errstate(all="ignore"):
            if self.rule is not None:
                return self.rule.jet(points)
            return formula.compiled_jet(self.expression, points)

    def leading(self, z: Array, orders: int) -> tuple[Array, ...]:
        r"""Return the first of :math:`(\varphi, \varphi', \varphi'', \varphi''')`.

        For inner loops: it trusts z to be a float64 array and ``orders`` to be 1 to 4;
        overflow follows ``numpy.errstate``.  The arrays may share memory with z and
        with each other; of two, the slope may be written over when the value is used.

        Examples
        --------
        >>> Activation.of("cubic").leading(np.array([3.0]), 2)
        (array([7.5]), array([5.5]))
        """
        if self.rule is not None:
            return self.rule.leading(z, orders)
        return formula.compiled_leading(self.expression, z, orders)

    def inverse(self, u: ArrayLike) -> Array:
        r"""Return :math:`z = \varphi^{-1}(u)` for every u, to rounding.

        Raises
        ------
        ActivationError
            If φ is not monotone, or a u is outside its range; names the first one.

        Examples
        --------
        >>> Activation.of("exp-plus-linear").inverse([1.0])
        array([0.])
        """
        values = np.array(u, dtype=float)
        direction = self._direction()
        self._check_range(values)
        if self.rule is not None and self.rule.inverse is not None:
            with np.errstate(all="ignore"):
                return self.rule.inverse(values)

        def increasing(z: Array) -> tuple[Array, Array]:
            value, slope, *_ = self.derivatives(z)
            return direction * value, direction * slope

        return monotone_inverse(increasing, direction * values)

    @property
    def extent(self) -> Extent:
        """An interval that holds all values of φ, and which of its ends are values.

        For an expression every finite end is proved; where none can be, it is infinite.

        Examples
        --------
        >>> print(Activation.of("exp(-z**2)").extent)
        (0, 1]
        """
        if self.rule is None:
            return extent(self.expression)
        low, high = self.rule.range
        return Extent(low, high, has_low=self.rule.closed)

    @property
    def range(self) -> tuple[float, float]:
        """The two ends of :attr:`extent`."""
        return self.extent.low, self.extent.high

    @property
    def gap(self) -> str | None:
        """Where φ has no real value, such as a pole, in words; None if none is found.

        Examples
        --------
        >>> Activation.of("1/z").gap
        'it has a pole where it divides by z, which changes sign near z = 0'
        """
        return None if self.rule is not None else gap(self.expression)

    def symbolic(self, order: int = 0) -> Any:
        """Return the derivative of an order as a SymPy expression in the real z.

        Examples
        --------
        >>> Activation.of("cubic").symbolic(1)
        z**2/2 + 1
        """
        return formula.symbolic(self.expression, order)

    def sign(
        self, order: int, low: float = -math.inf, high: float = math.inf
    ) -> SignDecision:
        """Decide the sign of a derivative on [low, high]; see :func:`decide_sign`.

        Examples
        --------
        >>> low, high = Activation.of("tanh").sign(3, -3, 0).witness
        >>> low < -0.658479 < high
        True
        """
        return formula.sign(self.expression, order, float(low), float(high))

    def satisfies_hypotheses(
        self, low: float = -math.inf, high: float = math.inf
    ) -> bool | None:
        """Whether φ' > 0 and φ''' > 0 on [low, high]; None when not decided."""
        signs = [self.sign(order, low, high).sign for order in (1, 3)]
        if signs == ["positive", "positive"]:
            return True
        if any(sign not in {"positive", "undecided"} for sign in signs):
            return False
        found = (self.point_not_positive(order, low, high) for order in (1, 3))
        return None if all(point is None for point in found) else False

    def point_not_positive(
        self, order: int, low: float = -math.inf, high: float = math.inf
    ) -> float | None:
        """Return a point of [low, high] where a derivative is proved <= 0, or None.

        Only some points are tried; even so, a kink elsewhere cannot hide such a point.

        Examples
        --------
        >>> Activation.of("relu").point_not_positive(1)
        -1.0
        """
        near = self.sign(order, low, high).witness or ()
        for point in np.clip([-1.0, 1.0, 0.0, *near], low, high).tolist():
            if self.sign(order, point, point).sign in {"zero", "negative"}:
                return float(point)
        return None

    def _direction(self) -> int:
        """Return 1 or -1 for an increasing or a decreasing φ."""
        if self.rule is not None:
            direction = 0 if self.rule.inverse is None else 1
        else:
            direction = formula.direction(self.expression)
        if direction == 0:
            raise ActivationError(
                f"{self.name} is not known to be monotone, so it has no inverse; "
                "inversion needs a derivative of one sign."
            )
        return direction

    def _check_range(self, values: Array) -> None:
        wrong = ~np.isfinite(values) | self.extent.excludes(values)
        if wrong.any():
            raise ActivationError(
                f"{first_wrong(values, wrong)} is outside the range {self.extent} of "
                f"{self.name}."
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return self.expression == other.expression

    def __hash__(self) -> int:
        return hash(self.expression)

    def __repr__(self) -> str:
        return f"Activation({self.expression!r})"


def _canonical(name: str) -> str:
    return str(name).strip().lower().replace("-", "_")
