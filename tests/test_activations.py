"""Laws every activation obeys, whether named or written as an expression."""

from __future__ import annotations

import inspect
import math
import pickle
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from manifold_flow.activations import Activation, monotone_inverse
from manifold_flow.activations.extent import _stays_above
from manifold_flow.activations.named import NAMED
from manifold_flow.errors import (
    ActivationError,
    UnknownKeywordError,
    UnknownNameError,
)
from theory.expressions import ExpressionError

Z = sympy.Symbol("z", real=True)
INF = math.inf
NORMALS = np.random.default_rng(7).normal(scale=2.0, size=(4, 6))


def exactly(activation: Activation, order: int, points: np.ndarray) -> np.ndarray:
    """Evaluate a derivative from its formula with 50 digits."""
    function = sympy.lambdify(Z, activation.symbolic(order), "mpmath")
    with mpmath.workdps(50):
        values = [float(function(mpmath.mpf(x))) for x in points.ravel()]
    return np.reshape(values, points.shape)


class ActivationLaws:
    """What holds for every activation; subclasses give one."""

    activation: Activation

    @pytest.fixture(params=range(4), ids=lambda k: f"order {k}")
    def order(self, request):
        return request.param

    def test_each_order_differentiates_the_one_below(self, order):
        step = 1e-5
        points = NORMALS[np.abs(NORMALS) > 1e-2]
        above = self.activation.derivatives(points + step)[max(order - 1, 0)]
        below = self.activation.derivatives(points - step)[max(order - 1, 0)]
        slope = self.activation.derivative(points, max(order, 1))
        scale = 1 + np.max(np.abs(self.activation.derivatives(points)), axis=0)
        assert np.all(np.abs((above - below) / (2 * step) - slope) <= 1e-7 * scale)

    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3, 4)])
    def test_shapes(self, shape):
        jet = self.activation.derivatives(np.full(shape, 0.3))
        assert [np.shape(d) for d in jet] == [shape] * 4
        assert np.shape(self.activation(np.full(shape, 0.3))) == shape

    def test_integers_are_read_as_floats(self):
        np.testing.assert_array_equal(
            self.activation([1, 2]), self.activation([1.0, 2.0])
        )

    def test_the_argument_is_not_changed_nor_shared(self):
        z = NORMALS.copy()
        jet = self.activation.derivatives(z)
        assert not any(np.shares_memory(z, d) for d in jet)
        np.testing.assert_array_equal(z, NORMALS)

    def test_far_out_there_is_no_warning_and_no_nan_in_the_value(self):
        z = np.array([-1e200, -1e4, -750.0, 750.0, 1e4, 1e200])
        with np.errstate(all="raise"):
            value, *_ = self.activation.derivatives(z)
        assert not np.isnan(value).any()

    def test_inverse_refuses_what_is_not_finite(self):
        with pytest.raises(ActivationError):
            self.activation.inverse([0.5, math.nan])

    def test_values_stay_in_the_range(self):
        values = self.activation(np.linspace(-9, 9, 181))
        assert not self.activation.extent.excludes(values).any()

    def test_pickle_equality_hash_and_repr(self):
        copy = pickle.loads(pickle.dumps(self.activation))
        assert copy == self.activation
        assert hash(copy) == hash(self.activation)
        assert repr(copy) == f"Activation({self.activation.expression!r})"
        for one, other in zip(
            copy.derivatives(NORMALS), self.activation.derivatives(NORMALS), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    def test_the_expression_means_the_same(self):
        again = Activation.from_expression(self.activation.expression)
        assert again == self.activation
        points = NORMALS[np.abs(NORMALS) > 1e-3]
        for one, other in zip(
            again.derivatives(points), self.activation.derivatives(points), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


class SmoothLaws(ActivationLaws):
    """Further laws where no derivative jumps."""

    @pytest.mark.parametrize("orders", [1, 2, 3, 4])
    def test_leading_derivatives_are_the_first_ones(self, orders):
        leading = self.activation.leading(NORMALS.copy(), orders)
        expected = self.activation.derivatives(NORMALS)[:orders]
        for one, other in zip(leading, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=4e-16, atol=0)
        assert orders != 2 or leading[1].flags.writeable

    def test_derivatives_agree_with_fifty_digits(self, order):
        exact = exactly(self.activation, order, NORMALS)
        # Near a root of one derivative only the size of the jet can be asked for.
        size = np.max(np.abs(self.activation.derivatives(NORMALS)), axis=0)
        error = np.abs(self.activation.derivative(NORMALS, order) - exact)
        assert np.all(error <= 1e-12 * size)


class InvertibleLaws(SmoothLaws):
    """Further laws of a monotone activation, on an interval where it is finite."""

    interior = (-6.0, 6.0)

    def test_inverse_round_trip(self):
        low, high = np.arcsinh(self.interior)
        z = np.sinh(np.linspace(low, high, 400)).reshape(20, 20)
        value, slope, *_ = self.activation.derivatives(z)
        back = self.activation.inverse(value)
        rounding = 2e-15 * (np.abs(z) + np.abs(value / slope)) + 1e-300
        assert back.shape == z.shape
        assert np.all(np.abs(back - z) <= rounding)

    def test_inverse_reaches_the_value_to_rounding(self):
        low, high = self.activation(np.array(self.interior))
        u = np.linspace(low, high, 201)[1:-1]
        z = self.activation.inverse(u)
        value, slope, *_ = self.activation.derivatives(z)
        rounding = 2e-15 * (np.abs(u) + np.abs(slope * z)) + 1e-300
        assert np.all(np.abs(value - u) <= rounding)


class TestCubic(InvertibleLaws):
    activation = Activation.from_name("cubic")
    interior = (-1e5, 1e5)


class TestCubicWithSmallSlope(InvertibleLaws):
    activation = Activation.from_name("cubic", nu=0.05)


class TestSinh(InvertibleLaws):
    activation = Activation.of("sinh")
    interior = (-300.0, 300.0)


class TestExp(InvertibleLaws):
    activation = Activation.of("exp")
    interior = (-300.0, 300.0)


class TestExpPlusLinear(InvertibleLaws):
    activation = Activation.of("exp_plus_linear")
    interior = (-1e6, 300.0)


class TestTanh(InvertibleLaws):
    activation = Activation.of("tanh")


class TestSoftplus(InvertibleLaws):
    activation = Activation.of("softplus")
    interior = (-300.0, 300.0)


class TestRelu(ActivationLaws):
    activation = Activation.of("relu")


class TestGelu(SmoothLaws):
    activation = Activation.of("gelu")


class TestSquare(SmoothLaws):
    activation = Activation.of("square")


class TestLinear(InvertibleLaws):
    activation = Activation.of("linear")


class TestExpression(InvertibleLaws):
    activation = Activation.of("sinh(z) + z/5")
    interior = (-300.0, 300.0)


class TestDecreasingExpression(InvertibleLaws):
    activation = Activation.of("-z^5 - z")
    interior = (-50.0, 50.0)


class TestRootOfQuadratic(InvertibleLaws):
    """φ' = √(1 + z²), the fourth activation of theory notes §1.13."""

    activation = Activation.of("(z*sqrt(1 + z^2) + asinh(z))/2")


class TestConstruction:
    @pytest.mark.parametrize("name", NAMED)
    def test_of_takes_names_in_any_spelling(self, name):
        expected = Activation.from_name(name)
        for spelling in (name, name.upper(), name.replace("_", "-"), f" {name} "):
            assert Activation.of(spelling) == expected
        assert Activation.of(expected) is expected

    def test_cubic_is_its_expression(self):
        assert Activation.of("z**3/6 + z") == Activation.of("cubic")
        assert Activation.of("cubic") != Activation.from_name("cubic", nu=2)
        assert Activation.of("cubic") != "cubic"
        assert Activation.from_name("cubic", nu=2).expression == "z**3/6 + 2*z"

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [("tahn", "tanh"), ("Cubik", "cubic"), ("exp-plus-linaer", "exp_plus_linear")],
    )
    def test_a_misspelt_name_gets_the_nearest_one(self, typed, meant):
        with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
            Activation.of(typed)
        with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
            Activation.from_name(typed)

    @pytest.mark.parametrize("nu", [0.0, -1.0, math.nan, INF, 1e-300])
    def test_cubic_needs_a_slope(self, nu):
        with pytest.raises(ActivationError, match="spurious stationary points"):
            Activation.from_name("cubic", nu=nu)

    def test_unknown_keywords(self):
        with pytest.raises(UnknownKeywordError, match="It takes: nu"):
            Activation.from_name("cubic", mu=1.0)
        with pytest.raises(UnknownKeywordError):
            Activation.from_name("tanh", nu=1.0)

    def test_the_parsers_words_reach_the_user(self):
        with pytest.raises(ActivationError, match="expression ends after") as caught:
            Activation.of("z**3 + ")
        assert isinstance(caught.value.__cause__, ExpressionError)
        assert str(caught.value) == str(caught.value.__cause__)

    @pytest.mark.parametrize("text", ["3", "pi", "e", "z - z", "exp(2)"])
    def test_a_constant_is_no_activation(self, text):
        with pytest.raises(ActivationError, match="is constant"):
            Activation.of(text)

    @pytest.mark.parametrize("value", [None, 3.0, np.tanh, lambda z: z])
    def test_a_callable_is_no_activation(self, value):
        with pytest.raises(ActivationError, match="an expression such as"):
            Activation.of(value)

    def test_orders(self):
        phi = Activation.of("tanh")
        for order in (-1, 4, 1.5):
            with pytest.raises(ActivationError, match="orders 0 to 3"):
                phi.derivative(0.0, order)
        with pytest.raises(ActivationError, match="an order >= 0"):
            phi.symbolic(-1)
        assert phi.symbolic(4) == sympy.diff(sympy.tanh(Z), Z, 4)
        assert phi.symbolic() == sympy.tanh(Z)

    def test_named_activations_do_not_import_sympy(self):
        code = (
            "import sys; from manifold_flow.activations import Activation as A\n"
            "phi = A.of('cubic'); phi.inverse(phi.derivatives([1.0])[0])\n"
            "print('sympy' in sys.modules)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert run.stdout.strip() == "False"


class TestRange:
    @pytest.mark.parametrize(
        ("text", "low", "high"),
        [
            ("exp(z)", 0, INF),
            ("-exp(-z)", -INF, 0),
            ("exp(-z) + 2", 2, INF),
            ("tanh(z) + 1", 0, 2),
            ("atan(z)", -math.pi / 2, math.pi / 2),
            ("softplus(z) - 3", -3, INF),
            ("asinh(z)", -INF, INF),
            ("sinh(z) + z/5", -INF, INF),
            ("z**3", -INF, INF),
            ("z/(1 + abs(z))", -1, 1),
            ("z**2", 0, INF),
            ("z**2 + z", -0.25, INF),
            ("z**4 - z", -0.75 * 4 ** (-1 / 3), INF),
            ("exp(-z**2)", 0, 1),
            ("1/(1 + z**2)", 0, 1),
            ("cos(z)", -1, 1),
            ("1 - abs(z)", -INF, 1),
            ("relu(z)**2 - 1", -1, INF),
            ("erf(z)", -1, 1),
            ("z*sigmoid(z)", -INF, INF),  # bounded below, but not proved: not known
            ("z + sin(z)", -INF, INF),
            ("1/z", -INF, INF),  # a pole: not (0, -0)
            ("1/z**2", -INF, INF),
        ],
    )
    def test_of_expressions(self, text, low, high):
        found = Activation.from_expression(text).range
        assert found == pytest.approx((low, high), abs=1e-9)

    def test_ends_of_closed_ranges_are_attained(self):
        for name, z in (("relu", -1.0), ("square", 0.0), ("gelu", -0.7517915246935645)):
            phi = Activation.of(name)
            assert phi.extent.has_low
            assert phi(z) == pytest.approx(phi.range[0], abs=1e-16)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("relu", "[0, inf)"),
            ("tanh", "(-1, 1)"),
            ("z**2 + z", "[-0.25, inf)"),
            ("exp(-z**2)", "(0, 1]"),
            ("-exp(z)", "(-inf, 0)"),
            ("cubic", "(-inf, inf)"),
        ],
    )
    def test_brackets_are_square_where_an_end_is_a_value(self, text, words):
        assert str(Activation.of(text).extent) == words

    @pytest.mark.parametrize("text", ["z - sin(9*z)/8", "z**6 - 3*z**2 + z", "sin(z)"])
    def test_no_value_of_a_dense_sample_is_excluded(self, text):
        phi = Activation.of(text)
        assert not phi.extent.excludes(phi(np.linspace(-20, 20, 200_001))).any()

    @pytest.mark.parametrize("bound", [-0.25 + 1e-9, -0.24, 0.0, 1.0])
    def test_control_a_bound_above_the_infimum_is_not_proved(self, bound):
        assert _stays_above(Activation.of("z**2 + z").symbolic(), bound) is None

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("1/z", "pole where it divides by z, which changes sign near z = 0"),
            ("1/(z - 0.3) + z", "changes sign near z = 0.3"),
            ("log(z)", "takes the logarithm of z"),
            ("sqrt(1 - z**2)", "takes a root of 1 - z**2"),
            ("tan(z)", "divides by cos(z)"),
        ],
    )
    def test_a_gap_on_the_line_is_named(self, text, words):
        assert words in Activation.of(text).gap

    @pytest.mark.parametrize(
        "text",
        ["1/(1 + z**2)", "log(1 + exp(z))", "sqrt(1 + z^2)", "sqrt(z^2)", "cubic"],
    )
    def test_control_no_gap(self, text):
        assert Activation.of(text).gap is None

    @pytest.mark.parametrize(
        ("name", "u"),
        [
            ("tanh", 1.0),
            ("tanh", -2.0),
            ("exp", 0.0),
            ("softplus", -0.1),
            ("cubic", INF),
        ],
    )
    def test_outside_the_range_the_first_offender_is_named(self, name, u):
        with pytest.raises(ActivationError, match=r"u\[1, 0\] = .* outside the range"):
            Activation.of(name).inverse([[0.5, 0.5], [u, u]])

    @pytest.mark.parametrize(
        "text", ["square", "relu", "gelu", "z**2", "relu(z)", "sin(z)", "z**3 - z"]
    )
    def test_no_inverse_without_monotonicity(self, text):
        with pytest.raises(ActivationError, match="not known to be monotone"):
            Activation.of(text).inverse(0.5)

    def test_kinked_but_increasing(self):
        phi = Activation.of("z + abs(z)/2")
        np.testing.assert_allclose(phi.inverse([3.0, -1.0]), [2.0, -2.0], rtol=1e-15)

    def test_flat_at_one_point(self):
        np.testing.assert_allclose(Activation.of("z^3").inverse([8.0, 0.0]), [2, 0])


class TestHypotheses:
    @pytest.mark.parametrize(
        ("name", "slope", "third", "satisfied"),
        [
            ("cubic", "positive", "positive", True),
            ("sinh", "positive", "positive", True),
            ("exp", "positive", "positive", True),
            ("exp_plus_linear", "positive", "positive", True),
            ("(z*sqrt(1 + z^2) + asinh(z))/2", "positive", "positive", True),
            ("tanh", "positive", "changes", False),
            ("softplus", "positive", "changes", False),
            ("sigmoid(z)", "positive", "changes", False),
            ("gelu", "changes", "changes", False),
            ("relu", "undecided", "undecided", False),
            ("square", "changes", "zero", False),
            ("linear", "positive", "zero", False),
            ("z^3", "nonnegative", "positive", False),
            ("relu(z)^4 + exp(z)", "undecided", "undecided", None),
        ],
    )
    def test_on_the_line(self, name, slope, third, satisfied):
        phi = Activation.of(name)
        assert (phi.sign(1).sign, phi.sign(3).sign) == (slope, third)
        assert phi.satisfies_hypotheses() is satisfied

    def test_tanh_changes_sign_where_known(self):
        low, high = Activation.of("tanh").sign(3, -3, 0).witness
        assert low < -0.6584789 < -0.6584788 < high

    @pytest.mark.parametrize(
        ("low", "high", "satisfied"),
        [(0.7, 3, True), (0.6, 3, False), (-0.5, 0.5, False)],
    )
    def test_tanh_on_an_interval(self, low, high, satisfied):
        assert Activation.of("tanh").satisfies_hypotheses(low, high) is satisfied

    def test_power_three_halves_has_negative_third_derivative(self):
        # theory notes §1.13: z^1.5 on z > 0.
        assert Activation.of("z^1.5").sign(3, 0.1, 10).sign == "negative"

    @pytest.mark.parametrize("name", ["tanh", "softplus", "gelu", "square"])
    def test_control_a_sampled_third_derivative_contradicts_positive(self, name):
        phi = Activation.of(name)
        assert phi.derivative(np.linspace(-3, 3, 61), 3).min() <= 0
        assert phi.sign(3).sign != "positive"


class TestMonotoneInverse:
    @given(arrays(float, (4,), elements=st.floats(-1e12, 1e12)), st.floats(-50, 50))
    @settings(deadline=None, derandomize=True, max_examples=40)
    def test_reaches_rounding_level_from_any_guess(self, targets, guess):
        def function(z):
            return np.sinh(z) + z**3, np.cosh(z) + 3 * z**2

        z = monotone_inverse(function, targets, guess)
        value, slope = function(z)
        allowed = 4e-16 * (np.abs(targets) + slope * np.abs(z)) + 1e-300
        assert np.all(np.abs(value - targets) <= allowed)

    def test_few_evaluations(self):
        calls = []

        def function(z):
            calls.append(z)
            return np.exp(z) + z, np.exp(z) + 1

        monotone_inverse(function, np.linspace(-1e3, 1e3, 1001))
        assert len(calls) < 60

    def test_a_second_derivative_that_spans_400_orders_of_magnitude(self):
        phi = Activation.of("exp_plus_linear")

        def curvature(z):
            return phi.derivative(z, 2), phi.derivative(z, 3)

        u = np.array([[1e-200, 1.0], [2.0, 1e200]])
        np.testing.assert_allclose(
            monotone_inverse(curvature, u), np.log(u), rtol=1e-14
        )

    def test_a_wrong_slope_only_costs_time(self):
        z = monotone_inverse(lambda z: (z**3 + z, np.full_like(z, -7.0)), [10.0])
        np.testing.assert_allclose(z, [2.0], rtol=1e-15)

    @pytest.mark.parametrize("target", [2.0, -2.0])
    def test_an_unreachable_target_is_named(self, target):
        def function(z):
            return np.tanh(z), 1 - np.tanh(z) ** 2

        with pytest.raises(ActivationError, match=rf"no z reaches u\[1\] = {target:g}"):
            monotone_inverse(function, [0.5, target])

    @pytest.mark.parametrize("target", [math.nan, INF])
    def test_a_target_must_be_finite(self, target):
        with pytest.raises(ActivationError, match="cannot invert at u ="):
            monotone_inverse(lambda z: (z, np.ones_like(z)), target)

    def test_empty(self):
        assert monotone_inverse(lambda z: (z, np.ones_like(z)), []).shape == (0,)


def test_every_error_class_of_this_module_is_a_value_or_type_error():
    for error in (ActivationError, UnknownNameError, UnknownKeywordError):
        assert issubclass(error, (ValueError, TypeError))
        assert inspect.getdoc(error)
