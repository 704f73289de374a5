"""Record a batch's answers in one commit, and judge its links anew."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Partial, Refused
from blocks.model import Fields
from blocks.store.links import DIRTY, LINK, Row, forget_intents, mark, park, rows_by
from blocks.store.tables import EntryLink
from tasks.mirroring.adopt import adopt, adoption
from tasks.mirroring.answers import PLAN_LINE, Standing, finish, ours_of, save
from tasks.mirroring.judge import judge
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.send import Sending


async def record_answers(m: Mirroring, sendings: Sequence[Sending], plan_id: int) -> bool:
    """Record what became of each write; answers whether a link wants another round at once."""
    if not sendings:
        return False
    now = m.now()
    ids = [one.link["id"] for one in sendings]
    async with m.database.begin("answers") as connection:
        links = {row["id"]: row for row in await rows_by(connection, select(LINK), LINK.c.id, ids)}
        await _standings(m, connection, sendings, links)
        created = [(one, next(i for i in one.answered if i["verb"] == "create")) for one in sendings if one.created]
        adoptions = [adoption(links[one.link["id"]], one.created, intent) for one, intent in created if one.created]
        await adopt(m, connection, adoptions, now)
        await _entries(m, connection, sendings)
        answered = [intent for one in sendings for intent in one.answered if intent["verb"] != "create"]
        await finish(m, connection, answered, now)
        await _refused(m, connection, sendings, now)
        unsent = [intent for one in sendings for intent in one.unsent]
        await forget_intents(connection, [intent["id"] for intent in unsent])
        await _supersede(connection, plan_id, unsent)
        missing = [one.link["id"] for one in sendings if one.missing]
        await mark(connection, missing, missing_since=now, dirty=DIRTY)
        verdicts = await judge(m, connection, ids)
    m.tally.counts["stale"] += sum(one.reread for one in sendings)
    return any(one.lines for one in verdicts)


async def _standings(
    m: Mirroring, connection: AsyncConnection, sendings: Sequence[Sending], links: dict[int, Row]
) -> None:
    standings = []
    for one in sendings:
        wrote: list[tuple[Row, Fields]] = [(i, i["patch"]) for i in one.answered if i["verb"] == "update"]
        wrote += [(i, _applied(i, error)) for i, error in one.refused if isinstance(error, Partial)]
        if one.shown is None and not wrote:
            continue
        standing = Standing.of(links[one.link["id"]])
        for intent, patch in wrote:
            standing.wrote(patch, ours_of(m, intent, patch))
        if one.shown is not None:
            # Read again: the time is the record's. An answer to our own write tells no other's time.
            at = (one.shown.updated - m.system.skew).isoformat() if one.reread else None
            standing.show(m, one.shown, at=at)
        standings.append(standing)
    await save(m, connection, standings)


def _applied(intent: Row, error: Refused) -> Fields:
    return {key: value for key, value in (intent["patch"] or {}).items() if key not in error.fields}


async def _entries(m: Mirroring, connection: AsyncConnection, sendings: Sequence[Sending]) -> None:
    rows = [(one.link["id"], remote_id, intent["entry_id"]) for one in sendings for intent, remote_id in one.entries]
    await m.database.insert(connection, EntryLink, ("link_id", "remote_id", "entry_id"), rows)


async def _refused(m: Mirroring, connection: AsyncConnection, sendings: Sequence[Sending], now: datetime) -> None:
    """What will never work is parked; its link stays dirty, so that both sides stay visible to the next merge."""
    rows: list[dict[str, Any]] = []
    refused = [(one, intent, error) for one in sendings for intent, error in one.refused]
    for one, intent, error in refused:
        patch = intent["patch"] or {}
        named = {key: value for key, value in patch.items() if key in error.fields} or patch
        rows.append({
            "system_id": m.system_id,
            "kind": intent["verb"],
            "remote_id": one.link["remote_id"] or "",
            "link_id": one.link["id"],
            "incident_id": intent["incident_id"],
            "entry_id": intent["entry_id"],
            "payload": {"side": "system", "patch": named if intent["verb"] == "update" else patch},
            "error": str(error),
            "created": now,
        })  # fmt: skip
    await park(m.database, connection, rows)
    await forget_intents(connection, [intent["id"] for _, intent, _ in refused])
    m.tally.add("refused", *(intent["incident_id"] for _, intent, _ in refused))


async def _supersede(connection: AsyncConnection, plan_id: int, intents: Sequence[Row]) -> None:
    numbers = [intent["n"] for intent in intents]
    if numbers:
        where = (PLAN_LINE.c.plan_id == plan_id, PLAN_LINE.c.n.in_(numbers))
        await connection.execute(update(PLAN_LINE).where(*where).values(state="superseded"))
