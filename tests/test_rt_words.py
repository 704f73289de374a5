"""Request Tracker's queries hold against injections; what cannot be right is said in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import Misconfigured, Partial, Refused, Unauthorized, Unreadable
from blocks.incidents import RequestTracker
from blocks.incidents import _request_tracker_bodies as bodies
from blocks.incidents import _request_tracker_words as words
from blocks.incidents._request_tracker_html import plain
from blocks.model import Incident
from tests.contracts.incident_system import changed, entry, key, pages
from tests.fakes import rt_sql
from tests.fakes.rt import FakeRT, FakeTransport
from tests.loopback import Asked, serving
from tests.peers.fixtures import rt_peer
from tests.peers.rt import ODD, Peer
from tests.rt_worlds import BAD, PeerWorld, connector, over

__all__ = ["rt_peer"]


@pytest.fixture
def fake() -> FakeRT:
    return FakeRT()


@pytest.fixture
async def system(fake: FakeRT) -> AsyncIterator[RequestTracker]:
    async with over(fake) as opened:
        yield opened


def answering(status: int, content: bytes) -> RequestTracker:
    return over(transport=httpx.MockTransport(lambda _: httpx.Response(status, content=content)))


# injections


@given(st.text(max_size=40))
def test_a_quoted_value_is_one_value_whatever_it_holds(value: str) -> None:
    if words.is_column(value):
        with pytest.raises(ValueError, match="CF"):
            words.quoted(value)
        return
    (condition,) = rt_sql.parse(f"Subject = {words.quoted(value)}")
    assert (condition.value, condition.column) == (value, False)


@pytest.mark.parametrize(
    "mark", ["CF.{SyncKey}", "cf.{SyncKey}", "' OR id > 0 OR Subject = '", "\\", "\\' OR id > 0 --", "%"]
)
async def test_a_key_finds_only_the_ticket_that_carries_it(fake: FakeRT, system: RequestTracker, mark: str) -> None:
    made = await system.create({"Subject": "T"}, "lockstep-Mine")
    assert await system.find(mark) is None
    assert await system.find("LOCKSTEP-MINE") is None, "RT does not look at the case"
    found = await system.find("lockstep-Mine")
    assert found is not None
    assert found.id == made.id


@pytest.mark.parametrize("query", BAD)
def test_a_query_that_would_reach_out_of_its_brackets_is_refused_before_it_is_sent(query: str) -> None:
    """Those that RT itself refuses are sent; what is sent never says more than its brackets hold."""
    with pytest.raises((Refused, rt_sql.Wrong)):
        rt_sql.holds(rt_sql.parse(f"id = 1 AND ({words.checked(query, 'rt')})"), _row)


def _row(key: str) -> list[Any]:
    if key not in ("id", "Status"):
        raise rt_sql.Wrong(key)
    return [1] if key == "id" else ["new"]


async def test_a_queue_with_an_odd_name_is_read_and_written_alone(fake: FakeRT) -> None:
    fake.people.create(Subject="in SOC")
    async with over(fake, queue=ODD) as system:
        made = await system.create({"Subject": "odd"}, key())
        assert set(await changed(system, system.start(datetime.now(UTC) - timedelta(minutes=1)))) == {made.id}
        assert (await system.check()).ok


@pytest.mark.peer
async def test_the_real_one_takes_odd_names_and_injections_for_what_they_are(rt_peer: Peer) -> None:
    async with connector(rt_peer.url, rt_peer.password, queue=ODD) as system:
        mark = f'{key()} it\'s \\ "x"'
        made = await system.create({"Subject": "odd"}, mark)
        found = await system.find(mark)
        assert found is not None
        assert found.id == made.id
        for other in ("CF.{SyncKey}", mark.upper(), "' OR id > 0 OR Subject = '", "\\' OR id > 0 --"):
            assert await system.find(other) is None
        assert set(await changed(system, system.start(datetime.now(UTC) - timedelta(minutes=1)))) == {made.id}


@pytest.mark.peer
async def test_the_real_one_merges_clears_and_tells_what_it_refused(rt_peer: Peer) -> None:
    world = PeerWorld(rt_peer)
    async with world.system() as system:
        old, target = await system.create({"Subject": "old"}, key()), await world.create({"Subject": "target"})
        await world.edit(old.id, {"MergeInto": target})
        assert await system.get(old.id) == await system.get(target)
        now = await system.update(await system.get(target), {"CF.{Tags}": ["b", "a"], "CF.{RemoteID}": None})
        assert now.fields["CF.{Tags}"] == ["a", "b"]
        now = await system.update(now, {"CF.{Tags}": []})
        assert (now.fields["CF.{Tags}"], now.fields["CF.{RemoteID}"]) == ([], None)
        with pytest.raises(Partial) as caught:
            await system.update(now, {"Subject": "taken", "CF.{Severity}": "nope", "Owner": "nobody-knows"})
        assert set(caught.value.fields) == {"CF.{Severity}", "Owner"}
        with pytest.raises(Partial):
            await system.create({"Subject": "T", "Owner": "nobody-knows"}, key())


# what cannot be right


@pytest.mark.parametrize(
    "content", [b"<html>login</html>", b"{}", b"[]", b'{"items":5}', b'{"items":[1]}', b'"x"', b""]
)
async def test_an_answer_that_is_none_is_unreadable(content: bytes) -> None:
    async with answering(200, content) as system:
        calls = [
            system.get("1"),
            system.entries([Incident("1", "", datetime.now(UTC), {})], frozenset()),
            system.create({"Subject": "x"}, key()),
            system.update(Incident("1", "000000000001", datetime.now(UTC), {}), {"Subject": "x"}),
            system.add_entry(Incident("1", "", datetime.now(UTC), {}), entry("x"), key()),
            system._tracker.content("transaction/1/attachment/1"),
        ]
        for call in calls:
            with pytest.raises(Unreadable):
                await call
        report = await system.check()
        assert not report.ok
        assert "RT" in report.findings[-1].detail


async def test_an_answer_over_http_1_0_is_read(fake: FakeRT) -> None:
    """RT's own server speaks it: a connection for each request."""
    inner = FakeTransport(fake)

    async def write(asked: Asked, writer: object) -> None:
        request = httpx.Request(asked.method, f"http://x{asked.target}", headers=asked.headers, content=asked.body)
        reply = await inner.handle_async_request(request)
        head = [f"HTTP/1.0 {reply.status_code} X", *(f"{name}: {value}" for name, value in reply.headers.items())]
        writer.write("\r\n".join([*head, "", ""]).encode() + reply.content)  # type: ignore[attr-defined]  # a StreamWriter
        writer.close()  # type: ignore[attr-defined]

    async with serving(write) as server:
        async with connector(f"http://127.0.0.1:{server.port}/", "secret") as system:
            made = await system.create({"Subject": "over HTTP/1.0"}, key())
            assert (await system.get(made.id)).fields["Subject"] == "over HTTP/1.0"
        assert server.connections == len(server.asked)


# the check


@pytest.mark.parametrize(
    ("wrong", "what", "said"),
    [
        ({"queue": "Nope"}, "queue", "queue's name"),
        ({"queue": "Secret"}, "queue", "right"),
        ({"key_field": "Nope"}, "custom fields", "Nope: no such custom field for tickets"),
        ({"severity_field": "Nope"}, "custom fields", "Nope: no such custom field for tickets"),
        ({"entry_field": "SyncKey"}, "custom fields", "SyncKey: no such custom field for transactions"),
    ],
)
async def test_a_check_names_what_is_wrong_and_what_to_do(wrong: dict[str, Any], what: str, said: str) -> None:
    async with over(**wrong) as system:
        report = await system.check()
    assert [one.what for one in report.findings if not one.ok] == [what]
    assert said in report.findings[-1].detail


async def test_a_check_says_when_nothing_answers_there_as_rt(fake: FakeRT) -> None:
    async with over(fake, address="http://rt.test/elsewhere/") as system:
        report = await system.check()
    assert not report.ok
    assert "https://host/rt/" in report.findings[-1].detail


async def test_a_login_that_may_not_create_is_enough_for_reading(fake: FakeRT, system: RequestTracker) -> None:
    fake.faults.forbidden = ["CreateTicket"]
    report = await system.check()
    assert report.ok
    assert "CreateTicket" in report.findings[-1].detail
    with pytest.raises(Unauthorized):
        await system.create({"Subject": "x"}, key())


async def test_no_error_shows_the_password(fake: FakeRT, system: RequestTracker) -> None:
    fake.passwords["lockstep"] = "changed"
    with pytest.raises(Unauthorized) as caught:
        await pages(system.everything(5))
    told = f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert "secret" not in told
    assert "bG9ja3N0ZXA6c2VjcmV0" not in told


async def test_it_takes_the_file_of_a_private_authority() -> None:
    with pytest.raises(Misconfigured, match=r"/nowhere/ca\.pem"):
        await connector("https://rt.test/", "secret", ca_file="/nowhere/ca.pem").__aenter__()


# pure parts


@given(st.text(max_size=200))
def test_html_of_any_kind_becomes_text_without_an_error(html: str) -> None:
    assert "\0" not in plain(html.replace("\0", ""))


@given(st.binary(min_size=1, max_size=60), st.sampled_from(["text/plain", "TEXT/HTML", "text/plain; charset=x", "a/b"]))
def test_a_text_that_rt_would_recode_goes_as_bytes(data: bytes, kind: str) -> None:
    sent = bodies.said(entry(name="x", data=data, media_type=kind), {}, "rt")["Attachments"][0]
    if sent["FileType"].casefold() in ("text/plain", "text/html"):
        assert data.decode("utf-8").encode() == data
        assert b"\0" not in data
