"""Data and saved runs: what is read, what is refused, what is never half-written."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

import manifold_flow as mf
from cases import diagonal
from manifold_flow import datasets, errors, storage
from manifold_flow.errors import (
    DataError,
    FileFormatError,
    ManifoldFlowError,
    ShapeError,
)

TABLE = np.array([[1.0, 2.0, 0.5], [3.0, 5.0, -1.0]])


class Trap:
    """Unpickling this writes a file: the sentinel of the pickle tests."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


# --- generators -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian", "uniform"])
def test_generators_are_seeded_and_have_unit_rows(name):
    draw = getattr(datasets, name)
    inputs, targets = draw(4, 7, rng=3)
    again, _ = draw(4, 7, rng=3)
    other, _ = draw(4, 7, rng=4)
    assert np.array_equal(inputs, again)
    assert not np.array_equal(inputs, other)
    assert np.allclose(np.linalg.norm(inputs, axis=1), 1.0, rtol=1e-14)
    assert (inputs.shape, targets.shape) == ((4, 7), (4,))
    raw, _ = draw(4, 7, normalize=False, rng=3)
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1.0)


@pytest.mark.parametrize(
    "rng", [5, np.random.SeedSequence(5), np.random.default_rng(5)]
)
def test_every_kind_of_rng(rng):
    assert np.array_equal(
        datasets.gaussian(2, 3, rng=rng)[0], datasets.gaussian(2, 3, rng=5)[0]
    )


def test_digits_are_real_images_as_unit_rows():
    inputs, targets = datasets.digits(30)
    assert inputs.shape == (30, 64)
    assert np.allclose(np.linalg.norm(inputs, axis=1), 1.0)
    assert (inputs >= 0).all()
    digits = targets * np.sqrt(8.25) + 4.5
    assert np.allclose(digits, np.round(digits))
    assert set(np.round(digits)) <= set(range(10))
    assert np.array_equal(inputs, datasets.digits(30)[0])


def test_sizes_out_of_bounds():
    with pytest.raises(ShapeError):
        datasets.gaussian(0, 3)
    with pytest.raises(DataError, match="1797 images"):
        datasets.digits(1798)


# --- loading data ---------------------------------------------------------------------


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1,2,0.5\n3,5,-1\n",
        "a,b,y\n1,2,0.5\n3,5,-1\n",
        "target,a,b\n0.5,1,2\n-1,3,5\n",
        "\ufeff1, 2, 0.5\r\n3, 5, -1\r\n\r\n",
    ],
)
def test_csv_with_and_without_header(tmp_path, text):
    inputs, targets = datasets.load(write(tmp_path / "x.csv", text))
    assert np.array_equal(inputs, TABLE[:, :2])
    assert np.array_equal(targets, TABLE[:, 2])


def test_npy_and_npz(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    np.savez(tmp_path / "one.npz", TABLE)
    np.savez(tmp_path / "two.npz", X=TABLE[:, :2], y=TABLE[:, 2])
    np.savez(tmp_path / "column.npz", inputs=TABLE[:, :2], targets=TABLE[:, 2:])
    for name in ("x.npy", "one.npz", "two.npz", "column.npz"):
        inputs, targets = datasets.load(tmp_path / name)
        assert np.array_equal(inputs, TABLE[:, :2])
        assert np.array_equal(targets, TABLE[:, 2])


def test_rows_can_be_scaled(tmp_path):
    np.save(tmp_path / "x.npy", TABLE)
    inputs, _ = datasets.load(tmp_path / "x.npy", normalize=True)
    assert np.allclose(np.linalg.norm(inputs, axis=1), 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "holds an array of shape"),
        ("1,2\n3\n", r"bad\.csv:2: 1 columns where the first row has 2"),
        ("1,2\n3,x\n", r"bad\.csv:2: 'x' is not a number"),
        ("1\n2\n", "expected \\(n, d \\+ 1\\)"),
    ],
)
def test_malformed_csv_names_its_line(tmp_path, text, message):
    with pytest.raises(FileFormatError, match=message):
        datasets.load(write(tmp_path / "bad.csv", text))


def test_nan_in_a_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"inputs\[1, 0\] is nan"):
        datasets.load(write(tmp_path / "x.csv", "1,2\nnan,3\n"))


def test_pickled_arrays_are_refused_and_never_loaded(tmp_path):
    sentinel = tmp_path / "executed"
    trap = np.array([Trap(sentinel)], dtype=object)
    np.save(tmp_path / "x.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "x.npz", X=trap, y=trap)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap(sentinel)))
    for name in ("x.npy", "x.npz", "raw.npy"):
        with pytest.raises(FileFormatError):
            datasets.load(tmp_path / name)
        with pytest.raises(FileFormatError):
            mf.load(tmp_path / name)
    assert not sentinel.exists()


def test_files_that_are_missing_or_of_another_kind(tmp_path):
    with pytest.raises(FileFormatError, match="cannot read"):
        datasets.load(tmp_path / "none.csv")
    with pytest.raises(FileFormatError, match=r"'\.txt' is not one of"):
        datasets.load(write(tmp_path / "x.txt", "1,2"))
    with pytest.raises(FileFormatError):
        datasets.load(write(tmp_path / "x.npz", "no zip file"))
    np.savez(tmp_path / "odd.npz", a=TABLE, b=TABLE)
    with pytest.raises(FileFormatError, match="expected 'inputs' and 'targets'"):
        datasets.load(tmp_path / "odd.npz")
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    with pytest.raises(FileFormatError, match=r"shape \(2, 2, 2\)"):
        datasets.load(tmp_path / "cube.npy")


# --- saved runs -----------------------------------------------------------------------


@pytest.fixture
def path():
    model = diagonal()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    return mf.integrate(flow, manifold.random_point(rng=0), [0.0, 0.1, 0.3])


def test_a_saved_run_comes_back_bit_for_bit(tmp_path, path):
    file = path.save(tmp_path / "run")
    again = mf.load(file)
    assert file.name == "run.npz"
    for name in ("times", "points", "sharpness", "gradient_norm", "residual"):
        assert np.array_equal(getattr(again, name), getattr(path, name))
    assert (again.status, again.message) == (path.status, path.message)
    assert repr(again) == repr(path)
    assert again.details["versions"]["numpy"] == np.__version__
    assert again.details["loss"].startswith("half_mean")


def test_a_run_pickles(path):
    # more features than samples: its points are kept reduced, and lifted by a closure
    inputs, targets = datasets.gaussian(2, 4, rng=0)
    model = mf.TwoLayerNetwork(inputs, targets, 3)
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    reduced = mf.integrate(flow, manifold.random_point(rng=0), [0.0, 0.5])
    for whole in (path, reduced):
        again = pickle.loads(pickle.dumps(whole))
        assert np.array_equal(again.points, whole.points)
        assert np.array_equal(again.end, whole.end)
        assert np.array_equal(again.sharpness, whole.sharpness)
        assert (repr(again), again.details) == (repr(whole), whole.details)
        assert not again.times.flags.writeable


def examples_of_errors(path):
    return [
        errors.ShapeError("start", (3,), (4,), "Pass three."),
        errors.EmptyManifoldError("no zero-loss point", sample=2),
        errors.UnknownNameError("loss", "summ", ("sum", "mean")),
        errors.UnknownKeywordError("integrate", "rtoll", ("rtol", "atol")),
        errors.ArgumentError("model", mf.Model, None),
        errors.OffManifoldError(1.0, 1e-10),
        errors.RankDeficientJacobianError("rank 1 of 2", np.array([1.0, 0.0])),
        errors.ProjectionError("stopped", ((0, 1.0, 0.5),)),
        errors.IntegrationError("stopped early", path),
        errors.Interrupted("interrupted", path),
        errors.DivergenceError("diverged", 3, np.ones(2)),
        errors.DegenerateEigenvalueError(2.0, 2.0),
        errors.StabilityError("unstable", 0.5, 0.1),
        errors.DataError("nan"),
    ]


def test_every_error_pickles(path):
    examples = examples_of_errors(path)
    own = {name for name in errors.__all__ if "__init__" in vars(getattr(errors, name))}
    assert own <= {type(error).__name__ for error in examples}
    for error in examples:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert repr(vars(again)) == repr(vars(error))


def test_an_ensemble_comes_back(tmp_path):
    model = diagonal()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.1)
    run = mf.simulate(sgd, start, 10, replicas=3, rng=9)
    again = mf.load(run.save(tmp_path / "run.npz"))
    assert np.array_equal(again.points, run.points)
    assert again.sharpness is None
    assert again.details["seed"] == 9


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, path, monkeypatch):
    file = path.save(tmp_path / "run.npz")
    before = file.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", broken)
    with pytest.raises(FileFormatError, match=r"cannot write.*disk full"):
        path.save(file)
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]


def test_arrays_of_a_trajectory_cannot_be_changed(path):
    with pytest.raises(ValueError, match="read-only"):
        path.times[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        path.sharpness[0] = 1.0


def receipt_of(file):
    with np.load(file) as archive:
        return dict(archive), json.loads(archive["receipt"].tobytes())


def rewrite(file, arrays, receipt):
    packed = np.frombuffer(json.dumps(receipt).encode(), dtype=np.uint8)
    np.savez(file, **arrays | {"receipt": packed})


def test_an_unknown_schema_is_refused(tmp_path, path):
    file = path.save(tmp_path / "run.npz")
    arrays, receipt = receipt_of(file)
    rewrite(file, arrays, receipt | {"schema": "manifold_flow/99"})
    with pytest.raises(FileFormatError, match="manifold_flow/99"):
        mf.load(file)


@pytest.mark.parametrize("missing", ["times", "points"])
def test_a_run_without_its_arrays_is_refused(tmp_path, path, missing):
    file = path.save(tmp_path / "run.npz")
    arrays, receipt = receipt_of(file)
    del arrays[missing]
    rewrite(file, arrays, receipt)
    with pytest.raises(FileFormatError, match="not a saved trajectory"):
        mf.load(file)


def test_a_run_whose_arrays_disagree_is_refused(tmp_path, path):
    file = path.save(tmp_path / "run.npz")
    arrays, receipt = receipt_of(file)
    rewrite(file, arrays | {"times": arrays["times"][:-1]}, receipt)
    with pytest.raises(FileFormatError, match="times have shape"):
        mf.load(file)


LONG = np.arange(4.0)


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({"sharpness": LONG}, {}, "every time needs its row"),
        ({"residual": np.ones((3, 2))}, {}, "every time needs its row"),
        ({"rank_margin": np.array(["a", "b", "c"])}, {}, "holds <U1, not float64"),
        ({"points": np.ones(3)}, {}, "every time needs its row"),
        ({"points": np.full((3, 12), np.nan)}, {}, "points are not finite"),
        ({"points": np.ones((3, 12), complex)}, {}, "holds complex128"),
        ({"times": np.array([0.0, np.nan, 1.0])}, {}, "times are not finite and"),
        ({"times": np.array([0.0, 2.0, 1.0])}, {}, "times are not finite and"),
        ({}, {"kind": "report"}, "holds a 'report', not a trajectory"),
        ({}, {"n_steps": -1}, "n_steps = -1 is no count"),
        ({}, {"n_evaluations": 2.5}, "n_evaluations = 2.5 is no count"),
        ({}, {"drift": -1e-9}, "drift = -1e-09 is below 0"),
        ({}, {"seconds": "long"}, "not a saved trajectory"),
        ({}, {"details": [1]}, "not a saved trajectory"),
    ],
)
def test_a_malformed_run_is_refused(tmp_path, path, arrays, changes, message):
    file = path.save(tmp_path / "run.npz")
    saved, receipt = receipt_of(file)
    rewrite(file, saved | arrays, receipt | changes)
    with pytest.raises(FileFormatError, match=message):
        mf.load(file)


def test_data_is_no_saved_run(tmp_path):
    np.savez(tmp_path / "data.npz", X=TABLE)
    with pytest.raises(FileFormatError, match="no receipt"):
        mf.load(tmp_path / "data.npz")


def huge_header(*shape):
    header = io.BytesIO()
    declared = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, declared)
    return header.getvalue()


@pytest.mark.parametrize("load", [mf.load, datasets.load])
def test_absurd_shapes_are_refused_before_allocation(tmp_path, load):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("times.npy", huge_header(10**9, 10**6))
    with pytest.raises(FileFormatError, match="refused before"):
        load(tmp_path / "bomb.npz")
    # a negative length does not pay for another array
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("X.npy", huge_header(-(10**9), 10**6))
        archive.writestr("y.npy", huge_header(10**9, 10**6))
    with pytest.raises(FileFormatError, match="refused before"):
        load(tmp_path / "bomb.npz")


def test_absurd_shapes_of_a_npy(tmp_path):
    (tmp_path / "bomb.npy").write_bytes(huge_header(10**9, 10**6))
    with pytest.raises(FileFormatError, match="cannot read"):
        datasets.load(tmp_path / "bomb.npy")


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv"])
def test_pipes_devices_and_directories_are_refused(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("pipe", "zero", "folder"):
        for load in (mf.load, datasets.load):
            with pytest.raises(FileFormatError, match="a pipe or a device"):
                load(tmp_path / f"{name}{suffix}")


def test_a_csv_too_large_to_parse_is_refused(tmp_path):
    with (tmp_path / "x.csv").open("wb") as stream:
        stream.truncate(2 * datasets.MAX_TEXT)
    with pytest.raises(FileFormatError, match=r"Save the array with numpy\.save"):
        datasets.load(tmp_path / "x.csv")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, path, keep):
    run = path.save(tmp_path / "run.npz")
    np.savez(tmp_path / "data.npz", X=TABLE[:, :2], y=TABLE[:, 2])
    np.save(tmp_path / "data.npy", TABLE)
    for load, file in (
        (mf.load, run),
        (datasets.load, tmp_path / "data.npz"),
        (datasets.load, tmp_path / "data.npy"),
    ):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(FileFormatError, match="cannot read"):
            load(file)


def test_every_file_error_is_the_projects_and_a_value_error(tmp_path):
    with pytest.raises(ManifoldFlowError) as caught:
        mf.load(tmp_path / "none.npz")
    assert isinstance(caught.value, ValueError)


def test_text_is_written_whole(tmp_path):
    file = storage.write_text(tmp_path / "deep" / "page.html", "<p>φ</p>")
    assert file.read_text("utf-8") == "<p>φ</p>"
