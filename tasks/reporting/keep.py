"""A report waits in the store: its files in the integration cache, a row that says for what and until when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.store import Database
from blocks.store.audit import Act, Actor, record
from blocks.store.cache import LARGEST, Cache
from blocks.store.links import Row, rows_of
from blocks.store.tables import Report, table_of
from tasks.reporting.formats import FORMATS, moment
from tasks.reporting.gather import Content, refused

REPORT: Final = table_of(Report)
MARGIN: Final = timedelta(hours=1)
"""How long the files outlast the deadline: another host's clock may be ahead."""

FIRST: Final = 20
"""Incidents that a preview shows."""

SHOWN = ("id", "title", "status", "severity", "owner")


async def keep(database: Database, content: Content, target: str, lasts: timedelta, actor: Actor, now: datetime) -> Row:
    """Keep a report until a person decides, or its time is over; answers its row.

    Raises:
        Refused: a file of it is too large for the cache.
    """
    files = files_of(content)
    async with database.begin("report number") as connection:
        # Of the plans' sequence: a number that a person is told means one thing.
        number = await database.draw(connection, "plan", 1)
    cache = cache_of(database, now)
    for ending, data in files.items():
        await cache.set(file_name(number, ending), data, lasts + MARGIN)
    row: dict[str, Any] = {
        "id": number,
        "state": "waiting",
        "title": content.title,
        "target": target,
        "facts": facts_of(content),
        "run": actor.run,
        "created": now,
        "deadline": now + lasts,
        "decided_by": "",
        "decided_why": "",
    }
    async with database.begin("report") as connection:
        await connection.execute(insert(REPORT).values(**row))
        await _forget_late(connection, now)
        act = Act("made report", None, {"report": (None, number), "title": (None, content.title), "to": (None, target)})
        await record(database, connection, [act], actor, now)
    return row


async def made_by(database: Database, run: str) -> Row | None:
    """The report that this flow run made before it died, and that still waits."""
    async with database.read() as connection:
        wanted = select(REPORT).where(REPORT.c.run == run, REPORT.c.state == "waiting")
        return next(iter(await rows_of(connection, wanted)), None) if run else None


def files_of(content: Content) -> dict[str, bytes]:
    """The ending of a file's name → its bytes. Refused: one is too large for the cache."""
    files = {ending: make(content) for ending, make in FORMATS.items()}
    for ending, data in files.items():
        if len(data) > LARGEST:
            raise refused(f"its {ending} file has {len(data):,} bytes, {LARGEST:,} are allowed: ask for less")
    return files


def facts_of(content: Content) -> dict[str, Any]:
    """What people are shown of a report beside its files."""
    first = [{name: row[name] for name in SHOWN} for row in content.rows[:FIRST]]
    return {
        "which": content.which,
        "made": moment(content.made),
        "incidents": len(content.rows),
        "counts": content.counts,
        "first": first,
    }


def cache_of(database: Database, now: datetime) -> Cache:
    """Where reports' files are kept."""
    return Cache(database, "reports", now=lambda: now)


def file_name(number: int, ending: str) -> str:
    """Under which a file is kept."""
    return f"{number}.{ending}"


def file_names(row: Mapping[str, Any]) -> list[str]:
    """Under which all of a report's are."""
    return [file_name(row["id"], ending) for ending in FORMATS]


async def _forget_late(connection: AsyncConnection, now: datetime) -> None:
    """Those for which nobody decided in time: the cache has dropped their files."""
    late = (REPORT.c.state == "waiting", REPORT.c.deadline < now)
    await connection.execute(update(REPORT).where(*late).values(state="expired", facts=None))
