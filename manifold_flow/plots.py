"""Arrays in, Axes out; the only file that imports matplotlib.

Colours are those of Okabe and Ito, told apart with any colour vision.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manifold_flow.trajectory import Trajectory

__all__ = [
    "new_axes",
    "plot_convergence",
    "plot_ensemble",
    "plot_features",
    "plot_gap",
    "plot_path",
    "plot_singular_values",
    "png",
    "png_base64",
]

Array = NDArray[np.float64]

BLUE, ORANGE, GREEN, VERMILION, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#7F7F7F",
)
#: keys are Any because matplotlib types them as one long Literal
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 110,
}


def new_axes(size: tuple[float, float] = (6.4, 4.2)) -> Axes:
    """Return axes on a figure of their own, outside pyplot's global list.

    Parameters
    ----------
    size : (float, float)
        Width and height in inches.

    Returns
    -------
    matplotlib Axes
        Empty axes in the project's style.
    """
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        return figure.add_subplot()


def png(axes: Axes) -> bytes:
    """Return the figure of some axes as the content of a PNG file."""
    buffer = io.BytesIO()
    axes.figure.figure.savefig(buffer, format="png", dpi=144)
    return buffer.getvalue()


def png_base64(axes: Axes) -> str:
    """Return the figure of some axes as a base64 PNG for a self-contained page."""
    return base64.b64encode(png(axes)).decode("ascii")


def plot_path(path: Trajectory, *, ax: Axes | None = None) -> Axes:
    """Draw sharpness (left axis) and gradient norm (right, logarithmic).

    Parameters
    ----------
    path : Trajectory
        Of a flow, with its diagnostics.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        The axes of the sharpness.
    """
    ax = new_axes() if ax is None else ax
    if path.sharpness is None or path.gradient_norm is None:
        assert path.residual is not None
        ax.semilogy(path.times, path.residual, color=BLUE)
        ax.set(xlabel="slow time", ylabel="largest |residual| over the replicas")
        return ax
    ax.plot(path.times, path.sharpness, color=BLUE, marker=_marker(path.times))
    ax.set(xlabel="slow time", ylabel="sharpness")
    ax.yaxis.label.set_color(BLUE)
    right = ax.twinx()
    right.semilogy(
        path.times,
        path.gradient_norm,
        color=VERMILION,
        ls="--",
        marker=_marker(path.times),
    )
    right.set_ylabel("norm of the Riemannian gradient", color=VERMILION)
    right.grid(False)
    title = path.status.value.split(":")[0]
    if len(path.times) == 2:
        # a straight line would be taken for the path
        for line in (*ax.lines, *right.lines):
            line.set_linestyle("none")
        title += " (start and end only; keep_steps=True keeps the way)"
    ax.set_title(title)
    return ax


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


def plot_features(
    times: Array, features: Array, limit: Array | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw every neuron's preactivations collapsing on one value a sample.

    Parameters
    ----------
    times : array, shape (T,)
        Slow time.
    features : array, shape (T, n, m)
        Preactivations z_ij.
    limit : array, shape (n,), optional
        φ⁻¹(y_i/m), marked at the right edge.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        With a logarithmic time axis.
    """
    ax = new_axes() if ax is None else ax
    samples = features.shape[1]
    colours = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.92, samples))
    order = np.argsort(features[-1].mean(axis=1))
    for rank, sample in enumerate(order):
        ax.plot(times, features[:, sample], color=colours[rank], lw=0.6, alpha=0.55)
        if limit is not None:
            ax.plot(
                times[-1], limit[sample], "o", color=colours[rank], ms=5, mec="white"
            )
    # neurons separate within the first thousandth of the run: decades, not seconds
    ax.set(
        xscale="log",
        xlim=(1e-6 * times[-1], 2.0 * times[-1]),
        xlabel="slow time",
        ylabel=r"preactivations  $z_{ij} = x_i^\top \theta_j$",
    )
    if limit is not None:
        ax.plot([], [], "o", color=GREY, label=r"$\varphi^{-1}(y_i/m)$")
        ax.legend(loc="upper right")
    return ax


def plot_singular_values(
    times: Array, values: Array, *, ax: Axes | None = None
) -> Axes:
    """Draw the singular values of the feature matrix against slow time.

    The grey line is where rounding of the largest one hides all others.

    Parameters
    ----------
    times : array, shape (T,)
        Slow time.
    values : array, shape (T, k)
        Singular values, descending.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        With a logarithmic vertical axis.
    """
    ax = new_axes() if ax is None else ax
    ax.semilogy(times, values[:, 0], color=BLUE, lw=2, label="first")
    rest = np.maximum(values[:, 1:], 1e-17)
    lines = ax.semilogy(times, rest, color=ORANGE, lw=0.9, alpha=0.8)
    if lines:
        lines[0].set_label("all others")
    rounding = np.finfo(float).eps * float(values.max())
    ax.axhline(rounding, color=GREY, ls=":", label="rounding")
    ax.set(xlabel="slow time", ylabel=r"singular values of  $\varphi(Z)$")
    ax.legend()
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
    ax.plot(times, mean, color=VERMILION, ls="--", marker=_marker(times), label=label)
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


def plot_convergence(
    learning_rates: Array,
    distances: Array,
    standard_errors: Array,
    *,
    label: str = "algorithm",
    ax: Axes | None = None,
) -> Axes:
    """Draw the distance from the flow against the learning rate, on log-log axes.

    Parameters
    ----------
    learning_rates : array, shape (L,)
        Step sizes.
    distances : array, shape (L,)
        Largest distance from the flow over the times of a run.
    standard_errors : array, shape (L,)
        Of the distances; bars are 95 % intervals.
    label : str
        What was measured.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        With a line of slope 1 through the smallest learning rate.
    """
    from matplotlib.ticker import LogLocator

    ax = new_axes() if ax is None else ax
    ax.set(xscale="log", yscale="log")
    # the part of a bar below 0 has no place on a logarithmic axis
    low = np.minimum(1.96 * standard_errors, 0.99 * distances)
    ax.errorbar(
        learning_rates,
        distances,
        yerr=(low, 1.96 * standard_errors),
        color=VERMILION,
        marker="o",
        ls="--",
        capsize=3,
        label=label,
    )
    finest = int(np.argmin(learning_rates))
    line = distances[finest] * learning_rates / learning_rates[finest]
    ax.plot(learning_rates, line, color=BLUE, label=r"proportional to $\eta$")
    ax.set_xticks(learning_rates, [f"{rate:g}" for rate in learning_rates])
    ax.set_xticks([], minor=True)
    # less than a decade is told by a tick at every 1, 2 and 5
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.set(xlabel=r"learning rate  $\eta$", ylabel="largest distance from the flow")
    ax.legend(loc="upper left")
    return ax


def _marker(times: Array) -> str | None:
    return "o" if len(times) <= 30 else None
