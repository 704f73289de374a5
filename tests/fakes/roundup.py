"""A fake Roundup 2.6: its REST interface over a tracker of its own, with knobs, people and counts.

In process: `system._transport = FakeTransport(fake)`. As a process: `python -m tests.fakes.roundup --port 0 --issues 9`
serves it at `/tracker/` and prints its address (login admin, password secret); POST JSON to `/_fake/faults`,
`/_fake/people`, `/_fake/seed`, `/_fake/reset`, and GET `/_fake/state`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tests.fakes.faults import APPLIED, FIRST, Faults
from tests.fakes.people import People
from tests.fakes.tracker import Conflict, Missing, Tracker, Usage
from tests.fakes.tracker_views import Views
from tests.fakes.wire import Cut, FakeTransport, Reply, asgi, serve

__all__ = ["FakeRoundup", "FakeTransport", "serve"]

Params = list[tuple[str, str]]
GONE = "If-Match is missing or does not match. Retrieve asset and retry modification if valid."


class Rejected(Exception):
    """Any other status with the tracker's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class FakeRoundup:
    """An ASGI application, and `handle` for the transport that needs no sockets.

    `watch(stage, method, route)` is called before a request is applied and after (stages "before" and "after"): a test
    may let people edit there, or raise.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, *, base: str = "/tracker", extra: tuple[str, ...] = ()
    ) -> None:
        self.clock, self.base = clock, base
        self.faults = Faults()
        self.tracker = Tracker(self.faults, clock, extra)
        self.people = People(self.tracker)
        self.views = Views(self.tracker)
        self.calls: Counter[str] = Counter()
        self.watch: Callable[[str, str, str], None] | None = None
        self._users: dict[str, int] = {}
        self._spent = 0.0
        self._root = f"{base}/rest/data/"

    def seed(self, n: int, messages_each: int = 0, start: float | None = None, step_seconds: float = 1.0) -> None:
        """So many issues, each so much later than the one before. The last is now, unless `start` places the first."""
        begin = self.clock() - n * step_seconds if start is None else start
        for count in range(n):
            at = int((begin + count * step_seconds) * 1000)
            messages = [self.people.text(f"message {m} of {count}", at) for m in range(messages_each)]
            sent = {"title": f"Incident {count}", "priority": str(count % 5 + 1), "messages": messages}
            self.tracker.create_issue(sent, 1, at)

    async def handle(self, method: str, path: str, query: str, headers: MutableMapping[str, str], body: bytes) -> Reply:
        """One request. Cut: there is no answer."""
        if path.startswith("/_fake/"):
            return self._control(method, path.removeprefix("/_fake/"), body)
        route = self._route(path)
        self.calls[f"{method} {route}"] += 1
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.pick(method, route)
        if fault in FIRST:
            return self._failed(fault)
        limit = self._limited()
        if limit is not None:
            return limit
        if self.watch:
            self.watch("before", method, route)
        reply = self._answer(method, path, query, headers, body)
        if self.watch:
            self.watch("after", method, route)
        return self._failed(fault) if fault in APPLIED else reply

    def _route(self, path: str) -> str:
        return re.sub(r"(?<=/)\d+", "ID", path.removeprefix(self._root))

    def _failed(self, kind: str) -> Reply:
        if kind == "limit":
            return self._error(429, "Api rate limits exceeded.", {"Retry-After": f"{self.faults.retry_after:g}"})
        if kind == "busy":
            return self._error(503, "busy", {"Retry-After": f"{self.faults.retry_after:g}"})
        if kind in ("fail", "fail after"):
            return Reply(500, b"<html>Internal Server Error</html>", self._headers("text/html"))
        raise Cut(kind)

    def _limited(self) -> Reply | None:
        """As Roundup counts: each request takes `every` seconds out of the period, which come back with time."""
        if not self.faults.limit_calls:
            return None
        every, now = self.faults.limit_seconds / self.faults.limit_calls, self.clock()
        self._spent = max(self._spent, now)
        if self._spent - now > self.faults.limit_seconds - every:
            words = f"Api rate limits exceeded. Please wait: {int(every)} seconds."
            return self._error(429, words, self._limits() | {"Retry-After": str(int(every))})
        self._spent += every
        return None

    def _limits(self) -> dict[str, str]:
        calls, period = self.faults.limit_calls, self.faults.limit_seconds
        spent = max(self._spent - self.clock(), 0)
        return {
            "X-RateLimit-Limit": str(calls),
            "X-RateLimit-Limit-Period": str(int(period)),
            "X-RateLimit-Remaining": str(min(int((period - spent) / (period / calls)), calls)),
            "X-RateLimit-Reset": str(spent),
        }

    def _headers(self, kind: str = "application/json") -> dict[str, str]:
        return {"content-type": kind, "date": formatdate(self.clock(), usegmt=True)}

    def _error(self, status: int, words: str, headers: dict[str, str] | None = None) -> Reply:
        body = orjson.dumps({"error": {"status": status, "msg": words}})
        return Reply(status, body + b"\n", self._headers() | (headers or {}))

    def _answer(self, method: str, path: str, query: str, headers: MutableMapping[str, str], body: bytes) -> Reply:
        if not path.startswith(self._root):
            return Reply(404, b"<!DOCTYPE HTML><title>Error response</title>", self._headers("text/html"))
        user = self._user(headers.get("authorization", ""))
        if not user:
            words = "Forbidden."
            return (
                self._error(403, words) if user is None else Reply(401, b"Invalid login", self._headers("text/plain"))
            )
        try:
            if method != "GET":
                self._same_origin(headers)
            self._permitted(f"{method} {self._route(path)}")
            reply = self._routed(method, path.removeprefix(self._root), query, headers, body, user)
        except (Conflict, Missing, Usage, Rejected) as error:
            return self._error(error.status, str(error))
        if self.faults.limit_calls:
            reply.headers.update(self._limits())
        return reply

    def _permitted(self, call: str) -> None:
        if call in self.faults.forbidden:
            raise Rejected(403, f"Permission to {call} denied")

    def _same_origin(self, headers: MutableMapping[str, str]) -> None:
        origin = headers.get("origin")
        if origin is None or "x-requested-with" not in headers:
            raise Usage("Required Header Missing")
        if origin.partition("://")[2] != headers.get("host"):
            raise Usage("Client is not allowed to use Rest Interface.")

    def _user(self, authorization: str) -> int | None:
        known = self._users.get(authorization)
        if known is None and authorization:
            login, _, password = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
            right = self.tracker.passwords.get(login) == password
            known = self._users[authorization] = self.tracker.ids["user"].get(login, 0) if right else 0
        return known

    def _routed(
        self, method: str, route: str, query: str, headers: MutableMapping[str, str], body: bytes, user: int
    ) -> Reply:
        of, _, id = route.partition("/")
        if of not in (*self.tracker.names, "issue", "msg", "file"):
            raise Missing(f"Class {of} not found")
        if method == "GET":
            return self._read(of, id, parse_qsl(query))
        if method == "POST" and not id:
            made = self._make(of, self._sent(headers, body), user)
            return self._data({"id": str(made), "link": f"{self.views.link}/{of}/{made}"}, 201)
        if of != "issue" or method not in ("PUT", "PATCH", "DELETE"):
            raise Rejected(405, f"Method {method} not allowed. Allowed: GET")
        sent = {} if method == "DELETE" else self._sent(headers, body)
        return self._change(method, id, sent, headers.get("if-match"), user)

    def _read(self, of: str, id: str, params: Params) -> Reply:
        if not id:
            body, total = self.views.collection(of, params)
            return Reply(200, body, self._headers() | {"x-count-total": str(total)})
        id, _, attribute = id.partition("/")
        if attribute == "binary_content":
            blob = self.views.blob(of, id)
            return Reply(200, blob.content, self._headers(blob.values.get("type") or "text/plain"))
        shown, etag = self.views.single(of, id, params)
        return self._data({**shown, "@etag": etag}, 200, {"etag": etag})

    def _data(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
        return Reply(status, orjson.dumps({"data": data}) + b"\n", self._headers() | (headers or {}))

    def _sent(self, headers: MutableMapping[str, str], body: bytes) -> dict[str, Any]:
        kind = headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            return _multipart(kind, body)
        if kind.lower() != "application/json":
            raise Rejected(415, f"Unable to process input of type {kind}")
        try:
            sent = {name: value for name, value in orjson.loads(body).items() if value is not None}
        except orjson.JSONDecodeError as error:
            raise Usage(f"{error}. JSON is: ") from None
        if not sent:
            raise Usage("No properties found.")
        return sent

    def _make(self, of: str, sent: dict[str, Any], user: int) -> int:
        if of == "issue":
            return self.tracker.create_issue(sent, user).id
        if of == "msg":
            content = sent.pop("content", "")
            if "author" in sent:
                sent["author"] = self.tracker.lookup("author", sent["author"])
            return self.tracker.add_message(sent, content, user).id
        if of == "file":
            content = sent.get("content") or b""
            if not content:
                raise Rejected(405, "'NoneType' object has no attribute 'upper'")
            data = content.encode() if isinstance(content, str) else content
            return self.tracker.add_file(sent.get("name", ""), sent.get("type", ""), data, user).id
        return self.tracker.add_name(of, str(sent["username" if of == "user" else "name"]).strip())

    def _change(self, method: str, id: str, sent: dict[str, Any], etag: str | None, user: int) -> Reply:
        tracker = self.tracker
        item = tracker.issues.get(int(id)) if id.isdigit() else None
        if item is None:
            raise Conflict(f"no such issue {id}")
        operation = str(sent.get("@op", "replace")) if method == "PATCH" else "replace"
        if operation in ("add", "remove"):
            sign = "+" if operation == "add" else "-"
            added = {
                prop: [f"{sign}{v}" for v in ([x] if isinstance(x, str) else x)]
                for prop, x in sent.items()
                if prop[0] != "@"
            }
            sent = added
        values = tracker.parsed(sent, item)
        if not self.faults.no_lock and etag != tracker.etag("issue", item.id, item.rev):
            raise Rejected(412, GONE)
        if method == "DELETE" or operation == "action":
            tracker.retire(item, retired=method == "DELETE" or sent.get("@action_name") == "retire", by=user)
            link = f"{self.views.link}/issue/{id}"
            done = {"id": id, "type": "issue", "link": link, "result": None}
            return self._data({"status": "ok"} if method == "DELETE" else done)
        changed = {prop: self.views.bare(prop, value) for prop, value in tracker.set(item, values, user).items()}
        link = f"{self.views.link}/issue/{id}"
        return self._data({"id": id, "type": "issue", "link": link, "attribute": changed})

    def _control(self, method: str, what: str, body: bytes) -> Reply:
        if method == "GET" and what == "state":
            return Reply(200, orjson.dumps(self.state()), self._headers())
        sent = orjson.loads(body or b"{}")
        if what == "faults":
            self.faults.take(sent)
        elif what == "people":
            done = getattr(self.people, sent.pop("do"))(**sent)
            return Reply(200, orjson.dumps({"id": done}), self._headers())
        elif what == "seed":
            self.seed(**sent)
        elif what == "reset":
            self.calls.clear()
            self.faults.clear()
        else:
            return self._error(404, "no such control")
        return Reply(200, b"{}", self._headers())

    def state(self) -> dict[str, Any]:
        """Everything, to compare at the end: links as labels, messages with their keys, files as base64."""
        return {**self.views.state(), "calls": dict(self.calls)}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """As a server runs it."""
        await asgi(self, scope, receive, send)


def _multipart(kind: str, body: bytes) -> dict[str, Any]:
    boundary = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    sent: dict[str, Any] = {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if name is None:
            raise Usage("No properties found.")
        is_file = b"filename=" in head
        sent[name[1].decode()] = content if is_file else content.decode()
    return sent


def main() -> None:
    """Serve on loopback until stopped; prints the tracker's address."""
    parser = argparse.ArgumentParser(description="A fake Roundup.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--issues", type=int, default=0)
    parser.add_argument("--messages", type=int, default=0)
    chosen = parser.parse_args()
    fake = FakeRoundup(extra=("closereason", "closenotes"))
    fake.seed(chosen.issues, chosen.messages)
    serve(fake, chosen.port, "/tracker/")


if __name__ == "__main__":
    main()
