"""Take one page: what is known moves on, what is new becomes ours, and the cursor, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound
from blocks.model import Incident, Page
from blocks.points import at
from blocks.store.among import among
from blocks.store.incidents import insert_incidents
from blocks.store.links import CLEAN, DIRTY, LINK, SYSTEM, Known, dumps, entry_ids, known, park, unlisted
from blocks.store.tables import Incident as IncidentRow
from blocks.store.tables import Link
from tasks.mirroring.admit import Admission, admit
from tasks.mirroring.adopt import Adoption, Keyed, adopt, adoptions
from tasks.mirroring.entries import NewEntries, gather, store_entries
from tasks.mirroring.mirror import Mirroring


@dataclass(slots=True)
class Sorted:
    """A page by what is to be done with each incident; `missing`: shown in the page, and not found alone."""

    changed: list[tuple[Known, Incident, str]] = field(default_factory=list)
    same: list[tuple[Known, Incident]] = field(default_factory=list)
    unknown: list[Incident] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Look:
    """What a page brings: all that is read and decided before a commit begins. `links` are by remote id."""

    page: Page
    links: dict[str, Known]
    order: Sorted
    entries: NewEntries
    keyed: Keyed
    admission: Admission

    @property
    def empty(self) -> bool:
        """Whether it brings nothing to keep."""
        new, entries = self.admission, self.entries
        brings = (self.page.bad, self.order.changed, self.keyed.paired, entries.items, entries.parked)
        return not any((*brings, new.new, new.dropped, new.parked))


async def take(m: Mirroring, page: Page, *, move_cursor: bool = True) -> None:
    """Take a page into the store."""
    await keep(m, await look(m, page), move_cursor=move_cursor)


async def look(m: Mirroring, page: Page, *, since: datetime | None = None, content: bool = True) -> Look:
    """Look at a page, and change nothing.

    Args:
        m: the mirror.
        page: of its system.
        since: strangers that were last updated before are left alone, but for those that carry a key of ours.
        content: whether the bytes of new files are read.
    """
    incidents = {incident.id: incident for incident in page.incidents}
    remote_ids = [*incidents, *(bad.id for bad in page.bad)]

    async def what_we_know(connection: AsyncConnection) -> tuple[dict[str, Known], dict[int, set[str]]]:
        links = await known(connection, m.system_id, remote_ids)
        return links, await entry_ids(connection, [link.id for link in links.values()])

    links, have = await m.database.look(what_we_know)
    order = await _sorted(m, incidents, links)
    if since is not None:
        fresh = [i for i in order.unknown if i.updated - m.system.skew >= since or m.own(i.key, "i") is not None]
        order.unknown = fresh
    entries = await gather(m, page, order.changed, order.same, order.unknown, have, content=content)
    keyed = await adoptions(m, order.unknown, entries)
    return Look(page, links, order, entries, keyed, await admit(m, keyed.strangers))


async def keep(m: Mirroring, looked: Look, *, move_cursor: bool = True) -> dict[str, tuple[int, int]]:
    """Keep what a page brings, in one commit; answers what became ours: remote id → (link id, incident id)."""
    page, order, entries, admission = looked.page, looked.order, looked.entries, looked.admission
    paired, now = looked.keyed.paired, m.now()
    await miss(m, order.missing)

    async def store(connection: AsyncConnection) -> dict[str, tuple[int, int]]:
        await adopt(m, connection, paired, now)
        created = await _create(m, connection, admission, now)
        await _move_on(m, connection, order.changed, now)
        await store_entries(m, connection, _targets(order, paired, created), entries, now)
        parked = await unlisted(connection, _parked(m, page, now) + admission.parked + entries.parked)
        await park(m.database, connection, parked)
        m.tally.counts["parked"] += len(parked)
        if move_cursor:
            await connection.execute(
                update(SYSTEM).where(SYSTEM.c.id == m.system_id).values(cursor=page.cursor, read_at=now)
            )
        return created

    created = await m.database.commit("page", store) if move_cursor or not looked.empty else {}
    if move_cursor:
        m.cursor = page.cursor
    if page.incidents:
        m.span = (m.span[0] if m.span else page.incidents[0].updated, page.incidents[-1].updated)
    m.tally.counts["read"] += len(page.incidents)
    m.tally.counts["pages"] += 1
    m.tally.counts["dropped"] += len(admission.dropped)
    m.tally.counts["changed in the system"] += sum(text != link.seen for link, _, text in order.changed)
    m.tally.counts["paired"] += len(paired)
    m.tally.add("created in the store", *(incident_id for _, incident_id in created.values()))
    return created


async def _sorted(m: Mirroring, incidents: dict[str, Incident], links: dict[str, Known]) -> Sorted:
    result = Sorted()
    for remote_id, incident in incidents.items():
        link = links.get(remote_id)
        if link is None:
            result.unknown.append(incident)
        elif link.state != "unlinked":
            await _sort_known(m, result, link, incident)
    return result


async def _sort_known(m: Mirroring, result: Sorted, link: Known, incident: Incident) -> None:
    """Compare versions, then content. A feed may lag behind our own write."""
    if incident.version < link.seen_version:
        return
    text = dumps(incident.fields)
    if incident.version == link.seen_version and text != link.seen:
        try:
            incident = await at("get", m.system.get(incident.id))
        except NotFound:
            result.missing.append(incident.id)
            return
        if incident.version < link.seen_version:
            return
        text = dumps(incident.fields)
    if incident.version == link.seen_version and text == link.seen and not link.away:
        result.same.append((link, incident))
    else:
        result.changed.append((link, incident, text))


async def _create(
    m: Mirroring, connection: AsyncConnection, admission: Admission, now: datetime
) -> dict[str, tuple[int, int]]:
    """Store the admitted, linked; answers remote id → (link id, incident id)."""
    total = len(admission.new) + len(admission.dropped)
    if not total:
        return {}
    ids = await insert_incidents(
        m.database, connection, [a.row for a in admission.new], m.actor, now, system_id=m.system_id
    )
    first = await m.database.draw(connection, "link", total)
    rows: list[tuple[Any, ...]] = [
        (first + n, m.system_id, number, a.incident.id, "linked", CLEAN, a.seen, a.incident.version, a.base_store, None)
        for n, (a, number) in enumerate(zip(admission.new, ids, strict=True))
    ]
    rows += [
        (first + n, m.system_id, None, incident.id, "unlinked", CLEAN, None, incident.version, None, why)
        for n, (incident, why) in enumerate(admission.dropped, len(ids))
    ]
    await m.database.insert(connection, Link, NEW, rows)
    await admission.after_insert(m, connection, ids, now)
    return {a.incident.id: (first + n, number) for n, (a, number) in enumerate(zip(admission.new, ids, strict=True))}


NEW = (
    "id", "system_id", "incident_id", "remote_id", "state", "dirty", "seen", "seen_version", "base_store", "error",
)  # fmt: skip
SEEN = ("seen", "seen_version", "base_system", "left_system", "streak", "dirty", "state", "missing_since")


async def _move_on(
    m: Mirroring, connection: AsyncConnection, changed: Sequence[tuple[Known, Incident, str]], now: datetime
) -> None:
    versions, contents, extras = [], [], []
    for link, incident, text in changed:
        if text == link.seen and not link.away:
            versions.append((incident.version, link.id))
            continue
        moved = _moved(m, link, incident)
        left = dict.fromkeys(moved, (incident.updated - m.system.skew).isoformat())
        streak = {name: n for name, n in (link.streak or {}).items() if name not in moved}
        contents.append((
            text, incident.version, link.base_system or link.seen, dumps({**(link.left_system or {}), **left}),
            dumps(streak) if streak else None, DIRTY, "linked", None, link.id,
        ))  # fmt: skip
        if m.takes_in and link.incident_id is not None:
            extra = m.fields.unmapped(incident.fields)
            if extra != (m.fields.unmapped(orjson.loads(link.seen)) if link.seen else {}):
                extras.append((dumps(extra), m.database.value(now), link.incident_id))
    await m.database.update(connection, Link, ("seen_version",), versions)
    await m.database.update(connection, Link, SEEN, contents)
    await m.database.update(connection, IncidentRow, ("extra", "updated"), extras)


def _moved(m: Mirroring, link: Known, incident: Incident) -> list[str]:
    """Our names of the mapped fields that the system changed since we last saw it."""
    seen: dict[str, Any] = orjson.loads(link.seen) if link.seen else {}
    return [row.ours for row in m.fields.rows if seen.get(row.theirs) != incident.fields.get(row.theirs)]


def _targets(
    order: Sorted, paired: Sequence[Adoption], created: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Where entries belong: remote id → (link id, incident id)."""
    known_links = [(link, incident) for link, incident, _ in order.changed] + order.same
    targets = {i.id: (link.id, link.incident_id) for link, i in known_links if link.incident_id is not None}
    return targets | {a.incident.id: (a.link_id, a.incident_id) for a in paired} | created


def _parked(m: Mirroring, page: Page, now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "system_id": m.system_id,
            "kind": "record",
            "remote_id": bad.id,
            "payload": bad.raw,
            "error": bad.error,
            "created": now,
        }
        for bad in page.bad
    ]


async def miss(m: Mirroring, remote_ids: Sequence[str]) -> None:
    """Note that records are not there any more: a later cycle looks again before anything follows from it."""
    if not remote_ids:
        return
    async with m.database.begin("missing") as connection:
        where = (LINK.c.system_id == m.system_id, among(LINK.c.remote_id, remote_ids), LINK.c.state == "linked")
        found = select(LINK.c.id).where(*where, LINK.c.missing_since.is_(None))
        await connection.execute(update(LINK).where(LINK.c.id.in_(found)).values(missing_since=m.now(), dirty=DIRTY))
