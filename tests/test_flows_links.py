"""Linking an incident with a record by hand, and loosing it: what travels, what is refused, what never comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from blocks.model import Cursor, Incident, Page
from blocks.rules import CustomField, Limits, Rule, Rules, Travel
from blocks.store.locks import hold
from blocks.store.tables import EntryLink, Intent, Link, Parked, Plan
from tasks.analyst.link import link_by_hand
from tasks.decide.start import Start
from tasks.mirroring.cycle import cycle
from tests.fakes.toy import World
from tests.flowing import in_store, told
from tests.linking import apart, linked, lost, quiet, toy, unlinked
from tests.mirrors import BOB, Bench, Death, LiveToy

__all__ = ["in_store", "told"]
pytestmark = pytest.mark.usefixtures("in_store", "told")


async def refuses(bench: Bench, words: str, **form: Any) -> None:
    """The flow fails with these words, and nothing is changed."""
    before = [await bench.rows(table) for table in (Link, Parked, EntryLink)]
    state = await linked(bench, **form)
    assert state.is_failed()
    assert words in str(state.message)
    assert [await bench.rows(table) for table in (Link, Parked, EntryLink)] == before


@pytest.mark.parametrize(
    ("start", "title", "who", "level", "tags"),
    [("store", "ours", None, "p4", ["vip"]), ("system", "theirs", "ann", "p2", None)],
)
async def test_the_picked_sides_values_stand_and_nothing_echoes(
    bench: Bench, start: Start, title: str, who: str | None, level: str, tags: list[str] | None
) -> None:
    world = await apart(bench)
    assert (await linked(bench, start=start)).is_completed()
    await bench.cycle()
    shown = world.fields("1")
    assert (shown["name"], shown["who"], shown["level"], shown["tags"]) == (title, who, level, tags)
    incident = await bench.incident(1)
    assert (incident.title, incident.owner, incident.labels) == (title, who, tags)
    assert world.calls.count("update") == (1 if start == "store" else 0)
    await quiet(bench)


@pytest.mark.parametrize(("later", "title"), [("store", "ours"), ("system", "theirs")])
async def test_under_newest_the_later_value_stands_and_a_value_goes_before_none(
    bench: Bench, later: str, title: str
) -> None:
    world = await apart(bench)
    bench.clock.go(60)
    await bench.edit(1, title="ours") if later == "store" else world.edit("1", name="theirs")
    if later == "store":
        await bench.edit(1, title="newer")
        title = "newer"
    await link_by_hand(bench.database, toy(bench), 1, "1", "newest", BOB, bench.clock())
    await bench.settled()
    incident, shown = await bench.incident(1), world.fields("1")
    assert (incident.title, incident.owner, incident.labels) == (title, "ann", ["vip"])
    assert (shown["name"], shown["who"], shown["tags"]) == (title, "ann", ["vip"])
    await quiet(bench)


@pytest.mark.parametrize("start", get_args(Start))
async def test_entries_of_both_sides_go_over_once_each(bench: Bench, start: Start) -> None:
    world = await apart(bench)
    await linked(bench, start=start)
    await bench.settled()
    assert sorted(one.text for one in world.records["1"].entries) == ["ours", "theirs"]
    assert sorted(one.text for one in await bench.entries(1)) == ["ours", "theirs"]
    await quiet(bench)


async def test_the_mirrors_own_rules_tell_what_travels(bench: Bench) -> None:
    """Which are in its form alone: the link waits for its cycle."""
    world = await apart(bench, rules=Rules(title=Rule("in"), comments=Travel("off")))
    await linked(bench, start="store")
    await bench.settled()
    assert world.fields("1")["name"] == "theirs"
    assert world.fields("1")["level"] == "p4"
    assert [one.text for one in await bench.entries(1)] == ["ours"]
    assert [one.text for one in world.records["1"].entries] == ["theirs"]


@pytest.mark.parametrize(("start", "here", "there"), [("store", None, None), ("system", "hot", "hot")])
async def test_a_further_field_follows_where_another_link_shows_that_the_mirror_maps_it(
    bench: Bench, start: Start, here: str | None, there: str | None
) -> None:
    world = await apart(bench, rules=Rules(custom=[CustomField("heat", "temperature")]))
    world.edit("1", temperature="hot")
    world.add({"name": "another", "temperature": "cold"})
    await bench.cycle(after=60)
    bench.clock.go(60)
    # Record 1 became an incident of its own with its edit: it is loosed first.
    number = next(row["incident_id"] for row in await bench.rows(Link) if row["remote_id"] == "1")
    await unlinked(number)
    await linked(bench, start=start)
    await bench.settled()
    assert world.fields("1")["temperature"] == there
    assert (await bench.incident(1)).custom == ({"heat": here} if here else None)


class Silent(LiveToy):
    """A vendor that does not list an incident's entries with it."""

    _block_type_name = "Silent Toy"

    async def get(self, id: str) -> Incident:
        return replace(await super().get(id), entry_ids=None)

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        async for page in super().changes(since, size):
            yield replace(page, incidents=[replace(one, entry_ids=None) for one in page.incidents])


async def test_entries_come_over_from_a_system_that_does_not_list_them_with_its_incidents(bench: Bench) -> None:
    """It is asked for them only where an incident is newer than seen."""
    await apart(bench, toy=Silent)
    await linked(bench)
    await bench.settled()
    assert sorted(one.text for one in await bench.entries(1)) == ["ours", "theirs"]
    await quiet(bench)


async def test_a_creation_that_was_refused_is_in_no_links_way(bench: Bench) -> None:
    """What it would have written is parked, and would not be sent again."""
    world = await apart(bench, rules=Rules(create=True))
    world.refuse.add("name")
    await bench.cycle(after=60)
    assert [row["kind"] for row in await bench.parked()] == ["create"]
    world.refuse.clear()
    assert (await linked(bench)).is_completed()
    assert await bench.parked() == []
    await bench.settled()
    assert world.fields("1")["name"] == "ours"
    await quiet(bench)


async def test_linking_says_what_will_happen(bench: Bench) -> None:
    await apart(bench)
    state = await linked(bench, start="system")
    words = "its mirror's next cycle takes title, severity, owner, labels from it"
    assert state.message == f"incident 1 is linked with 1: {words}"


async def test_linking_and_unlinking_are_in_the_audit(bench: Bench) -> None:
    await apart(bench)
    await linked(bench, start="newest")
    await unlinked(reason="not the same")
    done, undone = (await bench.history(1))[-2:]
    assert (done.actor, done.action, done.system_id) == ("cleo", "linked", 1)
    assert done.changes == {"record": [None, "1"], "start": [None, "newest"]}
    assert (undone.actor, undone.action, undone.system_id) == ("cleo", "unlinked", 1)
    assert undone.changes == {"record": ["1", None], "why": [None, "not the same"]}


async def test_an_incident_that_is_offered_is_linked_instead_of_created(bench: Bench) -> None:
    world = await apart(bench, rules=Rules(create=True), limits=Limits(creates=0))
    await bench.cycle(after=60)
    assert [one["state"] for one in await bench.rows(Plan)] == ["held"]
    await linked(bench)
    bench.change(limits=Limits())
    bench.clock.go(100 * 3600)
    await bench.settled()
    assert list(world.records) == ["1"]
    assert world.fields("1")["name"] == "ours"
    await quiet(bench)


async def test_a_creation_whose_answer_was_lost_without_a_key_is_linked_by_hand(bench: Bench) -> None:
    """As the parked creation tells a person to."""
    world = await apart(bench, rules=Rules(create=True), world=World(keys=False))
    world.fault = lambda call: "after" if call == "create" else None
    with pytest.raises(Exception, match="no answer"):
        await bench.cycle(after=60)
    world.fault = lambda _call: None
    bench.clock.go(600)
    # The mirror takes nothing in for now: the record is to be found by a person.
    bench.change(rules=Rules(create=True, direction="out"))
    await bench.settled()
    assert [row["kind"] for row in await bench.parked()] == ["create"]
    bench.change(rules=Rules(create=True))
    remote = next(id for id, record in world.records.items() if record.states[-1][1]["name"] == "ours")
    taken = await bench.rows(Link)
    assert remote not in {row["remote_id"] for row in taken}
    assert (await linked(bench, remote=remote)).is_completed()
    await bench.settled()
    assert len(world.records) == len({"1", remote})
    assert await bench.parked() == []


async def test_no_twin_is_linked(bench: Bench) -> None:
    world = await apart(bench)
    world.add({"name": "two"})
    other = await bench.create(title="other")
    await linked(bench)
    await refuses(bench, "incident 1 is linked with it already")
    await refuses(bench, "incident 1 is 1 there already: unlink it first", remote="2")
    await refuses(bench, "it is incident 1 already: unlink that first", incident=other)


async def test_a_gone_link_is_unlinked_before_another_record_takes_its_place(bench: Bench) -> None:
    world = await apart(bench)
    await linked(bench)
    await bench.settled()
    world.add({"name": "two"})
    world.records["1"].retired = True
    await bench.edit(1, title="edited")
    await bench.settled()
    assert (await bench.link(1))["state"] == "gone"
    number = next(row["incident_id"] for row in await bench.rows(Link) if row["remote_id"] == "2")
    await unlinked(number)
    await refuses(bench, "incident 1 is 1 there already: unlink it first", remote="2")
    assert (await unlinked()).is_completed()
    assert (await linked(bench, remote="2")).is_completed()
    # Should it come back, it stays alone.
    world.records["1"].retired = False
    world.edit("1", name="back")
    await bench.settled()
    assert (await bench.incident(1)).title == "edited"
    assert world.fields("2")["name"] == "edited"
    assert len([row for row in await bench.rows(Link) if row["state"] == "linked"]) == 1


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("9", "no such incident"),
        ("../1", "no such incident"),
        ("1' OR '1'='1", "no such incident"),
        (" ", "remote_id must be the record's id"),
        ("1\n2", "remote_id must be the record's id"),
        ("x" * 501, "remote_id has 501 characters"),
    ],
)
async def test_a_record_that_is_not_there_is_refused(bench: Bench, remote: str, words: str) -> None:
    await apart(bench)
    await refuses(bench, words, remote=remote)


async def test_an_incident_that_is_not_there_is_refused(bench: Bench) -> None:
    await apart(bench)
    await refuses(bench, "there is no incident 9", incident=9)


async def test_a_system_that_no_mirror_keeps_in_step_is_refused(bench: Bench) -> None:
    bench.mirror().add({"name": "one"})
    await bench.create(title="ours")
    await refuses(bench, "run mirror_incidents or fetch_incidents on it once")


async def test_a_system_that_does_not_answer_links_nothing(bench: Bench) -> None:
    world = await apart(bench)
    world.fault = lambda call: "before" if call == "get" else None
    await refuses(bench, "the connection was refused")


async def test_while_a_creation_has_no_answer_nothing_is_linked(bench: Bench) -> None:
    world = await lost(bench, "create")
    await refuses(bench, "has no answer yet: its mirror's next cycle finds out")
    other = await bench.create(title="other")
    await refuses(bench, "it was created for incident 1", remote="2", incident=other)
    await bench.settled()
    assert (await bench.link(1))["remote_id"] == "2"
    assert len(world.records) == 3


async def test_while_a_cycle_runs_both_wait_and_then_say_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await apart(bench)
    monkeypatch.setattr("flows.links.WAIT", 0.2)
    async with hold(bench.database, "mirror:toy:a"):
        await refuses(bench, "somebody else holds the lock")
    await linked(bench)
    async with hold(bench.database, "mirror:toy:a"):
        state = await unlinked()
    assert (state.is_failed(), (await bench.link(1))["state"]) == (True, "linked")


@pytest.mark.parametrize("point", ["before commit link", "after commit link", "before get", "after get"])
async def test_a_person_who_dies_while_linking_has_linked_whole_or_not_at_all(bench: Bench, point: str) -> None:
    world = await apart(bench)
    work = link_by_hand(bench.database, toy(bench), 1, "1", "store", BOB, datetime.now(UTC))
    assert await Death(point).during(work)
    state = await linked(bench)
    assert state.is_completed() is (point != "after commit link")
    await bench.settled()
    assert world.fields("1")["name"] == "ours"
    await quiet(bench)


@pytest.mark.parametrize("start", get_args(Start))
async def test_wherever_the_next_cycle_dies_the_end_is_the_same(bench: Bench, start: Start) -> None:
    world = await apart(bench)
    for where in range(0, 40, 3):
        await linked(bench, start=start)
        mirror = await bench.open()
        bench.clock.go(60)
        killed = await Death(where).during(cycle(mirror))
        await bench.settled()
        assert sorted(one.text for one in world.records["1"].entries) == ["ours", "theirs"]
        assert sorted(one.text for one in await bench.entries(1)) == ["ours", "theirs"]
        assert world.fields("1")["name"] == (await bench.incident(1)).title
        if not killed:
            break
        await unlinked()
    assert await bench.rows(Intent) == []
