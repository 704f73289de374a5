"""Tie an incident to a record of a system by hand: what differs travels as the person says, and nothing echoes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.contracts import IncidentSystem
from blocks.errors import Misconfigured, Refused
from blocks.model import Fields, Incident
from blocks.points import at
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.audit import Act, Actor, lock, record
from blocks.store.checks import COLUMNS, refused, text
from blocks.store.links import (
    CLEAN,
    DIRTY,
    ENTRY_LINK,
    INCIDENT,
    LINK,
    PARKED,
    SYSTEM,
    Row,
    mark,
    park,
    rows_of,
)
from tasks.analyst.unlink import let_rest, settled
from tasks.decide.start import Before, Start, begin
from tasks.mirroring.mirror import Mirroring

LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Linked:
    """A link that was made: the record's id as its system writes it, and the fields that travel in and out first."""

    remote_id: str
    inward: tuple[str, ...]
    outward: tuple[str, ...]

    def __str__(self) -> str:
        moves = [(self.inward, "takes {} from it"), (self.outward, "writes {} to it")]
        parts = [words.format(", ".join(names)) for names, words in moves if names]
        return f"its mirror's next cycle {' and '.join(parts)}" if parts else "both sides show the same"


async def link_by_hand(
    database: Database,
    system: IncidentSystem,
    incident_id: int,
    remote_id: str,
    start: Start,
    actor: Actor,
    now: datetime,
) -> Linked:
    """Link an incident with a record, under the mirror's lock; the next cycle carries what differs, and the entries.

    Args:
        database: the store.
        system: where the record is; open.
        incident_id: ours.
        remote_id: the record's.
        start: whose values stand where both sides differ.
        actor: who links.
        now: the time.

    Raises:
        NotFound: there is no such incident, or no such record.
        Refused: one of them is linked already, or a write to it is not answered yet; says with what, and what to do.
        Misconfigured: no mirror keeps this system in step yet.
    """
    m = await _mirroring(database, system, actor)
    shown = await _record(system, remote_id)
    async with database.begin("link") as connection:
        await lock(database, connection, [incident_id])
        mine, its = await _rows(connection, m.system_id, incident_id, shown.id)
        await _may(m, connection, incident_id, shown, mine, its)
        before, names = await _before(m, connection, incident_id, shown)
        result = begin(start, before, m.fields.rows, names, m.coarse)
        link_id = await _make_way(m, connection, shown.id, mine, its)
        left = dict.fromkeys((row.ours for row in m.fields.rows), before.updated.isoformat())
        values: dict[str, Any] = {
            "incident_id": incident_id, "remote_id": shown.id, "state": "linked", "dirty": DIRTY,
            "seen": dict(sorted(shown.fields.items())), "seen_version": "", "base_system": result.base_system,
            "base_store": result.base_store, "left_system": left, "streak": None, "missing_since": None, "error": None,
        }  # fmt: skip
        await connection.execute(update(LINK).where(LINK.c.id == link_id).values(**values))
        await _read_next(m, connection, shown, now)
        was = mine["remote_id"] if mine else None
        act = Act("linked", incident_id, {"record": (was, shown.id), "start": (None, start)})
        await record(database, connection, [act], actor, now, system_id=m.system_id)
    return Linked(shown.id, tuple(result.inward), tuple(result.outward))


async def _mirroring(database: Database, system: IncidentSystem, actor: Actor) -> Mirroring:
    """The system's mirror without its rules: those are in its form, and its next cycle goes by them."""
    async with database.read() as connection:
        query = select(SYSTEM.c.id).where(SYSTEM.c.fingerprint == system.fingerprint())
        system_id = (await connection.execute(query)).scalar()
    if system_id is None:
        message = "no mirror keeps this system in step: run mirror_incidents or fetch_incidents on it once, then link"
        raise Misconfigured(message, system=system.fingerprint(), call="link")
    able = system.capabilities
    return Mirroring(database, system, system_id, Rules(), Intake(), Limits(), actor, system.fields, (), able)


async def _record(system: IncidentSystem, remote_id: str) -> Incident:
    wanted = text("remote_id", remote_id.strip(), LONGEST)
    if not wanted or not wanted.isprintable():
        raise refused("remote_id", "must be the record's id, as its system writes it")
    return await at("get", system.get(wanted))


async def _rows(
    connection: AsyncConnection, system_id: int, incident_id: int, remote_id: str
) -> tuple[Row | None, Row | None]:
    """The incident's link with this system, and the record's."""
    of_system = select(LINK).where(LINK.c.system_id == system_id)
    mine = await rows_of(connection, of_system.where(LINK.c.incident_id == incident_id))
    its = await rows_of(connection, of_system.where(LINK.c.remote_id == remote_id))
    return next(iter(mine), None), next(iter(its), None)


async def _may(
    m: Mirroring, connection: AsyncConnection, incident_id: int, shown: Incident, mine: Row | None, its: Row | None
) -> None:
    """Refused: a twin would be made, or a write is under way."""
    if mine is not None and mine["state"] in {"linked", "gone"}:
        same = mine["remote_id"] == shown.id and mine["state"] == "linked"
        words = "is linked with it already" if same else f"is {mine['remote_id']} there already: unlink it first"
        raise _refused(m, shown.id, f"incident {incident_id} {words}")
    if its is not None and its["state"] in {"linked", "gone"}:
        raise _refused(m, shown.id, f"it is incident {its['incident_id']} already: unlink that first")
    own = m.own(shown.key, "i")
    made = await rows_of(connection, select(LINK).where(LINK.c.id == own, LINK.c.state == "offered")) if own else []
    if made and made[0]["incident_id"] != incident_id:
        words = f"it was created for incident {made[0]['incident_id']}, and the mirror's next cycle links them"
        raise _refused(m, shown.id, f"{words}: unlink that one first, if it is not meant")
    for row in (mine, its):
        await settled(m.system.fingerprint(), connection, row)


def _refused(m: Mirroring, remote_id: str, words: str) -> Refused:
    return Refused(words, system=m.system.fingerprint(), call="link", id=remote_id)


async def _before(
    m: Mirroring, connection: AsyncConnection, incident_id: int, shown: Incident
) -> tuple[Before, set[str]]:
    """Both sides, and the names that the mirror may map: those that another of its links knows, too."""
    (row,) = await rows_of(connection, select(INCIDENT).where(INCIDENT.c.id == incident_id))
    custom: Fields = row["custom"] or {}
    others = select(LINK.c.base_store).where(LINK.c.system_id == m.system_id, LINK.c.state == "linked")
    other = (await connection.execute(others.order_by(LINK.c.id.desc()).limit(1))).scalar() or {}
    store = {**custom, **{name: row[name] for name in COLUMNS}}
    before = Before(store, shown.fields, row["changed"] or {}, row["created"], shown.updated - m.system.skew)
    return before, {*store, *other}


async def _make_way(
    m: Mirroring, connection: AsyncConnection, remote_id: str, mine: Row | None, its: Row | None
) -> int:
    """Free both ends of what they were before, so that nothing of that comes back; answers the link's id."""
    if its is not None and (mine is None or its["id"] != mine["id"]):
        if its["incident_id"] is None:
            # A record that a rule dropped, or that stood alone.
            await connection.execute(delete(ENTRY_LINK).where(ENTRY_LINK.c.link_id == its["id"]))
            await connection.execute(delete(LINK).where(LINK.c.id == its["id"]))
        else:
            # Another incident that was loosed from it: stays loosed from the system.
            await mark(connection, [its["id"]], remote_id=None)
    if mine is None:
        number = await m.database.draw(connection, "link", 1)
        await connection.execute(insert(LINK).values(id=number, system_id=m.system_id, state="unlinked"))
        return number
    await let_rest(connection, mine)
    if mine["remote_id"] not in (None, remote_id):
        await connection.execute(delete(ENTRY_LINK).where(ENTRY_LINK.c.link_id == mine["id"]))
        await mark(connection, [mine["id"]], remote_id=None)
        alone = {"remote_id": mine["remote_id"], "state": "unlinked", "dirty": CLEAN, "error": mine["error"]}
        number = await m.database.draw(connection, "link", 1)
        seen_version = mine["seen_version"]
        row = {"id": number, "system_id": m.system_id, "seen_version": seen_version, **alone}
        await connection.execute(insert(LINK).values(**row))
    return int(mine["id"])


async def _read_next(m: Mirroring, connection: AsyncConnection, shown: Incident, now: datetime) -> None:
    """Have the next cycle read the record by its own rules: only they tell which entries come in."""
    row = {
        "system_id": m.system_id, "kind": "record", "remote_id": shown.id, "payload": dict(shown.fields),
        "error": f"linked by {m.actor.name}: to be read by the next cycle", "created": now,
    }  # fmt: skip
    await park(m.database, connection, [row])
    mine = (PARKED.c.system_id == m.system_id, PARKED.c.remote_id == shown.id, PARKED.c.kind == "record")
    await connection.execute(update(PARKED).where(*mine, PARKED.c.state == "open").values(state="asked"))
