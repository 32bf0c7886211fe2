"""Two pictures for the pages: work against precision, time against size."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.results import Results

__all__ = ["draw"]

Curves = dict[str, list[tuple[float, float]]]

SIZES = ("S", "M", "L", "XL")
#: of Okabe and Ito, told apart by the colour-blind
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
MARKERS = "osv^Dx+P*"


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the pictures for which there are numbers.

    Parameters
    ----------
    results : Results
        A run.
    folder : Path
        Where to.

    Returns
    -------
    list of Path
        The files.
    """
    import matplotlib

    matplotlib.use("agg")
    drawn = [
        ("benchmarks_precision.png", _work_precision(results)),
        ("benchmarks_size.png", _time_size(results)),
    ]
    paths = []
    for name, figure in drawn:
        if figure is not None:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / name, dpi=150)
            paths.append(folder / name)
    return paths


def _work_precision(results: Results) -> Any:
    curves: Curves = defaultdict(list)
    for row in results.precision:
        if row.median is not None:
            curves[row.peer].append((row.error, row.median))
    if not curves:
        return None
    figure, axes = _drawn(curves)
    axes.set(
        xlabel="relative error of the trajectory",
        ylabel="seconds, one core",
        title=f"work and precision, {results.precision[0].problem}",
    )
    axes.invert_xaxis()
    return figure


def _time_size(results: Results) -> Any:
    curves: Curves = defaultdict(list)
    for row in results.rows:
        size = results.quantities.get(f"parameters {row.problem}")
        wanted = row.problem in SIZES and row.task == "endpoint"
        if wanted and row.median is not None and size is not None:
            curves[row.peer].append((size, row.median))
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    figure, axes = _drawn(curves)
    axes.set(
        xlabel=f"number of parameters m·d (sizes {', '.join(SIZES)})",
        ylabel="seconds to the end point, one core",
        title="time and size",
    )
    return figure


def _drawn(curves: Curves) -> tuple[Any, Any]:
    """Draw a line a peer: colour and dashes by library, the marker by method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    libraries = list(dict.fromkeys(_library(name) for name in curves))
    drawn = dict.fromkeys(libraries, 0)
    for name, points in curves.items():
        place = libraries.index(_library(name))
        ours = _library(name) == "manifold_flow"
        axes.loglog(
            *zip(*sorted(points), strict=True),
            color="black" if ours else COLOURS[place % len(COLOURS)],
            linestyle="-" if ours else ("--", ":", "-.")[place % 3],
            linewidth=2.0 if ours else 1.0,
            marker=MARKERS[drawn[_library(name)] % len(MARKERS)],
            markersize=5,
            label=name,
        )
        drawn[_library(name)] += 1
    figure.legend(loc="outside right upper", fontsize="x-small")
    return figure, axes


def _library(name: str) -> str:
    return name.split(maxsplit=1)[0]
