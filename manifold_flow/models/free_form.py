"""CallableModel: any residual function a user can write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import refuse_too_large
from manifold_flow.checks import count
from manifold_flow.errors import ModelError, ShapeError, suggest_keywords
from manifold_flow.linearization import DenseLinearization, Linearization
from manifold_flow.loss import SquaredLoss
from manifold_flow.models.hooks import (
    called,
    check_point,
    count_residuals,
    divisor,
    real,
    refuse_noise_and_low_precision,
)
from manifold_flow.models.model import (
    Indices,
    Model,
    Reduction,
    dense,
    over_parametrised,
)

__all__ = ["CallableModel"]

Array = NDArray[np.float64]

#: what a model makes of its user's functions
DERIVED = ("_jacobian", "_contracted", "_third", "_second")


class CallableModel(Model):
    """Any residual function of a flat parameter vector.

    Derivatives come from autograd unless given, and are compared with finite
    differences once, here.

    Parameters
    ----------
    residual : callable
        ``params (p,) -> residuals``: an array of shape (n,) or (n, 1), or a list.
        The residuals f_i − y_i themselves, not the loss.
    n_params : int
        Number p of parameters.
    jacobian : callable, optional
        ``params (p,) -> (n, p)``, for users of another differentiation tool.
    contracted_hessian : callable, optional
        ``(params (p,), directions (n, p)) -> Σ_i D²r_i directions_i``, shape (p,).
    predict : callable, optional
        ``(params, inputs) -> outputs``.
    loss : {"half_mean", "mean", "sum"}
        Normalisation of the loss.
    sample_weights : array, shape (n,), optional
        Positive weights of the residuals.
    check_at : array, shape (p,), optional
        Where the derivatives are checked; a seeded random point by default.
    residuals_per_sample : int
        Number k of residuals that minibatches draw together: sample s owns the
        residuals sk, ..., sk + k − 1.

    Raises
    ------
    ModelError
        If a scalar comes back, or p <= n, or two calls at one point disagree, or the
        residual is computed in less than double precision.
    DerivativeError
        If a derivative disagrees with finite differences; names the worst entry.

    Examples
    --------
    >>> model = CallableModel(lambda t: t[:1] * t[1:] - 1.0, n_params=2)
    >>> model.jacobian(np.array([2.0, 0.5]))
    array([[0.5, 2. ]])
    """

    @suggest_keywords
    def __init__(  # noqa: PLR0913  # the user's hooks, by name
        self,
        residual: Callable[[Array], Any],
        n_params: int,
        *,
        jacobian: Callable[[Array], Any] | None = None,
        contracted_hessian: Callable[[Array, Array], Any] | None = None,
        predict: Callable[[Array, Array], Any] | None = None,
        loss: str = "half_mean",
        sample_weights: ArrayLike | None = None,
        check_at: ArrayLike | None = None,
        residuals_per_sample: int = 1,
    ) -> None:
        from manifold_flow import _autodiff

        self.n_params = count("n_params", n_params)
        point = check_point(check_at, self.n_params)
        self.n_residuals = count_residuals(residual, point)
        refuse_noise_and_low_precision(residual, point)
        self.residuals_per_sample = divisor(residuals_per_sample, self.n_residuals)
        over_parametrised(self.n_params, self.n_residuals)
        refuse_too_large("the Jacobian", self.n_residuals, self.n_params)
        self.loss = SquaredLoss(loss, self.n_residuals, sample_weights)
        self._residual = residual
        self._predict = predict
        self._given = jacobian, contracted_hessian
        given = [hook is not None for hook in self._given]
        self._first: Any = None  # never asked for where both are given
        if not all(given):
            flat = _autodiff.traced(residual)
            self._first = _autodiff.first_derivative(flat, point)
        self._derive()
        self.check_derivatives(point, "the given formula" if any(given) else "autograd")

    def _derive(self) -> None:
        """Make the derivatives of the user's functions."""
        from manifold_flow import _autodiff

        (jacobian, contracted), first = self._given, self._first
        self._jacobian = jacobian or _autodiff.jacobian(first)
        self._contracted = contracted or _autodiff.vjp_hessian(first)
        self._third = _autodiff.third(first) if contracted is None else self._difference
        by_autograd = jacobian is None and contracted is None
        self._second = _autodiff.second_derivative(first) if by_autograd else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the derivatives, which are closures and do not pickle."""
        return {k: v for k, v in vars(self).items() if k not in DERIVED}

    def __setstate__(self, attributes: Mapping[str, Any]) -> None:
        """Make them again, without repeating their check."""
        vars(self).update(attributes)
        self._derive()

    def check_derivatives(self, params: ArrayLike, source: str = "autograd") -> None:
        """Compare first and second derivatives with finite differences at a point.

        Parameters
        ----------
        params : array, shape (p,)
            Where to compare.
        source : str
            Who computed them, for the message.

        Raises
        ------
        DerivativeError
            Naming the worst entry and both values.
        """
        from manifold_flow import _autodiff

        point = np.array(params, dtype=float)
        _autodiff.check_jacobian(self.residual, self.jacobian, point, source=source)
        _autodiff.check_contracted_hessian(
            self.jacobian, self.contracted_hessian, point, source=source
        )

    def residual(self, params: Array) -> Array:
        params = self._checked(params)
        if params.ndim > 1:
            return np.stack([self.residual(point) for point in params])
        value = called("the residual", self._residual, params)
        return real("the residual", value).reshape(-1)

    def jacobian(self, params: Array) -> Array:
        params = self._checked(params)
        if params.ndim > 1:
            return np.stack([self.jacobian(row) for row in params])
        return self._matrix(called("the jacobian", self._jacobian, params))

    def _matrix(self, value: Any) -> Array:
        """Refuse what is no Jacobian of this model."""
        matrix, shape = real("the jacobian", value), (self.n_residuals, self.n_params)
        if matrix.shape != shape:
            raise ShapeError("jacobian", shape, matrix.shape)
        return matrix

    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        value = called("contracted_hessian", self._contracted, params, directions)
        return real("contracted_hessian", value).reshape(-1)

    def contracted_third(
        self, params: Array, directions: Array, vector: Array
    ) -> Array:
        return self._third(params, directions, vector)

    def _difference(self, params: Array, directions: Array, vector: Array) -> Array:
        """Central difference of a user's contracted Hessian; 1e-10 relative."""
        length = float(np.linalg.norm(vector))
        if length == 0.0:
            return np.zeros(self.n_params)
        step = 1e-5 * max(1.0, float(np.abs(params).max())) / length
        ahead = self.contracted_hessian(params + step * vector, directions)
        behind = self.contracted_hessian(params - step * vector, directions)
        change: Array = (ahead - behind) / (2.0 * step)
        return change

    def sample_gradient(
        self,
        params: Array,
        drawn: Indices | None = None,
        noise: Array | None = None,
    ) -> Array:
        pulls = self._pulls(self.residual(params).T, drawn, noise).T
        jacobians = (self.jacobian(point) for point in params)
        return np.stack([w @ j for w, j in zip(pulls, jacobians, strict=True)])

    def predict(self, params: Array, inputs: ArrayLike) -> Array:
        if self._predict is None:
            raise ModelError(
                "this model was given by its residuals alone and cannot predict. Pass "
                "predict=lambda params, inputs: ... to CallableModel."
            )
        value = called("predict", self._predict, params, np.asarray(inputs))
        return real("predict", value)

    def unflatten(self, params: Array) -> Mapping[str, Array]:
        return {"params": self._checked(params)}

    def linearize(self, params: Array) -> Linearization:
        params = self._checked(params)
        if params.ndim > 1:
            raise ShapeError("params", (self.n_params,), params.shape)
        if self._second is None:
            return dense(self, params)
        # an overflow is told by DenseLinearization, with the sample, not by a warning
        with np.errstate(over="ignore", invalid="ignore"):
            residual = self.residual(params)
            jacobian, contracted, along = called("the jacobian", self._second, params)
        return DenseLinearization(
            residual,
            self.loss.curvatures,
            self._matrix(jacobian),
            contracted,
            lambda directions, vector: self.contracted_third(
                params, directions, vector
            ),
            along,
        )

    def reduction(self) -> Reduction:
        return Reduction(self)

    def __repr__(self) -> str:
        """Return the sizes and the loss."""
        name = getattr(self._residual, "__name__", type(self._residual).__name__)
        return (
            f"CallableModel({name}, n_params={self.n_params}, "
            f"n_residuals={self.n_residuals}, loss={self.loss.normalization!r})"
        )
