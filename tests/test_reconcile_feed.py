"""Reconcile takes in what the feed missed, and finds whose key a record carries."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from blocks.errors import Unavailable
from blocks.rules import Condition, Intake, Limits, Rules
from blocks.store.tables import Incident, Intent, Link, System
from tests.fakes.toy import World
from tests.mirrors import WRITES, Bench
from tests.reconciling import HOUR, behind, born_with, linked, mends_and_rests, one


async def read_so_far(bench: Bench) -> Any:
    return [(row["cursor"], row["read_at"]) for row in await bench.rows(System)]


async def test_where_both_sides_agree_nothing_is_found_and_nothing_is_written(bench: Bench) -> None:
    world = await linked(bench)
    before = await bench.rows(Link), await read_so_far(bench)
    _, findings = await bench.reconcile()
    assert not findings.counts
    assert world.calls == ["everything"]
    assert (await bench.rows(Link), await read_so_far(bench)) == before


async def test_a_change_that_the_feed_never_showed_is_taken_in(bench: Bench) -> None:
    world = await linked(bench)
    behind(world, "1", who="ann")
    await bench.cycle()
    assert (await bench.incident(1)).owner is None
    before = await read_so_far(bench)
    _, findings = await bench.reconcile()
    found = one(findings, "missed")
    assert (found.incident_id, found.remote_id) == (1, "1")
    assert (await bench.incident(1)).owner == "ann"
    assert await read_so_far(bench) == before
    await mends_and_rests(bench)


async def test_a_newer_version_that_the_feed_never_showed_is_taken_in(bench: Bench) -> None:
    world = await linked(bench, world=World(counter=True))
    when, now, version, entries = world.records["1"].states[-1]
    world.records["1"].states.append((when, {**now, "who": "ann"}, version + 1, entries))
    await bench.cycle()
    _, findings = await bench.reconcile()
    assert one(findings, "missed").incident_id == 1
    assert (await bench.incident(1)).owner == "ann"


async def test_a_change_since_the_last_pull_is_taken_in_and_was_not_missed(bench: Bench) -> None:
    world = await linked(bench)
    world.edit("1", who="ann")
    _, findings = await bench.reconcile()
    assert not findings.counts
    assert (await bench.incident(1)).owner == "ann"
    await bench.cycle()
    assert not WRITES & set(world.calls)
    assert len([act for act in await bench.history(1) if act.action == "edited"]) == 1


async def test_a_record_that_the_feed_never_showed_becomes_ours_if_it_passes_the_filter(bench: Bench) -> None:
    world = await linked(bench, intake=Intake(filter=[Condition("severity", "at least", "medium")]))
    for level in ("p1", "p5"):
        number = world.add({"name": level, "level": level})
        born_with(world, number, "1")
    await bench.cycle()
    assert len(await bench.rows(Incident)) == 2
    _, findings = await bench.reconcile()
    found = one(findings, "missed")
    assert (found.incident_id, found.remote_id) == (3, "3")
    assert (await bench.incident(3)).severity == "critical"
    await mends_and_rests(bench)


async def test_a_record_from_before_the_first_fetch_stays_a_stranger(bench: Bench) -> None:
    world = bench.mirror(intake=Intake(first_fetch_days=1))
    world.add({"name": "old"})
    bench.clock.go(48 * HOUR)
    await bench.settled()
    _, findings = await bench.reconcile()
    assert not findings.counts
    assert not await bench.rows(Incident)


async def test_entries_that_the_feed_never_showed_come_in(bench: Bench) -> None:
    world = await linked(bench)
    world.comment("1", "words")
    record = world.records["1"]
    record.states[-1] = (record.states[0][0], record.states[-1][1], record.states[0][2], 1)
    await bench.cycle()
    _, findings = await bench.reconcile()
    assert one(findings, "missed").words == "entries"
    assert [entry.text for entry in await bench.entries(1)] == ["words"]
    await mends_and_rests(bench)


async def test_a_pull_after_it_reads_on_where_the_last_one_stopped(bench: Bench) -> None:
    world = await linked(bench)
    world.add({"name": "new"})
    await bench.reconcile()
    assert len(await bench.rows(Incident)) == 3
    world.add({"name": "newer"})
    await bench.cycle()
    assert [row["title"] for row in await bench.rows(Incident)] == ["n1", "n2", "new", "newer"]


async def test_of_two_records_with_one_key_one_is_a_twin_and_is_listed_once(bench: Bench) -> None:
    world = await linked(bench, 0, rules=Rules(create=True))
    await bench.create(title="ours")
    await bench.settled()
    world.add({"name": "copy"}, key=world.records["1"].key)
    for _ in range(2):
        _, findings = await bench.reconcile()
        assert one(findings, "twin").remote_id == "2"
    assert len(await bench.parked()) == 1
    assert len(await bench.rows(Incident)) == 1
    assert len(world.records) == 2


async def test_two_records_of_one_page_with_the_key_of_an_incident_that_waits_are_one_pair_and_a_twin(
    bench: Bench,
) -> None:
    world = await linked(bench, 0, rules=Rules(create=True), limits=Limits(creates=0))
    await bench.create(title="ours")
    await bench.cycle()
    mirror = await bench.open()
    (link,) = await bench.rows(Link)
    for name in ("first", "second"):
        world.add({"name": name}, key=mirror.incident_key(link["id"]))
    _, findings = await bench.reconcile()
    assert findings.counts == Counter(paired=1, twin=1)
    assert (await bench.link(1))["remote_id"] == "1"


async def test_a_record_that_is_linked_with_another_incident_than_its_keys_is_a_twin(bench: Bench) -> None:
    world = await linked(bench, 2)
    mirror = await bench.open()
    world.records["2"].key = mirror.incident_key((await bench.link(1))["id"])
    _, findings = await bench.reconcile()
    found = one(findings, "twin")
    assert (found.incident_id, found.remote_id) == (2, "2")


@pytest.mark.parametrize("passes", [True, False])
async def test_a_key_that_names_no_link_is_an_orphans(bench: Bench, passes: bool) -> None:  # noqa: FBT001  a row of the table
    world = await linked(bench, 1, intake=Intake(filter=[Condition("severity", "at least", "medium")]))
    key = (await bench.open()).incident_key(999)
    world.add({"name": "lost", "level": "p1" if passes else "p5"}, key=key)
    _, findings = await bench.reconcile()
    assert one(findings, "missed" if passes else "orphan").remote_id == "2"
    assert len(await bench.rows(Incident)) == (2 if passes else 1)


async def test_a_record_whose_creation_was_lost_is_paired_and_not_created_twice(bench: Bench) -> None:
    world = await linked(bench, 0, rules=Rules(create=True), world=World(settle=HOUR))
    await bench.create(title="ours")
    world.fault = lambda call: "after" if call == "create" else None
    with pytest.raises(Unavailable):
        await bench.cycle()
    world.fault = lambda _call: None
    _, findings = await bench.reconcile()
    assert one(findings, "paired").incident_id == 1
    assert not await bench.rows(Intent)
    await mends_and_rests(bench)
    assert len(world.records) == 1
