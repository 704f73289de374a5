"""Roundup, over its REST interface (https://www.roundup-tracker.org/docs/rest.html).

What that document does not say, seen on 2.6: times of update have milliseconds and are shown cut to seconds; a search
formats its whole tail before it cuts a page; a retired issue is still served alone, but never found; a label that is a
number is read as an id, one with a sign in front as "add" or "remove"; JSON null is dropped, an empty text clears; a
message that is added moves a resolved issue to "chatting", unless the same call names the status.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
from pydantic import Field, PrivateAttr, SecretStr, field_validator

from blocks.errors import Misconfigured, NotFound, Stale
from blocks.fieldmap import FieldMap
from blocks.http import Http
from blocks.http_system import HttpSystem, address_of
from blocks.incidents import _roundup as records
from blocks.incidents import _roundup_words as words
from blocks.incidents._roundup_calls import Tracker
from blocks.model import Calls, Capabilities, Cursor, Entry, Fields, Incident, Page, Report

EPOCH = "1970-01-01T00:00:00Z"
AT_ONCE = 100
"""How many ids go into one search."""


class Roundup(HttpSystem):
    """A Roundup tracker. Its login needs Rest Access, and to view and edit issues, messages and files."""

    _block_type_name = "Roundup"
    _description = "A Roundup issue tracker (2.4 or later), over its REST interface."
    _documentation_url = "https://www.roundup-tracker.org/docs/rest.html"  # type: ignore[assignment]  # parsed by Prefect

    settle_seconds: ClassVar[float] = 10.0

    address: str = Field(description="The tracker's address, as in its config.ini (https://host/tracker/).")
    login: str = Field(description="The account that Lockstep works with. Its time zone in Roundup must be UTC.")
    password: SecretStr = Field(description="That account's password.")
    ca_file: str = Field(default="", description="File with your own certificate authority (PEM). Empty: public ones.")
    properties: list[str] = Field(default=[], description="Further properties of an issue to read: closereason.")

    _orphans: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("address")
    @classmethod
    def _whole(cls, value: str) -> str:
        return address_of(value, "https://host/tracker/")

    @property
    def capabilities(self) -> Capabilities:
        """Each write reads first, for the ETag that If-Match needs."""
        return Capabilities(
            calls=Calls(page=1, entries=1, changed=0, create=3, update=2, entry=3, file=3),
            lock="atomic",
            create_key="native",
            entry_key="native",
            settle_seconds=self.settle_seconds,
            clock_seconds=1.0,
            closing_notes=False,
        )

    @property
    def fields(self) -> FieldMap:
        """The classic tracker's; further properties pass under their own names."""
        return records.FIELDS

    def _connect(self) -> Tracker:
        """Writes need X-Requested-With, and Origin without a path."""
        parts = urlsplit(self.address)
        http = Http(
            self.fingerprint(),
            f"{self.address}rest/data/",
            auth=httpx.BasicAuth(self.login, self.password.get_secret_value()),
            headers={"X-Requested-With": "rest", "Origin": f"{parts.scheme}://{parts.netloc}", "Referer": self.address},
            ca_file=self.ca_file,
            limits=words.LIMITS,
            transport=self._transport,
        )
        return Tracker(http, self.fingerprint(), self.login, self.properties)

    @property
    def _tracker(self) -> Tracker:
        return self._opened(Tracker)

    def fingerprint(self) -> str:
        return f"roundup {self.address}"

    def url(self, id: str) -> str:
        return f"{self.address}issue{id}"

    def start(self, at: datetime) -> Cursor:
        return records.text(at.astimezone(UTC))

    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        return records.text(self._read(cursor) - by)

    def _read(self, cursor: Cursor) -> datetime:
        try:
            return datetime.fromisoformat(cursor).astimezone(UTC)
        except ValueError:
            message = f"not a cursor of Roundup: {cursor[:40]!r}"
            raise Misconfigured(message, system=self.fingerprint()) from None

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        begin = self._read(since) - timedelta(seconds=self.settle_seconds)
        async for page in self._tracker.walk(begin, since, size):
            yield page

    async def everything(self, size: int) -> AsyncIterator[Page]:
        async for page in self._tracker.walk(self._read(EPOCH), EPOCH, size):
            yield page

    async def matching(self, ids: list[str], query: str) -> set[str]:
        """`status=chatting&priority=bug`, as in the address of Roundup's own search."""
        found: set[str] = set()
        wanted = words.query(query, self.fingerprint())
        for some in records.chunks(ids, AT_ONCE):
            rows, _ = await self._tracker.search("issue", *(("id", one) for one in some), *wanted)
            found.update(row["id"] for row in rows)
        return found

    async def get(self, id: str) -> Incident:
        """Searches for it, because a retired one is served alone as if it were there."""
        rows: list[Any] = []
        if re.fullmatch(r"[0-9]{1,18}", id):
            rows, _ = await self._tracker.search("issue", ("id", id), *self._tracker.shown, id=id)
        if not rows:
            raise NotFound("no such issue", system=self.fingerprint(), call="GET issue", id=id)
        return self._tracker.issue(rows[0])

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        """One call for 100 messages and one for 100 files. Roundup does not tell a file's size: 0. A message that
        several incidents link is the first one's.
        """
        owner = {one: it.id for it in reversed(incidents) for one in it.entry_ids or () if one not in known}
        found: list[Entry] = []
        for of in records.ENTRY_FIELDS:
            ids = [one.removeprefix(of) for one in owner if one.startswith(of)]
            for some in records.chunks(ids, AT_ONCE):
                found += await self._tracker.entries(of, some, owner)
        return sorted(found, key=records.age)

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        path = f"file/{records.number(entry.id, 'file')}/binary_content"
        async for chunk in self._tracker.http.stream_bytes("GET", path, id=entry.id, headers={"Accept": "*/*"}):
            yield chunk

    async def create(self, fields: Fields, key: str) -> Incident:
        """A first message with the key, then the issue that links it; after a crash between them, nothing links it."""
        tracker = self._tracker
        rest = {prop: value for prop, value in fields.items() if prop != "description" and value not in (None, "", [])}
        coded = await tracker.coded(rest)
        message = await tracker.message(str(fields.get("description") or fields.get("title") or key), key, fields)
        made = await tracker.made("issue", rest, json={**coded, "messages": [message]})
        return replace(await self.get(made), key=key)

    async def find(self, key: str) -> Incident | None:
        messages = await self._tracker.carrying(key)
        rows = await self._tracker.linking(messages, *self._tracker.shown) if messages else []
        return self._tracker.issue(rows[0], key) if rows else None

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        """Stale if its fields are no longer as in `incident`. The answer's version is the one before the write, as
        Roundup does not tell the one after: what comes with the next page cannot look older than it.
        """
        tracker = self._tracker
        now, etag, _ = await tracker.current(incident.id)
        if any(now.fields.get(prop, value) != value for prop, value in incident.fields.items()):
            message = "it was changed since it was read"
            raise Stale(message, system=self.fingerprint(), call="PUT issue", id=incident.id)
        if not patch:
            return now
        body, path = await tracker.coded(patch), f"issue/{incident.id}"
        answer = await tracker.write("PUT", path, patch, incident.id, json=body, headers={"If-Match": etag})
        try:
            changed = {prop: value for prop, value in answer["attribute"].items() if prop in now.fields}
            fields = {prop: tracker.labels.written(prop, value, patch.get(prop)) for prop, value in changed.items()}
        except (KeyError, TypeError, AttributeError):
            return await self.get(incident.id)
        return replace(now, fields={**now.fields, **fields}, key=incident.key)

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        """A file carries no key. A message that a crash left unlinked is used, if `find_entry` saw it."""
        if entry.kind == "file":
            file = await self._tracker.file(entry, {"file": entry.name})
            await self._tracker.attach(incident.id, "files", file, {"file": entry.name})
            return f"file{file}"
        sent = {"text": entry.text}
        message = self._orphans.pop(key, None) or await self._tracker.message(entry.text, key, sent)
        await self._tracker.attach(incident.id, "messages", message, sent)
        return f"msg{message}"

    async def find_entry(
        self, incident: Incident, entry: Entry, key: str, after: datetime, known: AbstractSet[str] = frozenset()
    ) -> str | None:
        """By key, if it is linked; files, and what lost its key, by our own account, content and time, the newest."""
        tracker, of = self._tracker, "file" if entry.kind == "file" else "msg"
        messages = await tracker.carrying(key) if of == "msg" else []
        now = await self.get(incident.id)
        linked = tuple(one for one in now.entry_ids or () if one.startswith(of))
        for message in messages:
            if f"msg{message}" in linked:
                return f"msg{message}"
        if messages and not await tracker.linking(messages):
            self._orphans[key] = messages[0]
        since = after - timedelta(seconds=2)
        for one in reversed(await self.entries([replace(now, entry_ids=linked)], known)):
            if one.own and one.key is None and one.created >= since and await self._same(one, entry):
                return one.id
        return None

    async def _same(self, one: Entry, entry: Entry) -> bool:
        if entry.kind != "file":
            return one.text == entry.text.strip()
        if one.name != entry.name or entry.data is None:
            return one.name == entry.name
        return b"".join([chunk async for chunk in self.content(one)]) == entry.data

    async def check(self) -> Report:
        return Report(self.fingerprint(), await words.findings(self._tracker))
