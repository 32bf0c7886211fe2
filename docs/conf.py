"""Sphinx settings. Pages are MyST Markdown; the gallery's scripts are executed."""

import configparser
import re
import sys
from pathlib import Path

from sphinx.errors import ExtensionError

sys.path.insert(0, str(Path(__file__).parent))  # docs/figures.py, docs/theory_pages.py
sys.path.insert(1, str(Path(__file__).parents[1]))  # benchmarks, which is not installed

from benchmark_table import write_table
from theory_pages import write_pages

_metadata = configparser.ConfigParser()
_metadata.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")

project = "manifold_flow"
author = "The manifold_flow developers"
project_copyright = f"2026, {author}"
release = version = _metadata["metadata"]["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    # Sources of the gallery; the pages made of them are in auto_gallery/.
    "gallery",
    # sphinx-gallery writes its timings here.
    "sg_execution_times.rst",
]

html_theme = "furo"
html_title = f"manifold_flow {release}"

# Equations are numbered through the pages, so that text and tests can cite them.
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
math_number_all = False
math_eqref_format = "({number})"

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # numpydoc's parameter lists say it, with shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # autosummary's template lists them once

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["auto_gallery"],
    # Every script runs at every build, and one that fails ends the build.
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py$",
    "run_stale_examples": True,
    "abort_on_example_error": True,
    "image_scrapers": ("figures.scrape",),
    # A figure is shown as a picture, not as the text "Figure(704x462)".
    "capture_repr": (),
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
}

# Docstrings are read in terminals and write |x| for a modulus, which reStructuredText
# takes for a substitution. Left as they are: inline literals and formulas, examples,
# and directives with what is indented below them.
_VERBATIM = re.compile(
    r"`+[^`]+`+|^ *>>>.*(?:\n.*\S.*)*|^( *)\.\. .*(?:\n(?:\1 +\S.*|[ \t]*$))*", re.M
)


def escape_bars(app, what, name, obj, options, lines):
    text, place, parts = "\n".join(lines), 0, []
    for kept in _VERBATIM.finditer(text):
        parts += [text[place : kept.start()].replace("|", r"\|"), kept.group()]
        place = kept.end()
    lines[:] = ("".join(parts) + text[place:].replace("|", r"\|")).split("\n")


def refuse_pages_without_pictures(app, error):
    """End the build where a page of the gallery shows nothing."""
    if error is not None or app.builder.format != "html":
        return
    for source in Path(app.srcdir, "gallery").glob("plot_*"):
        page = Path(app.outdir, "auto_gallery", source.stem).with_suffix(".html")
        pictures = re.findall(r'<img [^>]*src="\.\./_images/(\S+)"', page.read_text())
        if not pictures:
            raise ExtensionError(f"{page} shows no picture: end {source} in a figure")


def setup(app):
    app.connect("builder-inited", write_pages)
    app.connect("builder-inited", write_table)
    app.connect("build-finished", refuse_pages_without_pictures)
    # After numpydoc, which makes directives and literals of the sections.
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
