"""Two systems in step through one store, and two engines on one mirror."""

from __future__ import annotations

import asyncio

import pytest

from blocks.errors import Busy
from blocks.rules import Limits, Rule, Rules
from blocks.store.locks import hold
from blocks.store.tables import Conflict, Incident, Link
from tests.fakes.toy import ME, World
from tests.mirrors import Bench


async def pair(bench: Bench, title: Rule | None = None) -> tuple[World, World]:
    """An incident of A that was created in B."""
    one = bench.mirror("a", rules=Rules(create=True, title=title or Rule()))
    other = bench.mirror("b", rules=Rules(create=True, title=title or Rule()))
    one.add({"name": "x", "level": "p1", "tags": ["red"]})
    await bench.settled()
    return one, other


async def test_a_new_incident_of_one_is_created_in_the_other_once(bench: Bench) -> None:
    one, other = await pair(bench)
    assert (len(one.records), len(other.records)) == (1, 1)
    assert other.fields("1") == one.fields("1")
    assert len(await bench.rows(Incident)) == 1
    assert [(row["system_id"], row["remote_id"]) for row in await bench.rows(Link)] == [(1, "1"), (2, "1")]


async def test_an_edit_in_one_reaches_the_other_and_does_not_come_back(bench: Bench) -> None:
    one, other = await pair(bench)
    one.edit("1", name="edited", state="doing")
    await bench.settled(rounds=2)
    assert (other.fields("1")["name"], other.fields("1")["state"]) == ("edited", "doing")
    assert len(other.records["1"].states) == 2
    assert len(one.records["1"].states) == 2


async def test_a_comment_in_one_reaches_the_other_once_without_echo(bench: Bench) -> None:
    one, other = await pair(bench)
    one.comment("1", "from a")
    other.comment("1", "from b")
    one.comment("1", "", kind="file", name="f", data=b"123", size=3)
    await bench.settled()
    assert [entry.text or entry.name for entry in one.records["1"].entries] == ["from a", "f", "from b"]
    assert [entry.text or entry.name for entry in other.records["1"].entries] == ["from b", "from a", "f"]
    assert [entry.data for entry in other.records["1"].entries if entry.author == ME] == [None, b"123"]
    assert len(await bench.entries(1)) == 3


async def test_closing_in_one_closes_the_other_and_reopening_goes_back(bench: Bench) -> None:
    one, other = await pair(bench)
    one.edit("1", state="shut", why="Fixed", notes="cable")
    await bench.settled()
    assert [other.fields("1")[key] for key in ("state", "why", "notes")] == ["shut", "Fixed", "cable"]
    bench.clock.go(60)
    other.edit("1", state="doing", why=None, notes=None)
    await bench.settled()
    assert [one.fields("1")[key] for key in ("state", "why", "notes")] == ["doing", None, None]


async def test_what_each_may_change_is_set_for_each(bench: Bench) -> None:
    one, other = await pair(bench)
    bench.change("b", rules=Rules(create=True, title=Rule("out")))
    other.edit("1", name="only there", who="ann")
    await bench.settled()
    assert (one.fields("1")["name"], one.fields("1")["who"]) == ("x", "ann")


async def test_edits_in_both_at_once_end_as_one(bench: Bench) -> None:
    one, other = await pair(bench)
    bench.clock.go(60)
    one.edit("1", name="from a")
    bench.clock.go(60)
    other.edit("1", name="from b")
    await bench.settled()
    assert (one.fields("1")["name"], other.fields("1")["name"], (await bench.incident(1)).title) == ("from b",) * 3


async def test_a_conflict_with_one_is_a_conflict_with_one_only(bench: Bench) -> None:
    one, other = await pair(bench, title=Rule("both", "ask"))
    await bench.edit(1, title="ours")
    one.edit("1", name="theirs")
    await bench.settled()
    assert [row["system_id"] for row in await bench.rows(Conflict)] == [1]
    assert other.fields("1")["name"] == "ours"
    await bench.pick(1, "title", "system", "a")
    await bench.settled()
    assert (await bench.incident(1)).title == other.fields("1")["name"] == "theirs"


async def test_a_system_without_create_gets_no_new_incidents(bench: Bench) -> None:
    one = bench.mirror("a", rules=Rules(create=True))
    other = bench.mirror("b")
    other.add({"name": "from b"})
    await bench.create(title="ours")
    await bench.settled()
    assert (len(one.records), len(other.records)) == (2, 1)


async def test_switching_create_on_offers_what_is_there_already(bench: Bench) -> None:
    world = bench.mirror()
    await bench.create(title="open")
    closed = await bench.create(title="closed")
    await bench.edit(closed, status="closed")
    await bench.settled()
    assert not world.records
    bench.change(rules=Rules(create=True))
    await bench.settled()
    assert [world.fields(number)["name"] for number in world.records] == ["open"]


async def test_what_is_reopened_is_created_then(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True))
    await bench.settled()
    number = await bench.create(title="x", status="closed")
    await bench.settled()
    assert not world.records
    await bench.edit(number, status="active")
    await bench.settled()
    assert world.fields("1")["name"] == "x"


async def test_a_held_plan_of_one_does_not_hold_the_other(bench: Bench) -> None:
    one, other = await pair(bench)
    bench.change("a", limits=Limits(updates=0))
    await bench.edit(1, title="edited")
    await bench.settled()
    assert (one.fields("1")["name"], other.fields("1")["name"]) == ("x", "edited")


async def test_two_engines_on_one_mirror_do_each_thing_once(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True))
    for number in range(20):
        world.add({"name": f"n{number}"})
        await bench.create(title=f"ours {number}")
    world.comment("1", "words")

    async def engine() -> int:
        done = 0
        for _ in range(6):
            try:
                async with hold(bench.database, "mirror:toy:a", wait=5):
                    await bench.cycle()
                    done += 1
            except Busy:
                await asyncio.sleep(0)
        return done

    async def people() -> None:
        for number in range(1, 11):
            await bench.edit(number, owner=f"o{number}")
            await bench.comment(number, f"c{number}")

    done = await asyncio.gather(engine(), engine(), people())
    assert all(done[:2])
    await bench.settled()
    assert len(world.records) == len(await bench.rows(Incident)) == 40
    texts = [entry.text for record in world.records.values() for entry in record.entries]
    assert sorted(texts) == sorted(["words", *(f"c{number}" for number in range(1, 11))])
    assert sum(record["version"] > 1 for record in await bench.rows(Incident)) == 10


async def test_while_one_holds_the_lock_the_other_is_busy(bench: Bench) -> None:
    async with hold(bench.database, "mirror:toy:a"):
        with pytest.raises(Busy):
            async with hold(bench.database, "mirror:toy:a", wait=0.1):
                pass
