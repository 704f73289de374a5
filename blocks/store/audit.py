"""Who changed what, from what to what, in which run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound
from blocks.store import tables
from blocks.store.among import among
from blocks.store.database import Database
from blocks.store.tables import table_of

MIRRORED = ("linked", "offered")

INCIDENT, LINK, AUDIT = table_of(tables.Incident), table_of(tables.Link), table_of(tables.Audit)
_COLUMNS = ("at", "actor", "run", "action", "incident_id", "system_id", "changes")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it: a person, a rule or the engine; `run` is the id of the flow run, if any."""

    name: str
    run: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the audit: what was done to an incident. `changes`: field → (from, to)."""

    action: str
    incident_id: int | None
    changes: Mapping[str, Sequence[Any]] | None = None


async def record(
    database: Database,
    connection: AsyncConnection,
    acts: Iterable[Act],
    actor: Actor,
    now: datetime,
    *,
    system_id: int | None = None,
) -> None:
    """Write audit lines, in one statement."""
    at = database.value(now)
    rows = [(at, actor.name, actor.run, act.action, act.incident_id, system_id, as_json(act.changes)) for act in acts]
    await database.insert(connection, tables.Audit, _COLUMNS, rows)


async def history(database: Database, incident_id: int) -> list[tables.Audit]:
    """The audit of one incident, oldest first."""
    statement = select(AUDIT).where(AUDIT.c.incident_id == incident_id).order_by(AUDIT.c.id)
    async with database.read() as connection:
        return [tables.Audit(**row) for row in (await connection.execute(statement)).mappings()]


async def lock(database: Database, connection: AsyncConnection, ids: Collection[int]) -> None:
    """Keep these incidents from changing until the transaction ends. NotFound names the first that is not there.

    In order of their ids, so that two transactions never wait for each other in a circle.
    """
    statement = select(INCIDENT.c.id).where(among(INCIDENT.c.id, ids)).order_by(INCIDENT.c.id)
    found = await connection.execute(statement if database.sqlite else statement.with_for_update())
    must_have(ids, set(found.scalars()))


def must_have(wanted: Collection[int], found: Collection[int]) -> None:
    """NotFound if an incident is not there."""
    missing = sorted(set(wanted).difference(found))
    if missing:
        message = f"there is no incident {missing[0]}"
        raise NotFound(message, system="store", id=str(missing[0]))


async def mark_dirty(
    connection: AsyncConnection, incident_ids: Collection[int], *, except_system_id: int | None = None
) -> None:
    """Have the mirrors decide these incidents again."""
    if not incident_ids:
        return
    mirrored = (among(LINK.c.incident_id, incident_ids), LINK.c.state.in_(MIRRORED), LINK.c.dirty != 1)
    statement = update(LINK).where(*mirrored).values(dirty=1)
    if except_system_id is not None:
        statement = statement.where(LINK.c.system_id != except_system_id)
    await connection.execute(statement)


def as_json(value: object) -> str | None:
    """The text of a JSON column, for statements that bypass SQLAlchemy's types."""
    return None if value is None else orjson.dumps(value).decode()
