"""Exact answers where they are known: what a flow must end at, and a flow in full."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

from manifold_flow.activations import Activation, monotone_inverse
from manifold_flow.errors import ActivationError, DataError, HypothesisError
from manifold_flow.models.diagonal import DiagonalLinearNetwork
from manifold_flow.models.model import Model
from manifold_flow.models.two_layer import TwoLayerNetwork

__all__ = ["exact_flow", "flattest_point", "flattest_value"]

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

    References
    ----------
    Gatmiry et al. (2024), Theorem 1; theory.md §1.5, §1.9, §1.12, §3.3.

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
    collapsed = _flattest_features(model)
    moved = np.zeros((model.width, model.n_features))
    if start is not None:
        moved = model.unflatten(np.array(start, dtype=float))["weights"]
    missing = collapsed - model.inputs @ moved.T
    change, *_ = np.linalg.lstsq(model.inputs, missing, rcond=None)
    return (moved + change.T).ravel()


@flattest_point.register
def _diagonal(model: DiagonalLinearNetwork, start: ArrayLike | None = None) -> Array:
    weights = _weighted_l1(model)
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
        return np.repeat(shared[:, None], model.width, axis=1)
    try:
        first = monotone_inverse(
            _first_neuron(model), np.sign(weights[0]) * model.targets
        )
        return _all_neurons(model, first)
    except ActivationError as error:
        raise HypothesisError(
            "no flattest point exists: with these output weights a_j phi''(z_ij) "
            "cannot be equal over the neurons (theory.md §1.12b), and the flow runs to "
            "infinity. Use output weights of one sign, or phi' unbounded on both "
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


def _weighted_l1(model: DiagonalLinearNetwork) -> Array:
    """Argmin Σ_k κ_k |w_k| subject to X w = y, by HiGHS."""
    cost = model.feature_curvatures
    found = linprog(
        np.tile(cost, 2),
        A_eq=np.hstack([model.inputs, -model.inputs]),
        b_eq=model.targets,
        bounds=(0, None),
        method="highs",
    )
    if not found.success:
        raise HypothesisError(
            f"no w satisfies X w = y, so no parameters have zero loss: {found.message}"
        )
    positive, negative = np.split(found.x, 2)
    return np.asarray(positive - negative, dtype=float)


def exact_flow(
    model: DiagonalLinearNetwork, start: ArrayLike, times: ArrayLike
) -> Array:
    r"""Return the trace flow of a diagonal network in closed form.

    At rate 1, :math:`u_k v_k(t) = u_k v_k(0)\, e^{-16 \kappa_k t}` and
    :math:`w_k(t) = 2 s_k \sinh(4 (X^T A)_k + \ell_k)` with
    :math:`s_k = |u_k v_k|(t)`, :math:`\ell_k = \ln|u_k/v_k|(0)` and the n numbers A(t)
    fixed by :math:`X w = y`: a convex problem, solved by Newton.

    Parameters
    ----------
    model : DiagonalLinearNetwork
        The model.
    start : array, shape (p,)
        Point of M with no zero entry.
    times : array, shape (T,)
        Slow times at rate 1; divide by a flow's rate otherwise.

    Returns
    -------
    array, shape (T, p)
        Points ``[u, v]``.

    Raises
    ------
    DataError
        If an entry of the start is 0.

    References
    ----------
    theory.md §3.2.
    """
    begin = np.array(start, dtype=float)
    u, v = (model.unflatten(begin)[name] for name in "uv")
    if (begin == 0).any():
        raise DataError(
            f"start[{int(np.argmin(np.abs(begin)))}] is 0: a coordinate that starts at "
            "0 stays there and the closed form divides by it. Drop it from the model."
        )
    products, offset = np.log(np.abs(u * v)), np.log(np.abs(u / v))
    signs = np.sign(begin)
    dual, rows = np.zeros(model.n_residuals), []
    for time in np.atleast_1d(np.asarray(times, dtype=float)):
        scale = products - 16.0 * model.feature_curvatures * time
        dual = _solve_dual(model, scale, offset, dual)
        tilt = 4.0 * model.inputs.T @ dual + offset
        rows.append(signs * np.exp(0.5 * np.concatenate([scale + tilt, scale - tilt])))
    return np.array(rows)


def _solve_dual(
    model: DiagonalLinearNetwork, scale: Array, offset: Array, dual: Array
) -> Array:
    """Minimise ½ Σ_k s_k cosh(4 (XᵀA)_k + ℓ_k) − y·A over A by damped Newton."""
    inputs, targets = model.inputs, model.targets

    def parts(at: Array) -> tuple[Array, Array]:
        tilt = 4.0 * inputs.T @ at + offset
        with np.errstate(over="ignore"):
            return np.exp(scale + tilt), np.exp(scale - tilt)

    def potential(at: Array) -> float:
        up, down = parts(at)
        return float(0.25 * (up + down).sum() - targets @ at)

    for _ in range(500):
        up, down = parts(dual)
        slope = inputs @ (up - down) - targets
        if np.abs(slope).max() <= 1e-14 * max(1.0, float(np.abs(targets).max())):
            break
        hessian = (inputs * (4.0 * (up + down))) @ inputs.T
        step = np.linalg.solve(hessian, slope)
        length, decrease, here = 1.0, float(slope @ step), potential(dual)
        while potential(dual - length * step) > here - 0.25 * length * decrease:
            length *= 0.5
            if length < 1e-12:
                return dual
        dual = dual - length * step
    return dual
