r"""
Label-noise SGD follows its limiting flow
=========================================

Fresh noise on the labels keeps SGD moving after it has fitted the data. The theorem of
Li, Wang and Arora says where to: as the learning rate :math:`\eta` goes to 0, and one
step takes the time :math:`\eta^2`, the iterates follow the flow of
:math:`\operatorname{Tr} \nabla^2 L` on the zero-loss manifold.

A statement about a limit is not judged by closeness at one learning rate, but by how
the distance shrinks when the learning rate is halved.
"""

# %%
# A small network, and the flow that belongs to the optimizer. ``limiting_flow`` is the
# theorem: it returns the sharpness and the rate, here :math:`\sigma^2/4`.

import numpy as np

import manifold_flow as mf
from manifold_flow import plots

inputs, targets = mf.datasets.gaussian(n=3, d=3, rng=0)
model = mf.TwoLayerNetwork(inputs, 4 * targets, width=4, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start = manifold.random_point(rng=0)
slow_time, trace = 1.0, mf.HessianTrace()


def ensemble(learning_rate, replicas=256):
    """Tr ∇²L of the projected iterates, and of the flow, at the same slow times."""
    sgd = mf.LabelNoiseSGD(model, learning_rate, noise_std=2.0)
    n_steps = round(slow_time / sgd.time_per_step)
    run = mf.simulate(
        sgd, start, n_steps, every=n_steps // 10, replicas=replicas, rng=1
    )
    flow = mf.integrate(mf.limiting_flow(sgd, manifold), start, run.times)
    projected = manifold.projection(run.points)
    values = [[trace.value(manifold.linearize(p)) for p in row] for row in projected]
    return run.times, np.array(values), flow.sharpness


# %%
# Iterates are projected on the manifold before their sharpness is taken: off it they
# carry the noise of the last steps, which has nothing to do with the drift.

results = {rate: ensemble(rate) for rate in (0.02, 0.01)}
times, values, exact = results[0.01]
axes = plots.plot_ensemble(times, exact, times, values, label="SGD, $\\eta$ = 0.01")
coarse = results[0.02][1].mean(axis=1)
axes.plot(results[0.02][0], coarse, color=plots.ORANGE, ls=":", label="$\\eta$ = 0.02")
axes.legend()
figure = axes.figure
figure

# %%
# The distance of the mean from the flow, and its standard error.


def deviation(rate):
    _, values, exact = results[rate]
    error = np.abs(values.mean(axis=1) - exact).max()
    return error, values.std(axis=1, ddof=1).max() / np.sqrt(values.shape[1])


for rate in results:
    error, standard_error = deviation(rate)
    print(f"learning rate {rate}: deviation {error:.3f} +/- {standard_error:.3f}")
ratio = deviation(0.02)[0] / deviation(0.01)[0]
print(f"halving the learning rate divides the deviation by {ratio:.2f}")

assert 1.5 < ratio < 2.7
