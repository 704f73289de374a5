"""Request Tracker 5, over its REST 2 interface (https://docs.bestpractical.com/rt/5.0.3/RT/REST2.html).

What that document does not say, seen on 5.0.3: a ticket's ETag is its greatest transaction id; a write that RT
refuses, or a custom field that it does not know, is answered with 200 (or 201) all the same; JSON null adds an empty
value to a custom field that has none; a number as owner is read as an id; a file's name is taken byte by byte; a text
file that is no UTF-8 is guessed and damaged; times in queries are read in the login's zone, so none are sent; a deleted
ticket is still served alone, and even takes writes; a merged one is served as its target.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

import httpx
from pydantic import Field, SecretStr, StringConstraints, field_validator

from blocks.errors import Misconfigured
from blocks.fieldmap import FieldMap
from blocks.http import Http
from blocks.http_system import HttpSystem, address_of
from blocks.incidents import _request_tracker as records
from blocks.incidents import _request_tracker_bodies as bodies
from blocks.incidents import _request_tracker_feed as feed
from blocks.incidents import _request_tracker_read as reading
from blocks.incidents import _request_tracker_words as words
from blocks.incidents import _request_tracker_write as writing
from blocks.incidents._request_tracker_calls import AT_ONCE, Tracker
from blocks.model import Calls, Capabilities, Cursor, Entry, Fields, Incident, Page, Report

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_BYTES = 64 * 1024 * 1024

CustomFieldName = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^{}'\"\\]*$")]


class RequestTracker(HttpSystem):
    """One queue of Request Tracker. Its login must see all in it: SeeQueue, ShowTicket, ShowTicketComments,
    ShowOutgoingEmail, SeeCustomField; to write, too: CreateTicket, ModifyTicket, CommentOnTicket, ModifyCustomField,
    OwnTicket, ReassignTicket.
    """

    _block_type_name = "Request Tracker"
    _description = "A queue of Request Tracker (RT 5), over its REST 2 interface."
    _documentation_url = "https://docs.bestpractical.com/rt/5.0.3/RT/REST2.html"  # type: ignore[assignment]  # parsed by Prefect

    settle_seconds: ClassVar[float] = 10.0

    address: str = Field(description="RT's address, as a person opens it (https://host/ or https://host/rt/).")
    login: str = Field(description="The account that Lockstep works with, as RT names it.")
    password: SecretStr = Field(description="That account's password.")
    queue: str = Field(description="The queue whose tickets are incidents, by its name.")
    ca_file: str = Field(default="", description="File with your own certificate authority (PEM). Empty: public ones.")
    key_field: CustomFieldName = Field(
        default="SyncKey", description="Custom field of tickets (enter one value) that holds our key of a new ticket."
    )
    entry_field: CustomFieldName = Field(
        default="",
        description="Custom field of transactions that holds our keys of comments and files. Empty: there is none, "
        "and what was sent is known again by its account, content and time.",
    )
    severity_field: CustomFieldName = Field(
        default="Severity", description="Custom field of tickets that holds the severity. Empty: there is none."
    )

    @field_validator("address")
    @classmethod
    def _whole(cls, value: str) -> str:
        return address_of(value, "https://host/rt/")

    @field_validator("queue")
    @classmethod
    def _named(cls, value: str) -> str:
        name = value.strip()
        if not name or name.isdigit() or words.is_column(name):
            message = "give the queue's name, which is no number and does not begin with CF."
            raise ValueError(message)
        return name

    @field_validator("key_field")
    @classmethod
    def _needed(cls, value: str) -> str:
        if not value:
            message = "a custom field for our keys is needed: without it, a lost answer would create a ticket twice"
            raise ValueError(message)
        return value

    @property
    def capabilities(self) -> Capabilities:
        """Each write is read back. RT compares If-Match right before it writes."""
        return Capabilities(
            calls=Calls(page=2, entries=3, changed=0, create=2, update=2, entry=1, file=2),
            lock="atomic",
            create_key="field",
            entry_key="native" if self.entry_field else "match",
            settle_seconds=self.settle_seconds,
            clock_seconds=1.0,
            closing_notes=False,
        )

    @property
    def fields(self) -> FieldMap:
        """The default lifecycle's; custom fields pass as `CF.{Name}`, and the priority as its number."""
        return records.fields(self.severity_field)

    def _connect(self) -> Tracker:
        http = Http(
            self.fingerprint(),
            f"{self.address}REST/2.0/",
            auth=httpx.BasicAuth(self.login, self.password.get_secret_value()),
            ca_file=self.ca_file,
            max_bytes=MAX_BYTES,
            transport=self._transport,
        )
        return Tracker(http, self.fingerprint(), self.login, self.queue, self.key_field, self.entry_field)

    @property
    def _tracker(self) -> Tracker:
        return self._opened(Tracker)

    def fingerprint(self) -> str:
        return f"rt {self.address} queue {self.queue.casefold()}"

    def url(self, id: str) -> str:
        return f"{self.address}Ticket/Display.html?id={id}"

    def start(self, at: datetime) -> Cursor:
        return str(feed.Place(at))

    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        return str(self._place(cursor).rewound(by))

    def _place(self, cursor: Cursor) -> feed.Place:
        try:
            return feed.Place.of(cursor)
        except ValueError:
            message = f"not a cursor of RT: {cursor[:40]!r}"
            raise Misconfigured(message, system=self.fingerprint()) from None

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        async for page in reading.walk(self._tracker, self._place(since), size):
            yield page

    async def everything(self, size: int) -> AsyncIterator[Page]:
        """By all transactions of the queue, as these alone tell a ticket's version."""
        async for page in reading.walk(self._tracker, feed.Place(EPOCH, 0), size):
            yield page

    async def matching(self, ids: list[str], query: str) -> set[str]:
        """`Status = 'open' AND 'CF.{Severity}' = 'high'`, as in RT's own search."""
        found: set[str] = set()
        wanted = words.checked(query, self.fingerprint())
        for some in words.chunks([one for one in ids if words.is_id(one)], AT_ONCE):
            asked = f"{self._tracker.scope} AND {words.any_of('id', some)} AND ({wanted})"
            rows = await self._tracker.search("tickets", asked, per_page=str(AT_ONCE))
            found.update(str(row["id"]) for row in rows)
        return found & set(ids)

    async def get(self, id: str) -> Incident:
        """Of an id that was merged into another: that one."""
        return await self._tracker.get(id)

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        """Comments and correspondence alike are comments; the first words are one too, unless we wrote them."""
        return await reading.entries(self._tracker, incidents, known)

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        yield await self._tracker.content(entry.id)

    async def create(self, fields: Fields, key: str) -> Incident:
        return await writing.create(self._tracker, fields, key)

    async def find(self, key: str) -> Incident | None:
        """RT compares without regard to case, so what it finds is compared again. Merged tickets count."""
        found = await self._tracker.carrying(key)
        return await self.get(min(found, key=int)) if found else None

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        return await writing.update(self._tracker, incident, patch)

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        """As a comment, whatever its kind: correspondence would be mailed to the requestors."""
        body = bodies.said(entry, {self.entry_field: key} if self.entry_field else {}, self.fingerprint())
        number = await self._tracker.comment(incident.id, body, "file" if entry.kind == "file" else "text")
        return await self._tracker.file_of(number) if entry.kind == "file" else f"transaction/{number}"

    async def find_entry(
        self, incident: Incident, entry: Entry, key: str, after: datetime, known: AbstractSet[str] = frozenset()
    ) -> str | None:
        """By key; what has none, by our own account, content and time, the newest."""
        kind = "file" if entry.kind == "file" else "comment"
        found = [one for one in await self.entries([incident], known) if one.own and one.kind == kind]
        keyed = [one.id for one in found if one.key == key]
        if keyed:
            return keyed[0]
        since = after - timedelta(seconds=2)
        for one in reversed(found):
            if one.key is None and one.created >= since and await writing.same(self._tracker, one, entry):
                return one.id
        return None

    async def check(self) -> Report:
        return Report(self.fingerprint(), await words.findings(self._tracker, self.severity_field))
