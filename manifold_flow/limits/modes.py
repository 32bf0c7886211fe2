"""How many steps the modes of a limiting flow take to settle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from manifold_flow.arrays import as_finite
from manifold_flow.errors import (
    ConvergenceError,
    HypothesisError,
)
from manifold_flow.flow import Flow
from manifold_flow.limits.theorems import limiting_flow
from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import Optimizer
from manifold_flow.projection import refuse_off_manifold

__all__ = ["Schedule", "schedule"]

Array = NDArray[np.float64]

#: |grad_M S| / |∇S| above which a point is not called stationary
STATIONARY = 1e-6
#: relative to the fastest rate: below it a mode is flat, to rounding
FLAT = 1e-9
#: dimensions up to which the whole spectrum is computed, and how many ends beyond
LARGEST_DENSE, ENDS = 1500, 6
#: an e-fold of more steps than this is warned of
MANY_STEPS = 1e7


@dataclass(frozen=True, eq=False)
class Schedule:
    """How fast each mode of a limiting flow decays near its end, in steps.

    Attributes
    ----------
    rates : array, shape (K,)
        Positive eigenvalues of rate · Hess_M S, descending, per unit of slow time:
        along mode k the distance to the end falls like exp(−rates[k] τ).
    time_per_step : float
        Slow time of one step of the optimizer.
    n_flat : int
        Number of further tangent directions along which S does not change.
    optimizer : str
        Whose steps they are.
    """

    rates: Array
    time_per_step: float
    n_flat: int
    optimizer: str

    @property
    def steps_per_efold(self) -> Array:
        """Steps in which each mode falls by a factor e, shape (K,), ascending."""
        with np.errstate(over="ignore", divide="ignore"):  # infinitely many
            return 1.0 / self.rates / self.time_per_step

    def __str__(self) -> str:
        """Return the optimizer and the summary."""
        return f"{self.optimizer}:\n{self.summary}"

    @property
    def summary(self) -> str:
        """Fastest and slowest mode in words, with a warning of a hopeless one."""
        steps = self.steps_per_efold
        if not steps.size:
            return (
                f"{self.optimizer}:\nno mode decays: S is constant to second order in "
                f"all {self.n_flat} directions along the manifold."
            )
        flat = f" Flat directions: {self.n_flat}." if self.n_flat else ""
        lines = [
            f"one e-fold takes {steps[0]:.3g} steps in the fastest of {len(steps)} "
            f"modes and {steps[-1]:.3g} in the slowest.{flat}",
        ]
        if steps[-1] > MANY_STEPS:
            lines.append(
                f"Warning: the slowest mode needs more than {MANY_STEPS:.0e} steps an "
                "e-fold and will look stationary long before it is. Use "
                "better-conditioned inputs, or integrate the limiting flow."
            )
        return "\n".join(lines)


def schedule(
    optimizer: Optimizer, manifold: ZeroLossManifold, end: ArrayLike
) -> Schedule:
    r"""Return how many steps each mode of the limiting flow takes near its end.

    Near a stationary point the flow :math:`\dot\theta = -\text{rate}\,\mathrm{grad}_M
    S` is linear, and mode k falls by a factor e in

    .. math:: \frac{1}{\text{rate}\cdot\lambda_k(\mathrm{Hess}_M S)\cdot
       \text{time per step}}

    steps of the optimizer.  For a collapsed two-layer network with equal output weights
    the :math:`\lambda_k` are those of :math:`K\, \mathrm{diag}(4 w \phi'\phi''')`, each
    m − 1 times.

    Parameters
    ----------
    optimizer : Optimizer
        An optimizer with a limiting flow that is a gradient flow.
    manifold : ZeroLossManifold
        The zero-loss manifold of its model.
    end : array, shape (p,)
        Stationary point of S on M, as ``path.end`` of a run to stationarity.

    Returns
    -------
    Schedule
        All rates up to 1500 (reduced) parameters, the six at either end beyond.

    Raises
    ------
    NoLimitingFlowError
        If the optimizer has none.
    OffManifoldError
        If the end has loss.
    HypothesisError
        If it is no minimum of S on M, or the flow does not move or is no gradient flow.
    ConvergenceError
        If the ends of a large spectrum are not found.

    References
    ----------
    theory notes §1.8 (the spectrum), §1.14 (why to print it before a run).

    Examples
    --------
    On the ellipse x² + 4 y² = 4 near its flat end (2, 0), S = 16 + 48 y², the rate is
    1/4, and a step takes 1e-4:

    >>> import manifold_flow as mf
    >>> ellipse = lambda t: [t[0] ** 2 + 4 * t[1] ** 2 - 4.0]
    >>> model = mf.CallableModel(ellipse, n_params=2)
    >>> sgd = mf.LabelNoiseSGD(model, learning_rate=0.01, noise_std=1.0)
    >>> plan = mf.schedule(sgd, mf.ZeroLossManifold(model), [2.0, 0.0])
    >>> plan.rates, plan.steps_per_efold
    (array([24.]), array([416.666667]))
    """
    flow = limiting_flow(optimizer, manifold)
    point = as_finite("end", end, 1)
    if not (flow.descends and flow.moves):
        raise HypothesisError(
            f"{flow!r} has no schedule: it is no descending gradient flow, whose modes "
            "the Hessian of S gives. Use label noise that is matched to the loss, or "
            "integrate the flow."
        )
    refuse_off_manifold(manifold.linearize(point), point)
    reduction = manifold.model.reduction()
    inner = flow.on(ZeroLossManifold(reduction.model))
    eigenvalues = _tangent_spectrum(inner, reduction.restrict(point))
    moving = eigenvalues > FLAT * eigenvalues[0]
    return Schedule(
        rates=flow.rate * eigenvalues[moving],
        time_per_step=optimizer.time_per_step,
        n_flat=int((~moving).sum()),
        optimizer=repr(optimizer),
    )


def _tangent_spectrum(flow: Flow, point: Array) -> Array:
    """Return the eigenvalues of Hess_M S on the tangent space, or its ends, descending.

    Raises where the point is not stationary, or no minimum.
    """
    manifold, here = flow.manifold, flow.manifold.linearize(point)
    gradient = flow.steepness(here)
    slope = float(np.linalg.norm(here.tangent_part(gradient)))
    if slope > STATIONARY * float(np.linalg.norm(gradient)):
        raise HypothesisError(
            f"|grad_M S| = {slope:.3g} at the end, so it is not stationary and has no "
            "modes. Pass mf.integrate(flow, start).end, without times."
        )
    hessian = manifold.riemannian_hessian(flow.sharpness, point)
    values = (
        _whole(hessian, here) if point.size <= LARGEST_DENSE else _ends(hessian, here)
    )
    if values[-1] < -1e-6 * abs(values[0]):
        raise HypothesisError(
            f"Hess_M S has the eigenvalue {values[-1]:.3g} at the end (the largest is "
            f"{values[0]:.3g}): a saddle, which the flow leaves. Start elsewhere."
        )
    return values


def _whole(hessian: LinearOperator, here: Linearization) -> Array:
    gradients = np.stack([here.apply_transpose(e) for e in np.eye(len(here.residual))])
    tangent = np.linalg.qr(gradients.T, mode="complete")[0][:, len(gradients) :]
    values: Array = np.linalg.eigvalsh(tangent.T @ (hessian @ tangent))[::-1]
    return values


def _ends(hessian: LinearOperator, here: Linearization) -> Array:
    def lifted(vector: Array) -> Array:
        """Push the normal space, where the operator is 0, to the other end."""
        return hessian @ vector + high[-1] * (vector - here.tangent_part(vector))

    start = np.random.default_rng(0).standard_normal(hessian.shape[0])
    settings = {"k": ENDS, "v0": start, "return_eigenvectors": False}
    try:
        high = np.sort(eigsh(hessian, which="LA", **settings))
        operator = LinearOperator(hessian.shape, matvec=lifted, dtype=float)
        low = np.sort(eigsh(operator, which="SA", **settings))
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"the ends of a spectrum of {hessian.shape[0]} modes were not found: "
            f"{error}. Use fewer neurons, or time the flow itself."
        ) from error
    return np.concatenate([low, high])[::-1]
