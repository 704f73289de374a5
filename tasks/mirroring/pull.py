"""Pull: page by page, what the system shows becomes `seen`; page, new entries and cursor are one commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

from sqlalchemy import update

from blocks.errors import Misconfigured, NotFound, Unreadable
from blocks.model import Cursor, Incident, Page
from blocks.points import at, reach
from blocks.rules import Intake
from blocks.store.links import SYSTEM
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.take import miss, take

PAGE = 200


@dataclass(frozen=True, slots=True)
class Pulled:
    """How far a pull came: pages read, and whether the feed is at its end."""

    pages: int
    done: bool


def first_fetch(intake: Intake, now: datetime) -> datetime:
    """Where a first fetch begins; aware, UTC.

    Raises:
        Misconfigured: the date cannot be read, or has no zone.
    """
    if not intake.first_fetch_from:
        return now - timedelta(days=intake.first_fetch_days)
    try:
        begin = datetime.fromisoformat(intake.first_fetch_from)
    except ValueError:
        begin = None
    if begin is None or begin.tzinfo is None:
        message = f"first_fetch_from is '{intake.first_fetch_from}'; write it with its zone, as 2026-11-01T00:00:00Z"
        raise Misconfigured(message)
    return begin.astimezone(UTC)


def beginning(m: Mirroring) -> Cursor:
    """Where this pull begins: after what was read, moved back by the look-back."""
    if m.cursor is None:
        return m.system.start(first_fetch(m.intake, m.now()))
    back = timedelta(minutes=m.intake.look_back_minutes)
    return m.system.rewound(m.cursor, back) if back else m.cursor


async def pull(m: Mirroring, *, pages: int = 1_000_000, seconds: float = 1e9, resume: Cursor | None = None) -> Pulled:
    """Take pages until the feed's end, or until so many pages or seconds.

    Only pages that move the cursor count: what a feed reads again, because it may lag, is no progress.

    Args:
        m: the mirror.
        pages: stop after so many pages.
        seconds: or after so many seconds.
        resume: go on from here instead of looking back again.

    Raises:
        Unavailable, Unauthorized: from the system; what was taken stays.
        Unreadable: a page of one record cannot be read.
    """
    since, size, taken, fresh, started = resume or beginning(m), PAGE, 0, 0, monotonic()
    begun = since
    while True:
        try:
            async with aclosing(ahead(m.system.changes(since, size), "changes")) as feed:
                async for page in feed:
                    await take(m, page)
                    taken, since = taken + 1, page.cursor
                    fresh += since != begun
                    if fresh >= pages or (fresh and monotonic() - started > seconds):
                        return Pulled(taken, done=False)
            break
        except Unreadable:
            # Ask again in halves, down to one record.
            if size == 1:
                m.reads_failed = True
                raise
            size = max(1, size // 2)
    if not m.caught_up:
        async with m.database.begin("caught up") as connection:
            await connection.execute(update(SYSTEM).where(SYSTEM.c.id == m.system_id).values(caught_up=True))
        m.caught_up = True
    return Pulled(taken, done=True)


async def ahead(feed: AsyncIterator[Page], point: str) -> AsyncGenerator[Page, None]:
    """Read the next page while this one is stored. `point` names the call."""
    reading = asyncio.ensure_future(_next(feed, point))
    try:
        while (page := await reading) is not None:
            reading = asyncio.ensure_future(_next(feed, point))
            yield page
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await reading


async def _next(feed: AsyncIterator[Page], point: str) -> Page | None:
    reach(f"before {point}")
    page = await anext(feed, None)
    reach(f"after {point}")
    return page


async def pull_these(m: Mirroring, remote_ids: list[str]) -> None:
    """Read only these incidents now; the cursor stays."""
    for remote_id in remote_ids:
        try:
            incident = await at("get", m.system.get(remote_id))
        except NotFound:
            await miss(m, [remote_id])
        else:
            await take(m, alone(incident), move_cursor=False)


def alone(incident: Incident) -> Page:
    """A page of one incident, which moves no cursor."""
    return Page([incident], cursor="")
