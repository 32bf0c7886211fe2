"""The covariance of the fluctuations beside M, against its own recursion."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from manifold_flow.fluctuations import stability_threshold, stationary_covariance


def on_manifold(model, seed=0):
    return model.linearize(mf.ZeroLossManifold(model).random_point(rng=seed))


def sample_hessians(here, residuals_per_sample):
    """H_s = Σ_{i in s} c_i ∇r_i ∇r_iᵀ, shape (n_samples, p, p), by its definition."""
    units = np.eye(len(here.residual))
    rows = np.stack([here.apply_transpose(e) for e in units])
    each = here.curvatures[:, None, None] * rows[:, :, None] * rows[:, None, :]
    return each.reshape(-1, residuals_per_sample, *each.shape[1:]).sum(axis=1)


def second_moment_step(parts, covariance, eta, overlap):
    """(C - C after one step without noise)/eta, by its definition."""
    hessian, n = parts.sum(axis=0), len(parts)
    mixed = (parts @ covariance @ parts).sum(axis=0)
    squares = (1 - overlap) * hessian @ covariance @ hessian + overlap * n * mixed
    return hessian @ covariance + covariance @ hessian - eta * squares


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
def test_the_covariance_reproduces_itself(name, overlap):
    here = on_manifold(MODELS[name]())
    n = len(here.residual)
    root = np.random.default_rng(0).standard_normal((n, n))
    noise = root @ root.T
    eta = 0.4 * stability_threshold(here, overlap)
    inner = stationary_covariance(here, noise, eta, overlap)
    rows = np.stack([here.apply_transpose(e) for e in np.eye(n)])
    covariance, wanted = rows.T @ inner @ rows, rows.T @ noise @ rows
    found = second_moment_step(sample_hessians(here, 1), covariance, eta, overlap)
    assert np.abs(found - wanted).max() < 1e-10 * np.abs(wanted).max()
    # control: another overlap has another covariance
    other = second_moment_step(sample_hessians(here, 1), covariance, eta, overlap + 0.1)
    assert np.abs(other - wanted).max() > 1e-4 * np.abs(wanted).max()


def test_samples_of_several_residuals_are_drawn_together():
    here = on_manifold(two_layer(n=4, d=5))
    noise, eta = np.eye(4), 0.3 * stability_threshold(here, 0.5, 2)
    inner = stationary_covariance(here, noise, eta, 0.5, 2)
    rows = np.stack([here.apply_transpose(e) for e in np.eye(4)])
    covariance, wanted = rows.T @ inner @ rows, rows.T @ noise @ rows
    found = second_moment_step(sample_hessians(here, 2), covariance, eta, 0.5)
    assert np.abs(found - wanted).max() < 1e-10 * np.abs(wanted).max()


def test_matched_noise_at_leading_order():
    here = on_manifold(two_layer())
    matched = stationary_covariance(here, np.diag(3.0 * here.curvatures))
    assert np.abs(matched - 1.5 * np.linalg.inv(here.gram)).max() < 1e-12


@pytest.mark.parametrize("overlap", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("build", [two_layer, diagonal])
def test_the_threshold_is_where_second_moments_stop_shrinking(build, overlap):
    here = on_manifold(build())
    threshold = stability_threshold(here, overlap)
    assert threshold <= 2.0 / here.hessian_eigenvalues[0] * (1 + 1e-12)

    rows = np.stack([here.apply_transpose(e) for e in np.eye(len(here.residual))])
    normal = np.linalg.qr(rows.T)[0]
    parts = normal.T @ sample_hessians(here, 1) @ normal

    def growth(eta):
        """Largest eigenvalue of the second-moment map on the normal space."""
        units = np.eye(normal.shape[1] ** 2).reshape(-1, *parts.shape[1:])
        moved = [u - eta * second_moment_step(parts, u, eta, overlap) for u in units]
        return np.linalg.eigvals(np.reshape(moved, (len(units), -1))).real.max()

    assert growth(0.99 * threshold) < 1.0 < growth(1.01 * threshold)


def test_beyond_the_threshold_there_is_no_covariance():
    here = on_manifold(two_layer())
    for overlap in (0.0, 0.5, 1.0):
        eta = 1.001 * stability_threshold(here, overlap)
        with pytest.raises(mf.errors.StabilityError) as caught:
            stationary_covariance(here, np.eye(3), eta, overlap)
        assert caught.value.threshold == pytest.approx(eta / 1.001)
        assert "Use a learning rate below" in str(caught.value)
