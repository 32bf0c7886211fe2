"""The commands.  Heavy imports happen inside them, so that ``--help`` is immediate.

Exit status: 0 done, 1 violated, 2 unusable input or output, 3 no verdict, 4 numerical
failure or interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import reprlib
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from manifold_flow.commands import compare, demo, doctor, flow, verify
from manifold_flow.commands.options import NUMERICAL_FAILURE
from manifold_flow.errors import (
    DataError,
    FileFormatError,
    IntegrationError,
    ManifoldFlowError,
    nearest,
)

__all__ = ["main"]

UNUSABLE_INPUT = 2
#: characters of a configuration file; the longest has some twenty short lines
LONGEST_CONFIG = 100_000


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
    try:
        try:
            return _run(arguments)
        finally:
            # a full disk or a reader that left shows here, not at the interpreter's end
            if sys.stdout is not None:  # closed by whoever wants the status alone
                sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted before there was a result.")
        return NUMERICAL_FAILURE
    except OSError as error:
        return _output_lost(error)


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if getattr(options, "config", None) is not None:
            # the file's values become defaults, which the command line overrides
            options.command.set_defaults(**_file_defaults(options))
            options = parser.parse_args(arguments)
        _refuse_nameless(options)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except ManifoldFlowError as error:
        return _complain(error, options)


def _refuse_nameless(options: argparse.Namespace) -> None:
    """Raise for --out without a name: to pathlib it is the current folder."""
    out = getattr(options, "out", None)
    if out is not None and not out.strip():
        raise DataError(
            f"--out {out!r} names nothing, and the result would land in the current "
            "folder. Give a name; where a folder is asked, . is the current one."
        )


def _say(text: str) -> None:
    print(f"manifold-flow: {text}", file=sys.stderr)


def _complain(error: ManifoldFlowError, options: argparse.Namespace) -> int:
    """Say what went wrong, with --json also as an object, and return the status."""
    bad_input = isinstance(error, ValueError | TypeError)
    code = UNUSABLE_INPUT if bad_input else NUMERICAL_FAILURE
    message = str(error)
    if isinstance(error, IntegrationError):
        message = f"{error.reason}. {_keep_partial(options, error)}"
    _say(message)
    if getattr(options, "json", False):
        kind = type(error).__name__
        print(json.dumps({"error": message, "kind": kind, "exit_status": code}))
    return code


def _keep_partial(options: argparse.Namespace, error: IntegrationError) -> str:
    """Save the path so far where --out says, and say where it is."""
    if getattr(options, "out", None) is None:
        return f"Pass --out {options.out_name} to keep the path so far."
    out = Path(options.out)
    if out.suffix in {".png", ".json"}:  # where picture or table was to go
        out = out.with_suffix(".npz")
    try:
        where = error.trajectory.save(out / "partial.npz" if out.is_dir() else out)
    except FileFormatError as failure:
        return f"The path so far is lost: {failure}"
    return f"The path so far is in {where}."


def _output_lost(error: OSError) -> int:
    """Say that standard output cannot be written; a reader that left knows."""
    # what is still buffered would fail once more when the interpreter ends
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        _say(f"cannot write the result to standard output: {error}")
    return UNUSABLE_INPUT


# --- options --------------------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="manifold-flow",
        description="Limiting flows of training algorithms on the zero-loss manifold.",
        epilog="Exit status: 0 done or holds, 1 violated, 2 unusable input or output, "
        "3 no verdict, 4 numerical failure or interruption.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(run=lambda options: _version(parser, options))
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (demo, flow, compare, verify, doctor):
        command.add_to(parsers)
    return parser


def _version(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if not options.version:
        parser.print_help()
        return UNUSABLE_INPUT
    import manifold_flow

    print(f"manifold_flow {manifold_flow.__version__}")
    return 0


def _file_defaults(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that a configuration file gives, checked and typed."""
    command: argparse.ArgumentParser = options.command
    path = Path(options.config)
    actions = {a.dest: a for a in command._actions if a.dest not in ("config", "help")}
    text = _config_text(path)
    typed: dict[str, Any] = {}
    for key, value in _parsed(path, text).items():
        place = f"{path}:{_line_of(text, key)}"
        name = key.replace("-", "_")
        name = "width" if name == "m" else name
        if name not in actions:
            known = sorted(dest.replace("_", "-") for dest in actions)
            raise ConfigError(
                f"{place}: unknown key {key!r}{nearest(key, known)} "
                f"Known keys: {', '.join(known)}."
            )
        if name in typed:
            raise ConfigError(
                f"{place}: {key} is another spelling of an option given before, so "
                "one of the two values would be lost. Keep one of them."
            )
        typed[name] = _typed(place, key, value, actions[name])
    return typed


def _config_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            text = stream.read(LONGEST_CONFIG + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if len(text) > LONGEST_CONFIG:
        raise ConfigError(
            f"{path} is longer than {LONGEST_CONFIG} characters: it is no "
            "configuration. Give data by the key 'data'."
        )
    return text


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _line_of(text: str, key: str) -> int:
    pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    lines = text.splitlines()
    return next((i for i, line in enumerate(lines, 1) if pattern.match(line)), 1)


def _typed(place: str, key: str, value: Any, action: argparse.Action) -> Any:
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
        raise ConfigError(f"{place}: {key} = {reprlib.repr(value)}: expected {kind}.")
    try:
        converted = [wanted(item) for item in items]
    except OverflowError as error:
        raise ConfigError(f"{place}: {key} = {reprlib.repr(value)}: {error}.") from None
    return converted if many else converted[0]


if __name__ == "__main__":
    sys.exit(main())
