"""GradientFlow: down the gradient of the loss, to the zero-loss manifold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real
from manifold_flow.checks import positive
from manifold_flow.errors import require, suggest_keywords, suggests_keywords
from manifold_flow.flow.abstract import Flow
from manifold_flow.flow.integration import integrate
from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.model import Model
from manifold_flow.sharpness import HessianTrace, Sharpness
from manifold_flow.solvers.progress import Report
from manifold_flow.trajectory import Trajectory

__all__ = ["GradientFlow", "gradient_flow", "limit_map"]

Array = NDArray[np.float64]


@suggests_keywords
@dataclass(frozen=True, eq=False)
class GradientFlow(Flow):
    r"""Gradient flow of the loss, :math:`\dot\theta = -\nabla L(\theta)`.

    Its time is that of gradient descent, ηk after k steps.  Nothing keeps it on the
    zero-loss manifold: it is what leads there.

    Parameters
    ----------
    model : Model
        What is trained.

    References
    ----------
    theory notes §1.11, §2.1.
    """

    model: Model
    manifold: ZeroLossManifold = field(init=False)
    sharpness: Sharpness = field(init=False, default=HessianTrace())
    rate: float = field(init=False, default=1.0)
    descends: ClassVar[bool] = True
    free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("model", self.model, Model, "A gradient flow trains a model.")
        object.__setattr__(self, "manifold", ZeroLossManifold(self.model))

    @property
    def moves(self) -> bool:
        return True

    def steepness(self, here: Linearization) -> Array:
        return here.loss_gradient()

    def on(self, manifold: ZeroLossManifold) -> GradientFlow:
        return GradientFlow(manifold.model)

    def __repr__(self) -> str:
        """Return the constructor's name: the model stands beside it."""
        return "GradientFlow()"


@suggest_keywords
def gradient_flow(  # noqa: PLR0913  # integrate's keywords, by name
    model: Model,
    params: ArrayLike,
    times: ArrayLike | None = None,
    *,
    method: str = "auto",
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 1_000_000,
    time_limit: float | None = None,
    progress: bool | Report | None = None,
) -> Trajectory:
    r"""Follow the gradient flow of the loss, without ``times`` down to the manifold.

    This is the first of two phases: gradient descent of learning rate η reaches M in
    some 1/η steps, while noise moves it along M in 1/η² steps.  Where
    :math:`|r|/\sigma_{\min}(J) \le 10^{-2} \sqrt{\mathrm{rtol}}\, |\theta|`, the rest
    of the way is replaced by one projection on M.  To first order the gradient flow and
    the projection both move normally to M, so that this costs :math:`O(|r|^2)`.

    Parameters
    ----------
    model : Model
        What is trained.
    params : array, shape (p,)
        Where from; need not lie on M.
    times : array, shape (T,), optional
        Times ηk to return, increasing and not negative.  Without them every accepted
        step is kept, and the last point is the limit, on M.
    method : str
        SciPy's solver, as in :func:`integrate`.
    rtol, atol : float
        Tolerances of the solver, relative and absolute (units of the parameters).
    max_steps : int
        Budget of accepted steps.
    time_limit : float, optional
        Budget of wall-clock seconds.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.

    Returns
    -------
    Trajectory
        With the loss and the norm of its gradient; its sharpness is Σ c_i |∇r_i|², the
        trace of the Gauss-Newton part of ∇²L, which on M is all of it.

    Raises
    ------
    IntegrationError
        If the flow comes to rest with loss (``Status.SPURIOUS``: a critical point, or
        an infimum that is not attained), or a budget ends; its ``trajectory`` is the
        path so far.

    References
    ----------
    Li, Wang, Arora (2021); theory notes §1.11, §2.1.

    Examples
    --------
    The gradient flow of t₀ t₁ = 1 conserves t₀² − t₁², here 3:

    >>> import manifold_flow as mf
    >>> model = mf.CallableModel(lambda t: t[:1] * t[1:] - 1.0, n_params=2)
    >>> path = mf.gradient_flow(model, [2.0, 1.0])
    >>> path.status.name, bool(path.loss[0] > path.loss[1] > path.loss[-1])
    ('STATIONARY', True)
    >>> round(float(path.end[0] ** 2 - path.end[1] ** 2), 6)
    3.0
    """
    return integrate(
        GradientFlow(model),
        params,
        times,
        method=method,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        time_limit=time_limit,
        keep_steps=times is None,
        progress=progress,
    )


@suggest_keywords
def limit_map(model: Model, params: ArrayLike, rtol: float = 1e-12) -> Array:
    r"""Return :math:`\Phi(\theta)`, where the gradient flow of the loss ends on M.

    On M it is the identity, and its derivative there the projection on the tangent
    space, :math:`\partial\Phi = P_T`.

    Parameters
    ----------
    model : Model
        What is trained.
    params : array, shape (p,)
        Where from.
    rtol : float
        Tolerance of the solver, relative to the parameters.

    Returns
    -------
    array, shape (p,)
        A point of M.

    Raises
    ------
    IntegrationError
        If the flow comes to rest with loss; see :func:`gradient_flow`.

    References
    ----------
    Li, Wang, Arora (2021); theory notes §2.1-2.2.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> circle = mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2)
    >>> mf.limit_map(circle, [3.0, 4.0]).round(12).tolist()
    [0.6, 0.8]
    """
    positive("rtol", rtol)
    size = float(np.abs(as_real("params", params)).max(initial=0.0))
    # a small start grows: what it is relative to itself decides where the flow ends
    atol = 1e-2 * rtol * (min(size, 1.0) or 1.0)
    return integrate(GradientFlow(model), params, rtol=rtol, atol=atol).end
