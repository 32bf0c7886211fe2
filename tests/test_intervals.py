"""Signs are decided with proof: exact roots, SymPy's assumptions, intervals."""

from __future__ import annotations

import cProfile
import math
import pstats
import sys
import time

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_flow.activations import Activation
from manifold_flow.errors import DataError
from manifold_flow.intervals import SignDecision, decide_sign
from manifold_flow.intervals.arithmetic import UndefinedError, enclosure
from manifold_flow.intervals.patience import within
from manifold_flow.intervals.roots import sign_by_roots
from theory.expressions import parse

INF = math.inf
Z = sympy.Symbol("z", real=True)


def decide(text: str, low: float = -INF, high: float = INF, order: int = 0):
    return decide_sign(parse(text).diff(Z, order), low, high)


class TestDecisions:
    @pytest.mark.parametrize(
        ("text", "low", "high", "sign"),
        [
            ("3*z**2 + 1", -INF, INF, "positive"),
            ("-3*z**2 - 1", -INF, INF, "negative"),
            ("z**2", -INF, INF, "nonnegative"),
            ("-(z - 1)**4", -INF, INF, "nonpositive"),
            ("z**2", 1, 2, "positive"),
            ("z", 0, 1, "nonnegative"),
            ("z", 0, INF, "nonnegative"),
            ("z", -INF, 0, "nonpositive"),
            ("z", 0, 0, "zero"),
            ("z", -1, 1, "changes"),
            ("z", -INF, -1, "negative"),
            ("z - z", -INF, INF, "zero"),
            ("5", -INF, INF, "positive"),
            ("-pi", -INF, INF, "negative"),
            ("z**3 - 2", 1.26, INF, "positive"),
            ("z**3 - 2", 1.25, INF, "changes"),
            ("z**2/(1 + z**2)", -INF, INF, "nonnegative"),
            ("cosh(z)", -INF, INF, "positive"),
            ("1 - tanh(z)**2", -INF, INF, "positive"),
            ("exp(z) - 1", 0, 3, "nonnegative"),
            ("exp(z) - 1", 1e-5, INF, "positive"),
            ("exp(z) - 1", -INF, INF, "changes"),
            ("exp(z) - 2", -INF, 0.69, "negative"),
            ("exp(z) + exp(-2*z) - 1/2", -INF, INF, "positive"),
            ("sin(z) + 2", -INF, INF, "positive"),
            ("sin(z)", 1, 3, "positive"),
            ("sin(z)", 1, 4, "changes"),
            ("erf(z) + z/10", 0.1, 50, "positive"),
            ("z*exp(z) + cos(z)", 0, 5, "positive"),
            ("exp(z) - z", -30, 30, "positive"),
            ("exp(z) - z", -INF, INF, "undecided"),  # which term wins far out?
            ("exp(-z^2)*(z^2 - 4)", -1, 1, "negative"),
            ("relu(z)", 1, INF, "positive"),
            ("relu(z)", -2, -1, "zero"),
            ("abs(z) + 1", -INF, INF, "positive"),
            ("log(z)", 2, INF, "positive"),
            ("tan(z)", 0.1, 1.5, "positive"),
            ("1/sqrt(z)", 1, 2, "positive"),
            ("asinh(z) + atan(z)", 1, INF, "positive"),
            ("1/z", -1, 1, "changes"),
            ("1/z**2", -1, 1, "undecided"),
            ("log(z)", -2, -1, "undecided"),
        ],
    )
    def test_sign(self, text, low, high, sign):
        decision = decide(text, low, high)
        assert (decision.sign, decision.low, decision.high) == (sign, low, high)

    @pytest.mark.parametrize("claim", ["positive", "negative", "zero", "undecided"])
    def test_control_wrong_claims_about_tanh_are_not_made(self, claim):
        assert decide("tanh(z)", order=3).sign != claim

    def test_tanh_third_derivative_changes_sign_where_known(self):
        decision = decide("tanh(z)", -3, 0, order=3)
        low, high = decision.witness
        assert decision.sign == "changes"
        assert low < -math.atanh(1 / math.sqrt(3)) < high
        assert high - low <= 1e-6

    @pytest.mark.parametrize(
        ("text", "root"),
        [
            ("z**3 - 2", 2 ** (1 / 3)),
            ("z - 1/4", 0.25),
            ("exp(3*z) - 7", math.log(7) / 3),
            ("z + exp(z)", -float(mpmath.lambertw(1))),
            ("gelu(z) - 1", 1.1446),
        ],
    )
    def test_witness_of_a_change_brackets_the_root(self, text, root):
        decision = decide(text)
        low, high = decision.witness
        value = sympy.lambdify(Z, parse(text), "mpmath")
        assert decision.sign == "changes"
        assert value(low) < 0 < value(high)
        assert high - low <= 1e-6
        assert (low + high) / 2 == pytest.approx(root, rel=1e-3)

    @pytest.mark.parametrize("text", ["relu(z - 2)", "abs(z - 2)"])
    def test_a_kink_is_the_witness(self, text):
        decision = decide(text, order=3)
        low, high = decision.witness
        assert decision.sign == "undecided"
        assert low <= 2 <= high
        assert high - low < 1e-5

    def test_beside_the_kink_the_sign_is_exactly_zero(self):
        assert decide("relu(z)", 1, 3, order=3).sign == "zero"

    def test_budget_ends_undecided(self):
        expression = parse("sin(z)*cos(z) + 0.51 - z**2/10**9")
        decision = decide_sign(expression, -50, 50, max_boxes=10)
        assert decision.sign == "undecided"
        assert "11 boxes" in decision.reason
        assert decide_sign(expression, -50, 50, time_limit=0).sign == "undecided"
        assert decide_sign(expression, -50, 50, time_limit=60).sign == "positive"

    @pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (INF, INF)])
    def test_an_empty_interval_is_refused(self, low, high):
        with pytest.raises(DataError, match="is empty"):
            decide("z", low, high)

    def test_two_symbols_are_refused(self):
        with pytest.raises(DataError, match="depends on a, z"):
            decide_sign(parse("a*z", parameters=None))

    def test_a_decision_is_a_value(self):
        assert decide("z", 1, 2) == SignDecision(
            "positive", 1.0, 2.0, None, "real roots counted exactly"
        )


class TestExactRoots:
    def test_control_the_method_declines_what_is_not_exact(self):
        for text in (
            "sin(z)",
            "exp(z) - z",
            "relu(z)",
            "1/z",
            "pi*z - 1",
            "exp(pi*z)-2",
        ):
            assert sign_by_roots(parse(text), -INF, INF) is None

    def test_an_end_indistinguishable_from_a_root_is_declined(self):
        assert sign_by_roots(parse("exp(z) - 1"), 1e-20, 1.0) is None

    @given(
        st.lists(st.integers(-6, 6), min_size=1, max_size=4),
        st.integers(-7, 7),
        st.integers(0, 5),
    )
    @settings(deadline=None, derandomize=True, max_examples=60)
    def test_polynomials_of_known_roots(self, roots, low, width):
        # 120 steps meet every integer between ends at most 5 apart.
        high = low + width
        polynomial = sympy.Mul(*(Z - r for r in roots))
        values = [
            math.prod(low + width * k / 120 - r for r in roots) for k in range(121)
        ]
        signs = set(np.sign(np.round(values, 9)).tolist())
        expected = {
            (1.0,): "positive",
            (-1.0,): "negative",
            (0.0, 1.0): "nonnegative",
            (-1.0, 0.0): "nonpositive",
            (0.0,): "zero",
        }.get(tuple(sorted(signs)), "changes")
        sign, _ = sign_by_roots(polynomial, float(low), float(high))
        assert sign == expected

    @given(st.integers(-4, 4), st.integers(1, 5))
    @settings(deadline=None, derandomize=True, max_examples=30)
    def test_substituting_an_exponential_keeps_the_sign(self, root, rate):
        text = f"(exp({rate}*z) - 1)*(exp(z) + 1)"
        low, high = root / 3, root / 3 + 1
        found = sign_by_roots(parse(text), low, high)[0]
        expected = "positive" if low > 0 else "negative" if high < 0 else "other"
        touches = {"nonnegative", "nonpositive", "changes"}
        assert found == expected or (expected == "other" and found in touches)


class TestEnclosures:
    TEXTS = (
        "z**3 - z",
        "exp(z)*sin(3*z)",
        "tanh(z)**2 - 1/3",
        "erf(z)*cosh(z)",
        "sinh(z) - asinh(z)",
        "atan(z)/(1 + z**2)",
        "sqrt(1 + z**2) - abs(z)",
        "cos(z)**3*relu(z)",
        "(2 + cos(z))**(-3/2)",
        "log(2 + sin(z))",
        "z^4 - pi*z/7",
    )

    @pytest.mark.parametrize("text", TEXTS)
    @given(st.floats(-5, 5), st.floats(0, 3), st.floats(0, 1))
    @settings(deadline=None, derandomize=True, max_examples=25)
    def test_every_value_lies_inside(self, text, low, width, part):
        high = low + width
        point = min(high, max(low, low + part * width))
        below, above = enclosure(parse(text))((low, high))
        value = parse(text).evalf(30, subs={Z: sympy.Float(point, 40)})
        assert below <= value <= above

    @pytest.mark.parametrize("text", TEXTS)
    def test_a_point_is_enclosed_tightly(self, text):
        below, above = enclosure(parse(text))((0.7, 0.7))
        assert 0 < above - below < 1e-13

    def test_infinite_ends(self):
        assert enclosure(parse("tanh(z)"))((0.0, INF)) == (0.0, 1.0)
        assert enclosure(parse("exp(z)"))((-INF, -1.0))[0] == 0.0
        assert enclosure(parse("z*exp(z)"))((1.0, INF))[1] == INF
        assert enclosure(parse("exp(z)"))((1000.0, 2000.0)) == (
            np.finfo(float).max,
            INF,
        )

    @pytest.mark.parametrize(
        ("text", "order"), [("1/z", 0), ("log(z)", 0), ("sqrt(z)", 0), ("abs(z)", 1)]
    )
    def test_poles_and_kinks_have_no_enclosure(self, text, order):
        enclose = enclosure(parse(text).diff(Z, order))
        with pytest.raises(UndefinedError):
            enclose((-1.0, 1.0))

    def test_an_unknown_function_has_no_enclosure(self):
        enclose = enclosure(sympy.gamma(Z))
        with pytest.raises(UndefinedError):
            enclose((1.0, 2.0))


class TestPatience:
    """No formula is worth more than seconds."""

    @pytest.mark.parametrize(
        ("text", "verdict"),
        [
            ("gelu(tanh(gelu(tanh(z))))", False),
            ("tanh(gelu(tanh(z)))", False),
            ("sinh(tanh(gelu(z)))*exp(-z**2)", False),
            # would be exact, from a polynomial of degree 465
            pytest.param(
                "(exp(z/3) + exp(z/5) + exp(z/7))**6/(1 + exp(z/11))",
                None,
                marks=pytest.mark.slow,
            ),
        ],
    )
    def test_nested_formulas_are_given_up_or_settled_soon(self, text, verdict):
        began = time.monotonic()
        assert Activation.of(text).satisfies_hypotheses() is verdict
        assert time.monotonic() - began < 25.0  # took minutes, or did not end

    def test_a_computation_without_end_is_left(self):
        def endless():
            while True:
                parse("z")

        hook = sys.getprofile()
        assert within(0.05, endless) is None
        assert within(5.0, lambda: "done") == "done"
        assert sys.getprofile() is hook

    def test_a_generator_that_is_closed_late_does_not_lose_the_budget(self):
        """What is raised while it closes is ignored, with a warning and the hook."""
        spaces = {"__name__": "sympy.pretended"}
        source = """
def counting():
    try:
        yield from range(10)
    finally:
        pass

def lengthy():
    for _ in range(200_000):
        begun = counting()
        next(begun)
        del begun
        step()
    return "all of it"

def step():
    return 0
"""
        exec(source, spaces)  # functions of another package
        for _ in range(20):
            assert within(0.01, spaces["lengthy"]) is None

    def test_a_profiler_of_the_user_goes_on_afterwards(self):
        def seen_afterwards():
            return 1

        profiler = cProfile.Profile()
        profiler.runcall(lambda: (within(5.0, lambda: 1), seen_afterwards()))
        functions = {name for _, _, name in pstats.Stats(profiler).stats}
        assert "seen_afterwards" in functions

    def test_errors_pass_through(self):
        with pytest.raises(ZeroDivisionError):
            within(5.0, lambda: 1 / 0)
