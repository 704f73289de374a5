"""What is gone; dry runs; reads that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from blocks.errors import LockLost, Unauthorized, Unavailable, Unreadable
from blocks.model import Page
from blocks.rules import Limits, Rules
from blocks.store.tables import Conflict, Incident, Intent, Link, Plan, PlanLine, System
from tasks.mirroring.compare import compare_links
from tasks.mirroring.full_read import read_pages
from tasks.mirroring.reconciling import Reconciling
from tests.mirrors import WRITES, Bench, LiveToy
from tests.reconciling import WRONG, behind, everything_wrong, linked, mends_and_rests, one


@pytest.mark.parametrize(
    ("gone", "state", "status"), [("keep", "gone", "new"), ("close", "gone", "closed"), ("unlink", "unlinked", "new")]
)
async def test_what_no_page_shows_and_is_not_found_is_gone_at_once(
    bench: Bench, gone: Any, state: str, status: str
) -> None:
    world = await linked(bench, 2, rules=Rules(gone=gone))
    world.records["1"].retired = True
    await bench.cycle()
    assert (await bench.link(1))["state"] == "linked"
    _, findings = await bench.reconcile()
    assert one(findings, "gone").incident_id == 1
    assert ((await bench.link(1))["state"], (await bench.incident(1)).status) == (state, status)
    assert world.calls.count("get") == 1
    _, findings = await bench.reconcile()
    assert findings.counts == Counter({"unlinked": 1} if gone == "unlink" else {})


async def test_what_is_gone_counts_against_the_brake(bench: Bench) -> None:
    world = await linked(bench, 2, rules=Rules(gone="close"), limits=Limits(closes=0))
    world.records["1"].retired = True
    await bench.reconcile()
    assert (await bench.incident(1)).status == "new"
    assert [row["state"] for row in await bench.rows(Plan)][-1] == "held"


@pytest.mark.parametrize("call", ["everything", "get"])
async def test_nothing_is_gone_while_a_read_fails(bench: Bench, call: str) -> None:
    world = await linked(bench, 2, rules=Rules(gone="close"))
    world.records["1"].retired = True
    world.fault = lambda name: "before" if name == call else None
    with pytest.raises(Unavailable):
        await bench.reconcile()
    world.fault = lambda _call: None
    assert (await bench.incident(1)).status == "new"
    assert (await bench.link(1))["missing_since"] is None
    await bench.reconcile()
    assert (await bench.incident(1)).status == "closed"


async def test_a_read_that_shows_none_of_many_proves_nothing(bench: Bench) -> None:
    world = await linked(bench, 4, rules=Rules(gone="keep"), limits=Limits(unlinks=3))
    for record in world.records.values():
        record.retired = True
    with pytest.raises(Unauthorized, match="none of the 4 linked records"):
        await bench.reconcile()
    assert {row["state"] for row in await bench.rows(Link)} == {"linked"}


async def test_what_a_broken_read_had_shown_says_nothing_of_the_one_that_begins_anew(bench: Bench) -> None:
    world = await linked(bench, 4, rules=Rules(gone="keep"), limits=Limits(unlinks=3))
    reading = await Reconciling.begin(await bench.open(), dry=False)
    reading.size = 1
    await read_pages(reading, pages=1)
    world.fault = lambda call: "before" if call == "everything" else None
    with pytest.raises(Unavailable):
        await read_pages(reading)
    world.fault = lambda _call: None
    for record in world.records.values():
        record.retired = True
    with pytest.raises(Unauthorized, match="none of the 4 linked records"):
        await read_pages(reading)


async def test_what_is_there_but_in_no_page_is_listed_and_taken_in(bench: Bench) -> None:
    world = await linked(bench, 2)
    behind(world, "1", who="ann")
    hidden = world.records.pop("1")

    def back(call: str) -> None:
        if call == "get":
            world.records["1"] = hidden

    world.between = back
    _, findings = await bench.reconcile()
    assert one(findings, "out of scope").incident_id == 1
    assert (await bench.incident(1)).owner == "ann"


async def test_what_was_gone_and_is_there_again_is_linked_again(bench: Bench) -> None:
    world = await linked(bench, 2)
    world.records["1"].retired = True
    await bench.reconcile()
    assert (await bench.link(1))["state"] == "gone"
    world.records["1"].retired = False
    await bench.cycle()
    assert (await bench.link(1))["state"] == "gone"
    _, findings = await bench.reconcile()
    assert one(findings, "missed").words == "it is there again"
    assert (await bench.link(1))["state"] == "linked"
    await mends_and_rests(bench)


async def test_a_dry_run_finds_the_same_shows_its_writes_and_changes_nothing(bench: Bench) -> None:
    world = await everything_wrong(bench)
    tables = (Incident, Link, Conflict, Intent, System)
    before = [await bench.rows(table) for table in tables], await bench.parked()
    mirror, findings = await bench.reconcile(dry=True)
    assert findings.counts == WRONG
    assert ([await bench.rows(table) for table in tables], await bench.parked()) == before
    assert not WRITES & set(world.calls)
    assert mirror.tally.counts["read"] == 8
    plan = (await bench.rows(Plan))[-1]
    assert plan["state"] == "dry run"
    lines = [row for row in await bench.rows(PlanLine) if row["plan_id"] == plan["id"]]
    assert sorted((row["incident_id"], row["verb"], row["kind"]) for row in lines) == [
        (1, "store", "store"),
        (2, "update", "drift"),
        (4, "gone", "close"),
    ]
    await bench.cycle()
    assert not WRITES & set(world.calls)


async def test_a_run_mends_what_its_dry_run_showed(bench: Bench) -> None:
    world = await everything_wrong(bench)
    _, findings = await bench.reconcile()
    assert findings.counts == WRONG
    assert ((await bench.incident(1)).owner, world.fields("2")["who"]) == ("ann", "ours")
    assert ((await bench.incident(4)).status, len(await bench.rows(Incident))) == ("closed", 8)
    _, findings = await bench.reconcile()
    assert findings.counts == Counter({"closed side": 1, "twin": 1})


@pytest.mark.parametrize("dry", [True, False])
async def test_a_read_that_fails_begins_anew_and_counts_nothing_twice(bench: Bench, dry: bool) -> None:  # noqa: FBT001  a row of the table

    world = await everything_wrong(bench)
    r = await Reconciling.begin(await bench.open(), dry=dry)
    r.size = 3
    world.fault = lambda call: "before" if call == "everything" and world.calls.count("everything") == 3 else None
    world.calls.clear()
    with pytest.raises(Unavailable):
        await read_pages(r)
    assert await read_pages(r, pages=1) is False
    while not await read_pages(r, pages=1):
        pass
    assert await compare_links(r)
    assert r.findings.counts == WRONG
    if dry:
        assert r.plan.lines == 3


class Torn(LiveToy):
    """A system whose larger pages cannot be read."""

    _block_type_name = "Torn"
    asked: ClassVar[list[int]] = []

    async def everything(self, size: int) -> AsyncIterator[Page]:
        self.asked.append(size)
        if size > 25:
            raise Unreadable("torn", system="toy")
        async for page in super().everything(size):
            yield page


async def test_an_unreadable_page_is_asked_for_in_halves(bench: Bench) -> None:
    world = await linked(bench, 3)
    behind(world, "3", who="ann")
    bench.change(toy=Torn)
    Torn.asked.clear()
    await bench.reconcile()
    assert Torn.asked == [200, 100, 50, 25]
    assert (await bench.incident(3)).owner == "ann"


async def test_a_lock_that_was_lost_keeps_nothing_of_what_was_read(bench: Bench) -> None:

    world = await linked(bench, 1)
    behind(world, "1", who="ann")

    async def lost() -> None:
        raise LockLost("gone")

    r = await Reconciling.begin(await bench.open(), dry=False, guard=lost)
    with pytest.raises(LockLost):
        await read_pages(r)
    await bench.settled()
    assert (await bench.incident(1)).owner is None
