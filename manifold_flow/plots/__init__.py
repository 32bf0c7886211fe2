"""Arrays in, Axes out; the only package that imports matplotlib."""

from manifold_flow.plots.convergence import plot_convergence
from manifold_flow.plots.features import plot_features, plot_singular_values
from manifold_flow.plots.paths import plot_ensemble, plot_gap, plot_path
from manifold_flow.plots.phases import plot_two_phases
from manifold_flow.plots.style import BLUE as BLUE
from manifold_flow.plots.style import GREEN as GREEN
from manifold_flow.plots.style import GREY as GREY
from manifold_flow.plots.style import ORANGE as ORANGE
from manifold_flow.plots.style import STYLE as STYLE
from manifold_flow.plots.style import VERMILION as VERMILION
from manifold_flow.plots.style import new_axes, new_axes_row, png, png_base64

__all__ = [
    "new_axes",
    "new_axes_row",
    "plot_convergence",
    "plot_ensemble",
    "plot_features",
    "plot_gap",
    "plot_path",
    "plot_singular_values",
    "plot_two_phases",
    "png",
    "png_base64",
]
