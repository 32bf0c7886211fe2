r"""
Label noise on the flow
=======================

Fresh noise on the labels keeps SGD moving after it has fitted the data. The theorem of
Li, Wang and Arora says where to: as the learning rate :math:`\eta` goes to 0, and one
step takes the time :math:`\eta^2`, the iterates follow the flow of
:math:`\operatorname{Tr} \nabla^2 L` on the zero-loss manifold.

A statement about a limit is not judged by closeness at one learning rate, but by how
the error shrinks when the learning rate is halved.
"""

# %%
# A small network. ``limiting_flow`` is the theorem: it returns the sharpness and the
# rate, here :math:`\sigma^2/4`.

from dataclasses import replace

import numpy as np

import manifold_flow as mf
from manifold_flow import plots

inputs, targets = mf.datasets.gaussian(n=3, d=3, rng=0)
model = mf.TwoLayerNetwork(inputs, targets, width=4, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start = manifold.random_point(rng=0)
sgd = mf.LabelNoiseSGD(model, learning_rate=0.01, noise_std=1.0)
print(mf.limiting_flow(sgd, manifold))

# %%
# ``compare`` runs the optimizer at several learning rates to the same slow time. The
# iterates are projected on the manifold before their sharpness is taken: off it they
# carry the noise of the last steps, which has nothing to do with the drift.

rates = [0.04, 0.02, 0.01]
found = mf.compare(
    sgd, manifold, start, slow_time=1.0, learning_rates=rates, replicas=200, rng=1
)
print(found)

# %%
# The mean of the runs beside the flow.

axes = plots.new_axes()
finest = found.ensembles[-1]
axes.plot(finest.times, finest.reference, color=plots.BLUE, lw=2, label="limiting flow")
for ensemble, colour in zip(
    found.ensembles, (plots.VERMILION, plots.ORANGE, plots.GREEN), strict=True
):
    label = f"SGD, $\\eta$ = {ensemble.learning_rate:g}"
    axes.plot(ensemble.times, ensemble.mean, color=colour, ls="--", label=label)
axes.set(xlabel=r"slow time  $\eta^2 k$", ylabel=r"$\mathrm{Tr}\,\nabla^2 L$")
axes.legend()
runs = axes.figure
runs

# %%
# The distance from the flow against the learning rate: in proportion.

axes = found.plot()
distances = axes.figure
distances

# %%
# The same runs, judged against a flow of twice the rate: their error goes nowhere, and
# the rate they have is measured.

wrong = replace(mf.limiting_flow(sgd, manifold), rate=0.5)
refuted = mf.compare(
    sgd,
    manifold,
    start,
    slow_time=1.0,
    learning_rates=rates[:2],
    flow=wrong,
    replicas=64,
    rng=1,
)
print(refuted.reason)

# %%
# What a finite learning rate changes is known to the next order: the flow with the
# exact covariance of the fluctuations leaves a small part of the error.

ensemble = found.ensembles[0]
corrected = mf.finite_step_flow(sgd.with_learning_rate(rates[0]), manifold)
path = mf.integrate(corrected, start, ensemble.times)
exact = np.array(
    [mf.HessianTrace().value(manifold.linearize(point)) for point in path.points]
)
left = replace(ensemble, reference=exact).weak_error
print(f"error beside the flow {ensemble.weak_error}, beside the corrected one {left}")

assert found.verdict.name == "HOLDS"
assert 0.8 < found.fitted_order.value < 1.25
assert refuted.verdict.name == "VIOLATED"
assert abs(left.value) < 0.2 * abs(ensemble.weak_error.value)
