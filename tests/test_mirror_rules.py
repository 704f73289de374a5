"""Pre-processing rules: what becomes of a record before it becomes an incident."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.rules import Condition, CustomField, Direction, Intake, PreRule, Rules
from blocks.store.incidents import related_to
from blocks.store.tables import Incident, Link
from tests.fakes.toy import World
from tests.mirrors import Bench


def rule(action: Any, *same: str) -> Intake:
    """A rule for records that are called "alarm", the same as older ones in these fields."""
    return Intake(rules=[PreRule([Condition("title", "contains", "alarm")], action, list(same))])


async def with_one(bench: Bench, action: Any, *same: str, **setup: Any) -> World:
    """An open incident of ann's, which came before there was any rule."""
    world = bench.mirror(**setup)
    world.add({"name": "alarm 1", "who": "ann", "level": "p4"})
    await bench.settled()
    bench.change(intake=rule(action, *same))
    return world


async def titles(bench: Bench) -> list[str]:
    return [row["title"] for row in await bench.rows(Incident)]


async def test_what_a_rule_drops_is_not_stored_now_or_later(bench: Bench) -> None:
    world = bench.mirror(intake=rule("drop"))
    world.add({"name": "alarm"})
    world.add({"name": "real"})
    mirror = await bench.cycle()
    assert await titles(bench) == ["real"]
    assert mirror.tally.counts["dropped"] == 1
    world.edit("1", name="no more")
    mirror = await bench.cycle()
    assert await titles(bench) == ["real"]
    assert not mirror.tally.counts["dropped"]


async def test_what_is_dropped_updates_the_open_incident_once_though_it_is_read_again(bench: Bench) -> None:
    world = await with_one(bench, "drop and update", "owner")
    world.add({"name": "alarm 2", "who": "ann", "level": "p1", "state": "done", "why": "none"})
    await bench.cycle()
    incident = await bench.incident(1)
    assert (incident.title, incident.severity, incident.status) == ("alarm 2", "critical", "new")
    assert incident.close_reason is None
    await bench.edit(1, title="renamed")
    bench.change(intake=Intake(look_back_minutes=600, rules=rule("drop and update", "owner").rules))
    await bench.settled()
    assert await titles(bench) == ["renamed"]
    assert len([act for act in await bench.history(1) if "title" in (act.changes or {})]) == 2


async def test_without_an_open_incident_the_record_becomes_one(bench: Bench) -> None:
    world = await with_one(bench, "drop and update", "owner")
    await bench.edit(1, status="closed")
    world.add({"name": "alarm 2", "who": "ann"})
    world.add({"name": "alarm 3", "who": "bea"})
    await bench.cycle()
    assert await titles(bench) == ["alarm 1", "alarm 2", "alarm 3"]


async def test_a_related_record_is_stored_and_related(bench: Bench) -> None:
    world = await with_one(bench, "relate", "owner")
    world.add({"name": "alarm 2", "who": "ann"})
    await bench.cycle()
    assert [(one.incident_id, one.other_id) for one in await related_to(bench.database, 1)] == [(2, 1)]
    assert (await bench.incident(2)).status == "new"


@pytest.mark.parametrize(("direction", "shown"), [("both", "shut"), ("in", "open")])
async def test_what_is_related_and_closed_travels_back_where_that_is_allowed(
    bench: Bench, direction: Direction, shown: str
) -> None:
    world = await with_one(bench, "relate and close", "owner", rules=Rules(direction=direction))
    world.add({"name": "alarm 2", "who": "ann"})
    await bench.settled()
    incident = await bench.incident(2)
    assert (incident.status, incident.close_reason) == ("closed", "Duplicate")
    assert world.fields("2")["state"] == shown
    assert (await bench.incident(1)).status == "new"
    assert len(await related_to(bench.database, 2)) == 1
    await bench.cycle()
    assert world.calls == ["changes"]


async def test_the_oldest_of_several_is_meant(bench: Bench) -> None:
    world = await with_one(bench, "relate", "owner")
    world.add({"name": "alarm 2", "who": "ann"})
    await bench.cycle()
    world.add({"name": "alarm 3", "who": "ann"})
    await bench.cycle()
    assert [(one.incident_id, one.other_id) for one in await related_to(bench.database, 3)] == [(3, 1)]


@pytest.mark.parametrize("action", ["relate", "relate and close", "drop and update"])
async def test_records_of_one_page_are_related_as_if_they_had_come_one_by_one(bench: Bench, action: str) -> None:
    world = bench.mirror(intake=rule(action, "owner"))
    for number, who in enumerate(["ann", "bea", "ann", "ann"], 1):
        world.add({"name": f"alarm {number}", "who": who})
        bench.clock.go(2)
    mirror = await bench.cycle()
    if action == "drop and update":
        assert await titles(bench) == ["alarm 4", "alarm 2"]
        why = [row["error"] for row in await bench.rows(Link) if row["error"]]
        assert why == ["dropped by a rule, updated the one of record 1"] * 2
        assert mirror.tally.counts["dropped"] == 2
        return
    assert [(one.incident_id, one.other_id) for one in await related_to(bench.database, 1)] == [(3, 1), (4, 1)]
    over = "closed" if action == "relate and close" else "new"
    assert [row["status"] for row in await bench.rows(Incident)] == ["new", "new", over, over]


@pytest.mark.parametrize(
    ("same", "key", "value", "other"),
    [
        ("site", "location", "Graz", "Linz"),
        ("floor", "floor", 3, 30),
        ("flag", "flag", True, False),
        ('it\'s "odd".x', 'it\'s "odd".x', "a'b", "a''b"),
        ("labels", "tags", ["blue", "red"], ["red"]),
        ("severity", "level", "p1", "p2"),
    ],
)
async def test_any_field_may_tell_which_incident_is_meant(
    bench: Bench, same: str, key: str, value: Any, other: Any
) -> None:
    custom = Rules(custom=[CustomField("site", "location")])
    world = bench.mirror(rules=custom)
    for number, one in enumerate((other, value)):
        world.add({"name": f"n{number}", key: one})
    await bench.settled()
    bench.change(intake=rule("relate", same))
    world.add({"name": "alarm", key: value})
    await bench.cycle()
    assert [(one.incident_id, one.other_id) for one in await related_to(bench.database, 3)] == [(3, 2)]


async def test_an_incident_whose_status_is_in_no_map_is_open(bench: Bench) -> None:
    world = bench.mirror()
    world.add({"name": "x", "who": "ann", "state": "odd"})
    await bench.settled()
    bench.change(intake=rule("relate", "owner"))
    world.add({"name": "alarm", "who": "ann"})
    await bench.cycle()
    assert len(await related_to(bench.database, 1)) == 1
