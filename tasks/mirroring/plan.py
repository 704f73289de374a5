"""Plan: all writes of a cycle as rows, whole before the first is sent; the brake looks at the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.store.links import dirty, dumps
from blocks.store.tables import Plan, PlanLine, table_of
from tasks.decide.brake import trips
from tasks.mirroring.judge import Line, judge
from tasks.mirroring.mirror import Mirroring

PLAN, LINE = table_of(Plan), table_of(PlanLine)
KEEP = timedelta(days=30)
"""How long a plan that is over is kept, with its lines: as long as one may wait; the audit tells what it did."""

OVER = ("done", "dry run", "superseded", "rejected", "expired")
OLD = 100
"""How many old plans go with each new one, so that no cycle waits long for it and they never pile up."""

WINDOW = timedelta(hours=24)


@dataclass(slots=True)
class Planned:
    """A plan: its id (None: nothing to write), its lines by kind, and why the brake holds it, if it does."""

    plan_id: int | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    held: list[str] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """How many writes it has."""
        return self.kinds.total()


async def waiting_plan(m: Mirroring) -> tuple[int, str, str] | None:
    """The plan of this system that the brake holds, or that a person approved: (id, state, reason)."""
    now = m.now()
    async with m.database.read() as connection:
        query = select(PLAN).where(PLAN.c.system_id == m.system_id, PLAN.c.state.in_(("held", "approved")))
        row = (await connection.execute(query.order_by(PLAN.c.id).limit(1))).first()
    if row is None:
        return None
    if row.state == "held" and row.deadline is not None and row.deadline < now:
        async with m.database.begin("expire") as connection:
            late = (PLAN.c.id == row.id, PLAN.c.state == "held")
            await connection.execute(update(PLAN).where(*late).values(state="expired"))
        return None
    return row.id, row.state, row.reason


async def make_plan(m: Mirroring, *, only: Sequence[int] | None = None, dry: bool = False) -> Planned:
    """Decide all dirty links and write the plan; on the brake it is held.

    Args:
        m: the mirror.
        only: only these incidents.
        dry: nothing is to be sent: the plan is kept as a dry run.
    """
    planned, after = Planned(), 0
    while True:
        async with m.database.read() as connection:
            ids = await dirty(connection, m.system_id, after, only)
        if not ids:
            break
        after = ids[-1]
        async with m.database.begin("plan") as connection:
            verdicts = await judge(m, connection, ids)
            lines = [line for one in verdicts for line in one.lines]
            await add_lines(m, connection, planned, lines)
    await release(m, planned, dry=dry)
    return planned


async def add_lines(m: Mirroring, connection: AsyncConnection, planned: Planned, lines: Sequence[Line]) -> None:
    """Add lines to a plan; the first of them begins it."""
    if not lines:
        return
    if planned.plan_id is None:
        planned.plan_id = await m.database.draw(connection, "plan", 1)
        await connection.execute(
            insert(PLAN).values(
                id=planned.plan_id, system_id=m.system_id, state="planning", run=m.actor.run, created=m.now()
            )
        )
    rows = [
        (planned.plan_id, planned.lines + n, m.system_id, x.link_id, x.incident_id, x.verb, x.kind, x.entry_id,
         dumps(x.patch), dumps(x.before), dumps(x.ours), "planned")
        for n, x in enumerate(lines)
    ]  # fmt: skip
    await m.database.insert(connection, PlanLine, LINES, rows)
    planned.kinds.update(line.kind for line in lines)


LINES = (
    "plan_id", "n", "system_id", "link_id", "incident_id", "verb", "kind", "entry_id", "patch", "before", "ours",
    "state",
)  # fmt: skip


async def release(m: Mirroring, planned: Planned, *, dry: bool) -> None:
    """The whole plan is written: let it go, hold it, or leave it as a dry run. An empty one is none."""
    if planned.plan_id is None:
        return
    now = m.now()
    async with m.database.begin("release") as connection:
        if not dry:
            planned.held = trips(m.limits, planned.kinds, await _done(connection, m.system_id, now))
        state = "dry run" if dry else "held" if planned.held else "applying"
        await connection.execute(
            update(PLAN)
            .where(PLAN.c.id == planned.plan_id)
            .values(
                state=state,
                reason="; ".join(planned.held),
                deadline=now + timedelta(hours=m.limits.approval_hours) if planned.held else None,
            )
        )
        # A plan that a dead process left: its links are dirty still, and in this one.
        left = (PLAN.c.system_id == m.system_id, PLAN.c.state.in_(("planning", "applying")))
        others = update(PLAN).where(*left, PLAN.c.id != planned.plan_id)
        await connection.execute(others.values(state="superseded"))
        await _forget_old(connection, now)


async def _forget_old(connection: AsyncConnection, now: datetime) -> None:
    """Delete old plans, of whichever system, and their lines."""
    old = select(PLAN.c.id).where(PLAN.c.created < now - KEEP, PLAN.c.state.in_(OVER)).order_by(PLAN.c.created)
    ids = list((await connection.execute(old.limit(OLD))).scalars())
    if ids:
        await connection.execute(delete(LINE).where(LINE.c.plan_id.in_(ids)))
        await connection.execute(delete(PLAN).where(PLAN.c.id.in_(ids)))


async def _done(connection: AsyncConnection, system_id: int, now: datetime) -> Counter[str]:
    query = (
        select(LINE.c.kind, func.count())
        .where(LINE.c.system_id == system_id, LINE.c.done_at > now - WINDOW)
        .group_by(LINE.c.kind)
    )
    return Counter({row[0]: row[1] for row in await connection.execute(query)})
