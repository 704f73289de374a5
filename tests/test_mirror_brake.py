"""The brake holds a plan until a person agrees; a dry run sends nothing."""

from __future__ import annotations

import pytest

from blocks.errors import Refused
from blocks.rules import Limits, Rules
from blocks.store.tables import Audit, Intent, Plan, PlanLine
from tasks.mirroring.approval import Decision, decide
from tests.fakes.toy import World
from tests.mirrors import BOB, WRITES, Bench

HOUR = 3600


async def closing(bench: Bench, count: int = 3, *, limit: int = 2) -> World:
    """So many incidents in step, all of them closed here since."""
    world = bench.mirror(limits=Limits(closes=limit), rules=Rules(create=True))
    for number in range(count):
        world.add({"name": f"n{number}"})
    await bench.settled()
    for number in range(count):
        await bench.edit(number + 1, status="closed")
    return world


def closed(world: World) -> int:
    return sum(world.fields(number)["state"] == "shut" for number in world.records)


async def held(bench: Bench) -> list[int]:
    return [row["id"] for row in await bench.rows(Plan) if row["state"] == "held"]


async def say(bench: Bench, decision: Decision, plan: int) -> None:
    await decide(bench.database, plan, decision, BOB, "because", bench.clock())


async def test_a_plan_over_the_limit_is_held_and_nothing_of_it_is_sent(bench: Bench) -> None:
    world = await closing(bench)
    await bench.edit(1, owner="ann")
    await bench.cycle()
    assert not WRITES & set(world.calls)
    (plan,) = [row for row in await bench.rows(Plan) if row["state"] == "held"]
    assert plan["reason"] == "3 closes planned, 0 done in the last 24 hours, limit 2"
    assert not await bench.rows(Intent)


async def test_while_a_plan_is_held_nothing_else_is_sent_and_no_other_is_made(bench: Bench) -> None:
    world = await closing(bench)
    await bench.cycle()
    await bench.create(title="new")
    await bench.comment(1, "words")
    world.edit("2", name="read")
    world.add({"name": "also read"})
    await bench.settled()
    assert not WRITES & set(world.calls)
    assert len(await held(bench)) == 1
    assert (await bench.link(2))["seen"]["name"] == "read"
    assert (await bench.incident(5)).title == "also read"


async def test_what_was_done_in_the_last_day_counts(bench: Bench) -> None:
    world = await closing(bench, 4, limit=3)
    for number in (3, 4):
        await bench.edit(number, status="active")
    await bench.cycle()
    assert closed(world) == 2
    for number in (3, 4):
        await bench.edit(number, status="closed")
    await bench.cycle()
    assert closed(world) == 2
    assert len(await held(bench)) == 1


async def test_after_a_day_it_counts_no_more(bench: Bench) -> None:
    world = await closing(bench, 4, limit=3)
    for number in (3, 4):
        await bench.edit(number, status="active")
    await bench.cycle()
    bench.clock.go(25 * HOUR)
    for number in (3, 4):
        await bench.edit(number, status="closed")
    await bench.cycle()
    assert closed(world) == 4


async def test_closing_here_counts_as_closing_there(bench: Bench) -> None:
    world = bench.mirror(limits=Limits(closes=2))
    for number in range(3):
        world.add({"name": f"n{number}"})
    await bench.settled()
    for one in world.records:
        world.edit(one, state="shut")
    await bench.settled()
    assert len(await held(bench)) == 1
    assert [(await bench.incident(number)).status for number in (1, 2, 3)] == ["new"] * 3


async def test_an_approved_plan_is_applied_and_just_that_plan(bench: Bench) -> None:
    world = await closing(bench)
    await bench.cycle()
    (plan,) = await held(bench)
    await bench.edit(3, status="active")
    await say(bench, "approve", plan)
    await bench.cycle()
    assert closed(world) == 2
    assert world.fields("3")["state"] == "open"
    states = {row["link_id"]: row["state"] for row in await bench.rows(PlanLine) if row["plan_id"] == plan}
    assert sorted(states.values()) == ["done", "done", "superseded"]
    await bench.settled()
    assert world.fields("3")["state"] == "doing"
    assert not await held(bench)


async def test_what_was_approved_does_not_hold_the_next_plan(bench: Bench) -> None:
    world = await closing(bench)
    await bench.cycle()
    await say(bench, "approve", (await held(bench))[0])
    await bench.settled()
    await bench.edit(1, status="active")
    await bench.settled()
    await bench.edit(1, status="closed")
    await bench.settled()
    assert closed(world) == 3
    assert not await held(bench)


async def test_a_decision_is_made_once_and_is_on_record(bench: Bench) -> None:
    await closing(bench)
    await bench.cycle()
    (plan,) = await held(bench)
    await say(bench, "approve", plan)
    for decision in ("approve", "reject"):
        with pytest.raises(Refused, match="approved by bob"):
            await say(bench, decision, plan)
    with pytest.raises(Refused, match="no such plan"):
        await say(bench, "approve", 999)
    assert [row["actor"] for row in await bench.rows(Audit) if row["action"] == "approved plan"] == ["bob"]


async def test_after_its_deadline_a_plan_is_made_anew(bench: Bench) -> None:
    world = await closing(bench)
    await bench.cycle()
    (plan,) = await held(bench)
    bench.clock.go(73 * HOUR)
    with pytest.raises(Refused, match="deadline"):
        await say(bench, "approve", plan)
    await bench.edit(1, status="active")
    await bench.settled()
    assert not await held(bench)
    assert closed(world) == 2
    assert [row["state"] for row in await bench.rows(Plan) if row["id"] == plan] == ["expired"]


async def test_what_was_rejected_is_not_planned_again_until_it_changes(bench: Bench) -> None:
    world = await closing(bench)
    await bench.cycle()
    await say(bench, "reject", (await held(bench))[0])
    await bench.settled()
    assert closed(world) == 0
    assert not await held(bench)
    assert [row["kind"] for row in await bench.parked()] == ["rejected"] * 3
    await bench.cycle()
    assert world.calls == ["changes"]
    await bench.edit(1, status="resolved")
    await bench.settled()
    assert world.fields("1")["state"] == "done"
    assert len(await bench.parked()) == 2


async def test_a_rejected_comment_and_a_rejected_incident_stay_here(bench: Bench) -> None:
    world = bench.mirror(limits=Limits(creates=0, updates=0), rules=Rules(create=True))
    world.add({"name": "x"})
    await bench.settled()
    await bench.comment(1, "words")
    await bench.create(title="new")
    await bench.cycle()
    await say(bench, "reject", (await held(bench))[0])
    bench.change(limits=Limits())
    await bench.settled()
    assert len(world.records) == 1
    assert not world.records["1"].entries
    assert not await held(bench)
    await bench.edit(2, title="newer")
    await bench.settled()
    assert world.fields("2")["name"] == "newer"


async def test_a_dry_run_shows_the_plan_and_sends_nothing(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True))
    world.add({"name": "x"})
    await bench.settled()
    await bench.edit(1, title="edited")
    await bench.comment(1, "words")
    await bench.create(title="new")
    world.edit("1", who="zoe")
    await bench.cycle(dry=True)
    assert world.calls == ["changes"]
    assert (await bench.incident(1)).owner is None
    plan = (await bench.rows(Plan))[-1]
    assert plan["state"] == "dry run"
    lines = [row["verb"] for row in await bench.rows(PlanLine) if row["plan_id"] == plan["id"]]
    assert sorted(lines) == ["create", "entry", "store", "update"]
    assert not await bench.rows(Intent)
    await bench.settled()
    assert (world.fields("1")["name"], (await bench.incident(1)).owner) == ("edited", "zoe")
    assert world.fields("2")["name"] == "new"


async def test_a_dry_run_is_not_held_and_leaves_the_held_plan_as_it_is(bench: Bench) -> None:
    world = await closing(bench)
    await bench.cycle()
    (plan,) = await held(bench)
    await bench.cycle(dry=True)
    assert await held(bench) == [plan]
    assert not WRITES & set(world.calls)
