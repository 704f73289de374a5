"""Any system with a JSON API, described by its form: for those that have no connector of their own.

What it can do follows from the form. docs/rest-system.md shows how to describe a system, with two that are tested.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import PrivateAttr

from blocks.errors import Misconfigured, NotFound, Refused, Stale
from blocks.fieldmap import FieldMap
from blocks.http import Http
from blocks.incidents import _rest_check as checks
from blocks.incidents import _rest_comments as comments
from blocks.incidents import _rest_records as records
from blocks.incidents import _rest_templates as templates
from blocks.incidents._rest_calls import Connection, taken
from blocks.incidents._rest_feed import Found, Position, Walk
from blocks.incidents._rest_form import RestForm
from blocks.incidents._rest_login import AnyLimit, login
from blocks.incidents._rest_paths import Times
from blocks.model import OVER, STATUSES, Calls, Capabilities, Cursor, Entry, Fields, Incident, Page, Report

AT_ONCE: Final = 50
"""How many ids go into one search."""
BEGINNING: Final = datetime(1970, 1, 2, tzinfo=UTC)
_KEY: Final = re.compile(r"[A-Za-z0-9-]{9,200}")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RestSystem(RestForm):
    """An incident system with a JSON API, as the form describes it."""

    _block_type_name = "REST system"
    _description = "Any incident system with a JSON API, described field by field. No files."
    _documentation_url = "https://www.rfc-editor.org/rfc/rfc9110"  # type: ignore[assignment]  # parsed by Prefect

    _now: Callable[[], datetime] = PrivateAttr(default_factory=lambda: _utc_now)

    @property
    def capabilities(self) -> Capabilities:
        """What the form lets us do."""
        sent = templates.places(self.if_match) | templates.places(self.update_with)
        atomic, reads = bool(sent & {"etag", "version"}), 2 if self.etag_path else 1
        before = reads if self.compare or "etag" in sent else 0
        in_bulk = "ids" in templates.places(self.comments_path)
        rows = {row.ours: row for row in self.fields.rows if row.writable == "always"}
        status = rows.get("status")
        told = {ours for ours in STATUSES if status is not None and status.settable(ours)}
        return Capabilities(
            calls=Calls(
                page=1,
                entries=1 if in_bulk else 0,
                changed=1 if self.comments_path and not in_bulk else 0,
                create=2,
                update=before + 2,
                entry=2 + reads if self.link_path else 1,
                file=0,
            ),
            lock="atomic" if atomic else "compared" if self.compare else "none",
            create_key="field" if self.key_at else "none",
            entry_key="native" if self.comment_key else "match",
            settle_seconds=self.lag_seconds,
            clock_seconds=self.clock_seconds,
            create=bool(self.create_path),
            comments_out=bool(self.comment_add_path),
            close=bool(told & OVER),
            reopen=bool(told - OVER),
            files=False,
            closing_notes="close_notes" in rows,
            read_only=not self.update_path,
        )

    @property
    def fields(self) -> FieldMap:
        """As the form maps them."""
        return records.field_map(self)

    def _connect(self) -> Connection:
        further = (line.partition(":") for line in self.headers)
        http = Http(
            self.fingerprint(),
            f"{self.address.strip().rstrip('/')}/",
            auth=login(self),
            headers={name.strip(): value.strip() for name, _, value in further},
            ca_file=self.ca_file,
            limits=AnyLimit(),
            transport=self._transport,
        )
        return Connection(http, self, records.Reader.of(self, lambda: self._now() + http.skew))

    @property
    def _connection(self) -> Connection:
        return self._opened(Connection)

    def fingerprint(self) -> str:
        parts = urlsplit(self.address.strip())
        return " ".join(
            ("rest", f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}/", self.scope)
        ).strip()

    def url(self, id: str) -> str:
        template = self.web or f"{self.address.strip().rstrip('/')}/{self.get_path}"
        return template.replace("{id}", quote(id, safe=""))

    def start(self, at: datetime) -> Cursor:
        return records.text(at)

    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        return records.text(self._read(cursor) - by)

    def _read(self, cursor: Cursor) -> datetime:
        try:
            return max(datetime.fromisoformat(cursor).astimezone(UTC), BEGINNING)
        except (ValueError, OverflowError):
            message = f"not a cursor of a REST system: {cursor[:40]!r}"
            raise Misconfigured(message, system=self.fingerprint()) from None

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        begin = max(self._read(since) - timedelta(seconds=self.lag_seconds), BEGINNING)
        connection, times, size = self._connection, Times(self.since_times or self.times), min(size, self.page_size)

        async def ask(at: datetime, position: Position | None) -> Found:
            return await connection.found(times.text(at), position, size)

        walk = Walk(ask, begin, since, times, records.text, self.fingerprint())
        ordered = self.order != "any" and "since" in templates.places(self.list_path)
        pages = walk.oldest_first() if ordered else walk.whole(lambda: self.skew)
        async for page in pages:
            yield page

    def everything(self, size: int) -> AsyncIterator[Page]:
        return self.changes(records.text(BEGINNING), size)

    async def matching(self, ids: list[str], query: str) -> set[str]:
        """The system's own query, as `query_path` takes it. Without {ids} in it all that it finds is read."""
        connection, found = self._connection, set[str]()
        if not self.query_path or not query.strip():
            message = "no query" if self.query_path else "the form has no `query_path`: use a filter over our fields"
            raise Refused(message, fields={"query": message}, **connection.about("matching"))
        in_bulk = "ids" in templates.places(self.query_path)
        for begin in range(0, len(ids), AT_ONCE if in_bulk else len(ids) or 1):
            values = {"query": query, "ids": ids[begin : begin + AT_ONCE]}
            async for row in connection.all(self.query_path, self.items, values):
                found.add(connection.id_of(row))
        return found & set(ids)

    async def get(self, id: str) -> Incident:
        if not records.fit(id):
            raise NotFound("no id of this system", **self._connection.about("GET", id))
        return (await self._connection.record(id))[0]

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        """One call for each incident, or one for 50 comments where the form has {ids}."""
        return await comments.read(self._connection, incidents, known)

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        raise Refused("a REST system has no files", **self._connection.about("content", entry.id))
        yield b""  # makes it the iterator that the contract asks for

    async def create(self, fields: Fields, key: str) -> Incident:
        """Posted, then read again, as answers differ from what is shown later."""
        connection = self._connection
        if not self.create_path:
            raise Refused("the block's form has no `create_path`", **connection.about("create"))
        given = {name: value for name, value in fields.items() if value not in (None, "", [])}
        reader = connection.reader
        body = reader.body(self.create_with, {"key": key}, given, "create")
        if self.key_at:
            reader.put(body, self.key_written or self.key_at, key)
        answer = await connection.write("POST", self.create_path, {}, given, json=body)
        return await self.get(connection.new_id(answer, "created_id"))

    async def find(self, key: str) -> Incident | None:
        connection = self._connection
        if not self.find_path or not _KEY.fullmatch(key):
            return None
        async for row in connection.all(self.find_path, self.items, {"key": key}):
            incident = connection.incident(row)
            if incident.key == key:
                return incident
        return None

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        """Stale by comparing, and by the system's own answer where the form sends it ETag or version."""
        connection, id, before, etag = self._connection, incident.id, incident, ""
        if not self.update_path:
            raise Refused("the block's form has no `update_path`", **connection.about("update", id))
        body = connection.reader.body(self.update_with, self._told(incident), patch, "update", id)
        if self.compare or "etag" in templates.places(self.if_match):
            before, _, etag = await connection.before(id)
            if any(before.fields.get(name, value) != value for name, value in incident.fields.items()):
                raise Stale("it was changed since it was read", **connection.about("update", id))
        if patch:
            headers = connection.condition(etag, records.raw_version(incident.version), id)
            values = {"id": id}
            await connection.write(self.update_method, self.update_path, values, patch, json=body, headers=headers)
        return taken(before, replace(await self.get(id), key=incident.key), patch)

    def _told(self, incident: Incident) -> templates.Values:
        """The version as JSON has it: a counter is a number."""
        version = records.raw_version(incident.version)
        return {"id": incident.id, "version": int(version) if version.isdigit() else version}

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        return await comments.add(self._connection, incident, entry, key)

    async def find_entry(
        self, incident: Incident, entry: Entry, key: str, after: datetime, known: AbstractSet[str] = frozenset()
    ) -> str | None:
        """By key where comments show it, else by our own account, words and time, the newest."""
        return await comments.find(self._connection, incident, entry, key, after, known)

    async def check(self) -> Report:
        return Report(self.fingerprint(), await checks.findings(self._connection))
