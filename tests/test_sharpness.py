"""Sharpness: values, gradients and Hessians against the full Hessian."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, two_layer
from laws import SharpnessLaws, central, naive_loss_hessian, relative
from manifold_flow import bounds
from manifold_flow.errors import (
    DataError,
    DegenerateEigenvalueError,
    StabilityError,
    UnknownNameError,
)
from manifold_flow.models.model import dense


def on_manifold(model, seed=0):
    return model.linearize(mf.ZeroLossManifold(model).random_point(rng=seed))


class TestHessianTrace(SharpnessLaws):
    spectral = staticmethod(np.sum)

    @pytest.fixture
    def sharpness(self):
        return mf.HessianTrace()


class TestHessianTopEigenvalue(SharpnessLaws):
    spectral = staticmethod(np.max)

    @pytest.fixture
    def sharpness(self):
        return mf.HessianTopEigenvalue()


class TestHessianLogPseudoDeterminant(SharpnessLaws):
    spectral = staticmethod(lambda eigenvalues: np.log(eigenvalues).sum())

    @pytest.fixture
    def sharpness(self):
        return mf.HessianLogPseudoDeterminant()


class TestHessianLogTopEigenvalue(SharpnessLaws):
    spectral = staticmethod(lambda eigenvalues: np.log(eigenvalues.max()))

    @pytest.fixture
    def sharpness(self):
        return mf.HessianLogTopEigenvalue()


class TestFiniteStepTrace(SharpnessLaws):
    """At eta = 0.06 the largest eta lambda/2 of the four models is 0.62."""

    spectral = staticmethod(lambda values: -np.log(1 - 0.03 * values).sum() / 0.03)

    @pytest.fixture
    def sharpness(self):
        return mf.FiniteStepTrace(0.06)


def test_finite_step_trace_becomes_the_trace_at_first_order():
    here = on_manifold(two_layer())
    trace = mf.HessianTrace().value(here)
    steps = np.array([0.04, 0.02, 0.01])
    excess = [mf.FiniteStepTrace(eta).value(here) - trace for eta in steps]
    quarter = (here.hessian_eigenvalues**2).sum() / 4
    assert np.polyfit(np.log(steps), np.log(excess), 1)[0] == pytest.approx(1, abs=0.1)
    assert 2 * excess[2] / 0.01 - excess[1] / 0.02 == pytest.approx(quarter, rel=0.01)


@pytest.mark.parametrize("method", ["value", "slope", "gradient"])
def test_finite_step_trace_names_the_threshold(method):
    here = on_manifold(two_layer())
    threshold = 2 / here.hessian_eigenvalues[0]
    getattr(mf.FiniteStepTrace(0.999 * threshold), method)(here)
    with pytest.raises(StabilityError, match="below 2/lambda_max") as caught:
        getattr(mf.FiniteStepTrace(1.001 * threshold), method)(here)
    assert caught.value.threshold == pytest.approx(threshold)
    assert caught.value.learning_rate == pytest.approx(1.001 * threshold)


@pytest.mark.parametrize("name", ["two-layer", "signed-weighted", "symmetric-matrix"])
def test_tangential_gradient_does_not_depend_on_the_extension(name):
    """P_T ∇(full trace) = P_T ∇S on M, though they differ (theory notes §1.3)."""
    model = MODELS[name]()
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=0)
    full = np.array(
        [
            central(lambda at: np.trace(naive_loss_hessian(model, at)), point, e)
            for e in np.eye(model.n_params)
        ]
    )
    ours = mf.HessianTrace().gradient(manifold.linearize(point))
    assert relative(full, ours) > 1e-3
    both = manifold.to_tangent(np.stack([full, ours]), point)
    assert relative(both[0], both[1]) < 1e-6


def test_two_layer_closed_forms():
    """F = 2ΣwΣa²φ'², and the gradient of theory notes §1.4, written out."""
    model = MODELS["signed-weighted"]()
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=1)
    here, a = manifold.linearize(point), model.output_weights
    w = bounds.sample_curvatures(model)[:, None]
    value = 2 * (w * a**2 * here.slopes**2).sum()
    assert mf.HessianTrace().value(here) == pytest.approx(value, rel=1e-13)
    alpha = here.multipliers(mf.HessianTrace().gradient(here))
    delta = here.second - alpha[:, None] / (4 * w) / a
    formula = (4 * w * a**2 * here.slopes * delta).T @ model.inputs
    gradient = manifold.riemannian_gradient(mf.HessianTrace(), point)
    assert relative(gradient, formula.ravel()) < 1e-11


@pytest.mark.parametrize("name", ["two-layer", "signed-weighted"])
def test_two_layer_hessian_closed_form(name):
    """Hess(u, u) = Σ h_ij (x_iᵀu_j)² (theory notes §1.6) against the operator."""
    model = MODELS[name]()
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=2)
    u = manifold.random_tangent_vec(point, rng=3)
    coefficients = bounds.hessian_coefficients(model, point)
    formula = (coefficients * model.features(u) ** 2).sum()
    operator = manifold.riemannian_hessian(mf.HessianTrace(), point)
    assert u @ (operator @ u) == pytest.approx(formula, rel=1e-10)


def test_the_hessian_can_be_negative_far_from_the_limit():
    """theory notes §1.7: n=1, x=1, m=2, cubic, z = (10, 1): −29.77 in loss "sum"."""
    point = np.array([10.0, 1.0])
    activation = mf.Activation.of("cubic")
    model = mf.TwoLayerNetwork(
        [[1.0]], [activation(point).sum()], width=2, activation="cubic", loss="sum"
    )
    manifold = mf.ZeroLossManifold(model)
    u = manifold.random_tangent_vec(point, rng=0)
    u /= np.linalg.norm(u)
    operator = manifold.riemannian_hessian(mf.HessianTrace(), point)
    assert u @ (operator @ u) == pytest.approx(-29.77, abs=0.005)


def test_top_eigenvalue_raises_at_a_crossing_with_both_values():
    model = mf.TwoLayerNetwork(np.eye(2), [2.0, 2.0], width=2, activation="linear")
    here = model.linearize(np.ones(4))
    sharpness = mf.HessianTopEigenvalue()
    assert sharpness.gap(here) == 0.0
    with pytest.raises(DegenerateEigenvalueError, match="Use HessianTrace") as caught:
        sharpness.gradient(here)
    assert caught.value.largest == pytest.approx(caught.value.second)


def test_top_eigenvalue_of_one_sample_has_no_second():
    model = two_layer(n=1, d=3, width=2)
    here = model.linearize(np.ones(model.n_params))
    assert mf.HessianTopEigenvalue().gap(here) == np.inf
    trace = mf.HessianTrace().gradient(here)
    assert relative(mf.HessianTopEigenvalue().gradient(here), trace) < 1e-13


def test_log_pseudo_determinant_names_a_lost_rank():
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, 1.0], width=2, activation="relu")
    with pytest.raises(DataError, match="loses rank"):
        mf.HessianLogPseudoDeterminant().value(
            model.linearize(np.array([1.0, -1, 1, -1]))
        )


def test_a_user_can_add_a_sharpness():
    """Two lines on ∂S/∂G: here the squared Frobenius norm, with unit curvatures."""

    class Frobenius(mf.Sharpness):
        def value(self, linearization):
            return float((linearization.gram**2).sum())

        def slope(self, linearization):
            return 2 * linearization.gram

        def slope_change(self, linearization, vector):
            return 2 * linearization.gram_derivative(vector)

    model = MODELS["callable"]()
    params = np.random.default_rng(0).standard_normal(model.n_params)
    here = model.linearize(params)
    measured = [
        central(lambda at: Frobenius().value(model.linearize(at)), params, e)
        for e in np.eye(model.n_params)
    ]
    assert relative(Frobenius().gradient(here), np.array(measured)) < 1e-8


class TestStochasticTrace:
    @pytest.fixture
    def model(self):
        return MODELS["two-layer"]()

    @pytest.fixture
    def params(self, model):
        return 3.0 * np.random.default_rng(0).standard_normal(model.n_params)

    @pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
    def test_is_within_three_standard_errors_of_the_full_trace(
        self, model, params, distribution
    ):
        exact = np.trace(naive_loss_hessian(model, params))
        found = mf.stochastic_trace(
            model, params, num_matvecs=4000, distribution=distribution, rng=1
        )
        assert abs(found.estimate - exact) < 3 * found.standard_error
        # the residual term matters here: the Gauss-Newton trace alone is refuted
        here = model.linearize(params)
        assert abs(found.estimate - mf.HessianTrace().value(here)) > (
            10 * found.standard_error
        )

    def test_standard_error_falls_like_the_square_root(self, model, params):
        few = mf.stochastic_trace(model, params, num_matvecs=400, rng=2)
        many = mf.stochastic_trace(model, params, num_matvecs=6400, rng=2)
        assert few.standard_error / many.standard_error == pytest.approx(4.0, rel=0.15)

    def test_rademacher_is_exact_for_a_diagonal_hessian(self):
        model = mf.DiagonalLinearNetwork([[1.0, 0.0]], [1.0])
        found = mf.stochastic_trace(model, [1.0, 2.0, 0.0, 3.0], num_matvecs=5, rng=0)
        assert found.standard_error == pytest.approx(0.0, abs=1e-12)

    def test_same_seed_same_samples(self, model, params):
        first = mf.stochastic_trace(model, params, rng=3).samples
        assert np.array_equal(first, mf.stochastic_trace(model, params, rng=3).samples)

    def test_bad_arguments(self, model, params):
        with pytest.raises(DataError, match="at least 2"):
            mf.stochastic_trace(model, params, num_matvecs=1)
        with pytest.raises(UnknownNameError, match="did you mean 'gaussian'"):
            mf.stochastic_trace(model, params, distribution="gausian")


def test_trace_of_dense_and_neuronwise_agree():
    model = MODELS["signed-weighted"]()
    params = np.random.default_rng(0).standard_normal(model.n_params)
    trace = mf.HessianTrace()
    expected = trace.value(dense(model, params))
    assert trace.value(model.linearize(params)) == pytest.approx(expected, rel=1e-13)
