"""Request Tracker's comments and files, what was merged or moved, and answers that were lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import Misconfigured, NotFound, Refused, Stale, Unauthorized, Unavailable
from blocks.incidents import RequestTracker
from blocks.model import Incident
from tests.contracts.incident_system import entry, key
from tests.fakes.rt import FakeRT
from tests.rt_worlds import over


@pytest.fixture
def fake() -> FakeRT:
    return FakeRT()


@pytest.fixture
async def system(fake: FakeRT) -> AsyncIterator[RequestTracker]:
    async with over(fake) as opened:
        yield opened


# entries


async def test_correspondence_html_and_a_persons_first_words_are_comments(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="by mail", Content="it burns", ContentType="text/plain")
    fake.people.comment(id, "<p>a <b>b</b> &amp; c</p><ul><li>x</li></ul><script>no()</script>", kind="text/html")
    fake.people.comment(id, "to you", as_="Correspond")
    found = await system.entries([await system.get(id)], frozenset())
    assert [one.text for one in found] == ["it burns", "a b & c\n\n- x", "to you"]
    assert {one.kind for one in found} == {"comment"}


async def test_a_file_beside_words_is_an_entry_of_its_own(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="x")
    sent = {"Content": "see there", "ContentType": "text/plain"}
    fake.people.file(id, "a.txt", b"a")
    file = {"FileName": "b.txt", "FileType": "text/csv", "FileContent": "YmI="}
    fake.records.say(fake.records.tickets[int(id)], {**sent, "Attachments": [file]}, "Comment", "analyst")
    found = await system.entries([await system.get(id)], frozenset())
    assert [(one.kind, one.text, one.name, one.size) for one in found] == [
        ("file", "", "a.txt", 1),
        ("comment", "see there", "", 0),
        ("file", "", "b.txt", 2),
    ]


async def test_more_entries_than_a_page_holds_all_come(fake: FakeRT, system: RequestTracker) -> None:
    fake.seed(2, comments_each=130)
    incidents = [await system.get(id) for id in ("1", "2")]
    assert len(await system.entries(incidents, frozenset())) == 262


@pytest.mark.parametrize("text", ["0", "x" * 100_000])
async def test_words_that_rt_takes_for_nothing_arrive(fake: FakeRT, system: RequestTracker, text: str) -> None:
    now, mark, before = await system.get(fake.people.create(Subject="x")), key(), datetime.now(UTC)
    remote = await system.add_entry(now, entry(text), mark)
    (one,) = await system.entries([now], frozenset())
    assert (one.id, one.text.strip()) == (remote, text)
    assert await system.find_entry(now, entry(text), mark, before) == remote


async def test_an_empty_file_is_refused(fake: FakeRT, system: RequestTracker) -> None:
    now = await system.get(fake.people.create(Subject="x"))
    with pytest.raises(Refused, match="empty") as caught:
        await system.add_entry(now, entry(name="nothing.txt", data=b""), key())
    assert list(caught.value.fields) == ["file"]
    assert not fake.records.attachments


@pytest.mark.parametrize("entry_field", ["", "Missing"])
async def test_without_keys_our_own_entries_are_found_by_their_words(fake: FakeRT, entry_field: str) -> None:
    async with over(fake, entry_field=entry_field) as system:
        now, before = await system.get(fake.people.create(Subject="x")), datetime.now(UTC)
        remote = await system.add_entry(now, entry("said without key"), key())
        assert await system.find_entry(now, entry("said without key"), key(), before) == remote
        assert await system.find_entry(now, entry("said otherwise"), key(), before) is None
        assert await system.find_entry(now, entry("said without key"), key(), before + timedelta(hours=1)) is None


@pytest.mark.parametrize("name", ["a/b.txt", "a\nb", "", "x" * 200, "日.txt"])
async def test_a_file_is_found_again_whatever_rt_made_of_its_name(fake: FakeRT, name: str) -> None:
    async with over(fake, entry_field="") as system:
        now, before = await system.get(fake.people.create(Subject="x")), datetime.now(UTC)
        sent = entry(name=name, data="Grüße".encode("latin-1"), media_type="text/plain")
        remote = await system.add_entry(now, sent, key())
        assert await system.find_entry(now, sent, key(), before) == remote
        (one,) = await system.entries([now], frozenset())
        assert b"".join([part async for part in system.content(one)]) == sent.data, "bytes that RT would guess at"


@pytest.mark.parametrize(
    "id",
    ["", "1", "attachment/1", "transaction/1/attachment/../user/1", "transaction/1/attachment/1?x=1", "transaction/1"],
)
async def test_a_files_id_that_is_none_is_refused(system: RequestTracker, id: str) -> None:
    with pytest.raises(Refused):
        await system._tracker.content(id)


# gone, merged, moved


async def test_a_merged_id_yields_its_target_for_reading_writing_and_comments(
    fake: FakeRT, system: RequestTracker
) -> None:
    mark = key()
    old, target = await system.create({"Subject": "old"}, mark), fake.people.create(Subject="target")
    fake.people.merge(old.id, target)
    now = await system.get(old.id)
    assert now == await system.get(target)
    assert now.fields["Subject"] == "target"
    with pytest.raises(Stale):
        await system.update(old, {"Subject": "by the old id"})
    assert (await system.update(now, {"Subject": "by the new one"})).id == target
    await system.add_entry(old, entry("by the old id"), key())
    assert "by the old id" in [one.text for one in await system.entries([await system.get(target)], frozenset())]
    found = await system.find(mark)
    assert found is not None, "a ticket of ours that was merged is not created again"
    assert found.id == target


async def test_what_was_moved_out_of_the_queue_is_not_found_and_not_written(
    fake: FakeRT, system: RequestTracker
) -> None:
    stays = fake.people.create(Subject="stays")
    for queue in ("Other", "Secret"):
        now = await system.get(fake.people.create(Subject="x"))
        fake.people.move(now.id, queue)
        for call in (system.get(now.id), system.update(now, {"Subject": "ours"})):
            with pytest.raises(NotFound):
                await call
    fake.faults.forbidden = ["ShowTicket"]
    with pytest.raises(Unauthorized):
        await system.get(stays)


async def test_a_comment_that_is_forbidden_is_told_from_one_on_nothing(fake: FakeRT, system: RequestTracker) -> None:
    now = await system.get(fake.people.create(Subject="x"))
    fake.faults.forbidden = ["CommentOnTicket"]
    with pytest.raises(Unauthorized, match="CommentOnTicket"):
        await system.add_entry(now, entry("x"), key())
    with pytest.raises(NotFound):
        await system.add_entry(Incident("999999", "", datetime.now(UTC), {}), entry("x"), key())


# lost answers


@pytest.mark.parametrize("kind", ["lose", "hang", "fail after"])
async def test_a_ticket_whose_answer_was_lost_is_found_by_its_key(
    fake: FakeRT, system: RequestTracker, kind: str
) -> None:
    for route in ("POST ticket", "GET ticket/ID"):
        mark = key()
        fake.faults.plan(kind, *route.split())  # type: ignore[arg-type]  # one of its kinds
        with pytest.raises(Unavailable) as caught:
            await system.create({"Subject": "T"}, mark)
        assert caught.value.sent
        found = await system.find(mark)
        assert found is not None
        assert found.key == mark


async def test_a_refused_connection_sent_nothing(fake: FakeRT, system: RequestTracker) -> None:
    fake.faults.plan("refuse", "POST", "ticket")
    with pytest.raises(Unavailable) as caught:
        await system.create({"Subject": "T"}, key())
    assert not caught.value.sent
    assert not fake.records.tickets


async def test_a_queue_without_the_field_for_keys_takes_no_ticket(fake: FakeRT) -> None:
    async with over(fake, key_field="Missing") as system:
        with pytest.raises(Misconfigured, match="Missing"):
            await system.create({"Subject": "T"}, key())
    assert not fake.records.tickets


async def test_a_429_of_a_proxy_is_waited_for(fake: FakeRT, system: RequestTracker) -> None:
    id = fake.people.create(Subject="x")
    fake.faults.retry_after = 1
    fake.faults.plan("limit")
    assert (await system.get(id)).id == id
