"""Fields in a running mirror: which way they travel, who wins, and what waits for a person."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal, get_args

import pytest

from blocks.errors import Partial
from blocks.model import Capabilities, Fields, Incident, Value
from blocks.rules import Direction, Policy, Rule, Rules
from blocks.store.tables import Conflict, Intent, Parked
from tests.fakes.toy import World
from tests.mirrors import Bench, LiveToy

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
POLICIES: tuple[Policy, ...] = get_args(Policy)
OLD, HERE, THERE = "old", "edited here", "edited there"


async def linked(bench: Bench, *, rules: Rules | None = None, **settings: Any) -> World:
    """One incident, in step, a minute old."""
    world = bench.mirror(world=World(**settings), rules=rules or Rules())
    world.add({"name": OLD})
    await bench.settled()
    bench.clock.go(60)
    return world


async def sides(bench: Bench, world: World) -> tuple[Value, Value]:
    """The title here and there."""
    return (await bench.incident(1)).title, world.fields("1")["name"]


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_an_edit_on_one_side_goes_where_the_direction_allows(bench: Bench, direction: Direction) -> None:
    world = await linked(bench, rules=Rules(title=Rule(direction)))
    await bench.edit(1, title=HERE)
    await bench.settled()
    assert await sides(bench, world) == (HERE, HERE if direction in {"both", "out"} else OLD)


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_an_edit_on_the_other_side_comes_where_the_direction_allows(bench: Bench, direction: Direction) -> None:
    world = await linked(bench, rules=Rules(title=Rule(direction)))
    world.edit("1", name=THERE)
    await bench.settled()
    assert await sides(bench, world) == (THERE if direction in {"both", "in"} else OLD, THERE)


def both_edited(direction: Direction, policy: Policy, *, later: str) -> tuple[str, str]:
    """What both sides show after both were edited: (here, there)."""
    winner = {
        "both": {"store": HERE, "system": THERE, "newest": later}.get(policy),
        "in": THERE,
        "out": HERE,
        "off": None,
    }[direction]
    return (winner, winner) if winner else (HERE, THERE)


@pytest.mark.parametrize(("direction", "policy"), list(product(DIRECTIONS, POLICIES)))
@pytest.mark.parametrize("later", [HERE, THERE])
async def test_when_both_edit_direction_and_policy_decide(
    bench: Bench, direction: Direction, policy: Policy, later: str
) -> None:
    world = await linked(bench, rules=Rules(title=Rule(direction, policy)))
    if later == THERE:
        await bench.edit(1, title=HERE)
        bench.clock.go(10)
        world.edit("1", name=THERE)
    else:
        world.edit("1", name=THERE)
        bench.clock.go(10)
        await bench.edit(1, title=HERE)
    await bench.settled()
    assert await sides(bench, world) == both_edited(direction, policy, later=later)
    listed = [(row["field"], row["store_value"], row["system_value"]) for row in await bench.rows(Conflict)]
    assert listed == ([("title", HERE, THERE)] if (direction, policy) == ("both", "ask") else [])


async def test_edits_closer_than_the_coarser_clock_end_as_the_stores(bench: Bench) -> None:
    world = await linked(bench, tick=60.0)
    await bench.edit(1, title=HERE)
    bench.clock.go(30)
    world.edit("1", name=THERE)
    await bench.settled()
    assert await sides(bench, world) == (HERE, HERE)


async def test_the_same_edit_on_both_sides_sends_nothing(bench: Bench) -> None:
    world = await linked(bench)
    await bench.edit(1, title="same")
    world.edit("1", name="same")
    mirror = await bench.cycle()
    assert world.calls == ["changes"]
    assert not mirror.tally.counts["updated in the store"]
    await bench.edit(1, title=HERE)
    await bench.cycle()
    assert await sides(bench, world) == (HERE, HERE)


async def conflict(bench: Bench) -> World:
    """Both sides edited the title, and a person is asked."""
    world = await linked(bench, rules=Rules(title=Rule("both", "ask")))
    await bench.edit(1, title=HERE)
    world.edit("1", name=THERE)
    await bench.cycle()
    return world


async def test_a_conflict_is_listed_once_and_not_again_each_cycle(bench: Bench) -> None:
    await conflict(bench)
    (listed,) = await bench.rows(Conflict)
    for _ in range(3):
        mirror = await bench.cycle()
        assert not mirror.tally.counts["conflicts"]
    assert await bench.rows(Conflict) == [listed]
    assert (await bench.link(1))["dirty"] == 2


async def test_a_conflict_in_one_field_holds_up_no_other(bench: Bench) -> None:
    world = await conflict(bench)
    await bench.edit(1, owner="ann")
    world.edit("1", level="p1")
    await bench.cycle()
    assert world.fields("1")["who"] == "ann"
    assert (await bench.incident(1)).severity == "critical"
    assert len(await bench.rows(Conflict)) == 1


@pytest.mark.parametrize(("side", "value"), [("store", HERE), ("system", THERE)])
async def test_what_a_person_picks_resolves_the_conflict(
    bench: Bench, side: Literal["store", "system"], value: str
) -> None:
    world = await conflict(bench)
    await bench.pick(1, "title", side)
    await bench.cycle()
    assert await sides(bench, world) == (value, value)
    assert not await bench.rows(Conflict)
    await bench.cycle()
    assert world.calls == ["changes"]


async def test_a_pick_for_older_values_does_not_apply_to_newer_ones(bench: Bench) -> None:
    world = await conflict(bench)
    await bench.pick(1, "title", "store")
    world.edit("1", name="edited again")
    await bench.cycle()
    assert await sides(bench, world) == (HERE, "edited again")
    (listed,) = await bench.rows(Conflict)
    assert (listed["system_value"], listed["choice"]) == ("edited again", "")


async def test_a_conflict_is_over_when_people_agree_by_themselves(bench: Bench) -> None:
    world = await conflict(bench)
    world.edit("1", name=HERE)
    await bench.cycle()
    assert not await bench.rows(Conflict)
    assert world.calls == ["changes"]


async def test_changed_rules_decide_again_what_waits(bench: Bench) -> None:
    world = await conflict(bench)
    bench.change(rules=Rules(title=Rule("both", "system")))
    await bench.cycle()
    assert await sides(bench, world) == (THERE, THERE)
    assert not await bench.rows(Conflict)


async def test_closing_and_reopening_travel_with_reason_and_notes_and_do_not_echo(bench: Bench) -> None:
    world = await linked(bench)
    world.edit("1", state="shut", why="Fixed", notes="it was the cable")
    await bench.settled()
    incident = await bench.incident(1)
    assert (incident.status, incident.close_reason, incident.close_notes) == ("closed", "Fixed", "it was the cable")
    assert incident.closed is not None
    bench.clock.go(60)
    await bench.edit(1, status="active", close_reason=None, close_notes=None)
    await bench.settled()
    shown = world.fields("1")
    assert (shown["state"], shown["why"], shown["notes"]) == ("doing", None, None)
    assert (await bench.incident(1)).closed is None
    await bench.edit(1, status="resolved", close_reason="Duplicate", close_notes="of 7")
    await bench.settled()
    shown = world.fields("1")
    assert (shown["state"], shown["why"], shown["notes"]) == ("done", "Duplicate", "of 7")
    acts = [act.action for act in await bench.history(1)]
    assert acts == ["created", "closed", "reopened", "sent", "closed", "sent"]


async def test_a_refused_field_is_parked_and_the_others_go(bench: Bench) -> None:
    world = await linked(bench, refuse={"who"})
    await bench.edit(1, title=HERE, owner="ann", severity="high")
    await bench.cycle()
    assert (world.fields("1")["name"], world.fields("1")["level"], world.fields("1")["who"]) == (HERE, "p2", None)
    (parked,) = await bench.parked()
    assert (parked["kind"], parked["payload"]) == ("update", {"side": "system", "patch": {"who": "ann"}})
    assert "refused" in parked["error"]
    await bench.cycle()
    assert world.calls == ["changes"]


async def test_another_value_is_sent_anew_and_what_was_parked_for_the_old_one_is_dropped(bench: Bench) -> None:
    world = await linked(bench, refuse={"who"})
    await bench.edit(1, owner="ann")
    await bench.cycle()
    world.refuse.clear()
    await bench.edit(1, owner="bea")
    await bench.cycle()
    assert world.fields("1")["who"] == "bea"
    assert not await bench.parked()
    assert [row["state"] for row in await bench.rows(Parked)] == ["dropped"]


async def test_a_refused_value_stays_visible_when_the_other_side_changes_too(bench: Bench) -> None:
    world = await linked(bench, refuse={"who"}, rules=Rules(owner=Rule("both", "ask")))
    await bench.edit(1, owner="ann")
    await bench.cycle()
    world.edit("1", who="zoe")
    await bench.cycle()
    (listed,) = await bench.rows(Conflict)
    assert (listed["field"], listed["store_value"], listed["system_value"]) == ("owner", "ann", "zoe")


class Half(LiveToy):
    """It applies what it likes of a patch, and names the rest."""

    _block_type_name = "Half Toy"

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        taken = {key: value for key, value in patch.items() if key != "who"}
        shown = await super().update(incident, taken) if taken else await self.get(incident.id)
        if len(taken) < len(patch):
            message = "some of it was refused"
            raise Partial(message, incident=shown, fields={"who": "not allowed"}, system=self.fingerprint())
        return shown


async def test_what_was_applied_of_a_patch_is_done_and_the_rest_parked(bench: Bench) -> None:
    world = await linked(bench)
    bench.change(toy=Half)
    await bench.edit(1, title=HERE, owner="ann")
    await bench.cycle()
    assert world.calls.count("update") == 1
    (parked,) = await bench.parked()
    assert parked["payload"]["patch"] == {"who": "ann"}
    world.edit("1", name=THERE)
    await bench.cycle()
    assert await sides(bench, world) == (THERE, THERE)


def loud(_key: str, value: Value) -> Value:
    return value.upper() if isinstance(value, str) else value


async def test_a_computed_value_comes_back_and_both_agree(bench: Bench) -> None:
    world = await linked(bench, compute=lambda key, value: loud(key, value) if key == "name" else value)
    await bench.edit(1, title=HERE)
    await bench.settled()
    assert await sides(bench, world) == (HERE.upper(), HERE.upper())
    await bench.cycle()
    assert world.calls == ["changes"]


async def rivals(bench: Bench) -> tuple[World, World]:
    """Two systems that hold one incident, and round its title differently."""
    one = bench.mirror("a", world=World(compute=lambda key, value: loud(key, value) if key == "name" else value))
    other = bench.mirror(
        "b",
        world=World(compute=lambda key, value: str(value).lower() if key == "name" else value),
        rules=Rules(create=True),
    )
    one.add({"name": "Title"})
    return one, other


async def test_what_two_systems_round_differently_is_parked_as_not_settling(bench: Bench) -> None:
    one, other = await rivals(bench)
    await bench.settled(rounds=12)
    (parked,) = await bench.parked()
    assert (parked["kind"], parked["payload"]["field"]) == ("unsettled", "title")
    assert "does not settle" in parked["error"]
    await bench.cycle("a")
    await bench.cycle("b")
    assert (one.calls, other.calls) == (["changes"], ["changes"])


async def test_a_persons_edit_begins_to_count_anew(bench: Bench) -> None:
    one, other = await rivals(bench)
    await bench.settled(rounds=12)
    await bench.edit(1, title="1234")
    await bench.settled(rounds=2)
    assert (one.fields("1")["name"], other.fields("1")["name"]) == ("1234", "1234")
    assert not await bench.parked()


async def test_what_changed_under_our_write_is_read_again_and_decided_anew(bench: Bench) -> None:
    world = await linked(bench, rules=Rules(title=Rule("both", "system")))
    await bench.edit(1, title=HERE, owner="ann")
    world.between = lambda call: (
        world.edit("1", name=THERE) if call == "update" and world.calls.count(call) == 1 else None
    )
    mirror = await bench.cycle()
    assert mirror.tally.counts["stale"] == 1
    assert await sides(bench, world) == (THERE, THERE)
    assert world.fields("1")["who"] == "ann"


async def test_what_changes_again_and_again_is_tried_three_times_more_and_then_in_the_next_cycle(bench: Bench) -> None:
    world = await linked(bench, counter=True)
    await bench.edit(1, title=HERE)
    world.between = lambda call: world.edit("1", notes=f"n{len(world.calls)}") if call == "update" else None
    await bench.cycle()
    assert world.calls.count("update") == 4
    assert (await bench.link(1))["dirty"] == 1
    world.between = lambda _call: None
    await bench.cycle()
    assert await sides(bench, world) == (HERE, HERE)


@pytest.mark.parametrize("lock", ["atomic", "compared", "none"])
async def test_an_edit_of_another_field_between_our_read_and_our_write_is_kept(bench: Bench, lock: Any) -> None:
    world = await linked(bench, lock=lock, counter=True)
    await bench.edit(1, title=HERE)
    world.between = lambda call: (
        world.edit("1", who="zoe") if call == "update" and world.calls.count(call) == 1 else None
    )
    await bench.settled()
    assert await sides(bench, world) == (HERE, HERE)
    assert ((await bench.incident(1)).owner, world.fields("1")["who"]) == ("zoe", "zoe")


async def test_without_a_lock_an_edit_of_the_same_field_between_our_read_and_our_write_is_lost(bench: Bench) -> None:
    """The one exception, and the quality table says so: such a system has nothing that could tell."""
    world = await linked(bench, lock="none", rules=Rules(title=Rule("both", "system")))
    await bench.edit(1, title=HERE)
    world.between = lambda call: world.edit("1", name=THERE) if call == "update" else None
    await bench.settled()
    assert await sides(bench, world) == (HERE, HERE)


@pytest.mark.parametrize("lock", ["atomic", "compared"])
async def test_with_a_lock_the_same_edit_is_decided_by_the_policy(bench: Bench, lock: Any) -> None:
    world = await linked(bench, lock=lock, rules=Rules(title=Rule("both", "ask")))
    await bench.edit(1, title=HERE)
    world.between = lambda call: world.edit("1", name=THERE) if call == "update" else None
    await bench.settled()
    assert await sides(bench, world) == (HERE, THERE)
    assert len(await bench.rows(Conflict)) == 1


async def test_an_edit_in_the_store_while_we_write_travels_next(bench: Bench) -> None:
    world = await linked(bench)

    async def again(call: str) -> None:
        if call == "before update" and world.fields("1")["name"] == OLD:
            await bench.edit(1, title="edited twice")

    bench.meanwhile = again
    await bench.edit(1, title=HERE)
    await bench.cycle()
    assert await sides(bench, world) == ("edited twice", "edited twice")


@pytest.mark.parametrize("value", ["nul \0 here", "x" * 1001, None])
async def test_a_value_that_the_store_cannot_hold_is_parked_until_it_changes(bench: Bench, value: Value) -> None:
    world = await linked(bench)
    world.edit("1", name=value, who="ann")
    await bench.settled()
    incident = await bench.incident(1)
    assert (incident.title, incident.owner) == (OLD, "ann")
    (parked,) = await bench.parked()
    assert parked["payload"] == {"side": "store", "patch": {"title": value}}
    world.edit("1", name=THERE)
    await bench.settled()
    assert await sides(bench, world) == (THERE, THERE)
    assert not await bench.parked()


class Closer(LiveToy):
    """It cannot reopen what it closed."""

    _block_type_name = "Closer Toy"

    @property
    def capabilities(self) -> Capabilities:
        able = super().capabilities
        return Capabilities(
            able.calls, able.lock, able.create_key, able.entry_key, able.settle_seconds, 1, reopen=False
        )


async def test_what_cannot_be_reopened_there_is_parked_and_the_rest_goes(bench: Bench) -> None:
    world = await linked(bench)
    bench.change(toy=Closer)
    await bench.edit(1, status="closed")
    await bench.settled()
    await bench.edit(1, status="active", owner="ann")
    await bench.settled()
    assert (world.fields("1")["state"], world.fields("1")["who"]) == ("shut", "ann")
    (parked,) = await bench.parked()
    assert "reopen" in parked["error"]
    assert not await bench.rows(Intent)
    world.edit("1", state="doing")
    await bench.settled()
    assert not await bench.parked()
    assert (await bench.incident(1)).status == "active"
