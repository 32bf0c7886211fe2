"""A Jacobian from one sweep is the Jacobian from n sweeps, to rounding."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.core import make_vjp
from autograd.extend import defvjp, primitive

import manifold_flow as mf
from laws import relative
from manifold_flow import _autodiff
from manifold_flow._autodiff import pullbacks

DATA = np.random.default_rng(0).standard_normal((3, 4))


def two_layer(params):
    features = DATA @ anp.reshape(params, (3, 4)).T
    return anp.sum(features**3 / 3.0 + features, axis=1) - 1.0


def deep(params):
    """Three layers, by every product there is; weights that meet weights."""
    first = anp.tanh(anp.dot(DATA, params[:8].reshape((4, 2))))
    second = anp.einsum("ij,kj->ik", first, params[8:12].reshape((2, 2)))
    return anp.dot(anp.sin(second), params[10:12]) + anp.mean(first, axis=1)


def shapes(params):
    """Broadcasting, swapped and moved axes, stacked and concatenated parts."""
    cube = anp.reshape(params, (3, 2, 2)) + params[:2]
    swapped = anp.transpose(anp.swapaxes(cube, 0, 2), (1, 2, 0))
    joined = anp.concatenate([anp.ravel(swapped), params * anp.sum(params)])
    spread = anp.expand_dims(joined, 0) * anp.ones((2, 1))
    return anp.sum(anp.squeeze(spread[:1]).reshape((6, 4)), axis=-1, keepdims=True)


def chosen(params):
    """Branches, indices that repeat, and entries that depend on nothing."""
    parts = anp.where(params > 0.0, params**2, anp.exp(params))
    return anp.array([parts[0] * parts[-1], anp.sum(parts[[1, 1, 2]]), anp.max(parts)])


def vectors(params):
    return anp.matmul(DATA, params[:4]) * anp.linalg.norm(params)


def linear(params):
    return [params[0] + 2.0 * params[1], params[2] - 1.0]


def _is_at_once(first):
    return first.func is _autodiff._at_once


@pytest.mark.parametrize(
    "residual",
    [two_layer, deep, shapes, chosen, vectors, linear],
    ids=lambda f: f.__name__,
)
def test_one_sweep_gives_what_a_sweep_a_row_gives(residual):
    flat = _autodiff.traced(residual)
    rng = np.random.default_rng(1)
    point, vector = rng.standard_normal((2, 12))
    first = _autodiff.first_derivative(flat, point)
    rows = autograd.jacobian(flat)
    assert _is_at_once(first)
    assert relative(first(point), rows(point)) < 1e-14
    matrix, contracted, along = _autodiff.second_derivative(first)(point)
    directions = rng.standard_normal(matrix.shape)
    expected = _autodiff.vjp_hessian(rows)(point, directions)
    size = 1.0 + np.abs(expected).max()
    assert np.abs(contracted(directions) - expected).max() < 1e-13 * size
    # adjoint: <U, D²r v> = <Σ D²r_i U_i, v>
    assert np.sum(directions * along(vector)) == pytest.approx(
        expected @ vector, abs=1e-12
    )
    third = _autodiff.third(first)(point, directions, vector)
    expected = _autodiff.third(rows)(point, directions, vector)
    assert np.abs(third - expected).max() < 1e-12 * (1.0 + np.abs(expected).max())


def test_a_network_is_swept_once_and_not_row_by_row(monkeypatch):
    monkeypatch.setattr(pullbacks, "_one_by_one", None)
    first = _autodiff.first_derivative(two_layer, np.ones(12))
    assert _is_at_once(first)
    assert first(np.ones(12)).shape == (3, 12)
    # control: einsum has no rule
    assert not _is_at_once(_autodiff.first_derivative(deep, np.ones(12)))


def test_many_rows_are_swept_in_blocks(monkeypatch):
    """A stack holds every value of a sweep, and n of them would fill the memory."""
    data, rows = np.random.default_rng(0).standard_normal((70, 4)), []

    def many(params):
        return anp.sum((data @ anp.reshape(params, (25, 4)).T) ** 3, axis=1)

    def recorded(vjp, cotangents):
        rows.append(len(cotangents))
        return pullbacks.pull_back(vjp, cotangents)

    monkeypatch.setattr(_autodiff, "pull_back", recorded)
    point = np.linspace(-1.0, 1.0, 100)
    first, by_row = _autodiff.first_derivative(many, point), autograd.jacobian(many)
    rows.clear()
    assert relative(first(point), by_row(point)) < 1e-14
    assert sum(rows) == 70
    assert max(rows) == _autodiff.TOGETHER < 70
    directions = np.random.default_rng(1).standard_normal((70, 100))
    found, expected = (
        _autodiff.vjp_hessian(jacobian)(point, directions)
        for jacobian in (first, by_row)
    )
    assert relative(found, expected) < 1e-13


def test_a_wrong_rule_is_not_used(monkeypatch):
    """The sweeps are compared where the model is built."""
    monkeypatch.setitem(
        pullbacks.RULES, anp.transpose, lambda call: call.stacks[0] + 1.0
    )
    square = _autodiff.traced(lambda t: anp.sum(anp.reshape(t, (2, 2)).T ** 2, axis=1))
    assert not _is_at_once(_autodiff.first_derivative(square, np.ones(4)))
    model = mf.CallableModel(square, n_params=4)
    point = np.arange(1.0, 5.0)
    assert model.jacobian(point).tolist() == [
        [2.0, 0.0, 6.0, 0.0],
        [0.0, 4.0, 0.0, 8.0],
    ]


def test_a_primitive_that_takes_plain_arrays_only():
    """What a user's own pullback refuses is pulled back by autograd, row by row."""

    @primitive
    def cubed(x):
        return x**3

    def pulled(answer, x):
        def vjp(cotangent):
            if type(cotangent) is not np.ndarray:
                raise TypeError("plain arrays only")
            return 3.0 * np.asarray(x) ** 2 * cotangent

        return vjp

    defvjp(cubed, pulled)
    first = _autodiff.first_derivative(_autodiff.traced(cubed), np.ones(3))
    assert not _is_at_once(first)
    assert (
        first(np.array([1.0, 2.0, 3.0])).tolist() == np.diag([3.0, 12.0, 27.0]).tolist()
    )


def test_an_order_without_its_keyword_is_seen():
    @primitive
    def columns(x):
        return np.ravel(x, "F")

    defvjp(
        columns,
        lambda answer, x: lambda g: anp.ravel(anp.reshape(g, (3, 2)), "F"),
    )

    def residual(params):
        return columns(anp.reshape(params, (2, 3))) ** 2

    point = np.arange(1.0, 7.0)
    found = pullbacks.pull_back(make_vjp(residual, point)[0], np.eye(6))
    assert found.tolist() == autograd.jacobian(residual)(point).tolist()


def test_threads_wait_for_each_other():
    """Autograd counts nested traces for the whole program: two at a time mix."""
    inside, most = 0, 0

    def slow(params):
        nonlocal inside, most
        if not isinstance(params, np.ndarray):
            inside += 1
            most = max(most, inside)
            time.sleep(2e-3)  # the other thread runs on
            inside -= 1
        return two_layer(params)

    def derivatives(_):
        both.wait()
        return model.jacobian(point), model.contracted_hessian(point, directions)

    model = mf.CallableModel(slow, 12)
    point, directions = np.linspace(0.1, 1.0, 12), np.ones((3, 12))
    alone = model.jacobian(point), model.contracted_hessian(point, directions)
    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(derivatives, range(20)):
            assert np.array_equal(found[0], alone[0])
            assert np.array_equal(found[1], alone[1])
    assert most == 1
