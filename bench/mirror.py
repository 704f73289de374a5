"""Mirroring: what a cycle costs, and how close its writes come to what the system allows."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

from bench.harness import Bound, Figure, Tracker, Workshop, in_turns, median, tracker
from blocks.store import Database
from blocks.store.incidents import Actor, Edit, write_edits
from tasks.mirroring.cycle import Steps, apply_all, plan, prepare
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.pull import pull

CHANGES, DELAY, AT_ONCE = 500, 0.05, 16
PERSON = Actor("bench")
SEVERITIES = ("critical", "high", "medium", "low", "info")


async def edit_each(database: Database, count: int, turn: int) -> None:
    """Somebody gives each of the first incidents another severity: none has it yet."""
    edits = [Edit(n, {"severity": SEVERITIES[(n + turn) % len(SEVERITIES)]}) for n in range(1, count + 1)]
    async with database.begin("bench") as connection:
        await write_edits(database, connection, edits, PERSON, datetime.now(UTC))


async def apply_once(served: Tracker, database: Database, changes: int, turn: int) -> float:
    """Seconds of Apply for so many changes, to a server that takes its time."""
    await edit_each(database, changes, turn)
    async with served.system() as system:
        m = await Mirroring.open(database, system, "bench")
        await prepare(m)
        planned = await plan(m, dry=False)
        if planned.plan_id is None or planned.lines != changes:
            message = f"{planned.lines} writes are planned for {changes} changes"
            raise RuntimeError(message)
        await served.tell("faults", latency=DELAY)
        begin = perf_counter()
        await apply_all(Steps(m), planned.plan_id)
        seconds = perf_counter() - begin
        await served.tell("faults", latency=0)
    if m.tally.counts["updated in the system"] != changes:
        message = f"{m.tally.counts['updated in the system']} of {changes} changes were written"
        raise RuntimeError(message)
    return seconds


async def parallel(workshop: Workshop, changes: int = CHANGES) -> list[Figure]:
    """Apply against the ideal: the declared calls, so many at a time, and nothing else."""
    turns = iter(range(1, 1_000_000))
    async with tracker(changes) as served, workshop.store() as database:
        async with served.system() as system:
            ideal = changes * system.capabilities.calls.update * DELAY / AT_ONCE
            await pull(await Mirroring.open(database, system, "bench"))
        (measured,) = await in_turns(lambda: apply_once(served, database, changes, next(turns)))
    return [
        Figure("mirror.apply_seconds", [median(measured)], ["s"], note=f"ideal {ideal:.3f}"),
        Figure("mirror.parallel", [ideal / median(measured)], ["of the ideal"], [Bound("≥", 0.8)]),
    ]
