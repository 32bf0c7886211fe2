"""Data and saved runs: what is read, what is refused, what is never half-written."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

import manifold_flow as mf
from cases import diagonal
from manifold_flow import datasets, storage
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


def test_data_is_no_saved_run(tmp_path):
    np.savez(tmp_path / "data.npz", X=TABLE)
    with pytest.raises(FileFormatError, match="no receipt"):
        mf.load(tmp_path / "data.npz")


def test_absurd_shapes_are_refused_before_allocation(tmp_path):
    header = io.BytesIO()
    huge = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)}
    np.lib.format.write_array_header_1_0(header, huge)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("times.npy", header.getvalue())
    with pytest.raises(FileFormatError, match="refused before"):
        mf.load(tmp_path / "bomb.npz")


def test_every_file_error_is_the_projects_and_a_value_error(tmp_path):
    with pytest.raises(ManifoldFlowError) as caught:
        mf.load(tmp_path / "none.npz")
    assert isinstance(caught.value, ValueError)


def test_text_is_written_whole(tmp_path):
    file = storage.write_text(tmp_path / "deep" / "page.html", "<p>φ</p>")
    assert file.read_text("utf-8") == "<p>φ</p>"
