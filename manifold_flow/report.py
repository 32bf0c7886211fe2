"""A self-contained HTML page: text, tables and pictures in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from manifold_flow import storage

__all__ = ["Card", "Picture", "write_report"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.15rem; margin: 0 0 .4rem; }}
table {{ border-collapse: collapse; margin: 1rem 0 2rem; }}
th, td {{ text-align: left; padding: .25rem 1.2rem .25rem 0; vertical-align: top;
         border-bottom: 1px solid #ddd; }}
th {{ font-weight: 600; white-space: nowrap; }}
td {{ font-variant-numeric: tabular-nums; }}
main {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr));
       gap: 2rem; }}
figure {{ margin: 0; }} img {{ width: 100%; height: auto; }}
figcaption {{ font-size: .92rem; color: #444; }}
section {{ border-top: 2px solid #ddd; padding-top: 1rem; overflow-wrap: anywhere; }}
footer {{ margin-top: 2rem; font-size: .85rem; color: #666; }}
</style>
</head>
<body>
<h1>{title}</h1>
{paragraphs}
<table>
{rows}
</table>
<main>
{figures}
</main>
{cards}
<footer>{footer}</footer>
</body>
</html>
"""


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes
    ----------
    title, caption : str
        Plain text; escaped.
    png : str
        Base64 of a PNG.
    """

    title: str
    caption: str
    png: str


@dataclass(frozen=True)
class Card:
    """A heading, a sentence and a table of its own.

    Attributes
    ----------
    title, text : str
        Plain text; escaped.
    lines : mapping of str to str
        Rows, name and value.
    """

    title: str
    text: str
    lines: Mapping[str, str]


def write_report(
    path: str | Path,
    title: str,
    paragraphs: Sequence[str],
    table: Mapping[str, str],
    pictures: Sequence[Picture],
    footer: str = "",
    *,
    cards: Sequence[Card] = (),
) -> Path:
    """Write the page; every text is escaped.

    Parameters
    ----------
    path : str or Path
        Target .html file, replaced whole or not at all.
    title : str
        Heading.
    paragraphs : sequence of str
        Text above the table.
    table : mapping of str to str
        Rows, name and value.
    pictures : sequence of Picture
        Shown side by side where there is room.
    footer : str
        Small print: versions, commit.
    cards : sequence of Card
        Below the pictures, one under the other.

    Returns
    -------
    Path
        The file written.
    """
    page = PAGE.format(
        title=escape(title),
        paragraphs="\n".join(f"<p>{escape(text)}</p>" for text in paragraphs),
        rows=_rows(table),
        figures="\n".join(_figure(picture) for picture in pictures),
        cards="\n".join(_card(card) for card in cards),
        footer=escape(footer),
    )
    return storage.write_text(path, page)


def _rows(table: Mapping[str, str]) -> str:
    return "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in table.items()
    )


def _card(card: Card) -> str:
    return (
        f"<section><h2>{escape(card.title)}</h2><p>{escape(card.text)}</p>"
        f"<table>\n{_rows(card.lines)}\n</table></section>"
    )


def _figure(picture: Picture) -> str:
    return (
        f"<figure><h2>{escape(picture.title)}</h2>"
        f'<img alt="{escape(picture.title)}" '
        f'src="data:image/png;base64,{escape(picture.png)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
