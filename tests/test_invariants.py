"""What no method may change along the two-layer flow, and the path itself, dense.

Theory notes §1.9: θ_j moves in the span of the inputs only.  §1.10: in the outputs
u_ij = a_j φ(z_ij) the constraint Σ_j u_ij = y_i is linear, a first integral also off M.
"""

import autograd.numpy as anp
import numpy as np
import pytest

import manifold_flow as mf
from laws import relative

OWN = ["ETDRK4", "StructuredBDF", "KrylovBDF"]
#: φ for autograd, and φ' and φ'', written out
ACTIVATIONS = {
    "cubic": (lambda z: z**3 / 6 + z, lambda z: z**2 / 2 + 1, lambda z: z),
    "sinh": (anp.sinh, np.cosh, np.sinh),
    "exp_plus_linear": (lambda z: anp.exp(z) + z, lambda z: np.exp(z) + 1, np.exp),
}
LOSSES = dict(zip(ACTIVATIONS, ("half_mean", "mean", "sum"), strict=True))
END = 0.3


@pytest.fixture(scope="module", params=ACTIVATIONS)
def network(request):
    """Random data, output weights of both signs, and weights of the loss."""
    rng = np.random.default_rng(list(ACTIVATIONS).index(request.param))
    n, d, width = 3, 6, 5
    signs = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    return mf.TwoLayerNetwork(
        rng.standard_normal((n, d)),
        rng.standard_normal(n),
        width,
        request.param,
        output_weights=signs * rng.uniform(0.5, 2.0, width),
        sample_weights=rng.uniform(0.3, 3.0, n),
        loss=LOSSES[request.param],
    )


@pytest.fixture(scope="module")
def start(network):
    return mf.ZeroLossManifold(network).random_point(rng=0)


def trace_flow(model):
    return mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace(), rate=1.0)


@pytest.fixture(scope="module", params=OWN)
def run(request, network, start):
    """A path with every accepted step, and the steps before they are projected."""
    raw = []
    path = mf.integrate(
        trace_flow(network),
        start,
        [END / 3, END],
        method=request.param,
        rtol=1e-6,
        atol=1e-8,
        keep_steps=True,
        callback=lambda time, point: raw.append(point.copy()),
    )
    assert len(path) > 10
    return path, np.array(raw)


def outputs(model, points):
    """Return u, shape (T, n, m)."""
    neurons = points.reshape(len(points), model.width, -1)
    features = np.einsum("nd,tmd->tnm", model.inputs, neurons)
    return model.output_weights * model.activation(features)


# --- along the path -------------------------------------------------------------------


def test_sharpness_falls_from_every_step_to_the_next(run):
    path, _ = run
    assert np.diff(path.sharpness).max() <= 1e-14 * path.sharpness[0]
    assert path.sharpness[-1] < 0.99 * path.sharpness[0]


def test_what_is_orthogonal_to_the_inputs_never_moves(network, start, run):
    path, raw = run
    inputs = network.inputs
    orthogonal = np.eye(network.n_features) - np.linalg.pinv(inputs) @ inputs
    for points in (path.points, raw):
        moved = (points - start).reshape(len(points), network.width, -1)
        assert np.abs(moved @ orthogonal).max() < 1e-14 * np.abs(start).max()
        assert np.abs(moved).max() > 1e-2  # the control: the rest does


def test_sums_of_outputs_stay_the_targets_to_rounding(network, run):
    path, _ = run
    u = outputs(network, path.points[1:])  # the start is the user's
    off = np.abs(u.sum(axis=2) - network.targets).max(axis=0)
    # one bit of every parameter moves a sum by this much
    steepest = np.linalg.norm(network.jacobian(path.points[0]), axis=1)
    bit = np.finfo(float).eps * steepest * np.linalg.norm(path.points[0])
    assert (off < 20 * bit).all()
    assert np.abs(u[-1] - u[0]).max() > 1e-2


# --- the u-form -----------------------------------------------------------------------


def moving(network, start, off):
    """Return u and its time derivative, at a distance from M."""
    point = start + off * np.random.default_rng(5).standard_normal(start.size)
    velocity = trace_flow(network).structured().velocity(point)
    features = network.features(point)
    slope = network.output_weights * network.activation.derivatives(features)[1]
    return slope * network.features(velocity)


@pytest.mark.parametrize("off", [0.0, 0.1])
def test_sums_of_outputs_are_a_first_integral_also_off_the_manifold(
    network, start, off
):
    change = moving(network, start, off)
    assert np.abs(change.sum(axis=1)).max() < 1e-12 * np.abs(change).max()


def test_runge_kutta_in_outputs_keeps_their_sums_to_rounding():
    """Any step size; in parameters the sums drift by the error of the method."""
    inputs, targets = mf.datasets.gaussian(3, 5, rng=0)
    model = mf.TwoLayerNetwork(inputs, targets, 4, "sinh", loss="sum")
    flow = trace_flow(model)
    structure, begin = flow.structured(), flow.manifold.random_point(rng=0)
    n_steps = 100
    back, h = np.linalg.pinv(inputs), 0.05 / n_steps

    def in_outputs(u):
        features = np.arcsinh(u)
        velocity = structure.velocity((back @ features).T.ravel())
        return np.cosh(features) * model.features(velocity)

    def steps(change, state):
        for _ in range(n_steps):
            k1 = change(state)
            k2 = change(state + h / 2 * k1)
            k3 = change(state + h / 2 * k2)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + change(state + h * k3))
        return state

    u = np.sinh(model.features(begin))
    end = steps(in_outputs, u)
    rounding = 4 * np.finfo(float).eps * np.abs(u).max() * np.sqrt(n_steps)
    assert np.abs(end.sum(axis=1) - targets).max() < rounding
    other = steps(structure.velocity, begin)
    drift = np.abs(model.residual(other)).max()
    assert drift > 1000 * rounding  # the control
    path = mf.integrate(flow, begin, [0.05], rtol=1e-10, atol=1e-12)
    assert relative(np.arcsinh(end), model.features(path.end)) < 1e-7
    assert relative(model.features(begin), model.features(path.end)) > 1e-2


# --- the same path, dense -------------------------------------------------------------


def undeclared(network):
    """The same function without any structure: autograd's, with dense derivatives."""
    phi, slope, second = ACTIVATIONS[network.activation.name]
    inputs, a = network.inputs, network.output_weights

    def features(params):
        return inputs @ params.reshape(len(a), -1).T

    def residual(params):
        z = anp.dot(inputs, anp.reshape(params, (len(a), -1)).T)
        return anp.dot(phi(z), a) - network.targets

    def jacobian(params):
        rows = np.einsum("ij,ik->ijk", a * slope(features(params)), inputs)
        return rows.reshape(len(inputs), -1)

    def contracted_hessian(params, directions):
        blocks = directions.reshape(len(inputs), len(a), -1)
        moved = np.einsum("ik,ijk->ij", inputs, blocks)
        return ((moved * a * second(features(params))).T @ inputs).ravel()

    return mf.CallableModel(
        residual,
        network.n_params,
        jacobian=jacobian,
        contracted_hessian=contracted_hessian,
        loss=network.loss.normalization,
        sample_weights=network.loss.sample_weights,
    )


@pytest.fixture(scope="module")
def exact(network, start):
    flow = trace_flow(undeclared(network))
    assert flow.structured() is None
    times = [END / 3, END]
    return mf.integrate(flow, start, times, method="DOP853", rtol=1e-11, atol=1e-13)


def test_the_path_is_that_of_a_dense_model(run, exact, start):
    path, _ = run
    kept = path.points[np.isin(path.times, exact.times)]
    moved = np.linalg.norm(exact.end - start)
    assert np.abs(kept - exact.points).max() < 1e-4 * moved
    same = path.sharpness[np.isin(path.times, exact.times)]
    assert relative(same, exact.sharpness) < 1e-6


def test_a_dense_model_without_the_weights_goes_elsewhere(network, exact, start):
    """The control: signs and weights matter by more than what is tolerated."""
    plain = mf.TwoLayerNetwork(
        network.inputs,
        network.targets,
        network.width,
        network.activation,
        output_weights=network.output_weights,
        loss=network.loss.normalization,
    )
    path = mf.integrate(trace_flow(plain), start, exact.times)
    moved = np.linalg.norm(exact.end - start)
    assert np.abs(path.points - exact.points).max() > 1e-2 * moved
