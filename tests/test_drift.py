"""DriftFlow: noise that is not matched to the Hessian, and flows that stand still."""

import numpy as np
import pytest
import scipy.linalg

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from laws import FlowLaws, relative
from manifold_flow.errors import DataError, ShapeError, StabilityError


def uneven(model):
    """Variances of label noise that fit no weights of any case."""
    return model.loss.curvatures**2 * np.linspace(1.0, 3.0, model.n_residuals)


def at_random_point(model, seed=0):
    manifold = mf.ZeroLossManifold(model)
    return manifold, manifold.random_point(rng=seed)


class TestDriftFlow:
    @pytest.fixture
    def flow(self):
        model = two_layer()
        return mf.DriftFlow(mf.ZeroLossManifold(model), uneven(model))

    @pytest.fixture
    def start(self, flow):
        return flow.manifold.random_point(rng=1)

    # the laws that no sharpness is needed for
    test_velocity_is_tangent = FlowLaws.test_velocity_is_tangent
    test_velocity_is_the_tangent_part_of_its_steepness = (
        FlowLaws.test_velocity_is_the_tangent_part_of_its_steepness
    )
    test_every_requested_time_is_returned_on_the_manifold = (
        FlowLaws.test_every_requested_time_is_returned_on_the_manifold
    )


@pytest.mark.parametrize("name", MODELS)
def test_matched_noise_is_the_trace_flow(name):
    model = MODELS[name]()
    manifold, point = at_random_point(model)
    trace = mf.LimitingFlow(manifold, mf.HessianTrace(), rate=0.75).velocity(point)
    matched = mf.DriftFlow(manifold, 3.0 * model.loss.curvatures).velocity(point)
    assert relative(matched, trace) < 1e-12
    # control: other variances drift elsewhere
    assert relative(mf.DriftFlow(manifold, uneven(model)).velocity(point), trace) > 1e-3


def naive_drift(model, point, noise):
    """−½ P_T D³L[C] with HC + CH = Σ, from p × p matrices and second differences."""
    jacobian = model.jacobian(point)
    normal = np.linalg.qr(jacobian.T)[0]
    inside = jacobian @ normal
    hessian = inside.T @ (model.loss.curvatures[:, None] * inside)
    held = scipy.linalg.solve_sylvester(hessian, hessian, inside.T @ noise @ inside)
    variances, axes = np.linalg.eigh(normal @ held @ normal.T)

    def gradient(at):
        return model.jacobian(at).T @ (model.loss.curvatures * model.residual(at))

    def second(axis, h):
        ahead, behind = gradient(point + h * axis), gradient(point - h * axis)
        return (ahead - 2 * gradient(point) + behind) / h**2

    total = sum(
        s * (4 * second(e, 1e-3) - second(e, 2e-3)) / 3
        for s, e in zip(variances, axes.T, strict=True)
    )
    return -0.5 * (total - normal @ (normal.T @ total))


@pytest.mark.parametrize("name", MODELS)
def test_the_drift_is_half_the_third_derivative_on_the_covariance(name):
    model = MODELS[name]()
    manifold, point = at_random_point(model)
    root = np.random.default_rng(1).standard_normal((model.n_residuals,) * 2)
    noise = root @ root.T
    got = mf.DriftFlow(manifold, noise).velocity(point)
    assert relative(got, naive_drift(model, point, noise)) < 1e-6
    # control: noise that forgets its correlations
    forgetful = naive_drift(model, point, np.diag(np.diag(noise)))
    assert relative(got, forgetful) > 1e-3


def test_orthogonal_inputs_decouple():
    """theory notes §1.12(d): the gradient flow with weights q²σ²‖x‖²."""
    inputs, weights = np.diag([1.0, 2.0, 0.5]), [1.0, 0.5, 2.0]

    def velocities(inputs):
        model = mf.TwoLayerNetwork(
            inputs, [1.0, 2.0, -1.0], 4, "cubic", sample_weights=weights, loss="sum"
        )
        manifold, point = at_random_point(model)
        noise = uneven(model)
        other = mf.TwoLayerNetwork(
            inputs, model.targets, 4, "cubic", sample_weights=noise / 2, loss="sum"
        )
        law = mf.LimitingFlow(mf.ZeroLossManifold(other), mf.HessianTrace(), 0.25)
        return mf.DriftFlow(manifold, noise).velocity(point), law.velocity(point)

    assert relative(*velocities(inputs)) < 1e-12
    # control: inputs that are not orthogonal
    assert relative(*velocities(inputs + 0.3)) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_finite_steps_of_the_full_batch_are_a_gradient_flow(name):
    model = MODELS[name]()
    manifold, point = at_random_point(model)
    eta = 1.0 / manifold.linearize(point).hessian_eigenvalues[0]
    drift = mf.DriftFlow(manifold, 3.0 * model.loss.curvatures, learning_rate=eta)
    law = mf.LimitingFlow(manifold, mf.FiniteStepTrace(eta), rate=0.75)
    assert relative(drift.velocity(point), law.velocity(point)) < 1e-11
    # control: half the step
    half = mf.LimitingFlow(manifold, mf.FiniteStepTrace(eta / 2), rate=0.75)
    assert relative(drift.velocity(point), half.velocity(point)) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_isotropic_noise_drifts_down_the_log_determinant(name):
    """Σ = P_N means N = G⁻¹; the drift is −¼ grad log |H|₊ (theory notes §2.3b)."""
    manifold, point = at_random_point(MODELS[name]())
    drift = mf.DriftFlow(manifold, lambda here: np.linalg.inv(here.gram))
    law = mf.LimitingFlow(manifold, mf.HessianLogPseudoDeterminant(), rate=0.25)
    assert relative(drift.velocity(point), law.velocity(point)) < 1e-9
    assert repr(drift) == "DriftFlow(noise of its own at each point)"


def test_a_drift_comes_to_rest_where_the_neurons_collapse():
    """Stationary for every noise (theory notes §1.12d); in words about the velocity."""
    model = two_layer()
    manifold, start = at_random_point(model)
    path = mf.integrate(mf.DriftFlow(manifold, uneven(model)), start)
    flattest = mf.references.flattest_point(model, start)
    assert relative(path.end, flattest) < 1e-6
    assert "|velocity| = " in path.message
    assert "grad_M S" not in path.message
    assert "DriftFlow(noise of trace" in repr(path)
    assert path.gradient_norm[0] == pytest.approx(
        np.linalg.norm(mf.DriftFlow(manifold, uneven(model)).velocity(start))
    )


def test_finite_steps_need_a_stable_learning_rate():
    model = diagonal()
    manifold, start = at_random_point(model)
    threshold = 2 / manifold.linearize(start).hessian_eigenvalues[0]
    flow = mf.DriftFlow(manifold, model.loss.curvatures, 1.01 * threshold)
    with pytest.raises(StabilityError):
        flow.velocity(start)
    with pytest.raises(StabilityError, match="not stable here"):
        mf.integrate(flow, start, [0.1])


STILL = {
    "rate": lambda manifold: mf.LimitingFlow(manifold, mf.HessianTrace(), rate=0.0),
    "noise": lambda manifold: mf.DriftFlow(manifold, np.zeros(3)),
}


@pytest.mark.parametrize("name", STILL)
def test_a_flow_that_stands_still_says_so(name):
    manifold, start = at_random_point(diagonal())
    flow = STILL[name](manifold)
    assert not flow.moves
    assert repr(flow).endswith("no motion at this time scale")
    path = mf.integrate(flow, start, [0.0, 1.0, 1e6])
    assert relative(path.points, start) < 1e-14
    with pytest.raises(DataError, match=r"stands still.*Pass times"):
        mf.integrate(flow, start)


@pytest.mark.parametrize(
    ("noise", "error", "words"),
    [
        ([1.0, 2.0], ShapeError, "expected shape"),
        ([1.0, -1.0, 1.0], DataError, "eigenvalue -1"),
        (np.triu(np.ones((3, 3))), DataError, "symmetric"),
        ([1.0, np.nan, 1.0], DataError, "finite"),
    ],
)
def test_noise_must_be_a_covariance(noise, error, words):
    manifold, point = at_random_point(diagonal())
    with pytest.raises(error, match=words):
        mf.DriftFlow(manifold, noise)
    with pytest.raises(error, match=words):
        mf.DriftFlow(manifold, lambda here: np.asarray(noise)).velocity(point)


@pytest.mark.parametrize(("name", "value"), [("overlap", 1.5), ("learning_rate", -1.0)])
def test_numbers_out_of_bounds(name, value):
    with pytest.raises(DataError, match=name):
        mf.DriftFlow(mf.ZeroLossManifold(diagonal()), np.ones(3), **{name: value})


def test_the_noise_of_a_flow_is_its_own_and_read_only():
    noise = np.ones(3)
    flow = mf.DriftFlow(mf.ZeroLossManifold(two_layer()), noise)
    noise[:] = 5.0
    assert np.array_equal(flow.noise, np.eye(3))
    with pytest.raises(ValueError, match="read-only"):
        flow.noise[0, 0] = 2.0
