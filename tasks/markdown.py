"""Markdown of our own, in which whatever came from outside is shown as text: no link, no image, no HTML, no chart."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

SPECIAL = frozenset("\\`*_{}[]()<>#|!&~$^")
"""Written with a backslash, which makes text of them in both of Prefect's UIs: the first shows numbers of characters
(&#60;) as they are written."""

JOINER = "\u2060"
"""Unseen, and keeps readers that make links of plain text from seeing one."""

LINE = 1999
"""Characters of a line of prose: a value is read no further than 2,000."""

_LEADING = re.compile(r"^([0-9]*)([-+=.])")
"""What makes a list or an underline of a line that begins so."""

_LINKS = re.compile(r"(:(?=//)|\bwww(?=\.)|@)", re.IGNORECASE)


def text(value: object, longest: int = 80) -> str:
    """A value from outside, on one line, cut to so many characters."""
    shown = _plain(value)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    pieces = _LINKS.split(shown)
    line = "".join(f"{_escaped(piece)}{JOINER}" if n % 2 else _escaped(piece) for n, piece in enumerate(pieces))
    return _LEADING.sub(r"\1\\\2", line)


def prose(value: object, longest: int = 4000) -> str:
    """A text from outside, line by line, in one cell of a table; cut to so many characters."""
    shown = "" if value is None else str(value)
    lines = (shown[: longest - 1] + "…" if len(shown) > longest else shown).splitlines()
    return "<br>".join(text(line, LINE) if line.strip() else "" for line in lines) or text(None)


def link(words: object, url: str) -> str:
    """A link to an address of http or https; only its words, where it is another."""
    if not url.startswith(("http://", "https://")):
        return text(words)
    return f"[{text(words)}]({address(url)})"


def address(url: str) -> str:
    """An address of http or https in which nothing ends a link or begins markup; nothing, where it is another."""
    return quote(url, safe=":/?#@&=%,;+~.-_") if url.startswith(("http://", "https://")) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; cells are Markdown already."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines] if lines else []


def pie(title: str, counts: Mapping[str, int]) -> list[str]:
    """A chart of counts under names of our own; none where there is nothing to compare."""
    slices = [f'    "{name}" : {count}' for name, count in counts.items() if count]
    return ["```mermaid", f"pie showData title {title}", *slices, "```"] if len(slices) > 1 else []


def _plain(value: object) -> str:
    if value is None or value in ("", []):
        return "-"
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    # Control and format characters, such as those that turn the direction of text.
    return " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c for c in shown[:2000]).split())


def _escaped(piece: str) -> str:
    return "".join(f"\\{c}" if c in SPECIAL else c for c in piece)
