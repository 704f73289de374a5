"""Cortex XSOAR 6 and 8, over its REST API (docs-cortex.paloaltonetworks.com: Cortex XSOAR 6 API, Cortex XSOAR 8 API).

What shapes this connector: a write is the whole object with its version, and wipes what it omits; a conflict is a 400;
there is a route to close, none to reopen; a new incident may have no time of update, and an entry need not change it;
a text sent to the route `entry` is run if it begins with an exclamation mark; opening the War Room of a pending
incident, without which it takes no entry, makes it active; the key's label is found by its type.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from blocks.errors import Misconfigured, Refused, Stale, Unreadable
from blocks.fieldmap import FieldMap
from blocks.http import Http
from blocks.http_system import HttpSystem, address_of
from blocks.incidents import _xsoar as records
from blocks.incidents import _xsoar_feed as feed
from blocks.incidents import _xsoar_labels as labels
from blocks.incidents import _xsoar_war_room as war_room
from blocks.incidents import _xsoar_words as words
from blocks.incidents._xsoar_calls import Server
from blocks.incidents._xsoar_check import findings
from blocks.model import Calls, Capabilities, Cursor, Entry, Fields, Incident, Page, Report

AT_ONCE = 100
"""How many ids go into one search."""
CLOUD = "/xsoar/public/v1"


class Xsoar(HttpSystem):
    """A Cortex XSOAR, 6 or 8. Its key's role needs to read and edit incidents, and to run reopenInvestigation."""

    _block_type_name = "Cortex XSOAR"
    _description = "Palo Alto Networks Cortex XSOAR 6 or 8, over its REST API."
    _documentation_url = "https://docs-cortex.paloaltonetworks.com/p/XSOAR"  # type: ignore[assignment]  # parsed by Prefect

    settle_seconds: ClassVar[float] = 60.0

    address: str = Field(
        description="The server's address: 6: https://host/, 8: https://api-name/, as its keys' page says."
    )
    api_key: SecretStr = Field(description="The API key; on 8 a standard one.")
    login: str = Field(description="The user that the War Room shows beside what this key writes.")
    key_id: str = Field(default="", description="8: the key's id. Empty: this is a 6.")
    ca_file: str = Field(default="", description="File with your own certificate authority (PEM). Empty: public ones.")
    query: str = Field(default="", description="Only these incidents exist for Lockstep: type:Ping. Not by status.")
    custom_fields: list[str] = Field(default=[], description="Keys of further fields to read: scanip for Scan IP.")
    categories: list[str] = Field(
        default=["chats", "notes", "attachments"], description="Categories of the entries that come in."
    )
    entry_tags: list[str] = Field(default=[], description="Only entries with one of these tags come in. Empty: all.")
    incident_type: str = Field(default="", description="Type of incidents created there. Empty: as the server decides.")
    ask_each: bool = Field(
        default=True, description="Ask each open incident for new entries: a call for each. check says if it is needed."
    )

    @field_validator("address")
    @classmethod
    def _whole(cls, value: str) -> str:
        return address_of(value, "https://host/").rstrip("/").removesuffix(CLOUD)

    @field_validator("query")
    @classmethod
    def _scope(cls, value: str) -> str:
        why = words.scope_wrong(value) if value.strip() else ""
        if why:
            message = f"this query cannot be a scope: {why}"
            raise ValueError(message)
        return value.strip()

    @field_validator("custom_fields")
    @classmethod
    def _further(cls, value: list[str]) -> list[str]:
        taken = sorted({*value} & {*records.READ})
        if taken:
            message = f"these fields are read already: {', '.join(taken)}"
            raise ValueError(message)
        return value

    @property
    def capabilities(self) -> Capabilities:
        """Each write reads first, as it writes the whole object."""
        return Capabilities(
            calls=Calls(page=2, entries=0, changed=1, create=2, update=2, entry=1, file=1),
            lock="atomic",
            create_key="label",
            entry_key="match",
            settle_seconds=self.settle_seconds,
            clock_seconds=0.001,
        )

    @property
    def fields(self) -> FieldMap:
        """XSOAR's own; `type` and custom fields pass under their keys."""
        return records.FIELDS

    def _connect(self) -> Server:
        """No limits are published: few calls at a time."""
        key = {"Authorization": self.api_key.get_secret_value()}
        http = Http(
            self.fingerprint(),
            f"{self.address}{CLOUD}/" if self.key_id else f"{self.address}/",
            headers={**key, "x-xdr-auth-id": self.key_id} if self.key_id else key,
            ca_file=self.ca_file,
            concurrency=4,
            transport=self._transport,
        )
        return Server(
            http, self.fingerprint(), {self.login}, self.query, self.custom_fields, self.categories, self.entry_tags
        )

    @property
    def _server(self) -> Server:
        return self._opened(Server)

    def fingerprint(self) -> str:
        return f"xsoar {self.address}/ {self.query}".rstrip()

    def url(self, id: str) -> str:
        """8 shows people another host than it shows programs."""
        if self.key_id:
            return f"{self.address.replace('://api-', '://', 1)}/Details/{id}"
        return f"{self.address}/#/Details/{id}"

    def start(self, at: datetime) -> Cursor:
        return records.text(at)

    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        return records.text(self._read(cursor) - by)

    def _read(self, cursor: Cursor) -> datetime:
        try:
            return datetime.fromisoformat(cursor).astimezone(UTC)
        except ValueError:
            message = f"not a cursor of XSOAR: {cursor[:40]!r}"
            raise Misconfigured(message, system=self.fingerprint()) from None

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        begin = self._read(since) - timedelta(seconds=self.settle_seconds)
        async for page in feed.changes(self._server, begin, since, size, each=self.ask_each):
            yield page

    async def everything(self, size: int) -> AsyncIterator[Page]:
        async for page in feed.walk(self._server, "created", records.EPOCH, records.text(records.EPOCH), size):
            yield page

    async def matching(self, ids: list[str], query: str) -> set[str]:
        """`-status:closed and type:Ping`, as in XSOAR's own search."""
        why, found, server = words.wrong(query), set[str](), self._server
        if why:
            message = f"not a query of XSOAR: {why}: {query[:100]!r}"
            raise Refused(message, fields={"query": message}, system=self.fingerprint())
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            rows, total = await server.search(query, len(some), ids=some, sent={"query": query})
            if total > len(some):
                message = "a search by ids finds more than it was asked for"
                raise Unreadable(message, system=self.fingerprint(), call="POST incidents/search")
            found.update(str(raw.get("id")) for raw in rows)
        return found & {*ids}

    async def get(self, id: str) -> Incident:
        return self._server.incident(await self._server.load(id))

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        found = await feed.entries(self._server, list(incidents))
        return [one for one in found if one.id not in known]

    def content(self, entry: Entry) -> AsyncIterator[bytes]:
        return war_room.content(self._server, entry)

    async def create(self, fields: Fields, key: str) -> Incident:
        """With its War Room, unless it is new: that runs its playbook. Closing needs a second write."""
        given = {name: value for name, value in fields.items() if value not in (None, "", [])}
        made = await self.get(await self._server.create(given, key, self.incident_type))
        late = {name: value for name, value in given.items() if name in ("closeReason", "closeNotes")}
        if given.get("status") in records.OVER:
            made = await self.update(made, {**late, "status": given["status"]})
        return replace(made, key=key)

    async def find(self, key: str) -> Incident | None:
        """The oldest, in any scope."""
        rows, _ = (
            await self._server.search(f"{labels.KEY}:{words.quoted(key)}", AT_ONCE, by="created") if key else ([], 0)
        )
        return next((self._server.incident(raw) for raw in rows if labels.key_of(raw) == key), None)

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        """Stale if its fields are no longer as in `incident`, or the version rises between our read and our write."""
        server = self._server
        raw = await server.load(incident.id)
        now = server.incident(raw)
        if any(now.fields.get(name, value) != value for name, value in incident.fields.items()):
            message = "it was changed since it was read"
            raise Stale(message, system=self.fingerprint(), call="POST incident", id=incident.id)
        if not patch:
            return now
        shown = server.incident(await server.write(raw, patch))
        words.taken(now, patch, shown, self.fingerprint())
        return shown

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:  # noqa: ARG002  entries carry no key
        """In a War Room that is opened if need be."""
        return await war_room.add(self._server, incident, entry)

    async def find_entry(
        self,
        incident: Incident,
        entry: Entry,
        key: str,  # noqa: ARG002  entries carry no key
        after: datetime,
        known: AbstractSet[str] = frozenset(),
    ) -> str | None:
        """By our own account, content and time, the newest."""
        return await war_room.find(self._server, incident, entry, after, known)

    async def check(self) -> Report:
        return Report(self.fingerprint(), await findings(self._server))
