"""Model: parameters in, residuals out, with derivatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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
#: a few vectors of this size are all that a structured model ever holds
MAX_PARAMS = 500_000_000
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
    residuals_per_sample : int
        Number k of residuals that belong to one sample, and so are drawn together:
        sample s owns the residuals sk, ..., sk + k − 1.
    """

    n_params: int
    n_residuals: int
    loss: SquaredLoss
    caveats: tuple[str, ...] = ()
    residuals_per_sample: int = 1

    @abstractmethod
    def residual(self, params: Array) -> Array:
        """Return the residuals of params (..., p), shape (..., n)."""

    @abstractmethod
    def jacobian(self, params: Array) -> Array:
        """Return J of params (..., p): J[..., i, j] = ∂residual[i]/∂params[j]."""

    @abstractmethod
    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        """Return Σ_i D²r_i directions_i for directions of shape (n, p), shape (p,)."""

    @abstractmethod
    def contracted_third(
        self, params: Array, directions: Array, vector: Array
    ) -> Array:
        """Return Σ_i D³r_i[v, directions_i], shape (p,)."""

    @abstractmethod
    def sample_gradient(
        self,
        params: Array,
        drawn: Indices | None = None,
        noise: Array | None = None,
    ) -> Array:
        r"""Return an unbiased estimate of ∇L from drawn residuals, for R replicas.

        :math:`\tfrac{n}{k} \sum_b c_{i_b} (r_{i_b} - \varepsilon_b) \nabla r_{i_b}`
        with the curvatures c of the loss, the k drawn residuals and their noise ε.
        It is called at every step of a run: it checks nothing, and is fastest where
        the replicas are contiguous (``params.T`` is in C order).

        Parameters
        ----------
        params : array, shape (R, p)
            One row a replica.
        drawn : int array, shape (R, k), optional
            Indices i of the drawn residuals; by default all n in order, which gives ∇L.
        noise : array, shape (R, k), optional
            Label noise ε, in units of the targets; none by default.

        Returns
        -------
        array, shape (R, p)
            The gradients, in memory of their own.
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

    @property
    def n_samples(self) -> int:
        """Number of samples, each of ``residuals_per_sample`` residuals."""
        return self.n_residuals // self.residuals_per_sample

    def loss_value(self, params: Array) -> float:
        """Return the loss L(params)."""
        return float(self.loss.value(self.residual(params)))

    def _pulls(
        self, residual: Array, drawn: Indices | None, noise: Array | None
    ) -> Array:
        """Return what ∇r_i is multiplied by in ``sample_gradient``, shape (n, R).

        Repeated draws of one of the n residuals, shape (n, R), add up.
        """
        if drawn is None:
            return self.loss.slopes(residual if noise is None else residual - noise.T)
        errors = np.take_along_axis(residual, drawn.T, axis=0)
        if noise is not None:
            errors -= noise.T
        pulls = np.zeros(residual.shape)
        places = drawn.T, np.arange(len(drawn))
        np.add.at(pulls, places, self.loss.slopes(errors, drawn.T))
        return pulls

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
    basis : array, shape (d, r), or None
        Orthonormal columns Q: every d parameters in a row, such as the weights of a
        neuron, become r by Qᵀ.  None where there is nothing to leave out.
    """

    model: Model
    basis: Array | None = None

    def restrict(self, params: Array) -> Array:
        """Return the points (..., p') of parameters (..., p)."""
        if self.basis is None:
            return params
        blocks = params.reshape(*params.shape[:-1], -1, len(self.basis)) @ self.basis
        return blocks.reshape(*params.shape[:-1], -1)

    def lift(
        self, reduced: Array, reference: Array, restricted: Array | None = None
    ) -> Array:
        """Return parameters (..., p) of points (..., p'); the rest is the reference's.

        Parameters
        ----------
        reduced : array, shape (..., p')
            Points of the smaller model.
        reference : array, shape (p,)
            Parameters that have the frozen part.
        restricted : array, shape (p',), optional
            ``restrict(reference)``, where it is known already.

        Returns
        -------
        array, shape (..., p)
        """
        if self.basis is None:
            return reduced
        begin = self.restrict(reference) if restricted is None else restricted
        moved = (reduced - begin).reshape(
            *reduced.shape[:-1], -1, self.basis.shape[1]
        ) @ self.basis.T
        lifted = moved.reshape(*reduced.shape[:-1], -1)
        lifted += reference
        return lifted


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
    rows = inputs.reshape(len(inputs), -1) + 0.0  # -0.0 and 0.0 are equal
    seen: dict[bytes, int] = {}
    firsts = [seen.setdefault(row.tobytes(), k) for k, row in enumerate(rows)]
    original = np.array(firsts)
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
    refuse_too_large("the parameters", n_params, most=MAX_PARAMS)
    refuse_too_large("the Gram matrix", n_residuals, n_residuals)
