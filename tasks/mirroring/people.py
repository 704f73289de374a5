"""What people decide: the side of a conflict, and another try for what was parked. The next cycle acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound
from blocks.store import Database
from blocks.store.among import among
from blocks.store.audit import Act, Actor, record
from blocks.store.links import (
    CONFLICT,
    DIRTY,
    LINK,
    MIRROR,
    PARKED,
    Row,
    dumps,
    mark,
    rows_by,
    rows_of,
)
from blocks.store.tables import Link

Side = Literal["store", "system"]
FEW: Final = 20
READ_AGAIN: Final = ("record", "content")
"""Kinds of parked that the mirror reads again from the system; an entry that came in is one of them too."""

NAMED = select(CONFLICT, MIRROR.c.name.label("mirror")).outerjoin(MIRROR, MIRROR.c.system_id == CONFLICT.c.system_id)


async def resolve(
    database: Database, incident: int, field: str, keep: Side, mirror: str, actor: Actor, now: datetime
) -> None:
    """Record which side a person picks. It holds for the two values that are listed now, not for later ones.

    `mirror` may be empty where only one of the incident's mirrors has this conflict.

    Raises:
        NotFound: there is no such conflict, or it is in several mirrors; says which there are.
    """
    async with database.begin("resolve") as connection:
        mine = NAMED.where(CONFLICT.c.incident_id == incident, CONFLICT.c.field == field)
        found = {row["link_id"]: row for row in await rows_of(connection, _of(mine, mirror))}
        if len(found) != 1:
            raise await _no_such(connection, incident, field, several=bool(found))
        ((link_id, row),) = found.items()
        picked = update(CONFLICT).where(CONFLICT.c.link_id == link_id, CONFLICT.c.field == field)
        await connection.execute(picked.values(choice=keep, chosen_by=actor.name))
        await mark(connection, [link_id], dirty=DIRTY)
        act = Act(f"picked the {keep}", incident, {field: (row["store_value"], row["system_value"])})
        await record(database, connection, [act], actor, now, system_id=row["system_id"])


def _of(query: Select[Any], mirror: str) -> Select[Any]:
    return query.where(MIRROR.c.name == mirror) if mirror else query


async def _no_such(connection: AsyncConnection, incident: int, field: str, *, several: bool) -> NotFound:
    query = NAMED.order_by((CONFLICT.c.incident_id == incident).desc(), CONFLICT.c.incident_id, CONFLICT.c.field)
    rows = await rows_of(connection, query.limit(FEW))
    there = "; ".join(f"incident {r['incident_id']}, field {r['field']}, mirror {r['mirror']}" for r in rows)
    what = f"a conflict in the field '{field}' of incident {incident}"
    words = f"several mirrors have {what}: name the mirror" if several else f"there is no such thing as {what}"
    return NotFound(f"{words}. Conflicts: {there or 'none'}", system="store", call="resolve", id=str(incident))


async def replay(database: Database, ids: Sequence[int], mirror: str, actor: Actor, now: datetime) -> list[int]:
    """Have what was parked tried again, by number or all of a mirror; answers the numbers.

    What came from the system is read again by the mirror's next cycle, with its own rules; a write is decided anew.

    Raises:
        NotFound: a number is not parked any more, or no mirror has this name, or it has nothing parked.
    """
    async with database.begin("replay") as connection:
        rows = await _wanted(connection, ids, mirror)
        inbound = [row for row in rows if _came_in(row)]
        outbound = [row for row in rows if not _came_in(row)]
        for state, some in (("asked", inbound), ("replayed", outbound)):
            numbers = [row["id"] for row in some]
            await connection.execute(update(PARKED).where(among(PARKED.c.id, numbers)).values(state=state))
        await _end_streaks(database, connection, [row for row in outbound if row["kind"] == "unsettled"])
        await mark(connection, {row["link_id"] for row in outbound if row["link_id"] is not None}, dirty=DIRTY)
        acts = [Act("replayed", row["incident_id"], {row["kind"]: (row["error"][:500], row["id"])}) for row in rows]
        await record(database, connection, acts, actor, now)
    return [row["id"] for row in rows]


def _came_in(row: Row) -> bool:
    return row["kind"] in READ_AGAIN or (row["kind"] == "entry" and row["entry_id"] is None)


async def _wanted(connection: AsyncConnection, ids: Sequence[int], mirror: str) -> list[Row]:
    query = select(PARKED).where(PARKED.c.state == "open").order_by(PARKED.c.id)
    if mirror:
        query = query.where(PARKED.c.system_id == await system_of(connection, mirror))
    rows = await rows_by(connection, query, PARKED.c.id, ids) if ids else await rows_of(connection, query)
    missing = sorted(set(ids) - {row["id"] for row in rows})
    if missing:
        raise _nothing(f"not parked, or not any more: {', '.join(map(str, missing[:FEW]))}")
    if not rows:
        raise _nothing("nothing is parked there")
    return rows


async def system_of(connection: AsyncConnection, mirror: str) -> int:
    """The id of the system that a mirror keeps in step. NotFound names the mirrors that there are."""
    system_id = (await connection.execute(select(MIRROR.c.system_id).where(MIRROR.c.name == mirror))).scalar()
    if system_id is None:
        names = sorted((await connection.execute(select(MIRROR.c.name))).scalars())
        raise NotFound(f"there is no mirror '{mirror}'; there are: {', '.join(names) or 'none'}", system="store")
    return int(system_id)


def _nothing(words: str) -> NotFound:
    return NotFound(words, system="store", call="replay")


async def _end_streaks(database: Database, connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Count anew, as after a person's edit: in all mirrors of the incident, since one answers the other."""
    fields: dict[int, set[str]] = {}
    for row in rows:
        fields.setdefault(row["incident_id"], set()).add(row["payload"]["field"])
    links = await rows_by(connection, select(LINK).where(LINK.c.streak.is_not(None)), LINK.c.incident_id, fields)
    kept = [({n: c for n, c in one["streak"].items() if n not in fields[one["incident_id"]]}, one) for one in links]
    await database.update(connection, Link, ("streak",), [(dumps(s) if s else None, one["id"]) for s, one in kept])
