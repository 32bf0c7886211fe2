"""The only door to autograd: derivatives of a user's residual function.

A function is traced as the user wrote it; plain ``numpy`` is accepted where autograd
follows it.  Where autograd does not (``np.dot``, ``np.einsum``, ...), it returns a
wrong Jacobian without a word, so :func:`check_jacobian` compares with finite
differences before anything is built on it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.core import make_vjp
from numpy.typing import NDArray

from manifold_flow._autodiff.differences import (
    REMEDY,
    check_contracted_hessian,
    check_jacobian,
)
from manifold_flow._autodiff.pullbacks import pull_back
from manifold_flow.errors import DerivativeError

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

#: autograd's stack of traces belongs to the program, not to a thread
TRACING = threading.RLock()
#: cotangents pulled back together: more would leave the cache, and fill the memory
TOGETHER = 32


def traced(residual: Residual) -> Residual:
    """Wrap a user's residual so that lists, columns and tuples become shape (n,)."""
    return partial(_flat, residual)


def _flat(residual: Residual, params: Array) -> Any:
    value = residual(params)
    if isinstance(value, list | tuple):
        value = anp.array(value)
    return anp.ravel(value)


def first_derivative(residual: Residual, params: Array) -> Residual:
    """Return the Jacobian as a function that autograd can follow in its turn.

    Blocks of rows come from one sweep each where that gives, at ``params``, what one
    sweep a row gives; autograd's own function is returned for residuals that it cannot
    follow so.

    Parameters
    ----------
    residual : callable
        ``params (p,) -> (n,)``, for autograd.
    params : array, shape (p,)
        Where the two are compared.

    Returns
    -------
    callable
        ``params (p,) -> (n, p)``.  It pickles where the residual does.
    """
    at_once, row_by_row = partial(_at_once, residual), partial(_row_by_row, residual)
    with TRACING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input")
        return at_once if _same(at_once, row_by_row, params) else row_by_row


def _at_once(residual: Residual, params: Any) -> Any:
    vjp, value = make_vjp(residual, params)
    units = np.eye(len(value))
    blocks = np.split(units, range(TOGETHER, len(units), TOGETHER))
    rows = [pull_back(vjp, block) for block in blocks]
    return rows[0] if len(rows) == 1 else anp.concatenate(rows)


def _row_by_row(residual: Residual, params: Any) -> Any:
    return autograd.jacobian(residual)(params)


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
            with TRACING, warnings.catch_warnings():
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
