"""Walking a feed that is searched by time of update, where the vendor's page is not a snapshot.

Windows are bounded, because some vendors read a whole window to answer one page of it; their width follows what is
found. The next window begins at the last record's time, inclusive, so that a record which is edited meanwhile only
moves forward. A unit of time (the resolution of the vendor's clock) that holds more than a page is walked by page
number, and walked again if anything in it moved meanwhile, since an edit shifts the pages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from blocks.model import BadRecord, Incident, Page

Row = Incident | BadRecord

GROW = 4
"""How much wider the next window is after one that was nearly empty."""


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a window, in order of time, and how many records the window holds in all."""

    rows: list[Row]
    total: int


class Ask(Protocol):
    """Search a window, both ends inclusive in whole units; no end: up to now. Pages count from 1."""

    async def __call__(self, first: datetime, last: datetime | None, page: int) -> Found:
        """One page."""


@dataclass(slots=True)
class Walk:
    """One walk from `begin` to now, in windows that start `width` wide (None: one open window).

    `text` gives a time as the cursor that stands for it; `unit` is the resolution of the vendor's clock.
    """

    ask: Ask
    begin: datetime
    size: int
    now: Callable[[], datetime]
    text: Callable[[datetime], str]
    cursor: str
    width: timedelta | None = None
    unit: timedelta = timedelta(seconds=1)

    async def pages(self) -> AsyncIterator[Page]:
        """Each record as it was when the walk passed it, again if it changed since."""
        seen: dict[str, Row] = {}
        while True:
            end = self._end()
            found = await self.ask(self.begin, end, 1)
            for page in self._pages(found.rows, seen):
                yield page
            self._fit(found)
            if found.total <= len(found.rows):
                if end is None:
                    return
                self.begin = end + self.unit
                continue
            times = [row.updated for row in found.rows if isinstance(row, Incident)]
            if times and max(times) > self.begin:
                self.begin = max(times)
            else:
                last = self.begin if times else end
                async for page in self._by_number(last, seen):
                    yield page
                if last is None:
                    return
                self.begin = last + self.unit
            seen = {
                known: row for known, row in seen.items() if not isinstance(row, Incident) or row.updated >= self.begin
            }

    async def _by_number(self, last: datetime | None, seen: dict[str, Row]) -> AsyncIterator[Page]:
        """By page number, again and again until one pass saw as many records as there were all the time."""
        while True:
            passed: set[str] = set()
            totals: set[int] = set()
            number = 1
            while True:
                found = await self.ask(self.begin, last, number)
                for page in self._pages(found.rows, seen):
                    yield page
                passed.update(map(_known, found.rows))
                totals.add(found.total)
                if number * self.size >= found.total:
                    break
                number += 1
            if totals == {len(passed)}:
                return

    def _pages(self, rows: list[Row], seen: dict[str, Row]) -> list[Page]:
        incidents: list[Incident] = []
        bad: list[BadRecord] = []
        for row in rows:
            known = _known(row)
            if seen.get(known) == row:
                continue
            seen[known] = row
            if isinstance(row, Incident):
                incidents.append(row)
            else:
                bad.append(row)
        if not incidents and not bad:
            return []
        newest = max((row.updated for row in incidents), default=None)
        self.cursor = max(self.cursor, self.text(newest)) if newest else self.cursor
        return [Page(incidents, self.cursor, bad=bad)]

    def _end(self) -> datetime | None:
        """Where the window closes: well before now, as its last unit of time must be over."""
        if self.width is None or self.begin + self.width + 2 * self.unit >= self.now():
            return None
        return self.begin + self.width

    def _fit(self, found: Found) -> None:
        """A crowded window shrinks to about two pages, as dense as this one was; a nearly empty one grows."""
        if found.total > GROW * self.size and (self.width is None or found.total > 2 * GROW * self.size):
            times = [row.updated for row in found.rows if isinstance(row, Incident)]
            spread = max(times) - min(times) if times else timedelta(0)
            self.width = max(self.unit, 2 * spread)
        elif self.width is not None and found.total <= self.size // 2:
            self.width *= GROW


def _known(row: Row) -> str:
    return row.id if isinstance(row, Incident) else row.raw
