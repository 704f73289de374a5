"""Mirroring: what a cycle costs, and how close its writes come to what the system allows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from bench import jobs
from bench.fetch import prefect_worker
from bench.harness import Bound, Figure, Workshop, in_turns, must_be
from bench.servers import Tracker, tracker
from blocks.contracts import IncidentSystem
from blocks.rules import Intake, Rules
from blocks.store import Database
from blocks.store.incidents import add_comment, add_file, create
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring, Tally

CHANGES, DELAY = 500, 0.05
FEW, MANY = 1_000, 100_000
COUNTED, EACH = 300, 40


async def parallel(workshop: Workshop, changes: int = CHANGES) -> list[Figure]:
    """Apply against the ideal: the declared calls, so many at a time, and nothing else."""
    turns = iter(range(1, 1_000_000))
    async with tracker(changes) as served, workshop.store() as database, served.system() as system:
        await jobs.fetch(database, system)
        m = await Mirroring.open(database, system, "bench")
        ideal = changes * system.capabilities.calls.update * DELAY / m.parallel

        async def once() -> float:
            await jobs.edit_each(database, range(1, changes + 1), next(turns))
            m = await Mirroring.open(database, system, "bench")
            await served.tell("faults", latency=DELAY)
            seconds = await jobs.apply(m)
            await served.tell("faults", latency=0)
            must_be("changes written", m.tally.counts["updated in the system"], changes)
            return seconds

        (measured,) = await in_turns(once)
    note = f"{changes} changes; {ideal:.3f} s would be ideal"
    return [
        Figure("mirror.apply_seconds", [measured], ["s"], note=note),
        Figure("mirror.parallel", [ideal / measured], ["ideal / measured"], [Bound("≥", 0.8)]),
    ]


@dataclass(slots=True)
class Side:
    """A tracker with so many issues, and the store that mirrors it."""

    served: Tracker
    database: Database
    system: IncidentSystem
    turn: int = 0

    async def change(self, each: int) -> None:
        """So many changes in the store, and as many others in the tracker."""
        self.turn += 1
        await jobs.edit_each(self.database, range(1, each + 1), self.turn)
        for number in range(each + 1, 2 * each + 1):
            await self.served.tell("people", do="edit", id=str(number), title=f"{number} in turn {self.turn}")

    async def cycle(self, each: int) -> float:
        """Seconds of a whole cycle with twice so many changes."""
        await self.change(each)
        begin = perf_counter()
        m = await Mirroring.open(self.database, self.system, "bench")
        await cycle(m)
        seconds = perf_counter() - begin
        must_be("changes out", m.tally.counts["updated in the system"], each)
        must_be("changes in", m.tally.counts["updated in the store"], each)
        return seconds


async def cost_vs_links(workshop: Workshop, few: int = FEW, many: int = MANY, each: int = 50) -> list[Figure]:
    """The same cycle in a small and in a large mirror."""
    async with tracker(few) as small, workshop.store() as one, small.system() as its:
        large = await workshop.keep(f"tracker {many}", lambda: tracker(many))
        async with workshop.store() as other, large.system() as theirs:
            sides = [Side(small, one, its), Side(large, other, theirs)]
            for side, links in zip(sides, (few, many), strict=True):
                _, counts = await jobs.fetch(side.database, side.system)
                must_be("incidents fetched", counts["created in the store"], links)
                await side.cycle(each)
            least, most = await in_turns(lambda: sides[0].cycle(each), lambda: sides[1].cycle(each))
    note = f"{2 * each} changes, half of them in each side"
    return [
        Figure("mirror.cycle_seconds", [least, most], [f"s, {few:,} links", f"s, {many:,} links"], note=note),
        Figure("mirror.cost_vs_links", [most / least], [f"{many:,} / {few:,} links"], [Bound("≤", 1.3)]),
    ]


async def calls(workshop: Workshop, incidents: int = COUNTED, each: int = EACH) -> list[Figure]:
    """HTTP calls that the server counted beside the pages, against what the connector declares.

    A look-back shows the unchanged ones again in every cycle.
    """
    async with tracker(incidents) as served, workshop.store() as database, served.system() as system:
        counting = _Counting(served, database, system)
        await counting.cycle()
        able = system.capabilities.calls
        unchanged, tally = await counting.cycle()
        must_be("unchanged incidents read again", tally.counts["read"], incidents)
        wrote = [await counting.written(what, each) for what in ("update", "comment", "file", "create")]
        # An edit in the same tick of the tracker's clock as what we last saw costs one call more: its feed may lag.
        await asyncio.sleep(system.capabilities.clock_seconds)
        for number in range(1, each + 1):
            await served.tell("people", do="edit", id=str(number), title=f"changed {number}")
        read, tally = await counting.cycle()
        must_be("changes read", tally.counts["changed in the system"], each)
    declared = [able.update, able.entry, able.file, able.create]
    bound = Bound("=", sum(declared) / len(declared))
    units = ["calls a write", "calls a changed incident", "calls an unchanged incident"]
    values = [sum(wrote) / len(wrote), read / each, unchanged / incidents]
    by_kind = ["calls an update", "calls a comment", "calls a file", "calls a new incident"]
    note = "of updates, comments, files and new incidents, as many of each"
    return [
        Figure("mirror.calls", values, units, [bound, Bound("=", able.changed), Bound("=", 0)], note=note),
        Figure("mirror.calls_by_kind", wrote, by_kind, [Bound("=", calls) for calls in declared]),
    ]


@dataclass(slots=True)
class _Counting:
    served: Tracker
    database: Database
    system: IncidentSystem

    async def cycle(self) -> tuple[int, Tally]:
        """Run one; the calls that were no page's, and what it did."""
        intake, rules = Intake(look_back_minutes=30), Rules(create=True)
        m = await Mirroring.open(self.database, self.system, "bench", intake=intake, rules=rules)
        await self.served.tell("reset")
        await cycle(m)
        pages = m.tally.counts["pages"] * self.system.capabilities.calls.page
        return await self.served.calls() - pages, m.tally

    async def written(self, what: str, count: int) -> float:
        """Calls for each write of a kind. The next cycle sees it in the feed, which must cost nothing more."""
        now = datetime.now(UTC)
        if what == "update":
            await jobs.edit_each(self.database, range(1, count + 1), 1)
        for number in range(1, count + 1):
            if what == "comment":
                await add_comment(self.database, number, f"comment {number}", jobs.PERSON, now)
            elif what == "file":
                await add_file(self.database, number, "a.txt", "text/plain", b"a file", jobs.PERSON, now)
            elif what == "create":
                await create(self.database, {"title": f"new {number}", "severity": "low"}, jobs.PERSON, now)
        done = {"update": "updated in the system", "create": "created in the system"}.get(what, "entries out")
        spent, tally = await self.cycle()
        must_be(f"{what} written", tally.counts[done], count)
        seen, _ = await self.cycle()
        # The first message of a new incident is read once, with all others of its page.
        expected = self.system.capabilities.calls.entries if what == "create" else 0
        return (spent + seen - expected) / count


async def idle(workshop: Workshop) -> list[Figure]:
    """Task runs of cycles without changes, as Prefect's server counts them."""
    busy, store = await prefect_worker(workshop), str(await workshop.fresh())
    async with tracker(100) as served:
        scheduled = await busy.do("idle", address=served.address, store=store)
        await served.tell("reset")
        forever = await busy.do("forever", address=served.address, store=store, seconds=6)
        looked = await served.calls()
    must_be("runs that go on", forever["runs"] if not forever["ended"] else 0, 1)
    note = f"{looked} looks without a change with every_seconds"
    if looked < 2:
        must_be("looks", looked, 2)
    units = ["task runs of a scheduled cycle", "task runs with every_seconds"]
    values = [scheduled["task_runs"], forever["task_runs"]]
    return [Figure("mirror.idle", values, units, [Bound("≤", 2), Bound("=", 0)], note=note)]
