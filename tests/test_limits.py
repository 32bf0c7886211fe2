"""From optimizers to their flows: clocks, sharpnesses, rates, and finite steps."""

import numpy as np
import pytest
import scipy.linalg

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from laws import relative
from manifold_flow.errors import NoLimitingFlowError

# --- the table of clocks --------------------------------------------------------------

N, SIGMA, ETA, REPLICAS = 4, 0.3, 0.01, 20_000
#: the update as coded -> loss, weight, batch sizes, and κ by batch size B
TABLE = {
    "full batch, sum": ("sum", 1.0, [N], lambda B: SIGMA**2 / 2),
    "full batch, half the sum": ("sum", 0.5, [N], lambda B: SIGMA**2 / 8),
    "full batch, mean": ("mean", 1.0, [N], lambda B: SIGMA**2 / (2 * N**2)),
    "mean": ("mean", 1.0, [1, 2, N], lambda B: SIGMA**2 / (2 * N * B)),
    "half mean": ("half_mean", 1.0, [1, 2, N], lambda B: SIGMA**2 / (8 * N * B)),
    "sum": ("sum", 1.0, [1, 2, N], lambda B: N * SIGMA**2 / (2 * B)),
}
#: how a batch is drawn -> what κ is multiplied by
DRAWS = {
    "without replacement": ({}, lambda B: 1.0),
    "with replacement": ({"replacement": True}, lambda B: 1.0),
    "repeated draws share their noise": (
        {"replacement": True, "shared_noise": True},
        lambda B: 1 + (B - 1) / N,
    ),
}
#: the rows that are full batches draw without replacement
ROWS = [
    (row, batch_size, draws)
    for row, (_, _, sizes, _) in TABLE.items()
    for batch_size in sizes
    for draws in (list(DRAWS)[:1] if row.startswith("full") else DRAWS)
]


@pytest.mark.parametrize(("row", "batch_size", "draws"), ROWS)
@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_every_row_of_the_table_of_clocks(row, batch_size, draws, momentum):
    """theory notes §0.4: per step −κη² grad F, F the trace at s = 1, q = 1."""
    loss, weight, _, kappa = TABLE[row]
    options, repeats = DRAWS[draws]
    model = two_layer(n=N, loss=loss, sample_weights=np.full(N, weight))
    manifold, unit = mf.ZeroLossManifold(model), two_layer(n=N, loss="sum")
    point = manifold.random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, ETA, SIGMA, batch_size, momentum=momentum, **options)
    per_step = sgd.time_per_step * mf.limiting_flow(sgd, manifold).velocity(point)
    slope = mf.ZeroLossManifold(unit).riemannian_gradient(mf.HessianTrace(), point)
    speed = kappa(batch_size) * repeats(batch_size) * (ETA / (1 - momentum)) ** 2
    assert relative(per_step / speed, -slope) < 1e-12


def test_the_noise_is_that_of_the_steps():
    """Σ of the update on M, from steps, for the row that is the easiest to get wrong.

    On M the residuals are 0, so that a step is −η times the noise alone.
    """
    model = two_layer(n=3, loss="mean")
    point = mf.ZeroLossManifold(model).random_point(rng=0)
    here = model.linearize(point)
    rows = np.stack([here.apply_transpose(e) for e in np.eye(3)])

    def measured(**options):
        sgd = mf.LabelNoiseSGD(
            model, ETA, SIGMA, 3, noise="gaussian", replacement=True, **options
        )
        starts = np.tile(point, (REPLICAS, 1))
        (draw,) = sgd.draws(REPLICAS, 1, np.random.default_rng(0))
        kicks = (sgd.step(starts, np.zeros_like(starts), draw)[0] - starts) / -ETA
        along = np.linalg.lstsq(rows.T, kicks.T, rcond=None)[0]
        return np.mean(along**2, axis=1), sgd.noise_covariance

    for options in ({}, {"shared_noise": True}):
        got, claimed = measured(**options)
        # the relative standard error of a mean of squares: kurtosis below 9
        assert np.abs(got / claimed - 1).max() < 4 * np.sqrt(8 / REPLICAS)
    # control: the two rows differ by more than that
    assert claimed[0] / measured()[1][0] == pytest.approx(1 + 2 / 3)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_the_clock_of_momentum(momentum):
    """The stationary heavy ball, by a discrete Lyapunov equation; order 1 in η."""
    model = two_layer()
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=0)
    here, one = manifold.linearize(point), np.eye(3)
    rows = np.stack([here.apply_transpose(e) for e in one])
    frame = np.linalg.qr(rows.T)[0]
    inside = rows @ frame
    curvature = inside.T @ (here.curvatures[:, None] * inside)

    def defect(eta):
        sgd = mf.LabelNoiseSGD(model, eta, SIGMA, momentum=momentum)
        forces = np.hstack([curvature, momentum * one])
        step = np.vstack([np.hstack([one, 0 * one]) - eta * forces, forces])
        kick = np.vstack([-eta * one, one]) @ inside.T
        noise = (kick * sgd.noise_covariance) @ kick.T
        spread = scipy.linalg.solve_discrete_lyapunov(step, noise)[:3, :3]
        held = np.linalg.solve(inside.T, np.linalg.solve(inside.T, spread).T)
        pull = here.tangent_part(
            here.couple(here.curvatures[:, None] * (here.gram @ held))
        )
        drift = -eta / (1 - momentum) * pull
        flow = mf.limiting_flow(sgd, manifold)
        return relative(drift / sgd.time_per_step, flow.velocity(point))

    defects = [defect(eta) for eta in (1e-3, 5e-4)]
    assert defects[0] < 0.02
    assert defects[0] / defects[1] == pytest.approx(2.0, abs=0.05)


# --- one theorem, one function --------------------------------------------------------


def flow_of(build):
    model = diagonal()
    return mf.limiting_flow(build(model), mf.ZeroLossManifold(model))


@pytest.mark.parametrize(
    ("build", "sharpness", "rate"),
    [
        (lambda m: mf.MinibatchSGD(m, ETA), mf.HessianTrace, 0.0),
        (lambda m: mf.LabelNoiseSGD(m, ETA, 0.0), mf.HessianTrace, 0.0),
        (lambda m: mf.LabelNoiseSGD(m, ETA, 1.0), mf.HessianTrace, 0.25),
        (lambda m: mf.SAM(m, ETA, 0.1), mf.HessianTopEigenvalue, 0.5),
        (lambda m: mf.SAM(m, ETA, 0.1, batch_size=3), mf.HessianTopEigenvalue, 0.5),
        (lambda m: mf.SAM(m, ETA, 0.1, batch_size=1), mf.HessianTrace, 0.5),
        (lambda m: mf.NormalizedGD(m, ETA), mf.HessianLogTopEigenvalue, 0.25),
    ],
)
def test_sharpness_and_rate(build, sharpness, rate):
    flow = flow_of(build)
    assert type(flow.sharpness) is sharpness
    assert flow.rate == pytest.approx(rate)
    assert flow.moves == (rate > 0)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda m: mf.SAM(m, ETA, 0.1, normalized=False), "Use normalized=True"),
        (lambda m: mf.SAM(m, ETA, 0.1, batch_size=2), "batches of 2 out of 3"),
        (lambda m: mf.GradientDescent(m, ETA), r"mf\.gradient_flow"),
        (lambda m: "adam", "limiting flow of str"),
    ],
)
def test_no_theorem(build, words):
    with pytest.raises(NoLimitingFlowError, match=words) as caught:
        flow_of(build)
    known = str(caught.value).partition("that have one: ")[2]
    assert known == "LabelNoiseSGD, MinibatchSGD, NormalizedGD, SAM."


def test_unmatched_label_noise_drifts():
    weighted, model = MODELS["signed-weighted"](), diagonal()
    for sgd in (
        mf.LabelNoiseSGD(weighted, ETA, 0.5),
        mf.LabelNoiseSGD(model, ETA, np.array([0.1, 0.2, 0.3])),
    ):
        flow = mf.limiting_flow(sgd, mf.ZeroLossManifold(sgd.model))
        assert type(flow) is mf.DriftFlow
        assert relative(np.diag(flow.noise), sgd.noise_covariance) < 1e-15
        assert flow.learning_rate == 0.0


def test_variances_inverse_to_the_weights_are_matched():
    """theory notes §1.12(c)."""
    model = MODELS["signed-weighted"]()
    sgd = mf.LabelNoiseSGD(model, ETA, 0.5 / np.sqrt(model.loss.sample_weights))
    flow = mf.limiting_flow(sgd, mf.ZeroLossManifold(model))
    assert type(flow.sharpness) is mf.HessianTrace
    assert type(flow) is mf.LimitingFlow


@pytest.mark.parametrize("verb", [mf.limiting_flow, mf.finite_step_flow])
def test_another_models_manifold_has_no_common_clock(verb):
    sgd = mf.LabelNoiseSGD(diagonal(), ETA, 0.5)
    with pytest.raises(NoLimitingFlowError, match="different models"):
        verb(sgd, mf.ZeroLossManifold(diagonal()))


# --- theorems that are checked on the algorithm ---------------------------------------


def end_beside(manifold, optimizer, start, slow_time, replicas=None):
    """Projected ends of runs that start beside M along the top eigenvector."""
    here = manifold.linearize(start)
    weights = np.sqrt(here.curvatures) * here.hessian_eigensystem[1][:, 0]
    top = here.apply_transpose(weights)
    begin = start + 0.2 * optimizer.learning_rate * top / np.linalg.norm(top)
    n_steps = round(slow_time / optimizer.time_per_step)
    run = mf.simulate(
        optimizer, begin, n_steps, every=n_steps, replicas=replicas, rng=0
    )
    return manifold.projection(run.end)


def test_normalized_descent_follows_the_logarithm_of_the_top_eigenvalue():
    """It jumps across M along the top eigenvector; the deviation halves with η."""
    model, slow_time = diagonal(), 0.5
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)
    flow = mf.limiting_flow(mf.NormalizedGD(model, ETA), manifold)
    exact = mf.integrate(flow, start, [slow_time]).end

    def deviation(eta):
        descent = mf.NormalizedGD(model, eta)
        end = end_beside(manifold, descent, start, slow_time)
        return np.linalg.norm(end - exact)

    ratio = deviation(0.02) / deviation(0.01)
    assert ratio == pytest.approx(2.0, abs=0.3)
    assert deviation(0.01) < 0.01 * np.linalg.norm(exact - start)
    # control: at another rate the flow is elsewhere, and halving η brings nothing
    other = mf.LimitingFlow(manifold, mf.HessianLogTopEigenvalue(), rate=0.3)
    exact = mf.integrate(other, start, [slow_time]).end
    assert deviation(0.02) / deviation(0.01) == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "replicas", "other"),
    [(None, None, mf.HessianTrace()), (1, 32, mf.HessianTopEigenvalue())],
)
def test_sam_follows_its_flow(batch_size, replicas, other):
    """theory notes §7.1: the deviation halves with η and ρ; the other S is refuted."""
    model, slow_time = diagonal(), 0.3
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)

    def ends(eta):
        sam = mf.SAM(model, eta, 2.5 * eta, batch_size)
        reached = end_beside(manifold, sam, start, slow_time, replicas)
        return np.atleast_2d(reached).mean(axis=0)

    def deviations(sharpness):
        flow = mf.LimitingFlow(manifold, sharpness, rate=0.5)
        exact = mf.integrate(flow, start, [slow_time]).end
        return [np.linalg.norm(end - exact) for end in reached]

    reached = [ends(eta) for eta in (0.02, 0.01)]
    flow = mf.limiting_flow(mf.SAM(model, ETA, 0.1, batch_size), manifold)
    coarse, fine = deviations(flow.sharpness)
    assert coarse / fine == pytest.approx(2.0, abs=0.4)
    assert min(deviations(other)) > 3 * coarse


# --- finite steps ---------------------------------------------------------------------


def test_which_flow_corrects_which_optimizer():
    model = two_layer()
    manifold = mf.ZeroLossManifold(model)

    def corrected(*args, **options):
        return mf.finite_step_flow(mf.LabelNoiseSGD(model, *args, **options), manifold)

    full = corrected(0.02, 0.5, 3)
    assert full.sharpness == mf.FiniteStepTrace(0.02)
    assert full.rate == pytest.approx(0.25 * 0.5**2 / 3)
    for options, overlap in (
        ({"batch_size": 1}, 1.0),
        ({"batch_size": 2}, 0.25),
        ({"batch_size": 2, "replacement": True}, 0.5),
    ):
        batches = corrected(0.02, 0.5, **options)
        assert (batches.learning_rate, batches.overlap) == (0.02, overlap)
    still = mf.finite_step_flow(mf.MinibatchSGD(model, 0.02), manifold)
    assert not still.moves
    with pytest.raises(NoLimitingFlowError, match="without momentum"):
        corrected(0.02, 0.5, momentum=0.9)
    with pytest.raises(NoLimitingFlowError, match="one: LabelNoiseSGD, MinibatchSGD"):
        mf.finite_step_flow(mf.NormalizedGD(model, 0.02), manifold)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_correction_is_of_order_one_in_the_step(batch_size):
    model = two_layer()
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.02, 0.5, batch_size)
    limit = mf.limiting_flow(sgd, manifold).velocity(point)

    def correction(eta):
        flow = mf.finite_step_flow(sgd.with_learning_rate(eta), manifold)
        return np.linalg.norm(flow.velocity(point) - limit)

    assert correction(2e-3) / correction(1e-3) == pytest.approx(2.0, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "batch_size", "eta", "slow_time"),
    [
        ("sum", 3, 0.02, 0.24),
        ("half_mean", 1, 0.08, 2.88),
        ("half_mean", 2, 0.08, 5.76),
    ],
)
def test_finite_steps_explain_the_deviation_of_sgd(loss, batch_size, eta, slow_time):
    """theory notes §8.1-8.2: at most a fifth of it is left, at η and at η/2."""
    model, trace = two_layer(n=3, d=3, loss=loss), mf.HessianTrace()
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)

    def value(point):
        return trace.value(manifold.linearize(point))

    biases = []
    for step in (eta, eta / 2):
        sgd = mf.LabelNoiseSGD(model, step, 0.5, batch_size)
        n_steps = round(slow_time / sgd.time_per_step)
        run = mf.simulate(sgd, start, n_steps, every=n_steps, replicas=1000, rng=0)
        values = [value(point) for point in manifold.projection(run.end)]
        uncorrected, corrected = (
            np.mean(values) - value(mf.integrate(flow, start, run.times[-1:]).end)
            for flow in (
                mf.limiting_flow(sgd, manifold),
                mf.finite_step_flow(sgd, manifold),
            )
        )
        error = np.std(values) / np.sqrt(len(values))
        assert abs(uncorrected) > 20 * error
        assert abs(corrected) + 3 * error < 0.2 * abs(uncorrected)
        biases.append(uncorrected)
    assert biases[0] / biases[1] == pytest.approx(2.1, abs=0.2)
