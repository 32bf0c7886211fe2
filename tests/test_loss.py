"""The squared loss and its clock: every factor is decided in one file."""

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.errors import DataError, ShapeError, UnknownNameError


@pytest.mark.parametrize(
    ("name", "value"), [("half_mean", 0.5 * 5 / 3), ("mean", 5 / 3), ("sum", 5.0)]
)
def test_values(name, value):
    loss = mf.SquaredLoss(name, 3)
    assert loss.value([1.0, 0.0, 2.0]) == pytest.approx(value, rel=1e-15)
    assert loss.value(np.array([[1.0, 0.0, 2.0]] * 2)).shape == (2,)


@pytest.mark.parametrize("name", ["half_mean", "mean", "sum"])
def test_curvatures_are_second_derivatives(name):
    loss = mf.SquaredLoss(name, 3, [1.0, 2.0, 0.5])
    residual, h = np.array([0.3, -1.0, 2.0]), 1e-3
    for i, e in enumerate(np.eye(3)):
        second = (
            loss.value(residual + h * e)
            - 2 * loss.value(residual)
            + loss.value(residual - h * e)
        ) / h**2
        assert loss.curvatures[i] == pytest.approx(second, rel=1e-7)


def test_the_table_of_rates():
    """rate = c/4 with c of theory notes §0.4."""
    sigma, n = 0.7, 6
    rows = {
        ("half_mean", 1): sigma**2 / 4,
        ("half_mean", n): sigma**2 / (4 * n),
        ("mean", 1): sigma**2 / 2,
        ("mean", n): sigma**2 / (2 * n),
        ("sum", n): sigma**2 / 2,
        ("sum", 2): n * sigma**2 / 4,
    }
    for (name, batch), rate in rows.items():
        loss = mf.SquaredLoss(name, n)
        noise = loss.label_noise_covariance(sigma, mf.Batches(n, batch))
        assert loss.matching(noise) / 4 == pytest.approx(rate, rel=1e-14)


def test_slopes_are_derivatives_of_an_unbiased_estimate():
    loss = mf.SquaredLoss("mean", 3, [1.0, 2.0, 0.5])
    residual = np.array([0.3, -1.0, 2.0])
    assert np.array_equal(loss.slopes(residual), loss.curvatures * residual)
    drawn = np.array([[2, 0], [1, 2]])  # two draws of two replicas
    slopes = loss.slopes(residual[drawn], drawn)
    assert slopes == pytest.approx(1.5 * (loss.curvatures * residual)[drawn])
    assert loss.slopes(np.ones((3, 2))).shape == (3, 2)


def test_noise_is_matched_only_where_it_is_proportional_to_the_curvatures():
    weighted = mf.SquaredLoss("sum", 3, [1.0, 2.0, 0.5])
    batches = mf.Batches(3, 1)
    assert weighted.matching(weighted.label_noise_covariance(0.5, batches)) is None
    inverse = 0.5 / np.sqrt(weighted.sample_weights)
    noise = weighted.label_noise_covariance(inverse, batches)
    assert weighted.matching(noise) == pytest.approx(2 * 3 * 0.25, rel=1e-14)
    assert weighted.matching(np.zeros(3)) == 0.0
    assert weighted.matching(noise * [1.0, 1.0, 1.0 + 1e-9]) is None


def test_hyphens_and_underscores_are_alike():
    assert mf.SquaredLoss("half-mean", 2).normalization == "half_mean"


def test_every_number_says_its_normalisation():
    assert mf.SquaredLoss("sum", 2).formula == "sum: sum q_i r_i^2"


def test_bad_arguments():
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        mf.SquaredLoss("meen", 2)
    with pytest.raises(ShapeError, match="One weight a sample"):
        mf.SquaredLoss("sum", 2, [1.0])
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(DataError, match=r"sample_weights\[1\]"):
            mf.SquaredLoss("sum", 2, [1.0, bad])
