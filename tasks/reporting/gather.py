"""What a report holds: the incidents that match, and what is counted of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from blocks.errors import Refused
from blocks.model import SEVERITIES, STATUSES
from blocks.store import Database, checks
from blocks.store.cache import LARGEST
from blocks.store.search import search
from blocks.store.tables import Incident
from tasks.reporting.which import Which

MANY: Final = 10_000
"""Incidents of a report. A page of more is read by nobody, and no spreadsheet is quick with it."""

TITLE: Final = 200
"""Characters."""

BARS: Final = 10
"""Names of a chart, the rest of them together."""

NONE, OTHERS = "none", "others"
SHORT = ("title", "type", "status", "severity", "owner", "labels", "close_reason", "close_notes")
TIMES = ("occurred", "created", "updated", "closed")
COLUMNS: Final = ("id", *SHORT, *TIMES)
"""What a table has of an incident; JSON has its description and custom fields beside them."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """A report: its title, when it was made, which incidents, and they themselves, newest first."""

    title: str
    made: datetime
    which: str
    rows: Sequence[Row]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What is counted → name → how many."""
        return {
            "status": _in_order(self.rows, "status", STATUSES),
            "severity": _in_order(self.rows, "severity", SEVERITIES[::-1]),
            "type": _most(self.rows, "type"),
            "owner": _most(self.rows, "owner"),
            "created": over_time([row["created"] for row in self.rows]),
        }


async def gather(database: Database, title: str, which: Which, now: datetime) -> Content:
    """Read what matches, page by page.

    Raises:
        Refused: a title or a value that the store cannot keep; more than 10,000 incidents, or more than 16 MiB.
    """
    title, rows = checks.text("title", title.strip(), TITLE), list[Row]()
    wanted, size = which.search(now), 0
    while True:
        found = await search(database, wanted)
        rows += map(_row, found.rows)
        size += sum(_length(row) for row in rows[-len(found.rows) :]) if found.rows else 0
        if len(rows) > MANY or (len(rows) == MANY and found.next is not None):
            raise refused(f"over {MANY:,} incidents match, and a report takes no more: ask for less")
        if size > LARGEST:
            raise refused(f"the incidents that match hold over {LARGEST >> 20} MiB of text: ask for less")
        if found.next is None:
            return Content(title, now, which.words(), rows)
        wanted = replace(wanted, before_id=found.next)


def over_time(times: Sequence[datetime]) -> dict[str, int]:
    """How many fall on each day; where these are over 31, in each month. One that has none is there, too."""
    if not times:
        return {}
    first, last = min(times).astimezone(UTC).date(), max(times).astimezone(UTC).date()
    days = (last - first).days + 1
    longest = 31
    if days <= longest:
        names = [f"{first + timedelta(days=n):%Y-%m-%d}" for n in range(days)]
        found = Counter(f"{at.astimezone(UTC):%Y-%m-%d}" for at in times)
    else:
        months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
        names = [f"{n // 12:04}-{n % 12 + 1:02}" for n in months]
        found = Counter(f"{at.astimezone(UTC):%Y-%m}" for at in times)
    return {name: found[name] for name in names}


def refused(message: str) -> Refused:
    """A report that cannot be made."""
    return Refused(message, system="store", call="make report")


def _row(one: Incident) -> Row:
    names = (*COLUMNS, "description", "custom")
    return {name: getattr(one, name) for name in names}


def _length(row: Row) -> int:
    return sum(len(str(value)) for name, value in row.items() if value and name not in TIMES)


def _in_order(rows: Sequence[Row], name: str, order: Sequence[str]) -> dict[str, int]:
    found = Counter(row[name] or NONE for row in rows)
    return {value: found[value] for value in (*order, NONE) if found[value]}


def _most(rows: Sequence[Row], name: str) -> dict[str, int]:
    """The most frequent, and the others together."""
    found = Counter(row[name] or NONE for row in rows).most_common()
    shown = dict(found[:BARS])
    rest = sum(count for _, count in found[BARS:])
    return shown | ({OTHERS: rest + shown.get(OTHERS, 0)} if rest else {})
