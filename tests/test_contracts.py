"""Promises of the repository itself: who imports whom, what exists, what is fast."""

import ast
import configparser
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import time
import tomllib
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from numpydoc.validate import validate

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TOOLS = PYPROJECT["tool"]
PACKAGES = TOOLS["importlinter"]["root_packages"]
HEAVY = ("sympy", "geomstats", "matplotlib", "sklearn", "scipy.integrate")


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def python(code: str) -> str:
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ------------------------------------------------------------------ who imports whom


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages in ``folder``, not on the installed ones."""
    program = "from importlinter.cli import lint_imports_command as main; main()"
    return run(sys.executable, "-c", program, "--no-cache", cwd=folder)


@pytest.fixture
def house(tmp_path):
    """A copy of the packages that a test may spoil."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_import_contracts_are_kept():
    done = lint_imports(ROOT)
    kept = len(TOOLS["importlinter"]["contracts"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {kept} kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken", "named"),
    [
        (
            "manifold_flow/models/model.py",
            "import manifold_flow.flow",
            "Arrows go down only",
            "manifold_flow.models.model -> manifold_flow.flow",
        ),
        (
            "manifold_flow/optimizers/abstract.py",
            "import manifold_flow.flow",
            "Arrows go down only",
            "manifold_flow.optimizers.abstract -> manifold_flow.flow",
        ),
        (
            "theory/expressions.py",
            "import manifold_flow.errors",
            "theory is an independent witness",
            "theory.expressions -> manifold_flow.errors",
        ),
        (
            "manifold_flow/sharpness/whole.py",
            "import autograd.numpy",
            "Only _autodiff imports autograd",
            "manifold_flow.sharpness.whole -> autograd",
        ),
        (
            "manifold_flow/report.py",
            "import matplotlib",
            "Only plots imports matplotlib",
            "manifold_flow.report -> matplotlib",
        ),
        (
            "manifold_flow/manifold.py",
            "import geomstats",
            "geomstats is imported through",
            "manifold_flow.manifold -> geomstats",
        ),
    ],
)
def test_planted_import_breaks_a_contract(house, module, line, broken, named):
    path = house / module
    source = path.read_text("utf-8")
    # At the end, so that neither docstring nor __future__ import loses its place.
    path.write_text(f"{source}\n\n{line}\n", "utf-8")
    done = lint_imports(house)
    assert done.returncode == 1, done.stderr
    assert re.search(rf"{re.escape(broken)}.* BROKEN", done.stdout)
    assert named in done.stdout


def test_new_module_without_a_layer_breaks_a_contract(house):
    (house / "manifold_flow" / "upstart.py").write_text('"""New."""\n', "utf-8")
    done = lint_imports(house)
    assert done.returncode == 1
    assert "upstart" in done.stdout


def modules(package: str = "manifold_flow") -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imported_names(tree: ast.Module) -> set[str]:
    """Every dotted name an import statement makes available, at any depth."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_solvers_import_scipy_integrate():
    doors = {
        name
        for name, tree in modules().items()
        if any(used.startswith("scipy.integrate") for used in imported_names(tree))
    }
    assert doors == {
        name for name in doors if name.startswith("manifold_flow/solvers/")
    }
    assert doors


def test_only_the_manifold_asks_for_geomstats():
    doors = {
        name
        for name, tree in modules().items()
        if "manifold_flow._compat.import_geomstats" in imported_names(tree)
    }
    assert doors == {"manifold_flow/manifold.py"}


# --------------------------------------------------------------- what imports cost


def test_import_leaves_the_heavy_libraries_alone():
    loaded = python(
        f"import sys, manifold_flow; print(set({HEAVY}) & set(sys.modules))"
    )
    assert loaded == "set()"


def test_help_leaves_the_heavy_libraries_alone():
    code = (
        "import sys; from manifold_flow.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print(set({HEAVY}) & set(sys.modules), file=sys.stderr)"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "set()"


def test_theory_parser_leaves_sympy_alone():
    modules = "theory.expressions, theory.statement"
    assert python(f"import sys, {modules}; print('sympy' in sys.modules)") == "False"


def test_geomstats_import_leaves_no_trace_in_numpy():
    names = "hasattr(numpy, 'trapz'), hasattr(autograd.numpy, 'trapz')"
    before, after = python(
        "import numpy, autograd.numpy\n"
        "from manifold_flow._compat import import_geomstats\n"
        f"print({names})\n"
        "import_geomstats('geometry.base').LevelSet\n"
        f"print({names})"
    ).splitlines()
    assert before == after


def test_geomstats_import_warns_nobody():
    code = "from manifold_flow._compat import import_geomstats as get\n"
    code += "get('geometry.base'); get('geometry.euclidean')"
    done = run(sys.executable, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr


def best_of_five(*command: str) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert run(*command).returncode == 0
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.slow
def test_import_takes_less_than_half_a_second():
    assert best_of_five(sys.executable, "-c", "import manifold_flow") < 0.5


@pytest.mark.slow
def test_help_takes_less_than_three_tenths_of_a_second():
    assert best_of_five(sys.executable, "-m", "manifold_flow", "--help") < 0.3


# ------------------------------------------------------------- every named path exists


def metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def named_in_setup_cfg() -> set[str]:
    parser = metadata()
    data = {
        f"{package}/{name}"
        for package, names in parser["options.package_data"].items()
        for name in names.split()
    }
    packages = {
        pattern.removesuffix("*")
        for pattern in parser["options.packages.find"]["include"].split()
    }
    return {
        parser["metadata"]["long_description"].removeprefix("file:").strip(),
        parser["metadata"]["license_files"].strip(),
        *data,
        *packages,
    }


def named_in_pyproject() -> set[str]:
    return {
        *TOOLS["pytest"]["ini_options"]["testpaths"],
        *TOOLS["ruff"]["lint"]["per-file-ignores"],
        *TOOLS["mypy"]["packages"],
        *PACKAGES,
    }


def named_in(file: str) -> set[str]:
    """Return the words of ``file`` that read as paths of this repository.

    What .gitignore lists is made by the tools, and is left out.
    """
    text = (ROOT / file).read_text("utf-8")
    words = {word.rstrip("./") for word in re.findall(r"[\w./*-]+", text)}
    ignored = tuple(
        line.strip("/")
        for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()
        if re.fullmatch(r"[\w./-]+", line)
    )
    suffixes = {".cff", ".cfg", ".md", ".py", ".toml", ".yaml"}
    folders = {"docs", "manifold_flow", "tests", "theory"}
    return {
        word
        for word in words
        if Path(word).suffix in suffixes or word.split("/")[0] in folders
        if not word.startswith(ignored)
    }


@pytest.mark.parametrize(
    ("named", "known"),
    [
        (named_in_setup_cfg(), "LICENSE"),
        (named_in_pyproject(), "docs/conf.py"),
        (named_in("pyproject.toml"), "tests/test_contracts.py"),
        (named_in("Makefile"), "setup.cfg"),
        (named_in(".ci/run"), "tests/test_contracts.py"),
        (named_in("docs/conf.py"), "setup.cfg"),
    ],
    ids=["setup.cfg", "settings", "pyproject.toml", "Makefile", ".ci/run", "conf.py"],
)
def test_every_path_named_in_a_configuration_exists(named, known):
    assert known in named
    assert {name for name in named if not any(ROOT.glob(name))} == set()


def test_version_is_the_same_everywhere():
    version = metadata()["metadata"]["version"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert importlib.import_module("manifold_flow").__version__ == version
    assert re.search(rf"^version: {re.escape(version)}$", citation, re.M)
    assert f"## [{version}]" in changes


# ------------------------------------------------------------------------ docstrings


MEMBERS = (property, cached_property, classmethod, staticmethod, FunctionType)


def public_objects() -> dict[str, str | None]:
    """Every public class, function, method and property of ours, with its docstring."""
    found: dict[str, str | None] = {}
    for package in map(importlib.import_module, PACKAGES):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                found |= defined_in(importlib.import_module(info.name))
    return found


def defined_in(module: ModuleType) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value):
            found[f"{module.__name__}.{name}"] = value.__doc__
            found |= {
                f"{module.__name__}.{name}.{member}": docstring(value, member)
                for member, thing in vars(value).items()
                # The default of a dataclass field may be a function, and is no method.
                if isinstance(thing, MEMBERS)
                and not member.startswith("_")
                and member not in getattr(value, "__dataclass_fields__", ())
            }
        elif inspect.isfunction(value):
            found[f"{module.__name__}.{name}"] = value.__doc__
    return found


def docstring(owner: type, member: str) -> str | None:
    """Return the docstring of a member, or of what it overrides."""
    bases = [base for base in owner.__mro__ if member in vars(base)]
    if bases[-1].__module__.split(".")[0] not in PACKAGES:
        return f"documented by {bases[-1].__module__}, or nowhere"
    return next(
        (vars(b)[member].__doc__ for b in bases if vars(b)[member].__doc__), None
    )


def test_every_public_object_has_a_docstring():
    assert {name for name, words in public_objects().items() if not words} == set()


def test_docstrings_agree_with_signatures():
    checks = set(TOOLS["numpydoc_validation"]["checks"])
    disagreements = [
        f"{name}: {code} {message}"
        for name in public_objects()
        for code, message in validate(name)["errors"]
        if code in checks
    ]
    assert disagreements == []


def test_every_public_name_is_in_the_reference():
    package = importlib.import_module("manifold_flow")
    importlib.import_module("manifold_flow.plots")
    public = set()
    for name in (*package.__all__, "plots"):
        value = getattr(package, name)
        inside = value.__all__ if inspect.ismodule(value) else ()
        public |= {f"{name}.{part}" for part in inside} or {name}
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert public - set(re.findall(r"^   ([\w.]+)$", page, re.M)) == set()
