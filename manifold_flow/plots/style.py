"""Colours, the style of every figure, and a figure of its own.

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

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "STYLE",
    "VERMILION",
    "marker",
    "new_axes",
    "new_axes_row",
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
    return new_axes_row(1, size)[0]


def new_axes_row(count: int, size: tuple[float, float] = (11.0, 4.2)) -> list[Axes]:
    """Return axes side by side on a figure of their own.

    Parameters
    ----------
    count : int
        How many.
    size : (float, float)
        Width and height of the figure in inches.

    Returns
    -------
    list of matplotlib Axes
        Empty axes in the project's style, from left to right.
    """
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        return list(figure.subplots(1, count, squeeze=False)[0])


def png(axes: Axes) -> bytes:
    """Return the figure of some axes as the content of a PNG file."""
    buffer = io.BytesIO()
    axes.figure.figure.savefig(buffer, format="png", dpi=144)
    return buffer.getvalue()


def png_base64(axes: Axes) -> str:
    """Return the figure of some axes as a base64 PNG for a self-contained page."""
    return base64.b64encode(png(axes)).decode("ascii")


def marker(times: Array) -> str | None:
    """Return a marker where points are few enough to be told apart.

    Parameters
    ----------
    times : array, shape (T,)
        Where the points are.

    Returns
    -------
    str or None
        Matplotlib's name of a circle.
    """
    return "o" if len(times) <= 30 else None
