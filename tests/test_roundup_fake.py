"""The fake Roundup is like the real one, and does over HTTP what it does in process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.errors import Unavailable
from blocks.incidents import Roundup
from tests.contracts.incident_system import changed, entry, key
from tests.fakes.roundup import FakeRoundup, FakeTransport
from tests.fakes.wire import apart
from tests.peers.fixtures import roundup_peer
from tests.peers.roundup import KEYWORDS, Peer

__all__ = ["roundup_peer"]

SAME = "If-Match of the record"
REQUESTS: list[tuple[str, str, dict[str, Any] | None, str | None]] = [
    # method, path, JSON, If-Match
    ("POST", "issue", {"title": " trimmed "}, None),
    ("GET", "issue/ONE", None, None),
    ("GET", "issue/ONE?@verbose=2&@protected=true", None, None),
    ("GET", "issue?id=ONE&@fields=title,status,priority,keyword,messages,activity&@verbose=2", None, None),
    ("GET", "issue?id=ONE&id=999999&id=x", None, None),
    ("GET", "issue?id=ONE&@page_size=1&@page_index=3", None, None),
    ("GET", "issue?id=ONE&status=unread,chatting&title:=trimmed", None, None),
    ("GET", "issue?id=ONE&title=TRIM", None, None),
    ("GET", "issue?id=ONE&title:=TRIM", None, None),
    ("GET", "issue?status=nope", None, None),
    ("GET", "issue?nope=1", None, None),
    ("GET", "issue?@fields=title,nope", None, None),
    ("GET", "issue/999999", None, None),
    ("GET", "issue/abc", None, None),
    ("GET", "nope", None, None),
    ("PUT", "issue/ONE", {"title": "x"}, None),
    ("PUT", "issue/ONE", {"title": "x"}, '"wrong"'),
    ("PUT", "issue/ONE", {"status": "nope"}, SAME),
    ("PUT", "issue/ONE", {"nope": "x"}, SAME),
    ("PUT", "issue/ONE", {"title": None}, SAME),
    ("PUT", "issue/ONE", {"assignedto": "999"}, SAME),
    ("PUT", "issue/ONE", {"keyword": ["999"]}, SAME),
    ("PUT", "issue/ONE", {"keyword": ["nope"]}, SAME),
    ("PUT", "issue/ONE", {"keyword": ["-minus"]}, SAME),
    ("PUT", "issue/ONE", {"keyword": ["phishing", "be,ta"], "priority": "urgent", "title": "a\r\nb"}, SAME),
    ("PUT", "issue/ONE", {"keyword": ["phishing", "be,ta"]}, SAME),
    ("PUT", "issue/ONE", {"keyword": ["+malware"]}, SAME),
    ("PUT", "issue/ONE", {"keyword": "-phishing"}, SAME),
    ("PUT", "issue/ONE", {"keyword": []}, SAME),
    ("PUT", "issue/ONE", {"assignedto": "analyst", "activity": "2020-01-01"}, SAME),
    ("PUT", "issue/ONE", {"assignedto": "", "title": ""}, SAME),
    ("PUT", "issue/ONE", {"status": "resolved"}, SAME),
    ("POST", "msg", {"content": " padded\r\n text ", "author": "admin", "messageid": "lockstep-same-1"}, None),
    ("POST", "msg", {"content": "", "author": "admin"}, None),
    ("GET", "msg?messageid:=lockstep-same-1&@verbose=3&@fields=content,author,creator,messageid,date,type", None, None),
    ("GET", "msg?messageid:=lockstep-same&@fields=messageid", None, None),
    ("GET", "msg?messageid:=LOCKSTEP-SAME-1&@fields=messageid", None, None),
    ("GET", "msg?nope=1", None, None),
    ("PUT", "issue/ONE", {"messages": ["+MESSAGE"], "status": "resolved"}, SAME),
    ("POST", "msg", {"content": "a second", "author": "admin"}, None),
    ("PATCH", "issue/ONE", {"@op": "add", "messages": "MESSAGE"}, SAME),
    ("GET", "issue?messages=MESSAGE&@fields=status&@verbose=2", None, None),
    ("GET", "issue?id=ONE&@fields=messages,status&@verbose=2", None, None),
    ("POST", "keyword", {"name": "phishing"}, None),
    ("POST", "issue", {"title": "x", "status": "nope"}, None),
    ("POST", "issue", {"title": "x", "nope": "nope"}, None),
    ("POST", "issue", {"title": ""}, None),
    ("DELETE", "issue/ONE", None, None),
    ("DELETE", "issue/ONE", None, SAME),
    ("GET", "issue?id=ONE", None, None),
    ("GET", "issue/ONE", None, None),
    ("PUT", "issue/ONE", {"title": "x"}, SAME),
    ("PUT", "issue/999999", {"title": "x"}, '"wrong"'),
    ("PATCH", "issue/ONE", {"@op": "action", "@action_name": "restore"}, SAME),
    ("GET", "issue?id=ONE&@fields=status&@verbose=2", None, None),
]


def replay(client: httpx.Client) -> list[str]:
    """Every request's status and JSON."""
    told, known = [], {"ONE": "0", "MESSAGE": "0"}
    for method, path, sent, match in REQUESTS:
        url = path.replace("ONE", known["ONE"]).replace("MESSAGE", known["MESSAGE"])
        body = httpx.Request("POST", "http://x", json=sent).content.decode() if sent else ""
        headers = {"Content-Type": "application/json"} if sent else {}
        if match:
            same = match == SAME
            headers["If-Match"] = client.get(url).json()["data"]["@etag"] if same else match
        answer = client.request(method, url, content=body.replace("MESSAGE", known["MESSAGE"]) or None, headers=headers)
        data = answer.json()
        if answer.status_code == 201 and path in {"issue", "msg"}:
            known["ONE" if path == "issue" else "MESSAGE"] = data["data"]["id"]
        told.append(f"{method} {path}: {answer.status_code} {_placed(data)}")
    return told


def _placed(data: Any, under: str = "") -> str:
    """Ids of issues and messages, links, ETags and times differ by right."""
    if isinstance(data, dict):
        shown = {name: value for name, value in data.items() if name not in {"link", "@etag", "@links"}}
        if re.search(r"/(issue|msg)/\d+$", data.get("link", "")):
            shown["id"] = "ID"
        return "{" + ", ".join(f"{name}: {_placed(shown[name], name)}" for name in sorted(shown)) + "}"
    if isinstance(data, list):
        return (
            "["
            + ", ".join("ID" if under == "messages" and isinstance(one, str) else _placed(one) for one in data)
            + "]"
        )
    return re.sub(r"(?<=issue )\d+", "N", re.sub(r"\d{4}-\d\d-\d\d\.\d\d:\d\d:\d\d", "TIME", str(data)))


@pytest.mark.peer
def test_the_fake_answers_what_the_real_one_answers(roundup_peer: Peer) -> None:
    origin = roundup_peer.url.removesuffix("/tracker/")
    headers = {"X-Requested-With": "rest", "Origin": origin}
    login = (roundup_peer.login, roundup_peer.password)
    with httpx.Client(base_url=f"{roundup_peer.url}rest/data/", auth=login, headers=headers) as client:
        real = replay(client)
    fake = FakeRoundup(extra=("closereason", "closenotes", "synckey"))
    for name in KEYWORDS:
        fake.people.name("keyword", name)
    assert _in_process(fake, origin, headers) == real


def _in_process(fake: FakeRoundup, origin: str, headers: dict[str, str]) -> list[str]:
    import asyncio

    def send(request: httpx.Request) -> httpx.Response:
        answer = asyncio.run(FakeTransport(fake).handle_async_request(request))
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    base = f"{origin}/tracker/rest/data/"
    with httpx.Client(
        base_url=base, auth=("admin", "secret"), headers=headers, transport=httpx.MockTransport(send)
    ) as client:
        return replay(client)


@pytest.fixture
def served() -> Iterator[str]:
    """The fake in a process of its own."""
    with apart("tests.fakes.roundup", "--issues", "3", "--messages", "1") as address:
        yield address


async def test_a_fake_in_a_process_of_its_own_is_told_what_to_do_over_http(served: str) -> None:
    root = served.removesuffix("/tracker/")
    async with (
        httpx.AsyncClient(base_url=root) as control,
        Roundup(address=served, login="admin", password=SecretStr("secret")) as system,
    ):
        since = system.start(datetime.now(UTC) - timedelta(minutes=1))
        assert set(await changed(system, since)) == {"1", "2", "3"}
        edited = {"do": "edit", "id": "2", "sent": {"title": "by a person"}}
        assert (await control.post("/_fake/people", json=edited)).status_code == 200
        assert (await system.get("2")).fields["title"] == "by a person"
        for kind, applied in (("drop", False), ("lose", True), ("fail", False), ("fail after", True)):
            planned = {"planned": [{"kind": kind, "method": "POST", "route": "msg"}]}
            await control.post("/_fake/faults", json=planned)
            mark = key()
            with pytest.raises(Unavailable):
                await system.add_entry(await system.get("1"), entry(kind), mark)
            keys = {one["key"] for one in (await control.get("/_fake/state")).json()["messages"].values()}
            assert (mark in keys) is applied, kind
        await system.add_entry(await system.get("1"), entry(name="a.bin", data=b"\x00\xff"), key())
        state = (await control.get("/_fake/state")).json()
        assert state["files"]["1"]["data"] == "AP8="
        assert state["issues"]["1"]["files"] == [1]
        assert state["calls"]["POST file"] == 1
        await control.post("/_fake/reset")
        assert (await control.get("/_fake/state")).json()["calls"] == {}


@pytest.mark.peer
async def test_a_tracker_that_is_restarted_keeps_its_etags_and_its_records(roundup_peer: Peer) -> None:
    peer = roundup_peer
    async with Roundup(address=peer.url, login=peer.login, password=SecretStr(peer.password)) as system:
        made = await system.create({"title": "before"}, key())
        _, etag, _ = await system._tracker.current(made.id)
        peer.stop()
        with pytest.raises(Unavailable) as caught:
            await system.get(made.id)
        assert not caught.value.sent
        peer.run()
        assert (await system._tracker.current(made.id))[1] == etag
        assert (await system.update(made, {"title": "after"})).fields["title"] == "after"
