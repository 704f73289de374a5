"""The flows of a report: made and waiting, signalled once, then published or deleted by its number; and new keys."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select

import tasks.reporting.which
from blocks.store import Database
from blocks.store.cache import ITEM, Cache
from blocks.store.crypto import new_key
from blocks.store.incidents import Actor, create
from flows.approve import approve_or_reject
from flows.house.attention import what_to_do
from flows.keys import rotate_keys
from flows.reports import make_report
from tasks.reporting import gather
from tasks.reporting.which import Which
from tests.flowing import Told, in_store, told

__all__ = ["in_store", "told"]
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_KEYS", new_key())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder that reports go to."""
    return tmp_path / "published"


@pytest.fixture
async def three(in_store: Database) -> Database:
    """Three incidents: one low, two high, of which one is closed."""
    for title, severity, status in (("a", "low", "new"), ("b", "high", "active"), ("c", "high", "closed")):
        fields = {"title": title, "severity": severity, "status": status, "owner": "=cmd()"}
        await create(in_store, fields, Actor("ann"), NOW)
    return in_store


async def made(place: Path, title: str = "Weekly", **more: Any) -> Any:
    return await make_report.fn(title, publish_to=str(place), **more)


def published(place: Path) -> dict[str, bytes]:
    return {path.suffix: path.read_bytes() for path in place.glob("*")}


async def test_a_report_waits_and_a_person_is_told_its_number(three: Database, told: Told, place: Path) -> None:
    state = await made(place)
    assert (state.name, state.is_completed()) == ("AwaitingApproval", True)
    assert str(state.message).startswith("awaiting approval 1: 3 incidents, until ")
    payload = told.payload("lockstep.attention.approval")
    assert (payload["report_id"], payload["incidents"], payload["target"]) == (1, 3, str(place))
    assert told.events[0][1]["prefect.resource.id"] == "lockstep.report.1"
    ((key, artifact),) = told.artifacts
    assert key == "report-1"
    assert "run **approve_or_reject** with number 1" in artifact
    assert published(place) == {}


async def test_what_a_person_is_told_names_the_report(three: Database, told: Told, place: Path) -> None:
    await made(place)
    assert "approve_or_reject" in what_to_do("lockstep.attention.approval")


async def test_approved_it_is_written_to_its_folder(three: Database, told: Told, place: Path) -> None:
    await made(place)
    told.clear()
    state = await approve_or_reject.fn(1, "approve", "ann", "looks right")
    assert state.is_completed()
    assert str(state.message).startswith("report 1 is approved and published: file:///")
    rows = list(csv.DictReader(io.StringIO(published(place)[".csv"].decode("utf-8-sig"))))
    assert [(row["title"], row["owner"]) for row in rows] == [("c", "'=cmd()"), ("b", "'=cmd()"), ("a", "'=cmd()")]
    ((key, artifact),) = told.artifacts
    assert key == "report-1"
    assert "approved by ann: looks right" in artifact


async def test_rejected_it_is_deleted(three: Database, told: Told, place: Path) -> None:
    await made(place)
    state = await approve_or_reject.fn(1, "reject", "ann", "no")
    assert state.message == "report 1 is rejected and deleted"
    assert published(place) == {}
    async with three.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(ITEM))).scalar_one() == 0
    again = await approve_or_reject.fn(1, "approve", "bob")
    assert again.is_failed()
    assert "rejected by ann" in str(again.message)


async def test_a_number_of_nothing_is_told_what_waits(three: Database, told: Told, place: Path) -> None:
    await made(place)
    state = await approve_or_reject.fn(7, "approve", "ann")
    assert state.is_failed()
    assert "nothing has the number 7. What waits: report 1" in str(state.message)


async def test_a_report_has_the_incidents_that_match(three: Database, told: Told, place: Path) -> None:
    await made(place, which=Which(severity=["high"], status=["new", "active"], owner=[" =cmd() ", " "], created_days=1))
    await approve_or_reject.fn(1, "approve", "ann")
    found = orjson.loads(published(place)[".json"])
    assert [one["title"] for one in found["incidents"]] == ["b"]
    assert found["which"] == "status new or active; severity high; owner =cmd(); created in the last 1 days"


async def test_a_report_of_nothing_says_so(three: Database, told: Told, place: Path) -> None:
    assert "1: 0 incidents" in str((await made(place, which=Which(text="nowhere"))).message)
    await approve_or_reject.fn(1, "approve", "ann")
    assert orjson.loads(published(place)[".json"])["incidents"] == []


@pytest.mark.parametrize("evil", ["' OR 1=1 --", "%", "_", '"', "a' UNION SELECT 1 --"])
async def test_what_is_typed_is_a_value_and_no_query(three: Database, told: Told, place: Path, evil: str) -> None:
    for which in (Which(text=evil), Which(label=evil), Which(owner=[evil]), Which(type=[evil])):
        assert "0 incidents" in str((await made(place, which=which)).message)


async def test_a_report_of_too_many_incidents_is_refused(
    three: Database, told: Told, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MANY", 2)
    state = await made(place)
    assert state.is_failed()
    assert "over 2 incidents match" in str(state.message)
    monkeypatch.setattr(gather, "MANY", 3)
    assert (await made(place)).is_completed()


async def test_a_report_of_too_much_text_is_refused(
    three: Database, told: Told, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "LARGEST", 20)
    state = await made(place)
    assert state.is_failed()
    assert "ask for less" in str(state.message)


async def test_incidents_of_many_pages_are_all_there_once(
    three: Database, told: Told, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.reporting.which, "MOST", 1)
    await made(place)
    await approve_or_reject.fn(1, "approve", "ann")
    assert [one["id"] for one in orjson.loads(published(place)[".json"])["incidents"]] == [3, 2, 1]


async def test_a_folder_that_cannot_be_fails_the_run_in_words(three: Database, told: Told) -> None:
    state = await make_report.fn("Weekly", publish_to="nowhere")
    assert state.is_failed()
    assert "publish_to is no folder" in str(state.message)
    assert told.events == []


async def test_without_keys_nothing_is_kept_and_the_run_says_what_to_do(
    three: Database, told: Told, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCKSTEP_KEYS")
    state = await made(place)
    assert state.is_failed()
    assert "LOCKSTEP_KEYS is not set" in str(state.message)


async def test_a_run_that_is_done_again_tells_of_the_report_that_it_made(
    three: Database, told: Told, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "5d6f2a0e-4a0c-4b5f-9e57-0d8a2f6f0001")
    first, second = await made(place), await made(place)
    assert first.message == second.message
    assert told.names() == ["lockstep.attention.approval"] * 2
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "5d6f2a0e-4a0c-4b5f-9e57-0d8a2f6f0002")
    assert "awaiting approval 2" in str((await made(place)).message)


async def test_new_keys_are_put_in_place_of_the_old(
    in_store: Database, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, old, new = Cache(in_store, "jira"), new_key(), new_key()
    monkeypatch.setenv("LOCKSTEP_KEYS", old)
    await cache.set("a", 1)
    monkeypatch.setenv("LOCKSTEP_KEYS", new)
    state = await rotate_keys.fn()
    assert state.is_failed()
    assert "0 values were encrypted again; 1 are under a key that LOCKSTEP_KEYS lacks" in str(state.message)
    monkeypatch.setenv("LOCKSTEP_KEYS", f"{new},{old}")
    state = await rotate_keys.fn()
    assert state.message == "1 values were encrypted again: all are under the first key, older ones may go"
    monkeypatch.delenv("LOCKSTEP_KEYS")
    assert "is not set" in str((await rotate_keys.fn()).message)
