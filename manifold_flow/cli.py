"""The commands.  Heavy imports happen inside them, so that ``--help`` is immediate.

Exit status: 0 done, 1 violated, 2 unusable input, 3 no verdict, 4 numerical failure.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from manifold_flow.errors import IntegrationError, ManifoldFlowError, nearest

if TYPE_CHECKING:
    import numpy as np

    from manifold_flow.models import Model
    from manifold_flow.sharpness import Sharpness
    from manifold_flow.trajectory import Trajectory

__all__ = ["main"]

UNUSABLE_INPUT, NUMERICAL_FAILURE = 2, 4
SHARPNESS = {
    "trace": "HessianTrace",
    "top-eigenvalue": "HessianTopEigenvalue",
    "log-pseudo-determinant": "HessianLogPseudoDeterminant",
}
MODELS = ("two-layer", "diagonal")


class ConfigError(ManifoldFlowError, ValueError):
    """A configuration file that cannot be used; names file, line and nearest key."""


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the nearest option for a mistyped one."""

    def error(self, message: str) -> NoReturn:
        found = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if found:
            known = [o for o in self._option_string_actions if o.startswith("--")]
            message = f"unknown option {found[1]}{nearest(found[1], known)}"
        super().error(message)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        # a subcommand's parser reports its own leftovers, so that it can suggest
        space, rest = super().parse_known_args(args, namespace)
        if rest and self.prog.count(" "):
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return space, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; that of the process by default.

    Returns
    -------
    int
        Exit status, see the module's docstring.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except IntegrationError as error:
        _save_partial(options, error)
        return _complain(error)
    except ManifoldFlowError as error:
        return _complain(error)


def _complain(error: ManifoldFlowError) -> int:
    print(f"manifold-flow: {error}", file=sys.stderr)
    bad_input = isinstance(error, ValueError | TypeError)
    return UNUSABLE_INPUT if bad_input else NUMERICAL_FAILURE


def _save_partial(options: argparse.Namespace, error: IntegrationError) -> None:
    out = getattr(options, "out", None)
    if out is not None:
        where = error.trajectory.save(Path(out))
        print(f"manifold-flow: the path so far is in {where}", file=sys.stderr)


# --- options --------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="manifold-flow",
        description="Limiting flows of training algorithms on the zero-loss manifold.",
        epilog="Exit status: 0 done, 2 unusable input, 4 numerical failure.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(run=lambda options: _version(parser, options))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_flow(commands)
    _add_doctor(commands)
    return parser


def _add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--json", action="store_true", help="one JSON object to stdout"
    )
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return command


def _add_demo(commands: Any) -> None:
    add = _add_command(
        commands, "demo", _demo, "the main job on real data, with report.html"
    ).add_argument
    add("--n", type=int, default=20, help="number of images")
    add("--width", "--m", type=int, default=20, help="number of neurons")
    add("--replicas", type=int, default=64, help="runs of label-noise SGD")
    add("--seed", type=int, default=0, help="of images, start and noise")
    add("--out", default="manifold_flow_demo", help="folder of report and runs")


def _add_flow(commands: Any) -> None:
    command = _add_command(commands, "flow", _flow, "integrate one limiting flow")
    add = command.add_argument
    add("config", nargs="?", metavar="CONFIG.toml", help="option names as keys")
    add("--model", default="two-layer", help=" or ".join(MODELS))
    add("--data", default="gaussian", help="gaussian, uniform, digits, or a file")
    add("--n", type=int, default=5, help="number of samples, unless from a file")
    add("--d", type=int, default=8, help="number of features (gaussian, uniform)")
    add("--width", "--m", type=int, default=10, help="number of neurons")
    add("--activation", default="cubic", help="a name, or an expression in z")
    add("--loss", default="half-mean", help="half-mean, mean or sum")
    add("--sharpness", default="trace", help=", ".join(SHARPNESS))
    add("--rate", type=float, default=1.0, help="factor of the velocity")
    add("--times", type=float, nargs="+", help="slow times; to stationarity without")
    add("--method", default="auto", help="auto, or a solver of SciPy")
    add("--rtol", type=float, default=1e-8, help="relative tolerance")
    add("--atol", type=float, default=1e-10, help="absolute tolerance")
    add("--gtol", type=float, default=1e-10, help="stationarity tolerance")
    add("--max-steps", type=int, default=1_000_000, help="budget of steps")
    add("--time-limit", type=float, help="budget of seconds")
    add("--seed", type=int, default=0, help="of data and start")
    add("--out", metavar="RUN.npz", help="save the trajectory")
    command.set_defaults(command=command)


def _add_doctor(commands: Any) -> None:
    _add_command(commands, "doctor", _doctor, "versions, threads and a self-check")


def _version(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if not options.version:
        parser.print_help()
        return UNUSABLE_INPUT
    import manifold_flow

    print(f"manifold_flow {manifold_flow.__version__}")
    return 0


def _with_config(options: argparse.Namespace) -> argparse.Namespace:
    """Lay the command line over the file, the file over the defaults."""
    if options.config is None:
        return options
    command: argparse.ArgumentParser = options.command
    path = Path(options.config)
    values = _read_config(path)
    actions = {a.dest: a for a in command._actions if a.dest not in ("config", "help")}
    typed = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        name = "width" if name == "m" else name
        if name not in actions:
            known = sorted(dest.replace("_", "-") for dest in actions)
            raise ConfigError(
                f"{path}:{_line_of(path, key)}: unknown key {key!r}"
                f"{nearest(key, known)} Known keys: {', '.join(known)}."
            )
        typed[name] = _typed(path, key, value, actions[name])
    given = _given_on_the_command_line(options, command)
    merged = vars(options) | typed | given
    return argparse.Namespace(**merged)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _line_of(path: Path, key: str) -> int:
    pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    lines = path.read_text("utf-8").splitlines()
    return next((i for i, line in enumerate(lines, 1) if pattern.match(line)), 1)


def _typed(path: Path, key: str, value: Any, action: argparse.Action) -> Any:
    """Check a TOML value against the option's type: no strings for numbers."""
    wanted: Any = bool if action.const is True else (action.type or str)
    many = action.nargs == "+"
    items = value if isinstance(value, list) else [value]
    accepted = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}[wanted]
    right = all(
        isinstance(item, accepted) and (wanted is bool or not isinstance(item, bool))
        for item in items
    )
    if not right or (isinstance(value, list) and not many):
        kind = f"a list of {wanted.__name__}" if many else wanted.__name__
        raise ConfigError(
            f"{path}:{_line_of(path, key)}: {key} = {value!r}: expected {kind}."
        )
    converted = [wanted(item) for item in items]
    return converted if many else converted[0]


def _given_on_the_command_line(
    options: argparse.Namespace, command: argparse.ArgumentParser
) -> dict[str, Any]:
    return {
        action.dest: getattr(options, action.dest)
        for action in command._actions
        if action.dest != "help"
        and getattr(options, action.dest) != command.get_default(action.dest)
    }


# --- flow -----------------------------------------------------------------------------


def _flow(options: argparse.Namespace) -> int:
    import numpy as np

    import manifold_flow as mf

    options = _with_config(options)
    data_seed, start_seed = np.random.SeedSequence(options.seed).spawn(2)
    model = _model(options, data_seed)
    for caveat in model.caveats:
        print(f"note: {caveat}", file=sys.stderr)
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, _sharpness(options.sharpness), rate=options.rate)
    path = mf.integrate(
        flow,
        manifold.random_point(rng=start_seed),
        options.times,
        method=options.method,
        rtol=options.rtol,
        atol=options.atol,
        gtol=options.gtol,
        max_steps=options.max_steps,
        time_limit=options.time_limit,
        progress=False if options.quiet else None,
    )
    if options.out is not None:
        path.save(options.out)
    summary = _summary(model, path, options)
    print(json.dumps(summary) if options.json else _flow_text(path, summary))
    return 0


def _model(options: argparse.Namespace, rng: np.random.SeedSequence) -> Model:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = options.model.replace("_", "-")
    if kind not in MODELS:
        raise UnknownNameError("model", options.model, MODELS)
    inputs, targets = _data(options, rng)
    if kind == "diagonal":
        return mf.DiagonalLinearNetwork(inputs, targets, loss=options.loss)
    return mf.TwoLayerNetwork(
        inputs, targets, options.width, options.activation, loss=options.loss
    )


def _data(options: argparse.Namespace, rng: np.random.SeedSequence) -> Any:
    from manifold_flow import datasets
    from manifold_flow.errors import UnknownNameError

    name = options.data
    if name == "digits":
        return datasets.digits(options.n, rng=rng)
    if name in ("gaussian", "uniform"):
        return getattr(datasets, name)(options.n, options.d, rng=rng)
    if not Path(name).suffix:
        known = ("gaussian", "uniform", "digits", "a .csv, .npy or .npz file")
        raise UnknownNameError("data", name, known)
    return datasets.load(name)


def _sharpness(name: str) -> Sharpness:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = name.replace("_", "-")
    if kind not in SHARPNESS:
        raise UnknownNameError("sharpness", name, SHARPNESS)
    sharpness: Sharpness = getattr(mf, SHARPNESS[kind])()
    return sharpness


def _summary(
    model: Model, path: Trajectory, options: argparse.Namespace
) -> dict[str, Any]:
    assert path.sharpness is not None
    assert path.residual is not None
    return {
        "status": path.status.name,
        "message": path.message,
        "slow_time": float(path.times[-1]),
        "sharpness_initial": float(path.sharpness[0]),
        "sharpness_final": float(path.sharpness[-1]),
        "flattest_sharpness": _flattest(model, options.sharpness),
        "residual": float(path.residual[-1]),
        "neuron_spread": _neuron_spread(model, path),
        "n_evaluations": path.n_evaluations,
        "seconds": path.seconds,
        "drift": path.drift,
        "method": path.details["method"],
        "sharpness": path.details["mover"],
        "model": repr(model),
        "loss": model.loss.formula,
        "caveats": list(model.caveats),
        "seed": options.seed,
        "out": options.out,
    }


def _flattest(model: Model, sharpness: str) -> float | None:
    """Return the exact minimum, or None where no theorem gives one."""
    from manifold_flow import references
    from manifold_flow.errors import HypothesisError

    if sharpness != "trace":
        return None
    try:
        return references.flattest_value(model)
    except HypothesisError as error:
        print(f"note: {error}", file=sys.stderr)
        return None


def _neuron_spread(model: Model, path: Trajectory) -> float | None:
    """Largest max_j z_ij − min_j z_ij at the end; None without neurons."""
    import numpy as np

    from manifold_flow.models import TwoLayerNetwork

    if not isinstance(model, TwoLayerNetwork):
        return None
    return float(np.ptp(model.features(path.end), axis=1).max())


def _flow_text(path: Trajectory, summary: dict[str, Any]) -> str:
    lines = [repr(path)]
    if summary["flattest_sharpness"] is not None:
        lines.append(f"exact minimum {summary['flattest_sharpness']:.10g}")
    if summary["neuron_spread"] is not None:
        lines.append(f"neuron spread {summary['neuron_spread']:.1e}")
    if summary["out"] is not None:
        lines.append(f"saved {summary['out']}")
    return "\n".join(lines)


# --- demo and doctor ------------------------------------------------------------------


def _demo(options: argparse.Namespace) -> int:
    from manifold_flow.demo import run_demo, write_demo

    demo = run_demo(
        n=options.n,
        width=options.width,
        replicas=options.replicas,
        seed=options.seed,
        progress=False if options.quiet else None,
    )
    report = write_demo(demo, options.out)
    table = demo.table() | {"report": str(report)}
    if options.json:
        print(json.dumps(table))
    else:
        width = max(map(len, table))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in table.items()))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    found = _diagnosis()
    if options.json:
        print(json.dumps(found))
    else:
        width = max(map(len, found))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in found.items()))
    return 0 if found["self-check"].startswith("ok") else NUMERICAL_FAILURE


def _diagnosis() -> dict[str, str]:
    import platform

    import numpy as np
    import scipy.linalg
    from threadpoolctl import threadpool_info

    from manifold_flow.storage import provenance

    del scipy  # imported for its BLAS to be listed
    found = {"python": platform.python_version(), **provenance()["versions"]}
    pools = {
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    found["BLAS"] = f"{'; '.join(sorted(pools))} (1 is used while integrating)"
    patched = "as is" if hasattr(np, "trapz") else "with the name NumPy 2.4 removed"
    found["geomstats bridge"] = f"imports {patched}"
    found["self-check"] = _self_check()
    return found


def _self_check() -> str:
    """Follow a small flow and compare its end with the exact answer."""
    import manifold_flow as mf

    inputs, targets = mf.datasets.gaussian(n=2, d=4, rng=0)
    model = mf.TwoLayerNetwork(inputs, targets, width=3, activation="cubic")
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0), progress=False)
    assert path.sharpness is not None
    error = abs(path.sharpness[-1] / mf.references.flattest_value(model) - 1.0)
    word = "ok" if error < 1e-8 else "FAILED"
    return (
        f"{word}: flow on n=2, m=3, d=4 ends within {error:.1e} of the exact minimum "
        f"({path.seconds:.2f} s)"
    )


if __name__ == "__main__":
    sys.exit(main())
