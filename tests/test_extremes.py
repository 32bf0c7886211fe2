"""Extreme input of the two-layer flow: a right answer or a clear error, by any method.

Right answers are those of `dense_two_layer`, which uses nothing of the package.
"""

import numpy as np
import pytest

import manifold_flow as mf
from dense_two_layer import DenseFlow
from laws import relative
from manifold_flow.errors import (
    DataError,
    IntegrationError,
    ManifoldFlowError,
    NonFiniteError,
    ProjectionError,
    RankDeficientJacobianError,
    ShapeError,
)

METHODS = ["auto", "ETDRK4", "StructuredBDF", "DOP853"]
STIFF = METHODS[:3]
#: φ' and φ'' of the activations, written out
CUBIC = (lambda z: z**2 / 2 + 1, lambda z: z)
SINH = (np.cosh, np.sinh)
PARABOLA = (lambda z: z + 6.0, np.ones_like)


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def network(n=3, d=5, width=4, activation="cubic", scale=1.0, **options):
    inputs, targets = mf.datasets.gaussian(n, d, rng=0)
    options = {"loss": "sum"} | options
    return mf.TwoLayerNetwork(inputs, scale * targets, width, activation, **options)


def flow_of(model):
    return mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace(), rate=1.0)


def dense(model, derivatives):
    return DenseFlow(
        model.inputs, model.output_weights, model.loss.curvatures, *derivatives
    )


def started(model):
    flow = flow_of(model)
    return flow, flow.manifold.random_point(rng=0)


# --- scales ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize(
    ("activation", "derivatives"), [("cubic", CUBIC), ("sinh", SINH)]
)
def test_inputs_of_any_scale_take_the_same_way(method, scale, activation, derivatives):
    """x ↦ s·x takes θ to θ/s, S to s²S and the clock to s⁴t."""
    unit = network(activation=activation)
    start = started(unit)[1]
    times = np.array([0.002, 0.02])
    exact = dense(unit, derivatives).points(start, times)
    scaled = mf.TwoLayerNetwork(
        scale * unit.inputs, unit.targets, 4, activation, loss="sum"
    )
    clock, size = times / scale**4, 1e-10 / scale
    path = mf.integrate(flow_of(scaled), start / scale, clock, method=method, atol=size)
    assert path.status is mf.Status.COMPLETED
    assert relative(scale * path.points, exact) < 1e-6
    assert relative(start, exact[-1]) > 0.05  # the control: it did move


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_targets_of_any_scale(method, scale):
    model = network(scale=scale)
    flow, start = started(model)
    reference = dense(model, CUBIC)
    # a time in which the fastest neuron has gone a tenth of its way
    time = 0.1 * np.linalg.norm(start) / np.linalg.norm(reference.velocity(start))
    exact = reference.points(start, [time])[0]
    path = mf.integrate(flow, start, [time], method=method)
    assert np.linalg.norm(path.end - exact) < 1e-5 * np.linalg.norm(exact - start)


# --- overflow -------------------------------------------------------------------------


def beyond(model, sample, values):
    """Parameters whose preactivations are given on one sample, and 0 on the others."""
    direction = np.linalg.pinv(model.inputs)[:, sample]
    return np.outer(values, direction).ravel()


@pytest.mark.parametrize("sample", [0, 2])
def test_an_overflow_of_sinh_names_its_sample_before_a_step(method, sample):
    model = network(activation="sinh")
    far = beyond(model, sample, [1e3, 0.0, 0.0, 0.0])
    with pytest.raises(NonFiniteError, match=f"sample {sample}.*smaller targets"):
        mf.integrate(flow_of(model), far, method=method)


def test_an_overflow_in_a_projection_names_its_sample():
    model = network(activation="sinh")
    far = beyond(model, 1, [1e3, 0.0, 0.0, 0.0])
    with pytest.raises(ProjectionError, match="overflowed on sample 1"):
        mf.ZeroLossManifold(model).projection(far)


def test_gradients_that_overflow_where_the_residual_does_not(method):
    """sinh(±400) cancel, their cosh² are no float64."""
    model = network(activation="sinh")
    model = mf.TwoLayerNetwork(model.inputs, np.zeros(3), 4, "sinh", loss="sum")
    far = beyond(model, 1, [400.0, -400.0, 0.0, 0.0])
    with pytest.raises(NonFiniteError, match="gradient of residual 1 overflows"):
        mf.integrate(flow_of(model), far, method=method)


def test_a_first_step_into_an_overflow_is_taken_back(method):
    """Two neurons far apart on one sample, and a step that leads beyond sinh(710)."""
    model = network(activation="sinh")
    flow, near = started(model)
    apart = near + beyond(model, 1, [9.0, -9.0, 0.0, 0.0])
    start = flow.manifold.projection(apart)
    reference = dense(model, SINH)
    velocity = reference.velocity(start)
    time = 3.0 * np.linalg.norm(start) / np.linalg.norm(velocity)
    with pytest.raises(NonFiniteError, match="sample"):
        flow.manifold.linearize(start + 0.5 * velocity)
    # explicit steps end at the last time asked for
    times = [time] if method == "DOP853" else [time, 1.0]
    path = mf.integrate(flow, start, times, method=method, first_step=0.5 * times[-1])
    exact = reference.points(start, [time])[0]
    moved = np.linalg.norm(exact - start)
    assert np.linalg.norm(path.points[0] - exact) < 1e-5 * moved


# --- K singular to rounding -----------------------------------------------------------


def with_near_row(distance, activation="cubic", **options):
    """A fourth sample at a relative distance from the first, of consistent target."""
    inputs, _ = mf.datasets.gaussian(3, 5, rng=0)
    away = np.random.default_rng(1).standard_normal(5)
    near = inputs[0] + distance * away
    point = np.random.default_rng(2).standard_normal((4, 5))
    inputs = np.vstack([inputs, near])
    values = mf.Activation.of(activation)(inputs @ point.T).sum(axis=1)
    model = mf.TwoLayerNetwork(inputs, values, 4, activation, loss="sum", **options)
    return model, point.ravel()


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
def test_nearly_equal_rows_are_right_or_refused(method, distance):
    """Never a wrong answer: where it is not refused, it is that of least squares."""
    model, start = with_near_row(distance)
    if distance > 1e-5:
        exact = dense(model, CUBIC).points(start, [0.02])[0]
        path = mf.integrate(flow_of(model), start, [0.02], method=method)
        assert np.linalg.norm(path.end - exact) < 1e-5 * np.linalg.norm(exact - start)
    else:
        with pytest.raises(RankDeficientJacobianError) as caught:
            mf.integrate(flow_of(model), start, [0.02], method=method)
        assert caught.value.singular_values[-1] < 1e-5
        assert "samples" in str(caught.value).rpartition(": ")[2]


def test_equal_rows_are_refused_with_both_names_and_merge_as_is_said(method):
    with pytest.raises(DataError, match=r"inputs\[0\] and inputs\[3\] are equal"):
        with_near_row(0.0)
    model = network(sample_weights=[2.0, 1.0, 1.0])
    flow, start = started(model)
    path = mf.integrate(flow, start, [0.02], method=method)
    twice = DenseFlow(model.inputs[[0, 1, 2, 0]], np.ones(4), np.full(4, 2.0), *CUBIC)
    exact = twice.points(start, [0.02])[0]
    assert np.linalg.norm(path.end - exact) < 1e-6 * np.linalg.norm(exact - start)
    once = dense(network(), CUBIC).points(start, [0.02])[0]
    assert np.linalg.norm(once - exact) > 1e-3 * np.linalg.norm(exact - start)


# --- sizes of one ---------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(3, 5), (1, 5), (1, 2)])
def test_a_single_neuron_cannot_move(method, n, d):
    """Its preactivations are fixed, and only they are ever pushed."""
    flow, start = started(network(n=n, d=d, width=1))
    for times in ([0.0, 1.0], [1e12]):
        path = mf.integrate(flow, start, times, method=method)
        assert path.status is mf.Status.COMPLETED
        assert np.abs(path.points - start).max() < 1e-12
    rest = mf.integrate(flow, start, method=method)
    assert (rest.status, rest.n_steps) == (mf.Status.STATIONARY, 0)


def test_a_single_sample_moves_the_neurons_alike(method):
    model = network(n=1)
    flow, start = started(model)
    times = np.array([0.01, 0.1])
    exact = dense(model, CUBIC).points(start, times)
    path = mf.integrate(flow, start, times, method=method)
    assert relative(path.points, exact) < 1e-7
    assert relative(start, exact[-1]) > 1e-2


def test_a_manifold_of_single_points_is_refused():
    with pytest.raises(ManifoldFlowError, match="1 residuals, 1 parameters"):
        network(n=1, d=1, width=1)


# --- constant flows -------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["linear", "z**2/2 + 6*z"])
def test_a_constant_sharpness_stands_still(method, activation):
    r"""φ''' = 0: φ'² is linear in φ, and Σ_j φ(z_ij) is given by the targets."""
    flow, start = started(network(activation=activation))
    for times in ([0.0], [0.0, 1.0], [1e12]):
        path = mf.integrate(flow, start, times, method=method)
        assert path.status is mf.Status.COMPLETED
        assert relative(path.points, np.tile(start, (len(times), 1))) < 1e-12
    rest = mf.integrate(flow, start, method=method)
    assert (rest.status, rest.n_steps) == (mf.Status.STATIONARY, 0)


def test_unequal_weights_move_even_where_the_third_derivative_vanishes(method):
    """The control: Σ_j a_j² φ'² is not given by Σ_j a_j φ."""
    weights = np.array([1.0, 2.0, -1.0, 0.5])
    model = network(activation="z**2/2 + 6*z", output_weights=weights)
    flow, start = started(model)
    exact = dense(model, PARABOLA).points(start, [0.01])[0]
    path = mf.integrate(flow, start, [0.01], method=method)
    assert np.linalg.norm(path.end - exact) < 1e-6 * np.linalg.norm(exact - start)
    assert relative(start, exact) > 1e-2


# --- times ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cubic():
    flow, start = started(network())
    return flow, start, dense(network(), CUBIC).points(start, [0.5, 1.0])


def test_the_start_is_returned_where_it_is_asked_for(cubic, method):
    flow, start, exact = cubic
    rest = mf.integrate(flow, start, [0.0], method=method)
    assert (rest.status, rest.n_steps) == (mf.Status.COMPLETED, 0)
    path = mf.integrate(flow, start, [0.0, 1.0], method=method)
    assert path.times.tolist() == [0.0, 1.0]
    for first in (rest.end, path.points[0]):
        assert relative(first, start) < 1e-14
    assert relative(path.end, exact[1]) < 1e-7


def test_no_times_are_refused_before_a_step(cubic, method):
    flow, start, _ = cubic
    with pytest.raises(ShapeError, match="T >= 1"):
        mf.integrate(flow, start, [], method=method)


def test_a_time_at_the_end_of_a_step_is_that_step(cubic, method):
    """There the dense output is the step itself, not the interpolant beside it."""
    flow, start, exact = cubic
    kept = mf.integrate(flow, start, [1.0], method=method, keep_steps=True)
    assert len(kept) > 3
    assert kept.times[-1] == 1.0
    assert (np.diff(kept.times) > 0.0).all()
    step = len(kept) // 2
    asked = [kept.times[step], 1.0]
    again = mf.integrate(flow, start, asked, method=method)
    assert again.times.tolist() == asked
    assert relative(again.points[0], kept.points[step]) < 1e-12
    assert relative(again.end, exact[1]) < 1e-7


@pytest.mark.parametrize("method", STIFF)
def test_huge_times_are_where_the_flow_rests(cubic, method):
    flow, start, _ = cubic
    path = mf.integrate(flow, start, [0.5, 1e12], method=method, max_steps=3000)
    assert path.status is mf.Status.COMPLETED
    exact = mf.references.flattest_point(flow.manifold.model, start)
    assert relative(path.end, exact) < 1e-6
    assert relative(path.points[0], exact) > 1e-4


def test_explicit_steps_to_a_huge_time_end_with_their_budget(cubic):
    flow, start, exact = cubic
    with pytest.raises(IntegrationError, match="max_steps=200") as caught:
        mf.integrate(flow, start, [0.5, 1e12], method="DOP853", max_steps=200)
    partial = caught.value.trajectory
    assert relative(partial.points[0], exact[0]) < 1e-7
    assert 0.5 < partial.times[-1] < 1e12
