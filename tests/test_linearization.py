"""Linearizations: dense and neuronwise obey the same laws."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, two_layer
from laws import LinearizationLaws, naive_loss_hessian, relative
from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.linearization import DenseLinearization, NeuronwiseLinearization
from manifold_flow.models.model import dense


class TestLinearization(LinearizationLaws):
    @pytest.fixture(params=sorted(MODELS))
    def model(self, request):
        return MODELS[request.param]()


def test_two_layer_networks_never_form_the_jacobian(monkeypatch):
    model = two_layer()
    monkeypatch.setattr(type(model), "jacobian", None)
    here = model.linearize(np.ones(model.n_params))
    assert isinstance(here, NeuronwiseLinearization)
    assert here.gram.shape == (3, 3)


@pytest.mark.parametrize("name", ["two-layer", "signed-weighted", "dependent"])
def test_neuronwise_and_dense_agree(name):
    model = MODELS[name]()
    params = np.random.default_rng(0).standard_normal(model.n_params)
    fast, slow = model.linearize(params), dense(model, params)
    vector = np.random.default_rng(1).standard_normal(model.n_params)
    assert isinstance(slow, DenseLinearization)
    assert relative(fast.gram, slow.gram) < 1e-12
    assert relative(fast.tangent_part(vector), slow.tangent_part(vector)) < 1e-11
    slope = np.diag(model.loss.curvatures)
    assert relative(fast.gram_gradient(slope), slow.gram_gradient(slope)) < 1e-12
    second = slow.gram_hessian(slope, vector)
    assert relative(fast.gram_hessian(slope, vector), second) < 1e-12


def test_smallest_eigenvalue_bound_of_lemma_1():
    """λ_min(G) ≥ μ ρ1² Σ a_j² with the slopes at the point (theory notes §1.2)."""
    model = MODELS["signed-weighted"]()
    for seed in range(20):
        params = np.random.default_rng(seed).standard_normal(model.n_params)
        here = model.linearize(params)
        mu = np.linalg.eigvalsh(model.inputs_gram)[0]
        bound = mu * here.slopes.min() ** 2 * (model.output_weights**2).sum()
        assert np.linalg.eigvalsh(here.gram)[0] >= bound * (1 - 1e-10)


@pytest.mark.parametrize(
    "name", ["two-layer", "signed-weighted", "diagonal", "callable"]
)
def test_eigenvalues_are_the_hessians_on_the_manifold(name):
    model = MODELS[name]()
    point = mf.ZeroLossManifold(model).random_point(rng=0)
    full = np.linalg.eigvalsh(naive_loss_hessian(model, point))[::-1]
    n = model.n_residuals
    assert relative(model.linearize(point).hessian_eigenvalues, full[:n]) < 1e-7
    assert np.abs(full[n:]).max() < 1e-7 * full[0]


def test_one_refinement_wins_back_what_the_gram_matrix_squares():
    """cond K = 1e10: the projector agrees with the SVD's, an unrefined one does not."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
    inputs = left * np.sqrt(np.logspace(0, -10, 6)) @ right
    model = mf.TwoLayerNetwork(inputs, np.zeros(6), width=5)
    params = 0.1 * rng.standard_normal(model.n_params)
    vector = rng.standard_normal(model.n_params)
    here, exact = model.linearize(params), dense(model, params).tangent_part(vector)
    once = np.linalg.solve(here.gram, here.apply(vector))
    assert np.abs(here.tangent_part(vector) - exact).max() < 1e-12
    assert np.abs(vector - here.apply_transpose(once) - exact).max() > 1e-11


def test_parallel_rows_are_named():
    a = np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 2.0], [1.0, 2.0, 0.5]])
    model = mf.CallableModel(lambda t: (a @ t[:3]) * t[3], n_params=4)
    with pytest.raises(RankDeficientJacobianError, match="Rows 0 and 2") as caught:
        model.linearize(np.array([1.0, 0.5, 2.0, 1.0])).tangent_part(np.ones(4))
    assert caught.value.singular_values[-1] < 1e-12


def test_a_dead_sample_is_named():
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, 1.0], width=2, activation="relu")
    with pytest.raises(RankDeficientJacobianError, match="Residual 1 does not react"):
        model.linearize(np.array([1.0, -1.0, 1.0, -1.0])).multipliers(np.ones(4))


def test_overflow_names_the_sample():
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, 1.0], width=2, activation="exp")
    with pytest.raises(NonFiniteError, match="overflowed on sample 1"):
        model.linearize(np.array([1.0, 800.0, 1.0, 1.0]))


def test_a_jacobian_that_is_not_finite_names_its_row():
    model = mf.CallableModel(lambda t: t[:2] ** 2 - 1.0, n_params=3)
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteError, match="residual 0 is not finite"),
    ):
        model.linearize(np.array([1.0, np.inf, 1.0]))


@pytest.mark.parametrize(
    ("condition", "by_gram"), [(10.0, True), (900.0, True), (1e5, False)]
)
def test_dense_is_as_accurate_as_a_factorisation_of_the_jacobian(condition, by_gram):
    """σ of a known Jacobian, and a tangent part that is tangent to rounding."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((k, 6)))[0] for k in (6, 400))
    known = np.geomspace(1.0, 1.0 / condition, 6)
    jacobian = (left * known) @ right.T
    here = DenseLinearization(np.zeros(6), np.ones(6), jacobian, None, None)
    assert ("_svd" in vars(here)) is False
    assert relative(here.singular_values, known) < 1e-10
    assert ("_svd" in vars(here)) is not by_gram
    vector, wanted = rng.standard_normal(400), rng.standard_normal(6)
    exact = vector - right @ (right.T @ vector)
    assert relative(here.tangent_part(vector), exact) < 1e-14 * condition
    assert np.abs(right.T @ here.tangent_part(vector)).max() < 1e-14 * condition
    assert relative(here.normal_solve(wanted), right @ (left.T @ wanted / known)) < (
        1e-14 * condition
    )
    weights = left @ (right.T @ vector / known)
    assert relative(here.multipliers(vector), weights) < 1e-14 * condition
    if by_gram and condition > 100.0:  # control: the normal equations alone are not
        gram = jacobian @ jacobian.T
        once = np.linalg.solve(gram, jacobian @ vector)
        assert relative(once, weights) > 1e-14 * condition


@pytest.mark.parametrize("scale", [1e-145, 1e-155, 1e-160])
def test_a_tiny_jacobian_is_solved_as_its_multiple(scale):
    """Its squares underflow, and solving with them gave NaN."""
    rng = np.random.default_rng(0)
    jacobian, vector = rng.standard_normal((3, 8)), rng.standard_normal(8)
    here, tiny = (
        DenseLinearization(np.zeros(3), np.ones(3), factor * jacobian, None, None)
        for factor in (1.0, scale)
    )
    assert relative(tiny.singular_values / scale, here.singular_values) < 1e-14
    assert relative(tiny.tangent_part(vector), here.tangent_part(vector)) < 1e-13
    assert relative(scale * tiny.multipliers(vector), here.multipliers(vector)) < 1e-13
    right = vector[:3]
    assert relative(scale * tiny.normal_solve(right), here.normal_solve(right)) < 1e-13
