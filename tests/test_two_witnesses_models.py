"""Two witnesses of the clock, the diagonal network and matrix sensing.

See test_two_witnesses.py: the package on one side, SymPy and `theory` on the other.
"""

import numpy as np
import pytest
import sympy

import manifold_flow as mf
from cases import two_layer
from exact_two_layer import column, floats
from manifold_flow import references
from test_two_witnesses import DIGITS, defect
from theory import closed_forms
from theory.diagonal import definitions as diagonal
from theory.li2021 import clock
from theory.matrices import hessian_trace, matrix_of

# --- the clock ------------------------------------------------------------------------


DRAWS = {
    "without replacement": ({}, clock.without_replacement),
    "with replacement": (
        {"replacement": True},
        lambda size: clock.with_replacement(size, shared=False),
    ),
    "repeated draws share their noise": (
        {"replacement": True, "shared_noise": True},
        lambda size: clock.with_replacement(size, shared=True),
    ),
}


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("name", ["half_mean", "mean", "sum"])
def test_clock(name, batch_size, draws):
    """Σ = c ∇²L over all batches of three undefined models gives c; the rate is c/4.

    The update is the one LabelNoiseSGD documents: n/B times the drawn part of L.
    """
    n, std = clock.n, sympy.Rational(3, 8)
    options, batches = DRAWS[draws]
    scale = {"half_mean": sympy.Rational(1, 2 * n), "mean": sympy.Rational(1, n)}
    scale = scale.get(name, sympy.S.One)
    update = clock.covariance(scale * n / batch_size, batches(batch_size))
    curvature = clock.hessian(scale)
    matching = {sympy.cancel(s / h) for s, h in zip(update, curvature, strict=True)}
    (constant,) = (entry.subs(clock.sigma, std) for entry in matching)
    model = two_layer(n=n, loss=name)
    sgd = mf.LabelNoiseSGD(model, 0.01, float(std), batch_size, **options)
    flow = mf.limiting_flow(sgd, mf.ZeroLossManifold(model))
    assert defect([flow.rate], column([constant / 4])) < DIGITS


# --- the diagonal network -------------------------------------------------------------


def exact_diagonal():
    """Return theory's network (n = d = 2), its symbols' values, and the package's."""
    network = diagonal.Network()
    entries = [sympy.Rational(k, 8) for k in (3, -5, 7, 2, 9, -4, 6, 11, 13, -1)]
    symbols = [*network.z, *network.variables, *network.y]
    values = dict(zip(symbols, entries, strict=True))
    model = mf.DiagonalLinearNetwork(
        floats(network.z.xreplace(values)), column(network.y.xreplace(values))
    )
    params = column(sympy.Matrix(network.variables).xreplace(values))
    return network, values, model, params


def test_diagonal_network():
    network, values, model, params = exact_diagonal()
    residuals = network.predictions - network.y

    def exact(expression):
        return floats(sympy.Matrix(expression).xreplace(values))

    assert defect(model.residual(params), exact(residuals).ravel()) < DIGITS
    jacobian = residuals.jacobian(network.variables)
    assert defect(model.jacobian(params), exact(jacobian)) < DIGITS
    moments = [network.moment(k) for k in range(2)]
    assert defect(model.feature_curvatures, exact(moments).ravel()) < DIGITS
    here = model.linearize(params)
    slope = [network.loss.diff(x) for x in network.variables]
    assert defect(here.loss_gradient(), exact(slope).ravel()) < DIGITS
    on_manifold = dict(zip(network.y, network.predictions, strict=True))
    trace = network.trace().subs(on_manifold)
    assert defect([mf.HessianTrace().value(here)], exact([trace]).ravel()) < DIGITS
    gradient = exact([trace.diff(x) for x in network.variables]).ravel()
    assert defect(mf.HessianTrace().gradient(here), gradient) < DIGITS


DESIGN = sympy.Matrix([[8, -3, 5, 2], [1, 6, -4, 7]]) / 8
START_U, START_V = (sympy.Matrix(k) / 4 for k in ([3, -5, 6, 2], [-1, 4, 2, 7]))


@pytest.mark.parametrize("loss", ["half_mean", "mean", "sum"])
def test_exact_flow_of_the_diagonal_network(loss):
    """Exponentials with a multiplier A(t) that SymPy's Newton finds at forty digits."""
    start = START_U.applyfunc(lambda x: x**2) - START_V.applyfunc(lambda x: x**2)
    targets = DESIGN * start
    # theory's flow is that of half_mean; n = 2, and the velocity is linear in the loss
    faster = {"half_mean": 1, "mean": 2, "sum": 4}[loss]
    moments = [sum(DESIGN[i, k] ** 2 for i in range(2)) / 2 for k in range(4)]
    model = mf.DiagonalLinearNetwork(floats(DESIGN), column(targets), loss=loss)
    got = references.exact_flow(model, column([*START_U, *START_V]), [0.0625, 0.25])
    lifts = sympy.symbols("A_:2", real=True)
    for row, time in zip(
        got, (sympy.Rational(1, 16), sympy.Rational(1, 4)), strict=True
    ):
        p = DESIGN.T * sympy.Matrix(lifts)
        solution = [
            closed_forms.diagonal_flow(u, v, c, faster * time, lift)
            for u, v, c, lift in zip(START_U, START_V, moments, p, strict=True)
        ]
        w = sympy.Matrix([u**2 - v**2 for u, v in solution])
        found = sympy.nsolve(DESIGN * w - targets, lifts, (0, 0), prec=40)
        at = dict(zip(lifts, found, strict=True))
        exact = [pair[side].xreplace(at) for side in (0, 1) for pair in solution]
        assert defect(row, column(exact)) < DIGITS


@pytest.mark.parametrize("loss", ["half_mean", "mean", "sum"])
def test_flattest_diagonal_network_is_the_weighted_l1_vertex(loss):
    targets = sympy.Matrix([5, -3]) / 2
    scale = {"half_mean": sympy.Rational(1, 4), "mean": sympy.Rational(1, 2)}
    weights = [
        2 * scale.get(loss, 1) * sum(DESIGN[i, k] ** 2 for i in range(2))
        for k in range(4)
    ]
    value, vertices = closed_forms.weighted_l1(DESIGN, targets, weights)
    model = mf.DiagonalLinearNetwork(floats(DESIGN), column(targets), loss=loss)
    assert defect([references.flattest_value(model)], column([4 * value])) < DIGITS
    (vertex,) = vertices
    flattest = references.flattest_point(model)
    assert defect(model.weights(flattest), column(vertex)) < DIGITS


# --- matrix sensing -------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [False, True])
def test_matrix_sensing(symmetric):
    """The loss of theory/matrix, the mean of squares, differentiated by SymPy."""
    u = matrix_of("u", 2, 2)
    v = u if symmetric else matrix_of("v", 2, 2)
    variables = [*u] if symmetric else [*u, *v]
    measurements = [sympy.Matrix(2, 2, k) / 4 for k in ([3, -1, 2, 5], [1, 4, -6, 2])]
    entries = [sympy.Rational(k, 8) for k in (5, -3, 2, 7, -4, 1, 6, 9)]
    values = dict(zip(variables, entries, strict=False))
    outputs = sympy.Matrix([(a.T * u * v.T).trace() for a in measurements])
    targets = outputs.xreplace(values)
    loss = sum((r**2 for r in outputs - targets), sympy.S.Zero) / 2
    model = mf.MatrixSensing(
        [floats(a) for a in measurements],
        column(targets),
        rank=2,
        symmetric=symmetric,
        loss="mean",
    )
    params = column(sympy.Matrix(variables).xreplace(values))
    away = {symbol: value + sympy.Rational(1, 4) for symbol, value in values.items()}
    residual = column((outputs - targets).xreplace(away))
    assert defect(model.residual(params + 0.25), residual) < DIGITS
    jacobian = floats(outputs.jacobian(variables).xreplace(values))
    assert defect(model.jacobian(params), jacobian) < DIGITS
    trace, here = mf.HessianTrace(), model.linearize(params)
    total = hessian_trace(loss, variables)
    value = column([total.xreplace(values)])
    assert defect([trace.value(here)], value) < DIGITS
    # off M the two traces differ, and on it only their tangent gradients agree
    tangent = here.tangent_part(trace.gradient(here))
    slope = column([total.diff(x).xreplace(values) for x in variables])
    normal = np.linalg.pinv(jacobian) @ jacobian
    assert defect(tangent, slope - normal @ slope) < DIGITS
