"""The parser runs nothing, refuses at once, and reads arithmetic exactly."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.expressions import ExpressionError, numeric, parse
from theory.grammar import FUNCTIONS

Z = sympy.Symbol("z", real=True)

HOSTILE = [
    "__import__('os').system('touch {file}')",
    "open('{file}', 'w')",
    'exec(\'open("{file}", "w")\')',
    "eval('1')",
    "compile('1', '', 'eval')",
    "globals()",
    "print(z)",
    "().__class__.__bases__[0].__subclasses__()",
    "z.__class__",
    "z.real",
    "exp.__globals__",
    "(z).subs(z, 1)",
    "lambda: 0",
    "lambda z: z",
    "[x for x in (1,2)]",
    "[z]",
    "(z, z)",
    "()",
    "{{z}}",
    "{{z: 1}}",
    "{{**z}}",
    "f'{{z}}'",
    'f\'{{open("{file}", "w")}}\'',
    "'z'",
    "b'z'",
    "'a' * 10**9",
    "z if z else z",
    "z and z",
    "not z",
    "z or open('{file}','w')",
    "z < 1",
    "z == z",
    "z is z",
    "z in z",
    "z := 1",
    "(z := 1)",
    "z = 1",
    "z; z",
    "import os",
    "del z",
    "yield z",
    "await z",
    "*z",
    "exp(*z)",
    "exp(**z)",
    "exp(z=1)",
    "exp(z, z)",
    "exp()",
    "exp(exp)",
    "exp",
    "z[0]",
    "z[::2]",
    "z @ z",
    "z // 2",
    "z % 2",
    "z | z",
    "z & z",
    "z << 2",
    "~z",
    "...",
    "None",
    "True",
    "False",
    "1j",
    "0x10",
    "0b1",
    "0o7",
    "1_000",
    "_",
    "__debug__",
    "z # comment",
    "z\\\n+ z",
    "z\n+ z",
    "\x00",
    "z\x00",
    "\x1b[31mz",
    "ｚ",  # full-width: NFKC makes it z, so Python would accept it
    "٣*z",
    "z\u00a0+ 1",
    "−z",
    "z²",
    "π",
    "",
    "   ",
    "\t",
    "z +",
    "z**3 + ",
    "* z",
    "z + * z",
    "z^^2",
    "(z",
    "z)",
    "z)+(z",
    "((((",
    "2z",
    "2(z)",
    "z(2)",
    "(z)(z)",
    "z z",
    "1 2",
    ".",
    "1..2",
    "1e",
    "y",
    "x**3 + x",
    "zz",
    "E",
    "I",
    "oo",
    "Symbol(z)",
    "gellu(z)",
    "sympify(z)",
    "Lambda(z)",
    "Function(z)",
    "9**9**9**9",
    "10**10**10",
    "9**9**9**9**9*z",
    "z**(10**9)",
    "z**1000000000",
    "z**-65",
    "z**65",
    "z**z",
    "2**z",
    "z**pi",
    "z**sqrt(2)",
    "z**(1/0)",
    "((z**64)**64)**64",
    "(z**9)**9",
    "(exp(z)**64)**64",
    "sqrt(z**64)**64",
    "(1000000*z)**64",
    "10**64",
    "(1/7)**64",
    "1e999",
    "1e99999999999",
    "1e-999",
    "123456789012345678901234567890123456789012345",
    "10000000000000000000",
    "0." + "1" * 60,
    "exp(exp(exp(exp(9))))",
    "exp(1e9)",
    "cosh(1000)",
    "exp(-1e18)**-1",
    "1/0",
    "z/0",
    "z/(2-2)",
    "1/(z-z)",
    "0**-1",
    "1/(sqrt(2)**2-2)",
    "tan(pi/2)",
    "sqrt(-1)",
    "(-1)**(1/2)",
    "log(-1)",
    "log(0)",
    "sqrt(-z**2)",
    "log(-2)*0",
    "z" * 201,
    "z+" * 100 + "z",
    "-" * 199 + "z",
    "(" * 150 + "z",
    "sin(" * 40 + "z" + ")" * 40,
]


class TestRefusals:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_or_malformed_text_is_refused_and_never_run(self, text, tmp_path):
        sentinel = tmp_path / "executed"
        with pytest.raises(ExpressionError):
            parse(text.replace("{file}", str(sentinel)))
        assert not sentinel.exists()

    def test_the_sentinel_would_appear_if_text_were_run(self, tmp_path):
        sentinel = tmp_path / "executed"
        subprocess.run(
            [sys.executable, "-c", HOSTILE[1].replace("{file}", str(sentinel))],
            check=True,
        )
        assert sentinel.exists()

    def test_all_refusals_together_take_less_than_a_second(self):
        parse("z")  # SymPy is imported by now
        start = time.perf_counter()
        for text in HOSTILE:
            with pytest.raises(ExpressionError):
                parse(text)
        assert time.perf_counter() - start < 1.0

    @pytest.mark.parametrize("value", [None, 3, 1.5, b"z", ["z"], Z, lambda z: z])
    def test_what_is_not_a_string_is_refused(self, value):
        with pytest.raises(ExpressionError, match="an expression is a string"):
            parse(value)

    @pytest.mark.parametrize("name", ["exp", "pi", "lambda", "a b", "x;import os", ""])
    def test_a_symbol_must_be_a_plain_word(self, name):
        with pytest.raises(ExpressionError, match="cannot name a variable"):
            parse("1", variable=name)

    @given(st.text(max_size=40))
    @settings(deadline=None, derandomize=True, max_examples=300)
    def test_any_text_parses_or_raises_expression_error(self, text):
        with contextlib.suppress(ExpressionError):
            assert parse(text).is_real is not False

    def test_refusing_does_not_import_sympy(self):
        code = (
            "import sys, theory.expressions as t\n"
            "try: t.parse('__import__(0)')\n"
            "except t.ExpressionError: print('sympy' in sys.modules)"
        )
        root = Path(__file__).parents[1]
        run = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=root,
        )
        assert run.stdout.strip() == "False"


class TestMessages:
    @pytest.mark.parametrize(
        ("text", "message", "position"),
        [
            ("z**3 + ", "expression ends after '+'", 5),
            (
                "gellu(z)",
                "unknown function 'gellu'; did you mean 'gelu'? Known: exp",
                0,
            ),
            (
                "1 + __import__('os')",
                "listed functions are allowed (found '__import__')",
                4,
            ),
            ("z + y", "unknown name 'y'; the variable is 'z'", 4),
            ("z^2 + y", "unknown name 'y'", 6),
            ("  z^2 * (y)", "unknown name 'y'", 9),
            ("z + (z", "'(' is never closed", 4),
            ("z + 1)", "')' closes nothing", 5),
            ("z/0", "division by zero", 2),
            ("2 + sqrt(-1)", "this constant is not a real number", 4),
            ("z**100", "an exponent must lie in [-64, 64]", 3),
            ("exp + 1", "'exp' is a function; write exp(z)", 0),
            ("2z", "write '*' for a product", 1),
        ],
    )
    def test_message_and_caret(self, text, message, position):
        with pytest.raises(ExpressionError) as caught:
            parse(text)
        assert message in str(caught.value)
        assert caught.value.position == position
        shown, caret = str(caught.value).splitlines()[-2:]
        assert shown == f"  {text}"
        assert caret == " " * (2 + position) + "^"

    def test_control_characters_do_not_reach_the_terminal(self):
        with pytest.raises(ExpressionError) as caught:
            parse("z \x1b[31m")
        assert "\x1b" not in str(caught.value)

    def test_error_survives_pickling(self):
        with pytest.raises(ExpressionError) as caught:
            parse("z +")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.text, copy.position) == (str(caught.value), "z +", 2)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("z**3/6 + z", Z**3 / 6 + Z),
            ("z^3 + z", Z**3 + Z),
            (" z ", Z),
            ("0.1*z", Z / 10),
            ("1.5e-3*z", Z * sympy.Rational(15, 10000)),
            ("1.2345678901234567e-05*z", Z * sympy.Rational("1.2345678901234567e-05")),
            ("-z**2", -(Z**2)),
            ("2**-2*z", Z / 4),
            ("z**(3/2)", Z ** sympy.Rational(3, 2)),
            ("z**2**3", Z**8),
            ("--z", Z),
            ("+z", Z),
            ("pi*z + e", sympy.pi * Z + sympy.E),
            ("3", sympy.Integer(3)),
            ("softplus(z)", sympy.log(1 + sympy.exp(Z))),
            ("sigmoid(z)", 1 / (1 + sympy.exp(-Z))),
            ("relu(z)", sympy.Max(0, Z)),
            ("gelu(z)", Z * (1 + sympy.erf(Z / sympy.sqrt(2))) / 2),
            ("abs(z)", sympy.Abs(Z)),
            ("sqrt(1 + z^2)", sympy.sqrt(1 + Z**2)),
        ],
    )
    def test_value(self, text, expected):
        assert parse(text) == expected

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_every_known_function_agrees_with_its_judge_of_constants(self, name):
        value = float(parse(f"{name}(0.7)").evalf())
        assert value == pytest.approx(FUNCTIONS[name](0.7), rel=1e-14)

    def test_variable_is_real_and_renamed_on_request(self):
        (symbol,) = parse("x**2", variable="x").free_symbols
        assert (symbol.name, symbol.is_real) == ("x", True)

    def test_parameters(self):
        a = sympy.Symbol("a", real=True)
        assert parse("z**3 + a*z", parameters=None) == Z**3 + a * Z
        assert parse("z**3 + a*z", parameters=("a",)) == Z**3 + a * Z
        with pytest.raises(ExpressionError, match="the parameters are a"):
            parse("b*z", parameters=("a",))
        with pytest.raises(ExpressionError, match="unknown name"):
            parse("abcdefghijklmnopq*z", parameters=None)

    @given(st.integers(-999, 999), st.integers(1, 999), st.integers(0, 9))
    @settings(deadline=None, derandomize=True, max_examples=50)
    def test_arithmetic_is_exact(self, p, q, k):
        expected = sympy.Rational(p, q) * Z**k - sympy.Rational(q, 1000)
        assert parse(f"({p})/{q}*z^{k} - {q / 1000!r}") == expected


class TestNumeric:
    SMOOTH = ("softplus(z)", "sigmoid(z)", "tanh(z)", "sigmoid(-2*z)", "gelu(z)")

    @pytest.mark.parametrize("text", [*SMOOTH, "relu(z)", "abs(z)", "3", "z"])
    def test_shapes_and_no_warning_far_out(self, text):
        z = np.array([[-700.0, -30.0, -1.0], [0.0, 30.0, 700.0]])
        jet = numeric([parse(text).diff(Z, k) for k in range(4)])(z)
        assert [(d.shape, d.dtype, bool(np.isfinite(d).all())) for d in jet] == [
            (z.shape, np.float64, True)
        ] * 4

    @pytest.mark.parametrize(
        "text", [*SMOOTH, "sinh(z) + z/5", "z*exp(-z^2)", "erf(z)"]
    )
    @pytest.mark.parametrize("order", range(4))
    def test_agrees_with_many_digits(self, text, order):
        expression = parse(text).diff(Z, order)
        z = np.random.default_rng(order).uniform(-4, 4, 20)
        exact = [float(expression.evalf(40, subs={Z: sympy.Float(x, 40)})) for x in z]
        np.testing.assert_allclose(
            numeric(expression)(z), exact, rtol=1e-12, atol=1e-15
        )

    def test_softplus_keeps_its_relative_accuracy(self):
        # exp(-50) alone: log(1 + exp(z)) as written gives 0.
        value = numeric(parse("softplus(z)"))(np.array([-50.0]))
        np.testing.assert_allclose(value, np.exp(-50.0), rtol=1e-14)

    def test_large_exact_integers_do_not_overflow(self):
        value = numeric(parse("(1000000*z)**9/3"))(np.array([3.0]))
        np.testing.assert_allclose(value, [6.561e57], rtol=1e-14)

    def test_two_symbols_are_refused(self):
        with pytest.raises(ExpressionError, match="all but one of a, z"):
            numeric(parse("a*z", parameters=None))

    @pytest.mark.parametrize(
        "foreign", [sympy.Symbol("z;import os"), sympy.Function("open")(Z)]
    )
    def test_foreign_trees_are_refused(self, foreign):
        with pytest.raises(ExpressionError, match="not built by parse"):
            numeric(foreign)
