"""The job: which network, which data, where to start, when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from benchmarks.field import ACTIVATIONS, Field

__all__ = ["SIZES", "TASKS", "Problem"]

Array = NDArray[np.float64]

#: samples, features, neurons
SIZES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "S": (5, 8, 10),
        "M": (20, 100, 100),
        "L": (50, 500, 500),
        "XL": (100, 2000, 1000),
    }
)
#: endpoint: from θ(0) to |grad_M F| <= 1e-8 |grad_M F(0)|; trajectory: at 50 times
TASKS = ("endpoint", "trajectory")

#: what every method aims at, so that rounding does not decide whether it is accepted
AIM = 0.9e-8
N_TIMES = 50


@dataclass(frozen=True)
class Problem:
    r"""A two-layer network with unit output weights, Σ_j φ(x_iᵀθ_j) = y_i.

    The flow is :math:`\dot\theta = -\mathrm{grad}_M F` with
    :math:`F = \sum_{ij} \phi'(z_{ij})^2 |x_i|^2`, half of Tr ∇²L for ``loss="sum"``.

    Attributes
    ----------
    n, d, m : int
        Samples, features, neurons.
    activation : {"cubic", "sinh"}
        z³/3 + z or sinh z.
    condition : float, optional
        Condition number of K = X Xᵀ, whose eigenvalues are then spaced evenly on a log
        scale, with trace n; without it the rows of X are Gaussian of unit norm.
    seed : int
        Of data and start.

    Examples
    --------
    >>> problem = Problem.of("S")
    >>> problem.name, problem.start.shape
    ('S', (10, 8))
    >>> bool(abs(problem.field.residual(problem.features)).max() < 1e-9)
    True
    """

    n: int
    d: int
    m: int
    activation: str = "cubic"
    condition: float | None = None
    seed: int = 0

    @classmethod
    def of(
        cls, size: str, activation: str = "cubic", condition: float | None = None
    ) -> Problem:
        """Return the problem of a named size."""
        return cls(*SIZES[size], activation, condition)

    @property
    def name(self) -> str:
        """Size, and what differs from the standard problem."""
        shape = (self.n, self.d, self.m)
        sizes = {size: name for name, size in SIZES.items()}
        words = [sizes.get(shape, "n={} d={} m={}".format(*shape))]
        words += [self.activation] * (self.activation != "cubic")
        if self.condition is not None:
            words.append(f"cond {self.condition:.0e}".replace("+0", ""))
        return " ".join(words)

    @cached_property
    def inputs(self) -> Array:
        """Data X, shape (n, d)."""
        rng = np.random.default_rng([self.seed, 0])
        if self.condition is None:
            rows = rng.standard_normal((self.n, self.d))
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)
        spectrum = np.geomspace(1.0, 1.0 / self.condition, self.n)
        left = np.linalg.qr(rng.standard_normal((self.n, self.n)))[0]
        right = np.linalg.qr(rng.standard_normal((self.d, self.n)))[0]
        scaled = spectrum * (self.n / spectrum.sum())
        return np.ascontiguousarray((left * np.sqrt(scaled)) @ right.T)

    @cached_property
    def targets(self) -> Array:
        """Targets y = m · N(0, 1), shape (n,)."""
        return self.m * np.random.default_rng([self.seed, 1]).standard_normal(self.n)

    @cached_property
    def start(self) -> Array:
        """θ(0): Gaussian, projected to M, shape (m, d)."""
        draw = np.random.default_rng([self.seed, 2]).standard_normal((self.m, self.d))
        return draw + self.field.projection(self.inputs @ draw.T).T @ self.inputs

    # --- what is known of it ----------------------------------------------------------

    @cached_property
    def field(self) -> Field:
        """The closed-form field."""
        return Field.of(self.inputs, self.targets, self.activation)

    @cached_property
    def features(self) -> Array:
        """Z(0), shape (n, m)."""
        return self.inputs @ self.start.T

    @cached_property
    def gradient_at_start(self) -> float:
        """|grad_M F(0)|."""
        return self.field.squared_gradient(self.field.dual(self.features)) ** 0.5

    @property
    def aim(self) -> float:
        """The norm of grad_M F at which a method stops."""
        return AIM * self.gradient_at_start

    @cached_property
    def end(self) -> Array:
        """θ(∞) in closed form, shape (m, d): z = φ⁻¹(y/m) (theory notes §1.5, §1.9)."""
        limit = ACTIVATIONS[self.activation].inverse(self.targets / self.m)
        return self.lift(np.repeat(limit[:, None], self.m, axis=1))

    def lift(self, features: Array) -> Array:
        """Return the θ of preactivations Z that is θ(0) orthogonally to the data."""
        moved = scipy.linalg.solve(
            self.field.gram, features - self.features, assume_a="pos"
        )
        lifted: Array = self.start + moved.T @ self.inputs
        return lifted

    @cached_property
    def slowest_rate(self) -> float:
        """Smallest eigenvalue of K diag(2wφ'φ''') at the limit (theory notes §1.8)."""
        limit = ACTIVATIONS[self.activation].inverse(self.targets / self.m)
        _, slope, _, third = self.field.jet(limit)
        root = np.sqrt(2.0 * self.field.weights * slope * third)
        return float(np.linalg.eigvalsh(root[:, None] * self.field.gram * root)[0])

    @cached_property
    def times(self) -> Array:
        """The 50 times of the trajectory task, up to 5 of the slowest lifetimes."""
        return np.geomspace(5e-3, 5.0, N_TIMES) / self.slowest_rate
