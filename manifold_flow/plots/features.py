"""What the hidden neurons do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from numpy.typing import NDArray

from manifold_flow.plots.style import BLUE, GREY, ORANGE, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_features", "plot_singular_values"]

Array = NDArray[np.float64]


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
