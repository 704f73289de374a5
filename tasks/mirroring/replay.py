"""Replay: what came from the system and was parked is read again, when a person asked for it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound, Refused, Unreadable
from blocks.model import Incident
from blocks.points import at
from blocks.store.audit import mark_dirty
from blocks.store.entries import keep_blob
from blocks.store.links import ENTRY, ENTRY_LINK, PARKED, Known, Row, known, rows_of
from tasks.mirroring.entries import IGNORED, NewEntries, read_content, store_entries
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.pull import alone
from tasks.mirroring.take import take


async def asked(m: Mirroring) -> list[Row]:
    """What a person wants to be read again."""
    query = select(PARKED).where(PARKED.c.system_id == m.system_id, PARKED.c.state == "asked")
    async with m.database.read() as connection:
        return await rows_of(connection, query.order_by(PARKED.c.id))


async def read_asked(m: Mirroring) -> None:
    """Read it, under the mirror's lock. What fails as before stays parked, with its newest error.

    Raises:
        Unavailable, Unauthorized: from the system; the rest is read in the next cycle.
    """
    for row in await asked(m):
        try:
            incident = await at("get", m.system.get(row["remote_id"]))
            if row["kind"] == "record":
                await take(m, alone(incident), move_cursor=False)
                async with m.database.begin("asked") as connection:
                    await _close(connection, row)
            else:
                await _entry(m, incident, row)
            m.tally.counts["replayed"] += 1
        except (NotFound, Refused, Unreadable) as error:
            async with m.database.begin("asked") as connection:
                await _close(connection, row, state="open", error=str(error))


async def _close(connection: AsyncConnection, row: Row, **values: str) -> None:
    await connection.execute(update(PARKED).where(PARKED.c.id == row["id"]).values(**{"state": "replayed", **values}))


async def _entry(m: Mirroring, incident: Incident, row: Row) -> None:
    wanted = str(row["payload"]["entry"])
    async with m.database.read() as connection:
        link = (await known(connection, m.system_id, [incident.id])).get(incident.id)
    found = await at("entries", m.system.entries([replace(incident, entry_ids=None)], frozenset()))
    entry = next((one for one in found if one.id == wanted), None)
    if entry is None or link is None or link.incident_id is None:
        message = f"entry {wanted} is not there any more, or its incident is no longer linked"
        raise NotFound(message, system=m.system.fingerprint(), id=incident.id)
    content = {entry.id: await read_content(m, entry)} if entry.kind == "file" else {}
    async with m.database.begin("asked") as connection:
        await _store(m, connection, link, link.incident_id, NewEntries([entry], content=content))
        await _close(connection, row)


async def _store(m: Mirroring, connection: AsyncConnection, link: Known, incident_id: int, entries: NewEntries) -> None:
    """Fill the entry whose bytes were missing, or add the one that was left out."""
    (entry,) = entries.items
    this = (ENTRY_LINK.c.link_id == link.id, ENTRY_LINK.c.remote_id == entry.id)
    entry_id = (await connection.execute(select(ENTRY_LINK.c.entry_id).where(*this))).scalar()
    if entry_id:
        data = entries.content.get(entry.id, b"")
        blob = await keep_blob(connection, data)
        await connection.execute(update(ENTRY).where(ENTRY.c.id == entry_id).values(blob=blob, size=len(data)))
        await mark_dirty(connection, [incident_id], except_system_id=m.system_id)
        return
    await connection.execute(delete(ENTRY_LINK).where(*this, ENTRY_LINK.c.entry_id == IGNORED))
    await store_entries(m, connection, {entry.incident_id: (link.id, incident_id)}, entries, m.now())
    if entries.parked:
        raise Refused(str(entries.parked[0]["error"]), id=entry.incident_id)
