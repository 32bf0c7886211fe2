"""Users' own functions: called, and what they return checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real, refuse_too_large
from manifold_flow.checks import count
from manifold_flow.errors import DataError, ManifoldFlowError, ModelError, ShapeError

__all__ = [
    "called",
    "check_point",
    "count_residuals",
    "divisor",
    "real",
    "refuse_noise_and_low_precision",
]

Array = NDArray[np.float64]


def check_point(check_at: ArrayLike | None, n_params: int) -> Array:
    """Return where derivatives are checked: a seeded random point, unless given.

    Parameters
    ----------
    check_at : array, shape (p,), or None
        The user's point.
    n_params : int
        Number p of parameters.

    Returns
    -------
    array, shape (p,)
        A copy.

    Raises
    ------
    ShapeError
        If the user's point has another length.
    """
    refuse_too_large("the parameters", n_params)
    if check_at is None:
        return np.random.default_rng(0).standard_normal(n_params)
    point = as_real("check_at", check_at).copy()
    if point.shape != (n_params,):
        raise ShapeError("check_at", (n_params,), point.shape)
    return point


def divisor(residuals_per_sample: int, n_residuals: int) -> int:
    """Return how many residuals a sample has, after checking that it divides them.

    Parameters
    ----------
    residuals_per_sample : int
        The user's number.
    n_residuals : int
        Number n of residuals.

    Returns
    -------
    int
        The same number.

    Raises
    ------
    ModelError
        If n is no multiple of it.
    """
    together = count("residuals_per_sample", residuals_per_sample)
    if n_residuals % together:
        raise ModelError(
            f"{n_residuals} residuals are no whole number of samples of {together}: "
            "residuals_per_sample must divide them."
        )
    return together


def called(name: str, hook: Callable[..., Any], *arguments: Array) -> Any:
    """Call a user's function; what it raises becomes an error that a run survives.

    It gets copies, because it may write into what it is given.

    Parameters
    ----------
    name : str
        What the function is called in error messages.
    hook : callable
        The function.
    *arguments : array
        What it is called with; the parameters first.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    ModelError
        If it raised, but for errors of this library, which pass.
    """
    try:
        return hook(*(argument.copy() for argument in arguments))
    except ManifoldFlowError:
        raise
    except Exception as error:
        raise ModelError(
            f"{name} raised {type(error).__name__}: {error} at params of norm "
            f"{np.linalg.norm(arguments[0]):.6g}, where it should return numbers (NaN "
            "where it is undefined)."
        ) from error


def refuse_noise_and_low_precision(
    residual: Callable[[Array], Any], point: Array
) -> None:
    """Raise where finite differences would blame the derivative for the function.

    Parameters
    ----------
    residual : callable
        The user's residual.
    point : array, shape (p,)
        Where it is called, twice.

    Raises
    ------
    ModelError
        If the two calls differ, or return less than double precision.
    """
    first, second = (
        np.asarray(called("the residual", residual, point)) for _ in range(2)
    )
    if first.dtype.kind == "f" and first.dtype.itemsize < 8:
        raise ModelError(
            f"the residual returned {first.dtype}: points of the zero-loss manifold "
            "have residuals near 1e-15, below its resolution. Compute in float64; with "
            "JAX or PyTorch, enable double precision."
        )
    change = np.abs(first.astype(float) - second.astype(float)).max()
    if change != 0.0:
        raise ModelError(
            f"two calls of the residual with the same params differ by {change:.3g}: "
            "a random function has no zero set. Draw what is random (noise, dropout, a "
            "minibatch) once, outside of it."
        )


def real(name: str, value: Any) -> Array:
    """Return what a user's function returned as floats; refuse complex numbers.

    Parameters
    ----------
    name : str
        What the function is called in error messages.
    value : object
        What it returned.

    Returns
    -------
    array
        Of any shape.

    Raises
    ------
    ModelError
        If it is not an array of real numbers.
    """
    try:
        if np.iscomplexobj(value):
            raise TypeError("complex numbers have no sign and no size to square")
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} did not return real numbers: {error}. Return real and "
            "imaginary parts as separate entries."
        ) from error


def count_residuals(residual: Callable[[Array], Any], point: Array) -> int:
    """Return the number n of residuals that a user's function returns at a point.

    Parameters
    ----------
    residual : callable
        ``params (p,) -> (n,)``, or (n, 1), or a list.
    point : array, shape (p,)
        Where it is called.

    Returns
    -------
    int

    Raises
    ------
    ModelError
        If it raises, or returns a scalar.
    ShapeError
        If it returns no vector.
    DataError
        If a residual is not finite; names the first.
    """
    try:
        value = residual(point.copy())
    except Exception as error:
        raise ModelError(
            f"the residual failed on a float array of shape {point.shape}: {error}. It "
            "takes one flat array of n_params numbers; check n_params and how the "
            "function slices it."
        ) from error
    array = real("the residual", value)
    if array.ndim == 0:
        raise ModelError(
            f"the residual returned a scalar ({float(array):.6g}). Pass the vector of "
            "residuals r_i = f_i - y_i, shape (n,), not the loss."
        )
    if array.ndim > 2 or (array.ndim == 2 and 1 not in array.shape) or array.size == 0:
        raise ShapeError("residual(params)", "(n,) or (n, 1)", array.shape)
    if not np.isfinite(array).all():
        place = int(np.argmin(np.isfinite(array.ravel())))
        raise DataError(
            f"residual[{place}] is {array.ravel()[place]} at a random point: NaN or "
            "infinity in the data, or the model is not defined everywhere. Pass "
            "check_at= a point where it is."
        )
    return array.size
