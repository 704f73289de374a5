"""What is measured, done once: a fetch by the engine, a cycle's Apply, edits on both sides."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

from blocks.contracts import IncidentSystem
from blocks.store import Database
from blocks.store.incidents import Actor, Edit, write_edits
from tasks.mirroring.cycle import Steps, apply_all, plan, prepare
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.pull import pull

PERSON = Actor("bench")
SEVERITIES = ("critical", "high", "medium", "low", "info")
"""Ours, in the order of the tracker's priorities."""


async def fetch(database: Database, system: IncidentSystem) -> tuple[float, dict[str, int]]:
    """Seconds of a fetch by the engine, client and store open, and what it counted."""
    begin = perf_counter()
    m = await Mirroring.open(database, system, "bench")
    await pull(m)
    return perf_counter() - begin, dict(m.tally.counts)


async def apply(m: Mirroring) -> float:
    """Plan, then apply: the seconds of the latter."""
    await prepare(m)
    planned = await plan(m, dry=False)
    if planned.plan_id is None:
        return 0.0
    begin = perf_counter()
    await apply_all(Steps(m), planned.plan_id)
    return perf_counter() - begin


async def edit_each(database: Database, incidents: range, turn: int) -> None:
    """Somebody gives each of these incidents the severity that is next in this turn."""
    edits = [Edit(n, {"severity": SEVERITIES[(n + turn) % len(SEVERITIES)]}) for n in incidents]
    async with database.begin("bench") as connection:
        await write_edits(database, connection, edits, PERSON, datetime.now(UTC))
