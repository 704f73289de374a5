"""Fields that differ though neither side was changed, and what changed rules left behind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from blocks.errors import Misconfigured
from blocks.model import Value
from blocks.rules import CustomField, Direction, Intake, Limits, Policy, Rule, Rules, Travel, ValueMap
from blocks.store.tables import Conflict, Incident, Plan
from tasks.mirroring.approval import decide
from tests.fakes.toy import World
from tests.mirrors import BOB, WRITES, Bench
from tests.reconciling import HOUR, behind, linked, mends_and_rests, one, put

REMAPPED = Intake(values=[ValueMap("severity", "p3", "high"), ValueMap("severity", "p4", "medium")])
"""What was medium on both sides is high there now, and is written as p4 from here."""


@pytest.mark.parametrize(
    ("policy", "direction", "here", "there"),
    [
        ("store", "both", "medium", "p4"),
        ("system", "both", "high", "p3"),
        ("newest", "both", "medium", "p4"),
        ("store", "in", "high", "p3"),
        ("system", "out", "medium", "p4"),
    ],
)
async def test_after_a_changed_map_the_fields_rule_says_whose_value_stands(
    bench: Bench, policy: Policy, direction: Direction, here: str, there: str
) -> None:
    await linked(bench, 1)
    rules = Rules(severity=Rule(direction, policy))
    bench.change(intake=REMAPPED, rules=rules)
    await bench.cycle()
    assert (await bench.incident(1)).severity == "medium"
    await bench.reconcile()
    assert ((await bench.incident(1)).severity, bench.mirrors["a"].world.fields("1")["level"]) == (here, there)
    await mends_and_rests(bench)


async def drifted(bench: Bench, policy: Policy = "newest", direction: Direction = "both", **more: Any) -> World:
    """The store's base and value are not what the system's mean: as after a restored store."""
    world = await linked(bench, 1, rules=Rules(owner=Rule(direction, policy)))
    await put(bench, 1, owner=more.get("ours", "ours"))
    return world


@pytest.mark.parametrize(
    ("policy", "direction", "ours", "theirs", "end"),
    [
        ("newest", "both", "ours", "theirs", "ours"),
        ("newest", "both", None, "theirs", "theirs"),
        ("newest", "both", "ours", None, "ours"),
        ("store", "both", None, "theirs", None),
        ("store", "both", "ours", "theirs", "ours"),
        ("system", "both", "ours", "theirs", "theirs"),
        ("system", "both", "ours", None, None),
        ("store", "in", "ours", "theirs", "theirs"),
        ("system", "out", "ours", "theirs", "ours"),
    ],
)
async def test_of_a_drifted_field_the_winner_is_written_to_the_other_side(
    bench: Bench, policy: Policy, direction: Direction, ours: Value, theirs: Value, end: Value
) -> None:
    world = bench.mirror(rules=Rules(owner=Rule(direction, policy)))
    world.add({"name": "x", "who": theirs})
    await bench.settled()
    await put(bench, 1, owner=ours)
    _, findings = await bench.reconcile()
    found = one(findings, "drift")
    assert (found.field, found.store, found.system) == ("owner", ours, theirs)
    assert ((await bench.incident(1)).owner, world.fields("1")["who"]) == (end, end)
    await mends_and_rests(bench)


async def test_a_drifted_field_that_people_decide_becomes_a_conflict(bench: Bench) -> None:
    world = await drifted(bench, "ask")
    await bench.reconcile()
    (conflict,) = await bench.rows(Conflict)
    assert (conflict["field"], conflict["store_value"], conflict["system_value"]) == ("owner", "ours", None)
    await bench.pick(1, "owner", "system")
    await bench.settled()
    assert ((await bench.incident(1)).owner, world.fields("1")["who"]) == (None, None)


async def test_of_a_drifted_field_an_edit_since_then_is_the_newest(bench: Bench) -> None:
    world = await drifted(bench)
    bench.change(limits=Limits(drifts=0))
    await bench.reconcile()
    world.edit("1", who="edited")
    bench.change(limits=Limits())
    bench.clock.go(73 * HOUR)
    await bench.settled()
    assert ((await bench.incident(1)).owner, world.fields("1")["who"]) == ("edited", "edited")


@pytest.mark.parametrize("direction", ["off", "both"])
async def test_what_is_off_or_in_no_map_is_left_alone(bench: Bench, direction: Direction) -> None:
    world = await linked(bench, 1, rules=Rules(owner=Rule(direction), severity=Rule(direction)))
    if direction == "off":
        await put(bench, 1, owner="ours")
    else:
        behind(world, "1", level="p9")
        await bench.reconcile()
        await put(bench, 1, severity="info")
    mirror, findings = await bench.reconcile()
    assert "drift" not in findings.counts
    assert not WRITES & set(world.calls)
    assert mirror.tally.counts["unmapped"] == (direction == "both")


async def test_a_newly_mapped_field_fills_the_empty_side_and_wipes_nothing(bench: Bench) -> None:
    world = await linked(bench, 1)
    behind(world, "1", site="here")
    await bench.reconcile()
    bench.change(rules=Rules(custom=[CustomField("site", "site")]))
    await bench.cycle()
    assert (await bench.incident(1)).custom is None
    _, findings = await bench.reconcile()
    assert one(findings, "drift").system == "here"
    assert ((await bench.incident(1)).custom, world.fields("1")["site"]) == ({"site": "here"}, "here")
    await mends_and_rests(bench)


async def test_a_wave_of_drift_waits_for_a_person_and_a_rejected_one_stays_as_it_is(bench: Bench) -> None:
    world = await linked(bench, 4, limits=Limits(drifts=3))
    bench.change(intake=REMAPPED, rules=Rules(severity=Rule("both", "system")))
    await bench.cycle()
    mirror, findings = await bench.reconcile()
    assert findings.counts == Counter(drift=4)
    (held,) = [row for row in await bench.rows(Plan) if row["state"] == "held"]
    assert held["reason"] == "4 drifts planned, 0 done in the last 24 hours, limit 3"
    assert {row["severity"] for row in await bench.rows(Incident)} == {"medium"}
    assert mirror.limits.drifts == 3
    await bench.cycle()
    assert {row["severity"] for row in await bench.rows(Incident)} == {"medium"}
    await decide(bench.database, held["id"], "reject", BOB, "no", bench.clock())
    await bench.settled()
    await bench.reconcile()
    assert {row["severity"] for row in await bench.rows(Incident)} == {"medium"}
    assert not [row for row in await bench.rows(Plan) if row["state"] == "held"]
    assert not WRITES & set(world.calls)


async def test_what_was_approved_is_applied_before_anything_is_read(bench: Bench) -> None:
    await linked(bench, 2, limits=Limits(drifts=0))
    bench.change(intake=REMAPPED, rules=Rules(severity=Rule("both", "system")))
    await bench.cycle()
    await bench.reconcile()
    (held,) = [row for row in await bench.rows(Plan) if row["state"] == "held"]
    await decide(bench.database, held["id"], "approve", BOB, "yes", bench.clock())
    _, findings = await bench.reconcile()
    assert not findings.counts
    assert {row["severity"] for row in await bench.rows(Incident)} == {"high"}


async def test_a_change_on_the_closed_side_is_listed_and_left_alone(bench: Bench) -> None:
    world = await linked(bench, 1, rules=Rules(title=Rule("in"), owner=Rule("out")))
    await bench.edit(1, title="ours")
    world.edit("1", who="theirs")
    await bench.settled()
    _, findings = await bench.reconcile()
    assert findings.counts == Counter({"closed side": 2})
    assert [(each.field, each.words) for each in findings.listed["closed side"]] == [
        ("title", "changed in the store"),
        ("owner", "changed in the system"),
    ]
    assert not WRITES & set(world.calls)
    assert ((await bench.incident(1)).owner, world.fields("1")["name"]) == (None, "n1")


async def test_a_link_is_decided_again_under_todays_rules(bench: Bench) -> None:
    world = await linked(bench, 1, rules=Rules(title=Rule("in")))
    await bench.edit(1, title="ours")
    await bench.settled()
    bench.change(rules=Rules())
    await bench.cycle()
    assert world.fields("1")["name"] == "n1"
    _, findings = await bench.reconcile()
    assert one(findings, "rules").field == "title"
    assert world.fields("1")["name"] == "ours"
    await mends_and_rests(bench)


async def test_entries_that_may_travel_now_are_sent(bench: Bench) -> None:

    world = await linked(bench, 1, rules=Rules(comments=Travel("off")))
    await bench.comment(1, "words")
    await bench.settled()
    bench.change(rules=Rules())
    await bench.cycle()
    assert not world.records["1"].entries
    _, findings = await bench.reconcile()
    assert one(findings, "rules").field == "entries"
    assert [entry.text for entry in world.records["1"].entries] == ["words"]
    await mends_and_rests(bench)


async def test_rules_that_are_not_the_mirrors_are_refused(bench: Bench) -> None:
    await linked(bench, 1)
    mirror = await bench.open()
    await mirror.must_be_as_before()
    bench.change(rules=Rules(direction="in"))
    other = await bench.open()
    with pytest.raises(Misconfigured, match="the same values"):
        await mirror.must_be_as_before()
    await other.must_be_as_before()
