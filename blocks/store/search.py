"""Finding incidents: by their fields, text, time, system and what waits, newest first, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast

import orjson
from sqlalchemy import ColumnElement, CompoundSelect, Select, Text, exists, func, literal, or_, select, type_coerce
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.store import checks, tables
from blocks.store.audit import MIRRORED
from blocks.store.database import Database
from blocks.store.tables import table_of

INCIDENT, ENTRY = table_of(tables.Incident).c, table_of(tables.Entry).c
LINK, CONFLICT, PARKED = table_of(tables.Link).c, table_of(tables.Conflict).c, table_of(tables.Parked).c
LONGEST: Final = 1_000
MOST: Final = 1_000
ESCAPE: Final = "!"

Waiting = Literal["conflict", "parked", "dirty"]
_OPEN = PARKED.state == "open"
# What came in and was parked names its record alone.
_OF_RECORD = (LINK.system_id == PARKED.system_id, LINK.remote_id == PARKED.remote_id)
WAITS: Final[Mapping[Waiting, Select[Any] | CompoundSelect[Any]]] = {
    "conflict": select(CONFLICT.incident_id).where(CONFLICT.choice == ""),
    "parked": select(PARKED.incident_id)
    .where(_OPEN, PARKED.incident_id.is_not(None))
    .union(select(LINK.incident_id).where(_OPEN, LINK.incident_id.is_not(None), *_OF_RECORD)),
    "dirty": select(LINK.incident_id).where(LINK.dirty != 0, LINK.state.in_(MIRRORED)),
}
"""The incidents of which something waits: for a person, or, if they are dirty only, for the next cycle."""

Likeness = Callable[[ColumnElement[str], str], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Search:
    """What to find: all that is given must hold; a tuple means one of these.

    `label` is matched exactly, `text` anywhere in title, description, custom and unmapped fields and entries, whatever
    its case. Times are aware; `after` includes the time itself, `before` does not. `system_id`: linked with this
    system, or offered to it. `waiting`: of which any of these waits. `before_id` is `next` of the page before; `skip`
    leaves out so many of the newest instead.
    """

    status: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    label: str | None = None
    text: str | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    system_id: int | None = None
    waiting: tuple[Waiting, ...] = ()
    limit: int = 50
    before_id: int | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A page of incidents, newest first. `next` goes into the next search's `before_id`; None: there is no more."""

    rows: list[tables.Incident]
    next: int | None


async def search(database: Database, wanted: Search) -> Found:
    """One page of what is wanted. Edits between two pages neither repeat nor hide an incident.

    Raises:
        Refused: a value that no incident can have, or a limit outside 1 to 1,000.
    """
    if not 1 <= wanted.limit <= MOST:
        raise checks.refused("limit", f"must be between 1 and {MOST:,}")
    statement = select(table_of(tables.Incident)).order_by(INCIDENT.id.desc())
    statement = statement.offset(wanted.skip).limit(wanted.limit + 1)
    async with database.read() as connection:
        like = await _likeness(database, connection, wanted.text or "")
        statement = statement.where(*_conditions(wanted, like, sqlite=database.sqlite))
        rows = [tables.Incident(**row) for row in (await connection.execute(statement)).mappings()]
    more = len(rows) > wanted.limit
    return Found(rows[: wanted.limit], rows[wanted.limit - 1].id if more else None)


async def count(database: Database, wanted: Search) -> int:
    """How many incidents are wanted, on all pages together. Refused: a value that no incident can have."""
    async with database.read() as connection:
        like = await _likeness(database, connection, wanted.text or "")
        statement = select(func.count()).select_from(table_of(tables.Incident))
        statement = statement.where(*_conditions(wanted, like, sqlite=database.sqlite))
        return (await connection.execute(statement)).scalar_one()


def _conditions(wanted: Search, like: Likeness, *, sqlite: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for name in ("status", "severity", "type", "owner"):
        values = getattr(wanted, name)
        if values:
            found.append(INCIDENT[name].in_([checks.text(name, value, LONGEST) for value in values]))
    found += [
        compare(time)
        for compare, time in (
            (INCIDENT.updated.__ge__, wanted.updated_after),
            (INCIDENT.updated.__lt__, wanted.updated_before),
            (INCIDENT.created.__ge__, wanted.created_after),
            (INCIDENT.created.__lt__, wanted.created_before),
        )
        if time is not None
    ]
    if wanted.before_id is not None:
        found.append(INCIDENT.id < wanted.before_id)
    if wanted.system_id is not None:
        linked = select(LINK.incident_id).where(LINK.system_id == wanted.system_id, LINK.state != "unlinked")
        found.append(INCIDENT.id.in_(linked.where(LINK.incident_id.is_not(None))))
    if wanted.waiting:
        found.append(or_(*(INCIDENT.id.in_(WAITS[name]) for name in wanted.waiting)))
    if wanted.label is not None:
        found.append(_has_label(checks.text("label", wanted.label, LONGEST), sqlite=sqlite))
    if wanted.text:
        found.append(_mentions(checks.text("text", wanted.text, LONGEST), like))
    return found


def _has_label(label: str, *, sqlite: bool) -> ColumnElement[bool]:
    as_text = type_coerce(INCIDENT.labels, Text)
    if sqlite:
        each = func.json_each(as_text).table_valued("value")
        return exists(select(literal(1)).select_from(each).where(each.c.value == label))
    return cast("ColumnElement[bool]", func.jsonb_exists(sql_cast(as_text, JSONB), label))


def _mentions(wanted: str, like: Likeness) -> ColumnElement[bool]:
    # Within JSON text, quotes and backslashes are escaped.
    quoted = orjson.dumps(wanted).decode()[1:-1]
    return or_(
        like(INCIDENT.title, wanted),
        like(INCIDENT.description, wanted),
        like(type_coerce(INCIDENT.custom, Text), quoted),
        like(type_coerce(INCIDENT.extra, Text), quoted),
        INCIDENT.id.in_(select(ENTRY.incident_id).where(like(ENTRY.text, wanted))),
    )


async def _likeness(database: Database, connection: AsyncConnection, wanted: str) -> Likeness:
    if database.sqlite and not wanted.isascii():
        # SQLite's own LIKE knows upper and lower case of ASCII alone.
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        if driver is not None:
            await driver.create_function("lockstep_lower", 1, _lower, deterministic=True)
        return _lower_like
    return _ilike


def _lower(value: str | None) -> str | None:
    return value and value.lower()


def _ilike(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    return column.ilike(pattern(wanted), escape=ESCAPE)


def _lower_like(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    lowered: ColumnElement[str] = func.lockstep_lower(column)
    return lowered.like(pattern(wanted.lower()), escape=ESCAPE)


def pattern(wanted: str) -> str:
    """A pattern of LIKE that finds this text and nothing else, wherever it stands."""
    for special in (ESCAPE, "%", "_"):
        wanted = wanted.replace(special, ESCAPE + special)
    return f"%{wanted}%"
