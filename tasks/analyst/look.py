"""What an analyst looks at, read from the store: a page of incidents with their links, or all of one incident."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.store import Database
from blocks.store.audit import AUDIT
from blocks.store.incidents import get, related_to
from blocks.store.links import CONFLICT, ENTRY, LINK, MIRROR, PARKED, SYSTEM, Row, rows_by, rows_of
from blocks.store.search import Search, count, search
from blocks.store.tables import Incident, Relation
from tasks.mirroring.people import system_of

LATEST: Final = 50
"""So many entries and lines of the audit are shown of one incident, the latest."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of what was found. `links`: incident → its links, each with its system's fingerprint and mirrors."""

    incidents: Sequence[Incident]
    links: Mapping[int, Sequence[Row]]
    total: int
    page: int
    size: int

    @property
    def pages(self) -> int:
        """How many pages there are; one at least."""
        return max(1, -(-self.total // self.size))


@dataclass(frozen=True, slots=True)
class Whole:
    """All of one incident. `entries` and `audit` hold the latest, oldest first; rows name their `mirrors`."""

    incident: Incident
    links: Sequence[Row]
    entries: Sequence[Row]
    conflicts: Sequence[Row]
    parked: Sequence[Row]
    related: Sequence[Relation]
    audit: Sequence[Row]


async def listed(database: Database, wanted: Search, mirror: str, page: int) -> Listed:
    """One page of what is wanted, newest first.

    Args:
        database: the store.
        wanted: what to find; its `limit` is the size of a page.
        mirror: only what this mirror keeps in step; empty: all.
        page: which page, from 1.

    Raises:
        NotFound: there is no such mirror.
        Refused: a value that no incident can have.
    """
    if mirror:
        async with database.read() as connection:
            wanted = replace(wanted, system_id=await system_of(connection, mirror))
    found = await search(database, replace(wanted, skip=(page - 1) * wanted.limit))
    async with database.read() as connection:
        links = await _links(connection, [one.id for one in found.rows])
    return Listed(found.rows, links, await count(database, wanted), page, wanted.limit)


async def whole(database: Database, incident_id: int) -> Whole:
    """All of one incident. NotFound."""
    incident = await get(database, incident_id)
    related = await related_to(database, incident_id)
    async with database.read() as connection:
        names = await _names(connection)
        links = (await _links(connection, [incident_id])).get(incident_id, [])
        conflicts = select(CONFLICT).where(CONFLICT.c.incident_id == incident_id, CONFLICT.c.choice == "")
        return Whole(
            incident,
            links,
            await _latest(connection, select(ENTRY).where(ENTRY.c.incident_id == incident_id), ENTRY.c.id),
            _with_mirrors(await rows_of(connection, conflicts.order_by(CONFLICT.c.since)), names),
            _with_mirrors(await _parked(connection, incident_id, links), names),
            related,
            await _latest(connection, select(AUDIT).where(AUDIT.c.incident_id == incident_id), AUDIT.c.id),
        )


async def _links(connection: AsyncConnection, incident_ids: Sequence[int]) -> dict[int, list[Row]]:
    columns = ("id", "system_id", "incident_id", "remote_id", "state", "dirty", "error", "missing_since")
    query = select(*(LINK.c[name] for name in columns), SYSTEM.c.fingerprint).join(
        SYSTEM, SYSTEM.c.id == LINK.c.system_id
    )
    found: dict[int, list[Row]] = defaultdict(list)
    rows = await rows_by(connection, query.order_by(LINK.c.system_id), LINK.c.incident_id, incident_ids)
    for row in _with_mirrors(rows, await _names(connection)):
        found[row["incident_id"]].append(row)
    return found


async def _names(connection: AsyncConnection) -> dict[int, str]:
    """System → the names of its mirrors."""
    names: dict[int, list[str]] = defaultdict(list)
    for row in await rows_of(connection, select(MIRROR).order_by(MIRROR.c.name)):
        names[row["system_id"]].append(row["name"])
    return {system_id: ", ".join(some) for system_id, some in names.items()}


def _with_mirrors(rows: Sequence[Row], names: Mapping[int, str]) -> list[Row]:
    return [{**row, "mirrors": names.get(row["system_id"], "")} for row in rows]


async def _parked(connection: AsyncConnection, incident_id: int, links: Sequence[Row]) -> list[Row]:
    """What is parked of it: what came in names its record alone."""
    waiting = select(PARKED).where(PARKED.c.state == "open")
    found = {row["id"]: row for row in await rows_of(connection, waiting.where(PARKED.c.incident_id == incident_id))}
    for link in links:
        if link["remote_id"] is not None:
            mine = (PARKED.c.system_id == link["system_id"], PARKED.c.remote_id == link["remote_id"])
            found |= {row["id"]: row for row in await rows_of(connection, waiting.where(*mine))}
    return [found[number] for number in sorted(found)]


async def _latest(connection: AsyncConnection, query: Select[Any], id: Any) -> list[Row]:  # noqa: ANN401  a column
    return (await rows_of(connection, query.order_by(id.desc()).limit(LATEST)))[::-1]
