"""Models: derivatives, reductions, and what they refuse."""

import math

import autograd.numpy as anp
import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, matrix, tanh_residual, two_layer
from laws import (
    ModelLaws,
    central,
    naive_gradient,
    naive_loss_hessian,
    relative,
)
from manifold_flow.errors import (
    DataError,
    DerivativeError,
    EmptyManifoldError,
    ModelError,
    NonFiniteError,
    ShapeError,
    UnknownKeywordError,
)


class TestTwoLayerNetwork(ModelLaws):
    @pytest.fixture(params=["two-layer", "signed-weighted", "dependent"])
    def model(self, request):
        return MODELS[request.param]()

    def test_predict_on_the_data_is_residual_plus_target(self, model, params):
        expected = model.residual(params) + model.targets
        assert relative(model.predict(params, model.inputs), expected) < 1e-14

    def test_features_of_a_batch(self, model, params):
        batch = np.stack([params, 2 * params])
        assert relative(model.features(batch)[1], 2 * model.features(params)) < 1e-14

    def test_reduced_model_has_the_rank_of_the_data(self, model):
        assert model.reduction().model.n_features == np.linalg.matrix_rank(model.inputs)

    def test_the_part_orthogonal_to_the_data_never_moves(self, model, params, rng):
        frozen = np.eye(model.n_features) - np.linalg.pinv(model.inputs) @ model.inputs
        samples = np.arange(model.n_residuals)[None]
        noise = rng.standard_normal(samples.shape)
        gradient = model.sample_gradient(params[None], samples, noise)[0]
        moved = gradient.reshape(model.width, -1) @ frozen
        assert np.abs(moved).max() < 1e-12


class TestDiagonalLinearNetwork(ModelLaws):
    @pytest.fixture(params=["half_mean", "mean", "sum"])
    def model(self, request):
        from cases import diagonal

        return diagonal(loss=request.param)

    def test_trace_formula(self, model, params):
        """Tr ∇²L = 4 Σ_k κ_k (u_k² + v_k²) on M (theory notes §3.1)."""
        manifold = mf.ZeroLossManifold(model)
        point = manifold.projection(params)
        parts = model.unflatten(point)
        squares = parts["u"] ** 2 + parts["v"] ** 2
        formula = 4 * model.feature_curvatures @ squares
        assert np.trace(naive_loss_hessian(model, point)) == pytest.approx(formula)

    def test_predict_on_the_data_is_residual_plus_target(self, model, params):
        expected = model.residual(params) + model.targets
        assert relative(model.predict(params, model.inputs), expected) < 1e-13


class TestMatrixSensing(ModelLaws):
    @pytest.fixture(params=[False, True])
    def model(self, request):
        return matrix(symmetric=request.param)

    def test_trace_formula(self, model, params):
        """Tr ∇²L = ½·2(tr UᵀD1U + tr VᵀD2V), or ½·2⟨D, UUᵀ⟩ (theory notes §4.1-4.2)."""
        point = mf.ZeroLossManifold(model).projection(params)
        factors, a = model.unflatten(point), model.matrices
        u = factors["U"]
        if model.symmetric:
            form = np.mean([(x + x.T) @ (x + x.T) for x in a], axis=0)
            formula = np.trace(u.T @ form @ u)
        else:
            v = factors["V"]
            d1 = np.mean([x @ x.T for x in a], axis=0)
            d2 = np.mean([x.T @ x for x in a], axis=0)
            formula = np.trace(u.T @ d1 @ u) + np.trace(v.T @ d2 @ v)
        assert np.trace(naive_loss_hessian(model, point)) == pytest.approx(formula)

    def test_matrix_of_a_batch(self, model, params):
        single = model.matrix(params)
        assert relative(model.matrix(np.stack([params, params]))[1], single) < 1e-14


class TestCallableModel(ModelLaws):
    @pytest.fixture
    def model(self):
        return MODELS["callable"]()


class TestCallableModelWithTheUsersDerivatives(ModelLaws):
    """Hooks for users of another differentiation tool: autograd is never asked."""

    @pytest.fixture
    def model(self):
        a = np.random.default_rng(0).standard_normal((2, 5))

        def residual(params):
            return [math.fsum(row * params**3) - 1.0 for row in a]

        return mf.CallableModel(
            residual,
            n_params=5,
            jacobian=lambda t: 3 * a * t**2,
            contracted_hessian=lambda t, d: (6 * a * t * d).sum(axis=0),
        )


def test_lists_columns_and_ints_are_promoted():
    as_list = mf.CallableModel(lambda t: [t[0] * t[1] - 1, t[2] ** 2 - 1], n_params=4)
    as_column = mf.CallableModel(
        lambda t: anp.array([[t[0] * t[1] - 1], [t[2] ** 2 - 1]]), n_params=4
    )
    params = np.array([1, 2, 3, 4])
    assert as_list.residual(params).tolist() == [1.0, 8.0]
    assert as_column.residual(params).tolist() == [1.0, 8.0]
    assert (
        relative(as_list.jacobian(1.0 * params), as_column.jacobian(1.0 * params)) == 0
    )


def test_predict_needs_its_hook():
    with pytest.raises(ModelError, match="Pass predict="):
        mf.CallableModel(tanh_residual, n_params=12).predict(np.zeros(12), [[1.0]])


def test_plain_numpy_dot_is_found_and_its_worst_entry_named():
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 60.0]])
    with pytest.raises(
        DerivativeError, match=r"d residual\[1\] / d params\[2\]"
    ) as caught:
        mf.CallableModel(lambda t: np.dot(a, t) + t[:2] ** 2, n_params=3)
    assert "import autograd.numpy as np" in str(caught.value)


def test_in_place_assignment_is_explained():
    def residual(t):
        z = np.zeros(2)
        z[0] = t[0] * t[1]
        return z

    with pytest.raises(DerivativeError, match="assigns into an array"):
        mf.CallableModel(residual, n_params=3)


def test_math_functions_are_explained():
    with pytest.raises(DerivativeError, match="could not differentiate"):
        mf.CallableModel(lambda t: [math.exp(t[0]) - t[1] - 1.0], n_params=2)


def test_a_wrong_jacobian_is_found():
    with pytest.raises(DerivativeError, match="the given formula gives") as caught:
        mf.CallableModel(
            lambda t: t[:1] * t[1:2] - 1.0,
            n_params=3,
            jacobian=lambda t: np.array([[t[1], 2.0 * t[0], 0.0]]),
        )
    assert "params[1]" in str(caught.value)


def test_a_wrong_second_derivative_is_found():
    with pytest.raises(DerivativeError, match="second derivative check failed"):
        mf.CallableModel(
            lambda t: t[:1] * t[1:2] - 1.0,
            n_params=2,
            contracted_hessian=lambda t, d: np.array([d[0, 1], 2.0 * d[0, 0]]),
        )


def test_a_scalar_loss_is_refused():
    with pytest.raises(
        ModelError, match=r"Pass the vector of residuals r_i = f_i - y_i"
    ):
        mf.CallableModel(lambda t: anp.sum(t**2), n_params=3)


def test_more_residuals_than_parameters_are_refused():
    with pytest.raises(ModelError, match="3 residuals, 3 parameters"):
        mf.CallableModel(lambda t: t**2 - 1.0, n_params=3)


def test_a_residual_that_slices_too_far_is_explained():
    with pytest.raises(ModelError, match=r"shape \(2,\)"):
        mf.CallableModel(lambda t: [t[0] * t[5]], n_params=2)


def test_nan_in_a_users_data_is_named():
    data = np.array([1.0, np.nan])
    with pytest.raises(DataError, match=r"residual\[1\] is nan"):
        mf.CallableModel(lambda t: t[:2] * data, n_params=3)


def test_a_jacobian_of_the_wrong_shape_is_refused():
    with pytest.raises(ShapeError, match=r"expected shape \(1, 3\), got \(3,\)"):
        mf.CallableModel(
            lambda t: t[:1] ** 2, n_params=3, jacobian=lambda t: np.zeros(3)
        )


def test_a_linearization_refuses_what_a_jacobian_refuses():
    """It asks for the matrix elsewhere, and once took one of any shape."""
    model = mf.CallableModel(
        lambda t: t[:2] if t[0] > 0.0 else t[:3], n_params=4, check_at=np.ones(4)
    )
    assert model.linearize(np.ones(4)).gram.tolist() == np.eye(2).tolist()
    for method in (model.jacobian, model.linearize):
        with pytest.raises(ShapeError, match=r"jacobian.*\(2, 4\).*\(3, 4\)"):
            method(-np.ones(4))


def test_a_linearization_is_of_one_point():
    given = {"jacobian": lambda t: [t], "contracted_hessian": lambda t, d: d[0]}
    for hooks in ({}, given):
        model = mf.CallableModel(lambda t: [t @ t / 2.0 - 1.0], n_params=4, **hooks)
        with pytest.raises(ShapeError, match=r"params.*\(4,\).*\(2, 4\)"):
            model.linearize(np.ones((2, 4)))


def test_check_at_moves_the_derivative_check():
    def residual(t):
        return anp.log(t[:1] - 5.0)

    with np.errstate(invalid="ignore"), pytest.raises(DataError, match="check_at="):
        mf.CallableModel(residual, n_params=2)
    assert mf.CallableModel(residual, n_params=2, check_at=[6.0, 0.0]).n_residuals == 1


# --- data that a ready-made model refuses ---------------------------------------------


def test_equal_rows_are_refused_and_named():
    inputs = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    for build in (
        lambda: mf.TwoLayerNetwork(inputs, [1.0, 2.0, 3.0], width=4),
        lambda: mf.DiagonalLinearNetwork(inputs, [1.0, 2.0, 3.0]),
        lambda: mf.MatrixSensing([inputs, inputs], [1.0, 2.0], rank=1),
    ):
        with pytest.raises(DataError, match=r"\[0\] and \w+\[[12]\] are equal"):
            build()


def test_dependent_rows_run_and_are_noted():
    model = MODELS["dependent"]()
    assert model.rank == 3
    assert "6 input rows have rank 3" in model.caveats[0]
    assert two_layer().caveats == ()


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear", "z**2 + z"])
def test_an_activation_outside_the_hypotheses_is_noted(activation):
    inputs, targets = mf.datasets.gaussian(3, 5, rng=0)
    (caveat,) = mf.TwoLayerNetwork(inputs, np.abs(targets), 4, activation).caveats
    assert "has not everywhere a positive first and third" in caveat


def test_an_activation_outside_the_hypotheses_is_noted_in_the_result():
    network = two_layer(activation="tanh")
    manifold = mf.ZeroLossManifold(network)
    start = manifold.random_point(rng=0)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    assert "tanh has not everywhere" in repr(mf.integrate(flow, start, [0.0, 0.1]))
    run = mf.simulate(mf.LabelNoiseSGD(network, 0.01, 0.1), start, 2, rng=0)
    assert "tanh has not everywhere" in run.details["caveats"][0]


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([[1.0, np.nan]], [1.0], r"inputs\[0, 1\] is nan"),
        ([[1.0, 2.0]], [np.inf], r"targets\[0\] is inf"),
        ([["a", "b"]], [1.0], "not an array of real numbers"),
    ],
)
def test_bad_numbers_are_named(inputs, targets, message):
    with pytest.raises(DataError, match=message):
        mf.TwoLayerNetwork(inputs, targets, width=3)


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match="targets"):
        mf.TwoLayerNetwork(np.eye(2), [1.0, 2.0, 3.0], width=3)
    with pytest.raises(ShapeError, match="output_weights"):
        mf.TwoLayerNetwork(np.eye(2), [1.0, 2.0], width=3, output_weights=[1.0, 1.0])
    with pytest.raises(ShapeError, match="inputs"):
        mf.TwoLayerNetwork([1.0, 2.0], [1.0, 2.0], width=3)
    with pytest.raises(ShapeError, match="symmetric"):
        mf.MatrixSensing(np.ones((1, 2, 3)), [1.0], rank=1, symmetric=True)


def test_a_neuron_without_output_weight_is_refused():
    with pytest.raises(DataError, match=r"output_weights\[1\] is 0"):
        mf.TwoLayerNetwork(np.eye(2), [1.0, 2.0], 2, output_weights=[1.0, 0.0])


def test_n_at_least_p_is_refused():
    with pytest.raises(ModelError, match="4 residuals, 4 parameters"):
        two_layer(n=4, d=4, width=1)


@pytest.mark.parametrize(
    ("activation", "targets", "sample"),
    [
        ("exp", [1.0, -0.5], 1),
        ("tanh", [3.0, 0.0], 0),
        ("exp", [0.0, 1.0], 0),
        ("z**2", [1.0, -0.5], 1),
        ("z**2 + z", [0.5, -0.76], 1),
        ("exp(-z**2)", [-0.5, 0.5], 0),
        ("exp(-z**2)", [0.0, 0.5], 0),
        ("exp(-z**2)", [1.0, 3.1], 1),
    ],
)
def test_unreachable_targets_name_their_sample(activation, targets, sample):
    with pytest.raises(EmptyManifoldError, match=rf"targets\[{sample}\]") as caught:
        mf.TwoLayerNetwork(np.eye(2), targets, width=3, activation=activation)
    assert caught.value.sample == sample


def test_signed_output_weights_widen_the_reach():
    reach = mf.TwoLayerNetwork(np.eye(2), [1.0, -0.5], 2, "exp", [1.0, -1.0])
    assert reach.n_residuals == 2


def test_zero_is_reachable_for_relu():
    assert mf.TwoLayerNetwork(np.eye(2), [0.0, 1.0], 2, "relu").n_residuals == 2


def test_the_lowest_value_of_a_formula_is_reachable():
    for activation, target in (("z**2", 0.0), ("z**2 + z", -0.5), ("cos(z)", -2.0)):
        model = mf.TwoLayerNetwork(np.eye(2), [target, 1.0], 2, activation)
        assert model.n_residuals == 2


def test_a_closed_end_is_printed_closed():
    with pytest.raises(EmptyManifoldError, match=r"into \[0, inf\) and 3 neurons"):
        mf.TwoLayerNetwork(np.eye(2), [1.0, -0.5], width=3, activation="relu")


def test_a_pole_is_noted():
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, -0.5], width=3, activation="1/z")
    assert "1/z is not defined on the whole line: it has a pole" in model.caveats[-1]


@pytest.mark.parametrize("activation", ["log(z)", "sqrt(z)"])
def test_outside_its_domain_an_activation_does_not_overflow(activation):
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, 1.5], width=2, activation=activation)
    assert np.isfinite(model.linearize(np.ones(4)).residual).all()
    with pytest.raises(NonFiniteError, match=r"not a real number at z = -2,.*sample 1"):
        model.linearize(np.array([1.0, -2.0, 1.0, 1.0]))


def test_control_an_overflow_is_no_gap():
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, 1.5], width=2, activation="sinh(z)")
    with pytest.raises(NonFiniteError, match="overflowed on sample 0"):
        model.linearize(np.full(4, 1e3))


def test_an_unknown_keyword_names_the_nearest():
    with pytest.raises(UnknownKeywordError, match="did you mean 'activation'"):
        mf.TwoLayerNetwork(np.eye(2), [1.0, 2.0], width=3, activaton="cubic")


def test_a_loss_of_another_name_is_refused():
    with pytest.raises(ValueError, match="did you mean 'half_mean'"):
        two_layer(loss="halfmean")


def test_losses_differ_by_their_scale():
    params = np.random.default_rng(0).standard_normal(20)
    values = {name: two_layer(loss=name).loss_value(params) for name in ("sum", "mean")}
    values["half_mean"] = two_layer(loss="half-mean").loss_value(params)
    assert values["sum"] == pytest.approx(3 * values["mean"])
    assert values["mean"] == pytest.approx(2 * values["half_mean"])


def test_the_five_point_rule_is_of_order_four():
    """The ruler of these laws, measured: it must be sharper than what it judges."""
    point, direction = np.array([0.7]), np.array([1.0])
    errors = [
        abs(central(np.sin, point, direction, h)[0] - math.cos(0.7))
        for h in (0.1, 0.05)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.1)


def careless(function):
    """A user's function that works in place on what it is given."""

    def spoiled(*arguments):
        result = np.array(function(*arguments))
        for argument in arguments:
            argument[...] = 0.0
        return result

    return spoiled


def test_hooks_may_write_into_their_arguments():
    """They get copies; a residual that scaled its input moved the caller's point."""
    model = mf.CallableModel(
        careless(lambda t: [t[0] * t[1] - 2.0]),
        n_params=2,
        jacobian=careless(lambda t: [[t[1], t[0]]]),
        contracted_hessian=careless(lambda t, d: [d[0, 1], d[0, 0]]),
        predict=careless(lambda t, x: x * t[0]),
    )
    point, inputs = np.array([2.0, 1.0]), np.ones(3)
    assert model.residual(point).tolist() == [0.0]
    assert model.jacobian(point).tolist() == [[1.0, 2.0]]
    assert model.predict(point, inputs).tolist() == [2.0, 2.0, 2.0]
    manifold = mf.ZeroLossManifold(model)
    path = mf.integrate(mf.LimitingFlow(manifold, mf.HessianTrace()), point)
    assert np.abs(path.end - np.sqrt(2)).max() < 1e-6
    assert (point.tolist(), inputs.tolist()) == ([2.0, 1.0], [1.0, 1.0, 1.0])


def test_complex_results_are_refused():
    with pytest.raises(ModelError, match="the residual did not return real numbers"):
        mf.CallableModel(lambda t: t[:1] + 1j, n_params=2)
    with pytest.raises(ModelError, match="the jacobian did not return real numbers"):
        mf.CallableModel(
            lambda t: t[:1] ** 2, n_params=2, jacobian=lambda t: [[2j * t[0], 0.0]]
        )


@pytest.mark.parametrize("loss_free", [False, True])
def test_a_point_whose_gradients_overflow_is_not_on_the_manifold(loss_free):
    """|∇r||θ| = inf made every residual small beside it."""
    model = two_layer(activation="linear") if loss_free else MODELS["diagonal"]()
    manifold, far = mf.ZeroLossManifold(model), np.full(model.n_params, 1e200)
    with pytest.raises(NonFiniteError, match=r"overflow|not finite"):
        manifold.belongs(far)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    with pytest.raises(NonFiniteError, match=r"overflow|not finite"):
        mf.integrate(flow, far)


def test_data_whose_gradients_overflow_are_refused():
    model = mf.DiagonalLinearNetwork([[1e200, 1e200]], [1e200])
    with pytest.raises(NonFiniteError, match="Rescale inputs and targets"):
        mf.ZeroLossManifold(model).belongs(np.array([1.0, 1.0, 1.0, 1.0]))


def test_an_overflow_in_a_linearization_is_an_error_and_no_warning():
    model = two_layer(activation="sinh")
    with pytest.raises(NonFiniteError, match="overflowed on sample"):
        model.linearize(np.full(model.n_params, 1e3))


@pytest.mark.parametrize("drawn", [1, 2, 3, 9])
def test_small_and_crowded_batches_have_the_gradient_of_their_residuals(drawn):
    model, rng = two_layer(n=15, d=15), np.random.default_rng(0)
    params = rng.standard_normal((4, model.n_params))
    samples = rng.integers(15, size=(4, drawn))
    noise = rng.standard_normal((4, drawn))
    assert model._is_crowded(samples) == (drawn > 2)
    for r, got in enumerate(model.sample_gradient(params, samples, noise)):
        expected = naive_gradient(model, params[r], samples[r], noise[r])
        assert relative(got, expected) < 1e-12
