"""Loosing an incident from its record by hand: nothing travels any more, and nothing comes back by itself."""

from __future__ import annotations

import pytest

from blocks.errors import Refused
from blocks.rules import Intake, Limits, Rule, Rules
from blocks.store.tables import Conflict, Link, Plan
from tasks.analyst.unlink import the_link, unlink_by_hand
from tasks.mirroring.approval import decide
from tests.flowing import in_store, told
from tests.linking import apart, linked, lost, quiet, unlinked
from tests.mirrors import BOB, Bench

__all__ = ["in_store", "told"]
pytestmark = pytest.mark.usefixtures("in_store", "told")


async def test_while_a_write_has_no_answer_nothing_is_unlinked(bench: Bench) -> None:
    world = await lost(bench, "update")
    state = await unlinked()
    assert state.is_failed()
    assert "has no answer yet: its mirror's next cycle finds out" in str(state.message)
    await bench.settled()
    assert (await unlinked()).is_completed()
    assert world.fields("1")["name"] == "edited"


@pytest.mark.parametrize("create", [False, True])
async def test_after_unlinking_nothing_travels_and_nothing_comes_back(bench: Bench, create: bool) -> None:  # noqa: FBT001
    world = await apart(bench, rules=Rules(create=create))
    await linked(bench)
    await bench.settled()
    entries = len(await bench.entries(1))
    assert (await unlinked()).is_completed()
    world.edit("1", name="theirs again")
    world.comment("1", "more")
    await bench.edit(1, title="ours again")
    await bench.comment(1, "more of ours")
    await bench.settled()
    bench.change(rules=Rules(create=create, title=Rule("both", "system")), intake=Intake(look_back_minutes=600))
    await bench.settled()
    await bench.cycle(only=[1])
    assert list(world.records) == ["1"]
    assert (world.fields("1")["name"], len(world.records["1"].entries)) == ("theirs again", 3)
    assert ((await bench.incident(1)).title, len(await bench.entries(1))) == ("ours again", entries + 1)
    assert [(row["state"], row["dirty"]) for row in await bench.rows(Link)] == [("unlinked", 0)]
    assert (await bench.link(1))["error"] == "unlinked by cleo"
    assert [one.action for one in await bench.history(1)][-3:] == ["unlinked", "edited", "commented"]


async def test_what_was_unlinked_can_be_linked_again_and_its_entries_are_not_doubled(bench: Bench) -> None:
    world = await apart(bench)
    await linked(bench)
    await bench.settled()
    await unlinked()
    world.comment("1", "meanwhile there")
    world.edit("1", name="meanwhile")
    await bench.comment(1, "meanwhile here")
    await bench.cycle(after=60)
    assert (await linked(bench, start="system")).is_completed()
    await bench.settled()
    wanted = ["meanwhile here", "meanwhile there", "ours", "theirs"]
    assert sorted(one.text for one in await bench.entries(1)) == wanted
    assert sorted(one.text for one in world.records["1"].entries) == wanted
    assert (await bench.incident(1)).title == "meanwhile"
    await quiet(bench)


async def test_an_offer_is_withdrawn_by_unlinking(bench: Bench) -> None:
    world = await apart(bench, rules=Rules(create=True))
    assert (await unlinked()).is_completed()
    await bench.settled()
    bench.change(rules=Rules(create=False))
    await bench.cycle()
    bench.change(rules=Rules(create=True))
    await bench.settled()
    assert list(world.records) == ["1"]


async def test_two_unlinked_ones_can_be_linked_crosswise_and_neither_comes_back_as_it_was(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True))
    world.add({"name": "one"})
    world.add({"name": "two"})
    await bench.settled()
    for number in (1, 2):
        await unlinked(number)
    assert (await linked(bench, 1, "2")).is_completed()
    world.edit("1", name="one again")
    await bench.settled()
    assert (world.fields("1")["name"], world.fields("2")["name"]) == ("one again", "one")
    assert (await bench.link(2))["remote_id"] is None
    assert (await linked(bench, 2, "1")).is_completed()
    await bench.settled()
    assert world.fields("1")["name"] == "two"
    assert [(row["incident_id"], row["remote_id"], row["state"]) for row in await bench.rows(Link)] == [
        (1, "2", "linked"),
        (2, "1", "linked"),
    ]
    assert len(world.records) == 2


async def test_what_waited_for_a_person_waits_no_longer(bench: Bench) -> None:
    world = await apart(bench, rules=Rules(title=Rule("both", "ask")))
    await linked(bench)
    await bench.settled()
    world.refuse.add("who")
    await bench.edit(1, title="here", owner="bea")
    world.edit("1", name="there")
    await bench.cycle(after=60)
    assert (len(await bench.rows(Conflict)), len(await bench.parked())) == (1, 1)
    await unlinked()
    assert (len(await bench.rows(Conflict)), len(await bench.parked())) == (0, 0)


async def test_what_a_person_had_asked_for_is_not_read_after_unlinking(bench: Bench) -> None:
    world = await apart(bench)
    await linked(bench)
    await unlinked()
    await bench.settled()
    assert "get" not in world.calls
    assert [one.text for one in await bench.entries(1)] == ["ours"]


async def test_a_held_plan_does_not_mind_an_unlinking(bench: Bench) -> None:
    world = await apart(bench, limits=Limits(updates=0))
    await linked(bench)
    await bench.cycle(after=60)
    (plan,) = await bench.rows(Plan)
    assert plan["state"] == "held"
    assert (await unlinked()).is_completed()
    await decide(bench.database, plan["id"], "approve", BOB, "", bench.clock())
    await bench.settled()
    assert world.fields("1")["name"] == "theirs"


async def test_where_several_mirrors_have_it_the_mirror_must_be_named(bench: Bench) -> None:
    bench.mirror("a").add({"name": "one"})
    bench.mirror("b", rules=Rules(create=True))
    await bench.settled()
    assert "is linked in several mirrors: name one. Its mirrors: a, b" in str((await unlinked()).message)
    assert "there is no mirror 'c'" in str((await unlinked(mirror="c")).message)
    assert (await unlinked(mirror="b")).is_completed()
    state = await unlinked(mirror="b")
    assert "incident 1 has no such link. Its mirrors: a" in str(state.message)
    bench.mirrors["a"].world.edit("1", name="new")
    await bench.settled()
    assert bench.mirrors["b"].world.fields("1")["name"] == "one"


async def test_an_incident_without_links_says_so(bench: Bench) -> None:
    await bench.create(title="ours")
    assert "incident 1 has no such link. Its mirrors: none" in str((await unlinked()).message)


async def test_a_link_that_another_person_loosed_first_is_refused(bench: Bench) -> None:
    await apart(bench)
    await linked(bench)
    found = await the_link(bench.database, 1, "")
    await unlink_by_hand(bench.database, found, BOB, "", bench.clock())
    with pytest.raises(Refused, match="not linked any more"):
        await unlink_by_hand(bench.database, found, BOB, "", bench.clock())
