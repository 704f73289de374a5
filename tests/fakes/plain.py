"""A fake of a plain JSON API, as many small trackers have one: it keeps state, has faults, and people beside us.

It is made in the ways that such APIs differ: how a next page is asked for, whether a list can be asked "since", whether
writes need an ETag. Itself a transport of httpx: `system._transport = PlainApi()`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode

import httpx
import orjson

from tests.fakes.faults import APPLIED, FIRST, Faults

Raw = dict[str, Any]
Paging = Literal["page", "offset", "cursor", "next link"]
STATUSES = ("open", "working", "waiting", "done", "closed")
BLANK: Raw = {
    "title": "", "description": "", "status": "open", "severity": 2, "assignee": None, "labels": [],
    "external_id": None, "resolution": {"code": None, "notes": None},
}  # fmt: skip
FILTERS = {"id", "external_id", "status", "severity", "assignee"}
CUTS = {"page": ("page", "per_page"), "offset": ("offset", "limit"), "cursor": ("cursor", "limit")}
MOST = 100
TOKEN = "secret"
US = "robot"


class Rejected(Exception):
    """An answer of this status, with words for single fields."""

    def __init__(self, status: int, words: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.fields = status, fields or {}


@dataclass(slots=True)
class Record:
    """One incident: what it shows, its comments, and all that it showed before, with when."""

    raw: Raw
    comments: list[Raw] = field(default_factory=list)
    past: list[tuple[float, Raw]] = field(default_factory=list)


class PlainApi(httpx.AsyncBaseTransport):
    """`paging`, `since`, `etag`: what this API has. `counts`: a list tells its total.

    `watch(stage, method, path)` is called before a request is applied and after: people may edit there.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        paging: Paging = "page",
        since: bool = True,
        etag: bool = False,
        counts: bool = False,
    ) -> None:
        self.clock, self.paging, self.since, self.etag, self.counts = clock, paging, since, etag, counts
        self.faults = Faults(tick=1.0)
        self.records: dict[str, Record] = {}
        self.calls: Counter[str] = Counter()
        self.asked: list[httpx.Request] = []
        self.watch: Callable[[str, str, str], None] = lambda *_: None
        self.silent: set[str] = set()
        self._numbers = 0
        self._spent: list[float] = []

    # people

    def create(self, sent: Raw, by: str = "ann") -> str:
        """A new incident; answers its id."""
        self._known(sent)
        self._numbers += 1
        id = str(self._numbers)
        raw = {**BLANK, **sent, "id": id, "version": 0, "created_at": self._stamp(), "created_by": by}
        self.records[id] = Record(raw)
        self._touch(self.records[id], {})
        return id

    def edit(self, id: str, sent: Raw) -> None:
        """Set fields."""
        self._known(sent)
        self._touch(self.records[id], sent)

    def comment(self, id: str, text: str, by: str = "ann", ref: str | None = None) -> str:
        """Write a comment; answers its id. Its incident counts as changed."""
        self._numbers += 1
        one = {"id": f"c{self._numbers}", "text": text, "author": {"name": by}, "created_at": self._stamp(), "ref": ref}
        self.records[id].comments.append(one)
        self._touch(self.records[id], {})
        return str(one["id"])

    def remove(self, id: str) -> None:
        """Delete it."""
        del self.records[id]

    # what is kept

    def _stamp(self) -> str:
        at = self.clock()
        return datetime.fromtimestamp(at - at % (self.faults.tick or 0.001), UTC).isoformat().replace("+00:00", "Z")

    def _touch(self, record: Record, sent: Raw) -> None:
        kept = {name: self.faults.computed(name, value) for name, value in sent.items() if name not in self.silent}
        raw = {**record.raw, **kept, "version": record.raw["version"] + 1, "updated_at": self._stamp()}
        raw["comments"] = [{"id": one["id"]} for one in record.comments]
        record.raw = raw
        record.past.append((self.clock(), raw))

    def _known(self, sent: Raw) -> None:
        wrong = {name: "unknown field" for name in sent if name not in BLANK}
        wrong |= {name: "is refused" for name in sent if name in self.faults.refuse_fields}
        if sent.get("status", "open") not in STATUSES:
            wrong["status"] = f"must be one of {', '.join(STATUSES)}"
        if not isinstance(sent.get("severity", 2), int | None):
            wrong["severity"] = "must be a number"
        if wrong:
            raise Rejected(422, "the incident is not valid", wrong)

    def _shown(self) -> list[Raw]:
        """As lists show it, `lag` late; single records are never behind."""
        if not self.faults.lag:
            return [one.raw for one in self.records.values()]
        at = self.clock() - self.faults.lag
        past = ([raw for when, raw in one.past if when <= at] for one in self.records.values())
        return [states[-1] for states in past if states]

    # requests

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, as a server answers it; cuts as httpx raises them."""
        body, path = await request.aread(), unquote(request.url.raw_path.decode().partition("?")[0])
        self.asked.append(request)
        route = re.sub(r"/\d+", "/ID", path.removeprefix("/api/"))
        self.calls[f"{request.method} {route}"] += 1
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        fault = self.faults.pick(request.method, route)
        if fault in FIRST:
            return self._failed(fault, request)
        self.watch("before", request.method, route)
        try:
            status, data, headers = self._answer(request, path.removeprefix("/api/").split("/"), body)
        except Rejected as error:
            status, headers = error.status, {}
            data = {"message": str(error), "errors": error.fields}
        self.watch("after", request.method, route)
        return self._failed(fault, request) if fault in APPLIED else self._reply(request, status, data, headers)

    def _reply(self, request: httpx.Request, status: int, data: Any, headers: dict[str, str]) -> httpx.Response:
        content = b"" if data is None else orjson.dumps(data)
        kind = {"content-type": "application/json", "date": formatdate(self.clock(), usegmt=True)}
        return httpx.Response(status, headers={**kind, **self._quota(), **headers}, content=content, request=request)

    def _failed(self, kind: str, request: httpx.Request) -> httpx.Response:
        cuts: dict[str, type[httpx.RequestError]] = {
            "refuse": httpx.ConnectError,
            "hang": httpx.ReadTimeout,
            "drop": httpx.ReadError,
            "lose": httpx.ReadError,
        }
        if kind in cuts:
            raise cuts[kind](kind, request=request)
        status = {"limit": 429, "busy": 503}.get(kind, 500)
        return self._reply(
            request, status, {}, {"Retry-After": f"{self.faults.retry_after:g}"} if status != 500 else {}
        )

    def _quota(self) -> dict[str, str]:
        """As GitHub and others tell it: the reset is a time."""
        limit, now = self.faults.limit_calls, self.clock()
        if not limit:
            return {}
        self._spent = [at for at in self._spent if at > now - self.faults.limit_seconds]
        reset = min(self._spent, default=now) + self.faults.limit_seconds
        return {"X-RateLimit-Remaining": str(limit - len(self._spent)), "X-RateLimit-Reset": f"{reset:.0f}"}

    def _counted(self) -> None:
        if self.faults.limit_calls:
            self._quota()
            if len(self._spent) >= self.faults.limit_calls:
                raise Rejected(429, "too many")
            self._spent.append(self.clock())

    def _answer(self, request: httpx.Request, way: list[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Rejected(401, "who are you?")
        if f"{request.method} {way[-1]}" in self.faults.forbidden:
            raise Rejected(403, "you may not")
        self._counted()
        if way[0] != "incidents":
            raise Rejected(404, "no such thing")
        method, sent = request.method, orjson.loads(body) if body else {}
        if len(way) == 1:
            if method == "POST":
                return 201, self._kept(self.records[self.create(self._ours(sent), US)].raw), {}
            return self._list(request)
        record = self.records.get(way[1])
        if record is None:
            raise Rejected(404, "no such incident")
        if way[2:] == ["comments"]:
            return self._comments(method, way[1], record, sent)
        if way[2:]:
            raise Rejected(404, "no such thing")
        return self._one(request, way[1], record, sent)

    def _ours(self, sent: Raw) -> Raw:
        return {name: value for name, value in sent.items() if not (name == "external_id" and self.faults.no_keys)}

    def _kept(self, raw: Raw) -> Raw:
        return {name: value for name, value in raw.items() if name != "comments" or not self.since}

    def _one(self, request: httpx.Request, id: str, record: Record, sent: Raw) -> tuple[int, Any, dict[str, str]]:
        tag = f'"{id}-{record.raw["version"]}"'
        if request.method == "PATCH":
            if self.etag and not self.faults.no_lock:
                match = request.headers.get("if-match")
                if match is None:
                    raise Rejected(428, "If-Match is missing")
                if match != tag:
                    raise Rejected(412, "it was changed")
            if sent.pop("version", record.raw["version"]) != record.raw["version"]:
                raise Rejected(409, "it was changed")
            self._known(sent)
            self._touch(record, sent)
            return 200, self._kept(record.raw), {}
        if request.method != "GET":
            raise Rejected(405, "not allowed")
        return 200, self._kept(record.raw), {"ETag": tag} if self.etag else {}

    def _comments(self, method: str, id: str, record: Record, sent: Raw) -> tuple[int, Any, dict[str, str]]:
        if method == "POST":
            if not isinstance(sent.get("text"), str) or set(sent) - {"text", "ref"}:
                raise Rejected(422, "text is needed", {"text": "is needed"})
            made = self.comment(id, sent["text"], US, None if self.faults.no_keys else sent.get("ref"))
            return 201, None, {"Location": f"/api/incidents/{id}/comments/{made}"}
        return 200, {"items": record.comments}, {}

    # lists

    def _list(self, request: httpx.Request) -> tuple[int, Any, dict[str, str]]:
        asked = parse_qsl(request.url.query.decode(), keep_blank_values=True)
        first, many = CUTS.get(self.paging, ("page", "per_page"))
        known = {first, many, "q", "sort", *FILTERS} | ({"updated_since", "updated_until"} if self.since else set())
        for name, _ in asked:
            if name not in known:
                raise Rejected(400, f"unknown parameter {name}")
        given = dict(asked)
        wanted = [_word(one) for one in given["q"].split(" ")] if "q" in given else []
        rows = [raw for raw in self._shown() if self._fits(raw, asked)]
        rows = [raw for raw in rows if all(str(raw[name]) in values for name, values in wanted)]
        if given.get("sort"):
            rows.sort(key=lambda raw: (raw[given["sort"]], int(raw["id"])))
        size = min(int(given.get(many, 20)), MOST)
        at = int(given.get(first, "1" if first == "page" else "0"))
        begin = (at - 1) * size if first == "page" else at
        page, more = rows[begin : begin + size], begin + size < len(rows)
        answer: Raw = {"items": [self._kept(raw) for raw in page]}
        if self.counts:
            answer["meta"] = {"total": len(rows)}
        if self.paging == "cursor":
            answer["meta"] = {"next": str(begin + size) if more else None}
        following = [(name, value) for name, value in asked if name != first] + [(first, str(begin // size + 2))]
        link = f"{request.url.copy_with(query=None)}?{urlencode(following)}"
        return 200, answer, {"Link": f'<{link}>; rel="next"'} if self.paging == "next link" and more else {}

    def _fits(self, raw: Raw, asked: list[tuple[str, str]]) -> bool:
        for name in FILTERS & {name for name, _ in asked}:
            if str(raw[name]) not in [value for one, value in asked if one == name]:
                return False
        given, at = dict(asked), datetime.fromisoformat(raw["updated_at"])
        try:
            since, until = (
                datetime.fromisoformat(given[name]) if name in given else at
                for name in ("updated_since", "updated_until")
            )
        except ValueError:
            raise Rejected(400, "updated_since is no time") from None
        return since <= at <= until


def _word(word: str) -> tuple[str, list[str]]:
    """One word of a query: `status:open|waiting`."""
    name, colon, value = word.partition(":")
    if not colon or name not in FILTERS or not re.fullmatch(r"[\w|-]+", value):
        raise Rejected(400, f"the query cannot be read at {word[:20]!r}")
    return name, value.split("|")
