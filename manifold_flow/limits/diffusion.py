"""LimitingDiffusion: what SGD with any gradient noise follows on M."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real
from manifold_flow.errors import require, suggests_keywords
from manifold_flow.limits.gradient_noise import (
    Given,
    GradientNoise,
    gradient_noise,
    square_root,
)
from manifold_flow.limits.second_derivative import normal_block, tangent_block
from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold

__all__ = ["LimitingDiffusion"]

Array = NDArray[np.float64]


@suggests_keywords
@dataclass(frozen=True, eq=False, repr=False)
class LimitingDiffusion:
    r"""The limit of SGD on M, whatever the covariance of its gradient noise.

    The iterates of :math:`\theta^+ = \theta - \eta\,(\nabla L + \xi)` with
    :math:`E\,\xi\xi^T = \Sigma(\theta) = BB^T` converge, as η goes to 0 and one step
    takes the slow time η², to the solution of the Itô equation

    .. math:: dY = P_T B\, dW + \tfrac12\, \partial^2\Phi(Y)[\Sigma]\, dT,

    Φ the limit map of gradient flow.  Label noise is normal to M and leaves a drift
    alone, :class:`LimitingFlow`; isotropic noise leaves Brownian motion on M and the
    drift :math:`-\tfrac{\sigma^2}{4}\, \mathrm{grad}_M \log |H|_+`; noise that vanishes
    on M, as that of minibatches, leaves nothing.

    Parameters
    ----------
    manifold : ZeroLossManifold
        The manifold M.
    factor : float, array of shape (p, k), or callable
        σ for isotropic noise σ² I; a constant factor B; or ``point (p,) -> B (p, k)``,
        differentiable along M.

    Attributes
    ----------
    noise : GradientNoise
        The factor, split as the formulas need it.

    Raises
    ------
    DataError, ShapeError
        For a negative σ, or a factor that has not p rows or is not finite.

    See Also
    --------
    manifold_flow.integrate_sde : Draw its paths.

    References
    ----------
    Li, Wang, Arora (2021), arXiv:2110.06914; Katzenberger (1991); theory notes §2.

    Examples
    --------
    Isotropic noise on the unit circle is Brownian motion; its Itô drift is what bends
    it around.

    >>> import manifold_flow as mf
    >>> circle = mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2)
    >>> diffusion = mf.LimitingDiffusion(mf.ZeroLossManifold(circle), 2.0)
    >>> diffusion.drift([1.0, 0.0]) + 0.0
    array([-2.,  0.])
    >>> diffusion.factor_at([1.0, 0.0]) + 0.0
    array([[0., 0.],
           [0., 2.]])
    """

    manifold: ZeroLossManifold
    factor: Given
    noise: GradientNoise = field(init=False)

    def __post_init__(self) -> None:
        require("manifold", self.manifold, ZeroLossManifold)
        noise = gradient_noise(self.factor, self.manifold.model.n_params)
        object.__setattr__(self, "noise", noise)

    @classmethod
    def from_covariance(
        cls, manifold: ZeroLossManifold, covariance: Given
    ) -> LimitingDiffusion:
        """Return the diffusion of noise given by its covariance.

        Parameters
        ----------
        manifold : ZeroLossManifold
            The manifold M.
        covariance : array of shape (p, p), or callable
            Σ, or ``point (p,) -> Σ (p, p)`` of constant rank; the factor is its
            symmetric square root.

        Returns
        -------
        LimitingDiffusion
            With p sources of noise.

        Raises
        ------
        DataError
            If Σ is not symmetric, or has a negative eigenvalue; names it.
        """
        require("manifold", manifold, ZeroLossManifold)
        size = manifold.model.n_params
        if not callable(covariance):
            return cls(manifold, square_root(covariance, size))
        return cls(manifold, partial(_root_at, covariance, size))

    def drift(self, point: ArrayLike) -> Array:
        r"""Return the Itô drift :math:`\tfrac12 \partial^2\Phi[\Sigma]`, shape (p,).

        Its normal part, of tangent noise, keeps the paths on M; for isotropic noise it
        takes p products with second derivatives.

        Parameters
        ----------
        point : array, shape (p,)
            A point of M.

        Returns
        -------
        array, shape (p,)
            Per unit of slow time.
        """
        here, point = self._seen_from(point)
        normal, mixed = self.noise.split(here, point)
        second_derivative = (
            normal_block(here, normal)
            - 2.0 * here.tangent_part(mixed)
            + tangent_block(here, self.noise.bend(here, point))
        )
        return 0.5 * second_derivative

    def stratonovich_drift(self, point: ArrayLike) -> Array:
        r"""Return the drift of the same process in Stratonovich form, tangent to M.

        .. math:: \tfrac12 \partial^2\Phi[\Sigma] - \tfrac12 \sum_k D\sigma_k[\sigma_k],
           \qquad \sigma_k = P_T b_k

        In it the normal part and half of the mixed one cancel, because
        :math:`D P_T[a]\, b = -P_T \sum_i \beta_i D^2 r_i\, a - J^T G^{-1} D^2 r(a, a)`
        for :math:`a = P_T b`; a factor that varies adds
        :math:`-\tfrac12 P_T \sum_k D b_k[\sigma_k]`, by central differences.

        Parameters
        ----------
        point : array, shape (p,)
            A point of M.

        Returns
        -------
        array, shape (p,)
            Per unit of slow time.
        """
        here, point = self._seen_from(point)
        normal, mixed = self.noise.split(here, point)
        rest = mixed + self.noise.variation(here, point)
        return 0.5 * (normal_block(here, normal) - here.tangent_part(rest))

    def factor_at(self, point: ArrayLike) -> Array:
        """Return P_T B, shape (p, k): what Brownian motion is multiplied by.

        Parameters
        ----------
        point : array, shape (p,)
            A point of M.

        Returns
        -------
        array, shape (p, k)
            Tangent columns.
        """
        here, point = self._seen_from(point)
        columns = self.noise.columns(point).T
        return np.stack([here.tangent_part(b) for b in columns], axis=1)

    def kick(self, point: ArrayLike, increment: Array) -> Array:
        """Return P_T B dW without the matrix.

        Parameters
        ----------
        point : array, shape (p,)
            Where; near M the projection is on the kernel of the Jacobian there.
        increment : array, shape (k,)
            dW.

        Returns
        -------
        array, shape (p,)
            A tangent vector.
        """
        here, point = self._seen_from(point)
        return here.tangent_part(
            self.noise.kick(point, as_real("increment", increment))
        )

    def _seen_from(self, point: ArrayLike) -> tuple[Linearization, Array]:
        point = as_real("point", point)
        return self.manifold.linearize(point), point

    def __repr__(self) -> str:
        """Return the noise."""
        return f"LimitingDiffusion({self.noise!r})"


def _root_at(
    covariance: Callable[[Array], ArrayLike], n_params: int, point: Array
) -> Array:
    return square_root(covariance(point), n_params)
