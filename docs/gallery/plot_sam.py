r"""
SAM against label noise
=======================

Three algorithms that prefer flat minima, on one network from one start. Label noise
follows the trace of the Hessian. Sharpness-aware minimisation (SAM) takes its gradient
a little uphill; Wen, Ma and Li found that its limit depends on the batch: on the full
batch it follows the largest eigenvalue :math:`\lambda_1`, on single samples the trace,
both at the rate ½ on the clock :math:`\eta \rho^2` a step.
"""

# %%
# One network, one start, and what theorems say of each algorithm. SAM's radius
# :math:`\rho` is in proportion to the learning rate.

import numpy as np

import manifold_flow as mf
from manifold_flow import plots

inputs, targets = mf.datasets.gaussian(n=3, d=3, rng=0)
model = mf.TwoLayerNetwork(inputs, targets, width=4, activation="cubic")
manifold = mf.ZeroLossManifold(model)
start = manifold.random_point(rng=0)
algorithms = {
    "label noise": mf.LabelNoiseSGD(model, 0.02, noise_std=2**0.5),
    "SAM": mf.SAM(model, 0.02, radius=0.05),
    "SAM, single samples": mf.SAM(model, 0.02, radius=0.05, batch_size=1),
}
for name, optimizer in algorithms.items():
    print(f"{name}: {mf.limiting_flow(optimizer, manifold)}")

# %%
# Each beside its own limit. Full-batch SAM has no randomness: it starts at 16 points
# beside the manifold instead, because on it there is no gradient.


def beside(optimizer, replicas, flow=None):
    """Two learning rates, to the same slow time from the same start."""
    return mf.compare(
        optimizer,
        manifold,
        start,
        slow_time=0.5,
        learning_rates=[0.02, 0.01],
        replicas=replicas,
        flow=flow,
        rng=0,
    )


found = {
    name: beside(optimizer, 200 if name == "label noise" else 32)
    for name, optimizer in algorithms.items()
}
for name, comparison in found.items():
    print(f"{name}: {comparison.verdict.name}, {comparison.reason}.\n")

# %%
# And full-batch SAM beside the flow of the other two: not its limit.

trace = mf.LimitingFlow(manifold, mf.HessianTrace(), rate=0.5)
crossed = beside(algorithms["SAM"], 16, flow=trace)
print(f"{crossed.verdict.name}, {crossed.reason}.")

# %%
# The trace along both flows, and what the algorithms do to it, at the learning rate
# 0.01. SAM on the full batch lowers it too, but more slowly: it cares for
# :math:`\lambda_1` alone.

times = np.linspace(0.0, 0.5, 40)
largest = mf.LimitingFlow(manifold, mf.HessianTopEigenvalue(), rate=0.5)
axes = plots.new_axes()
for flow, colour, label in (
    (trace, plots.BLUE, r"flow of $\mathrm{Tr}\,\nabla^2 L$"),
    (largest, plots.GREY, r"flow of $\lambda_1$"),
):
    path = mf.integrate(flow, start, times)
    values = [mf.HessianTrace().value(manifold.linearize(p)) for p in path.points]
    axes.plot(times, values, color=colour, lw=2, label=label)
for comparison, marker, colour, label in (
    (found["label noise"], "o", plots.VERMILION, "label noise"),
    (found["SAM, single samples"], "x", plots.GREEN, "SAM, single samples"),
    (crossed, "s", plots.ORANGE, "SAM, full batch"),
):
    ensemble = comparison.ensembles[-1]
    axes.plot(
        ensemble.times, ensemble.mean, marker, color=colour, mfc="none", label=label
    )
axes.set(xlabel="slow time", ylabel=r"$\mathrm{Tr}\,\nabla^2 L$")
axes.legend()
figure = axes.figure
figure

# %%
# The theorem in one line: three limits are held to, and one is not.

assert all(comparison.verdict.name == "HOLDS" for comparison in found.values())
assert crossed.verdict.name == "VIOLATED"
