"""A report waits in the store; a person has it published or deleted: once, before its deadline, whoever dies when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

import tasks.reporting.publish
from blocks import points
from blocks.errors import LockstepError, Misconfigured, Refused, Unavailable
from blocks.store import Database
from blocks.store.audit import AUDIT, Actor
from blocks.store.cache import ITEM
from blocks.store.crypto import new_key
from blocks.store.incidents import create
from tasks.approvals import kind_of
from tasks.reporting.decide import Decision, decide_report
from tasks.reporting.gather import gather
from tasks.reporting.keep import REPORT, keep, made_by
from tasks.reporting.publish import folder, publish
from tasks.reporting.which import Which
from tests.mirrors import Clock, Killed

ANN, BOB = Actor("ann", "run of ann"), Actor("bob")
HOUR = timedelta(hours=1)
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Desk:
    """Where reports are made and decided, and the folder that they go to."""

    def __init__(self, database: Database, place: Path) -> None:
        self.database, self.place, self.clock = database, place / "published", Clock(START)
        self.artifacts: list[str] = []
        self.silent = False

    async def make(self, title: str = "Weekly", target: str = "") -> int:
        content = await gather(self.database, title, Which(), self.clock())
        row = await keep(self.database, content, target or str(self.place), 72 * HOUR, ANN, self.clock())
        return int(row["id"])

    async def decide(self, number: int, decision: Decision = "approve", actor: Actor = BOB) -> Any:
        return await decide_report(self.database, number, decision, actor, "because", self.clock())

    async def publish(self, number: int) -> list[str]:
        return await publish(self.database, number, self.clock)

    async def approve(self, number: int) -> list[str]:
        """As a person runs it, from the beginning."""
        await self.decide(number)
        return await self.publish(number)

    async def row(self, number: int) -> Any:
        async with self.database.read() as connection:
            return (await connection.execute(select(REPORT).where(REPORT.c.id == number))).one()

    async def kept(self) -> int:
        """How many files the cache has."""
        async with self.database.read() as connection:
            return len(list(await connection.execute(select(ITEM.c.name))))

    async def audit(self) -> list[tuple[str, str]]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(AUDIT.c.actor, AUDIT.c.action).order_by(AUDIT.c.id))
            return [(actor, action) for actor, action in rows if "report" in action]

    def files(self) -> dict[str, bytes]:
        """The ending of a name → what was published."""
        return {path.suffix: path.read_bytes() for path in self.place.glob("*")}

    async def left(self, markdown: str, *_: str) -> UUID | None:
        self.artifacts.append(markdown)
        return None if self.silent else uuid4()


@pytest.fixture
def desk(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("LOCKSTEP_KEYS", new_key())
    made = Desk(database, tmp_path)
    monkeypatch.setattr(tasks.reporting.publish, "leave", made.left)
    yield made
    points.watch(None)


def die_at(point: str) -> None:
    def die(reached: str) -> None:
        if reached == point:
            points.watch(None)
            raise Killed

    points.watch(die)


async def test_until_a_person_agrees_nothing_is_published_and_all_is_encrypted(desk: Desk, database: Database) -> None:
    await create(database, {"title": "correct horse"}, ANN, START)
    number = await desk.make()
    assert (await desk.row(number)).state == "waiting"
    assert (desk.files(), desk.artifacts, await desk.kept()) == ({}, [], 3)
    async with database.read() as connection:
        assert all(b"correct" not in token for token in (await connection.execute(select(ITEM.c.value))).scalars())


async def test_an_approved_report_is_published_whole_and_forgotten_here(desk: Desk, database: Database) -> None:
    await create(database, {"title": "correct horse"}, ANN, START)
    number = await desk.make()
    places = await desk.approve(number)
    assert set(desk.files()) == {".csv", ".json", ".html"}
    assert all(b"correct horse" in data for data in desk.files().values())
    assert [Path(place).name for place in places] == [
        f"weekly-{database.id}-{number}.{ending}" for ending in ("csv", "json", "html")
    ]
    assert (await desk.row(number)).state == "published"
    assert await desk.kept() == 0
    (artifact,) = desk.artifacts
    assert "approved by bob: because" in artifact
    assert await desk.audit() == [("ann", "made report"), ("bob", "approved report")]


async def test_what_is_published_is_what_waited_not_what_is_there_now(desk: Desk, database: Database) -> None:
    await create(database, {"title": "before"}, ANN, START)
    number = await desk.make()
    await create(database, {"title": "after"}, ANN, START)
    await desk.approve(number)
    assert b"before" in desk.files()[".csv"]
    assert b"after" not in desk.files()[".csv"]


async def test_a_rejected_report_is_deleted_at_once(desk: Desk) -> None:
    number = await desk.make()
    await desk.decide(number, "reject")
    row = await desk.row(number)
    assert (row.state, row.facts, row.decided_by, row.decided_why) == ("rejected", None, "bob", "because")
    assert (await desk.kept(), desk.files()) == (0, {})
    assert await desk.audit() == [("ann", "made report"), ("bob", "rejected report")]


@pytest.mark.parametrize("first", ["approve", "reject"])
async def test_a_decision_is_made_once(desk: Desk, first: Decision) -> None:
    number = await desk.make()
    await desk.decide(number, first)
    if first == "approve":
        await desk.publish(number)
    for second in ("approve", "reject"):
        with pytest.raises(Refused, match=r"it is (published|rejected) by bob"):
            await desk.decide(number, second)
    assert len(await desk.audit()) == 2


async def test_at_its_deadline_a_report_can_still_be_approved_and_after_it_is_deleted(desk: Desk) -> None:
    early, late = await desk.make(), await desk.make()
    desk.clock.at = (await desk.row(early)).deadline - timedelta(milliseconds=1)
    await desk.approve(early)
    desk.clock.go(60)
    for decision in ("approve", "reject"):
        with pytest.raises(Refused, match=r"deadline was 2026-11-27 12:00 UTC.*make it anew|it is expired"):
            await desk.decide(late, decision)
    row = await desk.row(late)
    assert (row.state, row.facts) == ("expired", None)
    assert await desk.kept() == 0
    assert ("bob", "approved report") in await desk.audit()
    assert len(await desk.audit()) == 3


async def test_what_nobody_decided_is_deleted_by_the_next_report(desk: Desk) -> None:
    number = await desk.make()
    desk.clock.go(75 * 3600)
    other = await desk.make()
    assert [(await desk.row(one)).state for one in (number, other)] == ["expired", "waiting"]
    assert (await desk.row(number)).facts is None
    assert await desk.kept() == 3


async def test_an_approved_report_whose_folder_cannot_be_written_waits_for_another_approval(desk: Desk) -> None:
    number = await desk.make()
    desk.place.write_text("a file, where the folder should be")
    await desk.decide(number)
    with pytest.raises(Unavailable, match=r"published cannot be written: \w+Error.*approve again"):
        await desk.publish(number)
    assert (await desk.row(number)).state == "approved"
    desk.place.unlink()
    desk.clock.go(6 * 24 * 3600)
    with pytest.raises(Refused, match="approved by bob"):
        await desk.decide(number, "reject")
    await desk.decide(number, "approve", ANN)
    await desk.publish(number)
    assert len(desk.files()) == 3
    assert (await desk.row(number)).decided_by == "bob"
    assert len(await desk.audit()) == 2


async def test_one_that_could_not_be_published_for_too_long_is_over(desk: Desk) -> None:
    number = await desk.make()
    await desk.decide(number)
    desk.clock.go(8 * 24 * 3600)
    with pytest.raises(Refused, match="make it anew"):
        await desk.approve(number)
    assert (await desk.row(number)).state == "expired"


async def test_where_prefect_takes_no_artifact_the_report_is_not_called_published(desk: Desk) -> None:
    number = await desk.make()
    desk.silent = True
    with pytest.raises(Unavailable, match="approve again"):
        await desk.approve(number)
    desk.silent = False
    await desk.approve(number)
    assert (await desk.row(number)).state == "published"


@pytest.mark.parametrize(
    "point", ["before commit report decision", "after commit report decision", "before commit published"]
)
async def test_one_who_dies_while_approving_is_followed_by_one_who_ends_it(desk: Desk, point: str) -> None:
    number = await desk.make()
    die_at(point)
    with pytest.raises(Killed):
        await desk.approve(number)
    await desk.approve(number)
    assert (await desk.row(number)).state == "published"
    assert len(desk.files()) == 3
    assert await desk.kept() == 0
    assert await desk.audit() == [("ann", "made report"), ("bob", "approved report")]


async def test_one_who_dies_after_it_was_published_leaves_nothing_to_do(desk: Desk) -> None:
    number = await desk.make()
    die_at("after commit published")
    with pytest.raises(Killed):
        await desk.approve(number)
    with pytest.raises(Refused, match="published by bob"):
        await desk.approve(number)
    assert len(desk.artifacts) == 1


@pytest.mark.parametrize(
    "point", ["before commit report number", "after commit report number", "after commit cache", "before commit report"]
)
async def test_one_who_dies_while_making_a_report_leaves_none_that_could_be_approved(desk: Desk, point: str) -> None:
    die_at(point)
    with pytest.raises(Killed):
        await desk.make()
    assert await made_by(desk.database, ANN.run) is None
    with pytest.raises(Refused, match="nothing has the number 1"):
        await kind_of(desk.database, 1)
    desk.clock.go(75 * 3600)
    number = await desk.make()
    assert await desk.kept() == 3
    await desk.approve(number)


async def test_one_who_dies_after_a_report_was_made_finds_it_again(desk: Desk) -> None:
    die_at("after commit report")
    with pytest.raises(Killed):
        await desk.make()
    row = await made_by(desk.database, ANN.run)
    assert row is not None
    assert await made_by(desk.database, "") is None
    await desk.approve(row["id"])
    assert await made_by(desk.database, ANN.run) is None


async def test_two_who_approve_at_once_publish_once(desk: Desk) -> None:
    number = await desk.make()
    ended = await asyncio.gather(*(desk.approve(number) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, list) for one in ended) == 1
    assert all(isinstance(one, list | Refused) for one in ended)
    assert len(desk.artifacts) == 1
    assert await desk.audit() == [("ann", "made report"), ("bob", "approved report")]


async def test_a_number_is_of_a_plan_or_of_a_report_and_what_waits_is_listed(desk: Desk) -> None:
    async with desk.database.begin("test") as connection:
        plan = await desk.database.draw(connection, "plan", 1)
    number = await desk.make()
    assert number != plan
    assert await kind_of(desk.database, number) == "report"
    with pytest.raises(Refused, match=rf"nothing has the number {plan}. What waits: report {number}"):
        await kind_of(desk.database, plan)
    with pytest.raises(Refused, match="there is no such report"):
        await desk.decide(plan)


async def test_files_go_wherever_fsspec_can_write(desk: Desk) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    number = await desk.make(target="memory://reports/weekly")
    places = await desk.approve(number)
    assert all(place.startswith("memory:///reports/weekly/") for place in places)
    there = MemoryFileSystem().ls("/reports/weekly", detail=False)
    assert {f"memory://{path}" for path in there} >= set(places)


@pytest.mark.parametrize(
    ("typed", "goes_to"),
    [
        ("", "/state/reports"), ("  ", "/state/reports"), ("/srv/reports/", "/srv/reports"), ("~/r", "~/r"),
        ("file:///srv/r", "file:///srv/r"), ("memory://r", "memory://r"),
    ],
)  # fmt: skip
def test_a_folder_is_where_it_was_typed_or_in_the_state_folder(typed: str, goes_to: str) -> None:
    assert folder(typed, {"LOCKSTEP_HOME": "/state"}) == goes_to


def test_without_a_state_folder_it_is_in_the_home() -> None:
    assert folder("", {}) == "~/.lockstep/reports"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("reports", "is no folder"), ("../reports", "is no folder"), ("/", "is no folder"), ("s3://", "is no folder"),
        ("nothing://x", "cannot be used by this worker"), ("simplecache::memory://x", "is no folder"),
        ("ftp://ann:hunter2@127.0.0.1/x", "no login"), ("memory://x?sig=hunter2", "no login and no query"),
        ("/a\0b", "NUL"), ("/" + "x" * 1000, "1,000 are allowed"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_is_told_when_the_report_is_made(typed: str, why: str) -> None:
    with pytest.raises((Misconfigured, Refused), match=why) as caught:
        folder(typed, {})
    assert isinstance(caught.value, LockstepError)
    assert "hunter2" not in str(caught.value)
