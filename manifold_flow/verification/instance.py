"""What statements are checked on: a network, starts on M, its constants."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manifold_flow import bounds, datasets, references
from manifold_flow.activations import Activation
from manifold_flow.errors import DataError, require
from manifold_flow.flow import LimitingFlow, integrate
from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.sharpness import HessianTrace
from manifold_flow.trajectory import Status, Trajectory

__all__ = ["Instance", "drawn_model"]

Array = NDArray[np.float64]
Interval = tuple[float, float]
Rng = None | int | np.random.Generator | np.random.SeedSequence

EPS = float(np.finfo(float).eps)
#: relative distance to Z* at which the neurons count as collapsed
COLLAPSED = 1e-5


@dataclass(frozen=True, eq=False)
class Instance:
    r"""A two-layer network and what the theorems need to know of it.

    Everything is in the model's own loss: :math:`S = \mathrm{Tr}\,\nabla^2 L` and
    :math:`w_i = c_i \|x_i\|^2 / 2`.  Starts, flows and constants are computed when a
    check first asks for them, and shared by all checks.

    Parameters
    ----------
    model : TwoLayerNetwork
        The network on its data.
    n_starts : int
        Number of random points of M.
    seed : SeedSequence
        Every check draws from its own child, so that the choice of statements changes
        no number.
    slow_time : float, optional
        Where flows end; at stationarity without.
    """

    model: TwoLayerNetwork
    n_starts: int
    seed: np.random.SeedSequence
    slow_time: float | None = None

    def __post_init__(self) -> None:
        require("model", self.model, TwoLayerNetwork, "The theorems are about it.")
        if self.n_starts < 1:
            raise DataError(f"starts = {self.n_starts}: a check needs at least 1.")
        if self.slow_time is not None and not 0 < self.slow_time < np.inf:
            raise DataError(f"slow_time = {self.slow_time}: must be positive.")

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator that belongs to a name."""
        child = np.random.SeedSequence(
            self.seed.entropy,
            spawn_key=(*self.seed.spawn_key, zlib.crc32(name.encode())),
        )
        return np.random.default_rng(child)

    def with_model(self, model: TwoLayerNetwork) -> Instance:
        """Return an instance of another network, one start, same seed and time."""
        return Instance(model, 1, self.seed, self.slow_time)

    # --- points of M and flows --------------------------------------------------------

    @cached_property
    def manifold(self) -> ZeroLossManifold:
        """M."""
        return ZeroLossManifold(self.model)

    @cached_property
    def starts(self) -> list[Array]:
        """Random points of M."""
        rng = self.rng("starts")
        return [self.manifold.random_point(rng=rng) for _ in range(self.n_starts)]

    @cached_property
    def paths(self) -> list[Trajectory]:
        """The flow of the trace from every start, all its steps kept."""
        flow = LimitingFlow(self.manifold, HessianTrace())
        times = None if self.slow_time is None else [0.0, self.slow_time]
        return [
            integrate(flow, start, times, keep_steps=True, progress=False)
            for start in self.starts
        ]

    @cached_property
    def stations(self) -> list[list[tuple[float, Array]]]:
        """Of every path, time and point at some thirty of its steps, end included."""
        return [
            [
                (float(path.times[k]), path.lift(path.reduced_points[k]))
                for k in _thinned(len(path), 30)
            ]
            for path in self.paths
        ]

    def not_stationary(self, path: Trajectory) -> str | None:
        """Return why a path says nothing of its limit, or None where it does."""
        distance = self.distance(path.end)
        if distance <= COLLAPSED:
            return None
        assert path.gradient_norm is not None
        word = "gtol" if path.status is Status.STATIONARY else "the slow time"
        return (
            f"{word} ended the flow at slow time {path.times[-1]:.4g} with "
            f"|grad_M S| = {path.gradient_norm[-1]:.2g} and max |z - z*| = "
            f"{distance:.2g} of their size (collapsed: {COLLAPSED:g}); give a longer "
            "--slow-time, or none"
        )

    # --- the geometry of one point ----------------------------------------------------

    def value(self, point: Array) -> float:
        """Return S at a point."""
        return HessianTrace().value(self.model.linearize(point))

    def gradient(self, point: Array) -> Array:
        """Return grad_M S at a point, shape (p,)."""
        return self.manifold.riemannian_gradient(HessianTrace(), point)

    def gap(self, point: Array) -> float:
        """Return S − S*."""
        return self.value(point) - self.flattest_value

    def rounding(self, point: Array) -> float:
        """Return how far rounding may move the gap S − S* at a point."""
        return self._rounding(point) + self._rounding(self.flattest)

    def _rounding(self, point: Array) -> float:
        """Bound the error of S: that of z, times the slopes, and that of being on M."""
        model, here = self.model, self.model.linearize(point)
        a, w = np.abs(model.output_weights), self.weights[:, None]
        sizes = np.linalg.norm(model.unflatten(point)["weights"], axis=1)
        error = 16 * EPS * np.linalg.norm(model.inputs, axis=1)[:, None] * sizes
        slopes = 4 * w * a**2 * np.abs(here.slopes * here.second)
        terms = np.abs(model.activation(model.features(point))) * a
        missed = (np.abs(here.slopes) * a * error + 16 * EPS * terms).sum(axis=1)
        multipliers = np.abs(here.multipliers(HessianTrace().gradient(here)))
        off = float(multipliers @ (np.abs(here.residual) + missed))
        return 64 * EPS * abs(self.value(point)) + float((slopes * error).sum()) + off

    def outputs(self, point: Array) -> Array:
        """Return u_ij = a_j φ(z_ij), shape (n, m)."""
        features = self.model.features(point)
        return self.model.output_weights * self.model.activation(features)

    def distance(self, point: Array) -> float:
        """Return max |z_ij − z*_ij| relative to the size of z*, at least 1."""
        away = np.abs(self.model.features(point) - self.flattest_features).max()
        return float(away / max(1.0, np.abs(self.flattest_features).max()))

    def point_at(self, features: Array, like: Array) -> Array:
        """Return the point with these z_ij and the frozen part of another one."""
        moved = self.model.unflatten(like)["weights"]
        missing = features - self.model.inputs @ moved.T
        change = np.linalg.pinv(self.model.inputs) @ missing
        return np.asarray(moved + change.T).ravel()

    # --- its constants ----------------------------------------------------------------

    @cached_property
    def mu(self) -> float:
        """λ_min(XXᵀ)."""
        return float(np.linalg.eigvalsh(self.model.inputs_gram)[0])

    @cached_property
    def weights(self) -> Array:
        """w_i, shape (n,)."""
        return bounds.sample_curvatures(self.model)

    @cached_property
    def flattest(self) -> Array:
        """The flattest point, shape (p,), with no frozen part."""
        return references.flattest_point(self.model)

    @cached_property
    def flattest_features(self) -> Array:
        """Z*, shape (n, m)."""
        return self.model.features(self.flattest)

    @cached_property
    def flattest_value(self) -> float:
        """S*."""
        return references.flattest_value(self.model)

    @cached_property
    def interval(self) -> Interval:
        """I that holds every z_ij of all flows for ever, known before they run."""
        ends = [bounds.sublevel_interval(self.model, start) for start in self.starts]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def hull(self, *points: Array) -> Interval:
        """Return the smallest interval that holds the z_ij of points, and z*."""
        all_z = [self.model.features(point) for point in points]
        all_z.append(self.flattest_features)
        return min(float(z.min()) for z in all_z), max(float(z.max()) for z in all_z)

    def pl_rate(self, interval: Interval) -> float:
        """Return 2c of the Polyak–Łojasiewicz inequality on an interval."""
        return bounds.pl_rate(self.model, interval)

    def growth(self, interval: Interval) -> float:
        """Return 2 w_min κ_φ: the gap is at least that times Σ (u − u*)²."""
        ratio = bounds.curvature_ratio(self.model.activation, interval)
        return 2.0 * float(self.weights.min()) * ratio

    @cached_property
    def one_sample(self) -> Instance:
        """The first sample alone with unit output weights, where c is sharp.

        Its target is that of neurons which all have the preactivation of the first
        start, so that it is in reach of every activation.
        """
        model = self.model
        share = float(np.clip(model.features(self.starts[0])[0, 0], -1.0, 1.0))
        target = model.width * float(model.activation(share))
        return self.with_model(
            TwoLayerNetwork(
                model.inputs[:1],
                [target],
                model.width,
                model.activation,
                loss=model.loss.normalization,
            )
        )

    def near_collapse(self, size: float, direction: Array) -> Array:
        """Return a point of M where the first two neurons are apart by 2 · size.

        Parameters
        ----------
        size : float
            Of the displacement.
        direction : array, shape (n,)
            δz of the first neuron; the second gets its opposite.
        """
        features = self.flattest_features.copy()
        features[:, 0] += size * direction
        features[:, 1] -= size * direction
        return self.manifold.projection(self.point_at(features, self.flattest))


def small_step(model: TwoLayerNetwork, vector: Array, size: float = 1e-3) -> float:
    """Return a length along a vector that moves no preactivation by more than size."""
    return size / float(np.abs(model.features(vector)).max())


def along_manifold(
    manifold: ZeroLossManifold, point: Array, vector: Array, step: float
) -> tuple[Array, Array]:
    """Return two points of M, on a geodesic through a point to second order.

    θ ± h u + Jᵀλ, with λ such that the constraint holds (theory notes §1.15, G1).
    """
    here: Linearization = manifold.linearize(point)

    def moved(sign: float) -> Array:
        where = point + sign * step * vector
        for _ in range(50):
            residual = manifold.model.residual(where)
            if np.abs(residual).max() <= 4 * EPS * max(1.0, np.abs(where).max()):
                break
            # chord steps in the normal space of the first point
            where = where - here.normal_solve(residual)
        return where

    return moved(-1.0), moved(1.0)


def central(
    function: Callable[[Array], float], pair: tuple[Array, Array], step: float
) -> float:
    """Return the central first difference."""
    return (function(pair[1]) - function(pair[0])) / (2 * step)


def _thinned(length: int, most: int) -> list[int]:
    return sorted({round(k) for k in np.linspace(0, length - 1, min(length, most))})


def drawn_model(
    n: int = 3,
    m: int = 4,
    d: int = 5,
    activation: Activation | str = "cubic",
    *,
    design: str = "gaussian",
    rng: Rng = None,
) -> TwoLayerNetwork:
    """Return a random network whose targets are in its reach.

    Inputs are random unit rows; the targets are the outputs of random neurons, so that
    M is not empty whatever the range of φ.

    Parameters
    ----------
    n, m, d : int
        Samples, neurons, features.
    activation : Activation or str
        φ.
    design : {"gaussian", "uniform"}
        Law of the inputs.
    rng : None, int, Generator or SeedSequence
        Source of randomness.

    Returns
    -------
    TwoLayerNetwork
    """
    generator = np.random.default_rng(rng)
    inputs, _ = getattr(datasets, design)(n, d, rng=generator)
    phi = Activation.of(activation)
    targets = phi(generator.standard_normal((n, m))).sum(axis=1)
    return TwoLayerNetwork(inputs, targets, m, phi)
