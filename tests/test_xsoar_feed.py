"""What XSOAR's feed shows, what its answers mean, and what a check says of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from blocks.errors import LockstepError, Misconfigured, NotFound, Refused, Stale, Unauthorized, Unavailable, Unreadable
from blocks.incidents import _xsoar as records
from blocks.incidents import _xsoar_words as words
from blocks.incidents.xsoar import Xsoar
from blocks.model import BadRecord, Incident, Page
from tests.contracts.incident_system import changed, entry, key, latest, pages
from tests.fakes.xsoar import PAGE, FakeXsoar
from tests.fakes.xsoar_server import UNSET
from tests.test_xsoar_calls import connector, fake, to

__all__ = ["fake"]


@pytest.fixture
async def system(fake: FakeXsoar) -> AsyncIterator[Xsoar]:
    async with to(fake) as opened:
        yield opened


def just_now(system: Xsoar) -> str:
    return system.start(datetime.now(UTC) - timedelta(seconds=5))


def answering(status: int, content: bytes, kind: str = "application/json", **settings: Any) -> Xsoar:
    answer = {"content-type": kind, "location": "https://login.xsoar.test/"}
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content, headers=answer))
    return connector(transport, **settings)


# the feed


async def test_a_new_incident_without_a_time_of_update_is_found_by_that_of_its_creation() -> None:
    fake = FakeXsoar(cloud=True)
    made = fake.people.create({"name": "never touched"})
    assert fake.server.incidents[made]["modified"] == UNSET
    async with to(fake) as system:
        found = await changed(system, just_now(system))
        assert found[made].updated == found[made].created
        walked = await pages(system.changes(just_now(system), 10))
        # The cursor goes on, or each cycle would read it again for ever.
        assert walked[-1].cursor > just_now(system)
        fake.people.edit(made, {"name": "touched"})
        assert (await changed(system, walked[-1].cursor))[made].fields["name"] == "touched"


async def test_a_new_entry_comes_although_it_is_no_change_of_its_incident() -> None:
    fake = FakeXsoar(touch=False)
    quiet, other = (fake.people.create({"name": name, "status": "1"}) for name in ("quiet", "other"))
    for one in (quiet, other):
        fake.people.say(one, "long ago")
        old = dict.fromkeys(("created", "modified"), "2026-01-01T00:00:00Z")
        fake.server.rooms[one][0] |= old
        fake.server.incidents[one] |= old
    async with to(fake) as system:
        assert await pages(system.changes(just_now(system), 10)) == []
        said = fake.people.say(quiet, "just now")
        walked = await pages(system.changes(just_now(system), 10))
        assert list(latest(walked)) == [quiet]
        entries = [one for page in walked for one in page.entries or ()]
        assert [one.text for one in entries] == ["long ago", "just now"], "the store may not know the older ones"
        assert entries[-1].id == said
        assert walked[-1].cursor >= records.text(entries[-1].created)
    async with to(fake, ask_each=False) as system:
        assert await pages(system.changes(just_now(system), 10)) == []


async def test_closed_incidents_are_not_asked_for_entries() -> None:
    fake = FakeXsoar()
    for _ in range(3):
        fake.people.create({"name": "a", "status": "2"})
    async with to(fake) as system:
        await pages(system.changes(just_now(system), 10))
    assert fake.calls["POST investigation"] == 0


async def test_no_search_goes_deep(fake: FakeXsoar) -> None:
    """A search further than 10,000 records in fails."""
    for number in range(30):
        made = fake.people.create({"name": f"n{number}"})
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        fake.server.incidents[made] |= {"created": at.isoformat(), "modified": at.isoformat()}
    async with to(fake, ask_each=False) as system:
        walked = await pages(system.changes(system.start(datetime(2026, 1, 1, tzinfo=UTC)), 5))
        assert len(latest(walked)) == 30
        assert all(sent["filter"]["page"] == 0 for call, sent in fake.sent if call == "POST incidents/search")
        everything = await pages(system.everything(5))
        assert len(latest(everything)) == 30


@pytest.mark.parametrize("size", [2, 3, 50])
async def test_a_server_that_counts_what_the_key_may_not_see_does_not_keep_the_walk_going(
    fake: FakeXsoar, system: Xsoar, size: int
) -> None:
    made = [fake.people.create({"name": f"n{number}"}) for number in range(5)]
    for one in made:
        fake.server.changed(one)
    original = fake.server.search

    def restricted(wanted: dict[str, Any]) -> Any:
        rows, total = original(wanted)
        return rows, total + 3

    fake.server.search = restricted  # type: ignore[method-assign]
    async with asyncio.timeout(10):
        assert set(await changed(system, just_now(system), size)) == set(made)
        assert set(latest(await pages(system.everything(size)))) == set(made)


async def test_a_record_that_moves_on_while_it_is_searched_does_not_take_the_cursor_along(fake: FakeXsoar) -> None:
    """Else what lies between would be lost, if the process died there."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = []
    for number in range(200):
        ids.append(fake.people.create({"name": f"n{number}"}))
        at = (start + timedelta(minutes=number)).isoformat()
        fake.server.incidents[ids[-1]] |= {"created": at, "modified": at}
    searches = 0

    def watch(stage: str, _method: str, route: str) -> None:
        nonlocal searches
        searches += (stage, route) == ("after", "incidents/search")

    fake.watch = watch
    original, moved = fake.server.search, False

    def late(wanted: dict[str, Any]) -> Any:
        nonlocal moved
        rows, total = original(wanted)
        if rows and " and (modified:<" in wanted["query"] and not moved:
            # Found by the index as it was, shown by the database as it is.
            moved = True
            rows = [rows[0] | {"modified": datetime.now(UTC).isoformat()}, *rows[1:]]
        return rows, total

    fake.server.search = late  # type: ignore[method-assign]
    async with to(fake, ask_each=False) as system:
        seen: set[str] = set()
        async for page in system.changes(system.start(start), 5):
            seen |= {one.id for one in page.incidents}
            behind = {raw["id"] for raw in fake.server.incidents.values() if _read(raw) < _cursor(page)}
            assert behind <= seen
    assert moved


def _read(raw: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(raw["modified"]).astimezone(UTC)


def _cursor(page: Page) -> datetime:
    return datetime.fromisoformat(page.cursor)


async def test_what_the_index_shows_late_is_read_again(fake: FakeXsoar) -> None:
    ahead = 0.0
    fake.clock = fake.server.clock = lambda: time.time() + ahead
    async with to(fake, ask_each=False) as system:
        fake.faults.lag, fake.faults.lag_every = 30, 2
        first, second = (fake.people.create({"name": name}) for name in ("seen at once", "seen late"))
        walked = await pages(system.changes(just_now(system), 10))
        assert set(latest(walked)) == {first}
        ahead = 31
        assert second in await changed(system, walked[-1].cursor)


async def test_one_bad_record_does_not_stop_its_page(fake: FakeXsoar, system: Xsoar) -> None:
    good, bad = (fake.people.create({"name": name}) for name in ("good", "bad"))
    fake.server.incidents[bad]["status"] = "odd"
    (page,) = [one for one in await pages(system.changes(just_now(system), 10)) if one.incidents or one.bad]
    assert ([one.id for one in page.incidents], [one.id for one in page.bad]) == ([good], [bad])
    with pytest.raises(Unreadable, match="ValueError"):
        await system.get(bad)


RAW = {
    "id": "5", "version": 12, "name": "a", "status": 1, "severity": 0.5, "labels": None, "CustomFields": None,
    "created": "2026-11-24T10:00:00.123456789+02:00", "modified": "2026-11-24T08:30:00Z", "investigationId": "5",
}  # fmt: skip


def test_times_and_numbers_are_read_as_they_vary() -> None:
    read = records.incident(RAW, ["scanip"])
    assert isinstance(read, Incident)
    assert read.created == datetime(2026, 11, 24, 8, 0, 0, 123456, UTC)
    assert (read.version, read.fields["severity"], read.fields["scanip"]) == ("000000000012", "0.5", None)
    unset = records.incident({**RAW, "modified": "1970-01-01T00:00:00Z", "severity": 0}, [])
    assert isinstance(unset, Incident)
    assert (unset.updated, unset.fields["severity"]) == (read.created, None)


@pytest.mark.parametrize(
    "odd",
    [
        {"id": 5}, {"id": "../5"}, {"status": None}, {"version": None}, {"name": ["x"]}, {"severity": "high"},
        {"labels": "x"}, {"created": "yesterday", "modified": ""}, {"created": UNSET, "modified": UNSET},
        {"created": 1700000000},
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_a_bad_record(odd: dict[str, Any]) -> None:
    assert isinstance(records.incident({**RAW, **odd}, []), BadRecord)
    assert isinstance(records.incident(odd, []), BadRecord)
    assert isinstance(records.incident("text", []), BadRecord)


# answers


async def test_a_route_that_the_cloud_lacks_is_said_so() -> None:
    async with answering(303, b"") as system:
        with pytest.raises(Misconfigured, match="key_id is set"):
            await system.get("5")


async def test_a_page_for_people_is_no_answer() -> None:
    async with answering(200, PAGE, "text/html") as system:
        for call in (system.get("5"), pages(system.changes(just_now(system), 5))):
            with pytest.raises(Unreadable, match="page for people"):
                await call
        report = await system.check()
    assert not report.ok
    assert "path in the address" in report.findings[-1].detail


async def test_a_key_of_an_8_without_its_id_meets_the_wrong_path() -> None:
    fake = FakeXsoar(cloud=True)
    system = to(fake)
    system.key_id = ""
    async with system:
        report = await system.check()
    assert "key_id is set" in report.findings[-1].detail


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"data": 1, "total": 1}', b"null", b'{"data": [], "total": "x"}'])
async def test_a_search_that_answers_something_else_is_unreadable(content: bytes) -> None:
    async with answering(200, content) as system:
        with pytest.raises(Unreadable):
            await pages(system.changes(just_now(system), 5))
        with pytest.raises(Unreadable):
            await system.get("5")


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "Could not find incident [5]", NotFound),
        (500, "Item not found (8)", NotFound),
        (404, "no", NotFound),
        (400, "DB Version '4' and Insert version '3' do not match", Stale),
        (400, "anything else", Refused),
        (500, "anything else", Unavailable),
        (403, "Forbidden", Unauthorized),
    ],
)
async def test_what_an_error_means(status: int, said: str, kind: type[LockstepError]) -> None:
    async with answering(status, b'{"error": "%s"}' % said.encode()) as system:
        with pytest.raises(kind) as caught:
            await system.get("5")
        assert caught.value.id == "5"


async def test_a_search_that_speaks_of_not_found_is_no_incident_that_is_gone() -> None:
    async with answering(500, b'{"error": "index not found"}') as system:
        with pytest.raises(Unavailable):
            await pages(system.changes(just_now(system), 5))


@pytest.mark.parametrize("kind", ["refuse", "drop", "lose", "hang", "fail", "fail after", "busy"])
async def test_whatever_becomes_of_a_create_it_is_found_or_sent_again_once(
    fake: FakeXsoar, system: Xsoar, kind: Any
) -> None:
    mark = key()
    fake.faults.plan(kind, "POST", "incident")
    with pytest.raises(Unavailable):
        await system.create({"name": "once", "status": "1"}, mark)
    if await system.find(mark) is None:
        await system.create({"name": "once", "status": "1"}, mark)
    assert [raw["name"] for raw in fake.server.incidents.values()] == ["once"]


@pytest.mark.parametrize("route", ["entry/formatted", "entry/upload"])
async def test_an_entry_whose_answer_was_lost_is_found_once(fake: FakeXsoar, system: Xsoar, route: str) -> None:
    made = await system.get(fake.people.create({"name": "a", "status": "1"}))
    ours = entry("words") if route == "entry/formatted" else entry(name="f", data=b"x")
    before = datetime.now(UTC)
    fake.faults.plan("lose", "POST", route)
    with pytest.raises(Unavailable):
        await system.add_entry(made, ours, key())
    found = await system.find_entry(made, ours, key(), before)
    assert found == "1@" + made.id
    assert await system.find_entry(made, ours, key(), before, {found}) is None


async def test_a_short_limit_is_waited_for(fake: FakeXsoar, system: Xsoar) -> None:
    fake.faults.retry_after = 1
    fake.faults.plan("limit", "POST", "incidents/search")
    assert await changed(system, just_now(system)) == {}


# the check


async def test_a_check_says_which_custom_field_is_missing(fake: FakeXsoar) -> None:
    async with to(fake, custom_fields=["Scan IP"]) as system:
        report = await system.check()
    assert "Scan IP" in report.findings[-1].detail
    assert "lower case" in report.findings[-1].detail


@pytest.mark.parametrize("zone", [-3, 3])
async def test_a_server_that_reads_times_in_another_zone_is_noticed(
    fake: FakeXsoar, system: Xsoar, zone: float
) -> None:
    made = fake.people.create({"name": "a", "status": "1"})
    fake.server.changed(made)
    fake.faults.zone = zone
    report = await system.check()
    assert not report.ok
    assert "UTC" in report.findings[-1].detail


async def test_a_check_says_whether_each_incident_must_be_asked_for_entries() -> None:
    fake = FakeXsoar()
    made = fake.people.create({"name": "a", "status": "1"})
    async with to(fake) as system:
        assert "can be off" in (await system.check()).findings[-1].detail
        fake.people.say(made, "later")
        fake.server.rooms[made][0]["created"] = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        assert "leave ask_each on" in (await system.check()).findings[-1].detail


def test_no_query_is_made_of_a_time_without_its_quotes() -> None:
    assert words.moment(datetime(2026, 1, 2, 3, 4, 5, 678, UTC)) == '"2026-01-02T03:04:05Z"'
