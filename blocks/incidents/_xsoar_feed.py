"""XSOAR's feed: what changed by its time of update, what is new and has none, and what only has a new entry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal

from blocks.errors import Misconfigured
from blocks.feed import Found, Row, Walk
from blocks.incidents import _xsoar as records
from blocks.incidents import _xsoar_war_room as war_room
from blocks.incidents import _xsoar_words as words
from blocks.incidents._xsoar_calls import Server
from blocks.model import Cursor, Entry, Incident, Page

By = Literal["modified", "created"]

UNTOUCHED: Final = '-modified:>="1971-01-01T00:00:00Z"'
"""What was never changed may have no time of update."""
OPEN: Final = "-status:closed"


async def walk(
    server: Server, by: By, begin: datetime, cursor: Cursor, size: int, clause: str = ""
) -> AsyncIterator[Page]:
    """Pages of what has this time since, oldest first. Only by `modified` they move the cursor. Misconfigured."""
    shown: dict[str, Incident] = {}
    whole: dict[tuple[datetime, datetime | None], int] = {}

    async def ask(first: datetime, last: datetime | None, page: int) -> Found:
        floor, end = _second(first), _second(last) + timedelta(seconds=1) if last else None
        span = (f"{by}:>={words.moment(floor)}", f"{by}:<{words.moment(end)}" if end else "")
        raws, total = await server.search(words.both(server.scope, clause, *span), size, page - 1, by=by)
        # A page that is not full is the last, whatever is counted: the key's role may not see all that is.
        read = (page - 1) * size + len(raws)
        if len(raws) < size:
            whole[first, last] = read
        elif whole.get((first, last), read) < read:
            del whole[first, last]
        total = min(total, whole.get((first, last), total))
        rows: list[Row] = []
        for row in (records.incident(raw, server.custom) for raw in raws):
            if isinstance(row, Incident):
                shown[row.id] = row
                at = row.created if by == "created" and row.created else row.updated
                _in_time(server, row.id, at, floor)
                if end and at >= end:
                    # It moved on while it was searched: it comes later, and must not move the cursor now.
                    total -= 1
                    continue
                # Searches are in whole seconds, and so is what the walk goes by.
                rows.append(replace(row, updated=_second(at)))
            else:
                rows.append(row)
        return Found(rows, total)

    stamp = records.text if by == "modified" else lambda _: cursor
    async for page in Walk(ask, begin, size, server.now, stamp, cursor).pages():
        yield replace(page, incidents=[shown[one.id] for one in page.incidents])
        shown.clear()


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _in_time(server: Server, id: str, at: datetime, floor: datetime) -> None:
    if at < floor:
        message = "a search finds what is older than asked: does the server read times in UTC?"
        raise Misconfigured(message, system=server.system, call="POST incidents/search", id=id)


async def changes(server: Server, begin: datetime, since: Cursor, size: int, *, each: bool) -> AsyncIterator[Page]:
    """All that changed since `begin`. `each`: each open incident is asked for new entries, too.

    The cursor follows the server's own times; those of creation and of entries count up to the walk's begin only.
    """
    started, cursor, reached = server.now(), since, begin
    async for page in walk(server, "created", begin, since, size, UNTOUCHED):
        yield page
        reached = max(reached, *(one.updated for one in page.incidents), begin)
    async for page in walk(server, "modified", begin, since, size):
        yield page
        cursor = page.cursor
    if each:
        async for page in _quiet(server, begin, cursor, size):
            yield page
            reached = max(reached, *(one.created for one in page.entries or ()), begin)
    last = max(cursor, records.text(min(reached, started)))
    if last != cursor:
        yield Page([], last)


async def _quiet(server: Server, begin: datetime, cursor: Cursor, size: int) -> AsyncIterator[Page]:
    """Open incidents with entries since, with all their entries: the store may not know the older ones."""
    async for page in walk(server, "created", records.EPOCH, cursor, size, OPEN):
        newer = await asyncio.gather(*(war_room.entries(server, one, since=begin) for one in page.incidents))
        found = [one for one, some in zip(page.incidents, newer, strict=True) if some]
        if found:
            yield Page(found, cursor, entries=await entries(server, found))


async def entries(server: Server, incidents: list[Incident]) -> list[Entry]:
    """All entries of these incidents, oldest first. A call for each, and one more for each further hundred."""
    found = await asyncio.gather(*(war_room.entries(server, one) for one in incidents))
    return sorted((one for some in found for one in some), key=records.age)
