"""What a mirror reads and writes in the store: systems, links, entry links, what is parked or in conflict.

All of it is set-based: a statement for a page or a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar, cast

import orjson
from sqlalchemy import Select, Text, and_, delete, func, insert, literal, literal_column, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Misconfigured
from blocks.model import Fields
from blocks.store.among import among
from blocks.store.database import Database
from blocks.store.tables import (
    Conflict,
    Entry,
    EntryLink,
    Incident,
    Intent,
    Link,
    Mirror,
    Parked,
    System,
    table_of,
)

SYSTEM, MIRROR, LINK, ENTRY_LINK = table_of(System), table_of(Mirror), table_of(Link), table_of(EntryLink)
INCIDENT, ENTRY, INTENT = table_of(Incident), table_of(Entry), table_of(Intent)
CONFLICT, PARKED = table_of(Conflict), table_of(Parked)
CHUNK = 500
CLEAN, DIRTY, WAITING = 0, 1, 2
"""A link agrees, is to be decided, or is decided and waits for a person."""
IS_DIRTY = LINK.c.dirty == literal_column(str(DIRTY))
"""A literal, since a partial index is not used for a parameter."""

Row = Mapping[str, Any]
T = TypeVar("T")


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Lists of at most `size`."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def dumps(value: object) -> str:
    """JSON as the store keeps what a system showed: equal content is equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


async def register(database: Database, fingerprint: str, kind: str, name: str, now: datetime) -> int:
    """Bind a mirror's name to a system, making both on first use; answers the system's id.

    Raises:
        Misconfigured: the name is bound to another system.
    """
    async with database.begin("register") as connection:
        found = (await connection.execute(select(SYSTEM.c.id).where(SYSTEM.c.fingerprint == fingerprint))).scalar()
        if found is None:
            number = await database.draw(connection, "system", 1)
            await connection.execute(
                insert(SYSTEM).values(id=number, fingerprint=fingerprint, kind=kind, created=now, creates=False)
            )
            found = number
        bound = (await connection.execute(select(MIRROR.c.system_id).where(MIRROR.c.name == name))).scalar()
        if bound is None:
            await connection.execute(insert(MIRROR).values(name=name, system_id=found))
        elif bound != found:
            other = (await connection.execute(select(SYSTEM.c.fingerprint).where(SYSTEM.c.id == bound))).scalar()
            message = (
                f"the mirror '{name}' keeps {other} in step, and the block that was picked points to {fingerprint}; "
                "pick the block it had, or give this mirror a name of its own"
            )
            raise Misconfigured(message, system=fingerprint)
    return int(found)


@dataclass(slots=True)
class Known:
    """A link as the pull needs it; `seen` as text, so that equal content is told without reading it."""

    id: int
    incident_id: int | None
    remote_id: str
    state: str
    seen: str | None
    seen_version: str
    base_system: str | None
    left_system: dict[str, str] | None
    streak: dict[str, int] | None
    missing: bool

    @property
    def away(self) -> bool:
        """Whether it was not found when we last looked."""
        return self.state != "linked" or self.missing


async def known(connection: AsyncConnection, system_id: int, remote_ids: Iterable[str]) -> dict[str, Known]:
    """The links of these remote ids."""
    query = _KNOWN.where(LINK.c.system_id == system_id)
    rows = await connection.execute(query.where(among(LINK.c.remote_id, remote_ids)))
    return {row[2]: Known(*row) for row in rows}


_KNOWN = select(
    LINK.c.id,
    LINK.c.incident_id,
    LINK.c.remote_id,
    LINK.c.state,
    type_coerce(LINK.c.seen, Text).label("seen"),
    LINK.c.seen_version,
    type_coerce(LINK.c.base_system, Text).label("base_system"),
    LINK.c.left_system,
    LINK.c.streak,
    LINK.c.missing_since.is_not(None),
)


async def entry_ids(connection: AsyncConnection, link_ids: Iterable[int]) -> dict[int, set[str]]:
    """The remote ids of the entries that each link knows."""
    result: dict[int, set[str]] = defaultdict(set)
    wanted = list(link_ids)
    if not wanted:
        return result
    query = select(ENTRY_LINK.c.link_id, ENTRY_LINK.c.remote_id).where(among(ENTRY_LINK.c.link_id, wanted))
    for link_id, remote_id in await connection.execute(query):
        result[link_id].add(remote_id)
    return result


async def rows_by(connection: AsyncConnection, query: Select[Any], column: Any, ids: Iterable[Any]) -> list[Row]:  # noqa: ANN401  any column
    """A query's rows for many ids."""
    wanted = list(ids)
    return await rows_of(connection, query.where(among(column, wanted))) if wanted else []


async def rows_of(connection: AsyncConnection, query: Select[Any]) -> list[Row]:
    """A query's rows as mappings."""
    return cast("list[Row]", (await connection.execute(query)).mappings().all())


@dataclass(slots=True)
class Work:
    """One link with all that its decision needs."""

    link: Row
    incident: Row
    parked: list[Row] = field(default_factory=list)
    conflicts: list[Row] = field(default_factory=list)
    owed: list[Row] = field(default_factory=list)
    intents: int = 0

    @property
    def store(self) -> Fields:
        """Our fields, custom ones beside the others."""
        return {**self.incident, **(self.incident["custom"] or {})}


async def work(database: Database, connection: AsyncConnection, link_ids: Sequence[int], *, lock: bool) -> list[Work]:
    """These links with their incidents, what is parked, in conflict, owed and under way.

    `lock`: on PostgreSQL the incidents stay locked until the transaction ends (SQLite has one writer anyway).
    """
    links = await rows_by(connection, select(LINK), LINK.c.id, link_ids)
    incident_ids = sorted({row["incident_id"] for row in links if row["incident_id"] is not None})
    query = select(INCIDENT).order_by(INCIDENT.c.id)
    if lock and not database.sqlite:
        query = query.with_for_update()
    incidents = {row["id"]: row for row in await rows_by(connection, query, INCIDENT.c.id, incident_ids)}
    works = {row["id"]: Work(row, incidents[row["incident_id"]]) for row in links if row["incident_id"] in incidents}
    open_parked = select(PARKED).where(PARKED.c.state == "open")
    for row in await rows_by(connection, open_parked, PARKED.c.link_id, works):
        works[row["link_id"]].parked.append(row)
    for row in await rows_by(connection, select(CONFLICT), CONFLICT.c.link_id, works):
        works[row["link_id"]].conflicts.append(row)
    for row in await rows_by(connection, select(INTENT.c.link_id), INTENT.c.link_id, works):
        works[row["link_id"]].intents += 1
    for row in await rows_by(connection, owed(), LINK.c.id, works):
        works[row["link_id"]].owed.append(row)
    return sorted(works.values(), key=lambda w: int(w.link["id"]))


def owed() -> Select[Any]:
    """The entries of each link's incident that its system does not have, in order."""
    linked = and_(ENTRY_LINK.c.link_id == LINK.c.id, ENTRY_LINK.c.entry_id == ENTRY.c.id)
    return (
        select(LINK.c.id.label("link_id"), *ENTRY.c)
        .join(ENTRY, ENTRY.c.incident_id == LINK.c.incident_id)
        .outerjoin(ENTRY_LINK, linked)
        .where(ENTRY_LINK.c.link_id.is_(None), LINK.c.state == "linked")
        .order_by(ENTRY.c.id)
    )


async def dirty(connection: AsyncConnection, system_id: int, after: int, only: Sequence[int] | None) -> list[int]:
    """Up to 500 links to be decided, by id, beyond `after`; `only`: of these incidents."""
    query = (
        select(LINK.c.id)
        .where(LINK.c.system_id == system_id, IS_DIRTY, LINK.c.id > after)
        .order_by(LINK.c.id)
        .limit(CHUNK)
    )
    if only is not None:
        query = query.where(LINK.c.incident_id.in_(only))
    return list((await connection.execute(query)).scalars())


async def offer_all(database: Database, connection: AsyncConnection, system_id: int) -> None:
    """Offer every incident of the store that has no link with this system to it."""
    # Waits for those who are adding incidents, and has later ones wait, so that none is missed by both sides.
    await database.draw(connection, "incident", 0)
    linked = select(LINK.c.incident_id).where(LINK.c.system_id == system_id, LINK.c.incident_id.is_not(None))
    missing = INCIDENT.c.id.not_in(linked)
    count = (await connection.execute(select(func.count()).select_from(INCIDENT).where(missing))).scalar_one()
    if count:
        first = await database.draw(connection, "link", count)
        number = func.row_number().over(order_by=INCIDENT.c.id) + (first - 1)
        offers = select(number, literal(system_id), INCIDENT.c.id, literal("offered"), literal(DIRTY)).where(missing)
        await connection.execute(insert(LINK).from_select(["id", "system_id", "incident_id", "state", "dirty"], offers))


async def mark(connection: AsyncConnection, link_ids: Iterable[int], **values: object) -> None:
    """Set the same columns on many links."""
    wanted = list(link_ids)
    if wanted:
        await connection.execute(update(LINK).where(among(LINK.c.id, wanted)).values(**values))


async def forget_intents(connection: AsyncConnection, ids: Iterable[int]) -> None:
    """Delete intents whose answer is recorded, or that were certainly not sent."""
    wanted = list(ids)
    if wanted:
        await connection.execute(delete(INTENT).where(among(INTENT.c.id, wanted)))


async def unlisted(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without records that are parked already for the same reason: a page may show them again and again."""
    records = [row for row in rows if row["kind"] == "record"]
    if not records:
        return list(rows)
    query = select(PARKED.c.remote_id, PARKED.c.error).where(
        PARKED.c.system_id == records[0]["system_id"], PARKED.c.state == "open", PARKED.c.kind == "record"
    )
    found = await rows_by(connection, query, PARKED.c.remote_id, {row["remote_id"] for row in records})
    listed = {(one["remote_id"], one["error"]) for one in found}
    return [row for row in rows if row["kind"] != "record" or (row["remote_id"], row["error"]) not in listed]


async def park(database: Database, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Park what could not be read, handled or applied. Each row: the columns of `parked` but the id and the state."""
    if rows:
        first = await database.draw(connection, "parked", len(rows))
        base = dict.fromkeys(("link_id", "incident_id", "entry_id", "payload"))
        await connection.execute(
            insert(PARKED),
            [{**base, "remote_id": "", **row, "id": first + n, "state": "open"} for n, row in enumerate(rows)],
        )
