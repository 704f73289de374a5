"""Settle: writes that a dead process left without an answer are found again, or go again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import NotFound
from blocks.model import Entry, Fields, Incident
from blocks.points import at
from blocks.store.entries import content_of
from blocks.store.links import (
    DIRTY,
    ENTRY,
    ENTRY_LINK,
    INTENT,
    IS_DIRTY,
    LINK,
    Row,
    chunks,
    entry_ids,
    forget_intents,
    mark,
    park,
    rows_by,
    rows_of,
)
from blocks.store.tables import EntryLink
from tasks.mirroring.adopt import Adoption, adopt, adoption
from tasks.mirroring.answers import Standing, finish, ours_of, save
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.take import miss


@dataclass(slots=True)
class Settled:
    """What became of one link's intents: answered, or to be decided again. `known`: remote ids of linked entries."""

    link: Row
    known: set[str]
    shown: Incident | None = None
    adopted: Adoption | None = None
    applied: list[tuple[Row, Fields]] = field(default_factory=list)
    entries: list[tuple[Row, str]] = field(default_factory=list)
    again: list[Row] = field(default_factory=list)
    unknown: list[Row] = field(default_factory=list)


async def settle(m: Mirroring, link_ids: Sequence[int] | None = None) -> int:
    """Settle what is older than the vendor's search may lag; answers how many intents wait still.

    A younger intent waits, and its incident gets no other write until it is settled.
    """
    async with m.database.read() as connection:
        query = select(INTENT).where(INTENT.c.system_id == m.system_id).order_by(INTENT.c.id)
        if link_ids is None:
            pending = await rows_of(connection, query)
        else:
            pending = await rows_by(connection, query, INTENT.c.link_id, link_ids)
        ripe: dict[int, list[Row]] = defaultdict(list)
        for intent in pending:
            ripe[intent["link_id"]].append(intent)
        limit = m.now() - m.settle
        ripe = {link_id: rows for link_id, rows in ripe.items() if max(r["started"] for r in rows) <= limit}
        links = await rows_by(connection, select(LINK), LINK.c.id, ripe)
        wanted = [row["entry_id"] for rows in ripe.values() for row in rows if row["entry_id"] is not None]
        entries = {row["id"]: row for row in await rows_by(connection, select(ENTRY), ENTRY.c.id, wanted)}
        known = await entry_ids(connection, ripe)
    for part in chunks(links, 100):
        gate = asyncio.Semaphore(m.parallel)
        settled = await asyncio.gather(
            *(_one(m, gate, Settled(link, known[link["id"]]), ripe[link["id"]], entries) for link in part)
        )
        await _record(m, settled)
    return len(pending) - sum(len(rows) for rows in ripe.values())


async def _one(
    m: Mirroring, gate: asyncio.Semaphore, result: Settled, intents: Sequence[Row], entries: dict[int, Row]
) -> Settled:
    link = result.link
    async with gate:
        if link["remote_id"] is None:
            return await _create(m, result, intents)
        try:
            shown = result.shown = await at("get", m.system.get(link["remote_id"]))
        except NotFound:
            # It may be back: what is not known yet stays so, until the incident is confirmed to be gone.
            await miss(m, [link["remote_id"]])
            return result
        for intent in intents:
            if intent["verb"] == "entry":
                await _entry(m, result, shown, intent, entries.get(intent["entry_id"]))
            else:
                _update(result, shown, intent)
        return result


async def _create(m: Mirroring, result: Settled, intents: Sequence[Row]) -> Settled:
    intent = intents[0]
    found = await at("find", m.system.find(intent["key"]))
    if found is not None:
        result.adopted = adoption(result.link, found, intent)
    elif m.able.create_key == "none":
        result.unknown.append(intent)
    else:
        result.again.append(intent)
    return result


def _update(result: Settled, shown: Incident, intent: Row) -> None:
    """Shows the new value: done. Shows another: it is decided again."""
    patch: Fields = intent["patch"] or {}
    applied = {key: value for key, value in patch.items() if shown.fields.get(key) == value}
    if applied:
        result.applied.append((intent, applied))
    else:
        result.again.append(intent)


async def _entry(m: Mirroring, result: Settled, shown: Incident, intent: Row, entry: Row | None) -> None:
    if entry is None:
        result.again.append(intent)
        return
    after = intent["started"] + m.system.skew - m.coarse
    data = await content_of(m.database, entry["id"]) if entry["blob"] is not None else None
    sent = outgoing(entry, result.link["remote_id"], data)
    # One to one: of two equal entries each is found once.
    found = await at("find_entry", m.system.find_entry(shown, sent, intent["key"], after, result.known))
    if found is None:
        result.again.append(intent)
    else:
        result.known.add(found)
        result.entries.append((intent, found))


def outgoing(entry: Row, remote_id: str, data: bytes | None = None) -> Entry:
    """An entry of the store as it is sent."""
    return Entry(
        str(entry["id"]), remote_id, entry["kind"], entry["created"], entry["author"], entry["text"],
        entry["name"], entry["media_type"], entry["size"], tuple(entry["tags"] or ()), data=data,
    )  # fmt: skip


async def _record(m: Mirroring, settled: Sequence[Settled]) -> None:
    now = m.now()
    async with m.database.begin("settle") as connection:
        await adopt(m, connection, [s.adopted for s in settled if s.adopted is not None], now)
        standings, done = [], []
        for one in settled:
            standing = Standing.of(one.link)
            for intent, applied in one.applied:
                standing.wrote(applied, ours_of(m, intent, applied))
                done.append(intent)
            if one.shown is not None:
                standing.show(m, one.shown, at=(one.shown.updated - m.system.skew).isoformat())
                standings.append(standing)
        await save(m, connection, standings)
        await _link_entries(m, connection, settled)
        done += [intent for one in settled for intent, _ in one.entries]
        await finish(m, connection, done, now)
        await _park_unknown(m, connection, settled, now)
        again = [intent for one in settled for intent in one.again + one.unknown]
        await forget_intents(connection, [intent["id"] for intent in again])
        await mark(connection, [one.link["id"] for one in settled], dirty=DIRTY)
        m.tally.counts["settled"] += len(done) + len(again)


async def _link_entries(m: Mirroring, connection: AsyncConnection, settled: Sequence[Settled]) -> None:
    found = [(one.link["id"], remote_id, intent["entry_id"]) for one in settled for intent, remote_id in one.entries]
    query = select(ENTRY_LINK.c.link_id, ENTRY_LINK.c.remote_id)
    rows = await rows_by(connection, query, ENTRY_LINK.c.link_id, {link_id for link_id, _, _ in found})
    have = {(row["link_id"], row["remote_id"]) for row in rows}
    new = [row for row in found if row[:2] not in have]
    await m.database.insert(connection, EntryLink, ("link_id", "remote_id", "entry_id"), new)


async def _park_unknown(m: Mirroring, connection: AsyncConnection, settled: Sequence[Settled], now: datetime) -> None:
    """A create without a key whose answer was lost: only a person can tell whether it is there."""
    rows: list[dict[str, Any]] = [
        {
            "system_id": m.system_id,
            "kind": "create",
            "link_id": one.link["id"],
            "incident_id": one.link["incident_id"],
            "payload": {"patch": intent["patch"]},
            "error": f"{m.system.fingerprint()} create: the answer was lost, and this system keeps no key of ours: "
            f"look whether incident {one.link['incident_id']} is there; link it, or replay this to create it",
            "created": now,
        }
        for one in settled
        for intent in one.unknown
    ]
    await park(m.database, connection, rows)


async def confirm_missing(m: Mirroring) -> None:
    """Look a second time for records that an earlier cycle could not find."""
    async with m.database.read() as connection:
        query = select(LINK).where(LINK.c.system_id == m.system_id, IS_DIRTY)
        query = query.where(LINK.c.missing_since < m.started, LINK.c.state == "linked")
        rows = await rows_of(connection, query)
    back = []
    for link in rows:
        try:
            incident = await at("get", m.system.get(link["remote_id"]))
        except NotFound:
            m.confirmed_gone.add(link["id"])
        else:
            back.append((link, incident))
    if back:
        async with m.database.begin("back") as connection:
            standings = [Standing.of(link) for link, _ in back]
            for standing, (_, incident) in zip(standings, back, strict=True):
                standing.show(m, incident, at=(incident.updated - m.system.skew).isoformat())
            await save(m, connection, standings)
            await mark(connection, [link["id"] for link, _ in back], missing_since=None)
