"""The main job on real data, end to end: what ``manifold-flow demo`` runs.

Forty images of handwritten digits, a two-layer network, the zero-loss manifold, its
limiting flow to stationarity, and an ensemble of label-noise SGD on the same clock.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifold_flow import bounds, datasets, plots, references, storage
from manifold_flow.comparison.measurement import sharpness_after_projection
from manifold_flow.errors import DataError, HypothesisError
from manifold_flow.flow import integrate
from manifold_flow.limits import limiting_flow
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.optimizers import LabelNoiseSGD, simulate
from manifold_flow.report import Picture, write_report
from manifold_flow.sharpness import HessianTrace
from manifold_flow.solvers.choice import LARGEST_DENSE_IMPLICIT
from manifold_flow.solvers.progress import Report
from manifold_flow.trajectory import Trajectory

__all__ = ["Demo", "run_demo"]

Array = NDArray[np.float64]

#: of the ensemble: small enough to lie on the flow, large enough to take seconds
LEARNING_RATE = 1e-4
NOISE_STD = 32.0
SLOW_TIME = 5e-4
KEPT = 16
MOST_REPLICAS = 10_000


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo computed.

    Attributes
    ----------
    model : TwoLayerNetwork
        The network on the digits.
    path : Trajectory
        The limiting flow to stationarity, every accepted step.
    run : Trajectory
        The ensemble of label-noise SGD.
    first_part : Trajectory
        The flow at the ensemble's times.
    ensemble : array, shape (K, replicas)
        Tr ∇²L of every projected iterate.
    rate : float
        Rate of the limiting flow, σ²/(4B) for the half-mean loss.
    seconds : float
        Wall-clock time.
    """

    model: TwoLayerNetwork
    path: Trajectory
    run: Trajectory
    first_part: Trajectory
    ensemble: Array
    rate: float
    seconds: float

    @property
    def flattest(self) -> float:
        """The exact minimum of Tr ∇²L on M."""
        return references.flattest_value(self.model)

    @property
    def gap(self) -> Array:
        """Tr ∇²L − min along the flow, shape (T,)."""
        assert self.path.sharpness is not None
        return self.path.sharpness - self.flattest

    @property
    def pl_rate(self) -> float:
        """The proved rate 2c with the interval known before the flow runs."""
        interval = bounds.sublevel_interval(self.model, self.path.points[0])
        return self.rate * bounds.pl_rate(self.model, interval)

    @property
    def local_rate(self) -> float:
        """The exact rate at the flattest point."""
        return self.rate * bounds.local_rate(
            self.model, references.flattest_point(self.model)
        )

    def bound_is_kept(self) -> bool:
        """Whether the gap stays below gap(0)·exp(−2ct) at every step."""
        allowed = self.gap[0] * np.exp(-self.pl_rate * self.path.times)
        return bool((self.gap <= allowed + 1e-12 * self.flattest).all())

    def table(self) -> dict[str, str]:
        """Return the numbers, by name, as printed."""
        path, model = self.path, self.model
        assert path.sharpness is not None
        assert path.residual is not None
        gram = np.linalg.eigvalsh(model.inputs_gram)
        features = model.features(path.end)
        exact = model.activation.inverse(model.targets / model.width)
        distance = np.abs(features - exact[:, None]).max()
        mean = self.ensemble.mean(axis=1)[-1]
        spread = self.ensemble.std(axis=1, ddof=1)[-1]
        error = 1.96 * spread / np.sqrt(self.ensemble.shape[1])
        assert self.first_part.sharpness is not None
        return {
            "model": repr(model),
            "loss": model.loss.formula,
            "condition of the Gram matrix": f"{gram[-1] / gram[0]:.4g}",
            "flow": f"{path.status.name} at slow time {path.times[-1]:.5g}",
            "solver": f"{path.details['method']}: {path.n_steps} steps, "
            f"{path.n_evaluations} velocities, {path.seconds:.1f} s",
            "sharpness at the start": f"{path.sharpness[0]:.10g}",
            "sharpness at the end": f"{path.sharpness[-1]:.10g}",
            "exact minimum": f"{self.flattest:.10g}",
            "max |z_ij - phi^-1(y_i/m)|": f"{distance:.1e}",
            "max |residual|": f"{path.residual[-1]:.1e}",
            "proved rate 2c": f"{self.pl_rate:.3g}; bound kept at every step: "
            f"{'yes' if self.bound_is_kept() else 'NO'}",
            "exact local rate": f"{self.local_rate:.4g}",
            "label-noise SGD": f"{self.run.details['mover']}, {self.run.n_steps} "
            f"steps, {self.ensemble.shape[1]} replicas, {self.run.seconds:.1f} s",
            f"sharpness at slow time {self.run.times[-1]:.3g}": f"SGD {mean:.4f} +/- "
            f"{error:.4f} (95 %), flow {self.first_part.sharpness[-1]:.4f}; the "
            "difference is of the order of the learning rate",
            "seconds in all": f"{self.seconds:.1f}",
        }

    def pictures(self) -> list[Picture]:
        """Return the four pictures of the report."""
        model, path, n = self.model, self.path, self.model.n_residuals
        features = model.features(path.points)
        exact = model.activation.inverse(model.targets / model.width)
        values = np.asarray(
            np.linalg.svd(model.activation(features), compute_uv=False), dtype=float
        )
        assert self.first_part.sharpness is not None
        drawn = {
            "Exponential convergence": (
                plots.plot_gap(
                    path.times,
                    self.gap,
                    pl_rate=self.pl_rate,
                    local_rate=self.local_rate,
                    floor=1e-13 * self.flattest,
                ),
                "The gap to the exact minimum. The proved bound uses only what is "
                "known before the flow runs; the local rate is exact at the flattest "
                "point. The inset shows the early part.",
            ),
            "Every neuron learns the same feature": (
                plots.plot_features(path.times, features, exact),
                f"All {n * model.width} preactivations, coloured by the final value of "
                "their sample: the dot, which Theorem 1 of Gatmiry et al. gives.",
            ),
            "The feature matrix becomes rank one": (
                plots.plot_singular_values(path.times, values),
                "Singular values of the activations of all neurons on all samples. "
                "Below 1e-8 they show the solver's tolerance, below the dotted line "
                "nothing but rounding.",
            ),
            "Label-noise SGD follows the flow": (
                plots.plot_ensemble(
                    self.first_part.times,
                    self.first_part.sharpness,
                    self.run.times,
                    self.ensemble,
                    label=f"label-noise SGD, mean of {self.ensemble.shape[1]}, 95 %",
                ),
                "The first part of the flow. Iterates are projected on the "
                "manifold before their sharpness is taken. The difference that remains "
                "is the bias of a finite learning rate; it halves when that does.",
            ),
        }
        return [
            Picture(title, caption, plots.png_base64(axes))
            for title, (axes, caption) in drawn.items()
        ]


def run_demo(
    *,
    n: int = 40,
    width: int = 50,
    replicas: int = 64,
    seed: int = 0,
    progress: bool | Report | None = None,
) -> Demo:
    """Build M from real digits, follow the flow to its end, run SGD beside it.

    Parameters
    ----------
    n, width : int
        Images and neurons.
    replicas : int
        Runs of label-noise SGD.
    seed : int
        Of the images, the start and the noise.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.

    Returns
    -------
    Demo
        Trajectories and numbers.

    Raises
    ------
    DataError
        For sizes that would take hours, or fewer than two replicas.
    HypothesisError
        If the images are linearly dependent, before anything is computed.
    """
    began = clock.monotonic()
    _check_sizes(n, width, replicas)
    data, first, noise = np.random.SeedSequence(seed).spawn(3)
    inputs, targets = datasets.digits(n, rng=data)
    # one neuron's share y_i/m of a target is of order 1, so that samples end apart
    model = TwoLayerNetwork(inputs, width * targets, width=width, activation="cubic")
    if model.caveats:
        raise HypothesisError(
            f"{model.caveats[0]}, so the demo has no exact answer to compare with. "
            "Ask for fewer images, for instance n = 40."
        )
    manifold = ZeroLossManifold(model)
    start = manifold.random_point(rng=first)
    sgd = LabelNoiseSGD(model, learning_rate=LEARNING_RATE, noise_std=NOISE_STD)
    flow = limiting_flow(sgd, manifold)
    path = integrate(flow, start, keep_steps=True, progress=progress)
    between = round(SLOW_TIME / sgd.time_per_step / KEPT)
    run = simulate(
        sgd,
        start,
        n_steps=KEPT * between,
        every=between,
        replicas=replicas,
        rng=noise,
        progress=progress,
    )
    return Demo(
        model=model,
        path=path,
        run=run,
        first_part=integrate(flow, start, run.times),
        ensemble=sharpness_after_projection(manifold, HessianTrace(), run)[1],
        rate=flow.rate,
        seconds=clock.monotonic() - began,
    )


def _check_sizes(n: int, width: int, replicas: int) -> None:
    if n * width > LARGEST_DENSE_IMPLICIT:
        raise DataError(
            f"n * width = {n * width}: the flow moves that many coordinates, and above "
            f"{LARGEST_DENSE_IMPLICIT} its implicit solver takes hours. Use fewer "
            "images or neurons, or mf.integrate with a time_limit."
        )
    if not 2 <= replicas <= MOST_REPLICAS:
        raise DataError(
            f"replicas = {replicas}: a 95 % interval needs at least 2, and more than "
            f"{MOST_REPLICAS} take hours. The default is 64."
        )


def write_demo(demo: Demo, folder: str | Path) -> Path:
    """Write report.html, the flow and the ensemble to a folder.

    Parameters
    ----------
    demo : Demo
        What :func:`run_demo` returned.
    folder : str or Path
        Made if missing.

    Returns
    -------
    Path
        The report.
    """
    folder = Path(folder)
    demo.path.save(folder / "flow.npz")
    demo.run.save(folder / "sgd.npz")
    origin = storage.provenance()
    versions = ", ".join(f"{name} {v}" for name, v in origin["versions"].items())
    return write_report(
        folder / "report.html",
        f"The limiting flow of label-noise SGD on {demo.model.n_residuals} digits",
        [
            "Label-noise SGD with a small step drifts along the manifold of zero-loss "
            "networks, down the trace of the Hessian of its loss. Here that flow is "
            "integrated to its end on real images and compared with the algorithm.",
            "Slow time is the clock they share: a step of SGD with learning rate eta "
            "takes the slow time eta^2, and on it the flow has the rate sigma^2/4, "
            f"here {demo.rate:g}.",
        ],
        demo.table(),
        demo.pictures(),
        footer=f"{versions}; commit {origin['commit'] or 'not in a checkout'}.",
    )
