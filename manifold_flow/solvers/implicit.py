r"""SciPy's BDF with the Newton matrices of a model's own structure.

SciPy's variable-order method forms ``I - c * J``, factorises it and solves with it; here
J is a :class:`~manifold_flow.structure.NewtonMatrix`, which is never a matrix.  The
velocity integrated is :math:`\dot\theta = v(\theta) - \gamma J^+ r`: the flow itself on
M, and as :math:`h\gamma \gg 1` each step ends on M like one of the differential-algebraic
system :math:`\dot\theta = -\nabla S + J^T\lambda,\ r = 0`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

from manifold_flow.structure import NewtonMatrix, StructuredFlow

__all__ = ["StructuredBDF"]

Array = NDArray[np.float64]

#: times the fastest rate of the flow: the rate of attraction to M
ATTRACTION = 10.0


class StructuredBDF(ode.BDF):  # type: ignore[misc]  # SciPy is untyped
    """Variable-order BDF for a structured flow; no matrix of size p × p.

    Parameters
    ----------
    fun, t0, y0, t_bound
        As for every ``OdeSolver``; ``fun`` is not evaluated.
    structure : StructuredFlow
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
        structure: StructuredFlow,
        max_step: float = np.inf,
        first_step: float | None = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
    ) -> None:
        fastest = float(structure.splitting(np.array(y0)).rates.max())
        self.structure, self.pull = structure, ATTRACTION * fastest
        super().__init__(
            lambda t, y: structure.velocity(y, self.pull),
            t0,
            y0,
            t_bound,
            max_step=max_step,
            rtol=rtol,
            atol=atol,
            jac=csc_matrix((len(y0), len(y0))),  # replaced below
            first_step=first_step or (0.1 * rtol**0.5 / fastest if fastest else None),
        )
        self.jac = lambda t, y: _Jacobian(structure.newton_matrix(y, self.pull))
        self.I = _Identity()
        self.lu = lambda shifted: shifted.matrix.solver(shifted.step)
        self.solve_lu = lambda solver, right: solver(right)

    def _step_impl(self) -> tuple[bool, str | None]:
        # an accepted point has been evaluated, so its Jacobian is nearly free
        self.J, self.LU = self.jac(self.t, self.y), None
        return super()._step_impl()


class _Jacobian:
    """A Newton matrix in SciPy's expression ``I - c * J``."""

    __array_ufunc__ = None  # NumPy's scalars leave the product to us

    def __init__(self, matrix: NewtonMatrix, step: float = 1.0) -> None:
        self.matrix, self.step = matrix, step

    def __rmul__(self, step: float) -> _Jacobian:
        return _Jacobian(self.matrix, float(step) * self.step)


class _Identity:
    """The identity in SciPy's expression ``I - c * J``."""

    def __sub__(self, other: _Jacobian) -> _Jacobian:
        return other
