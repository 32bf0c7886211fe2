"""Pages of the theory, written from the statements and their verdicts at every build.

A verdict is kept in docs/_build until a file of ``theory/`` changes.
"""

import hashlib
import importlib
import json
import os
import re
from itertools import groupby
from pathlib import Path

from sphinx.errors import ExtensionError

import theory
from theory.catalogue import find
from theory.judging import judge_all
from theory.presentation import as_data

INTRODUCTION = """# Theory

Every claim below is data of the package `theory`: `python -m theory` judges it in
SymPy, {count} statements in all, and sees its *control*, a false variant of the same
computation, fail. The numerical side checks those on two-layer networks on instances,
independently (`manifold-flow verify`). A verdict is for its *scope*: all n and m, a
fixed size and all values, one activation, one instance, or random exact points.

| group | | statements |
|---|---|---|
{rows}

```{{toctree}}
:hidden:

{entries}
```
"""

STATEMENT = """({id})=
## {title}

`{id}`

```{{math}}
:label: {id}

{claim}
```

{hypotheses}

**Idea.** {idea}

**Verdict.** {verdict} ({scope}; parts: {parts}; {seconds:.1f} s). The control, with
{control}, fails as it must.

**Source.** {reference}.
"""


def write_pages(app):
    """Write a page per group below docs/statements; end the build if a claim fails."""
    folder = Path(app.srcdir, "statements")
    folder.mkdir(exist_ok=True)
    judged = _judged(Path(app.outdir).parent / "theory.json")
    failing = [row["id"] for row in judged if row["verdict"] != "HOLDS"]
    if failing:
        raise ExtensionError(f"statements that do not hold: {', '.join(failing)}")
    groups = {
        group: list(rows)
        for group, rows in groupby(judged, lambda row: row["id"].partition("/")[0])
    }
    table = "\n".join(
        f"| [{group}]({group}.md) | {_heading(group)} | {len(rows)} |"
        for group, rows in groups.items()
    )
    text = INTRODUCTION.format(count=len(judged), rows=table, entries="\n".join(groups))
    _write(folder / "index.md", text)
    for group, rows in groups.items():
        page = [f"# {_heading(group)}", _setting(group)]
        page += [_section(row) for row in rows]
        _write(folder / f"{group}.md", "\n\n".join(page))


def _judged(cache):
    """Return the judged statements as data, from the last build if nothing changed."""
    sources = sorted(Path(theory.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(b"".join(map(Path.read_bytes, sources))).hexdigest()
    if cache.exists():
        kept = json.loads(cache.read_text("utf-8"))
        if kept["sources"] == digest:
            return kept["statements"]
    claims = find()
    results = judge_all(claims, {}, jobs=min(2, os.cpu_count() or 1))
    rows = [as_data(*pair) for pair in zip(claims, results, strict=True)]
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"sources": digest, "statements": rows}), "utf-8")
    return rows


def _module(group):
    return importlib.import_module(f"theory.{group.replace('-', '_')}")


def _heading(group):
    return _module(group).__doc__.strip().splitlines()[0].rstrip(".")


def _setting(group):
    """Return the definitions of a group: the docstring that opens its modules."""
    module = _module(group)
    try:
        module = importlib.import_module(f"{module.__name__}.definitions")
    except ModuleNotFoundError as error:
        if error.name != f"{module.__name__}.definitions":
            raise
    paragraphs = module.__doc__.strip().partition("\n\n")[2]
    escaped = re.sub(r"\|", r"\\|", paragraphs)
    # inside formulas a bar is a bar
    escaped = re.sub(
        r"(:math:`[^`]*`|^\.\. math::(?:.*\n(?:[ ]+.*\n|\n)*))",
        lambda formula: formula[0].replace(r"\|", "|"),
        escaped + "\n",
        flags=re.M,
    )
    return f"```{{eval-rst}}\n{escaped}\n```" if paragraphs else ""


def _section(row):
    assumed = [f"* *{id}*: {_plain(text)}" for id, text in row["hypotheses"].items()]
    return STATEMENT.format(
        id=row["id"],
        title=row["title"],
        claim=row["claim"],
        hypotheses="\n".join(["**Hypotheses.**", "", *assumed])
        if assumed
        else "No hypotheses beyond the setting.",
        idea=_plain(row["idea"]),
        scope=row["scope"],
        verdict=row["verdict"],
        parts=len(row["parts"]),
        seconds=row["seconds"],
        control=_plain(row["control"]["variant"]),
        reference=_plain(row["reference"]),
    )


def _plain(text):
    """Escape what Markdown would take for markup."""
    return re.sub(r"([*_<$`\\])", r"\\\1", text)


def _write(path, text):
    """Leave an unchanged page alone, so that Sphinx need not read it again."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
