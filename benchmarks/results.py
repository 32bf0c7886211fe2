"""What a run has found, and the file it is kept in."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.race import Row

__all__ = ["Best", "Results"]

PACKAGES = (
    "manifold_flow",
    "numpy",
    "scipy",
    "geomstats",
    "autograd",
    "diffrax",
    "jax",
    "scikit-sundae",
    "pymanopt",
    "torch",
    "torchdiffeq",
)


@dataclass(frozen=True)
class Best:
    """The fastest of several peers.

    Attributes
    ----------
    seconds : float
        Its median, or the seconds after which it was given up.
    ratio : float
        Seconds over ours of the same pairs.
    name : str
        Its name.
    is_bound : bool
        Whether the numbers are lower bounds.
    """

    seconds: float
    ratio: float
    name: str
    is_bound: bool


def describe_machine() -> dict[str, Any]:
    """Return processor, system, and the versions of every library that takes part."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    """Return the model name; platform.processor() is empty on many Linux systems."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.exists() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1) if found else platform.processor() or platform.machine()


@dataclass
class Results:
    """Rows, single numbers, and where they were measured.

    Attributes
    ----------
    rows : list of Row
        One a problem, task and peer.
    precision : list of Row
        Runs at several tolerances, for the work-precision picture.
    quantities : dict
        Single numbers, or the reason why there is none.
    machine : dict
        Processor, system and versions.
    """

    rows: list[Row] = field(default_factory=list)
    precision: list[Row] = field(default_factory=list)
    quantities: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=describe_machine)

    def of(self, problem: str, task: str, peers: str = "") -> Iterator[Row]:
        """Yield the rows of a problem and a task whose peer matches a pattern."""
        for row in self.rows:
            wanted = (row.problem, row.task) == (problem, task)
            if wanted and re.search(peers, row.peer):
                yield row

    def best(self, problem: str, task: str, peers: str) -> Best | None:
        """Return the fastest of the peers, None where none was measured."""
        found = [
            Best(seconds, row.ratio, row.peer, row.median is None)
            for row in self.of(problem, task, peers)
            if (seconds := row.median or row.lower_bound) and row.ratio is not None
        ]
        return min(found, key=lambda best: best.seconds, default=None)

    def quantity(self, name: str) -> float | None:
        """Return a single number, None where it was not measured."""
        value = self.quantities.get(name)
        return value if isinstance(value, float) else None

    def write(self, path: Path, goals: list[dict[str, Any]]) -> None:
        """Write everything as JSON.

        Parameters
        ----------
        path : Path
            Target; its folder is made.
        goals : list of dict
            The goals, judged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(r) | {"median": r.median, "ratio": r.ratio} for r in self.rows]
        everything = {
            "machine": self.machine,
            "rows": rows,
            "precision": [asdict(row) for row in self.precision],
            "quantities": self.quantities,
            "goals": goals,
        }
        text = json.dumps(everything, indent=1, ensure_ascii=False)
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(text, "utf-8")
        unfinished.replace(path)  # a run that is stopped leaves no half of a file

    @classmethod
    def read(cls, path: Path) -> Results:
        """Return what was written, without the goals, which follow from it."""
        kept = json.loads(path.read_text("utf-8"))
        names = Row.__dataclass_fields__
        rows, precision = (
            [Row(**{name: row[name] for name in names}) for row in kept[key]]
            for key in ("rows", "precision")
        )
        return cls(rows, precision, kept["quantities"], kept["machine"])

    def contention(self) -> float:
        """Return the median wall time over CPU time: 1 on a machine left alone."""
        pairs = [
            wall / cpu
            for row in self.rows
            for wall, cpu in zip(row.walls, row.seconds, strict=False)
        ]
        return statistics.median(pairs) if pairs else 1.0
