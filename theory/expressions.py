"""A user's formula as a SymPy expression, without ever running the user's text.

``sympify``, ``parse_expr`` and ``eval`` run what they are given.  Here the text goes
through the whitelist of :mod:`theory.grammar`, and only what it lets through is built
with SymPy, which is imported at that moment.  :func:`numeric` turns such expressions,
and no others, into functions of arrays.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from theory.grammar import CONSTANTS, OPERATORS, ExpressionError, Formula, is_word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ExpressionError", "numeric", "parse"]

MAX_COEFFICIENT = 10**60  # a third derivative of such an expression still fits a float
EXACT_INTEGERS = 2**53  # larger ones are printed as floats: NumPy cannot mix them
LARGEST_PRODUCT = 16  # powers up to this one are printed as products


def parse(
    text: str, *, variable: str = "z", parameters: tuple[str, ...] | None = ()
) -> Any:
    r"""Return the SymPy expression of a text, a function of one real variable.

    Numbers (taken exactly: ``0.1`` is 1/10), ``+ - * / ** ^``, ``pi``, ``e`` and
    one-argument functions (``exp``, ``log``, ``tanh``, ``erf``, ``softplus``, ...) are
    understood, with numeric exponents only.

    Parameters
    ----------
    text : str
        The formula, at most 200 characters.
    variable : str
        Name of the variable, a real symbol.
    parameters : tuple of str or None
        Names of further real symbols; None takes every unknown word of at most 16
        letters as one.

    Returns
    -------
    sympy.Expr

    Raises
    ------
    ExpressionError
        If the text is anything else, is not real, or is too large to compute with.

    Examples
    --------
    >>> parse("z^3/6 + 0.5*z")
    z**3/6 + z/2
    >>> parse("softplus(z)").diff()
    exp(z)/(exp(z) + 1)
    """
    if not isinstance(text, str):
        raise ExpressionError(
            f"an expression is a string such as 'z**3/6 + z', not {type(text).__name__}"
        )
    for name in (variable, *(parameters or ())):
        if not is_word(name):
            raise ExpressionError(f"{name!r} cannot name a variable or a parameter")
    formula = Formula(text, variable, parameters)
    tree = formula.tree()
    formula.measure(tree)
    return _checked(_build(formula, tree), text)


@overload
def numeric(expression: Sequence[Any]) -> Callable[[Array], tuple[Array, ...]]: ...
@overload
def numeric(expression: Any) -> Callable[[Array], Array]: ...
def numeric(
    expression: Any,
) -> Callable[[Array], Array] | Callable[[Array], tuple[Array, ...]]:
    """Return the NumPy function of one expression, or of several in one pass.

    Common subexpressions are computed once.  SymPy writes and compiles Python source
    here, so it must be given trees that :func:`parse` built, and their derivatives.
    Logistic terms are evaluated without overflow; a true overflow follows NumPy's
    error state.  A distribution (the derivative of a kink) counts as 0.

    Parameters
    ----------
    expression : sympy.Expr or sequence of sympy.Expr
        Functions of at most one symbol.

    Returns
    -------
    callable
        Takes a float64 array; returns one of the same shape, or a tuple of them.

    Raises
    ------
    ExpressionError
        If a second symbol is left, or a symbol no formula can contain.

    Examples
    --------
    >>> import numpy as np
    >>> numeric(parse("softplus(z)"))(np.array([1000.0, 2000.0]))
    array([1000., 2000.])
    """
    sympy = _sympy()
    several = isinstance(expression, Sequence)
    expressions = list(expression) if several else [expression]
    variable = _only_symbol(expressions)
    printed = [_printable(entry, variable) for entry in expressions]
    compiled: Callable[[Array], list[Array]] = sympy.lambdify(
        [variable], printed, modules=["scipy", "numpy"], printer=_printer(), cse=True
    )
    if several:
        return lambda z: tuple(compiled(z))
    return lambda z: compiled(z)[0]


def _sympy() -> Any:
    """Return SymPy, imported on first use because that takes half a second."""
    import sympy

    return sympy


def _build(formula: Formula, node: ast.expr) -> Any:
    """Return the SymPy expression of a tree that the grammar accepted."""
    sympy = _sympy()
    match node:
        case ast.Constant():
            return sympy.Rational(*formula.number(node).as_integer_ratio())
        case ast.Name(id=name) if name in CONSTANTS:
            return {"pi": sympy.pi, "e": sympy.E}[name]
        case ast.Name(id=name):
            return sympy.Symbol(name, real=True)
        case ast.UnaryOp(op=op, operand=operand):
            inner = _build(formula, operand)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(op=op, left=left, right=right):
            operate = OPERATORS[type(op)]
            return operate(_build(formula, left), _build(formula, right))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return _apply(name, _build(formula, argument))
    formula.found(node)


def _apply(name: str, x: Any) -> Any:
    sympy = _sympy()
    match name:
        case "abs":
            return sympy.Abs(x)
        case "softplus":
            return sympy.log(1 + sympy.exp(x))
        case "sigmoid":
            return 1 / (1 + sympy.exp(-x))
        case "relu":
            return sympy.Max(0, x)
        case "gelu":
            return x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2
    return getattr(sympy, name)(x)


def _checked(expression: Any, text: str) -> Any:
    """Refuse what only shows once like terms have met, such as 1/(z - z)."""
    sympy = _sympy()
    if expression.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
        raise ExpressionError("the expression is not a finite real number", text)
    for number in expression.atoms(sympy.Rational):
        if max(abs(number.p), number.q) > MAX_COEFFICIENT:
            raise ExpressionError("a coefficient is larger than 1e60", text)
    return expression


def _only_symbol(expressions: Sequence[Any]) -> Any:
    """Return the one symbol; names are checked because lambdify runs them as code."""
    sympy = _sympy()
    symbols = set().union(*(entry.free_symbols for entry in expressions))
    names = sorted(symbol.name for symbol in symbols)
    if len(names) > 1:
        raise ExpressionError(f"give values to all but one of {', '.join(names)}")
    undefined = set().union(
        *(entry.atoms(sympy.core.function.AppliedUndef) for entry in expressions)
    )
    if undefined or not all(map(is_word, names)):
        raise ExpressionError("this expression was not built by parse()")
    return symbols.pop() if symbols else sympy.Symbol("z", real=True)


def _printable(expression: Any, variable: Any) -> Any:
    """Rewrite an expression into terms that NumPy evaluates without overflow."""
    sympy = _sympy()
    rules: tuple[tuple[Any, Any], ...] = (
        (lambda e: isinstance(e, sympy.DiracDelta), lambda _: sympy.S.Zero),
        (_is_softplus, lambda e: sympy.Function("Softplus")(_exponent(e.args[0]))),
        (_is_logistic, _logistic),
        (lambda e: e.is_Mul, _merge_logistic),
    )
    for matches, replacement in rules:
        expression = expression.replace(matches, replacement)
    large = {
        number: sympy.Float(number, 17)
        for number in expression.atoms(sympy.Rational)
        if max(abs(number.p), number.q) > EXACT_INTEGERS
    }
    expression = expression.xreplace(large)
    if expression.free_symbols:
        return expression
    return sympy.Function("Constant")(variable, expression)


def _exponent(expression: Any) -> Any:
    """Return w of 1 + exp(w), or None."""
    sympy = _sympy()
    if not (expression.is_Add and len(expression.args) == 2):
        return None
    one, power = expression.args
    matches = one == 1 and isinstance(power, sympy.exp)
    return power.args[0] if matches else None


def _is_softplus(expression: Any) -> bool:
    is_log = isinstance(expression, _sympy().log)
    return is_log and _exponent(expression.args[0]) is not None


def _is_logistic(expression: Any) -> bool:
    inverse = expression.is_Pow and expression.exp.could_extract_minus_sign()
    return inverse and _exponent(expression.base) is not None


def _logistic(power: Any) -> Any:
    r"""Write :math:`(1 + e^w)^{-j} = \sigma(-w)^j`."""
    logistic = _sympy().Function("Logistic")
    return logistic(-_exponent(power.base)) ** -power.exp


def _merge_logistic(product: Any) -> Any:
    r"""Write :math:`e^{kw} \sigma(-w)^j = \sigma(w)^k \sigma(-w)^{j-k}`, 0 < k <= j."""
    sympy = _sympy()
    logistic = sympy.Function("Logistic")
    for power in product.args:
        base, j = power.as_base_exp()
        if not isinstance(base, logistic):
            continue
        w = -base.args[0]
        for factor in product.args:
            k = factor.args[0] / w if isinstance(factor, sympy.exp) else None
            if k is not None and k.is_Integer and j.is_Integer and 0 < k <= j:
                return product / factor / base**k * logistic(w) ** k
    return product


@functools.cache
def _printer() -> Any:
    """Return the NumPy printer that knows the functions used above."""
    from sympy.printing.numpy import SciPyPrinter

    class Printer(SciPyPrinter):  # type: ignore[misc]  # SymPy is untyped
        def _call(self, function: str, *arguments: Any) -> str:
            printed = ", ".join(map(self._print, arguments))
            return f"{self._module_format(function)}({printed})"

        def _print_AppliedUndef(self, expression: Any) -> str:
            match expression.func.__name__:
                case "Softplus":
                    return self._call("numpy.logaddexp", 0, *expression.args)
                case "Logistic":
                    return self._call("scipy.special.expit", *expression.args)
            return self._call("numpy.full_like", *expression.args)

        def _print_Heaviside(self, expression: Any) -> str:
            return self._call("numpy.heaviside", expression.args[0], 0)

        def _print_Pow(self, expression: Any, rational: bool = False) -> str:
            base, exponent = expression.args
            # NumPy's pow costs fifty times these products
            if base.is_Symbol and exponent in range(3, LARGEST_PRODUCT + 1):
                return f"({'*'.join([self._print(base)] * int(exponent))})"
            return super()._print_Pow(expression, rational=rational)

    return Printer(
        {
            "fully_qualified_modules": False,
            "inline": True,
            "allow_unknown_functions": True,
        }
    )
