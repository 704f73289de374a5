"""Incidents that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.store import tables
from blocks.store.audit import Act, Actor, lock, record
from blocks.store.checks import refused
from blocks.store.checks import text as checked_text
from blocks.store.database import Database
from blocks.store.tables import table_of

RELATION = table_of(tables.Relation)
_INSERT = text(
    "INSERT INTO relation (incident_id, other_id, kind) VALUES (:incident_id, :other_id, :kind) "
    "ON CONFLICT DO NOTHING RETURNING incident_id"
)


async def relate(
    database: Database, incident_id: int, other_id: int, actor: Actor, now: datetime, *, kind: str = "related"
) -> None:
    """Say that two incidents belong together; saying it twice changes nothing. NotFound; Refused."""
    async with database.begin("relate") as connection:
        await insert_relations(database, connection, [(incident_id, other_id)], actor, now, kind=kind)


async def insert_relations(
    database: Database,
    connection: AsyncConnection,
    pairs: Sequence[tuple[int, int]],
    actor: Actor,
    now: datetime,
    *,
    kind: str = "related",
    system_id: int | None = None,
) -> None:
    """Relate pairs of incidents, within the caller's transaction. NotFound; Refused."""
    checked_text("kind", kind, 100)
    if any(one == other for one, other in pairs):
        raise refused("other_id", "is the incident itself")
    await lock(database, connection, {one for pair in pairs for one in pair})
    acts: list[Act] = []
    for one, other in pairs:
        new = await connection.execute(_INSERT, {"incident_id": one, "other_id": other, "kind": kind})
        if new.first():
            acts.append(Act("related", one, {kind: (None, other)}))
    await record(database, connection, acts, actor, now, system_id=system_id)


async def related_to(database: Database, incident_id: int) -> list[tables.Relation]:
    """The relations of an incident, from either end."""
    statement = (
        select(RELATION)
        .where(or_(RELATION.c.incident_id == incident_id, RELATION.c.other_id == incident_id))
        .order_by(RELATION.c.incident_id, RELATION.c.other_id, RELATION.c.kind)
    )
    async with database.read() as connection:
        return [tables.Relation(**row) for row in (await connection.execute(statement)).mappings()]
