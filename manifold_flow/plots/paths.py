"""One path, its gap above the minimum, and an ensemble around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_flow.plots.style import BLUE, GREEN, GREY, VERMILION, marker, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manifold_flow.trajectory import Trajectory

__all__ = ["plot_ensemble", "plot_gap", "plot_path"]

Array = NDArray[np.float64]


def plot_path(path: Trajectory, *, ax: Axes | None = None) -> Axes:
    """Draw sharpness (left axis) and gradient norm (right, logarithmic).

    Along a gradient flow the left axis is the loss, logarithmic too.

    Parameters
    ----------
    path : Trajectory
        Of a flow, with its diagnostics.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        The axes of the sharpness, or of the loss.
    """
    ax = new_axes() if ax is None else ax
    if path.sharpness is None or path.gradient_norm is None:
        assert path.residual is not None
        ax.semilogy(path.times, path.residual, color=BLUE)
        ax.set(xlabel="slow time", ylabel="largest |residual| over the replicas")
        return ax
    if path.loss is None:
        times, gradients = path.times, path.gradient_norm
        ax.plot(times, path.sharpness, color=BLUE, marker=marker(times))
        ax.set(xlabel="slow time", ylabel="sharpness")
        gradient = "norm of the Riemannian gradient"
    else:
        # its limit is not where the last step was, but a projection away
        landed = path.status.name == "STATIONARY" and len(path) > 2
        shown = slice(None, -1 if landed else None)
        times, gradients = path.times[shown], path.gradient_norm[shown]
        ax.semilogy(times, path.loss[shown], color=BLUE, marker=marker(times))
        ax.set(xlabel=r"time  $\eta k$", ylabel="loss")
        gradient = "norm of the loss gradient"
    ax.yaxis.label.set_color(BLUE)
    right = ax.twinx()
    _draw_gradient(times, gradients, gradient, right)
    title = path.status.value.split(":")[0]
    if len(path.times) == 2:
        # a straight line would be taken for the path
        for line in (*ax.lines, *right.lines):
            line.set_linestyle("none")
        title += " (start and end only; keep_steps=True keeps the way)"
    ax.set_title(title)
    return ax


def _draw_gradient(times: Array, norms: Array, label: str, right: Axes) -> None:
    right.semilogy(times, norms, color=VERMILION, ls="--", marker=marker(times))
    right.set_ylabel(label, color=VERMILION)
    right.grid(False)


def plot_gap(
    times: Array,
    gap: Array,
    *,
    pl_rate: float | None = None,
    local_rate: float | None = None,
    floor: float = 0.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw the sharpness gap on a log scale, with its exponential bounds.

    An inset shows the same on a logarithmic time axis, where the early part is seen.

    Parameters
    ----------
    times : array, shape (T,)
        Slow time.
    gap : array, shape (T,)
        S − S*.
    pl_rate : float, optional
        Rate of the proved bound gap(0)·exp(−rate·t).
    local_rate : float, optional
        Exact rate near the end; drawn as a slope through the path.
    floor : float
        Rounding level of the gap; smaller values are not drawn.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        With a logarithmic vertical axis.
    """
    ax = new_axes() if ax is None else ax
    seen = gap > floor
    ax.semilogy(times[seen], gap[seen], color=BLUE, lw=2, label="limiting flow")
    end = times[seen][-1]
    grid = np.linspace(0.0, end, 400)
    if pl_rate is not None:
        ax.semilogy(
            grid,
            gap[0] * np.exp(-pl_rate * grid),
            color=VERMILION,
            ls="--",
            label=rf"proved bound, rate $2c$ = {pl_rate:.2g}",
        )
    if local_rate is not None:
        # through the last decade that is safely above rounding
        anchor = int(np.flatnonzero(gap > max(1e3 * floor, 1e-9 * gap[0]))[-1])
        line = gap[anchor] * np.exp(-local_rate * (grid - times[anchor]))
        shown = line <= gap[0]
        ax.semilogy(
            grid[shown],
            line[shown],
            color=GREEN,
            ls=":",
            lw=2,
            label=f"exact local rate {local_rate:.3g}",
        )
    ax.set(
        xlabel="slow time",
        ylabel=r"sharpness gap  $\mathrm{Tr}\,\nabla^2 L - \min$",
        ylim=(max(float(gap[seen].min()) / 3, 1e-16), 3 * float(gap[0])),
    )
    early = ax.inset_axes((0.56, 0.52, 0.42, 0.36))
    early.loglog(times[seen], gap[seen], color=BLUE, lw=1.5)
    early.set_xlim(1e-6 * end, end)
    early.set_title("the same, time on a log scale", fontsize="small")
    early.tick_params(labelsize="small")
    ax.legend(loc="lower left")
    return ax


def plot_ensemble(
    flow_times: Array,
    flow_values: Array,
    times: Array,
    values: Array,
    *,
    label: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw an ensemble's mean and its 95 % interval over the flow.

    Single runs differ by less than a line is wide: where the flow is known at the same
    times, an inset shows them, the mean and its interval as differences from the flow.

    Parameters
    ----------
    flow_times, flow_values : array, shape (T,)
        Sharpness along the flow.
    times : array, shape (K,)
        Slow time of the ensemble.
    values : array, shape (K, replicas)
        Sharpness of every projected replica.
    label : str
        What the ensemble is.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        The axes.
    """
    ax = new_axes() if ax is None else ax
    mean = values.mean(axis=1)
    half = 1.96 * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    ax.plot(flow_times, flow_values, color=BLUE, lw=2, label="limiting flow")
    ax.fill_between(times, mean - half, mean + half, color=VERMILION, alpha=0.3, lw=0)
    ax.plot(times, mean, color=VERMILION, ls="--", marker=marker(times), label=label)
    ax.set(
        xlabel=r"slow time  $\eta^2 k$", ylabel=r"sharpness  $\mathrm{Tr}\,\nabla^2 L$"
    )
    if np.array_equal(flow_times, times):
        inset = ax.inset_axes((0.42, 0.38, 0.56, 0.3))
        away, off = values - flow_values[:, None], mean - flow_values
        inset.plot(times, away[:, :8], color=GREY, lw=0.6, alpha=0.7)
        inset.fill_between(
            times, off - half, off + half, color=VERMILION, alpha=0.4, lw=0
        )
        inset.plot(times, off, color=VERMILION, ls="--")
        inset.axhline(0.0, color=BLUE)
        inset.locator_params(axis="x", nbins=4)
        inset.set_title("minus the flow; grey: single runs", fontsize="small")
        inset.tick_params(labelsize="small")
    ax.legend(loc="upper right")
    return ax
