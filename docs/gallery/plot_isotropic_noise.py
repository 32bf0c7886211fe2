r"""
Isotropic noise ends elsewhere than label noise
===============================================

Noise on the labels is matched to the Hessian, and drives SGD to the flattest point of
the zero-loss manifold. Noise of one size in every direction of the gradient does
something else: by the theorem of Li, Wang and Arora it leaves Brownian motion on the
manifold, with the drift :math:`-\tfrac{\sigma^2}{4}\,\mathrm{grad}_M \log |H|_+`. The
manifold here is a curve that can be drawn.
"""

# %%
# One measurement :math:`\langle A, u u^T \rangle = 1` of a vector u in the plane: the
# vectors that fit it are an ellipse, flat at its far ends and four times as sharp at
# its sides. All runs start near the top, where it is sharp.

import numpy as np

import manifold_flow as mf
from manifold_flow import plots

half_axes = np.array([2.0, 1.0])
form = np.diag(half_axes**-2.0)
model = mf.MatrixSensing([form], [1.0], rank=1, symmetric=True)
manifold = mf.ZeroLossManifold(model)
start = half_axes * [np.cos(1.4), np.sin(1.4)]
learning_rate, noise_std, replicas = 0.02, 1.0, 300
times = np.linspace(0.0, 6.0, 13)
rng = np.random.default_rng(1)

# %%
# Label noise, at two learning rates, and the flow it follows.


def label_noise_runs(rate):
    sgd = mf.LabelNoiseSGD(model, rate, noise_std)
    every = round(times[1] / sgd.time_per_step)
    n_steps = every * (len(times) - 1)
    return mf.simulate(sgd, start, n_steps, every=every, replicas=100, rng=rng).points


labelled, coarse = label_noise_runs(learning_rate), label_noise_runs(2 * learning_rate)
sgd = mf.LabelNoiseSGD(model, learning_rate, noise_std)
flow = mf.integrate(mf.limiting_flow(sgd, manifold), start, times)

# %%
# Isotropic noise, :math:`\theta \leftarrow \theta - \eta\,(\nabla L + \sigma \xi)`, in
# a loop of its own; and the diffusion it follows, whose factor is the number σ.

first, no_noise = np.zeros((replicas, 1), dtype=int), np.zeros((replicas, 1))
params = np.tile(start, (replicas, 1))
isotropic = [params]
for _ in times[1:]:
    for _ in range(round(times[1] / learning_rate**2)):
        gradient = model.sample_gradient(params, first, no_noise)
        xi = rng.standard_normal(params.shape)
        params = params - learning_rate * (gradient + noise_std * xi)
    isotropic.append(params)

diffusion = mf.LimitingDiffusion(manifold, noise_std)
paths = mf.integrate_sde(diffusion, start, times, dt=0.05, replicas=60, rng=rng)
print(paths)

# %%
# Where the runs end. Label noise has gathered them at a flat end; isotropic noise has
# spread them over the whole ellipse.

angles = np.linspace(0.0, 2 * np.pi, 400)
ellipse = half_axes * np.stack([np.cos(angles), np.sin(angles)], axis=1)
axes = plots.new_axes((6.4, 3.6))
axes.plot(*ellipse.T, color=plots.GREY)
for ends, colour, name in (
    (isotropic[-1], plots.ORANGE, "isotropic noise"),
    (labelled[-1], plots.BLUE, "label noise"),
):
    axes.plot(*ends.T, ".", color=colour, ms=4, alpha=0.6, label=f"SGD, {name}")
axes.plot(*start, "k*", ms=12, label="start")
axes.set(xlabel="$u_1$", ylabel="$u_2$", aspect="equal")
axes.legend(loc="center")
figure = axes.figure
figure

# %%
# The mean sharpness of the iterates, projected on the ellipse, beside their two limits.
# Under isotropic noise it does not fall to the minimum. The law that this diffusion
# leaves unchanged has the density :math:`|H|_+^{-1/2}` on M, uniform in the eccentric
# angle of the ellipse, and so a mean of 2.5.


def sharpness(points):
    """Tr ∇²L = |∇r|² of points on the ellipse."""
    return 4.0 * ((points @ form) ** 2).sum(axis=-1)


def mean_sharpness(runs):
    """Mean and standard error at every time, after projection."""
    values = sharpness(manifold.projection(runs))
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])


label_mean, label_error = mean_sharpness(labelled)
sgd_mean, sgd_error = mean_sharpness(np.array(isotropic))
sde_mean, sde_error = mean_sharpness(paths.points)
stationary = 2.0 * (1.0 / half_axes**2).sum()

axes = plots.new_axes()
axes.axhline(stationary, color=plots.GREY, ls=":", label="stationary law")
band = sde_mean - 2 * sde_error, sde_mean + 2 * sde_error
axes.fill_between(times, *band, color=plots.ORANGE, alpha=0.25, lw=0)
axes.plot(times, sde_mean, color=plots.ORANGE, lw=2, label="limiting diffusion")
axes.plot(times, sgd_mean, "o", color=plots.ORANGE, label="SGD, isotropic noise")
axes.plot(times, flow.sharpness, color=plots.BLUE, lw=2, label="limiting flow")
axes.plot(times, label_mean, "o", color=plots.BLUE, label="SGD, label noise")
axes.set(xlabel=r"slow time  $\eta^2 k$", ylabel=r"mean of  $\mathrm{Tr}\,\nabla^2 L$")
axes.legend(loc="lower left", ncols=1)
figure = axes.figure
figure

# %%
# Each follows its own limit, and the ends are many standard errors apart. The distance
# of label noise from its flow is that of a finite learning rate, and halves with it.

apart = (sgd_mean[-1] - label_mean[-1]) / np.hypot(sgd_error[-1], label_error[-1])
fine_distance = np.abs(label_mean - flow.sharpness).max()
coarse_distance = np.abs(mean_sharpness(coarse)[0] - flow.sharpness).max()
print(f"mean sharpness at the end: label noise {label_mean[-1]:.3f}, isotropic noise")
print(f"{sgd_mean[-1]:.3f}, {apart:.0f} standard errors apart")
print(f"label noise, from its flow: {coarse_distance:.3f}, then {fine_distance:.3f}")

assert apart > 10
assert 1.5 < coarse_distance / fine_distance < 2.7
assert (np.abs(sgd_mean - sde_mean)[1:] < 4 * np.hypot(sgd_error, sde_error)[1:]).all()
assert np.abs(sgd_mean[-1] - stationary) < 4 * sgd_error[-1]
