"""How people, rules and the engine change incidents: set-based, audited, and in the same commit as the links' dirty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.model import OVER, Fields
from blocks.store import tables
from blocks.store.audit import (
    INCIDENT,
    Act,
    Actor,
    as_json,
    history,
    lock,
    mark_dirty,
    must_have,
    record,
)
from blocks.store.checks import COLUMNS, checked, given
from blocks.store.database import Database
from blocks.store.edits import Edit, write_edits
from blocks.store.entries import (
    NewEntry,
    add_comment,
    add_file,
    entries_of,
    insert_entries,
    keep_blob,
)
from blocks.store.relations import insert_relations, relate, related_to

__all__ = [
    "Actor",
    "Edit",
    "NewEntry",
    "NewIncident",
    "add_comment",
    "add_file",
    "create",
    "edit",
    "entries_of",
    "get",
    "history",
    "insert_entries",
    "insert_incidents",
    "insert_relations",
    "keep_blob",
    "lock",
    "mark_dirty",
    "new_incident",
    "offer",
    "relate",
    "related_to",
    "write_edits",
]

_NAMES, _LABELS = frozenset(COLUMNS), COLUMNS.index("labels")
_NEW = ("id", "version", *COLUMNS, "custom", "extra", "occurred", "created", "updated", "closed")


@dataclass(frozen=True, slots=True)
class NewIncident:
    """An incident to be, made by `new_incident`. `fields` are columns and custom fields, `extra` is unmapped."""

    fields: Fields
    occurred: datetime | None = None
    extra: Fields | None = None


def new_incident(
    fields: Fields, type: str = "incident", occurred: datetime | None = None, extra: Fields | None = None
) -> NewIncident:
    """An incident to be, checked; empty fields stay empty. Refused names the field."""
    return NewIncident(given({"type": type, **fields}), occurred, extra)


async def get(database: Database, incident_id: int) -> tables.Incident:
    """One incident. NotFound."""
    async with database.read() as connection:
        row = (await connection.execute(select(INCIDENT).where(INCIDENT.c.id == incident_id))).mappings().first()
    must_have([incident_id], [incident_id] if row else [])
    return tables.Incident(**row or {})


async def create(
    database: Database,
    fields: Fields,
    actor: Actor,
    now: datetime,
    *,
    type: str = "incident",
    occurred: datetime | None = None,
    extra: Fields | None = None,
    custom: Fields | None = None,
) -> int:
    """A person's new incident, `new` unless they say otherwise; answers its id. Refused names the field."""
    row = new_incident({"status": "new", **fields, **(custom or {})}, type, occurred, extra)
    checked({"title": fields.get("title")})
    async with database.begin("create") as connection:
        return (await insert_incidents(database, connection, [row], actor, now))[0]


async def edit(database: Database, incident_id: int, patch: Fields, actor: Actor, now: datetime) -> None:
    """A person's edit. NotFound; Refused names the field."""
    async with database.begin("edit") as connection:
        await write_edits(database, connection, [Edit(incident_id, patch)], actor, now)


async def insert_incidents(
    database: Database,
    connection: AsyncConnection,
    rows: Sequence[NewIncident],
    actor: Actor,
    now: datetime,
    *,
    system_id: int | None = None,
) -> list[int]:
    """Add incidents and offer them to every system that takes new ones, except `system_id`, where they come from.

    Answers their ids, in order and without a gap.
    """
    if not rows:
        return []
    first = await database.draw(connection, "incident", len(rows))
    ids = list(range(first, first + len(rows)))
    at = database.value(now)
    lines = [_line(database, number, row, at) for number, row in zip(ids, rows, strict=True)]
    await database.insert(connection, tables.Incident, _NEW, lines)
    await record(database, connection, [Act("created", number) for number in ids], actor, now, system_id=system_id)
    await offer(database, connection, first, ids[-1], except_system_id=system_id)
    return ids


async def offer(
    database: Database,
    connection: AsyncConnection,
    first_id: int,
    last_id: int,
    except_system_id: int | None = None,
) -> None:
    """Offer the incidents of this range to every system that takes new ones and does not have them yet."""
    ready = await connection.execute(_TAKERS, {"other": except_system_id or 0})
    systems = list(ready.scalars())
    if not systems:
        return
    first = await database.draw(connection, "link", len(systems) * (last_id - first_id + 1))
    await connection.execute(_OFFER, {"before": first - 1, "systems": systems, "first": first_id, "last": last_id})


def _line(database: Database, id: int, row: NewIncident, at: object) -> tuple[Any, ...]:
    fields = row.fields
    columns: list[Any] = [fields.get(name) for name in COLUMNS]
    columns[_LABELS] = as_json(columns[_LABELS])
    custom = {name: fields[name] for name in fields.keys() - _NAMES}
    return (
        id,
        1,
        *columns,
        as_json(custom or None),
        as_json(row.extra or None),
        database.value(row.occurred),
        at,
        at,
        at if fields.get("status") in OVER else None,
    )


_TAKERS = text("SELECT id FROM system WHERE creates AND id <> :other ORDER BY id")
_OFFER = text(
    """
    INSERT INTO link (id, system_id, incident_id, state, dirty)
    SELECT :before + row_number() OVER (ORDER BY i.id, s.id), s.id, i.id, 'offered', 1
    FROM incident i CROSS JOIN system s
    WHERE i.id BETWEEN :first AND :last AND s.id IN :systems
      AND NOT EXISTS (SELECT 1 FROM link l WHERE l.incident_id = i.id AND l.system_id = s.id)
    """
).bindparams(bindparam("systems", expanding=True))
