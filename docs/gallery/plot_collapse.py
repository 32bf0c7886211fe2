r"""
Every neuron learns the same feature
====================================

Twelve real images of handwritten digits, and a two-layer network of ten neurons,
:math:`f_i(\theta) = \sum_j \varphi(\theta_j \cdot x_i)` with :math:`\varphi(z) = z^3/6
+ z`. There are 640 parameters and 12 equations; the flow of
:math:`\operatorname{Tr} \nabla^2 L` on the 628-dimensional manifold of exact fits ends
in one place, whatever the start.
"""

# %%
# The model and its manifold. Targets are multiplied by the width, so that one neuron's
# share of them, :math:`y_i/m`, is of order one.

import numpy as np

import manifold_flow as mf
from manifold_flow import bounds, plots

inputs, targets = mf.datasets.digits(n=12, rng=0)
model = mf.TwoLayerNetwork(inputs, 10 * targets, width=10, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start = manifold.random_point(rng=0)
print(manifold)
print(manifold.regular_point(start))

# %%
# The flow, to stationarity, keeping every step of the solver.

flow = mf.LimitingFlow(manifold, mf.HessianTrace())
path = mf.integrate(flow, start, keep_steps=True)
print(path)

# %%
# The preactivations :math:`z_{ij} = \theta_j \cdot x_i` of all neurons, coloured by
# sample. Theorem 1 of Gatmiry, Li, Reddi and Jegelka says where they must end: at
# :math:`\varphi^{-1}(y_i/m)`, the dots.

features = model.features(path.points)
limit = model.activation.inverse(model.targets / model.width)
figure = plots.plot_features(path.times, features, limit).figure
figure

# %%
# How fast? The proved bound needs only what is known before the flow runs: the smallest
# eigenvalue of the Gram matrix of the images, and an interval that the preactivations
# cannot leave. The rate at the end of the path is known exactly.

gap = path.sharpness - mf.references.flattest_value(model)
interval = bounds.sublevel_interval(model, start)
flattest = mf.references.flattest_point(model, start)
figure = plots.plot_gap(
    path.times,
    gap,
    pl_rate=bounds.pl_rate(model, interval),
    local_rate=bounds.local_rate(model, flattest),
    floor=1e-13 * path.sharpness[-1],
).figure
figure

# %%
# From other starts it is the same place, up to the part of each :math:`\theta_j`
# orthogonal to the images, which never moves.

ends = [mf.integrate(flow, manifold.random_point(rng=seed)).end for seed in (1, 2)]
spread = np.ptp([model.features(end) for end in (path.end, *ends)], axis=0).max()
print(f"largest difference of a preactivation between three ends: {spread:.1e}")

assert path.status is mf.Status.STATIONARY
assert np.abs(features[-1] - limit[:, None]).max() < 1e-6
assert np.abs(path.end - flattest).max() < 1e-6
assert spread < 1e-6
bound = gap[0] * np.exp(-bounds.pl_rate(model, interval) * path.times)
assert (gap <= bound + 1e-10).all()
