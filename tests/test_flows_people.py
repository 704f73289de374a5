"""What people decide: the side of a conflict, another try for what was parked, a plan that the brake holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from blocks.errors import NotFound, Refused
from blocks.model import Entry
from blocks.rules import Limits, Rule, Rules
from blocks.store.entries import content_of
from blocks.store.tables import Audit, Conflict, Intent, Plan, PlanLine
from flows.approve import approve_or_reject, run_again
from flows.incidents import replay_parked, resolve_conflict
from tasks.mirroring.approval import Decision, decide
from tasks.mirroring.people import replay
from tests.fakes.toy import World
from tests.flowing import Told, in_store, told
from tests.mirrors import BOB, Bench

__all__ = ["in_store", "told"]
ASK = Rules(title=Rule("both", "ask"))


async def conflict(bench: Bench, *names: str) -> None:
    """Incident 1 is titled differently on both sides, in each of these mirrors."""
    for name in names:
        bench.mirror(name, rules=ASK if name == "a" else Rules(create=True, title=Rule("both", "ask")))
    bench.mirrors["a"].world.add({"name": "one"})
    await bench.settled()
    await bench.edit(1, title="ours")
    for name in names:
        bench.mirrors[name].world.edit("1", name=f"theirs {name}")
    for name in names:
        await bench.cycle(name, after=60)


async def resolved(incident: int, field: str, keep: Any, mirror: str = "") -> Any:
    """What the flow ends with."""
    return await resolve_conflict.fn(incident, field, keep, "ann", mirror)


@pytest.mark.parametrize(("keep", "title"), [("store", "ours"), ("system", "theirs a")])
async def test_the_picked_side_wins(bench: Bench, told: Told, in_store: object, keep: str, title: str) -> None:
    await conflict(bench, "a")
    assert (await resolved(1, "title", keep)).is_completed()
    await bench.cycle()
    assert (await bench.incident(1)).title == title
    assert bench.mirrors["a"].world.fields("1")["name"] == title
    assert await bench.rows(Conflict) == []


async def test_a_pick_is_in_the_audit(bench: Bench, told: Told, in_store: object) -> None:
    await conflict(bench, "a")
    await resolved(1, "title", "store")
    line = (await bench.history(1))[-1]
    assert (line.actor, line.action, line.changes) == ("ann", "picked the store", {"title": ["ours", "theirs a"]})


async def test_where_there_is_no_such_conflict_those_that_are_there_are_listed(
    bench: Bench, told: Told, in_store: object
) -> None:
    await conflict(bench, "a")
    state = await resolved(2, "severity", "store")
    assert state.is_failed()
    assert "incident 1, field title, mirror a" in state.message


async def test_where_two_mirrors_conflict_the_mirror_must_be_named(bench: Bench, told: Told, in_store: object) -> None:
    await conflict(bench, "a", "b")
    assert "name the mirror" in (await resolved(1, "title", "store")).message
    assert (await resolved(1, "title", "store", "b")).is_completed()
    choices = {row["system_id"]: row["choice"] for row in await bench.rows(Conflict)}
    assert choices == {1: "", 2: "store"}


async def refused(bench: Bench) -> int:
    """An update that the system refuses; answers its number among the parked."""
    bench.mirror().add({"name": "one"})
    await bench.cycle()
    bench.mirrors["a"].world.refuse.add("name")
    await bench.edit(1, title="new")
    await bench.cycle(after=60)
    (row,) = await bench.parked()
    return int(row["id"])


async def test_a_refused_write_is_tried_again_when_a_person_asks_for_it(
    bench: Bench, told: Told, in_store: object
) -> None:
    number = await refused(bench)
    bench.mirrors["a"].world.refuse.clear()
    await bench.cycle()
    assert bench.mirrors["a"].world.fields("1")["name"] == "one"
    assert (await replay_parked.fn("ann", ids=[number])).is_completed()
    await bench.cycle()
    assert bench.mirrors["a"].world.fields("1")["name"] == "new"
    assert await bench.parked() == []


async def test_what_is_refused_again_is_parked_again(bench: Bench, told: Told, in_store: object) -> None:
    number = await refused(bench)
    await replay_parked.fn("ann", "a")
    await bench.cycle()
    (row,) = await bench.parked()
    assert row["id"] > number


async def test_a_replay_names_what_is_not_parked(bench: Bench, told: Told, in_store: object) -> None:
    number = await refused(bench)
    assert "999" in str((await replay_parked.fn("ann", ids=[number, 999])).message)
    assert [row["id"] for row in await bench.parked()] == [number]
    assert "there are: a" in str((await replay_parked.fn("ann", "nobody")).message)
    assert "a mirror's name, or numbers" in str((await replay_parked.fn("ann")).message)


async def test_a_field_that_does_not_settle_is_sent_again_when_a_person_asks(bench: Bench) -> None:
    loud = bench.mirror("a", world=World(compute=lambda key, value: str(value).upper() if key == "name" else value))
    quiet = bench.mirror(
        "b",
        world=World(compute=lambda key, value: str(value).lower() if key == "name" else value),
        rules=Rules(create=True),
    )
    loud.add({"name": "Title"})
    await bench.settled(rounds=12)
    (row,) = await bench.parked()
    assert row["kind"] == "unsettled"
    quiet.compute = loud.compute
    await replay(bench.database, [row["id"]], "", BOB, bench.clock())
    await bench.settled()
    assert loud.fields("1")["name"] == quiet.fields("1")["name"]
    assert await bench.parked() == []


async def test_a_record_that_could_not_be_stored_is_read_again(bench: Bench, told: Told, in_store: object) -> None:
    world = bench.mirror()
    world.add({"name": "nul \0 in it"})
    await bench.cycle()
    (row,) = await bench.parked()
    assert row["kind"] == "record"
    # Mended at a moment that the feed does not show.
    world.records["1"].states[-1][1]["name"] = "whole"
    await replay_parked.fn("ann", ids=[row["id"]])
    await bench.cycle(after=600)
    assert (await bench.incident(1)).title == "whole"
    assert await bench.parked() == []


async def test_a_record_that_is_gone_stays_parked_with_the_newest_error(
    bench: Bench, told: Told, in_store: object
) -> None:
    world = bench.mirror()
    world.add({"name": "nul \0 in it"})
    await bench.cycle()
    world.records["1"].retired = True
    await replay_parked.fn("ann", "a")
    await bench.cycle()
    (row,) = await bench.parked()
    assert "no such incident" in row["error"]


async def test_an_unreachable_system_leaves_what_was_asked_for_to_the_next_cycle(
    bench: Bench, told: Told, in_store: object
) -> None:
    world = bench.mirror()
    world.add({"name": "nul \0 in it"})
    await bench.cycle()
    await replay_parked.fn("ann", "a")
    world.records["1"].states[-1][1]["name"] = "whole"
    world.fault = lambda call: "before" if call == "get" else None
    with pytest.raises(Exception, match="refused"):
        await bench.cycle()
    world.fault = lambda _call: None
    await bench.cycle(after=600)
    assert (await bench.incident(1)).title == "whole"


async def test_a_comment_that_could_not_be_stored_is_read_again(bench: Bench, told: Told, in_store: object) -> None:
    world = bench.mirror()
    world.add({"name": "one"})
    world.comment("1", "nul \0 in it")
    await bench.cycle()
    (row,) = await bench.parked()
    assert row["kind"] == "entry"
    entry = world.records["1"].entries[0]
    world.records["1"].entries[0] = Entry(entry.id, "1", "comment", entry.created, "ann", "whole")
    await replay_parked.fn("ann", "a")
    await bench.cycle()
    assert [one.text for one in await bench.entries(1)] == ["whole"]
    assert await bench.parked() == []


@pytest.fixture
async def too_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file came that is larger than what is kept."""
    world = bench.mirror()
    bench.mirror("b", rules=Rules(create=True))
    world.add({"name": "one"})
    world.comment("1", "", kind="file", name="log", size=8, data=b"12345678")
    with monkeypatch.context() as patched:
        patched.setattr("tasks.mirroring.entries.LIMIT_BYTES", 4)
        await bench.settled()


async def test_a_file_whose_bytes_were_missing_is_filled_and_travels_on(
    bench: Bench, told: Told, in_store: object, too_large: None
) -> None:
    (row,) = await bench.parked()
    assert row["kind"] == "content"
    assert bench.mirrors["b"].world.records["1"].entries == []
    await replay_parked.fn("ann", "a")
    await bench.settled()
    (entry,) = await bench.entries(1)
    assert await content_of(bench.database, entry.id) == b"12345678"
    assert [one.data for one in bench.mirrors["b"].world.records["1"].entries] == [b"12345678"]
    assert await bench.parked() == []


async def held(bench: Bench, **limits: int) -> int:
    """A plan that the brake holds: incident 1's title; answers its number."""
    world = bench.mirror(limits=Limits(**(limits or {"updates": 0})))
    world.add({"name": "one", "state": "open"})
    await bench.cycle()
    await bench.edit(1, title="new")
    await bench.cycle(after=60)
    return int((await bench.rows(Plan))[-1]["id"])


async def decided(bench: Bench, plan: int, decision: Decision, *, later: float = 0) -> None:
    """Bob decides, so many seconds later."""
    await decide(bench.database, plan, decision, BOB, "because", bench.clock() + timedelta(seconds=later))


async def test_an_approved_plan_is_applied_and_does_not_count_against_the_brake(bench: Bench) -> None:
    plan = await held(bench, updates=1)
    assert bench.mirrors["a"].world.fields("1")["name"] == "new"
    await bench.edit(1, title="newer")
    await bench.cycle(after=60)
    plan = int((await bench.rows(Plan))[-1]["id"])
    await decided(bench, plan, "approve")
    await bench.cycle(after=60)
    assert bench.mirrors["a"].world.fields("1")["name"] == "newer"
    assert {row["id"]: row["state"] for row in await bench.rows(Plan)}[plan] == "done"
    assert [row["kind"] for row in await bench.rows(PlanLine)] == ["update", "approved"]


async def test_nothing_is_added_to_what_was_approved(bench: Bench) -> None:
    plan = await held(bench)
    await decided(bench, plan, "approve")
    await bench.edit(1, title="newer")
    await bench.cycle(after=60)
    world = bench.mirrors["a"].world
    # The approved write no longer fits the incident: what it is now waits in the next plan.
    await bench.cycle(after=60)
    assert world.fields("1")["name"] == "one"
    assert [row["state"] for row in await bench.rows(Plan)] == ["done", "held"]


async def test_a_decision_falls_once(bench: Bench) -> None:
    plan = await held(bench)
    await decided(bench, plan, "approve")
    with pytest.raises(Refused, match="approved by bob"):
        await decided(bench, plan, "reject")


async def test_a_decision_after_the_deadline_is_refused(bench: Bench) -> None:
    plan = await held(bench)
    with pytest.raises(Refused, match="deadline"):
        await decided(bench, plan, "approve", later=72 * 3600 + 60)


async def test_a_plan_that_is_not_there_is_refused_with_those_that_wait(bench: Bench) -> None:
    plan = await held(bench)
    with pytest.raises(Refused, match=f"no such plan. Plans that wait: {plan}"):
        await decided(bench, 99, "approve")


async def test_a_decision_is_in_the_audit(bench: Bench) -> None:
    plan = await held(bench)
    await decided(bench, plan, "reject")
    line = (await bench.rows(Audit))[-1]
    assert (line["actor"], line["action"]) == ("bob", "rejected plan")
    assert line["changes"] == {"plan": [None, plan], "why": [None, "because"]}


async def test_a_rejected_write_is_listed_and_not_planned_again_until_its_value_changes(bench: Bench) -> None:
    plan = await held(bench)
    await decided(bench, plan, "reject")
    for _ in range(2):
        await bench.cycle(after=60)
    assert bench.mirrors["a"].world.fields("1")["name"] == "one"
    (row,) = await bench.parked()
    assert (row["kind"], row["payload"]) == ("rejected", {"side": "system", "patch": {"name": "new"}})
    assert [one["state"] for one in await bench.rows(Plan)] == ["rejected"]
    bench.change(limits=Limits())
    await bench.edit(1, title="another")
    await bench.cycle(after=60)
    assert bench.mirrors["a"].world.fields("1")["name"] == "another"
    assert await bench.parked() == []


async def test_a_rejected_write_goes_when_a_person_replays_it(bench: Bench) -> None:
    await decided(bench, await held(bench), "reject")
    await bench.cycle(after=60)
    bench.change(limits=Limits())
    await replay(bench.database, [], "a", BOB, bench.clock())
    await bench.cycle(after=60)
    assert bench.mirrors["a"].world.fields("1")["name"] == "new"


async def test_a_rejected_close_from_the_system_leaves_ours_open(bench: Bench) -> None:
    world = bench.mirror(limits=Limits(closes=0))
    world.add({"name": "one"})
    await bench.cycle()
    world.edit("1", state="shut", why="x")
    await bench.cycle(after=60)
    await decided(bench, int((await bench.rows(Plan))[-1]["id"]), "reject")
    await bench.cycle(after=60)
    await bench.cycle(after=60)
    assert (await bench.incident(1)).status == "new"
    assert [one["state"] for one in await bench.rows(Plan)] == ["rejected"]


async def test_a_rejected_creation_is_not_planned_again(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(create=True), limits=Limits(creates=0))
    await bench.create(title="ours")
    await bench.cycle()
    await decided(bench, int((await bench.rows(Plan))[-1]["id"]), "reject")
    await bench.cycle(after=60)
    await bench.cycle(after=60)
    assert world.records == {}
    assert [one["state"] for one in await bench.rows(Plan)] == ["rejected"]
    assert [row["kind"] for row in await bench.parked()] == ["rejected"]


async def test_a_rejected_comment_stays_here(bench: Bench) -> None:
    world = bench.mirror(limits=Limits(updates=0))
    world.add({"name": "one"})
    await bench.cycle()
    await bench.comment(1, "hello")
    await bench.cycle(after=60)
    await decided(bench, int((await bench.rows(Plan))[-1]["id"]), "reject")
    await bench.cycle(after=60)
    assert world.records["1"].entries == []
    assert [one["state"] for one in await bench.rows(Plan)] == ["rejected"]
    assert len(await bench.parked()) == 1


async def test_a_rejected_reaction_leaves_ours_as_it_is(bench: Bench) -> None:
    world = bench.mirror(rules=Rules(gone="close"), limits=Limits(closes=0))
    world.add({"name": "one"})
    await bench.cycle()
    world.records["1"].retired = True
    await bench.edit(1, title="new")
    for _ in range(3):
        await bench.cycle(after=60)
    await decided(bench, int((await bench.rows(Plan))[-1]["id"]), "reject")
    await bench.cycle(after=60)
    assert (await bench.incident(1)).status == "new"
    assert ((await bench.link(1))["state"], (await bench.link(1))["dirty"]) == ("gone", 0)
    assert await bench.rows(Intent) == []


async def test_the_flow_says_what_follows(bench: Bench, told: Told, in_store: object) -> None:
    plan = await held(bench)
    # The bench's clock is ahead of the flow's: the deadline is not over.
    state = await approve_or_reject.fn(plan, "reject", "ann", "no")
    assert (state.is_completed(), state.message) == (True, f"plan {plan} is rejected: its writes are parked")
    state = await approve_or_reject.fn(plan, "approve", "ann", "yes")
    assert state.is_failed()


async def test_a_plan_of_no_run_starts_none() -> None:
    assert await run_again("") is False


async def test_a_replay_of_nothing_says_so(bench: Bench) -> None:
    bench.mirror()
    await bench.open()
    with pytest.raises(NotFound, match="nothing is parked"):
        await replay(bench.database, [], "a", BOB, bench.clock())
