"""The fake Request Tracker is like the real one, and does over HTTP what it does in process."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from blocks.errors import Unavailable
from tests.contracts.incident_system import changed, entry, key
from tests.fakes.rt import FakeRT, FakeTransport
from tests.fakes.wire import apart
from tests.peers.fixtures import rt_peer
from tests.peers.rt import ROOT, ROOT_PASSWORD, Peer
from tests.rt_worlds import connector

__all__ = ["rt_peer"]

SAME, WRONG = "If-Match of the ticket", '"1"'
QUEUE = "Queue = 'SOC' AND "
TELLS = "ObjectType = 'RT::Ticket' AND ObjectId = ONE"
NAMES = {"fields": "Subject,Status,Owner,Priority,CustomFields", "fields[CustomFields]": "MaxValues"}
SAID = {"ContentType": "text/plain"}


def form(of: str, query: str, **how: str) -> tuple[str, str, dict[str, Any], str | None]:
    return "FORM", of, {"query": query, **how}, None


def parts(*limits: dict[str, Any], fields: str) -> tuple[str, str, list[dict[str, Any]], str | None]:
    return "POST", f"attachments?fields={fields}", list(limits), None


def file(name: str, data: bytes, kind: str) -> dict[str, Any]:
    sent = name.encode().decode("latin-1")
    return {"Attachments": [{"FileName": sent, "FileType": kind, "FileContent": base64.b64encode(data).decode()}]}


IN = {"field": "TransactionId", "operator": "IN", "value": ["TOLD"]}
NO_NAME, NAMED = ({"field": "Filename", "operator": op, "value": "NULL"} for op in ("IS", "IS NOT"))

REQUESTS: list[tuple[str, str, Any, str | None]] = [
    # method, path, JSON or form, If-Match
    ("GET", "rt", None, None),
    ("GET", "queue/SOC", None, None),
    ("GET", "queue/Nope", None, None),
    ("GET", "queue/Secret", None, None),
    ("GET", "nosuch", None, None),
    ("POST", "ticket", {"Subject": "no queue"}, None),
    ("POST", "ticket", {"Queue": "Nope"}, None),
    ("POST", "ticket", {"Queue": "Secret", "Subject": "x"}, None),
    ("POST", "ticket", {"Queue": "SOC", "Subject": "x", "Status": "nope"}, None),
    ("POST", "ticket", {"Queue": "SOC", "Subject": "x", "Owner": "nobody-knows", "Status": "Open"}, None),
    ("GET", "ticket/ONE", None, None),
    ("POST", "ticket", {"Queue": "SOC", "Owner": "14", "CustomFields": {"Severity": "nope", "Nope": "x"}}, None),
    ("GET", "ticket/ONE", None, None),
    ("POST", "ticket", {"Queue": "soc", "Subject": "é" * 150, "CustomFields": {"RemoteID": ["x", "y"]}}, None),
    ("GET", "ticket/ONE?fields[Queue]=Name", None, None),
    (
        "POST",
        "ticket",
        {
            "Queue": "SOC",
            "Subject": "l1\nl2 it's",
            "Content": "said\r\nfirst",
            "ContentType": "text/plain",
            "CustomFields": {"Severity": "low", "Tags": ["b", "a"], "SyncKey": "lockstep-Same"},
        },
        None,
    ),
    ("GET", "ticket/ONE", None, None),
    form("tickets", QUEUE + "id = ONE", **NAMES),
    form("tickets", QUEUE + "Subject = 'l1l2 it\\'s' AND id = ONE"),
    form("tickets", QUEUE + "CF.{SyncKey} = 'LOCKSTEP-same' AND id = ONE"),
    form("tickets", QUEUE + "CF.{SyncKey} = 'CF.{SyncKey}' AND id = ONE"),
    form("tickets", QUEUE + "'CF.{Severity}' = 'low' AND id = ONE"),
    form("tickets", QUEUE + "CF.{Nope} = 'x'"),
    form("tickets", QUEUE + "id = ONE AND (Status = 'open' OR Status = 'new')"),
    form("tickets", QUEUE + "id = ONE AND Status != 'new'"),
    form("tickets", "id = 'abc'"),
    form("tickets", "id = 1; DROP"),
    form("tickets", "nonsense"),
    form("tickets", "nosuch = 'x'"),
    form("tickets", "TicketQueue = 'SOC'"),
    form("tickets", "id = 1)"),
    form("tickets", "(id = 1"),
    form("tickets", "id = 1 OR"),
    form("tickets", "Status = 'open' # x"),
    form("tickets", "id > 0 ORDER BY id"),
    form("tickets", "Status IN ('open')"),
    form("tickets", f"Queue = 'It\\'s \"SOC\" \\\\ 2' AND Subject = '{'z' * 9}'"),
    form("transactions", TELLS, fields="Type,ObjectId,Creator,CustomFields", orderby="id"),
    form("transactions", f"{TELLS} AND TicketQueue = 'SOC'", fields="Type"),
    form("transactions", f"{TELLS} AND TicketQueue = 'Other'", fields="Type"),
    form("transactions", f"{TELLS} AND TicketQueue = 'SOC' AND id > 999999"),
    form("transactions", "Queue = 'SOC'"),
    ("PUT", "ticket/ONE", {"Subject": "x"}, WRONG),
    ("PUT", "ticket/ONE", {"Subject": "new", "Status": "nope", "Owner": "nobody-knows"}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"Severity": "nope"}}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"Nope": "x"}, "Nope": 1}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"Severity": None}}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"Severity": None}}, SAME),
    ("GET", "ticket/ONE", None, None),
    ("PUT", "ticket/ONE", {"CustomFields": {"Severity": "high", "RemoteID": "a\nb"}}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"RemoteID": ["p", "q"]}}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"Tags": ["a", "c"]}}, SAME),
    ("PUT", "ticket/ONE", {"CustomFields": {"Tags": []}}, SAME),
    ("PUT", "ticket/ONE", {"Owner": "analyst"}, SAME),
    ("PUT", "ticket/ONE", {"Owner": "ANALYST"}, SAME),
    ("PUT", "ticket/ONE", {"Owner": "Nobody", "Priority": 7}, SAME),
    ("PUT", "ticket/ONE", {"Owner": ""}, SAME),
    ("PUT", "ticket/ONE", {"Subject": "", "Status": "Resolved"}, SAME),
    ("PUT", "ticket/ONE", {}, SAME),
    ("GET", "ticket/ONE", None, None),
    ("PUT", "ticket/999999", {"Subject": "x"}, None),
    ("GET", "ticket/999999", None, None),
    ("GET", "ticket/0", None, None),
    ("GET", "ticket/abc", None, None),
    ("POST", "ticket/ONE/comment", {"Content": "no type"}, None),
    ("POST", "ticket/ONE/comment", {**SAID, "Content": " lead\r\nand é🚨 trail \n"}, None),
    parts(IN, NO_NAME, fields="TransactionId,Content,ContentType,ContentLength,Filename"),
    ("POST", "ticket/ONE/comment", {**SAID, "Content": "0"}, None),
    parts(IN, fields="Content,ContentType"),
    ("POST", "ticket/ONE/comment", {**SAID, "Content": "k", "TxnCustomFields": {"EntryKey": "K", "Nope": "x"}}, None),
    form("transactions", f"{TELLS} AND Type = 'Comment' AND id = TOLD", fields="Type,CustomFields"),
    ("POST", "ticket/ONE/comment", file('a "q" März 日本.bin', b"\x00\xff\r\n", "application/x-evidence"), None),
    parts(IN, NAMED, fields="Filename,ContentType,ContentLength"),
    parts(IN, NO_NAME, fields="ContentType"),
    ("POST", "ticket/ONE/comment", file("f/log.txt", "Grüße\r\n".encode("latin-1"), 'text/plain; x="y"'), None),
    parts(IN, NAMED, fields="Filename,ContentType,ContentLength"),
    ("POST", "ticket/ONE/comment", file("", b"x", "a/b"), None),
    ("POST", "ticket/ONE/comment", file("empty", b"", "a/b"), None),
    ("POST", "ticket/ONE/comment", file("0", b"x", "a/b"), None),
    (
        "POST",
        "ticket/ONE/comment",
        {"Attachments": [{"FileName": "日", "FileType": "a/b", "FileContent": "eA=="}]},
        None,
    ),
    parts(IN, fields="Parent"),
    ("GET", "attachment/999999", None, None),
    ("POST", "ticket/999999/comment", {**SAID, "Content": "x"}, None),
    ("POST", "ticket/ONE/correspond", {**SAID, "Content": "mailed"}, None),
    ("DELETE", "ticket/ONE", None, WRONG),
    ("GET", "ticket/ONE", None, None),
]
"""In the order of one ticket's life. ONE stands for the ticket made last, TOLD for the transaction told last."""


def replay(client: httpx.Client, root: httpx.Client) -> list[str]:
    """Every request's status and JSON; then what root does to the ticket, and what the login sees of it."""
    told, known = [], {"ONE": "0", "TOLD": "0"}
    for method, path, sent, match in REQUESTS:
        told.append(f"{method} {path} {sent}: {_asked(client, known, method, path, sent, match)}")
    other = client.post("ticket", json={"Queue": "SOC", "Subject": "target"}).json()["id"]
    root.put(f"ticket/{known['ONE']}", json={"MergeInto": other})
    by_key = "CF.{SyncKey} = 'lockstep-Same' AND EffectiveId > 0 AND id = ONE"
    told += [_asked(client, known, "FORM", "tickets", {"query": query}, None) for query in ("id = ONE", by_key)]
    merged = client.get(f"ticket/{known['ONE']}").json()
    told.append(f"merged: {merged['Subject']}")
    root.put(f"ticket/{other}", json={"Queue": "Secret"})
    known["ONE"] = other
    told += [_asked(client, known, method, "ticket/ONE", {}, None) for method in ("GET", "PUT")]
    root.delete(f"ticket/{other}")
    told.append(f"deleted: {root.get(f'ticket/{other}').json()['Status']}")
    found = root.post("tickets", data={"query": f"id = {other}"}).json()["items"]
    return [*told, f"found: {found}"]


def _asked(client: httpx.Client, known: dict[str, str], method: str, path: str, sent: Any, match: str | None) -> str:
    def put_in(text: str) -> str:
        return text.replace("ONE", known["ONE"]).replace("TOLD", known["TOLD"])

    url, headers = put_in(path), {"If-Match": match} if match else {}
    if match == SAME:
        headers["If-Match"] = client.get(url).headers["etag"]
    if method == "FORM":
        answer = client.post(url, data={name: put_in(value) for name, value in sent.items()}, headers=headers)
    elif sent is None:
        answer = client.request(method, url, headers=headers)
    else:
        body = put_in(httpx.Request("POST", "http://x", json=sent).content.decode())
        answer = client.request(method, url, content=body, headers={**headers, "Content-Type": "application/json"})
    location = answer.headers.get("location", "")
    if answer.status_code == 201:
        known["ONE" if "/ticket/" in location else "TOLD"] = location.rpartition("/")[2]
    return f"{answer.status_code} {_placed(answer.json() if answer.content else None, known)}"


IGNORED = ("_url", "Created", "LastUpdated", "_hyperlinks", "next_page", "Version", "EffectiveId", "LastUpdatedBy")
TICKET = {"Subject", "Status", "Owner", "Priority", "CustomFields", "Queue", "Creator", "id", "Type"}
OF_QUEUE = {"id", "Name", "Disabled", "TicketCustomFields", "TicketTransactionCustomFields"}


def _placed(data: Any, known: dict[str, str]) -> str:
    """Ids and times differ by right; of a record alone, the fake shows what is used."""
    if isinstance(data, dict):
        shown = {name: value for name, value in data.items() if name not in IGNORED}
        if {"Priority", "Lifecycle"} & data.keys() and "type" not in data:
            wanted = OF_QUEUE if "Lifecycle" in data else TICKET
            shown = {name: value for name, value in shown.items() if name in wanted}
        if isinstance(data.get("id"), str | int) and str(data["id"]).isdigit():
            shown["id"] = "ID"
        shown.pop("ref", None)
        return "{" + ", ".join(f"{name}: {_placed(shown[name], known)}" for name in sorted(shown)) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(sorted(_placed(one, known) for one in data)) + "]"
    text = re.sub(r"(Ticket|ObjectId: |TransactionId: )\s*\d+", r"\1 N", str(data)).removesuffix(".0")
    return "N" if text in known.values() and text != "0" else text.replace(f"id = {known['ONE']}", "id = N")


@pytest.mark.peer
def test_the_fake_answers_what_the_real_one_answers(rt_peer: Peer) -> None:
    base = f"{rt_peer.url}REST/2.0/"
    with (
        httpx.Client(base_url=base, auth=(rt_peer.login, rt_peer.password), timeout=30) as client,
        httpx.Client(base_url=base, auth=(ROOT, ROOT_PASSWORD), timeout=30) as root,
    ):
        real = replay(client, root)
    fake = _in_process(FakeRT())
    for one, other in zip(fake, real, strict=True):
        assert one == other


def _in_process(fake: FakeRT) -> list[str]:
    def send(request: httpx.Request) -> httpx.Response:
        answer = asyncio.run(FakeTransport(fake).handle_async_request(request))
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    base, wire = "http://rt.test/REST/2.0/", httpx.MockTransport(send)
    with (
        httpx.Client(base_url=base, auth=("lockstep", "secret"), transport=wire) as client,
        httpx.Client(base_url=base, auth=("root", "secret"), transport=wire) as root,
    ):
        return replay(client, root)


@pytest.fixture
def served() -> Iterator[str]:
    """The fake in a process of its own."""
    with apart("tests.fakes.rt", "--tickets", "3", "--comments", "1") as address:
        yield address


async def test_a_fake_in_a_process_of_its_own_is_told_what_to_do_over_http(served: str) -> None:
    async with httpx.AsyncClient(base_url=served) as control, connector(served, "secret") as system:
        since = system.start(datetime.now(UTC) - timedelta(minutes=1))
        assert set(await changed(system, since)) == {"1", "2", "3"}
        edited = {"do": "edit", "id": "2", "sent": {"Subject": "by a person"}}
        assert (await control.post("/_fake/people", json=edited)).status_code == 200
        assert (await system.get("2")).fields["Subject"] == "by a person"
        for kind, applied in (("drop", False), ("lose", True), ("fail", False), ("fail after", True)):
            planned = {"planned": [{"kind": kind, "method": "POST", "route": "ticket/ID/comment"}]}
            await control.post("/_fake/faults", json=planned)
            mark, now, before = key(), await system.get("1"), datetime.now(UTC)
            with pytest.raises(Unavailable):
                await system.add_entry(now, entry(kind), mark)
            assert (await system.find_entry(now, entry(kind), mark, before) is not None) is applied, kind
        await control.post("/_fake/reset")
        assert (await control.get("/_fake/state")).json()["calls"] == {}


@pytest.mark.peer
async def test_a_server_that_is_restarted_keeps_its_tickets_and_their_versions(rt_peer: Peer) -> None:
    async with connector(rt_peer.url, rt_peer.password) as system:
        made = await system.create({"Subject": "before"}, key())
        rt_peer.stop()
        with pytest.raises(Unavailable) as caught:
            await system.get(made.id)
        assert not caught.value.sent
        rt_peer.run()
        assert await system.get(made.id) == made
        assert (await system.update(made, {"Subject": "after"})).fields["Subject"] == "after"
