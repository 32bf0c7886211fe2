"""How an algorithm comes nearer to its flow as its learning rate falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_flow.plots.style import BLUE, VERMILION, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_convergence"]

Array = NDArray[np.float64]


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
