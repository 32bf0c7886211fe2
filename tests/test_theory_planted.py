"""A planted error turns every statement red."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from theory.catalogue import find

ROOT = Path(__file__).parents[1]
IDS = [claim.id for claim in find()]
ROWS = [
    tuple(line.split(" | "))
    for line in (ROOT / "tests" / "mutations.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
#: planted in every run, some of every group; the others are slow
QUICK = (
    *("gatmiry2024/lemma-1", "gatmiry2024/lemma-3", "gatmiry2024/riemannian-gradient"),
    *("gatmiry2024/theorem-1-all-sizes", "gatmiry2024/theorem-2"),
    *("gatmiry2024/exponential-rate", "li2021/general-law"),
    *("slides2024/diagonal-trace", "finite-step/covariance"),
    *("stability/trace-bound", "diagonal/product-law"),
    *("matrix/quadratic-network", "deeplinear/balancedness", "relu/memoriser"),
)


@pytest.fixture(scope="module")
def copy_of_theory(tmp_path_factory):
    """One for all plants, bytecode and all, so that little is compiled again."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(ROOT / "theory", folder / "theory")
    return folder


@pytest.fixture
def planted(copy_of_theory, monkeypatch):
    """Return the copy of theory with one text replaced, imported afresh."""
    written = []

    def plant(module, right, wrong):
        name = f"theory/{module.replace('.', '/')}.py"
        path = copy_of_theory / name
        written.append((ROOT / name, path))
        source = path.read_text("utf-8")
        assert source.count(right) == 1, f"{right!r} is there {source.count(right)}×"
        path.write_text(source.replace(right, wrong), "utf-8")
        # bytecode of one plant must not be taken for that of the next
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.syspath_prepend(copy_of_theory)
        for name in [name for name in sys.modules if name.split(".")[0] == "theory"]:
            monkeypatch.delitem(sys.modules, name)
        return (
            importlib.import_module("theory.catalogue"),
            importlib.import_module("theory.statement"),
        )

    yield plant
    for original, path in written:
        shutil.copy2(original, path)
    # the copy must not outlive the test; monkeypatch puts the originals back
    for name in [name for name in sys.modules if name.split(".")[0] == "theory"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("id", "module", "right", "wrong"),
    [
        pytest.param(
            *row, id=row[0], marks=[] if row[0] in QUICK else [pytest.mark.slow]
        )
        for row in ROWS
    ],
)
def test_a_planted_error_turns_the_statement_red(planted, id, module, right, wrong):
    catalogue, judge = planted(module, right, wrong)
    assert catalogue.__file__ != importlib.util.find_spec("theory").origin
    result = judge.verify(catalogue.find([id])[0], time_limit=30)
    assert result.verdict.name == "VIOLATED"


def test_every_statement_has_a_planted_error():
    assert {row[0] for row in ROWS} == set(IDS)
