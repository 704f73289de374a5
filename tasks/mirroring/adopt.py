"""Adopt: an incident that we created there becomes the link's, whether its answer came or its key was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.model import Fields, Incident
from blocks.store.links import DIRTY, INTENT, LINK, Row, dumps, rows_by
from blocks.store.tables import Link
from tasks.mirroring.answers import finish
from tasks.mirroring.entries import NewEntries
from tasks.mirroring.mirror import Mirroring


@dataclass(frozen=True, slots=True)
class Adoption:
    """An offered link and the incident that is its own.

    `sent` and `ours`: what its creation carried, by their names and by ours.
    """

    link_id: int
    incident_id: int
    incident: Incident
    sent: Fields
    ours: Fields
    intent: Row | None = None


@dataclass(slots=True)
class Keyed:
    """Unknown incidents by the key of ours that they carry.

    `paired`: its link waits. `twins`: its link, which is another record there already. `orphans`: it names no link;
    they are strangers all the same.
    """

    paired: list[Adoption] = field(default_factory=list)
    strangers: list[Incident] = field(default_factory=list)
    twins: list[tuple[Incident, Row]] = field(default_factory=list)
    orphans: list[tuple[Incident, int]] = field(default_factory=list)


async def adoptions(m: Mirroring, unknown: Sequence[Incident], entries: NewEntries) -> Keyed:
    """Split unknown incidents: those that carry a key of ours are paired, the rest are strangers."""
    keys = {i.id: m.own(i.key, "i") or m.own(entries.keys.get(i.id), "i") for i in unknown}
    wanted = {number for number in keys.values() if number is not None}
    if not wanted:
        return Keyed(strangers=list(unknown))
    async with m.database.read() as connection:
        links = {r["id"]: r for r in await rows_by(connection, select(LINK), LINK.c.id, wanted)}
        creates = select(INTENT).where(INTENT.c.verb == "create")
        intents = {r["link_id"]: r for r in await rows_by(connection, creates, INTENT.c.link_id, wanted)}
    result = Keyed()
    for incident in unknown:
        number = keys[incident.id]
        link = links.get(number or 0)
        if link is None or link["system_id"] != m.system_id:
            result.strangers.append(incident)
            result.orphans += [(incident, number)] if number is not None else []
        elif link["remote_id"] is None:
            result.paired.append(adoption(link, incident, intents.get(link["id"])))
            # Another of this very page that carries the same key is its twin.
            links[link["id"]] = {**link, "remote_id": incident.id}
        else:
            result.twins.append((incident, link))
            entries.parked.append(_twin(m, incident, link))
    return result


def adoption(link: Row, incident: Incident, intent: Row | None) -> Adoption:
    """An adoption by what the intent recorded."""
    sent, ours = (intent["patch"] or {}, intent["ours"] or {}) if intent else ({}, {})
    return Adoption(link["id"], link["incident_id"], incident, sent, ours, intent)


async def adopt(m: Mirroring, connection: AsyncConnection, paired: Iterable[Adoption], now: datetime) -> None:
    """Link them. What we sent is where both sides agreed; for the rest, where each stands now."""
    rows: list[tuple[Any, ...]] = []
    done: list[Row] = []
    for one in paired:
        base_system = {**one.incident.fields, **one.sent}
        base_store = {r.ours: one.ours.get(r.ours) for r in m.fields.rows if r.theirs in one.incident.fields}
        rows.append((
            one.incident.id, "linked", DIRTY, dumps(one.incident.fields), one.incident.version,
            dumps(base_system), dumps(base_store), None, one.link_id,
        ))  # fmt: skip
        if one.intent is not None:
            done.append(one.intent)
    columns = ("remote_id", "state", "dirty", "seen", "seen_version", "base_system", "base_store", "error")
    await m.database.update(connection, Link, columns, rows)
    await finish(m, connection, done, now)


def _twin(m: Mirroring, incident: Incident, link: Row) -> dict[str, Any]:
    """Two records that carry one key of ours: a person must tell which one is meant."""
    return {
        "system_id": m.system_id,
        "kind": "record",
        "remote_id": incident.id,
        "payload": dict(incident.fields),
        "error": f"{m.system.fingerprint()} [{incident.id}]: carries the key of incident {link['incident_id']}, "
        f"which is {link['remote_id']} there already: close one of them",
        "created": m.now(),
    }
