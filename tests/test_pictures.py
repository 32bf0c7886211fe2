"""Pictures and pages: labelled, escaped, and drawn from saved arrays alone."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import diagonal
from manifold_flow import plots
from manifold_flow.report import Picture, write_report


@pytest.fixture(scope="module")
def path():
    manifold = mf.ZeroLossManifold(diagonal())
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    return mf.integrate(flow, manifold.random_point(rng=0), keep_steps=True)


def drawn(axes):
    axes.figure.canvas.draw()
    return axes


def test_a_path_is_drawn_with_labels_and_a_log_gradient(path, tmp_path):
    loaded = mf.load(path.save(tmp_path / "run.npz"))
    axes = drawn(loaded.plot())
    right = axes.figure.axes[1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("slow time", "sharpness")
    assert right.get_yscale() == "log"
    assert np.array_equal(axes.lines[0].get_ydata(), path.sharpness)


def test_two_points_are_not_joined_to_a_path(path):
    flow = mf.LimitingFlow(mf.ZeroLossManifold(diagonal()), mf.HessianTrace())
    axes = drawn(mf.integrate(flow, path.points[0]).plot())
    lines = [line for one in axes.figure.axes for line in one.lines]
    assert {line.get_linestyle() for line in lines} == {"None"}
    assert {line.get_marker() for line in lines} == {"o"}
    assert "keep_steps=True" in axes.get_title()
    assert "keep_steps" not in drawn(path.plot()).get_title()


def test_a_path_is_drawn_where_it_is_asked_to_be(path):
    axes = plots.new_axes()
    assert path.plot(ax=axes) is axes


def test_an_ensemble_without_sharpness_shows_its_residual():
    model = diagonal()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.1)
    axes = drawn(mf.simulate(sgd, start, 20, replicas=2, rng=0).plot())
    assert "residual" in axes.get_ylabel()


def test_the_gap_is_drawn_on_a_log_scale_below_its_bound():
    times = np.linspace(0.0, 5.0, 50)
    gap = np.exp(-3.0 * times)
    axes = drawn(plots.plot_gap(times, gap, pl_rate=1.0, local_rate=3.0, floor=1e-12))
    assert axes.get_yscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 3
    bound, local = axes.lines[1], axes.lines[2]
    assert bound.get_ydata()[-1] == pytest.approx(np.exp(-5.0))
    assert local.get_ydata()[0] == pytest.approx(1.0, rel=1e-9)


def test_every_neuron_has_a_line():
    times = np.array([0.0, 1.0, 2.0])
    axes = drawn(plots.plot_features(times, np.zeros((3, 2, 4)), np.zeros(2)))
    assert len([line for line in axes.lines if len(line.get_xdata()) == 3]) == 8


def test_singular_values_and_ensembles_are_labelled():
    times = np.arange(4.0)
    axes = drawn(plots.plot_singular_values(times, np.ones((4, 3))))
    assert "singular values" in axes.get_ylabel()
    axes = drawn(
        plots.plot_ensemble(times, times, times, np.ones((4, 5)), label="runs")
    )
    assert "slow time" in axes.get_xlabel()


def test_runs_closer_than_a_line_is_wide_are_drawn_as_differences():
    times = np.arange(3.0)
    flow, runs = 300.0 - times, 300.0 - times[:, None] + 0.01 * np.arange(4.0)
    axes = drawn(plots.plot_ensemble(times, flow, times, runs, label="mean"))
    (inset,) = axes.child_axes
    low, high = inset.get_ylim()
    assert high - low < 0.1
    assert np.allclose(inset.lines[3].get_ydata(), 0.03)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["limiting flow", "mean"]
    # a flow known at other times gives no differences
    axes = plots.plot_ensemble(times[:2], flow[:2], times, runs, label="mean")
    assert axes.child_axes == []


def test_the_early_part_of_the_gap_and_the_level_of_rounding_are_seen():
    times, gap = np.linspace(0.0, 5.0, 50), np.exp(-np.linspace(0.0, 15.0, 50))
    (inset,) = drawn(plots.plot_gap(times, gap)).child_axes
    assert (inset.get_xscale(), inset.get_yscale()) == ("log", "log")
    axes = plots.plot_singular_values(times, np.ones((50, 2)))
    assert axes.lines[-1].get_label() == "rounding"
    assert axes.lines[-1].get_ydata()[0] == np.finfo(float).eps


def test_a_gradient_flow_is_drawn_as_its_loss_without_the_last_projection():
    path = mf.gradient_flow(diagonal(), np.ones(12))
    axes = drawn(path.plot())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time  $\\eta k$", "loss")
    assert axes.get_yscale() == "log"
    assert np.array_equal(axes.lines[0].get_ydata(), path.loss[:-1])
    assert "loss gradient" in axes.figure.axes[1].get_ylabel()
    # a path that was asked for its times has no projection to leave out
    cut = mf.gradient_flow(diagonal(), np.ones(12), [0.0, 0.1, 0.2])
    assert np.array_equal(cut.plot().lines[0].get_ydata(), cut.loss)


def test_two_phases_have_a_clock_each():
    times = np.linspace(0.0, 4.0, 20)
    losses = np.exp(-times)[:, None] + 0.1 * np.ones(5)
    left, right = plots.plot_two_phases(
        (times, np.exp(-times)),
        (times, losses),
        (times, 3.0 - times / 4),
        (times[::4], 3.0 - times[::4, None] / 4 + 0.01 * np.arange(5.0)),
        label="SGD",
    )
    drawn(left)
    assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
    assert left.get_xlabel().startswith("time  $\\eta k$")
    assert right.get_xlabel() == "slow time  $\\eta^2 k$"
    labels = [
        [text.get_text() for text in one.get_legend().get_texts()]
        for one in (left, right)
    ]
    assert labels[0] == ["gradient flow", "95 % of single runs", "SGD"]
    assert labels[1] == ["limiting flow", "SGD"]
    assert np.allclose(left.lines[1].get_ydata(), np.exp(-times) + 0.1)
    given = plots.new_axes_row(2)
    curves = [(times, np.exp(-times)), (times, losses)]
    assert plots.plot_two_phases(*curves, *curves, axes=given) == given


def test_a_convergence_is_drawn_with_a_line_of_slope_one():
    rates, distances = np.array([0.04, 0.02, 0.01]), np.array([0.8, 0.4, 0.21])
    axes = drawn(plots.plot_convergence(rates, distances, np.array([0.1, 0.1, 0.3])))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    reference = next(line for line in axes.lines if "proportional" in line.get_label())
    assert np.allclose(reference.get_ydata(), [0.84, 0.42, 0.21])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "0.04",
        "0.02",
        "0.01",
    ]
    # a bar that reaches below 0 ends on the axis
    assert axes.get_ylim()[0] > 0.0


def test_pyplot_keeps_no_figure(path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    path.plot()
    assert plt.get_fignums() == before


def test_html_is_escaped(tmp_path):
    bad = "<script>alert(1)</script>"
    picture = Picture(bad, bad, 'x" onload="alert(1)')
    file = write_report(tmp_path / "p.html", bad, [bad], {bad: bad}, [picture], bad)
    page = file.read_text("utf-8")
    assert "<script>" not in page
    assert 'onload="' not in page
    assert page.count("&lt;script&gt;") >= 7
