"""``manifold-flow flow``: integrate one limiting flow."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from manifold_flow.commands.options import (
    add_model_options,
    model_of,
    new_command,
    seed_of,
)

if TYPE_CHECKING:
    from manifold_flow.models import Model
    from manifold_flow.sharpness import Sharpness
    from manifold_flow.trajectory import Trajectory

__all__ = ["add_to", "run"]

SHARPNESS = {
    "trace": "HessianTrace",
    "top-eigenvalue": "HessianTopEigenvalue",
    "log-pseudo-determinant": "HessianLogPseudoDeterminant",
}


def add_to(parsers: Any) -> None:
    """Add the command and its options."""
    command = new_command(parsers, "flow", run, "integrate one limiting flow")
    add_model_options(command)
    command.set_defaults(out_name="RUN.npz")
    add = command.add_argument
    add("--sharpness", default="trace", help=", ".join(SHARPNESS))
    add("--rate", type=float, default=1.0, help="factor of the velocity")
    add("--times", type=float, nargs="+", help="slow times; to stationarity without")
    add("--method", default="auto", help="auto, or a solver of SciPy")
    add("--rtol", type=float, default=1e-8, help="relative tolerance")
    add("--atol", type=float, default=1e-10, help="absolute tolerance")
    add("--gtol", type=float, default=1e-10, help="stationarity tolerance")
    add("--max-steps", type=int, default=1_000_000, help="budget of steps")
    add("--time-limit", type=float, help="budget of seconds")
    add("--out", metavar="RUN.npz", help="save the trajectory")


def run(options: argparse.Namespace) -> int:
    """Integrate one limiting flow and print how it ended.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``flow``.

    Returns
    -------
    int
        Exit status 0; what goes wrong is raised.
    """
    import numpy as np

    import manifold_flow as mf
    from manifold_flow import storage

    if options.out is not None:
        storage.refuse_unwritable(storage.run_file(options.out))
    data_seed, start_seed = np.random.SeedSequence(seed_of(options)).spawn(2)
    model = model_of(options, data_seed)
    if options.json:  # in words, the result itself ends with them
        for caveat in model.caveats:
            print(f"note: {caveat}", file=sys.stderr)
    manifold = mf.ZeroLossManifold(model)
    sharpness = _sharpness(options.sharpness)
    start = manifold.random_point(rng=start_seed)
    path = mf.integrate(
        mf.LimitingFlow(manifold, sharpness, rate=options.rate),
        start,
        options.times,
        method=options.method,
        rtol=options.rtol,
        atol=options.atol,
        gtol=options.gtol,
        max_steps=options.max_steps,
        time_limit=options.time_limit,
        progress=False if options.quiet else None,
    )
    saved = None if options.out is None else str(path.save(options.out))
    # requested times need not contain 0
    initial = sharpness.value(manifold.linearize(start))
    summary = {
        **_summary(model, path, options),
        "sharpness_initial": initial,
        "out": saved,
    }
    print(json.dumps(summary) if options.json else _flow_text(path, summary))
    return 0


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
        "sharpness_final": float(path.sharpness[-1]),
        "flattest_sharpness": _flattest(model, options.sharpness),
        "residual": float(path.residual[-1]),
        "neuron_spread": _neuron_spread(model, path),
        "n_evaluations": path.n_evaluations,
        "seconds": path.seconds,
        "drift": path.drift,
        "method": path.details["method"],
        "flow": path.details["mover"],
        "model": repr(model),
        "loss": model.loss.formula,
        "caveats": list(model.caveats),
        "seed": options.seed,
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
        if not model.caveats:  # they say the same
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
