"""Roundup's connector against what Roundup and the network do to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks.errors import Misconfigured, NotFound, Refused, Stale, Unavailable, Unreadable
from blocks.incidents import AnyIncidentSystem, Roundup
from blocks.incidents import _roundup as records
from blocks.model import Incident
from tests.contracts.incident_system import changed, entry, key, pages
from tests.fakes.roundup import FakeRoundup, FakeTransport


def connector(transport: httpx.AsyncBaseTransport, properties: list[str] | None = None) -> Roundup:
    system = Roundup(
        address="http://roundup.test/tracker",
        login="admin",
        password=SecretStr("secret"),
        properties=properties or [],
    )
    system._transport = transport
    return system


@pytest.fixture
def fake() -> FakeRoundup:
    return FakeRoundup(extra=("closereason", "closenotes"))


@pytest.fixture
async def system(fake: FakeRoundup) -> AsyncIterator[Roundup]:
    async with connector(FakeTransport(fake)) as opened:
        yield opened


def answering(status: int, content: bytes) -> Roundup:
    return connector(httpx.MockTransport(lambda _: httpx.Response(status, content=content)))


class TestBlock(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[AnyIncidentSystem]:
        return Roundup

    # It would fetch the logo from the internet; we have none.
    test_has_a_valid_image = None  # type: ignore[assignment]


# the form


@pytest.mark.parametrize(
    "address", ["", "host/tracker", "ftp://host/", "https://", "https://me:secret@host/", "https://host/?x=1"]
)
def test_an_address_that_is_none_is_refused_in_words_without_the_password(address: str) -> None:
    with pytest.raises(ValidationError, match="https://host/tracker/") as caught:
        Roundup(address=address, login="admin", password=SecretStr("hunter2"))
    assert "hunter2" not in str(caught.value)


def test_the_same_tracker_written_differently_is_the_same() -> None:
    said = ("https://Host.test/soc", "https://host.test/soc/", " https://host.test/soc// ")
    prints = {Roundup(address=one, login="a", password=SecretStr("b")).fingerprint() for one in said}
    assert prints == {"roundup https://host.test/soc/"}


async def test_a_block_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await answering(200, b"").get("1")


# declared calls, counted at the server


async def test_the_declared_calls_are_the_ones_that_are_made(fake: FakeRoundup, system: Roundup) -> None:
    declared = system.capabilities.calls
    fake.seed(3, messages_each=2)
    fake.people.file("1", "a.txt", b"a")
    fake.people.name("keyword", "phishing")

    def counted() -> int:
        total = fake.calls.total()
        fake.calls.clear()
        return total

    since = system.start(datetime.now(UTC) - timedelta(minutes=1))
    (page,) = await pages(system.changes(since, 50))
    assert counted() == declared.page
    await system.entries(page.incidents, {"file1"})
    assert counted() == declared.entries
    await system.entries(page.incidents, {"file1", *(f"msg{n}" for n in range(1, 7))})
    assert counted() == 0, "what is known costs nothing"
    made = await system.create({"title": "T", "status": "unread", "keyword": ["phishing"]}, key())
    assert counted() == declared.create
    made = await system.update(made, {"status": "in-progress", "assignedto": "analyst", "title": "U"})
    assert counted() == declared.update
    await system.add_entry(made, entry("words"), key())
    assert counted() == declared.entry
    assert await system.find("") is None
    assert counted() == 0, "an empty key would find every message"
    await system.add_entry(made, entry(name="f", data=b"x"), key())
    assert counted() == declared.file
    assert (await pages(system.changes(page.cursor, 50))) != []
    assert counted() == declared.page + declared.changed


async def test_an_idle_poll_is_one_call_even_when_the_last_change_is_long_ago(
    fake: FakeRoundup, system: Roundup
) -> None:
    fake.seed(5, start=time.time() - 90 * 86400)
    (page,) = await pages(system.changes(system.start(datetime.now(UTC) - timedelta(days=100)), 50))
    fake.calls.clear()
    await pages(system.changes(page.cursor, 50))
    assert fake.calls.total() <= 2


# the feed


async def test_a_bad_record_is_set_aside_raw_and_the_rest_goes_on(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(5)
    since = system.start(datetime.now(UTC) - timedelta(minutes=1))
    await pages(system.changes(since, 50))
    broken = {2: b'{"id":"2","activity":"yesterday"}', 3: b'{"activity":"2026-11-01.00:00:00"}', 4: b'"what?"'}
    for number, raw in broken.items():
        for asked in fake.tracker.issues[number].shown:
            fake.tracker.issues[number].shown[asked] = raw
    found = await pages(system.changes(since, 2))
    assert {one.id for page in found for one in page.incidents} == {"1", "5"}
    bad = {one.raw: one for page in found for one in page.bad}
    assert set(bad) == {raw.decode() for raw in broken.values()}
    assert bad['{"id":"2","activity":"yesterday"}'].id == "2"
    assert all(one.error for one in bad.values())


async def test_a_late_record_is_not_missed_where_searches_lag(fake: FakeRoundup) -> None:
    now = time.time()
    fake.clock = fake.tracker.clock = lambda: now
    fake.seed(1, start=now - 60)
    fake.faults.lag = 8
    async with connector(FakeTransport(fake)) as system:
        since = system.start(datetime.fromtimestamp(now - 120, UTC))
        fake.people.edit("1", title="early")
        now += 2
        late = fake.people.create(title="late")
        now += 3
        fake.people.edit("1", title="later still")
        assert (await system.get("1")).fields["title"] == "later still", "a single read is never behind"
        first = await pages(system.changes(since, 50))
        assert [one.fields["title"] for page in first for one in page.incidents] == ["Incident 0"]
        now += 4.5
        second = await pages(system.changes(first[-1].cursor, 50))
        assert late not in {one.id for page in first for one in page.incidents}
        now += 60
        third = await changed(system, second[-1].cursor)
        assert late in third
        assert third["1"].fields["title"] == "later still"


async def test_an_older_record_that_shows_up_after_newer_ones_is_not_missed(fake: FakeRoundup) -> None:
    now = time.time()
    fake.clock = fake.tracker.clock = lambda: now
    fake.seed(3, start=now - 60)
    fake.faults.lag, fake.faults.lag_every = 8, 2
    async with connector(FakeTransport(fake)) as system:
        fake.people.edit("2", title="shown late")
        now += 4
        fake.people.edit("3", title="shown at once")
        first = await pages(system.changes(system.start(datetime.fromtimestamp(now - 120, UTC)), 50))
        assert {one.fields["title"] for page in first for one in page.incidents} >= {"shown at once", "Incident 1"}
        now += 6
        second = await changed(system, first[-1].cursor)
        assert second["2"].fields["title"] == "shown late"
        assert second["2"].version < system.rewound(first[-1].cursor, timedelta(0))


async def test_a_coarse_clock_still_shows_every_change_in_the_next_walk(fake: FakeRoundup, system: Roundup) -> None:
    fake.faults.tick = 10
    since = system.start(datetime.now(UTC) - timedelta(minutes=1))
    made = [fake.people.create(title=str(n)) for n in range(7)]
    first = await pages(system.changes(since, 2))
    assert {one.id for page in first for one in page.incidents} == set(made)
    fake.people.edit(made[3], title="changed in the same tick")
    again = await changed(system, first[-1].cursor, 2)
    assert again[made[3]].fields["title"] == "changed in the same tick"


async def test_a_long_past_is_read_in_windows_of_a_few_pages(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(3000, step_seconds=30)
    found = await pages(system.everything(100))
    assert len({one.id for page in found for one in page.incidents}) == 3000
    assert fake.calls.total() < 45


async def test_a_login_in_another_time_zone_is_noticed(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(20, step_seconds=600)
    fake.faults.zone = 2 * 3600
    report = await system.check()
    assert [one.what for one in report.findings if not one.ok] == ["time zone"]
    assert "UTC" in report.findings[-1].detail
    with pytest.raises(Misconfigured, match="UTC"):
        await pages(system.changes(system.start(datetime.now(UTC) - timedelta(minutes=30)), 50))


async def test_a_cursor_of_another_system_is_refused(system: Roundup) -> None:
    with pytest.raises(Misconfigured, match="cursor"):
        await pages(system.changes("41;x", 50))


async def test_a_retired_issue_leaves_the_feed(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(3)
    fake.people.retire("2")
    assert set(await changed(system, system.start(datetime.now(UTC) - timedelta(minutes=1)))) == {"1", "3"}
    with pytest.raises(NotFound):
        await system.add_entry(Incident("2", "", datetime.now(UTC), {}), entry("too late"), key())


# links and labels


async def test_labels_that_look_like_ids_or_signs_are_written_as_labels(fake: FakeRoundup, system: Roundup) -> None:
    odd = ["+plus", "-minus", "1", "42", "be,ta"]
    for name in ("first", *odd):
        fake.people.name("keyword", name)
    fake.seed(1)
    now = await system.update(await system.get("1"), {"keyword": ["first", "42"]})
    now = await system.update(now, {"keyword": odd})
    assert now.fields["keyword"] == odd == (await system.get("1")).fields["keyword"]
    now = await system.update(now, {"keyword": []})
    assert now.fields["keyword"] == [] == (await system.get("1")).fields["keyword"]


@pytest.mark.parametrize("owner", ["1", "-1", "+1", "99", "user1", "admin,analyst", "' OR 1=1"])
async def test_an_owner_that_is_no_login_is_refused_and_never_read_as_an_id(
    fake: FakeRoundup, system: Roundup, owner: str
) -> None:
    fake.seed(1)
    with pytest.raises(Refused) as caught:
        await system.update(await system.get("1"), {"assignedto": owner})
    assert list(caught.value.fields) == ["assignedto"]
    assert fake.tracker.issues[1].values["assignedto"] is None


async def test_a_field_is_cleared(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    fake.people.edit("1", assignedto="analyst")
    now = await system.update(await system.get("1"), {"assignedto": None, "priority": None})
    assert (now.fields["assignedto"], now.fields["priority"]) == (None, None)
    assert now.fields == (await system.get("1")).fields


async def test_further_properties_pass_under_their_own_names(fake: FakeRoundup) -> None:
    fake.seed(1)
    fake.people.edit("1", closereason="false positive")
    async with connector(FakeTransport(fake), ["closereason", "closenotes"]) as system:
        now = await system.get("1")
        assert (now.fields["closereason"], now.fields["closenotes"]) == ("false positive", None)
        now = await system.update(now, {"closenotes": "a drill"})
        assert now.fields == (await system.get("1")).fields
        assert now.fields["closenotes"] == "a drill"


async def test_what_the_tracker_makes_of_a_value_is_what_is_answered(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    fake.faults.compute["title"] = "upper"
    assert (await system.update(await system.get("1"), {"title": "  quiet  "})).fields["title"] == "QUIET"


def test_an_id_that_can_only_be_what_was_sent_is_that_and_any_other_is_read_again() -> None:
    labels = records.Labels()
    labels.learn("status", {"id": "7", "link": "", "name": "testing"})
    assert labels.written("status", "5", "in-progress") == "in-progress"
    assert labels.written("status", "7", "in-progress") == "testing", "an auditor had another idea"
    with pytest.raises(KeyError):
        labels.written("status", "5", "testing")
    with pytest.raises(KeyError):
        labels.written("status", "5", None)
    labels.learn("keyword", [{"id": "1", "name": "a"}])
    assert labels.written("keyword", ["1", "2"], ["a", "b"]) == ["a", "b"]
    with pytest.raises(KeyError):
        labels.written("keyword", ["1", "2", "3"], ["a", "b"])


# writing, while others write


async def test_an_edit_between_our_read_and_our_write_is_stale_and_stays(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    now = await system.get("1")

    def meanwhile(stage: str, method: str, _: str) -> None:
        if (stage, method) == ("before", "PUT"):
            fake.people.edit("1", title="a person's")

    fake.watch = meanwhile
    with pytest.raises(Stale):
        await system.update(now, {"title": "ours"})
    assert fake.tracker.issues[1].values["title"] == "a person's"
    fake.faults.no_lock = True
    now = await system.get("1")
    await system.update(now, {"title": "ours"})
    assert fake.tracker.issues[1].values["title"] == "ours", "a server without lock loses the edit"


async def test_an_entry_is_added_again_when_somebody_writes_at_the_same_time(
    fake: FakeRoundup, system: Roundup
) -> None:
    fake.seed(1)
    left = [1, 2]

    def meanwhile(stage: str, method: str, route: str) -> None:
        if (stage, method, route) == ("before", "PUT", "issue/ID") and left:
            fake.people.edit("1", title=f"edit {left.pop()}")

    fake.watch = meanwhile
    await system.add_entry(await system.get("1"), entry("ours"), key())
    assert [one.text for one in await system.entries([await system.get("1")], frozenset())] == ["ours"]
    assert len(fake.tracker.messages) == 1
    left += [1, 2, 3]
    with pytest.raises(Stale):
        await system.add_entry(await system.get("1"), entry("ours"), key())


# lost answers


@pytest.mark.parametrize("kind", ["lose", "hang", "fail after"])
async def test_an_incident_whose_answer_was_lost_is_found_by_its_key(
    fake: FakeRoundup, system: Roundup, kind: str
) -> None:
    for route, there in (("msg", False), ("issue", True)):
        mark = key()
        fake.faults.plan(kind, "POST", route)  # type: ignore[arg-type]  # one of its kinds
        with pytest.raises(Unavailable) as caught:
            await system.create({"title": "T"}, mark)
        assert caught.value.sent
        assert (await system.find(mark) is not None) is there


async def test_a_refused_connection_sent_nothing(fake: FakeRoundup, system: Roundup) -> None:
    fake.faults.plan("refuse", "POST")
    with pytest.raises(Unavailable) as caught:
        await system.create({"title": "T"}, key())
    assert not caught.value.sent
    assert not fake.tracker.messages


async def test_a_message_that_was_left_unlinked_is_used(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    mark, now, before = key(), await system.get("1"), datetime.now(UTC)
    fake.faults.plan("drop", "PUT")
    with pytest.raises(Unavailable):
        await system.add_entry(now, entry("once"), mark)
    assert await system.find_entry(now, entry("once"), mark, before) is None
    assert await system.add_entry(now, entry("once"), mark) == "msg1"
    assert len(fake.tracker.messages) == 1
    fake.faults.plan("lose", "PUT")
    mark = key()
    with pytest.raises(Unavailable):
        await system.add_entry(now, entry("twice"), mark)
    assert await system.find_entry(now, entry("twice"), mark, before) == "msg2"


async def test_without_keys_our_own_entries_are_found_by_their_words(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    fake.faults.no_keys = True
    now, before = await system.get("1"), datetime.now(UTC)
    remote = await system.add_entry(now, entry("said without key"), key())
    assert await system.find_entry(now, entry("said without key"), key(), before) == remote
    assert await system.find_entry(now, entry("said otherwise"), key(), before) is None
    assert await system.find_entry(now, entry("said without key"), key(), before + timedelta(hours=1)) is None


async def test_a_refusal_by_the_tracker_names_the_field(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    for status in (400, 409):
        fake.faults.refuse_fields["title"] = status
        with pytest.raises(Refused) as caught:
            await system.update(await system.get("1"), {"title": "x", "status": "testing"})
        assert list(caught.value.fields) == ["title"]
        assert fake.tracker.issues[1].values["status"] == 1


async def test_an_empty_file_is_refused(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    with pytest.raises(Refused, match="empty"):
        await system.add_entry(await system.get("1"), entry(name="nothing.txt", data=b""), key())
    assert not fake.tracker.files


async def test_a_rate_limit_is_kept_before_it_is_hit(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    fake.faults.limit_calls, fake.faults.limit_seconds = 10, 2.0
    answers: list[int] = []
    handle = fake.handle

    async def counted(*request: object) -> object:
        reply = await handle(*request)  # type: ignore[arg-type]  # passed on
        answers.append(reply.status)
        return reply

    fake.handle = counted  # type: ignore[method-assign, assignment]  # counts
    began = time.monotonic()
    for _ in range(14):
        await system.get("1")
    assert answers == [200] * 14
    assert time.monotonic() - began > 0.5


async def test_a_429_is_waited_for(fake: FakeRoundup, system: Roundup) -> None:
    fake.seed(1)
    fake.faults.retry_after = 1
    fake.faults.plan("limit")
    assert (await system.get("1")).id == "1"
    assert fake.calls.total() == 2


# what cannot be right


@pytest.mark.parametrize(
    "content",
    [b"<html>login</html>", b"{}", b'{"data":{}}', b'{"data":{"collection":5,"@total_size":1}}', b'{"data":[]}', b"[]"],
)
async def test_an_answer_that_is_none_is_unreadable(content: bytes) -> None:
    async with answering(200, content) as system:
        with pytest.raises(Unreadable):
            await system.get("1")
        with pytest.raises(Unreadable):
            await system.find("lockstep-1")
        with pytest.raises(Unreadable):
            await system.update(Incident("1", "", datetime.now(UTC), {}), {"title": "x"})
        report = await system.check()
        assert not report.ok
        assert "tracker" in report.findings[-1].detail


async def test_the_trackers_own_failure_is_no_refusal() -> None:
    words = b'{"error":{"status":400,"msg":"Tue Nov 24 2026: An error occurred. Please check the server log."}}'
    async with answering(400, words) as system:
        with pytest.raises(Unavailable):
            await system.create({"title": "T"}, key())


async def test_a_check_names_what_is_wrong_and_what_to_do(fake: FakeRoundup) -> None:
    async with connector(FakeTransport(fake), ["closereason", "nosuchthing"]) as system:
        report = await system.check()
        assert [one.what for one in report.findings if not one.ok] == ["properties"]
        assert "nosuchthing" in report.findings[-1].detail
    async with connector(FakeTransport(fake)) as system:
        fake.faults.forbidden = ["GET msg"]
        report = await system.check()
        assert [one.what for one in report.findings if not one.ok] == ["keys"]
        assert "permission" in report.findings[-1].detail
    async with connector(FakeTransport(FakeRoundup(base="/elsewhere"))) as system:
        assert "no tracker answers" in (await system.check()).findings[-1].detail


async def test_no_error_shows_the_password(fake: FakeRoundup, system: Roundup) -> None:
    fake.tracker.passwords["admin"] = "changed"
    with pytest.raises(Exception, match="login") as caught:
        await pages(system.everything(5))
    told = f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert "secret" not in told
    assert "YWRtaW46c2VjcmV0" not in told
