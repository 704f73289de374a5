"""A fake Cortex XSOAR, a 6 or an 8: its REST API over a server of its own, with knobs, people and counts.

It answers as the API references of both and the vendor's own client say, and nobody has seen it beside a real one.
In process: `system._transport = FakeTransport(fake)`.
"""

from __future__ import annotations

import asyncio
import copy
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import httpx
import orjson

from tests.fakes.faults import APPLIED, FIRST, Faults
from tests.fakes.xsoar_query import Wrong
from tests.fakes.xsoar_server import BOT, CUSTOM, REASONS, UNSET, Bad, Server

KEY, KEY_ID = "secret", "7"
CLOUD = "/xsoar/public/v1"
READS = frozenset(
    {"GET incident/load", "GET entry/download", "GET incidentfields", "POST incidents/search", "POST investigation"}
)
PAGE = b"<!DOCTYPE html><html><title>Cortex XSOAR</title></html>"


class Cut(Exception):
    """The connection ends without an answer: `how` is refuse, drop, lose or hang."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass(slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class People:
    """Those who work in the fake, past all locks. Fields are flattened as the connector names them."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def create(self, sent: Mapping[str, Any], by: str = "analyst") -> str:
        """A new incident, with its War Room unless it is pending; one that is created closed was open before."""
        raw = _whole({}, sent)
        over = raw.get("status", 0) in (2, 3)
        raw |= {"createInvestigation": bool(raw.get("status")), "status": 1 if over else raw.get("status", 0)}
        made = self.server.create(raw, by)
        assert made is not None
        if over:
            self.close(made["id"], sent.get("closeReason") or "Resolved", sent.get("closeNotes") or "")
        return str(made["id"])

    def edit(self, id: str, sent: Mapping[str, Any]) -> None:
        """Set fields; None clears."""
        raw = _whole(self.server.incidents[id], sent)
        self.server.changed(id, **raw)

    def say(self, id: str, text: str, by: str = "ann", **more: Any) -> str:
        """Write into the War Room, which opens if it was shut."""
        if not self.server.incidents[id]["investigationId"]:
            self.server.changed(id, investigationId=id, status=1)
        if more.get("note"):
            more["category"] = "note"
        return str(self.server.add(id, by, text, **more)["id"])

    def attach(self, id: str, name: str, data: bytes) -> str:
        """Attach a file."""
        return str(self.server.upload(id, "ann", name, data)["id"])

    def close(self, id: str, reason: str, notes: str) -> None:
        """Close it."""
        self.server.changed(id, status=2, closed=self.server.stamp(), closeReason=reason, closeNotes=notes)

    def reopen(self, id: str) -> None:
        """Take it up again."""
        self.server.changed(id, status=1, closed=UNSET, closeReason="", closeNotes="")

    def remove(self, id: str) -> None:
        """Delete it."""
        del self.server.incidents[id]


def _whole(before: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = {"CustomFields": dict(before.get("CustomFields") or {})}
    for key, value in sent.items():
        if key in CUSTOM:
            raw["CustomFields"][key] = value
        elif key == "labels":
            raw[key] = [one for one in before.get(key) or () if one["type"] != "label"]
            raw[key] += [{"type": "label", "value": one} for one in value]
        elif key in ("status", "severity"):
            raw[key] = int(value) if key == "status" else float(value or 0)
        else:
            raw[key] = value or ""
    return raw


class FakeXsoar:
    """`handle` is one request. `watch(stage, method, route)` is called before one is applied and after."""

    def __init__(
        self, clock: Callable[[], float] = time.time, *, cloud: bool = False, touch: bool = False, dated: bool = True
    ) -> None:
        self.clock, self.cloud, self.dated = clock, cloud, dated
        self.faults = Faults()
        self.server = Server(self.faults, clock, cloud=cloud, touch=touch)
        self.people = People(self.server)
        self.calls: Counter[str] = Counter()
        self.sent: list[tuple[str, Any]] = []
        self.watch: Callable[[str, str, str], None] | None = None
        self.silent = False
        self._root = f"{CLOUD}/" if cloud else "/"

    @property
    def writes(self) -> int:
        """How many writes were asked for."""
        return sum(count for call, count in self.calls.items() if call not in READS)

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One request. Cut: there is no answer."""
        route, _, id = self._route(path)
        self.calls[f"{method} {route}"] += 1
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.pick(method, route)
        if fault in FIRST:
            return self._failed(fault)
        if self.watch:
            self.watch("before", method, route)
        reply = self._answer(method, path, route, id, headers, body)
        if self.watch:
            self.watch("after", method, route)
        return self._failed(fault) if fault in APPLIED else reply

    def _route(self, path: str) -> tuple[str, str, str]:
        within = path.removeprefix(self._root)
        found = re.fullmatch(r"(incident/load|investigation|entry/upload|entry/download)/([^/]*)", within)
        return (found[1], "", found[2]) if found else (within, "", "")

    def _failed(self, kind: str) -> Reply:
        if kind in ("limit", "busy"):
            wait = {"retry-after": f"{self.faults.retry_after:g}"}
            return self._error(429 if kind == "limit" else 503, "limit", kind, kind, wait)
        if kind in ("fail", "fail after"):
            return Reply(500, b"<html>Internal Server Error</html>", self._headers("text/html"))
        raise Cut(kind)

    def _headers(self, kind: str = "application/json") -> dict[str, str]:
        return {"content-type": kind} | ({"date": formatdate(self.clock(), usegmt=True)} if self.dated else {})

    def _error(self, status: int, words: str, id: str, title: str, more: dict[str, str] | None = None) -> Reply:
        body = {"id": id, "status": status, "title": title, "detail": title, "error": words, "encrypted": False}
        return Reply(status, orjson.dumps(body), self._headers() | (more or {}))

    def _answer(self, method: str, path: str, route: str, id: str, headers: Mapping[str, str], body: bytes) -> Reply:
        work = self._routes().get(f"{method} {route}")
        if not path.startswith(self._root) or work is None:
            # What 6 does not know is its page for people; the cloud leads away.
            if self.cloud:
                return Reply(303, b"", self._headers() | {"location": "https://login.xsoar.test/"})
            return Reply(200, PAGE, self._headers("text/html; charset=utf-8"))
        if headers.get("authorization") != KEY or (self.cloud and headers.get("x-xdr-auth-id") != KEY_ID):
            return self._error(401 if self.cloud else 403, "Forbidden", "forbidden", "Forbidden")
        if f"{method} {route}" in self.faults.forbidden:
            return self._error(403, "Forbidden", "forbidden", "Forbidden")
        try:
            given = _given(headers.get("content-type", ""), body)
            self.sent.append((f"{method} {route}", given))
            return work(id, copy.deepcopy(given))
        except (Bad, Wrong) as error:
            return self._error(error.status, str(error), error.id, error.title)

    def _routes(self) -> dict[str, Callable[[str, Any], Reply]]:
        server = self.server
        return {
            "POST incidents/search": lambda _, sent: self._found(sent["filter"]),
            "GET incident/load": lambda of, _: self._json(server.find(of)),
            "POST incident": lambda _, sent: self._written(sent),
            "POST incident/close": lambda _, sent: self._json(server.close(sent, BOT)),
            "POST incident/investigate": lambda _, sent: self._json({"id": server.investigate(sent)["id"]}),
            "POST investigation": lambda of, sent: self._json({"id": of, "entries": server.entries(of, sent)}),
            "POST entry": lambda _, sent: self._typed(sent),
            "POST entry/formatted": lambda _, sent: self._entry(sent, sent["contents"]),
            "POST entry/note": lambda _, sent: self._entry(sent, sent["data"], note=True, category="note"),
            "POST entry/execute/sync": lambda _, sent: self._ran(sent),
            "POST entry/upload": lambda of, sent: self._uploaded(of, *sent),
            "GET entry/download": lambda of, _: self._file(of),
            "GET incidentfields": lambda _, __: self._json(self._fields()),
        }

    def _json(self, data: Any, status: int = 200) -> Reply:
        return Reply(status, orjson.dumps(data), self._headers())

    def _found(self, wanted: dict[str, Any]) -> Reply:
        rows, total = self.server.search(wanted)
        return self._json({"total": total, "data": rows or None, "notUpdated": 0})

    def _written(self, sent: dict[str, Any]) -> Reply:
        if sent.get("id"):
            return self._json(self.server.write(sent))
        made = self.server.create(sent, BOT)
        return Reply(200) if made is None else self._json(made, 201 if self.cloud else 200)

    def _typed(self, sent: dict[str, Any]) -> Reply:
        run = sent["data"].startswith("!")
        work = self.server.run if run else self.server.add
        return self._json(work(sent["investigationId"], BOT, sent["data"]))

    def _ran(self, sent: dict[str, Any]) -> Reply:
        return self._json([self.server.run(sent["investigationId"], sent["data"], BOT)])

    def _entry(self, sent: dict[str, Any], text: str, **more: Any) -> Reply:
        entry = self.server.add(sent["investigationId"], BOT, text, **more)
        return self._json(None if self.silent else entry)

    def _uploaded(self, id: str, name: str, data: bytes) -> Reply:
        entry = self.server.upload(id, BOT, name, data)
        return self._json({} if self.silent else {"entries": [entry]} if self.cloud else entry)

    def _file(self, id: str) -> Reply:
        if id not in self.server.files:
            raise Bad(404, "file not found", "errNotFound", "Not found")
        return Reply(200, self.server.files[id], self._headers("application/octet-stream"))

    def _fields(self) -> list[dict[str, Any]]:
        own = [
            {"cliName": name, "name": name.title(), "type": kind, "group": 0, "system": False}
            for name, kind in CUSTOM.items()
        ]
        reasons = {"cliName": "closereason", "type": "singleSelect", "group": 0, "system": True}
        return [
            *own,
            reasons | {"selectValues": list(REASONS)},
            {"cliName": "evidence", "type": "shortText", "group": 1},
        ]


def _given(kind: str, body: bytes) -> Any:
    return _form(kind, body) if kind.startswith("multipart/") else orjson.loads(body) if body else {}


def _form(kind: str, body: bytes) -> tuple[str, bytes]:
    """The one part of a form, its name read as Go reads it: a backslash escapes, and folders are cut."""
    mark = b"--" + kind.partition("boundary=")[2].encode()
    (part,) = body.split(mark)[1:-1]
    head, _, content = part[2:-2].partition(b"\r\n\r\n")
    name = re.search(rb'filename="((?:[^"\\]|\\.)*)"', head)
    if b'name="file"' not in head or name is None:
        raise Bad(400, "no part is called file")
    return re.sub(r"\\(.)", r"\1", name[1].decode()).rpartition("/")[2], content


class FakeTransport(httpx.AsyncBaseTransport):
    """Calls the fake in this process, and cuts as httpx raises them; a hang is a timeout at once."""

    def __init__(self, fake: FakeXsoar) -> None:
        self.fake = fake

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            body = await request.aread()
            reply = await self.fake.handle(request.method, request.url.path, headers, body)
        except Cut as cut:
            kinds: dict[str, type[httpx.RequestError]] = {"refuse": httpx.ConnectError, "hang": httpx.ReadTimeout}
            raise kinds.get(cut.how, httpx.ReadError)(cut.how, request=request) from None
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body, request=request)
