"""Comments, notes and files of incidents."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound
from blocks.model import EntryKind
from blocks.store import checks, tables
from blocks.store.among import among
from blocks.store.audit import INCIDENT, Act, Actor, as_json, lock, mark_dirty, record
from blocks.store.database import Database
from blocks.store.tables import table_of

ENTRY, BLOB = table_of(tables.Entry), table_of(tables.Blob)
LIMIT_BYTES = 25 * 1024 * 1024
_COLUMNS = (
    "id",
    "incident_id",
    "system_id",
    "kind",
    "author",
    "created",
    "text",
    "name",
    "media_type",
    "size",
    "blob",
    "tags",
)
_KEEP = text("INSERT INTO blob (sha256, content) VALUES (:sha256, :content) ON CONFLICT DO NOTHING")


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be. A file's `blob` is what `keep_blob` answered; None: its bytes were not kept."""

    incident_id: int
    kind: EntryKind
    created: datetime
    author: str = ""
    text: str = ""
    name: str = ""
    media_type: str = ""
    size: int = 0
    blob: str | None = None
    tags: tuple[str, ...] = ()


async def add_comment(
    database: Database,
    incident_id: int,
    text: str,
    actor: Actor,
    now: datetime,
    *,
    tags: Sequence[str] = (),
    kind: Literal["comment", "note"] = "comment",
    author: str | None = None,
) -> int:
    """A person's comment or note; answers its id. NotFound; Refused."""
    if not text:
        raise checks.refused("text", "must not be empty")
    row = NewEntry(incident_id, kind, now, author or actor.name, text, tags=tuple(tags))
    async with database.begin("comment") as connection:
        return (await insert_entries(database, connection, [row], actor, now))[0]


async def add_file(
    database: Database,
    incident_id: int,
    name: str,
    media_type: str,
    data: bytes,
    actor: Actor,
    now: datetime,
    *,
    tags: Sequence[str] = (),
    limit_bytes: int = LIMIT_BYTES,
) -> int:
    """A person's file; answers its entry's id. Equal bytes are kept once. NotFound; Refused, also above the limit."""
    if not name:
        raise checks.refused("name", "must not be empty")
    if len(data) > limit_bytes:
        raise checks.refused("data", f"has {len(data):,} bytes, {limit_bytes:,} are allowed")
    digest = await asyncio.to_thread(sha256, data)
    async with database.begin("attach") as connection:
        blob = await keep_blob(connection, data, digest)
        row = NewEntry(incident_id, "file", now, actor.name, "", name, media_type, len(data), blob, tuple(tags))
        return (await insert_entries(database, connection, [row], actor, now))[0]


async def keep_blob(connection: AsyncConnection, data: bytes, digest: str | None = None) -> str:
    """Keep a file's bytes, once; answers their SHA-256. `digest` is the same, where the caller has it already."""
    blob = digest or sha256(data)
    await connection.execute(_KEEP, {"sha256": blob, "content": data})
    return blob


async def content_of(database: Database, entry_id: int) -> bytes:
    """A file's bytes. NotFound: no such entry, or its bytes were not kept."""
    async with database.read() as connection:
        statement = select(BLOB.c.content).where(ENTRY.c.id == entry_id, BLOB.c.sha256 == ENTRY.c.blob)
        data = (await connection.execute(statement)).scalar()
    if data is None:
        message = f"there is no file in entry {entry_id}"
        raise NotFound(message, system="store", id=str(entry_id))
    return bytes(data)


async def insert_entries(
    database: Database,
    connection: AsyncConnection,
    rows: Sequence[NewEntry],
    actor: Actor,
    now: datetime,
    *,
    system_id: int | None = None,
) -> list[int]:
    """Add entries, within the caller's transaction; answers their ids, in order.

    `system_id` is the system that they come from: its links stay as they are, all others become dirty. NotFound names
    an incident that is not there, Refused a field.
    """
    if not rows:
        return []
    incidents = {row.incident_id for row in rows}
    checked = [_checked(row) for row in rows]
    await lock(database, connection, incidents)
    first = await database.draw(connection, "entry", len(rows))
    ids = list(range(first, first + len(rows)))
    lines = [_line(database, number, row, system_id) for number, row in zip(ids, checked, strict=True)]
    await database.insert(connection, tables.Entry, _COLUMNS, lines)
    await connection.execute(update(INCIDENT).where(among(INCIDENT.c.id, incidents)).values(updated=now))
    acts = [_act(number, row) for number, row in zip(ids, checked, strict=True)]
    await record(database, connection, acts, actor, now, system_id=system_id)
    await mark_dirty(connection, incidents, except_system_id=system_id)
    return ids


async def entries_of(database: Database, incident_id: int) -> list[tables.Entry]:
    """The entries of one incident, in the order in which they came here."""
    statement = select(ENTRY).where(ENTRY.c.incident_id == incident_id).order_by(ENTRY.c.id)
    async with database.read() as connection:
        return [tables.Entry(**row) for row in (await connection.execute(statement)).mappings()]


def sha256(data: bytes) -> str:
    """The name of these bytes."""
    return hashlib.sha256(data).hexdigest()


def _checked(row: NewEntry) -> NewEntry:
    checks.text("text", row.text)
    for name in ("author", "name", "media_type"):
        checks.text(name, getattr(row, name), checks.LIMITS["title"])
    checks.labels("tags", row.tags)
    return row


def _line(database: Database, id: int, row: NewEntry, system_id: int | None) -> tuple[object, ...]:
    return (
        id,
        row.incident_id,
        system_id,
        row.kind,
        row.author,
        database.value(row.created),
        row.text,
        row.name,
        row.media_type,
        row.size,
        row.blob,
        as_json(sorted(set(row.tags)) or None),
    )


def _act(id: int, row: NewEntry) -> Act:
    if row.kind == "file":
        return Act("attached", row.incident_id, {row.name: (None, id)})
    return Act("commented", row.incident_id, {row.kind: (None, id)})
