r"""
The largest learning rate that tracks the limiting flow
=======================================================

The limiting flow of label-noise SGD holds as the learning rate :math:`\eta` goes to 0,
and small learning rates are slow: reaching slow time :math:`\tau` takes
:math:`\tau/\eta^2` steps. How large may :math:`\eta` be? At a finite learning rate the
noise holds the iterates a little further from the zero-loss manifold than the limit
says, and so they drift a little faster. That can be computed, so the question has an
answer for every model.
"""

# %%
# A small network, and the answer for one twentieth of the fall of the sharpness.

import numpy as np

import manifold_flow as mf
from manifold_flow import plots

inputs, targets = mf.datasets.gaussian(n=3, d=3, rng=0)
model = mf.TwoLayerNetwork(inputs, targets, width=3, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start, trace = manifold.random_point(rng=0), mf.HessianTrace()
slow_time, noise_std = 8.0, 0.5
step = mf.largest_tracking_step(
    model, tolerance=0.05, start=start, noise_std=noise_std, slow_time=slow_time
)
print(step)

# %%
# The same from the flows themselves: the limiting flow, and the flow at a finite
# learning rate, at the same slow times.


def sharpness_along(flow, times):
    """Tr ∇²L at each of the times."""
    points = mf.integrate(flow, start, times).points
    return np.array([trace.value(manifold.linearize(x)) for x in points])


def deviation(values, exact):
    """The largest distance, as a part of the fall."""
    return np.abs(values - exact).max() / (exact[0] - exact[-1])


def sgd(learning_rate):
    return mf.LabelNoiseSGD(model, learning_rate, noise_std, batch_size=3)


times = np.linspace(0.0, slow_time, 101)
exact = sharpness_along(mf.limiting_flow(sgd(0.1), manifold), times)
rates = step.stability_threshold * np.geomspace(0.02, 0.95, 12)
predicted = [
    deviation(sharpness_along(mf.finite_step_flow(sgd(rate), manifold), times), exact)
    for rate in rates
]

# %%
# And from SGD: the mean over replicas, with three standard errors.


def measured(learning_rate, replicas=128):
    n_steps = round(slow_time / learning_rate**2)
    run = mf.simulate(
        sgd(learning_rate),
        start,
        n_steps,
        every=max(1, n_steps // 16),
        replicas=replicas,
        rng=1,
    )
    points = manifold.projection(run.points)
    values = np.array([[trace.value(manifold.linearize(x)) for x in r] for r in points])
    limit = sharpness_along(mf.limiting_flow(sgd(learning_rate), manifold), run.times)
    error = values.std(axis=1, ddof=1).max() / np.sqrt(replicas)
    return deviation(values.mean(axis=1), limit), 3 * error / (limit[0] - limit[-1])


tried = step.learning_rate * np.array([0.5, 1.0, 2.0])
found = np.array([measured(rate) for rate in tried])

axes = plots.new_axes()
axes.loglog(rates, predicted, color=plots.BLUE, label="finite-step flow")
axes.errorbar(
    tried,
    found[:, 0],
    found[:, 1],
    color=plots.VERMILION,
    ls="none",
    marker="o",
    capsize=3,
    label="SGD, mean of 128",
)
axes.axhline(0.05, color=plots.GREY, ls="--", label="allowed")
axes.axvline(step.learning_rate, color=plots.GREEN, ls="-.", label="largest step")
axes.axvline(step.stability_threshold, color=plots.ORANGE, ls=":", label="stability")
axes.minorticks_off()
ticks = [0.02, 0.05, 0.1, 0.2, 0.5]
axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
axes.set_xlabel("learning rate $\\eta$")
axes.set_ylabel("largest deviation of Tr $\\nabla^2 L$ / its fall")
axes.legend()
figure = axes.figure
figure

# %%
# The deviation is proportional to the learning rate, so twice the tolerance buys nearly
# twice the learning rate and a run four times shorter, until stability ends it.

slope = np.polyfit(np.log(rates[:4]), np.log(predicted[:4]), 1)[0]
print(f"the deviation grows like the learning rate to the power {slope:.2f}")
for rate, (size, error) in zip(tried, found, strict=True):
    print(f"SGD at {rate:.3f}: deviation {size:.3f} +/- {error:.3f}")

assert abs(slope - 1.0) < 0.1
assert abs(found[1, 0] - 0.05) < 0.2 * 0.05 + found[1, 1]
