"""What a report or a signal tells of a cycle, read from the store when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.store.audit import AUDIT
from blocks.store.links import CONFLICT, INCIDENT, LINK, PARKED, Row, rows_by
from tasks.mirroring.answers import PLAN_LINE
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import PLAN

CHANGES = 50
"""So many changes, conflicts and parked a report shows."""

PLANNED = 200
"""So many lines of a plan."""


@dataclass(slots=True)
class Facts:
    """A cycle's changes, and what waits for a person now. `lines` are a plan's that is held or a dry run's."""

    changes: list[Row] = field(default_factory=list)
    conflicts: list[Row] = field(default_factory=list)
    parked: list[Row] = field(default_factory=list)
    waiting: Counter[str] = field(default_factory=Counter)
    plan: Row | None = None
    lines: list[Row] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def new_conflicts(self, since: datetime) -> list[Row]:
        """Those that this cycle found."""
        return [row for row in self.conflicts if row["since"] >= since]

    def new_parked(self, since: datetime) -> list[Row]:
        """What this cycle parked."""
        return [row for row in self.parked if row["created"] >= since]


async def gather_facts(m: Mirroring, plan_id: int | None) -> Facts:
    """Read them; `plan_id` is the plan that is held, or a dry run's."""
    facts = Facts()
    async with m.database.read() as connection:
        linked = and_(LINK.c.incident_id == AUDIT.c.incident_id, LINK.c.system_id == m.system_id)
        mine = (AUDIT.c.at >= m.started, AUDIT.c.actor == m.actor.name, AUDIT.c.run == m.actor.run)
        changes = (
            select(AUDIT, INCIDENT.c.title, LINK.c.remote_id)
            .join(INCIDENT, INCIDENT.c.id == AUDIT.c.incident_id)
            .outerjoin(LINK, linked)
            .where(*mine)
        )
        facts.changes = await rows(connection, changes.order_by(AUDIT.c.id).limit(CHANGES))
        open_conflicts = (CONFLICT.c.system_id == m.system_id, CONFLICT.c.choice == "")
        open_parked = (PARKED.c.system_id == m.system_id, PARKED.c.state == "open")
        conflicts = select(CONFLICT, LINK.c.remote_id).join(LINK, LINK.c.id == CONFLICT.c.link_id)
        conflicts = conflicts.where(*open_conflicts).order_by(CONFLICT.c.since.desc()).limit(CHANGES)
        facts.conflicts = await rows(connection, conflicts)
        parked = select(PARKED).where(*open_parked).order_by(PARKED.c.id.desc()).limit(CHANGES)
        facts.parked = await rows(connection, parked)
        for name, where, of in (("conflicts", open_conflicts, CONFLICT), ("parked", open_parked, PARKED)):
            facts.waiting[name] = (
                await connection.execute(select(func.count()).select_from(of).where(*where))
            ).scalar_one()
        if plan_id is not None:
            facts.plan = next(iter(await rows(connection, select(PLAN).where(PLAN.c.id == plan_id))), None)
            of_plan = PLAN_LINE.c.plan_id == plan_id
            lines = select(PLAN_LINE, INCIDENT.c.title, LINK.c.remote_id).join(LINK, LINK.c.id == PLAN_LINE.c.link_id)
            lines = lines.join(INCIDENT, INCIDENT.c.id == PLAN_LINE.c.incident_id).where(of_plan)
            facts.lines = await rows(connection, lines.order_by(PLAN_LINE.c.n).limit(PLANNED))
            kinds = select(PLAN_LINE.c.kind, func.count()).where(of_plan).group_by(PLAN_LINE.c.kind)
            facts.kinds = Counter({row[0]: row[1] for row in await connection.execute(kinds)})
    return facts


async def rows(connection: AsyncConnection, query: Select[Any]) -> list[Row]:
    """A query's rows."""
    return [{**row} for row in (await connection.execute(query)).mappings()]


async def incidents_of(m: Mirroring, ids: Sequence[int]) -> list[Row]:
    """These incidents of the store."""
    async with m.database.read() as connection:
        return await rows_by(connection, select(INCIDENT), INCIDENT.c.id, ids)
