"""The picture of the README: ``python docs/pictures.py`` draws it anew."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

import manifold_flow as mf
from manifold_flow import bounds, plots

inputs, targets = mf.datasets.digits(n=12, rng=0)
model = mf.TwoLayerNetwork(inputs, 10 * targets, width=10, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start = manifold.random_point(rng=0)
path = mf.integrate(
    mf.LimitingFlow(manifold, mf.HessianTrace()), start, keep_steps=True
)

with matplotlib.rc_context(plots.STYLE):
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
limit = model.activation.inverse(model.targets / model.width)
plots.plot_features(path.times, model.features(path.points), limit, ax=left)
plots.plot_gap(
    path.times,
    path.sharpness - mf.references.flattest_value(model),
    pl_rate=bounds.pl_rate(model, bounds.sublevel_interval(model, start)),
    local_rate=bounds.local_rate(model, path.end),
    floor=1e-13 * path.sharpness[-1],
    ax=right,
)
figure.savefig(Path(__file__).parent / "_static" / "collapse.png", dpi=110)
