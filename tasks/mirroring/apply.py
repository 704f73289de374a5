"""Apply: intents in one commit, the writes, the answers in one commit; parallel across incidents, in order in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import LockstepError
from blocks.store.among import among
from blocks.store.checks import checked
from blocks.store.incidents import Edit, write_edits
from blocks.store.links import CLEAN, INTENT, Row, dumps, mark, rows_of
from blocks.store.tables import Intent
from tasks.decide.merge import closes
from tasks.mirroring.answers import PLAN_LINE, Standing, save
from tasks.mirroring.judge import Line, Verdict, judge
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import PLAN
from tasks.mirroring.record import record_answers
from tasks.mirroring.send import Sending, send
from tasks.mirroring.settle import settle

BATCH = 500
"""Lines of a batch: large enough that its two commits cost nothing beside its calls."""


@dataclass(slots=True)
class Applied:
    """One batch: the number of its last line (None: there was none), whether links want another round, and why the
    rest of the system waits."""

    last: int | None = None
    again: bool = False
    stopped: LockstepError | None = None


async def apply_batch(m: Mirroring, plan_id: int, after: int = -1) -> Applied:
    """Apply the plan's next lines beyond number `after`.

    Lines that no longer fit are superseded: their links stay dirty and return in the next plan. A retry settles first,
    so that nothing is sent twice.
    """
    async with m.database.read() as connection:
        planned = (PLAN_LINE.c.plan_id == plan_id, PLAN_LINE.c.state == "planned", PLAN_LINE.c.n > after)
        query = select(PLAN_LINE).where(*planned).order_by(PLAN_LINE.c.n).limit(BATCH)
        lines = await rows_of(connection, query)
    if not lines:
        await _close(m, plan_id)
        return Applied()
    link_ids = sorted({line["link_id"] for line in lines})
    await settle(m, link_ids)
    sendings = await _intend(m, lines, link_ids)
    stopped = await send(m, sendings)
    again = await record_answers(m, sendings, plan_id)
    return Applied(lines[-1]["n"], again, stopped)


async def _close(m: Mirroring, plan_id: int) -> None:
    async with m.database.begin("plan done") as connection:
        await connection.execute(update(PLAN).where(PLAN.c.id == plan_id).values(state="done"))


@dataclass(slots=True)
class _Batch:
    """A batch's lines that still fit, by what is done with them."""

    store: list[tuple[Verdict, Row]] = field(default_factory=list)
    gone: list[tuple[Verdict, Row]] = field(default_factory=list)
    send: list[tuple[Verdict, Row]] = field(default_factory=list)
    stale: list[Row] = field(default_factory=list)


async def _intend(m: Mirroring, lines: Sequence[Row], link_ids: Sequence[int]) -> list[Sending]:
    """One commit: what goes to the store is done, what goes to the system is recorded as about to be sent."""
    now = m.now()
    async with m.database.begin("intents") as connection:
        verdicts = {one.link_id: one for one in await judge(m, connection, link_ids)}
        batch = _sorted(lines, verdicts)
        await _write_store(m, connection, batch.store, now)
        await _let_go(m, connection, batch.gone, now)
        first = await m.database.draw(connection, "intent", len(batch.send)) if batch.send else 0
        sendings: dict[int, Sending] = {}
        rows = []
        for n, (one, line) in enumerate(batch.send):
            intent = _intent(m, line, first + n, now)
            rows.append(_columns(m, intent))
            sendings.setdefault(one.link_id, Sending(one.work.link, one.work.owed)).intents.append(intent)
        await m.database.insert(connection, Intent, INTENT_COLUMNS, rows)
        await _state(connection, batch.store + batch.gone, "done", now)
        await _state(connection, [(None, line) for line in batch.stale], "superseded", None)
        done = {one.link_id for one, _ in batch.store + batch.gone} - set(sendings)
        # What only changed the store is settled here and now.
        await judge(m, connection, sorted(done))
    m.tally.counts["superseded"] += len(batch.stale)
    return list(sendings.values())


def _sorted(lines: Sequence[Row], verdicts: Mapping[int, Verdict]) -> _Batch:
    batch = _Batch()
    for row in lines:
        one = verdicts.get(row["link_id"])
        if one is None or not any(line.fits(_line(row)) for line in one.lines):
            batch.stale.append(row)
        else:
            {"store": batch.store, "gone": batch.gone}.get(row["verb"], batch.send).append((one, row))
    return batch


def _line(row: Row) -> Line:
    values = (row["link_id"], row["incident_id"], row["verb"], row["kind"], row["patch"] or {})
    return Line(*values, entry_id=row["entry_id"])


async def _write_store(
    m: Mirroring, connection: AsyncConnection, batch: Sequence[tuple[Verdict, Row]], now: datetime
) -> None:
    edits, standings = [], []
    for one, line in batch:
        link = one.work.link
        patch = checked(line["patch"])
        times = [(link["left_system"] or {}).get(name) for name in patch]
        at = max((time for time in times if time), default=None)
        edits.append(Edit(line["incident_id"], patch, datetime.fromisoformat(at) if at else None))
        standing = Standing.of(link)
        for name in patch:
            standing.agree(m.theirs(name), name, patch)
            standing.left.pop(name, None)
        standings.append(standing)
    if edits:
        await write_edits(m.database, connection, edits, m.actor, now, system_id=m.system_id)
        await save(m, connection, standings)
        m.tally.add("updated in the store", *(edit.incident_id for edit in edits))
        closed = [line for _, line in batch if closes(m.table, line["before"] or {}, line["patch"], theirs=False)]
        m.tally.add("closed", *(line["incident_id"] for line in closed))


async def _let_go(
    m: Mirroring, connection: AsyncConnection, batch: Sequence[tuple[Verdict, Row]], now: datetime
) -> None:
    """React to incidents that are gone from the system."""
    if not batch:
        return
    edits = [Edit(line["incident_id"], line["patch"]) for _, line in batch if line["patch"]]
    if edits:
        await write_edits(m.database, connection, edits, m.actor, now, system_id=m.system_id)
    state = "unlinked" if m.rules.gone == "unlink" else "gone"
    link_ids = [one.link_id for one, _ in batch]
    await mark(connection, link_ids, state=state, dirty=CLEAN)
    await connection.execute(delete(INTENT).where(among(INTENT.c.link_id, link_ids)))
    m.tally.add("gone", *(line["incident_id"] for _, line in batch))


async def _state(
    connection: AsyncConnection, batch: Sequence[tuple[Verdict | None, Row]], state: str, now: datetime | None
) -> None:
    if batch:
        plan_id = batch[0][1]["plan_id"]
        numbers = [line["n"] for _, line in batch]
        await connection.execute(
            update(PLAN_LINE)
            .where(PLAN_LINE.c.plan_id == plan_id, PLAN_LINE.c.n.in_(numbers))
            .values(state=state, done_at=now)
        )


INTENT_COLUMNS = (
    "id", "system_id", "link_id", "incident_id", "verb", "kind", "entry_id", "key", "patch", "before", "ours",
    "plan_id", "n", "started",
)  # fmt: skip


def _intent(m: Mirroring, line: Row, number: int, now: datetime) -> dict[str, Any]:
    key = m.entry_key(line["entry_id"]) if line["verb"] == "entry" else m.incident_key(line["link_id"])
    kind = (line["patch"] or {}).get("kind", line["kind"]) if line["verb"] == "entry" else line["kind"]
    same = ("link_id", "incident_id", "verb", "entry_id", "patch", "before", "ours", "plan_id", "n")
    return {name: line[name] for name in same} | {
        "id": number, "system_id": m.system_id, "kind": kind, "key": key, "started": now,
    }  # fmt: skip


def _columns(m: Mirroring, intent: Mapping[str, Any]) -> tuple[Any, ...]:
    stored = {name: dumps(intent[name]) for name in ("patch", "before", "ours")}
    return tuple(m.database.value({**intent, **stored}[name]) for name in INTENT_COLUMNS)
