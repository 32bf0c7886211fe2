"""Two witnesses: every number of manifold_flow against SymPy's, to twelve digits.

manifold_flow computes with NumPy and formulas derived by hand; the other side
differentiates the definition with SymPy, at exact points, or takes the closed forms of
`theory`.  Neither sees an intermediate result of the other, so that an error must be
made twice, in the same place, to pass.
"""

import functools
from itertools import product

import numpy as np
import pytest
import sympy

import manifold_flow as mf
from exact_two_layer import (
    AWAY,
    DIRECTIONS,
    POINT,
    VECTOR,
    D,
    ExactTwoLayer,
    M,
    column,
    floats,
    precise,
)
from manifold_flow import activations, bounds, linearization, references
from theory import closed_forms, expressions
from theory.activations import NAMED, Z, activation_of
from theory.gatmiry2024.definitions import phi

DIGITS = 1e-12
ORDERS = ("φ", "φ'", "φ''", "φ'''")
EXPRESSIONS = ("sinh(z) + z/5", "z**3 + atan(z)", "exp(z/2) + 3*z", "softplus(2*z) - 1")
NEAR = [sympy.Rational(k, 16) for k in (-51, -21, -3, 5, 14, 40)]
FAR = [sympy.Rational(k, 16) for k in (-200, 163)]


def defect(got, exact):
    """Largest deviation, relative to the largest exact number."""
    got, exact = np.asarray(got, dtype=float), np.asarray(exact, dtype=float)
    assert got.shape == exact.shape
    return np.abs(got - exact).max() / np.abs(exact).max()


# --- activations ----------------------------------------------------------------------


def exact_jet(expression, z):
    """φ and its derivatives at one exact point, differentiated by SymPy."""
    derivatives = [expression.diff(Z, order) for order in range(4)]
    return column([d.subs(Z, z).doit() for d in derivatives])


def test_both_sides_know_the_same_names():
    assert set(activations.named.NAMED) == set(NAMED)


@pytest.mark.parametrize("text", [*NAMED, *EXPRESSIONS])
def test_derivatives_of_activations(text):
    """Entry by entry: small values count as much as large ones.

    Named activations also far out; what SymPy compiles of an expression may cancel
    there (softplus(2*z)'' at z = 10 keeps eight digits).
    """
    expression, phi = activation_of(text), mf.Activation.of(text)
    points = [*NEAR, *FAR] if text in NAMED else NEAR
    got = np.array(phi.derivatives(column(points)))
    exact = np.array([exact_jet(expression, z) for z in points]).T
    for order, row, reference in zip(ORDERS, got, exact, strict=True):
        error = np.abs(row - reference)
        assert (error <= DIGITS * np.abs(reference)).all(), (order, error)


def test_the_slope_at_zero_of_cubic_is_a_parameter():
    nu = sympy.Rational(5, 16)
    expression = Z**3 / 6 + nu * Z
    phi = mf.Activation.from_name("cubic", nu=float(nu))
    z = sympy.Rational(-21, 16)
    assert (
        defect(np.ravel(phi.derivatives(float(z))), exact_jet(expression, z)) < DIGITS
    )
    u = sympy.Rational(77, 16)
    root = closed_forms.collapsed_point(expression, [u], 1)
    assert defect(phi.inverse([float(u)]), column(root)) < DIGITS


@pytest.mark.parametrize(
    "text",
    [name for name, rule in activations.named.NAMED.items() if rule.inverse]
    + ["sinh(z) + z/5", "z**3 + atan(z)", "softplus(2*z) - 1"],
)
def test_inverses_of_activations(text):
    """Values are exact; SymPy bisects at forty digits, or φ⁻¹ has a closed form."""
    expression, phi = activation_of(text), mf.Activation.of(text)
    values = [sympy.Rational(k, 32) for k in (-90, -31, -1, 3, 17, 31, 60, 250)]
    low, high = phi.range
    values = [u for u in values if low < u < high]
    exact = [
        sympy.nsolve(expression - u, Z, (-40, 40), solver="bisect", prec=40)
        for u in values
    ]
    got, exact = phi.inverse(column(values)), column(exact)
    assert len(values) >= 3
    assert (np.abs(got - exact) <= DIGITS * np.abs(exact)).all()


# --- the two-layer network ------------------------------------------------------------

NETWORKS = {
    "cubic, the paper's weights": ("z**3/6 + z", "half_mean"),
    "sinh, signed and weighted": ("sinh(z)", "mean", (1, -2), (2, 0.5)),
    "exp(z) + z, weighted": ("exp(z) + z", "sum", (0.5, 3), (1, 3)),
    "an expression": ("z**3/4 + z/2 + exp(z/2)", "mean", (-1.5, 0.5), (0.25, 2)),
}


@functools.cache
def exact_network(name):
    return ExactTwoLayer(*NETWORKS[name])


@functools.cache
def exact_numbers(name):
    return exact_network(name).numbers()


def numbers(model):
    """Return the package's numbers, under the names of `ExactTwoLayer.numbers`."""
    point, away, v = column(POINT), column(AWAY), column(VECTOR)
    here, there = model.linearize(point), model.linearize(away)
    manifold, directions = mf.ZeroLossManifold(model), floats(DIRECTIONS)
    trace, identity = mf.HessianTrace(), np.eye(M * D)
    coefficients = bounds.hessian_coefficients(model, point)
    moved = model.features(manifold.to_tangent(identity, point))
    found = {
        "loss off M": model.loss_value(away),
        "residual off M": model.residual(away),
        "Jacobian": model.jacobian(point),
        "Gram matrix": here.gram,
        "contracted Hessian": model.contracted_hessian(away, directions),
        "contracted third": model.contracted_third(away, directions, v),
        "loss gradient off M": there.loss_gradient(),
        "loss Hessian off M": there.loss_hessian_vector(v),
        "Riemannian gradient": manifold.riemannian_gradient(trace, point),
        "Riemannian gradient, closed": manifold.riemannian_gradient(trace, point),
        "Riemannian Hessian": manifold.riemannian_hessian(trace, point) @ identity,
        "Hessian coefficients": coefficients,
        "lemma 6": np.einsum("ij,kij->k", coefficients, moved**2),
    }
    for sharpness in (
        trace,
        mf.HessianLogPseudoDeterminant(),
        mf.HessianTopEigenvalue(),
    ):
        name = type(sharpness).__name__
        found[name] = sharpness.value(here)
        found[f"gradient of {name}"] = sharpness.gradient(here)
    return found


def disagreements(name):
    """Return the names of the numbers that differ in the first twelve digits."""
    exact, got = exact_numbers(name), numbers(exact_network(name).model())
    assert got.keys() == exact.keys()
    return {what for what in got if not defect(got[what], exact[what]) <= DIGITS}


#: taken in every run; SymPy needs seconds for each of the others
QUICK = ("sinh, signed and weighted",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in NETWORKS
    ],
)
def test_two_layer_network(name):
    assert not disagreements(name)


def scaled(function, factor=1 + 1e-10):
    """A formula with a wrong constant, wrong in the tenth digit."""
    return lambda *arguments: factor * function(*arguments)


CONTROLS = {
    "HessianTrace": (mf.HessianTrace, "value"),
    "gradient of HessianTrace": (mf.HessianTrace, "slope"),
    "gradient of HessianTopEigenvalue": (mf.HessianTopEigenvalue, "slope"),
    "HessianLogPseudoDeterminant": (mf.HessianLogPseudoDeterminant, "value"),
    "Jacobian": (mf.TwoLayerNetwork, "jacobian"),
    "contracted Hessian": (mf.TwoLayerNetwork, "contracted_hessian"),
    "loss Hessian off M": (linearization.NeuronwiseLinearization, "curvature"),
    "Riemannian gradient": (linearization.NeuronwiseLinearization, "gram_gradient"),
    "Riemannian Hessian": (linearization.NeuronwiseLinearization, "gram_hessian"),
    "Hessian coefficients": (bounds.curvatures, "sample_curvatures"),
}


@pytest.mark.parametrize("what", CONTROLS)
def test_control_a_wrong_constant_is_seen(what, monkeypatch):
    owner, attribute = CONTROLS[what]
    monkeypatch.setattr(owner, attribute, scaled(getattr(owner, attribute)))
    assert what in disagreements("sinh, signed and weighted")


# --- where the theorems say the flow ends, and how fast -------------------------------

TARGETS = (sympy.Rational(5, 2), sympy.Rational(-11, 4))
ROWS = np.array([[1.0, 0.5, -0.25], [0.25, -1.0, 0.75]])
EXACT_ROWS = sympy.Matrix(ROWS.tolist()).applyfunc(sympy.nsimplify)


def sample_weights(loss, n=2, q=(1, 1)):
    """w_i = s q_i ‖x_i‖² of theory notes 1.3."""
    s = {"half_mean": sympy.Rational(1, 2 * n), "mean": sympy.Rational(1, n), "sum": 1}
    gram = EXACT_ROWS * EXACT_ROWS.T
    return [s[loss] * q[i] * gram[i, i] for i in range(n)]


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("z**3/6 + z", "half_mean"),
        ("sinh(z)", "mean"),
        pytest.param("exp(z) + z", "sum", marks=pytest.mark.slow),
    ],
)
def test_flattest_point_and_value(text, loss):
    expression, width = expressions.parse(text), 3
    targets = [width * u for u in TARGETS] if text == "sinh(z)" else TARGETS
    model = mf.TwoLayerNetwork(ROWS, column(targets), width, text, loss=loss)
    collapsed = closed_forms.collapsed_point(expression, targets, width)
    features = model.features(references.flattest_point(model))
    assert defect(features, np.tile(floats(collapsed), width)) < DIGITS
    value = closed_forms.least_trace(expression, targets, width, sample_weights(loss))
    assert defect([references.flattest_value(model)], column([value])) < DIGITS


def test_flattest_point_keeps_what_is_orthogonal_to_the_data():
    """θ_j(∞) = (I − X⁺X) θ_j(0) + X⁺z* (limit-point), solved by SymPy."""
    model = mf.TwoLayerNetwork(ROWS, column(TARGETS), 2)
    collapsed = closed_forms.collapsed_point(Z**3 / 6 + Z, TARGETS, 2)
    start = sympy.Matrix(2, 3, [3, -1, 4, 1, -5, 9]) / 8
    inverse = EXACT_ROWS.T * (EXACT_ROWS * EXACT_ROWS.T).inv()
    frozen = start * (sympy.eye(3) - inverse * EXACT_ROWS)
    exact = frozen + sympy.ones(2, 1) * (inverse * collapsed).T
    got = references.flattest_point(model, column(start)).reshape(2, 3)
    assert defect(got, floats(exact)) < DIGITS


@pytest.mark.parametrize(
    ("text", "betas"),
    [
        ("z**3/6 + z", (sympy.Rational(3, 2), sympy.Rational(-5, 4))),
        ("sinh(z)", (sympy.Rational(3, 2), sympy.Rational(-5, 4))),
        ("exp(z) + z", (sympy.Rational(3, 2), sympy.Rational(1, 4))),
    ],
)
def test_flattest_point_of_positive_output_weights(text, betas):
    """The multiplier is chosen, so the minimiser and its targets are exact."""
    expression, a = expressions.parse(text), (1, 2, sympy.Rational(1, 4))
    rows = [closed_forms.stationary_point(expression, a, beta) for beta in betas]
    targets = [closed_forms.output_of_multiplier(expression, a, beta) for beta in betas]
    q = (sympy.Rational(1, 2), sympy.S(3))
    model = mf.TwoLayerNetwork(
        ROWS, column(targets), 3, text, column(a), column(q), "mean"
    )
    features = model.features(references.flattest_point(model))
    z = sympy.Matrix.vstack(*rows)
    assert defect(features, floats(z)) < DIGITS
    slope, w = expression.diff(Z), sample_weights("mean", q=q)
    value = 2 * sum(
        w[i] * a[j] ** 2 * slope.subs(Z, z[i, j]) ** 2
        for i, j in product(range(2), range(3))
    )
    assert defect([references.flattest_value(model)], column([value])) < DIGITS


@pytest.mark.parametrize("interval", [(-1.25, 0.5), (0.25, 2.0), (-0.75, 3.0)])
@pytest.mark.parametrize(
    "text", ["z**3/6 + z", "sinh(z)", "exp(z) + z", "sinh(z) + z/5"]
)
def test_pl_rate(text, interval):
    """2c = 8 μ w_min a_min² ρ1² κ; SymPy finds the critical points of both minima."""
    a = (2.0, -0.5)
    phi = expressions.parse(text)
    model = mf.TwoLayerNetwork(ROWS, [0.5, 0.25], 2, text, a, [1.0, 0.5], "sum")
    low, high = map(sympy.Rational, interval)
    slope = smallest(phi.diff(Z), low, high)
    ratio = smallest(phi.diff(Z, 3) / phi.diff(Z), low, high)
    mu = min((EXACT_ROWS * EXACT_ROWS.T).eigenvals(multiple=True))
    w = min(sample_weights("sum", q=(1, sympy.Rational(1, 2))))
    exact = 8 * mu * w * sympy.Rational(1, 4) * slope**2 * ratio
    assert defect([bounds.pl_rate(model, interval)], column([exact])) < DIGITS


@pytest.mark.parametrize("interval", [(1.0, 10.0), (0.125, 3.0), (-2.0, -0.25)])
@pytest.mark.parametrize("text", ["z**3/6 + z", "sinh(z)"])
def test_gradient_within_which_the_trace_is_convex(text, interval):
    """δ* = 2√μ min w_i a_j² min_I φ'²φ'''/|φ''| (theory notes 1.7)."""
    a, phi = (2.0, -0.5), expressions.parse(text)
    model = mf.TwoLayerNetwork(ROWS, [0.5, 0.25], 2, text, a, [1.0, 0.5], "sum")
    low, high = map(sympy.Rational, interval)
    bend = phi.diff(Z, 2) * sympy.sign(low)
    least = smallest(phi.diff(Z) ** 2 * phi.diff(Z, 3) / bend, low, high)
    mu = min((EXACT_ROWS * EXACT_ROWS.T).eigenvals(multiple=True))
    w = min(sample_weights("sum", q=(1, sympy.Rational(1, 2))))
    exact = 2 * sympy.sqrt(mu) * w * sympy.Rational(1, 4) * least
    got = bounds.convexity_threshold(model, interval)
    assert defect([got], column([exact])) < DIGITS


def smallest(function, low, high):
    """Minimum over an interval: the ends and the exact critical points between."""
    derivative = sympy.together(function.diff(Z).rewrite(sympy.exp))
    inside = [root for root in sympy.solve(derivative, Z) if root.is_real]
    points = [low, high, *(p for p in inside if low < p < high)]
    return min((function.subs(Z, p) for p in points), key=sympy.N)


@pytest.mark.parametrize(
    "text",
    [
        "sinh(z)",
        pytest.param("z**3/6 + z", marks=pytest.mark.slow),
        pytest.param("exp(z) + z", marks=pytest.mark.slow),
    ],
)
def test_local_rate_is_that_of_the_linearised_flow(text):
    """Twice the smallest non-zero eigenvalue of the flow's Jacobian at its limit."""
    exact = ExactTwoLayer(text, "mean", (1, 1), (2, 0.5))
    model = exact.model()
    network, _, values = exact.abstract
    collapsed = [
        sympy.nsolve(2 * exact.phi - y, Z, (-40, 40), solver="bisect", prec=40)
        for y in exact.targets
    ]
    known = {
        symbol: value
        for symbol, value in values.items()
        if symbol not in set(network.z)
    }
    flow = network.gram_of_inputs * network.scaled_gradient / network.gram.det()
    flow = flow.subs(phi, sympy.Lambda(Z, exact.phi)).doit().xreplace(known)
    at = {network.z[i, j]: collapsed[i] for i, j in product(range(2), range(2))}
    matrix = precise(sympy.Matrix(list(flow)).jacobian(list(network.z)).xreplace(at))
    eigenvalues = np.linalg.eigvals(floats(matrix))
    moving = np.sort(np.abs(eigenvalues))[2:]
    got = bounds.local_rate(model, references.flattest_point(model))
    assert defect([got], [2 * moving[0]]) < DIGITS


def test_sublevel_interval_of_the_cubic_network():
    """φ' = z²/2 + 1 ≤ √(F/2w): the ends are roots of a quadratic equation."""
    z = sympy.Matrix([[3, -5], [1, 4]]) / 8
    weights, a = sample_weights("half_mean"), (1, 2)
    model = two_layer_through(z, "z**3/6 + z", a)
    slope = z.applyfunc(lambda entry: entry**2 / 2 + 1)
    pairs = list(product(range(2), range(2)))
    start = 2 * sum(weights[i] * a[j] ** 2 * slope[i, j] ** 2 for i, j in pairs)
    steepest = max(sympy.sqrt(start / (2 * weights[i])) / a[j] for i, j in pairs)
    end = sympy.sqrt(2 * (steepest - 1))
    got = bounds.sublevel_interval(model, point_with_features(z))
    assert defect(got, column([-end, end])) < DIGITS


def test_sublevel_interval_of_a_one_sided_activation():
    """e^z + 1 bounds z above; the constraint then bounds every neuron below."""
    z = sympy.Matrix([[3, -5], [1, 4]]) / 8
    phi, weights, a = sympy.exp(Z) + Z, sample_weights("half_mean"), (1, 2)
    model = two_layer_through(z, "exp(z) + z", a)
    slope = z.applyfunc(lambda entry: sympy.exp(entry) + 1)
    pairs = list(product(range(2), range(2)))
    start = 2 * sum(weights[i] * a[j] ** 2 * slope[i, j] ** 2 for i, j in pairs)
    above = sympy.Matrix(
        2,
        2,
        lambda i, j: sympy.log(sympy.sqrt(start / (2 * weights[i])) / a[j] - 1),
    )

    def below(i, j):
        outputs = sum(a[k] * phi.subs(Z, z[i, k]) for k in range(2))
        rest = a[1 - j] * phi.subs(Z, above[i, 1 - j])
        level = (outputs - rest) / a[j]
        return sympy.nsolve(phi - level, Z, (-100, 10), solver="bisect", prec=40)

    exact = [min(below(i, j) for i, j in pairs), max(list(above), key=sympy.N)]
    got = bounds.sublevel_interval(model, point_with_features(z))
    assert defect(got, column(exact)) < DIGITS


def point_with_features(z):
    """Return θ with the preactivations z, of least norm."""
    inverse = EXACT_ROWS.T * (EXACT_ROWS * EXACT_ROWS.T).inv()
    return column((inverse * z).T)


def two_layer_through(z, text, a):
    """Return the network whose zero-loss manifold has a point of preactivations z."""
    phi = expressions.parse(text)
    outputs = z.applyfunc(lambda entry: phi.subs(Z, entry)) * sympy.Matrix(a)
    return mf.TwoLayerNetwork(ROWS, column(outputs), 2, text, column(a))
