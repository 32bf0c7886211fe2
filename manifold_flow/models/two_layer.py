r"""TwoLayerNetwork: fixed output weights, the model of Gatmiry et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from manifold_flow.activations import Activation
from manifold_flow.arrays import as_finite, refuse_too_large
from manifold_flow.checks import count
from manifold_flow.errors import (
    DataError,
    EmptyManifoldError,
    NonFiniteError,
    ShapeError,
    suggest_keywords,
)
from manifold_flow.linearization import NeuronwiseLinearization
from manifold_flow.loss import SquaredLoss
from manifold_flow.models.model import (
    Indices,
    Model,
    Reduction,
    over_parametrised,
    refuse_duplicate_rows,
)
from manifold_flow.structure import NeuronwiseFlow
from manifold_flow.structure.neurons import Neurons

__all__ = ["TwoLayerNetwork"]

Array = NDArray[np.float64]

#: eigenvalue ratio of K = X Xᵀ above which rounding cannot hide dependent rows
CERTAIN_RANK = 1e-10


class TwoLayerNetwork(Model):
    r"""A two-layer network with a fixed second layer.

    .. math:: f_i(\theta) = \sum_{j=1}^m a_j\, \phi(x_i^T \theta_j)

    Parameters are the m rows θ_j of shape (d,), flattened.

    Parameters
    ----------
    inputs : array, shape (n, d)
        Data X.  Equal rows are refused; dependent rows (among them n > d) run and are
        noted in ``caveats``, because the theorems need independent ones.
    targets : array, shape (n,)
        Targets y.
    width : int
        Number m of neurons.
    activation : Activation or str
        A name such as ``"cubic"``, or an expression in ``z``.
    output_weights : array, shape (m,), optional
        Fixed second layer a, no entry zero; ones by default.
    sample_weights : array, shape (n,), optional
        Positive weights q of the loss.
    loss : {"half_mean", "mean", "sum"}
        Normalisation.

    Raises
    ------
    DataError
        For NaN or infinity, or equal rows.
    EmptyManifoldError
        If a target is outside the range of the network; names the sample.
    ModelError
        If n >= p.

    References
    ----------
    Gatmiry, Li, Reddi, Jegelka (2024); theory notes §1.

    Examples
    --------
    >>> model = TwoLayerNetwork([[1.0, 0.0]], [3.0], width=2, activation="linear")
    >>> model.residual(np.array([1.0, 5.0, 2.0, 5.0]))
    array([0.])
    """

    @suggest_keywords
    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        width: int,
        activation: Activation | str = "cubic",
        output_weights: ArrayLike | None = None,
        sample_weights: ArrayLike | None = None,
        loss: str = "half_mean",
    ) -> None:
        self.inputs = as_finite("inputs", inputs, 2)
        self.targets = as_finite("targets", targets, 1)
        self.n_residuals, self.n_features = self.inputs.shape
        if self.targets.shape != (self.n_residuals,):
            raise ShapeError(
                "targets", (self.n_residuals,), self.targets.shape, "One per input row."
            )
        self.width = count("width", width, advice="A network has at least one neuron.")
        refuse_too_large("the features", self.n_residuals, self.width)
        self.activation = Activation.of(activation)
        self.output_weights = self._checked_output_weights(output_weights)
        self.n_params = self.width * self.n_features
        self.loss = SquaredLoss(loss, self.n_residuals, sample_weights)
        over_parametrised(self.n_params, self.n_residuals)
        refuse_duplicate_rows(self.inputs)
        self._check_reachable()

    def _checked_output_weights(self, output_weights: ArrayLike | None) -> Array:
        if output_weights is None:
            output_weights = np.ones(self.width)
        weights = as_finite("output_weights", output_weights, 1)
        if weights.shape != (self.width,):
            raise ShapeError("output_weights", (self.width,), weights.shape)
        if (weights == 0).any():
            raise DataError(
                f"output_weights[{int(np.argmin(np.abs(weights)))}] is 0: that neuron "
                "changes no output. Use a smaller width."
            )
        return weights

    def _check_reachable(self) -> None:
        """Refuse targets outside Σ_j a_j φ(R): there the zero-loss set is empty."""
        extent = self.activation.extent
        reach = extent.summed(self.output_weights)
        outside = reach.excludes(self.targets)
        if outside.any():
            sample = int(np.argmax(outside))
            raise EmptyManifoldError(
                f"no zero-loss point: {self.activation.name} maps into {extent} and "
                f"{self.width} neurons reach only {reach}, but targets[{sample}] = "
                f"{self.targets[sample]:g}. Rescale the targets, use more neurons or "
                "another activation.",
                sample,
            )

    @cached_property
    def caveats(self) -> tuple[str, ...]:  # type: ignore[override]  # asked for late
        """What the theorems of Gatmiry et al. need and this network has not."""
        found = []
        if self.rank < self.n_residuals:
            found.append(
                f"the {self.n_residuals} input rows have rank {self.rank}: the "
                "theorems of Gatmiry et al. need independent rows and do not apply"
            )
        if self.activation.satisfies_hypotheses() is False:
            found.append(
                f"{self.activation.name} has not everywhere a positive first and third "
                "derivative, which the theorems of Gatmiry et al. assume"
            )
        if self.activation.gap is not None:
            found.append(
                f"{self.activation.name} is not defined on the whole line: "
                f"{self.activation.gap}"
            )
        return tuple(found)

    @cached_property
    def _input_basis(self) -> Array:
        """Orthonormal basis Q (d, rank) of the span of the inputs."""
        spectrum = np.linalg.eigvalsh(self.inputs_gram)
        if spectrum[0] > CERTAIN_RANK * spectrum[-1]:
            # no pivoting is needed to see the rank, and pivoting costs tenfold
            basis: Array = scipy.linalg.qr(
                self.inputs.T, mode="economic", check_finite=False
            )[0]
            return basis
        factor, triangle, _ = scipy.linalg.qr(
            self.inputs.T, mode="economic", pivoting=True
        )
        sizes = np.abs(np.diag(triangle))
        tolerance = np.finfo(float).eps * max(self.inputs.shape) * sizes[0]
        return factor[:, : int((sizes > tolerance).sum())]

    @cached_property
    def _distinct_weights(self) -> Array:
        """The output weights (m,), or one of them (1,) where all are equal."""
        equal = np.ptp(self.output_weights) == 0.0
        return self.output_weights[: 1 if equal else None]

    @property
    def rank(self) -> int:
        """Rank of the inputs; n when the rows are independent."""
        return int(self._input_basis.shape[1])

    @cached_property
    def inputs_gram(self) -> Array:
        """K = X Xᵀ, shape (n, n)."""
        return self.inputs @ self.inputs.T

    @cached_property
    def _input_factor(self) -> tuple[Array, Array]:
        """L = X Q (n, rank) of X = L Qᵀ, factorised for independent rows."""
        factor: tuple[Array, Array] = scipy.linalg.lu_factor(
            self.inputs @ self._input_basis
        )
        return factor

    def shortest_weights(self, features: Array) -> Array:
        """Return X⁺ Z, transposed: the shortest θ_j with X θ_j = z_j.

        Through X = L Qᵀ and X⁺ = Q L⁻¹, which does not square the condition number.

        Parameters
        ----------
        features : array, shape (n, k)
            Preactivations Z, one column a neuron; X has independent rows.

        Returns
        -------
        array, shape (k, d)
            One row a neuron.
        """
        coordinates = scipy.linalg.lu_solve(
            self._input_factor, features, check_finite=False
        )
        lifted: Array = coordinates.T @ self._input_basis.T
        return lifted

    def features(self, params: Array) -> Array:
        """Return the preactivations z_ij = x_iᵀ θ_j, shape (..., n, width)."""
        return self.inputs @ np.swapaxes(self.unflatten(params)["weights"], -1, -2)

    def unflatten(self, params: Array) -> Mapping[str, Array]:
        params = self._checked(params)
        shape = (*params.shape[:-1], self.width, self.n_features)
        return {"weights": params.reshape(shape)}

    def residual(self, params: Array) -> Array:
        return (
            self.activation(self.features(params)) @ self.output_weights - self.targets
        )

    def jacobian(self, params: Array) -> Array:
        slopes = self.activation.derivative(self.features(params), 1)
        blocks = (slopes * self.output_weights)[..., None] * self.inputs[:, None, :]
        return blocks.reshape(*slopes.shape[:-1], self.n_params)

    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        second = self.activation.derivative(self.features(params), 2)
        return self._pull_back(second * self._own_changes(directions))

    def contracted_third(
        self, params: Array, directions: Array, vector: Array
    ) -> Array:
        third = self.activation.derivative(self.features(params), 3)
        change = self.features(vector)
        return self._pull_back(third * change * self._own_changes(directions))

    def _own_changes(self, directions: Array) -> Array:
        """x_iᵀ D_ij, shape (n, width): each sample's own direction."""
        blocks = directions.reshape(self.n_residuals, self.width, self.n_features)
        return np.einsum("imd,id->im", blocks, self.inputs)

    def _pull_back(self, change: Array) -> Array:
        return ((change * self.output_weights).T @ self.inputs).ravel()

    def sample_gradient(
        self,
        params: Array,
        drawn: Indices | None = None,
        noise: Array | None = None,
    ) -> Array:
        # replicas last: loops run over contiguous replicas, products are small ones
        weights = params.T.reshape(self.width, self.n_features, -1)
        if drawn is None or self._is_crowded(drawn):
            outputs, slope = self._forward(self.inputs @ weights)
            back = slope  # written over: fewer arrays stay in the cache
            pulls = self._pulls(outputs - self.targets[:, None], drawn, noise)
            back *= self._distinct_weights[:, None, None] * pulls
            return (self.inputs.T @ back).reshape(params.T.shape).T
        rows = self.inputs.T.take(drawn.T, axis=1)
        outputs, slope = self._forward(np.einsum("mdr,dkr->mkr", weights, rows))
        errors = outputs - self.targets[drawn.T]
        if noise is not None:
            errors -= noise.T
        back = slope
        back *= self._distinct_weights[:, None, None] * self.loss.slopes(
            errors, drawn.T
        )
        return np.einsum("mkr,dkr->mdr", back, rows).reshape(params.T.shape).T

    def _forward(self, preactivations: Array) -> tuple[Array, Array]:
        """Return outputs (k, R) and φ' (m, k, R) of preactivations (m, k, R)."""
        value, slope = self.activation.leading(preactivations, 2)
        outputs = self.output_weights @ value.reshape(self.width, -1)
        return outputs.reshape(value.shape[1:]), slope

    def _is_crowded(self, drawn: Indices) -> bool:
        """Whether products with all inputs take less time than sums over the drawn."""
        return drawn.shape[1] > max(1, self.n_residuals // 7)

    def predict(self, params: Array, inputs: ArrayLike) -> Array:
        rows = as_finite("inputs", inputs, 2)
        if rows.shape[1] != self.n_features:
            raise ShapeError("inputs", ("k", self.n_features), rows.shape)
        weights = self.unflatten(params)["weights"]
        return self.activation(rows @ weights.swapaxes(-1, -2)) @ self.output_weights

    def linearize(self, params: Array) -> NeuronwiseLinearization:
        # an overflow is told by NeuronwiseLinearization, with the sample
        with np.errstate(over="ignore", invalid="ignore"):
            parts = self.activation.derivatives(self.features(params))
            value, slope, second, third = parts
            residual = value @ self.output_weights - self.targets
        self._check_defined(params, value)
        return NeuronwiseLinearization(
            residual,
            self.loss.curvatures,
            self.inputs,
            self.inputs_gram,
            self.output_weights,
            slope,
            second,
            third,
        )

    def _check_defined(self, params: Array, values: Array) -> None:
        """Tell a preactivation where φ has no real value from an overflow."""
        if np.isfinite(values).all() or self.activation.gap is None:
            return
        sample, neuron = np.argwhere(~np.isfinite(values))[0]
        raise NonFiniteError(
            f"{self.activation.name} is not a real number at z = "
            f"{self.features(params)[sample, neuron]:.6g}, the preactivation of sample "
            f"{sample} in neuron {neuron}: {self.activation.gap}. Use an activation "
            "that is defined on the whole line, or start where it is defined."
        )

    def trace_flow(self, rate: float) -> NeuronwiseFlow:
        return NeuronwiseFlow(
            Neurons(
                self.inputs,
                self.targets,
                self.loss.curvatures,
                self.activation,
                self.output_weights,
                rate,
            )
        )

    def reduction(self) -> Reduction:
        r"""Return the network on the LQ factor of its inputs.

        X = L Qᵀ with orthonormal Q (d, rank).  The part of every θ_j orthogonal to the
        data never moves, and θ_j ↦ Qᵀθ_j is an isometry of the rest (theory notes
        §1.9).
        """
        return self._reduction

    @cached_property
    def _reduction(self) -> Reduction:
        basis = self._input_basis
        # with one neuron all that could move is fixed by the constraints
        nothing_moves = self.width * self.rank <= self.n_residuals
        if self.rank == self.n_features or nothing_moves:
            return Reduction(self)
        reduced = TwoLayerNetwork(
            self.inputs @ basis,
            self.targets,
            self.width,
            self.activation,
            self.output_weights,
            self.loss.sample_weights,
            self.loss.normalization,
        )
        return Reduction(reduced, basis)

    def __repr__(self) -> str:
        """Return the sizes, the activation and the loss."""
        return (
            f"TwoLayerNetwork(n={self.n_residuals}, d={self.n_features}, "
            f"width={self.width}, {self.activation!r}, "
            f"loss={self.loss.normalization!r})"
        )
