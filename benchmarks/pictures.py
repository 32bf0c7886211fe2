"""Two pictures for the pages: work against precision, time against size."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.results import Results

__all__ = ["draw"]


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
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in results.precision:
        if row.median is not None:
            curves[row.peer].append((row.error, row.median))
    if not curves:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        errors, seconds = zip(*sorted(points), strict=True)
        ours = name.startswith("manifold_flow")
        axes.loglog(errors, seconds, "o-" if ours else ".--", label=name)
    axes.set(
        xlabel="relative error of the trajectory",
        ylabel="seconds, one core",
        title=f"work and precision, {results.precision[0].problem}",
    )
    axes.invert_xaxis()
    axes.legend(fontsize="small")
    return figure


def _time_size(results: Results) -> Any:
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in results.rows:
        size = results.quantities.get(f"parameters {row.problem}")
        if row.task == "endpoint" and row.median is not None and size is not None:
            curves[row.peer].append((size, row.median))
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        sizes, seconds = zip(*sorted(points), strict=True)
        ours = name.startswith("manifold_flow")
        axes.loglog(sizes, seconds, "o-" if ours else ".--", label=name)
    axes.set(
        xlabel="number of parameters m·d (sizes S, M, L, XL)",
        ylabel="seconds to the end point, one core",
        title="time and size",
    )
    axes.legend(fontsize="x-small", ncols=2)
    return figure
