r"""ZeroLossManifold: the set of parameters with zero loss, as a geomstats manifold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from manifold_flow._compat import import_geomstats
from manifold_flow.arrays import as_real, refuse_too_large
from manifold_flow.checks import Rng, count, generator, positive
from manifold_flow.errors import (
    DataError,
    ProjectionError,
    RankDeficientJacobianError,
    ShapeError,
    require,
    suggest_keywords,
)
from manifold_flow.linearization import REGULAR_MARGIN, Linearization, RegularPoint
from manifold_flow.models.model import MAX_PARAMS, Model
from manifold_flow.projection import (
    ON_MANIFOLD,
    gauss_newton,
    gauss_newton_of_all,
    residual_scale,
)
from manifold_flow.sharpness import Sharpness

__all__ = ["ZeroLossManifold"]

LevelSet: Any = import_geomstats("geometry.base").LevelSet
Euclidean: Any = import_geomstats("geometry.euclidean").Euclidean

Array = NDArray[np.float64]


class ZeroLossManifold(LevelSet):  # type: ignore[misc]  # geomstats is untyped
    r"""The zero-loss manifold :math:`M = \{\theta : r(\theta) = 0\}`.

    A geomstats ``LevelSet`` of dimension p − n with the metric induced from
    :math:`\mathbb{R}^p`.  Methods of geomstats accept batches ``[..., p]``; those that
    return one linearization or operator take one point.

    Parameters
    ----------
    model : Model
        Over-parametrised: p > n.

    Examples
    --------
    >>> from manifold_flow.models import CallableModel
    >>> circle = ZeroLossManifold(CallableModel(lambda t: [t @ t - 1.0], n_params=2))
    >>> circle.dim, bool(circle.belongs(np.array([0.6, 0.8])))
    (1, True)
    >>> circle.projection(np.array([3.0, 4.0])).round(12).tolist()
    [0.6, 0.8]
    """

    @suggest_keywords
    def __init__(self, model: Model) -> None:
        require("model", model, Model, "Wrap a function in CallableModel(residual, p).")
        # before super(): LevelSet.__init__ asks for the embedding space at once
        self.model = model
        # no default metric exists for a general level set, hence equip=False
        super().__init__(dim=model.n_params - model.n_residuals, equip=False)

    def _define_embedding_space(self) -> Any:
        # its metric would hold the p × p identity, and nothing here asks for it
        return Euclidean(self.model.n_params, equip=False)

    # --- geomstats' own names, batches allowed --------------------------------------

    def submersion(self, point: Array) -> Array:
        """Return the residuals, whose zero set is M.

        Parameters
        ----------
        point : array, shape (..., p)
            Points of the embedding space.

        Returns
        -------
        array, shape (..., n)
            Residuals.
        """
        return self._batched(self.model.residual, point)

    def tangent_submersion(self, vector: Array, point: Array) -> Array:
        """Return J(point) · vector, shape (..., n)."""
        return self._batched(lambda x, v: self.linearize(x).apply(v), point, vector)

    def belongs(self, point: Array, atol: float | None = None) -> Any:
        """Tell whether points lie on M.

        Parameters
        ----------
        point : array, shape (..., p)
            Points.
        atol : float, optional
            Bound on max |residual|; by default 1e-10 of what rounding of the residual
            is relative to, see :meth:`tolerance`.

        Returns
        -------
        bool array, shape (...,)
            The verdicts.
        """
        point = as_real("point", point)
        if point.shape[-1:] != self.shape:
            return np.zeros(point.shape[:-1], dtype=bool)

        def close(x: Array) -> Any:
            bound = self.tolerance(x) if atol is None else atol
            return np.abs(self.model.residual(x)).max() <= bound

        return self._batched(close, point)

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Return the orthogonal projection on the tangent space, shape (..., p)."""
        return self._batched(
            lambda x, v: self.linearize(x).tangent_part(v), base_point, vector
        )

    def projection(self, point: ArrayLike) -> Array:
        r"""Return points of M reached by damped Gauss-Newton steps.

        :math:`\theta \leftarrow \theta - t\, J^+ r(\theta)`, t halved until
        :math:`\|r\|` falls.  Near M this is the nearest point to second order.

        Parameters
        ----------
        point : array, shape (..., p)
            Where to start.

        Returns
        -------
        array, shape (..., p)
            Points on M to rounding.

        Raises
        ------
        ProjectionError
            If no zero of the residual is reached; carries the iteration log.
        """
        start = as_real("point", point).copy()
        if start.shape[-1:] != self.shape:
            raise ShapeError("point", ("...", *self.shape), start.shape)
        if start.ndim == 1:
            return gauss_newton(self.model, start)
        flat = gauss_newton_of_all(self.model, start.reshape(-1, *self.shape))
        return flat.reshape(start.shape)

    def random_point(
        self, n_samples: int = 1, bound: float = 1.0, *, rng: Rng = None
    ) -> Array:
        """Return random points of M: Gaussian parameters, projected.

        Parameters
        ----------
        n_samples : int
            Number of points.
        bound : float
            Standard deviation of the parameters before projection.
        rng : None, int, Generator or SeedSequence
            Source of randomness.

        Returns
        -------
        array, shape (p,) or (n_samples, p)
            One point without a leading dimension, as in geomstats.

        Raises
        ------
        ProjectionError
            If ten draws in a row fail to reach M.
        RankDeficientJacobianError
            If the point reached is not regular.
        """
        count("n_samples", n_samples)
        refuse_too_large("the points", n_samples, *self.shape, most=MAX_PARAMS)
        positive("bound", bound)
        source = generator(rng)
        points = [self._random_point(bound, source) for _ in range(n_samples)]
        return points[0] if n_samples == 1 else np.stack(points)

    def random_tangent_vec(
        self, base_point: Array, n_samples: int = 1, *, rng: Rng = None
    ) -> Array:
        """Return Gaussian vectors projected on the tangent space at one point.

        Parameters
        ----------
        base_point : array, shape (p,)
            Point of M.
        n_samples : int
            Number of vectors.
        rng : None, int, Generator or SeedSequence
            Source of randomness.

        Returns
        -------
        array, shape (p,) or (n_samples, p)
            Tangent vectors.
        """
        count("n_samples", n_samples)
        refuse_too_large("the vectors", n_samples, *self.shape, most=MAX_PARAMS)
        size = self.shape if n_samples == 1 else (n_samples, *self.shape)
        here = self.linearize(base_point)
        draws = generator(rng).standard_normal(size)
        return self._batched(here.tangent_part, draws)

    # --- the geometry of one point ---------------------------------------------------

    def linearize(self, point: ArrayLike) -> Linearization:
        """Return the model seen from one point, shape (p,)."""
        point = as_real("point", point)
        if point.shape != self.shape:
            raise ShapeError("point", self.shape, point.shape)
        if not np.isfinite(point).all():
            raise DataError(
                f"point[{int(np.argmin(np.isfinite(point)))}] is not finite: there is "
                "no geometry at NaN or infinity."
            )
        return self.model.linearize(point)

    def tolerance(self, point: Array) -> float:
        r"""Return 1e-10 · max(1, max_i |∇r_i| |θ|), what "on M" means at a point."""
        here = self.linearize(point)
        return ON_MANIFOLD * residual_scale(here, as_real("point", point))

    def regular_point(self, point: ArrayLike) -> RegularPoint:
        """Report rank, extreme singular values and condition of J at a point."""
        return RegularPoint.of(self.linearize(point))

    def normal_basis(self, point: ArrayLike) -> Array:
        """Return an orthonormal basis of the normal space, rows, shape (n, p).

        It spans the residual gradients (Lemma 1 of Gatmiry et al.; theory notes §1.2).
        """
        here = self.linearize(point)
        if here.rank_margin <= REGULAR_MARGIN:
            here.multipliers(np.zeros(self.shape))
        gradients = np.stack(
            [here.apply_transpose(e) for e in np.eye(len(here.residual))]
        )
        basis: Array = np.linalg.qr(gradients.T)[0].T
        return basis

    def riemannian_gradient(self, f: Sharpness, x: ArrayLike) -> Array:
        """Return grad_M f(x) = P_T ∇f(x), shape (p,).

        Parameters
        ----------
        f : Sharpness
            Function on M.
        x : array, shape (p,)
            Point of M.

        Returns
        -------
        array, shape (p,)
            Tangent vector.
        """
        require("f", f, Sharpness, "Pass mf.HessianTrace().")
        here = self.linearize(x)
        return here.tangent_part(f.gradient(here))

    def riemannian_hessian(self, f: Sharpness, x: ArrayLike) -> LinearOperator:
        r"""Return the Hessian of f on M as a self-adjoint operator P ∘ Hess ∘ P.

        :math:`\mathrm{Hess}_M f(u, u) = D^2 f(u, u) - \sum_i \alpha_i D^2 r_i(u, u)`
        with :math:`\alpha = G^{-1} J \nabla f` (theory notes §1.6).

        Parameters
        ----------
        f : Sharpness
            Function on M.
        x : array, shape (p,)
            Point of M.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator, shape (p, p)
            Zero on the normal space; products cost one Hessian-vector product each.
        """
        require("f", f, Sharpness, "Pass mf.HessianTrace().")
        here = self.linearize(x)
        multipliers = here.multipliers(f.gradient(here))

        def product(vector: Array) -> Array:
            u = here.tangent_part(np.ravel(vector))
            return here.tangent_part(
                f.hessian_vector(here, u) - here.curvature(multipliers, u)
            )

        size = self.model.n_params
        return LinearOperator(
            (size, size), matvec=product, rmatvec=product, dtype=float
        )

    # --- private ---------------------------------------------------------------------

    def _batched(self, function: Callable[..., Any], *arrays: Array) -> Any:
        """Apply a function of single points along broadcast leading dimensions."""
        converted = [as_real("point or vector", a) for a in arrays]
        for array in converted:
            if array.shape[-1:] != self.shape:
                raise ShapeError("point", ("...", *self.shape), array.shape)
        batch = np.broadcast_shapes(*(a.shape[:-1] for a in converted))
        if not batch:
            return function(*converted)
        flat = [
            np.broadcast_to(a, batch + self.shape).reshape(-1, *self.shape)
            for a in converted
        ]
        values = np.array([function(*row) for row in zip(*flat, strict=True)])
        return values.reshape(batch + values.shape[1:])

    def _random_point(self, bound: float, source: np.random.Generator) -> Array:
        for attempt in range(10):
            draw = bound * source.standard_normal(self.model.n_params)
            try:
                point = gauss_newton(self.model, draw)
            except ProjectionError:
                if attempt == 9:
                    raise
            else:
                break
        report = self.regular_point(point)
        if not report.is_regular:
            self.linearize(point).multipliers(draw)  # raises where rank is fully lost
            raise RankDeficientJacobianError(
                f"the random point is {report}: the zero-loss set is not a smooth "
                "manifold there. Use fewer or less dependent samples.",
                self.linearize(point).singular_values,
            )
        return point

    def __repr__(self) -> str:
        """Return the dimension and the model."""
        return f"ZeroLossManifold(dim={self.dim}, {self.model!r})"
