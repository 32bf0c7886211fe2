"""The table of the recorded benchmark run, for docs/benchmarks.md."""

from pathlib import Path

from benchmarks.results import Results
from benchmarks.table import as_markdown

NOTHING = "No run is recorded in this checkout: `make bench` measures one.\n"
CAPTIONS = {
    "benchmarks_precision.png": "Seconds against the error of the trajectory.",
    "benchmarks_size.png": "Seconds to the end point against the number of parameters.",
}


def write_table(app):
    """Write the tables and pictures of docs/_static to what the page includes."""
    source = Path(app.srcdir)
    recorded = source / "_static" / "benchmarks.json"
    text = as_markdown(Results.read(recorded)) if recorded.exists() else NOTHING
    for name, caption in CAPTIONS.items():
        if (source / "_static" / name).exists():
            text += f"\n![{caption}](/_static/{name})\n\n{caption}\n"
    target = source / "generated" / "benchmarks.txt"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, "utf-8")
