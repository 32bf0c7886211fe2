"""Model: parameters in, residuals out, with derivatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real, refuse_too_large
from manifold_flow.errors import DataError, ModelError, ShapeError
from manifold_flow.linearization import DenseLinearization, Linearization
from manifold_flow.loss import SquaredLoss
from manifold_flow.structure import StructuredFlow

__all__ = [
    "Indices",
    "Model",
    "Reduction",
    "dense",
    "over_parametrised",
    "refuse_duplicate_rows",
]

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

    def trace_flow(self, rate: float) -> StructuredFlow | None:
        """Return the flow of rate · Tr ∇²L in the model's own structure, or None.

        A model that knows coordinates in which this flow is nearly linear, or in which
        its Newton matrices are nearly diagonal, declares them here; the fast solvers
        are for such models.
        """
        return None

    def loss_value(self, params: Array) -> float:
        """Return the loss L(params)."""
        return float(self.loss.value(self.residual(params)))

    def _checked(self, params: ArrayLike) -> Array:
        """Refuse parameters of another length; batches have leading dimensions."""
        params = as_real("params", params)
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
    params = as_real("params", params)
    # an overflow is told by DenseLinearization, with the sample, not by a warning
    with np.errstate(over="ignore", invalid="ignore"):
        residual, jacobian = model.residual(params), model.jacobian(params)
    return DenseLinearization(
        residual,
        model.loss.curvatures,
        jacobian,
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
    DataError
        If parameters or Gram matrix would not fit in memory.
    """
    if n_residuals >= n_params:
        raise ModelError(
            f"not over-parametrised: {n_residuals} residuals, {n_params} parameters; "
            "the zero-loss set is no manifold of positive dimension. Use more "
            "parameters or fewer samples."
        )
    refuse_too_large("the parameters", n_params)
    refuse_too_large("the Gram matrix", n_residuals, n_residuals)
