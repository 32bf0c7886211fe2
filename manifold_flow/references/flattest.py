"""The flattest points and their sharpness, where a theorem gives them."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.activations import Activation, monotone_inverse
from manifold_flow.arrays import as_finite, as_real
from manifold_flow.errors import (
    ActivationError,
    HypothesisError,
    NonFiniteError,
    ShapeError,
)
from manifold_flow.models.diagonal import DiagonalLinearNetwork
from manifold_flow.models.model import Model
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.references.weighted_l1 import weighted_l1

__all__ = ["flattest_point", "flattest_value"]

Array = NDArray[np.float64]

#: where A1 is checked when it cannot be decided on the whole line
WIDE = (-50.0, 50.0)


@singledispatch
def flattest_point(model: Model, start: ArrayLike | None = None) -> Array:
    r"""Return the point of M with the smallest Tr ∇²L, where a theorem gives it.

    Two-layer network (φ', φ''' > 0, independent rows): all neurons satisfy
    :math:`a_j \phi''(z_{ij}) = \beta_i`, for equal output weights
    :math:`z_{ij} = \phi^{-1}(y_i / \sum_j a_j)`, and
    :math:`\theta_j = (I - X^+X)\,\theta_j(0) + X^+ z_j`.  Diagonal network: the vertex
    of the weighted ℓ1 problem, u∘v = 0.

    Parameters
    ----------
    model : Model
        The model.
    start : array, shape (p,), optional
        Where the flow started; gives the part orthogonal to the data, which never
        moves.  Zero by default.

    Returns
    -------
    array, shape (p,)
        Point of M (of its closure, for the diagonal network).

    Raises
    ------
    HypothesisError
        If no theorem covers the model; says which hypothesis fails.
    NonFiniteError
        If the preactivations of the start overflow.

    References
    ----------
    Gatmiry et al. (2024), Theorem 1; theory notes §1.5, §1.9, §1.12, §3.3.

    Examples
    --------
    >>> model = TwoLayerNetwork([[1.0, 0.0]], [4.0], width=2, activation="z**3 + z")
    >>> flattest_point(model).round(12).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    raise HypothesisError(
        f"no exact flattest point is known for {type(model).__name__}. Follow the flow "
        "with mf.integrate instead."
    )


@flattest_point.register
def _two_layer(model: TwoLayerNetwork, start: ArrayLike | None = None) -> Array:
    flattest = _flattest_features(model)
    if start is None:
        return model.shortest_weights(flattest).ravel()
    params = as_real("start", start)
    if params.shape != (model.n_params,):
        raise ShapeError("start", (model.n_params,), params.shape)
    weights = model.unflatten(params)["weights"]
    with np.errstate(over="ignore", invalid="ignore"):
        missing = flattest - model.inputs @ weights.T
    finite = np.isfinite(missing).all(axis=1)
    if not finite.all():
        as_finite("start", start, 1)  # says where, which is not looked for otherwise
        raise NonFiniteError(
            f"the preactivations of start overflow on sample {int(np.argmin(finite))}: "
            "its part along the data cannot be taken away. Use a smaller start."
        )
    # (I − X⁺X) θ_j(0) + X⁺ z_j
    moved = model.shortest_weights(missing)
    moved += weights
    return moved.ravel()


@flattest_point.register
def _diagonal(model: DiagonalLinearNetwork, start: ArrayLike | None = None) -> Array:
    weights = weighted_l1(model.inputs, model.targets, model.feature_curvatures)
    u, v = np.sqrt(np.maximum(weights, 0.0)), np.sqrt(np.maximum(-weights, 0.0))
    return np.concatenate([u, v])


def flattest_value(model: Model) -> float:
    r"""Return min_M Tr ∇²L in the model's own loss, where a theorem gives it.

    Parameters
    ----------
    model : Model
        The model.

    Returns
    -------
    float
        :math:`\sum_i c_i \|x_i\|^2 \sum_j a_j^2 \phi'(z^*_{ij})^2` for the two-layer
        network, :math:`4 \min \sum_k \kappa_k |w_k|` for the diagonal one.

    Raises
    ------
    HypothesisError
        As :func:`flattest_point`.

    Examples
    --------
    >>> flattest_value(DiagonalLinearNetwork([[1.0, 2.0]], [4.0], loss="sum"))
    32.0
    """
    here = model.linearize(flattest_point(model))
    return float(model.loss.curvatures @ np.diag(here.gram))


def _flattest_features(model: TwoLayerNetwork) -> Array:
    """Z*, shape (n, m): equal output weights by φ⁻¹, others by the root of §1.12a."""
    _need_hypotheses(model)
    weights = model.output_weights
    if np.ptp(weights) == 0.0:
        shared = model.activation.inverse(model.targets / weights.sum())
        return np.broadcast_to(shared[:, None], (len(shared), model.width))
    try:
        first = monotone_inverse(
            _first_neuron(model), np.sign(weights[0]) * model.targets
        )
        return _all_neurons(model, first)
    except ActivationError as error:
        raise HypothesisError(
            "no flattest point exists: with these output weights a_j phi''(z_ij) "
            "cannot be equal over the neurons (theory notes §1.12b), and the flow runs "
            "to infinity. Use output weights of one sign, or phi' unbounded on both "
            "sides."
        ) from error


def _all_neurons(model: TwoLayerNetwork, first: Array) -> Array:
    """Given z_i1, the z_ij with a_j φ''(z_ij) = a_1 φ''(z_i1), shape (n, m)."""
    activation, weights = model.activation, model.output_weights

    def second(z: Array) -> tuple[Array, Array]:
        return activation.derivative(z, 2), activation.derivative(z, 3)

    shared = weights[0] * activation.derivative(first, 2)
    return monotone_inverse(second, shared[:, None] / weights)


def _first_neuron(
    model: TwoLayerNetwork,
) -> Callable[[Array], tuple[Array, Array]]:
    """Return t ↦ (±Σ_j a_j φ(z_ij(t)), its slope), increasing in t = z_i1."""
    activation, weights = model.activation, model.output_weights
    sign = np.sign(weights[0])

    def total(first: Array) -> tuple[Array, Array]:
        z = _all_neurons(model, first)
        value, slope, _, third = activation.derivatives(z)
        rate = weights[0] * activation.derivative(first, 3)
        return sign * (value @ weights), sign * rate * (slope / third).sum(axis=1)

    return total


def _need_hypotheses(model: TwoLayerNetwork) -> None:
    if model.rank < model.n_residuals:
        raise HypothesisError(f"{model.caveats[0]}; no exact flattest point is known.")
    activation: Activation = model.activation
    verdict = activation.satisfies_hypotheses()
    if verdict is None:
        verdict = activation.satisfies_hypotheses(*WIDE)
    if verdict is not True:
        word = "fails" if verdict is False else "could not be decided"
        raise HypothesisError(
            f"phi' > 0 and phi''' > 0 {word} for {activation.name}: Theorem 1 of "
            "Gatmiry et al. does not give the flattest point. See "
            "activation.sign(1) and activation.sign(3)."
        )
