r"""
Two phases: down to the manifold, and along it
==============================================

Training with a small learning rate :math:`\eta` and a little noise has two phases. In
:math:`1/\eta` steps the gradient flow of the loss takes the parameters from
:math:`\theta_0` to a point :math:`\Phi(\theta_0)` of the zero-loss manifold. There the
loss has no more to say, and in :math:`1/\eta^2` steps the noise takes them along the
manifold, down the trace of the Hessian. Each phase has its own clock:
:math:`\eta k` and :math:`\eta^2 k` after :math:`k` steps.
"""

# %%
# A small network, started far from the manifold. ``gradient_flow`` is the first phase,
# ``limit_map`` its end alone, and the limiting flow of label noise starts there.

import numpy as np

import manifold_flow as mf
from manifold_flow import plots

inputs, targets = mf.datasets.gaussian(n=3, d=3, rng=0)
model = mf.TwoLayerNetwork(inputs, 4 * targets, width=4, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start = np.random.default_rng(0).standard_normal(model.n_params)
fast_time, slow_time, trace = 5.0, 1.5, mf.HessianTrace()

descent = mf.gradient_flow(model, start)
limit = mf.limit_map(model, start)
print(descent)

# %%
# SGD with fresh label noise runs through both: recorded finely until the time 5 of the
# first clock, then coarsely on the second. The end of one run starts the next.


def two_phases(learning_rate, replicas=128):
    """Loss in the first phase; Tr ∇²L of the projected iterates in the second."""
    sgd, rng = mf.LabelNoiseSGD(model, learning_rate, noise_std=1.0), 1
    n_early = round(fast_time / learning_rate)
    n_late = round(slow_time / sgd.time_per_step) - n_early
    early = mf.simulate(
        sgd, start, n_early, every=n_early // 50, replicas=replicas, rng=rng
    )
    late = mf.simulate(sgd, early.end, n_late, every=n_late // 10, rng=rng + 1)
    losses = model.loss.value(manifold.submersion(early.points))
    projected = manifold.projection(late.points)
    values = [[trace.value(manifold.linearize(p)) for p in row] for row in projected]
    fast_times, slow_times = early.times / learning_rate, early.times[-1] + late.times
    return (fast_times, losses), (slow_times, np.array(values))


results = {rate: two_phases(rate) for rate in (0.02, 0.01)}
sgd = mf.LabelNoiseSGD(model, learning_rate=0.01, noise_std=1.0)
drift = mf.integrate(
    mf.limiting_flow(sgd, manifold), limit, np.linspace(0.0, slow_time, 100)
)

# %%
# The loss of SGD leaves the gradient flow only where it meets its own noise, a loss of
# order :math:`\eta`. On the right the first phase takes no time in the limit: SGD comes
# to the manifold at the slow time :math:`\eta` times that of the left picture.

early, late = results[0.01]
left, right = plots.plot_two_phases(
    (descent.times, descent.loss),
    early,
    (drift.times, drift.sharpness),
    late,
    label="SGD, $\\eta$ = 0.01",
)
figure = left.figure
figure

# %%
# Both statements are about :math:`\eta \to 0`: halving the learning rate halves the
# distance, of the loss (its mean over the first phase) from the gradient flow, and of
# the sharpness at the end of the second from the limiting flow that starts at
# :math:`\Phi(\theta_0)`.


def deviations(rate):
    """Distance of the mean from both flows, each with its standard error."""
    (fast_times, losses), (_, values) = results[rate]
    exact = mf.gradient_flow(model, start, fast_times).loss
    for away in (
        (losses - exact[:, None]).mean(axis=0),
        values[-1] - drift.sharpness[-1],
    ):
        yield abs(away.mean()), away.std(ddof=1) / np.sqrt(len(away))


table = {rate: list(deviations(rate)) for rate in results}
for phase, name in enumerate(("loss, phase one", "Tr ∇²L, phase two")):
    (coarse, coarse_error), (fine, fine_error) = (table[r][phase] for r in results)
    ratio = coarse / fine
    spread = ratio * np.hypot(coarse_error / coarse, fine_error / fine)
    print(f"{name}: {coarse:.4f} -> {fine:.4f}, ratio {ratio:.2f} +/- {spread:.2f}")
    assert 1.5 < ratio < 2.7

# the control: from the projection of the start instead of its limit, phase two ends
# no nearer when the learning rate is halved
elsewhere = mf.integrate(
    mf.limiting_flow(sgd, manifold), manifold.projection(start), [slow_time]
)
wrong = [abs(results[r][1][1][-1].mean() - elsewhere.sharpness[-1]) for r in results]
print(f"from the projected start instead: {wrong[0]:.4f} -> {wrong[1]:.4f}")
assert wrong[0] / wrong[1] < 1.5
