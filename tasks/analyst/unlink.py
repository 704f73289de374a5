"""Loose an incident from its record by hand. What a person loosed stays so.

Its link keeps the state unlinked: the pull neither links the record again nor makes a new incident of it, and the
incident is not offered to the system again. Only linking by hand ends that.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound, Refused
from blocks.store import Database
from blocks.store.audit import Act, Actor, lock, record
from blocks.store.links import CLEAN, CONFLICT, INTENT, LINK, MIRROR, PARKED, SYSTEM, Row, mark, rows_of
from tasks.mirroring.people import system_of

LET_GO: Final = ("linked", "gone", "offered")
"""States of a link that a person may loose."""


async def the_link(database: Database, incident_id: int, mirror: str) -> Row:
    """The link of an incident that a person means, with its system's `fingerprint`.

    NotFound: there is none, or there are several and no mirror is named; says which there are.
    """
    query = select(LINK, SYSTEM.c.fingerprint).join(SYSTEM, SYSTEM.c.id == LINK.c.system_id)
    query = query.where(LINK.c.incident_id == incident_id, LINK.c.state.in_(LET_GO)).order_by(LINK.c.system_id)
    async with database.read() as connection:
        wanted = query.where(LINK.c.system_id == await system_of(connection, mirror)) if mirror else query
        found = await rows_of(connection, wanted)
        if len(found) != 1:
            raise await _unclear(connection, incident_id, query, several=bool(found))
    return found[0]


async def _unclear(connection: AsyncConnection, incident_id: int, query: Select[Any], *, several: bool) -> NotFound:
    of = {row["system_id"] for row in await rows_of(connection, query)}
    names = select(MIRROR.c.name).where(MIRROR.c.system_id.in_(of)).order_by(MIRROR.c.name)
    there = ", ".join((await connection.execute(names)).scalars()) or "none"
    words = "is linked in several mirrors: name one" if several else "has no such link"
    return NotFound(f"incident {incident_id} {words}. Its mirrors: {there}", system="store", call="unlink")


async def unlink_by_hand(database: Database, link: Row, actor: Actor, reason: str, now: datetime) -> None:
    """Loose an incident from its record, or withdraw its offer, under the mirror's lock; neither side is changed.

    A held plan does not mind: what no longer fits is left out when it is approved.

    Raises:
        Refused: a write to it is not answered yet, or another was faster.
    """
    async with database.begin("unlink") as connection:
        await lock(database, connection, [link["incident_id"]])
        now_it_is = await rows_of(connection, select(LINK).where(LINK.c.id == link["id"], LINK.c.state.in_(LET_GO)))
        if not now_it_is or now_it_is[0]["incident_id"] != link["incident_id"]:
            raise Refused("it is not linked any more", system=link["fingerprint"], call="unlink")
        (row,) = now_it_is
        await settled(link["fingerprint"], connection, row)
        await let_rest(connection, row)
        why = f"unlinked by {actor.name}{f': {reason}' if reason else ''}"
        await mark(connection, [row["id"]], state="unlinked", dirty=CLEAN, streak=None, error=why)
        changes = {"record": (row["remote_id"], None), **({"why": (None, reason)} if reason else {})}
        act = Act("unlinked", row["incident_id"], changes)
        await record(database, connection, [act], actor, now, system_id=row["system_id"])


async def settled(system: str, connection: AsyncConnection, link: Row | None) -> None:
    """Refused: what became of a write is not known yet."""
    if link is None:
        return
    pending = select(INTENT.c.verb).where(INTENT.c.link_id == link["id"])
    if (await connection.execute(pending.limit(1))).first() is not None:
        words = f"a write of incident {link['incident_id']} to this system has no answer yet: its mirror's next cycle "
        raise Refused(f"{words}finds out; try again after it", system=system, call="link", id=link["remote_id"] or "")


async def let_rest(connection: AsyncConnection, link: Row) -> None:
    """What waits for a person or to be read again waits no longer: the link is over, or another one now."""
    await connection.execute(delete(CONFLICT).where(CONFLICT.c.link_id == link["id"]))
    waiting = PARKED.c.state.in_(("open", "asked"))
    mine = PARKED.c.link_id == link["id"]
    await connection.execute(update(PARKED).where(mine, waiting).values(state="dropped"))
    if link["remote_id"] is not None:
        its = (PARKED.c.system_id == link["system_id"], PARKED.c.remote_id == link["remote_id"])
        await connection.execute(update(PARKED).where(*its, waiting).values(state="dropped"))
