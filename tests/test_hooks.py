"""What users' own functions raise: typed, named, and never at the cost of the path."""

import pickle

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.errors import (
    CallbackError,
    DataError,
    DerivativeError,
    IntegrationError,
    ManifoldFlowError,
    ModelError,
)


class OwnError(Exception):
    """An error no library knows."""


ERRORS = [
    OwnError("boo"),
    ZeroDivisionError("division"),
    AssertionError("no"),
    ValueError("bad"),
    np.linalg.LinAlgError("singular"),
    DataError("typed already"),
]


def ellipse(params):
    return [params[0] ** 2 + 4.0 * params[1] ** 2 - 4.0]


def ellipse_jacobian(params):
    return [[2.0 * params[0], 8.0 * params[1]]]


def ellipse_hessian(params, directions):
    return [2.0 * directions[0, 0], 8.0 * directions[0, 1]]


nameless = lambda params: [params[0] - 1.0]  # noqa: E731  # pickle asks its name


HOOKS = {
    "residual": ellipse,
    "jacobian": ellipse_jacobian,
    "contracted_hessian": ellipse_hessian,
    "predict": lambda params, inputs: inputs,
}


def flat_end_forbidden(broken, error):
    """The ellipse, one of whose functions raises near its flat end."""

    def guarded(params, *rest):
        if params[0] > 1.8:
            raise error
        return HOOKS[broken](params, *rest)

    hooks = HOOKS | {broken: guarded}
    return mf.CallableModel(hooks.pop("residual"), 2, check_at=[1.0, 0.5], **hooks)


def flow_on(model):
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    return flow, manifold.projection([1.0, 1.0])


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("hook", ["residual", "jacobian", "contracted_hessian"])
def test_a_function_that_raises_on_the_way_ends_the_path(hook, error):
    flow, start = flow_on(flat_end_forbidden(hook, error))
    with pytest.raises(IntegrationError, match=str(error)) as caught:
        mf.integrate(flow, start)
    path = caught.value.trajectory
    assert path.status is mf.Status.FAILED
    assert 1.7 < path.end[0] <= 1.8
    assert ".." not in str(caught.value)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_function_that_raises_is_named(hook, error):
    model = flat_end_forbidden(hook, error)
    calls = {
        "residual": model.residual,
        "jacobian": model.jacobian,
        "contracted_hessian": lambda at: model.contracted_hessian(at, np.ones((1, 2))),
        "predict": lambda at: model.predict(at, [1.0]),
    }
    with pytest.raises(ManifoldFlowError, match=str(error)) as caught:
        calls[hook](np.array([2.0, 0.0]))
    found = caught.value
    assert found is error or f"{hook} raised {type(error).__name__}" in str(found)
    assert found is error or found.__cause__ is error


@pytest.mark.parametrize("error", ERRORS[:-1], ids=lambda error: type(error).__name__)
def test_a_function_that_raises_at_once_makes_no_model(error):
    calls = []

    def raises(params):
        calls.append(params)
        if len(calls) > allowed:
            raise error
        return ellipse(params)

    allowed = 0
    with pytest.raises(ModelError, match=str(error)):
        mf.CallableModel(raises, 2)
    calls.clear()
    allowed = 3  # the fourth call is autograd's
    with pytest.raises(DerivativeError, match=str(error)):
        mf.CallableModel(raises, 2)


def test_a_random_residual_is_called_random():
    noise = np.random.default_rng(0)

    def noisy(params):
        return [params @ params - 1.0 + 1e-3 * noise.standard_normal()]

    with pytest.raises(
        ModelError, match=r"same params differ by 0\.00.*has no zero set"
    ):
        mf.CallableModel(noisy, 3)


def test_single_precision_is_called_so():
    def single(params):
        return (params[:1] ** 2 - 1.0).astype(np.float32)

    with pytest.raises(ModelError, match=r"returned float32.*Compute in float64"):
        mf.CallableModel(single, 2)
    # integers and lists are promoted without loss
    assert mf.CallableModel(lambda t: [t[0] - 1.0], 2).n_residuals == 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_callback_that_raises_keeps_the_path(error):
    flow, start = flow_on(mf.CallableModel(ellipse, 2))

    def callback(time, point):
        if time > 0.01:
            raise error

    with pytest.raises(IntegrationError, match="the callback raised") as caught:
        mf.integrate(flow, start, callback=callback)
    path, cause = caught.value.trajectory, caught.value.__cause__
    assert path.n_steps > 1
    assert path.times[-1] > 0.01
    assert path.status is mf.Status.OUT_OF_BUDGET
    assert "undefined" not in path.message
    assert isinstance(cause, CallbackError)
    assert cause.__cause__ is error


@pytest.mark.parametrize(
    "height", [1e-1, *(pytest.param(h, marks=pytest.mark.slow) for h in (1e-2, 1e-3))]
)
def test_what_users_functions_raise_beside_a_singular_point_is_no_rank_loss(height):
    """A cusp ends in RANK_LOSS; an error of the residual on the way there does not."""

    def cusp(params):
        if params[1] < lowest:
            raise ZeroDivisionError("boo")
        return [params[0] ** 2 - params[1] ** 3]

    def callback(time, point):
        if point[1] < height:
            raise ZeroDivisionError("boo")

    lowest = -1.0
    manifold = mf.ZeroLossManifold(mf.CallableModel(cusp, 2, check_at=[1.0, 1.0]))
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    assert mf.integrate(flow, [1.0, 1.0]).status is mf.Status.RANK_LOSS
    with pytest.raises(IntegrationError, match="the callback raised ZeroDivision"):
        mf.integrate(flow, [1.0, 1.0], callback=callback)
    lowest = height
    with pytest.raises(IntegrationError, match="the residual raised Zero") as caught:
        mf.integrate(flow, [1.0, 1.0])
    assert caught.value.trajectory.status is mf.Status.FAILED


def test_autograd_never_meets_a_residual_whose_derivatives_are_given():
    """It may be of another tool, which cannot take autograd's arrays."""
    seen = set()

    def residual(params):
        seen.add(type(params))
        return ellipse(params)

    given = {
        "jacobian": ellipse_jacobian,
        "contracted_hessian": ellipse_hessian,
    }
    flow, start = flow_on(mf.CallableModel(residual, 2, **given))
    flow.manifold.riemannian_hessian(flow.sharpness, start) @ np.ones(2)
    assert seen == {np.ndarray}
    for name, hook in given.items():  # control: what is not given is autograd's
        mf.CallableModel(residual, 2, **{name: hook})
        assert len(seen) == 2
        seen.intersection_update({np.ndarray})


@pytest.mark.parametrize(
    "given",
    [{}, {"jacobian": ellipse_jacobian, "contracted_hessian": ellipse_hessian}],
    ids=["autograd", "given"],
)
def test_models_manifolds_and_flows_pickle(given, monkeypatch):
    """As pools of processes need it; derivatives are made again and not checked."""
    flow, start = flow_on(mf.CallableModel(ellipse, 2, **given))
    written = pickle.dumps(flow)
    monkeypatch.setattr(mf.CallableModel, "check_derivatives", None)
    read = pickle.loads(written)
    directions, vector = np.array([[1.0, 2.0]]), np.array([0.5, 1.0])
    for name, *arguments in (
        ("residual",),
        ("jacobian",),
        ("contracted_hessian", directions),
        ("contracted_third", directions, vector),
    ):
        found, expected = (
            getattr(each.manifold.model, name)(start, *arguments)
            for each in (read, flow)
        )
        assert found.tolist() == expected.tolist()
    found, expected = (
        each.manifold.riemannian_gradient(each.sharpness, start)
        for each in (read, flow)
    )
    assert found.tolist() == expected.tolist()


def test_what_does_not_pickle_is_told_by_pickle():
    model = mf.CallableModel(nameless, 2)
    with pytest.raises(pickle.PicklingError, match="lambda"):
        pickle.dumps(model)
