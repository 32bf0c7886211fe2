r"""The trace flow of a diagonal network in closed form, followed in its logarithms.

At rate 1, :math:`u_k v_k = s_k(t) = s_k(0)\, e^{-16 \kappa_k t}` and
:math:`w_k = u_k^2 - v_k^2 = 2 s_k \sinh(4 (X^T A)_k + \ell_k)` with n numbers A(t)
fixed by X w = y (theory notes §3.2).  The flow shrinks some coordinates below the
smallest float, and a Newton iteration from far away steps over the exponentials.  So
the unknowns are :math:`\log u^2` and :math:`\log v^2`, which stay of order t, and the
times between the requested ones are followed: predicted by dA/dt, corrected by Newton.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.checks import slow_times
from manifold_flow.errors import (
    ConvergenceError,
    DataError,
    HypothesisError,
    ShapeError,
)
from manifold_flow.models.diagonal import DiagonalLinearNetwork
from manifold_flow.projection import refuse_off_manifold

__all__ = ["exact_flow"]

Array = NDArray[np.float64]

#: of the scale of its terms: where the constraint X w = y counts as solved
SOLVED = 1e-13
#: an intermediate time closer than this fraction of the next one is no progress
SMALLEST_STEP = 1e-12
NEWTON_STEPS = 12
#: natural logarithm of the largest ratio of weights that float64 holds with room
LARGEST_RATIO = 600.0
#: relative singular value below which rounding of y decides a direction of A, not y
DECIDED = 1e-7


@dataclass(frozen=True)
class _Logarithms:
    """log u² and log v², shape (d,) each."""

    up: Array
    down: Array

    @property
    def weights(self) -> Array:
        """W = u² − v²."""
        return np.exp(self.up) - np.exp(self.down)

    @property
    def sizes(self) -> Array:
        """√(u² + v²); never 0, so that what they weigh keeps a least-squares fit."""
        logs = 0.5 * np.logaddexp(self.up, self.down)
        return np.exp(np.maximum(logs, logs.max() - LARGEST_RATIO))

    def moved(self, decay: Array, tilt: Array) -> _Logarithms:
        return _Logarithms(self.up - decay + tilt, self.down - decay - tilt)


def exact_flow(
    model: DiagonalLinearNetwork, start: ArrayLike, times: ArrayLike
) -> Array:
    r"""Return the trace flow of a diagonal network in closed form.

    At rate 1, :math:`u_k v_k(t) = u_k v_k(0)\, e^{-16 \kappa_k t}` and
    :math:`w_k(t) = 2 s_k \sinh(4 (X^T A)_k + \ell_k)` with
    :math:`s_k = |u_k v_k|(t)`, :math:`\ell_k = \ln|u_k/v_k|(0)` and the n numbers A(t)
    fixed by :math:`X w = y`.

    Parameters
    ----------
    model : DiagonalLinearNetwork
        The model, with independent input rows.
    start : array, shape (p,)
        Point of M with no zero entry.
    times : array, shape (T,)
        Slow times at rate 1, increasing; divide by a flow's rate otherwise.

    Returns
    -------
    array, shape (T, p)
        Points ``[u, v]``, on M to rounding.

    Raises
    ------
    DataError
        If an entry of the start is 0 or not finite, or the times do not increase.
    HypothesisError
        For another model.
    OffManifoldError
        If the start has loss.
    RankDeficientJacobianError
        If the input rows are dependent.
    ConvergenceError
        If float64 cannot hold the constraint at a time; says at which.

    References
    ----------
    theory notes §3.2.
    """
    begin, asked = _checked_start(model, start), slow_times(times)
    logs = _Logarithms(*np.split(2.0 * np.log(np.abs(begin)), 2))
    lengths = np.linalg.norm(model.inputs, axis=1)
    problem = _Problem(
        model.inputs / lengths[:, None],
        model.targets / lengths,
        16.0 * model.feature_curvatures,
    )
    signs, rows, time = np.sign(begin), [], 0.0
    for goal in asked:
        logs, time = problem.followed(logs, time, goal), goal
        rows.append(signs * np.exp(0.5 * np.concatenate([logs.up, logs.down])))
    return np.array(rows)


@dataclass(frozen=True)
class _Problem:
    """The constraint X w = y, rows of unit length, and the decay rates 16κ of u∘v."""

    inputs: Array
    targets: Array
    decay: Array

    def followed(self, logs: _Logarithms, time: float, goal: float) -> _Logarithms:
        """Return the flow at the goal, by as many intermediate times as it needs."""
        step = 1.0 / self.decay.max()
        while time < goal:
            after = min(time + step, goal)
            trial = self._corrected(self._predicted(logs, after - time))
            if trial is not None:
                logs, time, step = trial, after, 2.0 * step
                continue
            step = 0.25 * (after - time)
            if step < SMALLEST_STEP * goal:
                raise ConvergenceError(
                    f"the closed form was solved up to slow time {time:.6g} and no "
                    f"further towards {goal:.6g}: the smallest coordinates there are "
                    f"near exp({0.5 * logs.up.min():.0f}) and rounding of X w = y "
                    "decides what is left. Ask for earlier times; the limit itself is "
                    "references.flattest_point(model)."
                )
        return logs

    def _predicted(self, logs: _Logarithms, step: float) -> _Logarithms:
        """Go along dA/dt, a least-squares problem weighted by u² + v²."""
        balance = np.tanh(0.5 * (logs.up - logs.down))
        factor = _GradedLeastSquares(self.inputs, logs.sizes)
        speed = factor.fit(self.decay * balance)
        return logs.moved(step * self.decay, step * (speed @ self.inputs))

    def _corrected(self, logs: _Logarithms) -> _Logarithms | None:
        """Solve X w = y for A by Newton; None where that does not converge."""
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(NEWTON_STEPS):
                weights = logs.weights
                defect = self.inputs @ weights - self.targets
                scale = np.abs(self.inputs) @ np.abs(weights) + np.abs(self.targets)
                if not np.isfinite(defect).all():
                    return None
                if (np.abs(defect) <= SOLVED * scale.max()).all():
                    return logs
                factor = _GradedLeastSquares(self.inputs, logs.sizes)
                change = -factor.solve_normal(defect) @ self.inputs
                # the exponentials are trusted within a factor of e
                change /= max(1.0, float(np.abs(change).max()))
                logs = logs.moved(np.zeros_like(change), change)
        return None


class _GradedLeastSquares:
    """min Σ_k D_k ((XᵀA)_k − b_k)² for D over hundreds of orders of magnitude.

    Householder QR with rows sorted by size and columns pivoted is stable row by row
    (Cox and Higham 1998), so tiny weights are not lost beside large ones.
    """

    def __init__(self, inputs: Array, roots: Array) -> None:
        graded = roots[:, None] * inputs.T
        self.order = np.argsort(-np.abs(graded).max(axis=1))
        self.roots = roots[self.order]
        self.basis, self.triangle, self.columns = scipy.linalg.qr(
            graded[self.order], mode="economic", pivoting=True
        )

    def fit(self, values: Array) -> Array:
        """Return the minimiser A for given b."""
        pulled = self.basis.T @ (self.roots * values[self.order])
        return self._unpivoted(scipy.linalg.solve_triangular(self.triangle, pulled))

    def solve_normal(self, right: Array) -> Array:
        """Return (X D Xᵀ)⁻¹ b in the directions that b decides, 0 in the others."""
        sizes = np.abs(np.diag(self.triangle))
        rank = int((sizes > DECIDED * sizes[0]).sum())
        triangle, solution = self.triangle[:rank, :rank], np.zeros_like(right)
        half = scipy.linalg.solve_triangular(
            triangle, right[self.columns[:rank]], trans=1
        )
        solution[:rank] = scipy.linalg.solve_triangular(triangle, half)
        return self._unpivoted(solution)

    def _unpivoted(self, solution: Array) -> Array:
        result = np.empty_like(solution)
        result[self.columns] = solution
        return result


def _checked_start(model: DiagonalLinearNetwork, start: ArrayLike) -> Array:
    if not isinstance(model, DiagonalLinearNetwork):
        raise HypothesisError(
            f"the closed form is known for DiagonalLinearNetwork, not for {model!r}. "
            "Follow the flow with mf.integrate instead."
        )
    begin = as_finite("start", start, 1)
    if begin.shape != (model.n_params,):
        raise ShapeError("start", (model.n_params,), begin.shape)
    if (begin == 0).any():
        raise DataError(
            f"start[{int(np.argmin(np.abs(begin)))}] is 0: a coordinate that starts at "
            "0 stays there and the closed form divides by it. Drop it from the model."
        )
    here = model.linearize(begin)
    refuse_off_manifold(here, begin)
    here.multipliers(np.zeros(model.n_params))  # raises where the rows are dependent
    return begin
