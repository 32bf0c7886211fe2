"""The only door to autograd: derivatives of a user's residual function.

A function is traced as the user wrote it; plain ``numpy`` is accepted where autograd
follows it.  Where autograd does not (``np.dot``, ``np.einsum``, ...), it returns a
wrong Jacobian without a word, so :func:`check_jacobian` compares with finite
differences before anything is built on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp
from numpy.typing import NDArray

from manifold_flow._autodiff.pullbacks import pull_back
from manifold_flow.errors import DerivativeError, ShapeError

__all__ = [
    "Residual",
    "check_contracted_hessian",
    "check_jacobian",
    "first_derivative",
    "jacobian",
    "second_derivative",
    "third",
    "traced",
    "vjp_hessian",
]

Array = NDArray[np.float64]
Residual = Callable[[Array], Any]
Map = Callable[[Array], Array]

#: what autograd cannot see; named in the message because users meet it first here
INVISIBLE = "numpy.dot, einsum, outer, kron and tensordot are invisible to autograd"
REMEDY = (
    "Use 'import autograd.numpy as np' or '@', or pass jacobian= and "
    "contracted_hessian=."
)


def traced(residual: Residual) -> Residual:
    """Wrap a user's residual so that lists, columns and tuples become shape (n,)."""

    def flat(params: Array) -> Any:
        value = residual(params)
        if isinstance(value, list | tuple):
            value = anp.array(value)
        return anp.ravel(value)

    return flat


def first_derivative(residual: Residual, params: Array) -> Residual:
    """Return the Jacobian as a function that autograd can follow in its turn.

    All rows come from one sweep where that gives, at ``params``, what one sweep a row
    gives; autograd's own function is returned for residuals that it cannot follow so.

    Parameters
    ----------
    residual : callable
        ``params (p,) -> (n,)``, for autograd.
    params : array, shape (p,)
        Where the two are compared.

    Returns
    -------
    callable
        ``params (p,) -> (n, p)``.
    """
    row_by_row: Residual = autograd.jacobian(residual)

    def at_once(at: Any) -> Any:
        vjp, value = make_vjp(residual, at)
        return pull_back(vjp, np.eye(len(value)))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input")
        return at_once if _same(at_once, row_by_row, params) else row_by_row


def _same(first: Residual, second: Residual, params: Array) -> bool:
    """Whether two Jacobians agree at a point, and their own derivatives do."""
    try:
        pull, one = make_vjp(first, params)
        other_pull, other = make_vjp(second, params)
        cotangent = np.random.default_rng(0).standard_normal(one.shape)
        pulled, expected = pull(cotangent), other_pull(cotangent)
    # a primitive of the user's own may take nothing but plain arrays; what autograd
    # itself cannot follow is explained where the derivative is asked for
    except Exception:
        return False
    pairs = ((one, other), (pulled, expected))
    return all(a.shape == b.shape and _close(a, b) for a, b in pairs)


def _close(one: Array, other: Array) -> bool:
    return bool(np.abs(one - other).max() <= 1e-12 * np.abs(other).max())


def jacobian(first: Residual) -> Callable[[Array], Array]:
    """Return ``params -> J`` with ``J[i, j] = ∂residual[i]/∂params[j]``."""
    return _explained(first)


def second_derivative(first: Residual) -> Callable[[Array], tuple[Array, Map, Map]]:
    r"""Return what one sweep over the Jacobian says of a point.

    Parameters
    ----------
    first : callable
        The Jacobian, as :func:`first_derivative` returns it.

    Returns
    -------
    callable
        ``params ->`` J, ``directions (n, p) -> Σ_i D²r_i directions_i`` and
        ``v -> D²r v``, shape (n, p).  The last two are linear and adjoint, so that the
        one is found by differentiating the other.
    """

    def at(params: Array) -> tuple[Array, Any, Any]:
        contracted, matrix = make_vjp(first, params)

        def along(vector: Array) -> Any:
            return make_vjp(contracted, np.zeros_like(matrix))[0](vector)

        return matrix, _explained(contracted), _explained(along)

    return _guarded(at)


def vjp_hessian(first: Residual) -> Callable[[Array, Array], Array]:
    r"""Return ``(params, directions) -> Σ_i D²r_i · directions_i``, shape (p,).

    It is the gradient of :math:`\theta \mapsto \sum_i \nabla r_i(\theta) \cdot D_i`
    with the directions D of shape (n, p) held fixed: two reverse sweeps over one
    Jacobian, never a second-derivative tensor.
    """
    return _explained(autograd.grad(_paired(first)))


def third(first: Residual) -> Callable[[Array, Array, Array], Array]:
    """Return ``(params, directions, v) -> Σ_i D³r_i[v, directions_i]``, shape (p,)."""
    second = autograd.grad(_paired(first))

    def along(params: Array, directions: Array, vector: Array) -> Any:
        return anp.sum(second(params, directions) * vector)

    return _explained(autograd.grad(along))


def _paired(first: Residual) -> Callable[[Array, Array], Any]:
    """Σ_i ∇r_i(θ) · D_i, a number."""

    def paired(params: Array, directions: Array) -> Any:
        return anp.sum(first(params) * directions)

    return paired


def _explained(derivative: Callable[..., Any]) -> Callable[..., Array]:
    """Return a derivative as floats; explain what autograd raises."""
    guarded = _guarded(derivative)
    return lambda *args: np.asarray(guarded(*args), dtype=float)


def _guarded(derivative: Callable[..., Any]) -> Callable[..., Any]:
    """Translate what autograd raises into what the user should type instead."""

    def call(*args: Array) -> Any:
        try:
            # A derivative that is identically zero is right here, not suspicious.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Output seems independent of input")
                return derivative(*args)
        except Exception as error:  # of autograd, or of the user's function
            raise DerivativeError(_advice(error)) from error

    return call


def _advice(error: Exception) -> str:
    text = str(error)
    if "setting an array element with a sequence" in text:
        return (
            "the residual assigns into an array, which autograd cannot follow. Build "
            "the result with np.array([...]) or np.concatenate([...]) instead."
        )
    return (
        f"autograd could not differentiate the residual ({type(error).__name__}: "
        f"{text}). Only functions of autograd.numpy and array operators can be "
        f"followed. {REMEDY}"
    )


def check_jacobian(
    residual: Callable[[Array], Array],
    jacobian: Callable[[Array], Array],
    params: Array,
    *,
    rtol: float = 1e-5,
    source: str = "autograd",
) -> None:
    r"""Compare a Jacobian with central differences and name its worst entry.

    One random direction v decides:
    :math:`|J v - (r(\theta + h v) - r(\theta - h v))/2h| \le` rtol · scale.  Only when
    that fails are all p coordinates visited to find the entry to report.

    Parameters
    ----------
    residual : callable
        ``params -> (n,)``.
    jacobian : callable
        ``params -> (n, p)``.
    params : array, shape (p,)
        Where to compare.
    rtol : float
        Relative tolerance; truncation and rounding of the difference are near 1e-9.
    source : str
        Who computed the Jacobian, for the message.

    Raises
    ------
    DerivativeError
        Naming the worst entry and both values.
    """
    matrix = jacobian(params)
    direction = _direction(params)
    measured = _central_difference(residual, params, direction)
    if _agree(matrix @ direction, measured, np.abs(matrix).max(), rtol):
        return
    columns = [_central_difference(residual, params, e) for e in np.eye(params.size)]
    differences = np.stack(columns, axis=1)
    error = np.abs(matrix - differences)
    i, j = np.unravel_index(int(np.argmax(error)), error.shape)
    raise DerivativeError(
        f"derivative check failed at d residual[{i}] / d params[{j}]: {source} gives "
        f"{matrix[i, j]:.6g}, finite differences give {differences[i, j]:.6g}. "
        f"{_cause(source)}"
    )


def check_contracted_hessian(
    jacobian: Callable[[Array], Array],
    contracted: Callable[[Array, Array], Array],
    params: Array,
    *,
    rtol: float = 1e-5,
    source: str = "autograd",
) -> None:
    r"""Compare second derivatives with differences of the Jacobian.

    For random weights w and one random direction v,
    :math:`\sum_i w_i D^2 r_i\, v` is the derivative of :math:`J^T w` along v.

    Parameters
    ----------
    jacobian : callable
        ``params -> (n, p)``, already checked.
    contracted : callable
        ``(params, directions (n, p)) -> (p,)``.
    params : array, shape (p,)
        Where to compare.
    rtol : float
        Relative tolerance.
    source : str
        Who computed the second derivatives, for the message.

    Raises
    ------
    DerivativeError
        Naming the worst parameter and both values.
    """
    direction = _direction(params)
    weights = np.random.default_rng(1).standard_normal(len(jacobian(params)))
    claimed = contracted(params, np.outer(weights, direction))
    measured = _central_difference(lambda at: weights @ jacobian(at), params, direction)
    if claimed.shape != measured.shape:
        raise ShapeError("contracted_hessian", measured.shape, claimed.shape)
    if _agree(claimed, measured, float(np.abs(claimed).max()), rtol):
        return
    j = int(np.argmax(np.abs(claimed - measured)))
    raise DerivativeError(
        f"second derivative check failed at params[{j}]: for random weights w, the sum "
        f"of w_i D2 r_i along a random direction is {claimed[j]:.6g} by {source}, "
        f"{measured[j]:.6g} by finite differences. {_cause(source)}"
    )


def _direction(params: Array) -> Array:
    direction = np.random.default_rng(0).standard_normal(params.size)
    unit: Array = direction / np.linalg.norm(direction)
    return unit


def _agree(claimed: Array, measured: Array, size: float, rtol: float) -> bool:
    if not np.isfinite(measured).all():
        raise DerivativeError(
            "the residual is not finite near the point where its derivative is "
            "checked. Pass check_at= a point where the model is defined."
        )
    scale = max(1.0, float(np.abs(measured).max()), float(size))
    return bool(np.abs(claimed - measured).max() <= rtol * scale)


def _cause(source: str) -> str:
    return f"{INVISIBLE}. {REMEDY}" if source == "autograd" else "Check the formula."


def _central_difference(
    function: Callable[[Array], Array], params: Array, direction: Array
) -> Array:
    step = 1e-6 * max(1.0, float(np.abs(params).max()))
    ahead = function(params + step * direction)
    behind = function(params - step * direction)
    return (ahead - behind) / (2.0 * step)
