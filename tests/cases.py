"""The problems: small instances of every model, with seeds."""

import autograd.numpy as anp
import numpy as np

import manifold_flow as mf


def two_layer(n=3, d=5, width=4, activation="cubic", **options):
    inputs, targets = mf.datasets.gaussian(n, d, rng=0)
    return mf.TwoLayerNetwork(inputs, targets, width, activation, **options)


def signed_weighted_two_layer():
    return two_layer(
        n=4,
        d=4,
        activation="sinh",
        output_weights=[1.0, -0.5, 2.0, 1.5],
        sample_weights=[1.0, 2.0, 0.5, 1.5],
        loss="mean",
    )


def dependent_two_layer():
    return two_layer(n=6, d=3, width=5)


def diagonal(n=3, d=6, loss="half_mean"):
    rng = np.random.default_rng(1)
    return mf.DiagonalLinearNetwork(
        rng.standard_normal((n, d)), rng.standard_normal(n), loss=loss
    )


def matrix(symmetric=False):
    rng = np.random.default_rng(2)
    matrices = rng.standard_normal((4, 3, 3))
    truth = np.outer([1.0, 0.5, -1.0], [1.0, 0.5, -1.0])
    targets = np.einsum("nij,ij->n", matrices, truth)
    return mf.MatrixSensing(matrices, targets, rank=2, symmetric=symmetric)


def tanh_residual(params):
    """A two-layer tanh network with both layers free, written by a user."""
    first, second = anp.reshape(params[:8], (4, 2)), params[8:]
    inputs = anp.array([[1.0, 0.3], [-0.4, 0.8], [0.6, -1.1]])
    return anp.tanh(inputs @ first.T) @ second - anp.array([0.5, -0.2, 0.3])


def callable_model():
    return mf.CallableModel(tanh_residual, n_params=12, loss="sum")


MODELS = {
    "two-layer": two_layer,
    "signed-weighted": signed_weighted_two_layer,
    "dependent": dependent_two_layer,
    "diagonal": diagonal,
    "matrix": matrix,
    "symmetric-matrix": lambda: matrix(symmetric=True),
    "callable": callable_model,
}
