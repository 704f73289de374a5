"""A report as one HTML file: no script, nothing fetched, charts drawn in it, and whatever came from outside as text."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tasks.reporting.gather import COLUMNS, Content

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2430; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.05rem; margin: 0 0 .4rem; }
p { color: #55606e; margin: 0 0 1.4rem; }
.charts { display: flex; flex-wrap: wrap; gap: 2rem; margin-bottom: 2rem; }
svg { display: block; } svg text { font: 12px system-ui, sans-serif; fill: #1c2430; } svg rect { fill: #3d6fb4; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid #dde2e8; }
th { position: sticky; top: 0; background: #f3f5f8; } td { overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } th { position: static; } }
"""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Even if something got in, the browser would fetch and run nothing."""

HIDDEN = frozenset({"Cc", "Cf", "Cs"})
"""Control and format characters, such as those that turn the direction of text."""

LABEL, BAR, ROW = 150, 220, 22
"""Of a chart, in pixels: its names, its longest bar, the height of a line."""


def as_html(content: Content) -> bytes:
    """The whole page, in UTF-8."""
    charts = "\n".join(bars(name, counts) for name, counts in content.counts.items() if counts)
    head = "".join(f"<th>{shown(name.replace('_', ' '))}</th>" for name in COLUMNS)
    rows = "\n".join(f"<tr>{''.join(f'<td>{shown(row[name])}</td>' for name in COLUMNS)}</tr>" for row in content.rows)
    title = shown(content.title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>{len(content.rows):,} incidents: {shown(content.which)}. Made {shown(content.made)}. All times are UTC.</p>
<div class="charts">
{charts}
</div>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
""".encode()


def bars(title: str, counts: Mapping[str, int]) -> str:
    """A chart of lying bars."""
    most = max(counts.values(), default=0) or 1
    lines = [_bar(n * ROW, name, count, count * BAR / most) for n, (name, count) in enumerate(counts.items())]
    width, height = LABEL + BAR + 60, len(lines) * ROW + 4
    svg = f'<svg role="img" aria-label="{shown(title)}" width="{width}" height="{height}">{"".join(lines)}</svg>'
    return f"<section><h2>{shown(title)}</h2>{svg}</section>"


def _bar(top: int, name: str, count: int, long: float) -> str:
    longest = 22
    words = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return (
        f'<text x="{LABEL - 8}" y="{top + 15}" text-anchor="end">{shown(words)}<title>{shown(name)}</title></text>'
        f'<rect x="{LABEL}" y="{top + 3}" width="{long:.1f}" height="{ROW - 6}"/>'
        f'<text x="{LABEL + long + 6:.1f}" y="{top + 15}">{count:,}</text>'
    )


def shown(value: Any) -> str:  # noqa: ANN401  whatever a field holds
    """A value as text in HTML, between tags or in a quoted attribute."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return html.escape("".join(" " if unicodedata.category(one) in HIDDEN else one for one in text))
