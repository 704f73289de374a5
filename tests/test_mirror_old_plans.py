"""Plans that are over go after a month, with their lines, whatever became of them; what still waits stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from blocks.rules import Limits, Rules
from blocks.store.tables import Plan, PlanLine
from tasks.mirroring.approval import decide
from tasks.mirroring.plan import KEEP, LINE, OLD, PLAN
from tests.fakes.toy import World
from tests.mirrors import BOB, Bench

DAY = timedelta(days=1)


async def edited(bench: Bench, count: int = 3, *, updates: int = 100) -> World:
    """So many incidents in step, each titled anew here since."""
    world = bench.mirror(limits=Limits(updates=updates), rules=Rules(create=True))
    for number in range(count):
        world.add({"name": f"n{number}"})
    await bench.settled()
    for number in range(count):
        await bench.edit(number + 1, title="new")
    return world


async def kept(bench: Bench) -> tuple[list[str], int]:
    """The states of the plans that are there, and how many lines."""
    return [row["state"] for row in await bench.rows(Plan)], len(await bench.rows(PlanLine))


async def write_one(bench: Bench) -> None:
    """A cycle that writes something: a plan with one line."""
    await bench.edit(1, owner=f"at {bench.clock():%d %H:%M}")
    await bench.settled()


async def dry(bench: Bench) -> None:
    await edited(bench)
    await bench.cycle(dry=True)


async def done(bench: Bench) -> None:
    await edited(bench)
    await bench.settled()


async def superseded(bench: Bench) -> None:
    await edited(bench)
    await bench.cycle(dry=True)
    async with bench.database.begin("test") as connection:
        # As a process leaves it that died while it applied.
        await connection.execute(update(PLAN).values(state="applying"))
    await bench.settled()


async def rejected(bench: Bench) -> None:
    await edited(bench, updates=2)
    await bench.cycle()
    await decide(bench.database, 1, "reject", BOB, "no", bench.clock())


async def expired(bench: Bench) -> None:
    await edited(bench, updates=2)
    await bench.cycle()
    bench.clock.go(4 * DAY.total_seconds())
    bench.change(limits=Limits(updates=100))
    await bench.settled()


OVER = {"dry run": dry, "done": done, "superseded": superseded, "rejected": rejected, "expired": expired}


@pytest.mark.parametrize("state", OVER)
async def test_a_plan_that_is_over_goes_after_a_month_with_its_lines(bench: Bench, state: str) -> None:
    await OVER[state](bench)
    await write_one(bench)
    states, lines = await kept(bench)
    assert state in states
    assert lines > 3
    bench.clock.go((KEEP - 5 * DAY).total_seconds())
    await write_one(bench)
    assert (await kept(bench))[0] == [*states, "done"]
    bench.clock.go((8 * DAY).total_seconds())
    await write_one(bench)
    assert await kept(bench) == (["done", "done"], 2)


async def test_an_approved_plan_stays_however_old_it_is(bench: Bench) -> None:
    world = await edited(bench, updates=2)
    await bench.cycle()
    await decide(bench.database, 1, "approve", BOB, "yes", bench.clock())
    bench.clock.go((KEEP + DAY).total_seconds())
    await bench.edit(1, owner="ann")
    await bench.cycle(dry=True)
    assert (await kept(bench))[0] == ["approved", "dry run"]
    await bench.settled()
    assert {world.fields(one)["name"] for one in world.records} == {"new"}


async def test_old_plans_go_a_bounded_part_at_a_time(bench: Bench) -> None:
    await edited(bench)
    long_ago = bench.clock() - 2 * KEEP
    row = {"system_id": 7, "state": "done", "reason": "", "run": "", "decided_by": "", "decided_why": ""}
    line = {"system_id": 7, "link_id": 1, "incident_id": 1, "verb": "update", "kind": "update", "state": "planned"}
    many = range(1000, 1000 + OLD + 5)
    async with bench.database.begin("test") as connection:
        await connection.execute(insert(PLAN), [{**row, "id": n, "created": long_ago} for n in many])
        await connection.execute(insert(LINE), [{**line, "plan_id": n, "n": 0} for n in many])
    for left in (5, 0):
        await write_one(bench)
        async with bench.database.read() as connection:
            for column in (PLAN.c.id, LINE.c.plan_id):
                count = select(func.count()).where(column >= many[0])
                assert (await connection.execute(count)).scalar_one() == left
