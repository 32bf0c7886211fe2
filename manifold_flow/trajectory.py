"""Trajectory: where something went and why it stopped; the one result of everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manifold_flow import storage
from manifold_flow.errors import FileFormatError
from manifold_flow.solvers.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Status", "Trajectory", "load"]

Array = NDArray[np.float64]
DIAGNOSTICS = ("sharpness", "gradient_norm", "residual", "rank_margin", "loss")


def _as_they_are(points: Array) -> Array:
    return points


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """Where a flow or an optimizer went, and why it stopped.

    Attributes
    ----------
    times : array, shape (T,)
        Slow time; for an optimizer ``step * time_per_step``.  For a gradient flow the
        time ηk of gradient descent.
    points : array, shape (T, p) or (T, replicas, p)
        A flow's points lie on M to rounding; of a gradient flow only its end does.  An
        optimizer's are its raw iterates.
    status : Status
        Why it ended.
    message : str
        The same with its numbers.
    sharpness, gradient_norm, residual, rank_margin : array, shape (T,), or None
        Along the path: S, the norm of the Riemannian gradient (of the velocity, where
        a flow is no gradient flow), max |r_i| and σ_min(J)/σ_max(J).  Where a run has
        replicas, or no sharpness, those that have no meaning are None.  Along a
        gradient flow S is Σ c_i |∇r_i|², the trace of the Gauss-Newton part of ∇²L, and
        the gradient that of the loss.
    loss : array, shape (T,), or None
        L along a gradient flow; None on M.
    n_evaluations : int
        Velocities evaluated, or steps taken.
    n_steps : int
        Accepted steps.
    drift : float
        Largest |r_i| met before a projection.
    seconds : float
        Wall-clock time.
    details : mapping
        Configuration of what moved: flow or optimizer, model, loss, method, caveats.
    """

    times: Array
    status: Status
    message: str
    reduced_points: Array
    n_evaluations: int
    n_steps: int
    drift: float
    seconds: float
    details: Mapping[str, Any]
    sharpness: Array | None = None
    gradient_norm: Array | None = None
    residual: Array | None = None
    rank_margin: Array | None = None
    loss: Array | None = None
    lift: Callable[[Array], Array] = _as_they_are

    def __post_init__(self) -> None:
        object.__setattr__(self, "details", dict(self.details))
        for name in ("times", "reduced_points", *DIAGNOSTICS):
            if getattr(self, name) is not None:
                getattr(self, name).setflags(write=False)

    @cached_property
    def points(self) -> Array:
        """Points in the model's own parameters, shape (T, p) or (T, replicas, p)."""
        return self.lift(self.reduced_points)

    @cached_property
    def end(self) -> Array:
        """The last point, shape (p,) or (replicas, p)."""
        return self.lift(self.reduced_points[-1])

    @property
    def success(self) -> bool:
        """Whether the end is an answer: stationary, completed, or the edge of M."""
        return self.status.success

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the lifted points: a lift knows a whole model, and is a closure."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"reduced_points": self.points, "lift": _as_they_are}
        return partial(Trajectory, **values), ()

    def __len__(self) -> int:
        """Return the number T of stored times."""
        return len(self.times)

    def __repr__(self) -> str:
        """Return four lines: why it ended, sharpness, constraint, cost."""
        details = self.details
        word = self.status.value.partition(":")[0]
        why = self.message.removeprefix(f"{word}: ")  # the name says it already
        lines = [
            f"{self.status.name} at {details.get('clock', 'slow time')} "
            f"{self.times[-1]:.6g}: {why}",
            f"{details.get('mover', 'trajectory')}, loss {details.get('loss', '?')}",
            f"max |residual| {self._last_residual()}; drift before projection "
            f"{self.drift:.1e}",
            f"{details.get('method', 'steps')}: {self.n_steps} steps, "
            f"{self.n_evaluations} evaluations, {self.seconds:.2f} s",
        ]
        objective = self.sharpness if self.loss is None else self.loss
        if objective is not None:
            lines[1] += f": {objective[0]:.10g} -> {objective[-1]:.10g}"
        if details.get("caveats"):
            lines[3] += f"; note: {'; '.join(details['caveats'])}"
        return "\n".join(lines)

    def _last_residual(self) -> str:
        return "not measured" if self.residual is None else f"{self.residual[-1]:.1e}"

    def save(self, path: str | Path) -> Path:
        """Write the trajectory and its receipt to one .npz file, without pickle.

        Parameters
        ----------
        path : str or Path
            Target; .npz is added if missing.  Replaced whole or not at all.

        Returns
        -------
        Path
            The file written; :func:`load` reads it.
        """
        diagnostics = {name: getattr(self, name) for name in DIAGNOSTICS}
        arrays = {k: v for k, v in diagnostics.items() if v is not None}
        receipt = {
            "kind": "trajectory",
            "status": self.status.name,
            "message": self.message,
            "n_evaluations": self.n_evaluations,
            "n_steps": self.n_steps,
            "drift": self.drift,
            "seconds": self.seconds,
            "details": dict(self.details),
            **storage.provenance(),
        }
        arrays |= {"times": self.times, "points": self.points}
        return storage.write(path, arrays, receipt)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the sharpness against slow time, with the gradient norm on a log axis.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib Axes
            The axes of the sharpness.
        """
        from manifold_flow import plots

        return plots.plot_path(self, ax=ax)


def load(path: str | Path) -> Trajectory:
    """Read a trajectory written by :meth:`Trajectory.save`.

    Parameters
    ----------
    path : str or Path
        The .npz file.

    Returns
    -------
    Trajectory
        With the same arrays, bit for bit.

    Raises
    ------
    FileFormatError
        If the file is not a saved trajectory.
    """
    arrays, receipt = storage.read(path)
    try:
        _check_receipt(path, receipt)
        _check_arrays(path, arrays)
        diagnostics: dict[str, Any] = {
            name: arrays[name] for name in DIAGNOSTICS if name in arrays
        }
        return Trajectory(
            times=arrays["times"],
            status=Status[receipt["status"]],
            message=str(receipt["message"]),
            reduced_points=arrays["points"],
            n_evaluations=receipt["n_evaluations"],
            n_steps=receipt["n_steps"],
            drift=float(receipt["drift"]),
            seconds=float(receipt["seconds"]),
            details={
                **receipt["details"],
                "commit": receipt.get("commit"),
                "versions": receipt.get("versions"),
            },
            **diagnostics,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{path} is not a saved trajectory: {error}.") from error


def _check_receipt(path: str | Path, receipt: Mapping[str, Any]) -> None:
    if receipt["kind"] != "trajectory":
        raise FileFormatError(
            f"{path} holds a {receipt['kind']!r}, not a trajectory. Read it with the "
            "function that belongs to what wrote it."
        )
    for name in ("n_evaluations", "n_steps"):
        if type(receipt[name]) is not int or receipt[name] < 0:
            raise FileFormatError(f"{path}: {name} = {receipt[name]!r} is no count.")
    for name in ("drift", "seconds"):
        if not float(receipt[name]) >= 0:
            raise FileFormatError(f"{path}: {name} = {receipt[name]!r} is below 0.")


def _check_arrays(path: str | Path, arrays: Mapping[str, Array]) -> None:
    times, points = arrays["times"], arrays["points"]
    for name in ("times", "points", *(set(DIAGNOSTICS) & set(arrays))):
        array = arrays[name]
        if array.dtype != float:
            raise FileFormatError(f"{path}: {name} holds {array.dtype}, not float64.")
        wanted = (2, 3) if name == "points" else (1,)
        if array.ndim not in wanted or len(array) != len(times) or array.size == 0:
            raise FileFormatError(
                f"{path}: times have shape {times.shape}, {name} {array.shape}; every "
                "time needs its row."
            )
    if not np.isfinite(points).all():
        raise FileFormatError(f"{path}: points are not finite.")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise FileFormatError(f"{path}: times are not finite and increasing.")
