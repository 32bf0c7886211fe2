"""What a formula may contain: the first pass over a user's text, in plain Python.

The text becomes a tree of whitelisted :mod:`ast` nodes whose constants and degrees are
measured with ordinary numbers.  Whatever is foreign, complex or too large is refused
here, in microseconds and before SymPy is imported; nothing is ever executed.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Never

__all__ = ["CONSTANTS", "FUNCTIONS", "OPERATORS", "ExpressionError", "Formula"]

MAX_LENGTH = 200  # characters, and nodes of the tree
MAX_DEGREE = 64  # of a power, and of all nested powers together
MAX_DEPTH = 8  # of calls inside calls: third derivatives of deeper ones explode
MAX_CONSTANT = 10**18
MAX_DENOMINATOR = 10**36  # leaves room for every float between 1e-18 and 1e18

CONSTANTS: Mapping[str, float] = MappingProxyType({"pi": math.pi, "e": math.e})

REAL_FUNCTIONS = (
    *("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh"),
    *("asinh", "atan", "sqrt", "erf"),
)
#: Known functions, with the floating-point version that judges constants.
FUNCTIONS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        **{name: getattr(math, name) for name in REAL_FUNCTIONS},
        "abs": abs,
        "softplus": lambda x: math.log1p(math.exp(x)),
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
        "relu": lambda x: max(0.0, x),
        "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    }
)
OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.Pow: operator.pow,
    }
)
ONLY = "only arithmetic and the listed functions are allowed"


class ExpressionError(ValueError):
    """A text that is not one of the formulas this package understands.

    Parameters
    ----------
    message : str
        What is wrong; a caret line is added when the place is known.
    text : str
        The offending text.
    position : int, optional
        Column of the offending place, from 0.
    """

    def __init__(self, message: str, text: str = "", position: int | None = None):
        self.text, self.position = text, position
        if position is not None and len(text) <= MAX_LENGTH:
            # A terminal must not obey control characters of the text.
            shown = "".join(c if c.isprintable() else "?" for c in text)
            message = f"{message}\n  {shown}\n  {' ' * position}^"
        super().__init__(message)


@dataclass(frozen=True)
class _Size:
    """What is known of a subexpression before SymPy sees it."""

    degree: int
    depth: int
    value: Fraction | float | None  # None when it depends on a symbol

    @property
    def bits(self) -> int:
        if not isinstance(self.value, Fraction):
            return 0
        return max(map(int.bit_length, self.value.as_integer_ratio()))


@dataclass(frozen=True)
class Formula:
    """One text and the names it may use."""

    text: str
    variable: str
    parameters: tuple[str, ...] | None

    @property
    def code(self) -> str:
        """The text as Python reads it, where ``^`` would bind weaker than ``+``."""
        return self.text.strip().replace("^", "**")

    def fail(self, message: str, node: ast.AST) -> Never:
        """Raise the error that points at a node."""
        start = len(self.text) - len(self.text.lstrip())
        columns = [
            i
            for i, c in enumerate(self.text)
            if i >= start
            for _ in range(1 + (c == "^"))
        ]
        column = getattr(node, "col_offset", None)
        raise ExpressionError(
            message, self.text, None if column is None else columns[column]
        )

    def tree(self) -> ast.expr:
        """Return the syntax tree of a text made of allowed characters only."""
        if not self.text.strip():
            raise ExpressionError("the expression is empty", self.text)
        if len(self.text) > MAX_LENGTH:
            raise ExpressionError(
                f"the expression has {len(self.text)} characters; at most "
                f"{MAX_LENGTH} are allowed",
                self.text,
            )
        _refuse_foreign(self.text)
        try:
            tree = ast.parse(self.code, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            message, position = _syntax_problem(self.text)
            raise ExpressionError(message, self.text, position) from None
        if sum(1 for _ in ast.walk(tree)) > MAX_LENGTH:
            raise ExpressionError("the expression has too many terms", self.text)
        return tree

    def found(self, node: ast.AST) -> Never:
        """Refuse a node, quoting it."""
        source = ast.get_source_segment(self.code, node) or type(node).__name__
        self.fail(f"{ONLY} (found {source!r})", node)

    def number(self, node: ast.Constant) -> Fraction:
        """Return the exact value of a decimal literal."""
        source = ast.get_source_segment(self.code, node) or ""
        match = re.fullmatch(r"([0-9]*\.?[0-9]*)(?:[eE]([+-]?[0-9]{1,3}))?", source)
        if match is None:
            self.found(node)
        digits = match[1].strip("0.")
        if len(digits) > 40 or abs(int(match[2] or 0)) > 40:
            self.fail(f"the number {source} has too many digits", node)
        return Fraction(source)

    def measure(self, node: ast.expr) -> _Size:
        """Refuse everything that is not allowed, in exact or floating arithmetic."""
        match node:
            case ast.Constant():
                size = _Size(0, 0, self.number(node))
            case ast.Name(id=name):
                size = self._measure_name(node, name)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
                size = self.measure(operand)
                if size.value is not None and isinstance(node.op, ast.USub):
                    size = _Size(size.degree, size.depth, -size.value)
            case ast.BinOp(op=op) if type(op) in OPERATORS:
                size = self._measure_operation(node)
            case ast.Call(args=[_], keywords=[]):
                size = self._measure_call(node)
            case _:
                self.found(node)
        self._check(size, node)
        return size

    def _check(self, size: _Size, node: ast.expr) -> None:
        value = size.value
        if value is not None and not -MAX_CONSTANT <= value <= MAX_CONSTANT:
            self.fail("this constant is larger than 1e18", node)
        if isinstance(value, Fraction) and value.denominator > MAX_DENOMINATOR:
            self.fail("this constant has too many digits", node)
        if size.degree > MAX_DEGREE:
            self.fail(f"the total degree exceeds {MAX_DEGREE}", node)
        if size.depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} functions inside each other", node)

    def _measure_name(self, node: ast.Name, name: str) -> _Size:
        if name in CONSTANTS and name != self.variable:
            return _Size(0, 0, CONSTANTS[name])
        known = name == self.variable or name in (self.parameters or ())
        if known or (self.parameters is None and is_word(name)):
            return _Size(1, 0, None)
        if name in FUNCTIONS:
            self.fail(f"{name!r} is a function; write {name}({self.variable})", node)
        names = f"unknown name {name!r}; the variable is {self.variable!r}"
        if self.parameters:
            names += f" and the parameters are {', '.join(self.parameters)}"
        self.fail(names, node)

    def _measure_call(self, node: ast.Call) -> _Size:
        if not isinstance(node.func, ast.Name):
            self.fail(f"{ONLY}; write '*' for a product", node)
        name = node.func.id
        if name not in FUNCTIONS:
            close = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            known = ", ".join(FUNCTIONS)
            self.fail(f"unknown function {name!r}{hint} Known: {known}", node)
        inner = self.measure(node.args[0])
        if inner.value is None:
            return _Size(inner.degree, inner.depth + 1, None)
        return _Size(0, inner.depth + 1, self._value(node, FUNCTIONS[name], inner))

    def _measure_operation(self, node: ast.BinOp) -> _Size:
        left, right = self.measure(node.left), self.measure(node.right)
        depth = max(left.depth, right.depth)
        degree = max(left.degree, right.degree)
        if isinstance(node.op, (ast.Mult, ast.Div)):
            degree = left.degree + right.degree
        elif isinstance(node.op, ast.Pow):
            degree = left.degree * self._exponent(node, left, right)
        if isinstance(node.op, ast.Div) and right.value == 0:
            self.fail("division by zero", node.right)
        if left.value is None or right.value is None:
            return _Size(degree, depth, None)
        value = self._value(node, OPERATORS[type(node.op)], left, right)
        return _Size(0, depth, value)

    def _exponent(self, node: ast.BinOp, base: _Size, exponent: _Size) -> int:
        power = exponent.value
        if not isinstance(power, Fraction):
            advice = "write exp(...) for a power that is not a number"
            self.fail(f"an exponent must be a rational number; {advice}", node.right)
        if abs(power) > MAX_DEGREE:
            self.fail(
                f"an exponent must lie in [-{MAX_DEGREE}, {MAX_DEGREE}]", node.right
            )
        size = math.ceil(abs(power))
        if base.bits * size > 4096:
            self.fail("this constant is larger than 1e18", node)
        return size

    def _value(
        self, node: ast.expr, function: Callable[..., Any], *sizes: _Size
    ) -> Fraction | float:
        try:
            value = function(*(size.value for size in sizes))
        except ZeroDivisionError:
            self.fail("division by zero", node)
        except OverflowError:
            self.fail("this constant is larger than 1e18", node)
        except ValueError:
            self.fail("this constant is not a real number", node)
        if not isinstance(value, (Fraction, float)):
            self.fail("this constant is not a real number", node)  # complex
        return value


def is_word(name: str) -> bool:
    """Whether a name is 1 to 16 letters and means nothing else in a formula."""
    known = name in FUNCTIONS or name in CONSTANTS or keyword.iskeyword(name)
    return re.fullmatch(r"[A-Za-z]{1,16}", name) is not None and not known


def _refuse_foreign(text: str) -> None:
    """Refuse words and characters no formula has, in reading order."""
    for token in re.finditer(r"[A-Za-z_][A-Za-z0-9_]*|\S", text, re.ASCII):
        word = token.group()
        foreign = "_" in word or keyword.iskeyword(word) or not word.isascii()
        if foreign or not (word.isalnum() or word in "+-*/^()."):
            shown = word if word.isprintable() else ascii(word)
            raise ExpressionError(f"{ONLY} (found {shown!r})", text, token.start())


def _syntax_problem(text: str) -> tuple[str, int]:
    """Say what is wrong with a text Python could not read, and where."""
    stripped = text.rstrip()
    if stripped[-1] in "+-*/^":
        return f"expression ends after {stripped[-1]!r}", len(stripped) - 1
    opened = []
    for i, character in enumerate(text):
        if character == "(":
            opened.append(i)
        elif character == ")" and not opened:
            return "')' closes nothing", i
        elif character == ")":
            opened.pop()
    if opened:
        return "'(' is never closed", opened[-1]
    product = re.search(r"(?<=[0-9A-Za-z)])\s*(?=[A-Za-z(])|(?<=\))\s*(?=[0-9])", text)
    double = re.search(r"[+\-*/^]\s*[*/^]", text)
    if double:
        return "an operand is missing", double.start()
    place = product.end() if product else len(stripped) - 1
    return "this is not an expression; write '*' for a product", place
