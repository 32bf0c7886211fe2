"""Model: parameters in, residuals out, with derivatives; and the free-form one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.errors import DataError, ModelError, ShapeError, suggest_keywords
from manifold_flow.linearization import DenseLinearization, Linearization
from manifold_flow.loss import SquaredLoss

__all__ = ["CallableModel", "Model", "Reduction", "dense", "refuse_duplicate_rows"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


class Model(ABC):
    r"""Residuals :math:`r_i(\theta) = f_i(\theta) - y_i` on fixed data.

    Index order: ``jacobian[i, j]`` is ∂residual[i]/∂params[j].  A subclass is final and
    implements every abstract method.

    Attributes
    ----------
    n_params : int
        Number p of parameters.
    n_residuals : int
        Number n of residuals.
    loss : SquaredLoss
        Normalisation and sample weights.
    caveats : tuple of str
        Hypotheses of the project's theorems which these data do not satisfy; empty
        where all hold.  They are printed with every result.
    """

    n_params: int
    n_residuals: int
    loss: SquaredLoss
    caveats: tuple[str, ...] = ()

    @abstractmethod
    def residual(self, params: Array) -> Array:
        """Return the residuals, shape (n,)."""

    @abstractmethod
    def jacobian(self, params: Array) -> Array:
        """Return J, shape (n, p), with J[i, j] = ∂residual[i]/∂params[j]."""

    @abstractmethod
    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        """Return Σ_i D²r_i directions_i for directions of shape (n, p), shape (p,)."""

    @abstractmethod
    def contracted_third(
        self, params: Array, directions: Array, vector: Array
    ) -> Array:
        """Return Σ_i D³r_i[v, directions_i], shape (p,)."""

    @abstractmethod
    def sample_gradient(self, params: Array, samples: Indices, noise: Array) -> Array:
        r"""Return the gradient of drawn samples, for R replicas at once.

        :math:`\sum_b c_{s_b} (r_{s_b} - \varepsilon_b) \nabla r_{s_b}` with the
        curvatures c of the loss and label noise ε.

        Parameters
        ----------
        params : array, shape (R, p)
            One row a replica.
        samples : int array, shape (R, B)
            Indices s of the drawn samples.
        noise : array, shape (R, B)
            Label noise ε, in units of the targets.

        Returns
        -------
        array, shape (R, p)
            The gradients.
        """

    @abstractmethod
    def predict(self, params: Array, inputs: ArrayLike) -> Array:
        """Return the model's outputs on other inputs."""

    @abstractmethod
    def unflatten(self, params: Array) -> Mapping[str, Array]:
        """Return the parameters in their natural shapes, by name."""

    @abstractmethod
    def linearize(self, params: Array) -> Linearization:
        """Return the model seen from one point, with its factorisation."""

    @abstractmethod
    def reduction(self) -> Reduction:
        """Return the smaller model on which the dynamics take place."""

    def loss_value(self, params: Array) -> float:
        """Return the loss L(params)."""
        return float(self.loss.value(self.residual(params)))

    def _checked(self, params: Array) -> Array:
        """Refuse parameters of another length; batches have leading dimensions."""
        if params.shape[-1:] != (self.n_params,):
            raise ShapeError("params", (self.n_params,), params.shape)
        return params


@dataclass(frozen=True, eq=False)
class Reduction:
    """An isometric smaller model: what moves, without what never moves.

    Attributes
    ----------
    model : Model
        The smaller model, of the same kind.
    restrict : callable
        ``params (..., p) -> reduced (..., p')``.
    lift : callable
        ``(reduced (..., p'), reference (p,)) -> params (..., p)``; the frozen part is
        taken from the reference.
    """

    model: Model
    restrict: Callable[[Array], Array]
    lift: Callable[[Array, Array], Array]

    @classmethod
    def identity(cls, model: Model) -> Reduction:
        """Return the reduction of a model that has nothing to leave out."""
        return cls(model, lambda params: params, lambda reduced, reference: reduced)


def dense(model: Model, params: Array) -> DenseLinearization:
    """Linearise any model through its Jacobian.

    Parameters
    ----------
    model : Model
        The model.
    params : array, shape (p,)
        The point.

    Returns
    -------
    DenseLinearization
        With one Jacobian evaluated.
    """
    return DenseLinearization(
        model.residual(params),
        model.loss.curvatures,
        model.jacobian(params),
        lambda directions: model.contracted_hessian(params, directions),
        lambda directions, vector: model.contracted_third(params, directions, vector),
    )


def refuse_duplicate_rows(inputs: Array, what: str = "inputs") -> None:
    """Raise if two samples are equal, because then rank J < n everywhere.

    Parameters
    ----------
    inputs : array, shape (n, ...)
        The data, one sample a row.
    what : str
        What the array is called in the message.

    Raises
    ------
    DataError
        Naming the first pair.
    """
    rows = inputs.reshape(len(inputs), -1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    original = first[inverse.ravel()]
    repeated = np.flatnonzero(original != np.arange(len(rows)))
    if repeated.size:
        later, earlier = int(repeated[0]), int(original[repeated[0]])
        raise DataError(
            f"{what}[{earlier}] and {what}[{later}] are equal ({repeated.size} "
            f"repeated of {len(rows)}): equal samples make the Jacobian lose rank "
            "(rank J < n), so the zero-loss set is no manifold. Remove duplicate "
            "samples, or merge them into one with sample_weights."
        )


def over_parametrised(n_params: int, n_residuals: int) -> None:
    """Raise unless p > n.

    Parameters
    ----------
    n_params, n_residuals : int
        p and n.

    Raises
    ------
    ModelError
        If the zero-loss set has no positive dimension.
    """
    if n_residuals >= n_params:
        raise ModelError(
            f"not over-parametrised: {n_residuals} residuals, {n_params} parameters; "
            "the zero-loss set is no manifold of positive dimension. Use more "
            "parameters or fewer samples."
        )


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

    Raises
    ------
    ModelError
        If a scalar comes back, or p <= n.
    DerivativeError
        If a derivative disagrees with finite differences; names the worst entry.

    Examples
    --------
    >>> model = CallableModel(lambda t: t[:1] * t[1:] - 1.0, n_params=2)
    >>> model.jacobian(np.array([2.0, 0.5]))
    array([[0.5, 2. ]])
    """

    @suggest_keywords
    def __init__(
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
    ) -> None:
        from manifold_flow import _autodiff

        self.n_params = int(n_params)
        point = _check_point(check_at, self.n_params)
        self.n_residuals = _count_residuals(residual, point)
        over_parametrised(self.n_params, self.n_residuals)
        self.loss = SquaredLoss(loss, self.n_residuals, sample_weights)
        self._residual = residual
        self._predict = predict
        flat = _autodiff.traced(residual)
        self._jacobian = jacobian or _autodiff.jacobian(flat)
        self._contracted = contracted_hessian or _autodiff.vjp_hessian(flat)
        self._third = (
            _autodiff.third(flat) if contracted_hessian is None else self._difference
        )
        given = jacobian is not None or contracted_hessian is not None
        self.check_derivatives(point, "the given formula" if given else "autograd")

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
        value = self._residual(self._checked(params))
        return np.asarray(value, dtype=float).reshape(-1)

    def jacobian(self, params: Array) -> Array:
        matrix = np.asarray(self._jacobian(self._checked(params)), dtype=float)
        if matrix.shape != (self.n_residuals, self.n_params):
            raise ShapeError(
                "jacobian", (self.n_residuals, self.n_params), matrix.shape
            )
        return matrix

    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        return np.asarray(self._contracted(params, directions), dtype=float).reshape(-1)

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

    def sample_gradient(self, params: Array, samples: Indices, noise: Array) -> Array:
        curvatures = self.loss.curvatures
        rows = []
        for point, drawn, shift in zip(params, samples, noise, strict=True):
            weights = curvatures[drawn] * (self.residual(point)[drawn] - shift)
            rows.append(weights @ self.jacobian(point)[drawn])
        return np.stack(rows)

    def predict(self, params: Array, inputs: ArrayLike) -> Array:
        if self._predict is None:
            raise ModelError(
                "this model was given by its residuals alone and cannot predict. Pass "
                "predict=lambda params, inputs: ... to CallableModel."
            )
        return np.asarray(self._predict(params, np.asarray(inputs)), dtype=float)

    def unflatten(self, params: Array) -> Mapping[str, Array]:
        return {"params": self._checked(params)}

    def linearize(self, params: Array) -> Linearization:
        return dense(self, params)

    def reduction(self) -> Reduction:
        return Reduction.identity(self)

    def __repr__(self) -> str:
        """Return the sizes and the loss."""
        name = getattr(self._residual, "__name__", type(self._residual).__name__)
        return (
            f"CallableModel({name}, n_params={self.n_params}, "
            f"n_residuals={self.n_residuals}, loss={self.loss.normalization!r})"
        )


def _check_point(check_at: ArrayLike | None, n_params: int) -> Array:
    if n_params < 1:
        raise ModelError(f"n_params = {n_params}: a model has at least one parameter.")
    if check_at is None:
        return np.random.default_rng(0).standard_normal(n_params)
    point = np.array(check_at, dtype=float)
    if point.shape != (n_params,):
        raise ShapeError("check_at", (n_params,), point.shape)
    return point


def _count_residuals(residual: Callable[[Array], Any], point: Array) -> int:
    try:
        value = residual(point.copy())
    except (IndexError, ValueError, TypeError) as error:
        raise ModelError(
            f"the residual failed on a float array of shape {point.shape}: {error}. It "
            "takes one flat array of n_params numbers; check n_params and how the "
            "function slices it."
        ) from error
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the residual did not return numbers: {error}.") from error
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
