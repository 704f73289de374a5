"""The flow: spells of the lock, a task for each batch, what is told, and how a run ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

import flows.reconcile
import tasks.progress
import tasks.reconcile
from blocks.rules import Limits, Rule, Rules
from blocks.store.locks import hold
from blocks.store.tables import Plan
from flows.cycle import lock_name
from flows.reconcile import reconcile_mirror
from tests.flowing import Told, in_store, settings, store_url, told
from tests.mirrors import WRITES, Bench
from tests.reconciling import behind, everything_wrong, linked, put

__all__ = ["in_store", "store_url", "told"]
READ, COMPARE, PLAN, APPLY = "read everything", "compare links", "plan writes", "apply writes"


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Its people work yesterday: the flow looks at the real clock."""
    bench.clock.at = datetime.now(UTC) - timedelta(days=1)
    return bench


async def run(bench: Bench, *, dry: bool = False, **changed: Any) -> State[Any]:
    """Run the flow as its deployment does, with the mirror's own values."""
    one = bench.mirrors["a"]
    toy: Any = one.toy.beside(one.world, "a", bench._beside)
    intake, rules, limits = settings(bench)
    given = {"intake": intake, "rules": rules, "limits": limits, **changed}
    one.world.calls.clear()
    return await reconcile_mirror.fn("a", toy, **given, dry_run=dry)


def remove_locks(folder: str) -> None:
    for file in Path(folder).iterdir():
        file.unlink()


async def test_it_mends_shows_what_it_found_and_tells(bench: Bench, told: Told, in_store: object) -> None:
    world = await everything_wrong(bench)
    state = await run(bench)
    assert state.is_completed()
    assert "8 records read: 1 drift, 1 closed side, 2 missed, 1 twin, 1 gone; " in str(state.message)
    assert (await state.aresult())["drift"] == 1
    assert world.fields("2")["who"] == "ours"
    assert told.tasks == [READ, COMPARE, PLAN, APPLY, APPLY]
    assert told.payload("lockstep.mirror.reconciled")["found"]["twin"] == 1
    assert told.payload("lockstep.attention.parked")["count"] == 1
    assert {"lockstep.incident.created", "lockstep.incident.updated", "lockstep.mirror.finished"} <= set(told.names())
    ((key, report),) = told.artifacts
    assert key == "reconcile-a"
    assert "| 2 | [2](http://127.0.0.1/a/2) | owner | ours |" in report
    assert "A dry run" not in report
    ((key, rows),) = told.tables
    assert key == "reconcile-a-found"
    assert [row["found"] for row in rows] == ["drift", "closed side", "missed", "missed", "twin", "gone"]
    assert (rows[0]["there"], rows[0]["the store has"]) == ("http://127.0.0.1/a/2", "ours")


async def test_a_dry_run_shows_what_it_would_write_and_asks_for_nothing(
    bench: Bench, told: Told, in_store: object
) -> None:
    world = await everything_wrong(bench)
    state = await run(bench, dry=True)
    assert str(state.message).endswith("3 writes planned, nothing sent")
    assert not WRITES & set(world.calls)
    assert told.names() == ["lockstep.mirror.reconciled"]
    ((_, report),) = told.artifacts
    assert "nothing was changed, on either side" in report
    assert "## Dry run" in report


async def test_a_dry_run_is_what_the_form_begins_with() -> None:
    assert reconcile_mirror.parameters.properties["dry_run"]["default"] is True


async def test_a_plan_over_the_limits_waits_for_a_person(bench: Bench, told: Told, in_store: object) -> None:
    world = await linked(bench, 1, limits=Limits(drifts=0))
    await put(bench, 1, owner="ours")
    state = await run(bench)
    assert str(state.message).endswith("with 1 writes waits for approval")
    assert told.payload("lockstep.attention.brake")["writes"] == 1
    assert not WRITES & set(world.calls)
    assert [row["state"] for row in await bench.rows(Plan)] == ["held"]


async def test_other_rules_than_the_mirrors_are_refused_and_nothing_is_read(
    bench: Bench, told: Told, in_store: object
) -> None:
    world = await linked(bench, 1)
    state = await run(bench, rules=Rules(owner=Rule("out")))
    assert state.is_failed()
    assert "put the same values into both deployments" in str(state.message)
    assert told.payload("lockstep.attention.connection")["kind"] == "Misconfigured"
    assert world.calls == []
    assert (await run(bench)).is_completed()


async def test_between_two_spells_a_cycle_has_its_turn(
    bench: Bench, told: Told, in_store: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.reconcile, "PAGES", 1)
    monkeypatch.setattr(flows.reconcile, "LET_GO", 0.3)
    monkeypatch.setattr(tasks.progress, "SHOW_AFTER", 0.0)
    await linked(bench, 650)
    order: list[str] = []
    waiting: list[asyncio.Task[None]] = []

    async def wait_for_it(name: str) -> None:
        async with hold(bench.database, name, wait=20):
            order.append("cycle")

    async def beside(call: str) -> None:
        if call == "after everything":
            order.append("page")
            waiting.append(asyncio.create_task(wait_for_it("mirror:toy:a")))

    bench.meanwhile = beside
    assert (await run(bench)).is_completed()
    await asyncio.gather(*waiting)
    assert order.index("cycle") < len(order) - 1 - order[::-1].index("page")
    assert told.tasks.count(READ) == 5
    assert told.progress == sorted(told.progress)
    assert (len(told.progress), told.progress[-1]) == (5, 100.0)


async def test_a_lock_that_is_lost_in_the_middle_is_noticed_before_anything_is_kept(
    bench: Bench, told: Told, in_store: object, store_url: str
) -> None:
    world = await linked(bench, 1)
    behind(world, "1", who="ann")

    async def beside(call: str) -> None:
        if call == "after everything":
            remove_locks(f"{bench.database.url.database}.locks")

    bench.meanwhile = beside
    state = await run(bench)
    assert state.is_failed()
    assert "the lock 'mirror:toy:a' is gone" in str(state.message)
    assert (await bench.incident(1)).owner is None
    assert len(told.artifacts) == 1


async def test_a_second_one_leaves_the_work_to_the_first(bench: Bench, told: Told, in_store: object) -> None:
    world = await linked(bench, 1)
    async with hold(bench.database, "reconcile:toy:a"):
        assert (await run(bench)).name == "Busy"
    assert world.calls == []


async def test_a_read_that_fails_is_tried_again_from_its_beginning(bench: Bench, told: Told, in_store: object) -> None:
    world = await everything_wrong(bench)
    told.second_try = True
    failed: list[str] = []

    def fault(call: str) -> str | None:
        if call == "everything" and not failed:
            failed.append(call)
            return "before"
        return None

    world.fault = fault
    state = await run(bench)
    assert "1 drift, 1 closed side, 2 missed, 1 twin, 1 gone" in str(state.message)
    assert told.tried_again == [READ]


async def test_what_was_found_before_an_error_is_told(bench: Bench, told: Told, in_store: object) -> None:
    world = await everything_wrong(bench)
    # The first of these reads a change, the second looks for what no page showed.
    world.fault = lambda call: "before" if call == "get" and world.calls.count("get") > 1 else None
    state = await run(bench)
    assert state.is_failed()
    assert "2 missed" in told.artifacts[0][1]
    assert told.payload("lockstep.mirror.reconciled")["found"] == {"missed": 2, "twin": 1}


async def test_the_lock_is_the_one_that_cycles_take(bench: Bench, told: Told, in_store: object) -> None:
    await linked(bench, 1)
    one = bench.mirrors["a"]
    assert lock_name(one.toy.beside(one.world, "a", bench._beside)) == "mirror:toy:a"
