"""The two phases of training on one picture, each on its own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_flow.plots.paths import plot_ensemble
from manifold_flow.plots.style import BLUE, VERMILION, new_axes_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_two_phases"]

Array = NDArray[np.float64]
Curve = tuple[Array, Array]


def plot_two_phases(
    descent: Curve,
    early: Curve,
    drift: Curve,
    late: Curve,
    *,
    label: str = "SGD",
    axes: list[Axes] | None = None,
) -> list[Axes]:
    r"""Draw the loss falling to M, and then the sharpness falling on it.

    A step of learning rate η takes the time η in the first phase and :math:`\eta^2` in
    the second, so that on the right-hand axis the whole left one has a width of order
    η.

    Parameters
    ----------
    descent : (times (T,), loss (T,))
        Of the gradient flow, time ηk.
    early : (times (K,), loss (K, replicas))
        Of an ensemble, time ηk.
    drift : (times (T,), sharpness (T,))
        Of the limiting flow from the gradient flow's limit, slow time.
    late : (times (K,), sharpness (K, replicas))
        Of the projected ensemble, slow time.
    label : str
        What the ensemble is.
    axes : list of two matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    list of two matplotlib Axes
        The loss, with a logarithmic vertical axis, and the sharpness.
    """
    left, right = new_axes_row(2) if axes is None else axes
    times, losses = early
    left.semilogy(*descent, color=BLUE, lw=2, label="gradient flow")
    low, high = np.quantile(losses, (0.025, 0.975), axis=1)
    left.fill_between(
        times, low, high, color=VERMILION, alpha=0.25, lw=0, label="95 % of single runs"
    )
    left.plot(times, losses.mean(axis=1), color=VERMILION, ls="--", label=label)
    # below the loss that noise keeps up, the flow alone goes on to rounding
    floor = float(losses.mean(axis=1).min())
    left.set(
        xlabel=r"time  $\eta k$  ($k$ steps of learning rate $\eta$)",
        ylabel=r"loss  $L$",
        title="phase one: down to the zero-loss manifold",
        ylim=(1e-2 * floor, 2.0 * max(descent[1].max(), losses.max())),
        xlim=(0.0, float(times[-1])),
    )
    left.legend(loc="upper right")
    plot_ensemble(*drift, *late, label=label, ax=right)
    right.set_title("phase two: along it")
    return [left, right]
