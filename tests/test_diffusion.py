"""The general limit: second derivatives of Φ, the diffusion, its paths."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp

import manifold_flow as mf
from cases import MODELS, two_layer
from laws import central, relative
from manifold_flow.limits.euler_heun import euler_heun

ELLIPSE_AXES = np.array([2.0, 1.0])
MODES = np.fft.fftfreq(32, 1 / 32)
ANGLES = 2 * np.pi * np.arange(32) / 32


def ellipse():
    """x²/4 + y² = 1, as a measurement of a factored matrix."""
    forms = [np.diag(ELLIPSE_AXES**-2.0)]
    return mf.ZeroLossManifold(mf.MatrixSensing(forms, [1.0], rank=1, symmetric=True))


def sphere(dim):
    return mf.ZeroLossManifold(
        mf.MatrixSensing([np.eye(dim)], [1.0], rank=1, symmetric=True)
    )


def sensing():
    """Two weighted measurements in four parameters: G and c do not commute."""
    forms = [[[1.0, 0.4], [-0.3, 0.8]], [[0.2, -1.0], [0.7, 0.5]]]
    return mf.MatrixSensing(forms, [1.0, -0.5], rank=1, sample_weights=[1.0, 3.0])


def on_manifold(model, seed=1):
    manifold = mf.ZeroLossManifold(model)
    return manifold, manifold.random_point(rng=seed)


# ----------------------------------------------------------- the second derivative of Φ


def naive_limit(model, params):
    """Φ by DOP853 to 1e-13, its last 1e-11 by the projection (theory notes, L1)."""

    def velocity(_, at):
        return -model.jacobian(at).T @ (model.loss.curvatures * model.residual(at))

    slowest = model.linearize(params).hessian_eigenvalues[-1]
    end = solve_ivp(
        velocity, (0.0, 60.0 / slowest), params, "DOP853", rtol=1e-13, atol=1e-15
    ).y[:, -1]
    assert np.abs(model.residual(end)).max() < 1e-11
    return mf.ZeroLossManifold(model).projection(end)


def naive_second_derivative(model, point, a, b):
    """∂²Φ[a, b] by differences, extrapolated; error 1e-13/h² + O(h⁴)."""

    def second(h):
        corners = [
            sign * naive_limit(model, point + h * (a + sign * b)) for sign in (1, -1)
        ]
        corners += [
            sign * naive_limit(model, point - h * (a + sign * b)) for sign in (1, -1)
        ]
        return np.sum(corners, axis=0) / (4 * h * h)

    return (4 * second(2e-3) - second(4e-3)) / 3


def check_blocks(model):
    """All three blocks of ∂²Φ, and for the control one without its Lyapunov solve."""
    manifold, point = on_manifold(model)
    here, rng = manifold.linearize(point), np.random.default_rng(2)
    tangent = manifold.random_tangent_vec(point, rng=rng)
    normals = [
        here.apply_transpose(rng.standard_normal(model.n_residuals)) for _ in range(2)
    ]
    tangent, first, second = (v / np.linalg.norm(v) for v in (tangent, *normals))
    for a, b in ((first, second), (tangent, first), (tangent, tangent)):
        measured = naive_second_derivative(model, point, a, b)
        claimed = mf.limit_map_hessian(manifold, point, a, b)
        scale = np.abs(measured).max()
        assert scale > 1e-3
        assert np.abs(claimed - measured).max() < 1e-6 * max(scale, 1.0)
        # control: the derivative in a third direction is another one
        other = mf.limit_map_hessian(manifold, point, a, b + 0.01 * second)
        assert np.abs(other - measured).max() > 1e-4 * scale


def test_second_derivative_of_the_limit_map():
    check_blocks(sensing())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two-layer", "signed-weighted"])
def test_second_derivative_of_the_limit_map_of_networks(name):
    check_blocks(MODELS[name]())


# ------------------------------------------------------------------ drift and diffusion


def varying(point):
    """A factor of two columns, neither normal nor tangent, that depends on θ."""
    first = np.sin(np.arange(point.size) + point)
    return 0.5 * np.stack([first, np.cos(point[::-1]) + point**2 / 4], axis=1)


def constant(size):
    return 0.5 * np.random.default_rng(7).standard_normal((size, 2))


FACTORS = {
    "isotropic": lambda size: 0.7,
    "constant": constant,
    "varying": lambda size: varying,
}


@pytest.fixture(params=["two-layer", "signed-weighted", "diagonal", "matrix"])
def model(request):
    return MODELS[request.param]()


@pytest.fixture(params=sorted(FACTORS))
def diffusion(request, model):
    factor = FACTORS[request.param](model.n_params)
    return mf.LimitingDiffusion(mf.ZeroLossManifold(model), factor)


def test_drift_is_half_the_second_derivative_of_the_covariance(diffusion):
    """½ Σ_k ∂²Φ[b_k, b_k], column by column."""
    point = diffusion.manifold.random_point(rng=1)
    columns = diffusion.noise.columns(point).T
    each = [mf.limit_map_hessian(diffusion.manifold, point, b, b) for b in columns]
    assert relative(diffusion.drift(point), 0.5 * np.sum(each, axis=0)) < 1e-11


def test_ito_and_stratonovich_drifts_differ_by_half_of_how_the_factor_moves(diffusion):
    """μ − a = ½ Σ_k Dσ_k[σ_k], σ = P_T B, by the five-point rule."""
    point = diffusion.manifold.random_point(rng=1)
    sigma = diffusion.factor_at(point)
    moved = np.sum(
        [
            central(lambda at, k=k: diffusion.factor_at(at)[:, k], point, sigma[:, k])
            for k in range(sigma.shape[1])
        ],
        axis=0,
    )
    got = diffusion.drift(point) - diffusion.stratonovich_drift(point)
    assert relative(got, 0.5 * moved) < 1e-7
    # control: not by the whole of it
    assert relative(got, moved) > 1e-3


def test_ito_drift_holds_the_paths_on_the_manifold(diffusion):
    """J μ + ½ Σ_k D²r(σ_k, σ_k) = 0; the Stratonovich drift is tangent."""
    point = diffusion.manifold.random_point(rng=1)
    here, sigma = diffusion.manifold.linearize(point), diffusion.factor_at(point)
    bend = sum(here.bend(column) for column in sigma.T)
    assert np.abs(bend).max() > 1e-3
    assert relative(here.apply(diffusion.drift(point)), -0.5 * bend) < 1e-11
    assert np.abs(here.apply(diffusion.stratonovich_drift(point))).max() < 1e-11


def test_the_law_depends_on_the_covariance_alone(model):
    manifold, point = on_manifold(model)

    def turned(at):
        """The same Σ by another factor: columns rotate as the point moves."""
        angle = 3.0 * at[0] + at[-1]
        cosine, sine = np.cos(angle), np.sin(angle)
        return varying(at) @ np.array([[cosine, -sine], [sine, cosine]])

    plain = mf.LimitingDiffusion(manifold, varying)
    rotated = mf.LimitingDiffusion(manifold, turned)
    rooted = mf.LimitingDiffusion.from_covariance(
        manifold, lambda at: varying(at) @ varying(at).T
    )
    covariance = plain.factor_at(point) @ plain.factor_at(point).T
    for other in (rotated, rooted):
        assert relative(other.drift(point), plain.drift(point)) < 1e-11
        sigma = other.factor_at(point)
        assert relative(sigma @ sigma.T, covariance) < 1e-11
        # the split into drift and circle-integral does depend on the factor
        apart = other.stratonovich_drift(point) - plain.stratonovich_drift(point)
        assert np.abs(apart).max() > 1e-4


def test_matched_noise_is_the_trace_flow(model):
    """Theory notes §2.3(a): B = √k Jᵀ diag(√c) leaves −(k/4) grad_M Tr ∇²L alone."""
    manifold, point = on_manifold(model)
    curvatures, k = model.loss.curvatures, 3.0

    def matched(at):
        return np.sqrt(k) * model.jacobian(at).T * np.sqrt(curvatures)

    def unmatched(at):
        return np.sqrt(k) * model.jacobian(at).T

    flow = mf.LimitingFlow(manifold, mf.HessianTrace(), rate=k / 4)
    velocity = flow.velocity(point)
    for form in ("drift", "stratonovich_drift"):
        found = getattr(mf.LimitingDiffusion(manifold, matched), form)(point)
        assert relative(found, velocity) < 1e-12
        # control: noise that is normal but not matched
        scaled = unmatched if np.ptp(curvatures) > 0 else (lambda at: 1.1 * matched(at))
        found = getattr(mf.LimitingDiffusion(manifold, scaled), form)(point)
        assert relative(found, velocity) > 1e-3
    assert (
        np.abs(mf.LimitingDiffusion(manifold, matched).factor_at(point)).max() < 1e-12
    )


def test_isotropic_noise_drifts_down_the_log_pseudo_determinant(model):
    """Theory notes §2.3(b): −(σ²/4) grad_M log |H|₊, and Brownian motion on M."""
    manifold, point = on_manifold(model)
    sigma = 0.7
    diffusion = mf.LimitingDiffusion(manifold, sigma)
    slope = manifold.riemannian_gradient(mf.HessianLogPseudoDeterminant(), point)
    claimed = -(sigma**2) / 4 * slope
    assert relative(diffusion.stratonovich_drift(point), claimed) < 1e-12
    tangent = manifold.to_tangent(diffusion.drift(point), point)
    assert relative(tangent, claimed) < 1e-11
    # control: it is not the drift of label noise
    trace = manifold.riemannian_gradient(mf.HessianTrace(), point)
    cosine = claimed @ trace / np.linalg.norm(claimed) / np.linalg.norm(trace)
    assert abs(cosine) < 1 - 1e-4
    columns = diffusion.factor_at(point)
    projector = manifold.to_tangent(
        np.eye(model.n_params), np.tile(point, (model.n_params, 1))
    )
    assert relative(columns, sigma * projector) < 1e-12
    # the same as a matrix, which a large p cannot afford
    dense = mf.LimitingDiffusion(manifold, sigma * np.eye(model.n_params))
    assert relative(dense.drift(point), diffusion.drift(point)) < 1e-11


def sampling_noise(model, shift=0.0):
    """Factor of the noise of drawing one sample: columns √n (g_s − mean g)."""

    def factor(at):
        pulls = model.loss.curvatures * (model.residual(at) + shift)
        each = model.jacobian(at).T * pulls * np.sqrt(model.n_residuals)
        return each - each.mean(axis=1, keepdims=True)

    return factor


def test_the_noise_of_minibatches_does_not_move(model):
    """Theory notes §2.3(c): it vanishes on M."""
    manifold, point = on_manifold(model)
    still = mf.LimitingDiffusion(manifold, sampling_noise(model))
    paths = mf.integrate_sde(still, point, [0.1, 0.2], dt=0.1, rng=0)
    assert np.abs(paths.points - point).max() < 1e-12
    # control: the same noise of labels that are missed does
    moving = mf.LimitingDiffusion(manifold, sampling_noise(model, shift=0.1))
    paths = mf.integrate_sde(moving, point, [0.1, 0.2], dt=0.1, rng=0)
    assert np.abs(paths.points - point).max() > 1e-5


# ------------------------------------------------------------- orders of the integrator


def slope(steps, errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


def gaussian_nodes(n_sources, order=7):
    """Points and weights of the product rule for a standard Gaussian."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    grid = np.stack(np.meshgrid(*[nodes] * n_sources, indexing="ij"), axis=-1)
    product = weights
    for _ in range(n_sources - 1):
        product = np.multiply.outer(product, weights)
    return grid.reshape(-1, n_sources), product.ravel() / product.sum()


def stepped(diffusion, manifold, point, dt, increment):
    return manifold.projection(euler_heun(diffusion, point, dt, increment))


@pytest.mark.parametrize("dim", [2, 3])
def test_weak_order_of_brownian_motion_on_the_sphere(dim):
    """E Y(t) = exp(−(D−1)t/2) Y(0).

    A step commutes with rotations, so that the mean shrinks by one factor a step, which
    quadrature gives without sampling.
    """
    manifold = sphere(dim)
    diffusion, north = mf.LimitingDiffusion(manifold, 1.0), np.eye(dim)[0]
    nodes, weights = gaussian_nodes(dim - 1)
    tangent = np.pad(nodes, ((0, 0), (1, 0)))
    steps, errors = np.array([0.02, 0.01, 0.005]), []
    for dt in steps:
        ends = [
            stepped(diffusion, manifold, north, dt, np.sqrt(dt) * node)
            for node in tangent
        ]
        shrunk = (weights @ np.array(ends))[0] ** (1 / dt)
        errors.append(abs(shrunk - np.exp(-(dim - 1) / 2)))
    assert slope(steps, errors) == pytest.approx(1.0, abs=0.05)


def coordinates(point):
    """cos φ and sin φ of points of the ellipse."""
    return point / ELLIPSE_AXES


def points_of_the_ellipse():
    return ELLIPSE_AXES * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def nearest_on_the_ellipse(points):
    """Gauss-Newton, all points at once."""
    for _ in range(8):
        gradients = 2.0 * points / ELLIPSE_AXES**2
        excess = (coordinates(points) ** 2).sum(axis=1) - 1.0
        shift = excess / (gradients**2).sum(axis=1)
        points = points - shift[:, None] * gradients
    return points


def trace(points):
    """Tr ∇²L = |∇r|² of L = r²/2."""
    return (4.0 * points**2 / ELLIPSE_AXES**4).sum(axis=1)


def derivatives():
    """Matrices of d/dφ and d²/dφ², exact on trigonometric polynomials."""
    waves = np.exp(1j * MODES * (ANGLES[:, None, None] - ANGLES[:, None]))
    first = (1j * MODES * waves).mean(axis=2).real
    return first, -(MODES**2 * waves).mean(axis=2).real


def transition(scheme, manifold, n_sources, dt):
    """The step's action on functions of the angle, by interpolation and quadrature."""
    nodes, weights = gaussian_nodes(n_sources)
    rows = []
    for angle in ANGLES:
        point = ELLIPSE_AXES * [np.cos(angle), np.sin(angle)]
        ends = [
            coordinates(stepped(scheme, manifold, point, dt, np.sqrt(dt) * node))
            for node in nodes
        ]
        ends = np.arctan2(*np.array(ends).T[::-1])
        waves = np.exp(1j * MODES * (ends[:, None, None] - ANGLES[:, None]))
        rows.append(weights @ waves.mean(axis=2).real)
    return np.array(rows)


def angular(diffusion, angles):
    """Itô drift and variance of the angle, from those of the point."""
    drifts, variances = [], []
    for angle in angles:
        radial = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-radial[1], radial[0]])
        point = ELLIPSE_AXES * radial
        sigma = across / ELLIPSE_AXES @ diffusion.factor_at(point)
        # φ is harmonic in (x/a, y/b) and its second derivative along `across` is 0
        drifts.append(across / ELLIPSE_AXES @ diffusion.drift(point))
        variances.append(sigma @ sigma)
    return np.array(drifts), np.array(variances)


def generator(diffusion):
    """μ d/dφ + ½ s² d²/dφ²."""
    drifts, variances = angular(diffusion, ANGLES)
    first, second = derivatives()
    return drifts[:, None] * first + 0.5 * variances[:, None] * second


def weak_errors(diffusion, scheme, n_sources, steps, slow_time=0.4):
    """Largest error of E cos φ over all starts."""
    exact = scipy.linalg.expm(slow_time * generator(diffusion)) @ np.cos(ANGLES)
    errors = []
    for dt in steps:
        step = transition(scheme, diffusion.manifold, n_sources, dt)
        mean = np.linalg.matrix_power(step, round(slow_time / dt)) @ np.cos(ANGLES)
        errors.append(np.abs(mean - exact).max())
    return np.array(errors)


def with_drift(diffusion, drift):
    """The same steps with another drift."""
    return SimpleNamespace(kick=diffusion.kick, stratonovich_drift=drift)


def check_weak_order(diffusion, n_sources, wrong_drift):
    steps = np.array([0.1, 0.05, 0.025])
    errors = weak_errors(diffusion, diffusion, n_sources, steps)
    assert slope(steps, errors) > 0.85
    # control: with another drift the means end elsewhere
    other = with_drift(diffusion, wrong_drift)
    wrong = weak_errors(diffusion, other, n_sources, steps[-1:])
    assert wrong[-1] > 5 * errors[-1]


def around(point):
    """One source that varies along M, with a normal part, and nowhere 0 along M."""
    x, y = point
    tangent, normal = np.array([-2.0 * y, x / 2]), np.array([x / 4, y])
    return ((0.5 + 0.1 * x) * tangent + (0.3 + 0.2 * y) * normal)[:, None]


def test_weak_order_of_one_source_that_varies():
    diffusion = mf.LimitingDiffusion(ellipse(), around)
    check_weak_order(diffusion, 1, diffusion.drift)  # Itô's in a Stratonovich scheme


@pytest.mark.slow
@pytest.mark.parametrize("factor", [constant(2), varying])
def test_weak_order_of_two_sources(factor):
    diffusion = mf.LimitingDiffusion(ellipse(), factor)
    check_weak_order(diffusion, 2, diffusion.drift)


@pytest.mark.slow
def test_weak_order_of_isotropic_noise():
    check_weak_order(mf.LimitingDiffusion(ellipse(), 0.5), 2, np.zeros_like)


def test_isotropic_noise_leaves_the_law_with_density_one_over_root_pdet():
    """Its density on M is |H|₊^(−1/2): on an ellipse uniform in the eccentric angle.

    A uniform law is stationary where μ = ½ d(s²)/dφ.
    """
    diffusion = mf.LimitingDiffusion(ellipse(), 1.0)

    def variance(angles):
        return angular(diffusion, angles)[1]

    slopes = central(variance, ANGLES, np.ones_like(ANGLES))
    drifts = angular(diffusion, ANGLES)[0]
    assert np.abs(drifts - 0.5 * slopes).max() < 1e-8
    # control: Brownian motion alone is uniform in arc length
    brownian = SimpleNamespace(
        factor_at=diffusion.factor_at,
        drift=lambda at: diffusion.drift(at) - diffusion.stratonovich_drift(at),
    )
    assert np.abs(angular(brownian, ANGLES)[0] - 0.5 * slopes).max() > 0.1


def turning(point):
    """One source that turns the circle: its paths are turned by W(t)."""
    return np.array([[-point[1]], [point[0]]])


def test_strong_order_of_one_source():
    """A step turns by g(dW), g odd: the error is a sum of independent g(dW) − dW."""
    manifold = sphere(2)
    diffusion = mf.LimitingDiffusion(manifold, turning)
    steps, errors = np.array([0.02, 0.01, 0.005]), []
    nodes, weights = gaussian_nodes(1)
    for dt in steps:
        kicks = np.sqrt(dt) * nodes
        ends = [stepped(diffusion, manifold, np.eye(2)[0], dt, kick) for kick in kicks]
        apart = np.arctan2(*np.array(ends).T[::-1]) - kicks[:, 0]
        errors.append(np.sqrt(weights @ apart**2 / dt))
    assert slope(steps, errors) == pytest.approx(1.0, abs=0.05)


def strong_differences(diffusion, start, n_paths, levels, slow_time=0.1, seed=3):
    """Root mean square of Y_h − Y_{h/2} on the same Brownian paths, a row a level."""
    manifold, rng = diffusion.manifold, np.random.default_rng(seed)
    k = diffusion.noise.n_sources(start)
    squares = np.zeros((n_paths, len(levels)))
    for row in squares:
        fine = rng.standard_normal((levels[-1], k)) * np.sqrt(slow_time / levels[-1])
        ends = []
        for n_steps in levels:
            end = start
            for increment in fine.reshape(n_steps, -1, k).sum(axis=1):
                end = stepped(diffusion, manifold, end, slow_time / n_steps, increment)
            ends.append(end)
        row[1:] = (np.diff(ends, axis=0) ** 2).sum(axis=1)
    return squares[:, 1:]


def strong_order(diffusion, start, n_paths, levels):
    """The order, and its standard error by resampling the paths."""
    squares = strong_differences(diffusion, start, n_paths, levels)
    rng, steps = np.random.default_rng(4), 1.0 / np.array(levels[:-1])
    draws = rng.integers(n_paths, size=(200, n_paths))
    orders = [slope(steps, np.sqrt(squares[rows].mean(axis=0))) for rows in draws]
    whole = slope(steps, np.sqrt(squares.mean(axis=0)))
    return whole, np.std(orders)


@pytest.mark.slow
@pytest.mark.parametrize(("n_sources", "expected"), [(1, 1.0), (2, 0.5)])
def test_strong_order_is_one_where_sources_commute(n_sources, expected):
    factor = np.random.default_rng(5).standard_normal((3, 2))[:, :n_sources]
    diffusion = mf.LimitingDiffusion(sphere(3), factor)
    start = np.array([0.6, 0.0, 0.8])
    order, error = strong_order(diffusion, start, 250, [4, 8, 16])
    assert order == pytest.approx(expected, abs=3 * error)
    assert abs(order - (1.5 - expected)) > 3 * error  # control: not the other order


# ----------------------------------------------------------------------------- the verb


@pytest.fixture
def brownian():
    return mf.LimitingDiffusion(sphere(3), 1.0)


NORTH = np.array([0.0, 0.0, 1.0])


def test_every_requested_time_is_returned_on_the_manifold(brownian):
    paths = mf.integrate_sde(brownian, NORTH, [0, 0.1, 0.25], dt=0.1, replicas=3, rng=0)
    assert paths.status is mf.Status.COMPLETED
    assert paths.times.tolist() == [0.0, 0.1, 0.25]
    assert paths.points.shape == (3, 3, 3)
    assert (paths.n_steps, paths.n_evaluations) == (3, 9)
    assert np.array_equal(paths.points[0], np.tile(NORTH, (3, 1)))
    assert paths.residual.max() < 1e-12
    assert paths.drift > 1e-6
    assert np.ptp(paths.points[-1], axis=0).min() > 1e-3
    single = mf.integrate_sde(brownian, NORTH, [0.1], dt=0.1, rng=0)
    assert single.points.shape == (1, 3)


def test_a_replica_does_not_depend_on_how_many_there_are(brownian):
    def run(replicas, times=(0.2,), rng=5):
        return mf.integrate_sde(
            brownian, NORTH, times, dt=0.05, replicas=replicas, rng=rng
        ).end

    assert np.array_equal(run(4)[:2], run(2))
    assert relative(run(2, times=(0.1, 0.15, 0.2)), run(2)) < 1e-12
    assert not np.array_equal(run(2, rng=6), run(2))
    # a generator goes on where it was
    rng = np.random.default_rng(5)
    first, second = run(2, rng=rng), run(2, rng=rng)
    assert np.array_equal(first, run(2))
    assert not np.array_equal(first, second)


def test_every_replica_may_have_its_own_start(brownian):
    starts = np.stack([NORTH, NORTH[::-1]])
    paths = mf.integrate_sde(brownian, starts, [0.0, 0.01], dt=0.01, rng=0)
    assert np.array_equal(paths.points[0], starts)
    with pytest.raises(mf.errors.ShapeError):
        mf.integrate_sde(brownian, starts, [0.1], dt=0.1, replicas=3)


def test_paths_are_saved_and_loaded(brownian, tmp_path):
    paths = mf.integrate_sde(brownian, NORTH, [0.1], dt=0.1, replicas=2, rng=0)
    again = mf.load(paths.save(tmp_path / "paths.npz"))
    assert np.array_equal(again.points, paths.points)
    assert again.details["mover"] == "LimitingDiffusion(isotropic, σ=1)"


@pytest.mark.slow
def test_mean_of_many_paths():
    """E Y(t) = exp(−t) Y(0) on the sphere in space, within its standard error."""
    paths = mf.integrate_sde(
        mf.LimitingDiffusion(sphere(3), 1.0), NORTH, [0.5], dt=0.02, replicas=200, rng=0
    )
    mean = paths.end.mean(axis=0)
    error = paths.end.std(axis=0, ddof=1) / np.sqrt(200)
    assert (np.abs(mean - np.exp(-0.5) * NORTH) < 4 * error).all()
    assert np.abs(mean - np.exp(-0.25) * NORTH)[2] > 4 * error[2]  # control: half D − 1


def test_bad_arguments_are_refused_before_the_work(brownian):
    with pytest.raises(mf.errors.OffManifoldError):
        mf.integrate_sde(brownian, 1.1 * NORTH, [0.1], dt=0.1)
    with pytest.raises(mf.errors.DataError, match="takes 10000 steps"):
        mf.integrate_sde(brownian, NORTH, [0.1], dt=1e-5, max_steps=100)
    with pytest.raises(mf.errors.DataError, match="dt = 0"):
        mf.integrate_sde(brownian, NORTH, [0.1], dt=0)
    with pytest.raises(mf.errors.ArgumentError):
        mf.integrate_sde(brownian.manifold, NORTH, [0.1], dt=0.1)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (-1.0, "standard deviation"),
        (np.ones((4, 2)), r"expected shape \(3, k\), got \(4, 2\)"),
        (np.ones(3), "expected shape"),
        ([[np.nan], [0.0], [0.0]], "is nan"),
        ("0.5", "must be a real number"),
    ],
)
def test_a_factor_that_is_none_is_refused(factor, message):
    with pytest.raises(mf.errors.ManifoldFlowError, match=message):
        mf.LimitingDiffusion(sphere(3), factor)


def test_covariances_that_are_none_are_refused():
    manifold = sphere(3)
    with pytest.raises(mf.errors.DataError, match=r"eigenvalue -0\.5"):
        mf.LimitingDiffusion.from_covariance(manifold, np.diag([1.0, 2.0, -0.5]))
    with pytest.raises(mf.errors.DataError, match=r"transpose by 0\.1"):
        mf.LimitingDiffusion.from_covariance(manifold, np.eye(3) + 0.1 * np.eye(3, k=1))
    with pytest.raises(mf.errors.ShapeError):
        mf.LimitingDiffusion.from_covariance(manifold, np.eye(2))
    # a singular one is no indefinite one, whatever rounding says
    column = np.array([[1.0], [2.0], [3.0]])
    diffusion = mf.LimitingDiffusion.from_covariance(manifold, column @ column.T)
    root = diffusion.noise.columns(NORTH)
    assert relative(root @ root, column @ column.T) < 1e-13
    assert np.linalg.matrix_rank(root) == 1


def test_what_breaks_a_run_keeps_the_paths():
    manifold = sphere(3)

    def breaking(point):
        if point[2] < 0.999:
            raise RuntimeError("no factor here")
        return np.eye(3)

    with pytest.raises(mf.errors.IntegrationError, match="no factor here") as caught:
        mf.integrate_sde(
            mf.LimitingDiffusion(manifold, breaking), NORTH, [1.0], dt=0.01, rng=0
        )
    partial = caught.value.trajectory
    assert partial.status is mf.Status.FAILED
    assert isinstance(caught.value.__cause__, mf.errors.CallbackError)
    assert manifold.belongs(partial.end)


def test_steps_too_long_for_the_curvature_are_noted(brownian):
    fine = mf.integrate_sde(brownian, NORTH, [0.1], dt=0.01, rng=0)
    assert fine.details["caveats"] == list(brownian.manifold.model.caveats)
    long = mf.integrate_sde(brownian, NORTH, [40.0], dt=4.0, rng=0)
    assert "dt is too long for the curvature of M" in repr(long)


def test_steps_that_find_no_way_back_ask_for_shorter_ones():
    manifold = mf.ZeroLossManifold(
        mf.CallableModel(lambda t: np.tanh(t[:1]) + 0.1 * np.sin(t[1:]), n_params=2)
    )
    diffusion = mf.LimitingDiffusion(manifold, 1.0)
    with pytest.raises(mf.errors.IntegrationError, match="use a shorter one") as caught:
        mf.integrate_sde(diffusion, [0.0, 0.0], [1e4], dt=1e3, replicas=5, rng=0)
    assert isinstance(caught.value.__cause__, mf.errors.ProjectionError)


def test_an_interrupt_keeps_the_paths(brownian):
    def interrupt(text):
        if text.startswith("slow time 0.3 "):
            raise KeyboardInterrupt

    with pytest.raises(mf.errors.Interrupted) as caught:
        mf.integrate_sde(
            brownian, NORTH, [0.2, 1.0], dt=0.1, replicas=2, rng=0, progress=interrupt
        )
    partial = caught.value.trajectory
    assert partial.times.tolist() == pytest.approx([0.2, 0.3])
    assert partial.points.shape == (2, 2, 3)
    whole = mf.integrate_sde(brownian, NORTH, [0.2], dt=0.1, replicas=2, rng=0)
    assert np.array_equal(partial.points[0], whole.end)


def test_a_time_limit_ends_the_run_with_the_paths(brownian):
    with pytest.raises(mf.errors.IntegrationError, match="time_limit") as caught:
        mf.integrate_sde(brownian, NORTH, [1.0], dt=1e-4, rng=0, time_limit=0.05)
    partial = caught.value.trajectory
    assert partial.status is mf.Status.OUT_OF_BUDGET
    assert 0.0 < partial.times[-1] < 1.0


def test_the_edge_of_the_manifold_truncates():
    """Label noise flows to the crossing of the cone u² = v², where pdet is 0."""
    manifold = mf.ZeroLossManifold(mf.DiagonalLinearNetwork([[1.0]], [0.0]))
    diffusion = mf.LimitingDiffusion(manifold, lambda at: manifold.model.jacobian(at).T)
    paths = mf.integrate_sde(diffusion, [1.0, 1.0], [1.0, 50.0], dt=0.1, rng=0)
    assert paths.status is mf.Status.RANK_LOSS
    assert paths.times[0] == 1.0
    assert 1.0 < paths.times[1] < 50.0


def test_isotropic_noise_takes_no_matrix_of_p_by_p():
    """p = 40 000, whose square would be 13 GB."""
    model = two_layer(n=2, d=10_000, width=4)
    manifold, point = on_manifold(model)
    diffusion = mf.LimitingDiffusion(manifold, 0.5)
    paths = mf.integrate_sde(diffusion, point, [0.01], dt=0.01, rng=0)
    moved = np.linalg.norm(paths.end - point)
    assert moved == pytest.approx(0.5 * np.sqrt(0.01 * manifold.dim), rel=0.05)


# ----------------------------------------------------------- what SGD does at the limit


def sgd_mean_trace(operator, start_index, learning_rate, slow_time, replicas=20_000):
    """E Tr ∇²L of projected SGD with isotropic noise of variance 1, and its error.

    The double loop of the definition, θ ← θ − η(∇L + ξ), on the ellipse.  From every
    run a martingale of mean 0 is taken, Σ −η ∂u/∂φ · (ξ along M), u the mean of the
    diffusion: what is left has a variance that vanishes with η.
    """
    manifold, rng = ellipse(), np.random.default_rng(1)
    model, n_steps = manifold.model, round(slow_time / learning_rate**2)
    one_step = scipy.linalg.expm(learning_rate**2 * operator)
    values = [trace(points_of_the_ellipse())]
    for _ in range(n_steps - 1):
        values.append(one_step @ values[-1])
    params = np.tile(points_of_the_ellipse()[start_index], (replicas, 1))
    sample, no_noise = np.zeros((replicas, 1), dtype=int), np.zeros((replicas, 1))
    martingale = np.zeros(replicas)
    for value in reversed(values):
        angles = np.arctan2(*coordinates(params).T[::-1]) % (2 * np.pi)
        slopes = np.interp(angles, ANGLES, derivatives()[0] @ value, period=2 * np.pi)
        along = coordinates(params)[:, ::-1] * [-1.0, 1.0] * ELLIPSE_AXES
        noise = rng.standard_normal(params.shape)
        turned = (along * noise).sum(axis=1) / (along**2).sum(axis=1)
        martingale -= learning_rate * slopes * turned
        gradient = model.sample_gradient(params, sample, no_noise)
        params = params - learning_rate * (gradient + noise)
    ends = trace(nearest_on_the_ellipse(params)) - martingale
    return ends.mean(), ends.std() / np.sqrt(replicas)


@pytest.mark.slow
def test_sgd_with_isotropic_noise_tracks_the_diffusion():
    """Halving η halves the distance of the mean sharpness from the diffusion's."""
    diffusion = mf.LimitingDiffusion(ellipse(), 1.0)
    operator, slow_time, start = generator(diffusion), 0.2, len(ANGLES) // 8
    rates, runs = np.array([0.1, 0.05, 0.025]), []
    for rate in rates:
        runs.append(sgd_mean_trace(operator, start, rate, slow_time))
    means, errors = np.array(runs).T

    def distances(limit):
        exact = scipy.linalg.expm(slow_time * limit) @ trace(points_of_the_ellipse())
        return np.abs(means - exact[start])

    bias = distances(operator)
    uncertainty = np.linalg.norm(errors / bias) / np.log(4.0)
    assert slope(rates, bias) == pytest.approx(1.0, abs=3 * uncertainty)
    assert uncertainty < 0.1
    # control: Brownian motion without the drift of the pseudo-determinant
    brownian = SimpleNamespace(
        factor_at=diffusion.factor_at,
        drift=lambda at: diffusion.drift(at) - diffusion.stratonovich_drift(at),
    )
    assert slope(rates, distances(generator(brownian))) < 0.5
