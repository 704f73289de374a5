"""A report's files: CSV for spreadsheets, JSON for programs, HTML for people."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from tasks.reporting.gather import COLUMNS, Content
from tasks.reporting.page import as_html

FORMULA: Final = frozenset("=+-@")
"""What makes a spreadsheet run a cell instead of showing it."""


def as_csv(content: Content) -> bytes:
    """A line for each incident, in UTF-8 with the mark that spreadsheets look for; every cell is quoted.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([cell(row[name]) for name in COLUMNS] for row in content.rows)
    return b"\xef\xbb\xbf" + file.getvalue().encode()


def cell(value: Any) -> str:  # noqa: ANN401  whatever a field holds
    """A value in a spreadsheet's cell."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, int):
        return str(value)
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if is_formula(text) else text


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may run this text: by its first character that shows, in whichever width it is written."""
    for letter in text:
        if unicodedata.category(letter)[0] in "CZ":
            continue
        return unicodedata.normalize("NFKC", letter)[0] in FORMULA
    return False


def as_json(content: Content) -> bytes:
    """All of it; times in UTC, as 2026-11-24T12:00:00Z."""
    whole = {
        "title": content.title,
        "made": moment(content.made),
        "which": content.which,
        "counts": content.counts,
        "incidents": [dict(row) for row in content.rows],
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
    return orjson.dumps(whole, default=_time, option=options)


def moment(at: datetime) -> str:
    """A time, to a second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    raise TypeError


FORMATS: Final[Mapping[str, Callable[[Content], bytes]]] = {"csv": as_csv, "json": as_json, "html": as_html}
"""The ending of a file's name → its bytes."""
