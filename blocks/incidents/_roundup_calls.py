"""Roundup's calls: what is sent, what its answers and its errors mean."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from blocks.answers import About
from blocks.errors import LockstepError, Misconfigured, NotFound, Refused, Stale, Unavailable, Unreadable
from blocks.feed import GROW, Found, Walk
from blocks.http import Http
from blocks.incidents import _roundup as records
from blocks.incidents import _roundup_words as words
from blocks.model import Cursor, Entry, Fields, Incident, Page

Param = tuple[str, str | int]
TRIES = 3
"""How often an addition is sent again, when somebody else wrote between its read and its write."""


@dataclass(slots=True)
class Tracker:
    """One open connection. `properties` are read beside the classic ones."""

    http: Http
    system: str
    login: str
    properties: list[str]
    labels: records.Labels = field(default_factory=records.Labels)

    @property
    def shown(self) -> tuple[Param, Param]:
        """How issues are asked for."""
        return ("@fields", records.shown(self.properties)), ("@verbose", 2)

    async def search(self, of: str, *params: Param, id: str = "") -> tuple[list[Any], int]:
        """Records of a class, and how many there are. Unreadable."""
        answer = await self.http.json("GET", of, params=[(name, str(value)) for name, value in params], id=id)
        try:
            rows, total = answer["data"]["collection"], answer["data"]["@total_size"]
        except (TypeError, KeyError):
            rows = total = None
        if not isinstance(rows, list) or not isinstance(total, int):
            message = "the answer is no list of records"
            raise Unreadable(message, system=self.system, call=f"GET {of}", id=id)
        # -1 stands for more than the tracker counts.
        return rows, total if total >= 0 else len(rows) + 1

    def issue(self, raw: Any, key: str | None = None) -> Incident:  # noqa: ANN401  as it came
        """One record. Unreadable."""
        row = records.incident(raw, self.properties, self.labels)
        if isinstance(row, Incident):
            return replace(row, key=key)
        raise Unreadable(row.error, system=self.system, call="GET issue", id=row.id)

    async def walk(self, begin: datetime, cursor: Cursor, size: int) -> AsyncIterator[Page]:
        """Pages of what changed since, in order of time. Misconfigured: the login's time zone is not UTC."""
        order = ("@sort", "activity,id")

        async def ask(first: datetime, last: datetime | None, page: int) -> Found:
            span, cut = ("activity", records.span(first, last)), (("@page_size", size), ("@page_index", page))
            raws, total = await self.search("issue", span, order, *self.shown, *cut)
            rows = [records.incident(raw, self.properties, self.labels) for raw in raws]
            stray = records.stray(rows, first, last)
            if stray:
                message = "the tracker reads times in another zone: set the login's time zone to UTC in Roundup"
                raise Misconfigured(message, system=self.system, call="GET issue", id=stray)
            return Found(rows, total)

        begin, width = await self._width(begin, size)
        async for page in Walk(ask, begin, size, self._now, records.text, cursor, width).pages():
            yield page

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.http.skew

    async def _width(self, begin: datetime, size: int) -> tuple[datetime, timedelta | None]:
        """Count a long stretch by ids alone, which is cheap, to cut it into windows of about two pages."""
        if self._now() - begin < timedelta(hours=1):
            return begin, None
        since = ("activity", records.span(begin, None))
        rows, total = await self.search("issue", since, ("@sort", "activity,id"), ("@page_size", 1))
        if total <= GROW * size:
            return begin, None
        oldest, _ = await self.search("issue", ("id", rows[0]["id"]), *self.shown)
        for row in oldest:
            begin = max(begin, self.issue(row).updated)
        return begin, (self._now() - begin) * (2 * size / total)

    async def current(self, id: str) -> tuple[Incident, str, str]:
        """An issue with its ETag and the id of its status; a retired one too. NotFound."""
        number = records.number(f"issue{id}", "issue")
        answer = await self.http.json("GET", f"issue/{number}", params=dict(self.shown), id=id)
        try:
            shown, etag = {**answer["data"]["attributes"], "id": id}, str(answer["data"]["@etag"])
            status = (shown.get("status") or {}).get("id", "")
        except (TypeError, KeyError, AttributeError):
            message = "the answer is no issue"
            raise Unreadable(message, system=self.system, call="GET issue", id=id) from None
        return self.issue(shown), etag, status

    async def write(self, method: str, path: str, sent: Fields, id: str = "", **body: Any) -> dict[str, Any]:  # noqa: ANN401  httpx's
        """Send a write; `sent` are the fields that an error may be about. Refused, Stale, NotFound."""
        try:
            answer = await self.http.json(method, path, id=id, **body)
        except (Refused, Stale) as error:
            raise self._meant(error, sent) from None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            message = "the answer holds no data"
            raise Unreadable(message, system=self.system, call=f"{method} {path}", id=id)
        return data

    async def entries(self, of: str, ids: Sequence[str], owner: Mapping[str, str]) -> list[Entry]:
        """Messages with their texts, or files; `owner` tells whose they are. Unreadable."""
        shown = (("@fields", records.ENTRY_FIELDS[of]), ("@verbose", 3 if of == "msg" else 2))
        rows, _ = await self.search(of, *(("id", one) for one in ids), *shown)
        try:
            return [records.entry(of, raw, owner, self.login) for raw in rows]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            message = f"one of {of} {', '.join(ids)[:100]} cannot be read: {type(error).__name__}: {error}"
            raise Unreadable(message[:300], system=self.system, call=f"GET {of}") from None

    async def made(self, of: str, sent: Fields, **body: Any) -> str:  # noqa: ANN401  httpx's
        """Create a record; its id."""
        data = await self.write("POST", of, sent, **body)
        return records.number(f"{of}{data.get('id')}", of)

    def _meant(self, error: LockstepError, sent: Fields) -> LockstepError:
        """A 409 is a wrong value, or a retired issue; a 400 may be the tracker's own failure, as a locked database."""
        about = About(system=error.system, call=error.call, id=error.id)
        if error.status == httpx.codes.PRECONDITION_FAILED:
            return error
        if "An error occurred" in error.message:
            return Unavailable(error.message, **about)
        if error.status == httpx.codes.CONFLICT and re.search(r"is retired|no such issue", error.message):
            return NotFound(error.message, **about)
        return Refused(error.message, fields=words.blamed(error.message, sent), **about)

    async def coded(self, fields: Fields) -> dict[str, str | list[str]]:
        """Fields as they are written. Refused: an odd label that is none."""
        coded: dict[str, str | list[str]] = {}
        for prop, value in fields.items():
            plain = records.plain(value)
            if prop not in records.CLASSES:
                coded[prop] = plain
            elif isinstance(plain, list):
                coded[prop] = [await self.label(prop, one) for one in plain]
            else:
                coded[prop] = await self.label(prop, plain)
        return coded

    async def label(self, prop: str, label: str) -> str:
        """A label as it is written: itself, or its id where Roundup would take it for something else."""
        if not records.odd(label):
            return label
        of = records.CLASSES[prop]
        rows, _ = await self.search(of, (f"{records.NAMES.get(of, 'name')}:", label))
        if not rows:
            message = f"property {prop}: {label!r} is not a {of}"
            raise Refused(message, fields={prop: message}, system=self.system, call=f"GET {of}")
        return str(rows[0]["id"])

    async def message(self, content: str, key: str, sent: Fields) -> str:
        """A message that carries a key and is linked nowhere yet. Without author Roundup answers 409 "nosy"."""
        author = await self.label("assignedto", self.login)
        return await self.made("msg", sent, json={"content": content, "author": author, "messageid": key})

    async def file(self, entry: Entry, sent: Fields) -> str:
        """A file that is linked nowhere yet. Refused: it is empty, which Roundup cannot store."""
        if not entry.data:
            message = "Roundup takes no empty file"
            raise Refused(
                message, fields=dict.fromkeys(sent, message), system=self.system, call="POST file", id=entry.id
            )
        kind = entry.media_type or "application/octet-stream"
        files = {"content": (entry.name or "file", entry.data, kind)}
        return await self.made("file", sent, data={"name": entry.name, "type": kind}, files=files)

    async def attach(self, id: str, prop: str, new: str, sent: Fields) -> None:
        """Link a message or file. The status goes along as it is, else the tracker moves it to "chatting"."""
        for tries_left in reversed(range(TRIES)):
            _, etag, status = await self.current(id)
            body = {prop: [f"+{new}"], "status": status}
            try:
                await self.write("PUT", f"issue/{id}", sent, id, json=body, headers={"If-Match": etag})
            except Stale:
                if not tries_left:
                    raise
            else:
                return

    async def carrying(self, key: str) -> list[str]:
        """The messages that carry a key. An empty one would find all."""
        if not key.strip():
            return []
        rows, _ = await self.search("msg", ("messageid:", key), ("@fields", "messageid"))
        return [str(row["id"]) for row in rows if row.get("messageid") == key]

    async def linking(self, messages: Iterable[str], *params: Param) -> list[Any]:
        """The issues that link any of these messages, the oldest first."""
        rows, _ = await self.search("issue", *(("messages", one) for one in messages), *params)
        return sorted(rows, key=lambda row: int(row["id"]))
