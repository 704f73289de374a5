"""Ways in which two sides come apart that no cycle sees, for the tests of reconcile."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from blocks.model import Value
from blocks.rules import Rule, Rules
from blocks.store.tables import Incident, Link, System, table_of
from tasks.mirroring.findings import Findings, Found
from tests.fakes.toy import World
from tests.mirrors import WRITES, Bench

HOUR = 3600.0
INCIDENT, LINK, SYSTEM = table_of(Incident), table_of(Link), table_of(System)


async def linked(bench: Bench, count: int = 2, **setup: Any) -> World:
    """So many incidents, in step for a long time: the feed shows nothing of what is older than an hour."""
    world = bench.mirror(**setup)
    for number in range(1, count + 1):
        world.add({"name": f"n{number}", "level": "p3"})
    await bench.settled()
    bench.clock.go(2 * HOUR)
    async with bench.database.begin("test") as connection:
        read = (bench.clock() - timedelta(hours=1)).isoformat()
        await connection.execute(update(SYSTEM).values(cursor=read))
    await bench.cycle()
    return world


def behind(world: World, number: str, **fields: Value) -> None:
    """An edit that no feed shows: it is dated long ago."""
    record = world.records[number]
    when, now, version, entries = record.states[-1]
    record.states.append((when, {**now, **fields}, version, entries))


def born_with(world: World, number: str, other: str) -> None:
    """It is dated as long ago as the other."""
    record = world.records[number]
    record.states[0] = (world.records[other].states[0][0], *record.states[0][1:])


async def put(bench: Bench, number: int, **fields: Value) -> None:
    """Put values into the store, and into its bases, as if both had always been so: a store that was restored."""
    link = await bench.link(number)
    async with bench.database.begin("test") as connection:
        await connection.execute(update(INCIDENT).where(INCIDENT.c.id == number).values(**fields))
        base = {**link["base_store"], **fields}
        await connection.execute(update(LINK).where(LINK.c.id == link["id"]).values(base_store=base))


def one(findings: Findings, kind: str) -> Found:
    """The one finding, which is of this kind."""
    assert findings.counts == Counter({kind: 1})
    (found,) = findings.listed[kind]
    return found


async def mends_and_rests(bench: Bench) -> None:
    """A second reconcile finds nothing more, and neither it nor a cycle sends anything."""
    world = bench.mirrors["a"].world
    _, findings = await bench.reconcile()
    assert not findings.counts
    assert not WRITES & set(world.calls)
    await bench.cycle()
    assert not WRITES & set(world.calls)
    assert not [row for row in await bench.rows(Link) if row["dirty"] == 1]


async def everything_wrong(bench: Bench) -> World:
    """Something of each kind: see WRONG."""
    world = await linked(bench, 6, rules=Rules(labels=Rule("in"), gone="close", create=True))
    await bench.edit(3, labels=["closed side"])
    await bench.create(title="made here")
    await bench.settled()
    behind(world, "1", who="ann")
    await put(bench, 2, owner="ours")
    world.records["4"].retired = True
    world.add({"name": "new"})
    born_with(world, "8", "1")
    world.add({"name": "copy"}, key=world.records["7"].key)
    return world


WRONG = Counter({"drift": 1, "closed side": 1, "missed": 2, "twin": 1, "gone": 1})
