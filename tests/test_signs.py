"""Signs on the whole line: proved, refuted with a bracket, or left open."""

import pytest
import sympy

from theory.activations import (
    NAMED,
    Z,
    activation_of,
    first_positive,
    smooth,
    third_positive,
)
from theory.reduction import holds, random_rationals, vanishes
from theory.signs import positive_everywhere


@pytest.mark.parametrize(
    ("text", "first", "third"),
    [
        ("cubic", True, True),
        ("sinh", True, True),
        ("exp", True, True),
        ("exp_plus_linear", True, True),
        ("tanh", True, False),
        ("softplus", True, False),
        ("sigmoid(z)", True, False),
        ("relu", False, False),
        ("gelu", False, False),
        ("square", False, False),
        ("linear", True, False),
        ("sinh(z) + z/5", True, True),
        ("z*sqrt(1 + z**2)/2 + asinh(z)/2", True, True),
        ("exp(2*z) + z**3/6 + z", True, True),
        ("z**3", False, True),
        ("sin(z)", False, False),
        ("abs(z)", False, False),
        ("atan(z)", True, False),
        ("z - z**3/100", False, False),
    ],
)
def test_signs_of_activations(text, first, third):
    activation = activation_of(text)
    assert first_positive(activation).holds is first
    assert third_positive(activation).holds is third


@pytest.mark.parametrize(
    ("text", "holds_"),
    [
        ("sinh", True),
        ("gelu", True),
        ("z**3 + a*z", True),
        ("tan(z)", False),  # its signs are right wherever it is defined
        ("1/z", False),
        ("log(z)", False),
        ("abs(z)*z**2", False),
        ("relu", False),
        ("z**(11/3) + z", False),  # no real number for z < 0
        ("1/(exp(z) - z)", None),  # smooth, which is not found out
        ("z**3 + abs(a)*z", True),
    ],
)
def test_activations_must_be_smooth_on_the_whole_line(text, holds_):
    assert smooth(activation_of(text)).holds is holds_


def test_a_sign_change_is_bracketed():
    decision = third_positive(activation_of("tanh"))
    assert "φ''' = -2 at z = 0" in decision.reason
    # φ''' = 0 where tanh² z = 1/3
    exact = float(sympy.atanh(1 / sympy.sqrt(3)))
    low, high = (
        float(word) for word in decision.reason.split() if word.startswith("0.6")
    )
    assert low <= exact <= high < low + 2e-6


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("z**3 + a*z", "a > 0"),
        ("sinh(z) + a*z", "a > -1"),
        ("exp(z) + a*z", "a >= 0"),
        ("z**3/3 + a*z**2 + 4*z", "(a > -2) & (a < 2)"),
        # at the irrational value, excluded here, the answer is open
        ("z**5 + a*z**3 + z", "(a > -2*sqrt(5)/3) & Ne(a, 2*sqrt(5)/3)"),
    ],
)
def test_one_parameter_gives_the_exact_condition(text, condition):
    decision = first_positive(activation_of(text))
    assert decision.holds is None
    found = decision.condition
    assert (None if found is None else str(found)) == condition


def test_conditions_agree_with_instances():
    a = sympy.Symbol("a", real=True)
    slope = Z**4 + a * Z**2 + (a + 1) * Z + 3
    decision = positive_everywhere("p", slope, Z)
    assert decision.condition is not None or "unsettled" in decision.reason
    for value in (-5, -1, 0, 1, 2, 5):
        instance = positive_everywhere("p", slope.subs(a, value), Z)
        if decision.condition is not None:
            assert bool(decision.condition.subs(a, value)) is instance.holds


def test_a_quadratic_with_two_parameters_is_settled_by_its_discriminant():
    activation = activation_of("z**3 + b*z**2 + a*z")
    condition = first_positive(activation).condition
    for a, b in ((1, 0), (1, 1), (1, 2), (-1, 0), (0, 0)):
        at = {sympy.Symbol("a", real=True): a, sympy.Symbol("b", real=True): b}
        instance = first_positive(activation.subs(at))
        assert bool(condition.subs(at)) is instance.holds is (b * b < 3 * a)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("z**3 - (a**2 + b**2 + 1)*z", False), ("z**3 + (a**2 + b**2 + 1)*z", True)],
)
def test_a_condition_that_is_always_or_never_true_is_an_answer(text, answer):
    decision = first_positive(activation_of(text))
    assert (decision.holds, decision.condition) == (answer, None)


@pytest.mark.parametrize("text", ["sqrt(2)*z**3 + z", "pi*z**3 + z"])
def test_irrational_coefficients_are_no_obstacle(text):
    assert first_positive(activation_of(text)).holds is True


@pytest.mark.parametrize(
    "text", ["z**3 + sqrt(a)*z", "z**3 + exp(a)*z", "z + sin(a)*z"]
)
def test_parameters_inside_functions_are_settled_or_open(text):
    assert first_positive(activation_of(text)).holds in (True, None)


@pytest.mark.parametrize("text", ["1/z", "relu", "z**3", "abs(z)**3"])
def test_a_change_of_sign_is_said_only_where_there_is_one(text):
    assert "changes sign" not in first_positive(activation_of(text)).reason or (
        text == "abs(z)**3"
    )


def test_close_critical_values_keep_a_sample_between():
    a = sympy.Symbol("a", real=True)
    slope = Z**2 - ((a - 1) * 10**36 - 1) * (a - 1)
    condition = positive_everywhere("p", slope, Z).condition
    assert bool(condition.subs(a, 1 + sympy.Rational(1, 2 * 10**36)))
    assert not bool(condition.subs(a, 2))


def test_what_cannot_be_settled_is_open_not_false():
    a, b = sympy.symbols("a b", real=True)
    decision = positive_everywhere("p", Z**4 + a * Z**2 + b * Z + 1, Z)
    assert decision.holds is None
    assert decision.condition is None


def test_names_are_read_by_the_parser():
    assert set(NAMED) >= {"cubic", "sinh", "exp", "tanh", "relu"}
    assert activation_of("cubic") == Z**3 / 6 + Z


# ------------------------------------------------------------------------- reduction


def test_nonzero_expressions_are_refuted_and_zeros_proved():
    f = sympy.Function("f", real=True)
    y = sympy.Symbol("y", positive=True)
    assert vanishes(sympy.sqrt(y**2) - y) is True
    assert vanishes((f(Z) * f(Z).diff(Z)).diff(Z) - f(Z).diff(Z) ** 2) is False
    assert vanishes(sympy.tanh(Z).diff(Z) - 1 + sympy.tanh(Z) ** 2) is True
    assert vanishes(sympy.sinh(Z + y) - sympy.sinh(Z)) is False


def test_a_difference_below_the_evaluation_is_not_called_zero():
    assert vanishes(Z * 0 + sympy.Rational(1, 10**40)) is False
    assert vanishes(sympy.sqrt(2) - sympy.sqrt(2).evalf(40)) is not True


def test_noise_of_the_evaluation_does_not_refute():
    y = sympy.Symbol("y", real=True)
    identity = sympy.sin(y) ** 2 + sympy.cos(y) ** 2 - 1
    assert vanishes(sympy.exp(300) * identity) is not False
    f = sympy.Function("f", real=True)
    assert vanishes(f((y + 1) ** 2) - f(y**2 + 2 * y + 1)) is True


def test_what_is_no_number_settles_nothing():
    assert vanishes(sympy.nan) is None
    assert vanishes(sympy.Float(0.1) + sympy.Float(0.2) - sympy.Float(0.3)) is None
    assert vanishes(sympy.Float(0.5)) is False
    assert holds(None) is None
    assert holds(sympy.zeros(0, 1)) is None


def test_matrices_and_conditions():
    assert holds(sympy.zeros(2, 2)) is True
    assert holds(sympy.Matrix([0, Z])) is False
    assert holds(sympy.true) is True
    assert holds(Z > 0) is None


def test_random_points_respect_assumptions():
    symbols = [
        sympy.Symbol("p", positive=True),
        sympy.Symbol("n", negative=True),
        sympy.Symbol("k", integer=True),
    ]
    for seed in range(20):
        p, n, k = (random_rationals(symbols, seed)[s] for s in symbols)
        assert p > 0 > n
        assert k.is_Integer
    assert random_rationals(symbols, 1) == random_rationals(symbols, 1)
