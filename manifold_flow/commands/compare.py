"""``manifold-flow compare``: an optimizer against its limiting flow."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifold_flow.commands.options import (
    add_model_options,
    model_of,
    new_command,
    seed_of,
)

if TYPE_CHECKING:
    from manifold_flow.comparison import Comparison
    from manifold_flow.models import Model
    from manifold_flow.optimizers import Optimizer

__all__ = ["add_to", "run"]

OPTIMIZERS = ("label-noise", "minibatch", "sam", "sam-per-sample", "normalized-gd")


def add_to(parsers: Any) -> None:
    """Add the command and its options."""
    command = new_command(
        parsers, "compare", run, "an optimizer against its limiting flow"
    )
    add_model_options(command)
    command.set_defaults(out_name="FOLDER")
    add = command.add_argument
    add("--optimizer", default="label-noise", help=" or ".join(OPTIMIZERS))
    add("--noise", type=float, default=1.0, help="standard deviation on the labels")
    add("--noise-law", default="rademacher", help="rademacher, gaussian or uniform")
    add("--batch-size", type=int, default=1, help="samples a step")
    add("--replacement", action="store_true", help="draw samples with replacement")
    add("--momentum", type=float, default=0.0, help="of SGD")
    add("--rho-ratio", type=float, default=2.5, help="SAM's radius over learning rate")
    add(
        "--eta",
        type=float,
        nargs="+",
        default=[0.04, 0.02, 0.01],
        help="learning rates, best in ratios of 2",
    )
    add("--slow-time", type=float, default=2.0, help="where flow and runs end")
    add("--replicas", type=int, default=64, help="runs at every learning rate")
    add("--rate", type=float, help="test this rate instead of the theorem's")
    add("--force", action="store_true", help="run unstable learning rates")
    add("--max-steps", type=int, default=2_000_000, help="budget of steps in all")
    add("--time-limit", type=float, help="budget of seconds, estimated before")
    add(
        "--out",
        metavar="FOLDER",
        help="for comparison.json and .png; or one file of either",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, and return the verdict's status.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``compare``.

    Returns
    -------
    int
        Exit status 0 the flow is followed, 1 it is not, 3 no verdict.
    """
    import numpy as np

    import manifold_flow as mf
    from manifold_flow import storage

    for target in _targets(options.out):
        storage.refuse_unwritable(target)
    data_seed, start_seed, noise_seed = np.random.SeedSequence(seed_of(options)).spawn(
        3
    )
    model = model_of(options, data_seed)
    if options.json:  # in words, the result itself says them
        for caveat in model.caveats:
            print(f"note: {caveat}", file=sys.stderr)
    manifold = mf.ZeroLossManifold(model)
    optimizer = _optimizer(options, model)
    flow = mf.limiting_flow(optimizer, manifold)
    if options.rate is not None:
        flow = mf.LimitingFlow(manifold, flow.sharpness, rate=options.rate)
    found = mf.compare(
        optimizer,
        manifold,
        manifold.random_point(rng=start_seed),
        slow_time=options.slow_time,
        learning_rates=options.eta,
        replicas=options.replicas,
        rng=noise_seed,
        flow=flow,
        force=options.force,
        max_steps=options.max_steps,
        time_limit=options.time_limit,
        progress=False if options.quiet else None,
    )
    data = found.to_dict() | {"seed": options.seed, **storage.provenance()}
    saved = _write(options.out, found, json.dumps(data, indent=1))
    said = "".join(f"\nsaved {path}" for path in saved)
    print(json.dumps(data | {"out": saved}) if options.json else f"{found}{said}")
    return found.verdict.exit_code


def _optimizer(options: argparse.Namespace, model: Model) -> Optimizer:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = options.optimizer.replace("_", "-")
    rate = options.eta[0] if options.eta else 1.0  # none at all is refused later
    drawn = {
        "batch_size": options.batch_size,
        "replacement": options.replacement,
        "momentum": options.momentum,
    }
    radius = options.rho_ratio * rate
    if kind == "label-noise":
        noise = {"noise_std": options.noise, "noise": options.noise_law}
        return mf.LabelNoiseSGD(model, rate, **noise, **drawn)
    if kind == "minibatch":
        return mf.MinibatchSGD(model, rate, **drawn)
    if kind == "sam":
        return mf.SAM(model, rate, radius)
    if kind == "sam-per-sample":
        return mf.SAM(model, rate, radius, batch_size=1)
    if kind == "normalized-gd":
        return mf.NormalizedGD(model, rate)
    raise UnknownNameError("optimizer", options.optimizer, OPTIMIZERS)


def _targets(out: str | None) -> list[Path]:
    """Return the files that --out asks for."""
    if out is None:
        return []
    target = Path(out)
    if target.suffix in {".png", ".json"}:
        return [target]
    return [target / "comparison.json", target / "comparison.png"]


def _write(out: str | None, found: Comparison, text: str) -> list[str]:
    from manifold_flow import plots, storage

    targets = _targets(out)
    for target in targets:
        picture = target.suffix == ".png"
        content = plots.png(found.plot()) if picture else text.encode()
        storage.write_bytes(target, content)
    return [str(target) for target in targets]
