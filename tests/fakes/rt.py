"""A fake Request Tracker 5.0.3: its REST 2 interface over records of its own, with knobs, people and counts.

In process: `system._transport = FakeTransport(fake)`. As a process: `python -m tests.fakes.rt --port 0 --tickets 9`
prints its address (login lockstep, password secret); POST JSON to `/_fake/faults`, `/_fake/people`, `/_fake/seed`,
`/_fake/reset`, and GET `/_fake/state`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from tests.fakes import rt_sql
from tests.fakes.faults import APPLIED, FIRST, Faults
from tests.fakes.rt_people import People
from tests.fakes.rt_records import Bad, Records, Ticket
from tests.fakes.rt_views import Crashed, Views, pretty
from tests.fakes.wire import Cut, FakeTransport, Reply, asgi, serve

__all__ = ["FakeRT", "FakeTransport"]

ROOT = "/REST/2.0/"
PASSWORDS = {"lockstep": "secret", "analyst": "secret", "root": "secret"}
NEEDED = ("FileName", "FileType", "FileContent")


class FakeRT:
    """An ASGI application, and `handle` for the transport that needs no sockets.

    `dated`: answers tell the time; a clock of a test's own would be taken for skew. `faults.forbidden` holds rights
    that the login lockstep lacks. `watch(stage, method, route)` is called before a request is applied and after: a test
    may let people edit there, or raise.
    """

    def __init__(self, clock: Callable[[], float] = time.time, *, dated: bool = True) -> None:
        self.clock, self.dated = clock, dated
        self.faults = Faults()
        self.records = Records(self.faults, clock)
        self.people = People(self.records)
        self.views = Views(self.records, self.denied)
        self.passwords = dict(PASSWORDS)
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.watch: Callable[[str, str, str], None] | None = None

    def denied(self, login: str, right: str, queue: str) -> bool:
        """Whether a login lacks a right: the queue Secret is root's."""
        return login != "root" and (queue == "Secret" or (login == "lockstep" and right in self.faults.forbidden))

    def seed(self, n: int, comments_each: int = 0) -> None:
        """So many tickets, each with its first words and so many comments of people."""
        for count in range(n):
            sent = {"Content": f"words {count}", "ContentType": "text/plain", "CustomFields": {"Severity": "high"}}
            id = self.people.create(sent, Subject=f"Incident {count}")
            for number in range(comments_each):
                self.people.comment(id, f"comment {number} of {count}")

    async def handle(self, method: str, path: str, query: str, headers: MutableMapping[str, str], body: bytes) -> Reply:
        """One request. Cut: there is no answer."""
        if path.startswith("/_fake/"):
            return self._control(method, path.removeprefix("/_fake/"), body)
        route = re.sub(r"(?<=/)\d+", "ID", path.removeprefix(ROOT))
        self.calls[f"{method} {route}"] += 1
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.pick(method, route)
        if fault in FIRST:
            return self._failed(fault)
        if self.watch:
            self.watch("before", method, route)
        reply = self._answer(method, path, query, headers, body)
        if self.watch:
            self.watch("after", method, route)
        return self._failed(fault) if fault in APPLIED else reply

    def _failed(self, kind: str) -> Reply:
        """RT has no rate limit and no 503; a proxy before it may."""
        waits = {"Retry-After": f"{self.faults.retry_after:g}"}
        if kind in ("limit", "busy"):
            return self._html(429 if kind == "limit" else 503, waits)
        if kind in ("fail", "fail after"):
            return self._json({"message": "Internal Server Error"}, 500)
        raise Cut(kind)

    def _html(self, status: int, more: dict[str, str]) -> Reply:
        return Reply(status, b"", self._headers("text/html") | more)

    def _headers(self, kind: str = "application/json; charset=utf-8") -> dict[str, str]:
        date = {"date": formatdate(self.clock(), usegmt=True)} if self.dated else {}
        return {"content-type": kind, **date}

    def _json(self, data: Any, status: int = 200, **more: str) -> Reply:
        return Reply(status, pretty(data), self._headers() | more)

    def _answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if not path.startswith(ROOT):
            return self._html(302, {"location": "http://rt.test/NoAuth/Login.html?next=1"})
        login = self._login(headers.get("authorization", ""))
        if not login:
            return self._json({"message": "Unauthorized"}, 401)
        try:
            params, sent = _given(query, headers.get("content-type", ""), body)
            return self._routed(method, path.removeprefix(ROOT), login, params, headers, sent)
        except Crashed:
            return self._json({"message": "Internal Server Error"}, 500) if method == "GET" else self._html(500, {})
        except (orjson.JSONDecodeError, rt_sql.Wrong, Bad) as error:
            return self._json({"message": _words(error, path)}, getattr(error, "status", 400))

    def _login(self, authorization: str) -> str:
        login, _, password = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
        return login if password and self.passwords.get(login) == password else ""

    def _routed(
        self, method: str, route: str, login: str, params: dict[str, str], headers: Mapping[str, str], sent: Any
    ) -> Reply:
        of, _, rest = route.partition("/")
        if method == "POST" and route in ("tickets", "transactions"):
            self.asked.append((route, params))
            return self._json((self.views.tickets if of == "tickets" else self.views.transactions)(login, params))
        if method == "POST" and route == "attachments":
            return self._json(self.views.parts(login, params, sent))
        if method == "POST" and route == "ticket":
            return self._created(login, sent)
        if of == "ticket" and re.fullmatch(r"\d+(/comment|/correspond)?", rest):
            id, _, what = rest.partition("/")
            ticket = self.records.ticket(int(id))
            return (
                self._said(ticket, login, what, sent)
                if what
                else self._ticket(method, ticket, login, params, headers, sent)
            )
        if method == "GET":
            return self._read(of, rest, login)
        raise Bad(404, "Not Found")

    def _read(self, of: str, rest: str, login: str) -> Reply:
        if of == "rt" and not rest:
            return self._json({"Version": "5.0.3"})
        if of == "attachment" and rest.isdigit():
            return self._json(self.views.part(int(rest), login))
        if of == "queue":
            name = unquote(rest)
            by = {str(id): known for known, id in self.records.queues.items()} | {
                k.casefold(): k for k in self.records.queues
            }
            found = by.get(name.casefold())
            if found is None or self.denied(login, "SeeQueue", found):
                raise Bad(403, "Forbidden")
            return self._json(self.views.queue(found, login))
        raise Bad(404, "Not Found")

    def _created(self, login: str, sent: dict[str, Any]) -> Reply:
        if not sent.get("Queue"):
            raise Bad(400, "Could not create ticket. Queue not set")
        queue = next((name for name in self.records.queues if name.casefold() == str(sent["Queue"]).casefold()), None)
        if queue is None or self.denied(login, "CreateTicket", queue):
            raise Bad(403, f"No permission to create tickets in the queue '{sent['Queue']}'")
        made = self.records.create({**sent, "Queue": queue}, login)
        link = {"type": "ticket", "id": str(made.id), "_url": f"http://rt.test{ROOT}ticket/{made.id}"}
        return self._json(link, 201, location=f"{ROOT}ticket/{made.id}")

    def _ticket(
        self,
        method: str,
        ticket: Ticket | None,
        login: str,
        params: dict[str, str],
        headers: Mapping[str, str],
        sent: Any,
    ) -> Reply:
        if ticket is None:
            raise Bad(404, "Resource does not exist; use POST to create" if method == "PUT" else "Not Found")
        if self.denied(login, "ShowTicket", ticket.queue):
            raise Bad(403, "Forbidden")
        etag, match = f'"{self.records.etag(ticket)}"', headers.get("if-match")
        if method == "GET":
            return self._json(self.views.one(ticket, params), etag=etag)
        if match not in (None, "*", etag) and not self.faults.no_lock:
            raise Bad(412, "Precondition Failed")
        if method == "DELETE":
            self.records.change(ticket, {"Status": "deleted"}, login)
            return Reply(204, b"", self._headers())
        return self._json(self.records.change(ticket, sent or {}, login))

    def _said(self, ticket: Ticket | None, login: str, what: str, sent: dict[str, Any]) -> Reply:
        files = sent.get("Attachments") or []
        for name in (name for file in files for name in NEEDED if file.get(name) in (None, "", "0")):
            raise Bad(400, f"{name} is a required field for each attachment in Attachments")
        if sent.get("Content") in (None, "", "0"):
            sent = {**sent, "Content": ""}
        elif not sent.get("ContentType"):
            raise Bad(400, "ContentType is a required field for application/json")
        right = "CommentOnTicket" if what == "comment" else "ReplyToTicket"
        if ticket is None or self.denied(login, right, ticket.queue):
            raise Bad(400, "Permission Denied")
        if any(ord(char) > 0xFF for file in files for char in file["FileName"]):
            raise Crashed
        made, told = self.records.say(ticket, sent, "Comment" if what == "comment" else "Correspond", login)
        return self._json(told, 201, location=f"{ROOT}transaction/{made.id}")

    def _control(self, method: str, what: str, body: bytes) -> Reply:
        if method == "GET" and what == "state":
            return Reply(200, orjson.dumps(self.views.state() | {"calls": dict(self.calls)}), self._headers())
        sent = orjson.loads(body or b"{}")
        done: Any = None
        if what == "faults":
            self.faults.take(sent)
        elif what == "people":
            done = getattr(self.people, sent.pop("do"))(**sent)
        elif what == "seed":
            self.seed(**sent)
        elif what == "reset":
            self.calls.clear()
            self.faults.clear()
        else:
            return self._json({"message": "no such control"}, 404)
        return self._json({"id": done})

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """As a server runs it."""
        await asgi(self, scope, receive, send)


def _given(query: str, kind: str, body: bytes) -> tuple[dict[str, str], Any]:
    """Parameters, of the address and of a form alike, and JSON."""
    params = dict(parse_qsl(query, keep_blank_values=True))
    if kind.startswith("application/x-www-form-urlencoded"):
        return params | dict(parse_qsl(body.decode(), keep_blank_values=True)), None
    return params, orjson.loads(body) if body else None


def _words(error: Exception, path: str) -> str:
    if isinstance(error, rt_sql.Wrong):
        line = "Tickets.pm line 3187" if path.endswith("tickets") else "Transactions.pm line 918"
        return f"{error} at /usr/share/request-tracker5/lib/RT/{line}.\n"
    return str(error) if isinstance(error, Bad) else f"JSON parse error: {error}"


def main() -> None:
    """Serve on loopback until stopped; prints the address."""
    parser = argparse.ArgumentParser(description="A fake Request Tracker.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tickets", type=int, default=0)
    parser.add_argument("--comments", type=int, default=0)
    chosen = parser.parse_args()
    fake = FakeRT()
    fake.seed(chosen.tickets, chosen.comments)
    serve(fake, chosen.port)


if __name__ == "__main__":
    main()
