"""A report as one HTML file: pictures are in it, nothing is loaded from elsewhere, nothing runs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from meddl.saliency.report.blocks import VERDICTS, Block, Heading, Items, Picture, Table, Text, one_line

# Even if something slipped through: the browser loads nothing and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #222;
  background: #fff; max-width: 58rem; margin: 1.5rem auto; padding: 0 1.2rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 1.8rem 0 .4rem; padding-top: .8rem; border-top: 2px solid #3b6ea5; }
h3 { font-size: 1rem; margin: 1.1rem 0 .3rem; }
p { margin: .4rem 0; }
p.lead { font-size: 1.08rem; }
p.small, ul.small { font-size: .85rem; color: #555; }
p.warning { border-left: 5px solid #c8442c; background: #fdf1ee; padding: .5rem .8rem; }
img { display: block; max-width: 100%; height: auto; margin: .6rem 0; }
table { border-collapse: collapse; margin: .4rem 0; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #ddd; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td:last-child, td:first-child { overflow-wrap: anywhere; }
td:first-child { min-width: 7.5rem; }
td.verdict { white-space: nowrap; font-weight: 600; }
td.good { color: #1c6b3a; } td.doubtful { color: #8a5a00; } td.bad { color: #b3261e; }
@page { size: A4; margin: 14mm; }
@media print { body { font-size: 9.5pt; margin: 0; max-width: none; padding: 0; }
  img { max-height: 125mm; width: auto; } img, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


def html_of(blocks: Sequence[Block], title: str) -> bytes:
    """Return a page; every word in it is shown as it is, whatever it looks like."""
    body = "\n".join(_block(each) for each in blocks)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{_words(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
    return page.encode("utf-8")


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_words(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f'<p class="{block.kind}">{_words(block.text)}</p>'
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{_words(line)}</li>" for line in block.lines) + "</ul>"
    if isinstance(block, Picture):
        data = base64.b64encode(block.png).decode("ascii")
        width = f' style="width: {block.width:.0%}"' if block.width < 1 else ""
        return f'<img src="data:image/png;base64,{data}" alt="{_words(block.words)}"{width}>'
    return _table(block)


def _table(table: Table) -> str:
    lines = ["<table>"]
    if table.columns:
        cells = (f"<th{_kind(table, n)}>{_words(name)}</th>" for n, name in enumerate(table.columns))
        lines.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
    lines.append("<tbody>")
    for row in table.rows:
        cells = (_cell(table, n, text) for n, text in enumerate(row))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _cell(table: Table, column: int, text: str) -> str:
    if column == table.verdicts:
        known = text if text in VERDICTS else "none"
        return f'<td class="verdict {known}">{_words(VERDICTS.get(text, text))}</td>'
    if not table.columns and column == 0:
        return f'<th scope="row">{_words(text)}</th>'
    return f"<td{_kind(table, column)}>{_words(text)}</td>"


def _kind(table: Table, column: int) -> str:
    return ' class="number"' if column in table.numbers else ""


def _words(text: str) -> str:
    return escape(one_line(text), quote=True)
