"""ZeroLossManifold: geomstats' laws, projection, regular points."""

import tracemalloc

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, two_layer
from laws import ManifoldLaws, relative
from manifold_flow._compat import import_geomstats
from manifold_flow.errors import (
    ArgumentError,
    DataError,
    ProjectionError,
    RankDeficientJacobianError,
    ShapeError,
)


class TestZeroLossManifold(ManifoldLaws):
    @pytest.fixture(params=sorted(MODELS))
    def model(self, request):
        return MODELS[request.param]()


def circle():
    return mf.ZeroLossManifold(mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2))


def test_it_is_a_geomstats_level_set():
    level_set = import_geomstats("geometry.base").LevelSet
    manifold = circle()
    assert isinstance(manifold, level_set)
    assert (manifold.dim, manifold.shape, manifold.embedding_space.dim) == (1, (2,), 2)


def test_no_dense_identity_is_allocated_for_the_embedding_space():
    """geomstats' Euclidean metric would hold p² numbers, 8 TB for a million p."""
    model = mf.TwoLayerNetwork(np.eye(1, 1000), [1.0], width=1000)
    tracemalloc.start()
    manifold = mf.ZeroLossManifold(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6
    assert manifold.embedding_space.shape == (1_000_000,)


def test_circle_agrees_with_geomstats_hypersphere():
    sphere = import_geomstats("geometry.hypersphere").Hypersphere(dim=1)
    manifold, point = circle(), np.array([0.6, 0.8])
    vector = np.array([0.3, -2.0])
    assert (
        relative(manifold.to_tangent(vector, point), sphere.to_tangent(vector, point))
        < 1e-12
    )
    far = np.array([3.0, 4.0])
    assert relative(manifold.projection(far), sphere.projection(far)) < 1e-12


def test_projection_is_quadratic_near_the_manifold():
    """Gauss-Newton squares the residual: the log of the error has it."""
    manifold = mf.ZeroLossManifold(two_layer())
    point = manifold.random_point(rng=0) + 1e-3
    sizes = [np.abs(manifold.submersion(point)).max()]
    for _ in range(2):
        here = manifold.linearize(point)
        point = point - here.normal_solve(here.residual)
        sizes.append(np.abs(manifold.submersion(point)).max())
    assert sizes[1] < 10 * sizes[0] ** 2
    assert sizes[2] < 10 * sizes[1] ** 2


def test_projection_is_damped_where_a_full_step_overshoots():
    """arctan far out: undamped Gauss-Newton diverges, ours arrives."""
    import autograd.numpy as anp

    model = mf.CallableModel(lambda t: anp.arctan(t[:1] + 0.0 * t[1:]), n_params=2)
    end = mf.ZeroLossManifold(model).projection([3.0, 1.0])
    assert abs(end[0]) < 1e-12
    undamped = 3.0 - np.arctan(3.0) * (1 + 3.0**2)
    assert abs(undamped) > 3.0


def test_one_point_of_a_batch_may_need_damping_and_one_may_fail():
    import autograd.numpy as anp

    model = mf.CallableModel(lambda t: anp.arctan(t[:1] + 0.0 * t[1:]), n_params=2)
    manifold = mf.ZeroLossManifold(model)
    ends = manifold.projection([[[0.1, 1.0], [3.0, 1.0]], [[-3.0, 1.0], [0.0, 1.0]]])
    assert ends.shape == (2, 2, 2)
    assert np.abs(ends[..., 0]).max() < 1e-12
    squared = mf.ZeroLossManifold(mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2))
    with pytest.raises(ProjectionError, match="singular Jacobian"):
        squared.projection([[0.6, 0.8], [0.0, 0.0]])
    with pytest.raises(ShapeError):
        squared.projection(np.ones((2, 3)))


def test_an_empty_zero_loss_set_gives_the_iteration_log():
    model = mf.CallableModel(lambda t: [t @ t + 1.0], n_params=2)
    with pytest.raises(
        ProjectionError, match=r"iteration 0: max \|residual\|"
    ) as caught:
        mf.ZeroLossManifold(model).projection([1.0, 0.5])
    sizes = [size for _, size, _ in caught.value.log]
    assert len(sizes) >= 3
    assert sizes[-1] >= 1.0
    assert sizes == sorted(sizes, reverse=True)


def test_random_point_gives_up_after_ten_draws():
    model = mf.CallableModel(lambda t: [t @ t + 1.0], n_params=2)
    with pytest.raises(ProjectionError):
        mf.ZeroLossManifold(model).random_point(rng=0)


def test_duplicate_residuals_are_refused_with_their_rows():
    model = mf.CallableModel(lambda t: [t @ t - 1.0, 2 * (t @ t) - 2.0], n_params=3)
    with pytest.raises(
        (ProjectionError, RankDeficientJacobianError), match="Rows 0 and 1"
    ):
        mf.ZeroLossManifold(model).random_point(rng=0)


def test_a_point_that_is_not_regular_is_reported():
    """u² − v² = 0 crosses itself at the origin."""
    model = mf.CallableModel(lambda t: [t[0] ** 2 - t[1] ** 2], n_params=2)
    report = mf.ZeroLossManifold(model).regular_point([0.0, 0.0])
    assert (report.rank, report.is_regular, report.condition) == (0, False, np.inf)
    assert "NOT regular" in str(report)


@pytest.mark.parametrize(
    "residual",
    [
        lambda t: [(t @ t - 1.0) ** 2],
        lambda t: [(t[0] - t[1]) ** 3],
        lambda t: [1e6 * (t[0] * t[1] - 1.0) ** 2, t[2]],
    ],
)
def test_a_double_zero_is_degenerate_whatever_its_scale(residual):
    """σ_min/σ_max cannot see it for n = 1; the slow convergence does."""
    model = mf.CallableModel(residual, n_params=3)
    with pytest.raises(RankDeficientJacobianError, match="falling by only"):
        mf.ZeroLossManifold(model).random_point(rng=0)


def test_a_near_double_zero_is_regular():
    """The control: two circles 1e-3 apart; slow at first, quadratic at the end."""
    model = mf.CallableModel(lambda t: [(t @ t - 1.0) * (t @ t - 1.001)], n_params=2)
    manifold = mf.ZeroLossManifold(model)
    assert manifold.belongs(manifold.random_point(rng=0))


def test_a_lost_rank_has_no_normal_basis():
    model = mf.CallableModel(lambda t: [t[0] ** 2 - t[1] ** 2], n_params=2)
    with pytest.raises(RankDeficientJacobianError):
        mf.ZeroLossManifold(model).normal_basis(np.zeros(2))


def test_bad_points():
    manifold = circle()
    with pytest.raises(ShapeError, match=r"expected shape \(2,\), got \(3,\)"):
        manifold.linearize(np.zeros(3))
    with pytest.raises(DataError, match=r"point\[1\] is not finite"):
        manifold.linearize([1.0, np.nan])
    with pytest.raises(ShapeError):
        manifold.projection(np.zeros((4, 3)))
    assert not manifold.belongs(np.zeros(3))


def test_normal_basis_spans_the_residual_gradients_of_lemma_1():
    model = two_layer()
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=0)
    basis, rows = manifold.normal_basis(point), model.jacobian(point)
    assert relative(rows @ basis.T @ basis, rows) < 1e-12


def test_tolerance_is_relative_to_the_size_of_the_terms():
    """A residual that is a difference of numbers near 1e8 rounds near 1e-8."""
    model = mf.CallableModel(lambda t: [t @ t - 1e16], n_params=2, check_at=[1e7, 1e7])
    manifold = mf.ZeroLossManifold(model)
    point = manifold.projection([3e7, 4e7])
    assert manifold.belongs(point)
    assert not manifold.belongs(point * (1 + 1e-8))


def test_repr_says_dimension_and_model():
    assert repr(circle()).startswith("ZeroLossManifold(dim=1, CallableModel(")


def test_a_users_function_in_a_file_of_its_own(tmp_path, monkeypatch):
    """The geometry works for a residual the package has never seen."""
    (tmp_path / "my_model.py").write_text(
        "import autograd.numpy as np\n"
        "x = np.array([[1.0, 0.5], [-0.3, 1.2]])\n"
        "y = np.array([0.4, -0.1])\n"
        "def residual(params):\n"
        "    w, a = np.reshape(params[:6], (3, 2)), params[6:]\n"
        "    return np.sinh(x @ w.T) @ a - y\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_model

    manifold = mf.ZeroLossManifold(mf.CallableModel(my_model.residual, n_params=9))
    start = manifold.random_point(rng=0)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, start, [0.0, 0.1, 0.2])
    assert (manifold.dim, path.status) == (7, mf.Status.COMPLETED)
    assert path.sharpness[0] > path.sharpness[1] > path.sharpness[2]
    assert np.abs(my_model.residual(path.end)).max() < 1e-12


NO_POINTS = {"text": "abc", "complex": [1.0 + 1j, 0.0], "ragged": [[1.0], [1.0, 2.0]]}


@pytest.mark.parametrize("point", NO_POINTS.values(), ids=NO_POINTS)
@pytest.mark.parametrize(
    "method",
    ["projection", "linearize", "tolerance", "submersion", "belongs", "normal_basis"],
)
def test_what_is_no_array_of_real_numbers_is_refused(method, point):
    manifold = circle()
    with pytest.raises(DataError, match="not an array of real numbers"):
        getattr(manifold, method)(point)
    getattr(manifold, method)([1, 0])  # the control: integers are numbers


@pytest.mark.parametrize("n_samples", [10**9, 10**12])
def test_more_points_than_memory_are_refused_at_once(n_samples):
    manifold = circle()
    with pytest.raises(DataError, match="refused before memory is allocated"):
        manifold.random_point(n_samples)
    with pytest.raises(DataError, match="refused before memory is allocated"):
        manifold.random_tangent_vec(np.array([1.0, 0.0]), n_samples)


def test_derivatives_of_what_is_no_sharpness_are_refused():
    manifold = circle()
    for derivative in (manifold.riemannian_gradient, manifold.riemannian_hessian):
        with pytest.raises(ArgumentError, match="where a Sharpness is needed"):
            derivative("trace", [1.0, 0.0])


def test_points_with_large_jacobians_are_projected_one_by_one(monkeypatch):
    """A stack of Jacobians takes gigabytes; the zeros reached are the same."""
    manifold = mf.ZeroLossManifold(two_layer())
    draws = np.random.default_rng(0).standard_normal((2, 3, manifold.model.n_params))
    together = manifold.projection(draws)
    monkeypatch.setattr("manifold_flow.projection.MOST_TOGETHER", 0)
    monkeypatch.setattr("manifold_flow.projection._full_step", None)
    assert np.abs(manifold.projection(draws) - together).max() < 1e-12
