"""One cycle as a flow runs it: which task runs it costs, what it tells, and what is tried again. Without a server."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Failed

from blocks.errors import Busy, LockLost, Misconfigured, Refused, Unauthorized, Unavailable, Unreadable
from blocks.rules import Limits, Rule, Rules
from blocks.store.locks import hold
from flows.cycle import lock_name, one_turn
from flows.cycle import told as tell
from tasks.incidents import DELAYS, PATIENCE, pull_pages, worth_a_try
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Tally
from tasks.progress import Progress, share
from tests.flowing import Told, in_store, settings, store_url, told, turn
from tests.mirrors import START, Bench

__all__ = ["in_store", "store_url", "told"]
READ, PLAN, APPLY = "read pages", "plan writes", "apply writes"


async def once(bench: Bench, *, quiet: bool = False, dry: bool = False, only: list[int] | None = None) -> str:
    """One cycle; answers its summary."""
    async with turn(bench, quiet=quiet) as one:
        return await tell(one, cycle(one.m, dry=dry, only=only, steps=one))


async def fetched(bench: Bench, told: Told, **setup: Any) -> None:
    """A mirror of one incident whose first fetch is over and told."""
    bench.mirror(**setup).add({"name": "one", "level": "p3"})
    await once(bench)
    bench.clock.go(60)
    told.clear()


async def test_an_idle_cycle_costs_one_task_run_and_leaves_nothing(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    assert await once(bench) == "nothing to do"
    assert told.tasks == [READ]
    assert (told.events, told.artifacts) == ([], [])


async def test_an_idle_cycle_of_a_mirror_for_ever_costs_none(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    assert await once(bench, quiet=True) == "nothing to do"
    assert told.tasks == []
    assert (told.events, told.artifacts) == ([], [])


async def test_a_change_there_costs_a_plan_and_its_batches(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    bench.mirrors["a"].world.edit("1", name="new")
    assert await once(bench, quiet=True) == "1 updated in the store, 1 changed in the system"
    assert told.tasks == [PLAN, APPLY, APPLY]
    assert (await bench.incident(1)).title == "new"


async def test_a_first_fetch_tells_of_itself_once_and_of_no_incident(bench: Bench, told: Told) -> None:
    world = bench.mirror()
    for number in range(3):
        world.add({"name": str(number)})
    await once(bench)
    assert told.names() == ["lockstep.mirror.backfilled", "lockstep.mirror.finished"]
    assert told.payload("lockstep.mirror.backfilled")["counts"]["created in the store"] == 3


async def test_each_changed_incident_gets_one_signal_with_what_automations_need(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    world = bench.mirrors["a"].world
    world.comment("1", "hello")
    world.add({"name": "two", "level": "p1", "who": "ann"})
    await once(bench)
    assert told.names() == ["lockstep.incident.updated", "lockstep.incident.created", "lockstep.mirror.finished"]
    _, resource, payload = told.events[1]
    assert resource["prefect.resource.id"] == "lockstep.incident.2"
    assert resource["lockstep.signal"] == "lockstep.incident.created"
    assert payload == {
        "incident_id": 2,
        "title": "two",
        "status": "new",
        "severity": "critical",
        "type": "incident",
        "owner": "ann",
        "mirror": "a",
        "system": "toy:a",
    }


async def test_a_close_there_is_told_as_closed(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    bench.mirrors["a"].world.edit("1", state="shut", why="fixed")
    await once(bench)
    assert told.names()[0] == "lockstep.incident.closed"


async def test_at_most_fifty_incidents_are_told_of(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    for number in range(60):
        bench.mirrors["a"].world.add({"name": str(number)})
    await once(bench)
    assert told.names().count("lockstep.incident.created") == 50
    assert told.payload("lockstep.mirror.finished")["counts"]["created in the store"] == 60


async def test_a_cycle_that_did_something_leaves_one_report_with_links(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    await bench.edit(1, title="by bob")
    await once(bench)
    ((key, report),) = told.artifacts
    assert key == "mirror-a"
    assert "[1](http://127.0.0.1/a/1)" in report
    assert "changed in the system" in report


async def test_a_conflict_is_told_when_it_is_new_and_not_again(bench: Bench, told: Told) -> None:
    await fetched(bench, told, rules=Rules(title=Rule("both", "ask")))
    await bench.edit(1, title="ours")
    bench.mirrors["a"].world.edit("1", name="theirs")
    await once(bench)
    assert told.payload("lockstep.attention.conflict")["conflicts"] == [{"incident_id": 1, "field": "title"}]
    assert "resolve_conflict" in told.artifacts[0][1]
    told.clear()
    bench.clock.go(60)
    bench.mirrors["a"].world.edit("1", level="p1")
    await once(bench)
    assert "lockstep.attention.conflict" not in told.names()
    assert "resolve_conflict" in told.artifacts[0][1]


async def test_a_refused_write_is_told_as_parked(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    bench.mirrors["a"].world.refuse.add("name")
    await bench.edit(1, title="no")
    await once(bench)
    (parked,) = told.payload("lockstep.attention.parked")["parked"]
    assert (parked["kind"], parked["incident_id"]) == ("update", 1)


async def test_a_held_plan_is_told_once_and_costs_nothing_while_it_waits(bench: Bench, told: Told) -> None:
    await fetched(bench, told, limits=Limits(updates=0))
    await bench.edit(1, title="too much")
    words = await once(bench)
    assert words == "plan 1 with 1 writes waits for approval"
    brake = told.payload("lockstep.attention.brake")
    assert (brake["plan_id"], brake["writes"], brake["mirror"]) == (1, 1, "a")
    assert "approve_or_reject" in told.artifacts[0][1]
    told.clear()
    assert await once(bench) == "nothing to do; plan 1 waits for approval"
    assert await once(bench, quiet=True) == "nothing to do"
    assert (told.events, told.artifacts, told.tasks) == ([], [], [READ])


async def test_a_dry_run_shows_its_plan_and_sends_nothing(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    await bench.edit(1, title="would be")
    assert await once(bench, dry=True) == "1 writes planned, nothing sent"
    assert "update" not in bench.mirrors["a"].world.calls
    assert "would be" in told.artifacts[0][1]
    assert APPLY not in told.tasks


async def test_only_these_incidents_are_read_and_written_now(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    bench.mirrors["a"].world.add({"name": "two"})
    await once(bench)
    for number in (1, 2):
        await bench.edit(number, title=f"t{number}")
    await once(bench, only=[2])
    world = bench.mirrors["a"].world
    assert (world.fields("1")["name"], world.fields("2")["name"]) == ("one", "t2")


async def test_the_lock_is_looked_at_before_each_batch_of_writes(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    await bench.edit(1, title="never")
    async with turn(bench) as one:

        async def gone() -> None:
            raise LockLost("gone")

        one.lock.check = gone  # type: ignore[method-assign]  # another process holds it now
        with pytest.raises(LockLost):
            await tell(one, cycle(one.m, steps=one))
    assert "update" not in bench.mirrors["a"].world.calls


async def test_what_was_done_before_an_error_is_told(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    world = bench.mirrors["a"].world
    world.add({"name": "two"})
    await bench.edit(1, title="x")
    world.fault = lambda call: "before" if call == "update" else None
    with pytest.raises(Unavailable):
        await once(bench)
    assert "lockstep.incident.created" in told.names()


async def test_a_second_try_of_a_batch_sends_the_rest_and_nothing_twice(bench: Bench, told: Told) -> None:
    await fetched(bench, told)
    world = bench.mirrors["a"].world
    for number in range(4):
        world.add({"name": str(number)})
    await once(bench)
    for number in range(1, 6):
        await bench.edit(number, title=f"t{number}")
    failures = iter(["before"])
    world.fault = lambda call: next(failures, None) if call == "update" else None
    told.second_try = True
    async with turn(bench) as one:
        one.m.parallel = 1
        await tell(one, cycle(one.m, steps=one))
    assert told.tried_again == [APPLY]
    assert [world.fields(str(n))["name"] for n in range(1, 6)] == [f"t{n}" for n in range(1, 6)]
    assert all(len(world.records[str(n)].states) == 2 for n in range(1, 6))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unavailable("x"), True),
        (Unavailable("x", retry_after=DELAYS[0]), True),
        (Busy("x"), True),
        (Unavailable("x", retry_after=PATIENCE + 1), False),
        (Unauthorized("x"), False),
        (Misconfigured("x"), False),
        (Refused("x"), False),
        (Unreadable("x"), False),
        (LockLost("x"), False),
        (ValueError("x"), False),
    ],
)
async def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:  # noqa: FBT001  a table
    state: State[Any] = Failed(data=error, message="x")
    assert await worth_a_try(pull_pages, None, state) is again  # type: ignore[arg-type]  # no run is looked at


async def test_a_try_waits_as_long_as_the_system_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await worth_a_try(pull_pages, None, Failed(data=Unavailable("x", retry_after=30), message="x"))  # type: ignore[arg-type]
    assert slept == [30 - DELAYS[0]]


async def test_a_run_ends_completed_with_its_counts(bench: Bench, told: Told, in_store: object) -> None:
    bench.mirror().add({"name": "x"})
    toy = (await bench.open()).system
    intake, rules, limits = settings(bench)
    state: Any = await one_turn(toy, "a", _pull, intake=intake, rules=rules, limits=limits)
    assert state.is_completed()
    assert state.data["created in the store"] == 1


async def _pull(one: Any) -> None:
    await one.pull()


async def test_a_run_whose_turn_does_not_come_ends_as_busy(
    bench: Bench, told: Told, in_store: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.mirror()
    toy = (await bench.open()).system
    monkeypatch.setattr("flows.cycle.WAIT", 0.1)
    intake, rules, limits = settings(bench)
    async with hold(bench.database, lock_name(toy)):
        state = await one_turn(toy, "a", _pull, intake=intake, rules=rules, limits=limits)
    assert (state.is_completed(), state.name) == (True, "Busy")
    assert told.events == []


async def test_a_failed_run_has_the_errors_words_and_a_person_is_told_once(
    bench: Bench, told: Told, in_store: object
) -> None:
    bench.mirror()
    toy = (await bench.open()).system
    intake, rules, limits = settings(bench)

    async def broken(_one: Any) -> None:
        raise Unauthorized("the login was not accepted", system="toy:a")

    for _ in range(2):
        state = await one_turn(toy, "a", broken, intake=intake, rules=rules, limits=limits)
        assert state.is_failed()
        assert state.message == "toy:a: the login was not accepted"
    assert told.names() == ["lockstep.mirror.failed", "lockstep.attention.connection", "lockstep.mirror.failed"]
    await one_turn(toy, "a", _pull, intake=intake, rules=rules, limits=limits)
    told.clear()
    await one_turn(toy, "a", broken, intake=intake, rules=rules, limits=limits)
    assert told.names() == ["lockstep.mirror.failed", "lockstep.attention.connection"]


async def test_a_system_that_is_away_tells_no_person(bench: Bench, told: Told, in_store: object) -> None:
    bench.mirror()
    toy = (await bench.open()).system
    intake, rules, limits = settings(bench)

    async def away(_one: Any) -> None:
        raise Unavailable("no answer")

    assert (await one_turn(toy, "a", away, intake=intake, rules=rules, limits=limits)).is_failed()
    assert told.names() == ["lockstep.mirror.failed"]


async def test_a_mirror_that_points_elsewhere_fails_in_words(bench: Bench, told: Told, in_store: object) -> None:
    bench.mirror("a")
    bench.mirror("b")
    await bench.open("a")
    other = (await bench.open("b")).system
    intake, rules, limits = settings(bench)
    state = await one_turn(other, "a", _pull, intake=intake, rules=rules, limits=limits)
    assert "keeps toy:a in step" in str(state.message)
    assert told.names()[-1] == "lockstep.attention.connection"


async def test_a_long_pull_shows_how_far_it_is(bench: Bench, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.progress.SHOW_AFTER", 0.0)
    monkeypatch.setattr("tasks.incidents.PAGES", 1)
    world = bench.mirror()
    for number in range(601):
        world.add({"name": str(number)})
    bench.clock.go(3600)
    await once(bench)
    assert len(told.progress) >= 3
    assert told.progress == sorted(told.progress)
    assert told.progress[-1] == 100.0


def test_a_share_is_never_whole_before_the_end() -> None:
    hour = timedelta(hours=1)
    assert share(START, START + hour, START + 4 * hour) == 25.0
    assert share(START, START + 5 * hour, START + 4 * hour) == 99.0
    assert share(START, START, START) == 99.0


async def test_a_short_pull_shows_nothing(told: Told) -> None:
    progress = Progress("a")
    await progress.show(Tally(), (START, START), START)
    await progress.done(Tally())
    assert told.progress == []
