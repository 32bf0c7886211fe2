r"""SciPy's BDF with the Newton matrices of a model's own structure.

SciPy's variable-order method forms ``I - c * J``, factorises it and solves with it;
here J is a :class:`~manifold_flow.structure.NewtonMatrix`, which is never a matrix.
The velocity integrated is :math:`\dot\theta = v(\theta) - \gamma J^+ r`: the flow
itself on M, and once :math:`h\gamma \gg 1` each step ends on M like one of the
differential-algebraic system :math:`\dot\theta = -\nabla S + J^T\lambda,\ r = 0`.
Until then only the points that are kept are projected.  The flow says how large γ is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from manifold_flow.structure import ImplicitFlow

__all__ = ["StructuredBDF"]

Array = NDArray[np.float64]


class StructuredBDF(ode.BDF):  # type: ignore[misc]  # SciPy is untyped
    """Variable-order BDF for a structured flow; no matrix of size p × p.

    Parameters
    ----------
    fun, t0, y0, t_bound
        As for every ``OdeSolver``; ``fun`` is not evaluated.
    structure : ImplicitFlow
        The flow.
    max_step, first_step, rtol, atol : float
        As in SciPy.
    """

    def __init__(  # noqa: PLR0913  # OdeSolver's signature
        self,
        fun: Any,
        t0: float,
        y0: Array,
        t_bound: float,
        *,
        structure: ImplicitFlow,
        max_step: float = np.inf,
        first_step: float | None = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
    ) -> None:
        fastest = structure.fastest_rate(np.array(y0))
        self.structure, self.pull = structure, structure.attraction * fastest
        self.absolute, self.relative = atol, rtol
        if first_step is None and fastest > 0.0:
            first_step = min(0.1 * rtol**0.5 / fastest, t_bound - t0)
        super().__init__(
            self._attracted,
            t0,
            y0,
            t_bound,
            max_step=max_step,
            rtol=rtol,
            atol=atol,
            jac=csc_matrix((len(y0), len(y0))),  # replaced below
            first_step=first_step,
        )
        # SciPy must never ask for another Jacobian: each is taken where Newton starts
        self.jac, self.J, self.I = None, _Scaled(), _Identity()
        self.lu = lambda shifted: _Solver(self, shifted.step)
        self.solve_lu = lambda solver, right: solver(right)

    def _step_impl(self) -> tuple[bool, str | None]:
        # relative to all parameters together: single ones may pass through 0
        size = float(np.linalg.norm(self.y)) / self.n**0.5
        self.atol, self.rtol = self.absolute + self.relative * size, 0.0
        self.LU = None
        return super()._step_impl()

    def _attracted(self, time: float, point: Array) -> Array:
        self.latest = point
        return self.structure.velocity(point, self.pull)


class _Solver:
    """(I − cJ)⁻¹ with the Jacobian at the first iterate of a Newton iteration.

    There the velocity has just been evaluated, so that the Jacobian is nearly free.
    """

    def __init__(self, method: StructuredBDF, step: float) -> None:
        self.method, self.step = method, step
        self.solve: Callable[[Array], Array] | None = None

    def __call__(self, right: Array) -> Array:
        if self.solve is None:
            method = self.method
            matrix = method.structure.newton_matrix(method.latest, method.pull)
            self.solve = matrix.solver(self.step)
        return self.solve(right)


class _Scaled:
    """The Jacobian in SciPy's expression ``I - c * J``: only c is kept."""

    __array_ufunc__ = None  # NumPy's scalars leave the product to us
    step = 1.0

    def __rmul__(self, step: float) -> _Scaled:
        scaled = _Scaled()
        scaled.step = float(step)
        return scaled


class _Identity:
    """The identity in SciPy's expression ``I - c * J``."""

    def __sub__(self, other: _Scaled) -> _Scaled:
        return other
