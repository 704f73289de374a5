"""Entries that come in: asked in bulk for a page, stored in its commit, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound, Refused
from blocks.model import Entry, Incident, Page
from blocks.points import at
from blocks.store import checks
from blocks.store.entries import LIMIT_BYTES
from blocks.store.incidents import NewEntry, insert_entries, keep_blob
from blocks.store.links import INTENT, IS_DIRTY, LINK, Known, Row, owed, rows_by
from blocks.store.tables import EntryLink
from tasks.decide.intake import Record, accepts
from tasks.mirroring.answers import finish
from tasks.mirroring.mirror import Mirroring

Item = tuple[Entry, int, int]
"""An entry of a page, its link and its incident."""

IGNORED = 0
"""Entry id of what is known there and is no entry here."""


@dataclass(slots=True)
class NewEntries:
    """The entries of a page that the store does not know. `keys`: remote incident → a key of ours among its entries."""

    items: list[Entry] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    parked: list[dict[str, Any]] = field(default_factory=list)


async def gather(
    m: Mirroring,
    page: Page,
    changed: Sequence[tuple[Known, Incident, str]],
    same: Sequence[tuple[Known, Incident]],
    unknown: Sequence[Incident],
    have: Mapping[int, set[str]],
    *,
    content: bool = True,
) -> NewEntries:
    """Read what is new, the bytes of files (`content`) included, before the commit begins."""
    result = NewEntries()
    incoming = m.kinds(incoming=True)
    if not incoming and not m.rules.create:
        # All the same: what was away may hold entries that we sent, and whose answer was lost.
        changed, same, unknown = [one for one in changed if one[0].away], [], []
    of_link = {incident.id: have.get(link.id, set()) for link, incident, _ in changed}
    of_link |= {incident.id: have.get(link.id, set()) for link, incident in same}
    known = {remote_id for ids in of_link.values() for remote_id in ids}
    if page.entries is None:
        newer = [incident for _, incident, _ in changed] + await _wanted(m, unknown)
        ask = [i for i in newer if i.entry_ids is None or not of_link.get(i.id, set()).issuperset(i.entry_ids)]
        ask += [i for _, i in same if i.entry_ids and not of_link[i.id].issuperset(i.entry_ids)]
        found = await at("entries", m.system.entries(ask, known)) if ask else []
    else:
        found = page.entries
    result.items = [e for e in found if e.id not in known]
    result.keys = {e.incident_id: e.key for e in result.items if m.own(e.key, "i") is not None and e.key}
    for entry in result.items:
        if content and entry.kind == "file" and "file" in incoming:
            await _content(m, result, entry)
    return result


async def _wanted(m: Mirroring, unknown: Sequence[Incident]) -> list[Incident]:
    """Strangers whose entries matter: those that may become ours, or may be one that we are about to create."""
    if unknown and m.rules.create and await _creating(m):
        return list(unknown)
    if not m.takes_in or not m.intake.filter:
        return list(unknown) if m.takes_in else []
    return [i for i in unknown if accepts(Record(m.fields.to_ours(i.fields)[0], i.fields), m.intake.filter)]


async def _creating(m: Mirroring) -> bool:
    offered = select(LINK.c.id).where(LINK.c.system_id == m.system_id, IS_DIRTY, LINK.c.state == "offered")
    async with m.database.read() as connection:
        return (await connection.execute(offered.limit(1))).first() is not None


async def _content(m: Mirroring, result: NewEntries, entry: Entry) -> None:
    """A file's bytes; without them the entry is kept, and what is missing is parked."""
    try:
        result.content[entry.id] = await read_content(m, entry)
    except (NotFound, Refused) as error:
        result.parked.append(_parked(m, entry, "content", error))


async def read_content(m: Mirroring, entry: Entry) -> bytes:
    """A file's bytes. Refused: there are too many of them; NotFound."""
    if entry.size > LIMIT_BYTES:
        raise checks.refused("size", f"is {entry.size:,} bytes, {LIMIT_BYTES:,} are allowed")
    return await at("content", _read(m, entry))


async def _read(m: Mirroring, entry: Entry) -> bytes:
    data = bytearray()
    async for part in m.system.content(entry):
        data += part
        if len(data) > LIMIT_BYTES:
            raise checks.refused("size", f"is over {LIMIT_BYTES:,} bytes")
    return bytes(data)


def _parked(m: Mirroring, entry: Entry, kind: str, error: Exception) -> dict[str, Any]:
    payload = {"entry": entry.id, "name": entry.name, "text": entry.text[:1000].replace("\0", "")}
    return {
        "system_id": m.system_id,
        "kind": kind,
        "remote_id": entry.incident_id,
        "payload": payload,
        "error": str(error),
        "created": m.now(),
    }


async def store_entries(
    m: Mirroring,
    connection: AsyncConnection,
    targets: Mapping[str, tuple[int, int]],
    entries: NewEntries,
    now: datetime,
) -> None:
    """Store the new ones and link all, within the page's transaction. `targets`: remote id → (link id, incident id)."""
    items = [(e, *targets[e.incident_id]) for e in entries.items if e.incident_id in targets]
    if not items:
        return
    ours = await _ours(m, connection, items)
    incoming = m.kinds(incoming=True)
    links: list[tuple[int, str, int]] = []
    new: list[tuple[Entry, int, NewEntry]] = []
    for entry, link_id, incident_id in items:
        if entry.id in ours:
            links.append((link_id, entry.id, ours[entry.id]))
        elif m.own(entry.key, "i") == link_id or entry.kind not in incoming:
            links.append((link_id, entry.id, IGNORED))
        else:
            try:
                new.append((entry, link_id, await _row(connection, entries, entry, incident_id)))
            except Refused as error:
                entries.parked.append(_parked(m, entry, "entry", error))
                links.append((link_id, entry.id, IGNORED))
    ids = await insert_entries(m.database, connection, [row for _, _, row in new], m.actor, now, system_id=m.system_id)
    links += [(link_id, entry.id, number) for (entry, link_id, _), number in zip(new, ids, strict=True)]
    await m.database.insert(connection, EntryLink, ("link_id", "remote_id", "entry_id"), links)
    m.tally.add("entries in", *(row.incident_id for _, _, row in new))
    await finish(m, connection, await _intents(connection, sorted(ours.values()), items), now)


async def _ours(m: Mirroring, connection: AsyncConnection, items: Sequence[Item]) -> dict[str, int]:
    """Which of these we added ourselves: remote entry id → our entry id. By key, else by what we owe, one to one."""
    result = await _keyed(m, connection, items)
    plain = [item for item in items if item[0].own and item[0].key is None]
    owing = [dict(row) for row in await rows_by(connection, owed(), LINK.c.id, {link_id for _, link_id, _ in plain})]
    taken = set(result.values())
    for entry, link_id, _ in plain:
        # Sent, its answer lost, and not settled: the process died, or the incident was away meanwhile.
        for row in owing:
            if row["link_id"] == link_id and row["id"] not in taken and _is(m, entry, row):
                taken.add(row["id"])
                result[entry.id] = row["id"]
                break
    return result


def _is(m: Mirroring, entry: Entry, row: Row) -> bool:
    """Whether an entry of our own account may be this one of ours: of the same content, and not from before it."""
    # A system may trim what it is sent.
    same = (entry.kind, entry.text.split(), entry.name) == (row["kind"], row["text"].split(), row["name"])
    same = same and entry.size in {0, row["size"]}
    return same and entry.created - m.system.skew >= row["created"] - m.coarse


async def _keyed(m: Mirroring, connection: AsyncConnection, items: Sequence[Item]) -> dict[str, int]:
    numbers = {entry.id: m.own(entry.key, "e") for entry, _, _ in items}
    wanted = {n for n in numbers.values() if n is not None}
    if not wanted:
        return {}
    rows = await rows_by(connection, owed(), LINK.c.id, {link_id for _, link_id, _ in items})
    free = {(row["link_id"], row["id"]) for row in rows}
    result: dict[str, int] = {}
    for entry, link_id, _ in items:
        number = numbers[entry.id]
        # A key that was copied to another incident, or twice to this, marks nothing.
        if number is not None and (link_id, number) in free:
            free.remove((link_id, number))
            result[entry.id] = number
    return result


async def _intents(connection: AsyncConnection, entry_numbers: Sequence[int], items: Sequence[Item]) -> list[Row]:
    if not entry_numbers:
        return []
    links = {link_id for _, link_id, _ in items}
    rows = await rows_by(connection, select(INTENT), INTENT.c.entry_id, entry_numbers)
    return [row for row in rows if row["link_id"] in links]


async def _row(connection: AsyncConnection, entries: NewEntries, entry: Entry, incident_id: int) -> NewEntry:
    checks.text("text", entry.text)
    checks.text("author", entry.author, checks.LIMITS["title"])
    checks.text("name", entry.name, checks.LIMITS["title"])
    data = entries.content.get(entry.id)
    return NewEntry(
        incident_id,
        entry.kind,
        entry.created,
        entry.author,
        entry.text,
        entry.name,
        entry.media_type,
        entry.size if data is None else len(data),
        None if data is None else await keep_blob(connection, data),
        entry.tags,
    )
