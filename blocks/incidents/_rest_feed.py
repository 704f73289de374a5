"""Walking a list that changes while it is read.

Oldest change first, and asked "since": after each page the next question begins at the page's newest time, inclusive,
so that an edit, which moves a record to the end, shifts nothing that is still to come. A moment that fills more than a
page is read page by page, and again until nothing new of it turns up.

Any other list is read whole, again until nothing new turns up, and its cursor moves only when all was read, never past
the time at which the reading began.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from blocks.errors import Misconfigured
from blocks.incidents._rest_paths import Times
from blocks.model import BadRecord, Cursor, Incident, Page

Row = Incident | BadRecord
Position = int | str
"""The number of a page, an offset, a cursor or a link."""


@dataclass(frozen=True, slots=True)
class Found:
    """One page as it came, and where the next one is, if there is one."""

    rows: list[Row]
    next: Position | None


class Ask(Protocol):
    """Ask for what changed since, inclusive; no position: the first page."""

    async def __call__(self, since: datetime, position: Position | None, /) -> Found:
        """One page."""


@dataclass(slots=True)
class Walk:
    """One walk from `begin` to now. `since` is how the question says a time; `cursor` is given as a page's cursor."""

    ask: Ask
    begin: datetime
    cursor: Cursor
    since: Times
    text: Callable[[datetime], Cursor]
    system: str
    _seen: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    async def oldest_first(self) -> AsyncIterator[Page]:
        """In order of time. Misconfigured: the list is not in order, or does not begin where it was asked to."""
        position: Position | None = None
        again = False
        while True:
            moment = self.since.cut(self.begin)
            found = await self.ask(self.begin, position)
            times = [row.updated for row in found.rows if isinstance(row, Incident)]
            self._ordered(times, moment)
            fresh = self._fresh(found.rows)
            if fresh:
                self.cursor = max([self.cursor, *(self.text(at) for at in times)])
                yield _page(fresh, self.cursor)
            again = again or any(isinstance(row, Incident) and self.since.cut(row.updated) == moment for row in fresh)
            crowded, newest = position is not None, max(times, default=moment)
            if crowded and again and (found.next is None or newest > moment):
                position, again = None, False
            elif found.next is None:
                return
            elif self.since.cut(newest) > moment:
                self.begin, position, again = newest, None, False
                self._forget()
            else:
                position = found.next

    async def whole(self, skew: Callable[[], timedelta]) -> AsyncIterator[Page]:
        """In any order. `skew`: how far the system's clock is ahead of ours, to a second, once it has answered."""
        started, newest = datetime.now(UTC) - timedelta(seconds=1), self.begin
        until: datetime | None = None
        again = True
        while again:
            position: Position | None = None
            again, pages = False, 0
            while pages == 0 or position is not None:
                found = await self.ask(self.begin, position)
                until = until or started + skew()
                fresh = self._fresh([r for r in found.rows if isinstance(r, BadRecord) or r.updated >= self.begin])
                if fresh:
                    yield _page(fresh, self.cursor)
                times = [row.updated for row in fresh if isinstance(row, Incident)]
                newest, again = max([newest, *times]), again or any(at <= until for at in times)
                position, pages = found.next, pages + 1
            again = again and pages > 1
        moved = self.text(min(newest, until or newest))
        if moved > self.cursor:
            self.cursor = moved
            yield Page([], moved)

    def _ordered(self, times: list[datetime], moment: datetime) -> None:
        cut = [self.since.cut(at) for at in times]
        if cut != sorted(cut):
            raise Misconfigured(
                "the list is not oldest change first: let `list_path` sort it by time of update, or set `order` to any",
                system=self.system,
            )
        if cut and cut[0] < moment:
            raise Misconfigured(
                f"asked for what changed since {self.since.text(moment)}, it shows what is older: look at {{since}} in "
                "`list_path`, and whether the account's time zone is UTC",
                system=self.system,
            )

    def _fresh(self, rows: list[Row]) -> list[Row]:
        """What was not passed before as it is now."""
        fresh: list[Row] = []
        for row in rows:
            name, at = (row.id, row.updated) if isinstance(row, Incident) else (f"\0{row.raw}", self.begin)
            mark = hash(repr(replace(row, version="") if isinstance(row, Incident) else row))
            if self._seen.get(name, (at, None))[1] != mark:
                fresh.append(row)
            self._seen[name] = (at, mark)
        return fresh

    def _forget(self) -> None:
        """What the next question cannot show again unchanged."""
        moment = self.since.cut(self.begin)
        self._seen = {name: (at, mark) for name, (at, mark) in self._seen.items() if at >= moment}


def _page(rows: list[Row], cursor: Cursor) -> Page:
    incidents = [row for row in rows if isinstance(row, Incident)]
    return Page(incidents, cursor, bad=[row for row in rows if isinstance(row, BadRecord)])
