"""Derivatives compared with finite differences, before anything is built on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import DerivativeError, ShapeError

__all__ = ["REMEDY", "check_contracted_hessian", "check_jacobian"]

Array = NDArray[np.float64]

#: what autograd cannot see; named in the message because users meet it first here
INVISIBLE = "numpy.dot, einsum, outer, kron and tensordot are invisible to autograd"
REMEDY = (
    "Use 'import autograd.numpy as np' or '@', or pass jacobian= and "
    "contracted_hessian=."
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
