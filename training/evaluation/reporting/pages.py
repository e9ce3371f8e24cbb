"""Pages of a bundle: one HTML file each, with its pictures inside, without scripts, links or anything from outside.

Every text is escaped here; a page may be opened from disk or shown by the service, which forbids it everything else.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = (
    ":root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c1c1c;background:#fff}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-top:1px solid #ddd;"
    "padding-top:1rem}table{border-collapse:collapse;width:100%;margin:.6rem 0}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #e5e5e0}"
    "td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "caption{text-align:left;color:#555;padding:.3rem 0}img{max-width:100%;height:auto}figure{margin:1rem 0}"
    "figcaption{color:#555}.holds{color:#0b6b3a;font-weight:600}.broken{color:#a30000;font-weight:600}"
    ".wide{overflow-x:auto}"
)
_LONGEST_NUMBER = 32
"""Characters; a cell that begins like a number and is longer is a sentence."""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page; `parts` are HTML that the functions below made."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{''.join(parts)}</main></body></html>\n"
    )


def heading(text: str) -> str:
    """Begins a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is a class of the page's style."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def verdict(passed: bool, holds: str, broken: str) -> str:
    """A sentence that is good news or bad."""
    return paragraph(holds if passed else broken, "holds" if passed else "broken")


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first cell of a row heads it, cells that begin like a number stand to the right."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(f"<tr>{_head_cell(row[0])}{''.join(_cell(text) for text in row[1:])}</tr>" for row in rows)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def picture(svg: bytes, description: str) -> str:
    """A plot as an image: what is inside an image cannot run."""
    data = base64.b64encode(svg).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(description)}">'
        f"<figcaption>{escape(description)}</figcaption></figure>"
    )


def _head_cell(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _cell(text: str) -> str:
    if text in ("holds", "broken"):
        return f'<td class="{text}">{text}</td>'
    begins_so = text[:1].isdigit() or (text[:1] in ("+", "-", "−") and text[1:2].isdigit())
    is_number = begins_so and len(text) <= _LONGEST_NUMBER
    return f'<td class="number">{escape(text)}</td>' if is_number else f"<td>{escape(text)}</td>"
