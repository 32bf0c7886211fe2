"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from manifold_flow.models import Model

__all__ = [
    "MODELS",
    "NUMERICAL_FAILURE",
    "add_model_options",
    "data_of",
    "model_of",
    "new_command",
    "seed_of",
]

NUMERICAL_FAILURE = 4
MODELS = ("two-layer", "diagonal", "matrix")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Name the defaults that are values; None and False say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def new_command(
    parsers: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add a command, with the options that all of them have.

    Parameters
    ----------
    parsers : argparse subparsers
        Of the program.
    name : str
        The command.
    run : callable
        From parsed options to an exit status.
    text : str
        What it does, in a line.

    Returns
    -------
    argparse.ArgumentParser
        To which the command adds its own options.
    """
    command: argparse.ArgumentParser = parsers.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        allow_abbrev=False,
        formatter_class=_Help,
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--json", action="store_true", help="one JSON object to stdout"
    )
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return command


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options from which :func:`model_of` makes a model."""
    add = command.add_argument
    add(
        "config",
        nargs="?",
        metavar="CONFIG.toml",
        help="options from a file",
    )
    add("--model", default="two-layer", help=" or ".join(MODELS))
    add("--data", default="gaussian", help="gaussian, uniform, digits, or a file")
    add("--n", type=int, default=5, help="number of samples, unless from a file")
    add("--d", type=int, default=8, help="number of features (gaussian, uniform)")
    add("--width", "--m", type=int, default=10, help="of the network; rank of a matrix")
    add(
        "--activation",
        default="cubic",
        help="a name, or a formula in z",
    )
    add("--loss", default="half-mean", help="half-mean, mean or sum")
    add("--seed", type=int, default=0, help="of data, start, draws and noise")
    command.set_defaults(command=command)


def seed_of(options: argparse.Namespace) -> int:
    """Return the seed, if it is one.

    Raises
    ------
    DataError
        If it is negative.
    """
    from manifold_flow.errors import DataError

    seed: int = options.seed
    if seed < 0:
        raise DataError(f"seed = {seed}: must be an integer, 0 or more.")
    return seed


def model_of(options: argparse.Namespace, rng: np.random.SeedSequence) -> Model:
    """Return the model that the options describe, and note its caveats.

    Parameters
    ----------
    options : argparse.Namespace
        See :func:`add_model_options`.
    rng : SeedSequence
        Of the data.

    Returns
    -------
    Model

    Raises
    ------
    UnknownNameError
        For a model or data of another name.
    ModelError
        If the data are no matrices where the model measures them.
    """
    model = _described(options, rng)
    if options.json:  # in words, the result itself says them
        for caveat in model.caveats:
            print(f"note: {caveat}", file=sys.stderr)
    return model


def _described(options: argparse.Namespace, rng: np.random.SeedSequence) -> Model:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = options.model.replace("_", "-")
    if kind not in MODELS:
        raise UnknownNameError("model", options.model, MODELS)
    if kind == "matrix":
        return _matrix_sensing(options, rng)
    inputs, targets = data_of(options, rng)
    if kind == "diagonal":
        return mf.DiagonalLinearNetwork(inputs, targets, loss=options.loss)
    return mf.TwoLayerNetwork(
        inputs, targets, options.width, options.activation, loss=options.loss
    )


def _matrix_sensing(options: argparse.Namespace, rng: np.random.SeedSequence) -> Model:
    """Measure d × d matrices; a file holds one, flattened, in every row."""
    import manifold_flow as mf
    from manifold_flow.errors import ModelError

    flattened = argparse.Namespace(**vars(options) | {"d": options.d**2})
    inputs, targets = data_of(flattened, rng)
    side = isqrt(inputs.shape[1])
    if side**2 != inputs.shape[1]:
        raise ModelError(
            f"the data have {inputs.shape[1]} columns: matrix sensing takes a square "
            "matrix, flattened, in every row. Use another model or other data."
        )
    return mf.MatrixSensing(
        inputs.reshape(-1, side, side), targets, options.width, loss=options.loss
    )


def data_of(options: argparse.Namespace, rng: np.random.SeedSequence) -> Any:
    """Return inputs and targets, drawn, built in, or from a file.

    Raises
    ------
    UnknownNameError
        For another name without a suffix.
    """
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
