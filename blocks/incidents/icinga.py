"""Icinga 2, over its REST API (https://icinga.com/docs/icinga-2/latest/doc/12-icinga2-api/): problems as incidents.

A problem begins when a host or service leaves UP or OK by a hard state, and is over when it is well again; the next one
of the same object is another incident. What that document does not say is in `_icinga_calls.py` and `_icinga_feed.py`.

What cannot be told: a problem that began and ended between two reads; output that moves while all else stays; how the
server's clock differs from ours, as its answers have no Date. A server that lost its state file takes what is open for
new problems, and the old ones for over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import quote, urlencode

import httpx
import orjson
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from blocks.errors import Misconfigured, NotFound, Refused
from blocks.fieldmap import FieldMap
from blocks.http import Http
from blocks.http_system import HttpSystem, address_of
from blocks.incidents import _icinga as records
from blocks.incidents import _icinga_feed as feed
from blocks.incidents import _icinga_tell as tell
from blocks.incidents._icinga import HOST, OVER, SERVICE, Problem
from blocks.incidents._icinga_calls import Monitor
from blocks.incidents._icinga_check import findings
from blocks.model import Calls, Capabilities, Cursor, Entry, Fields, Incident, Page, Report

AROUND = timedelta(minutes=5)
"""How far the server's clock may be behind ours, when a comment of ours is looked for."""


class Icinga(HttpSystem):
    """An Icinga 2 monitor. Its API user needs objects/query/* and actions/*, or the few of them that it uses."""

    _block_type_name = "Icinga"
    _description = "Problems of hosts and services in Icinga 2 (2.13 or later), over its REST API."
    _documentation_url = "https://icinga.com/docs/icinga-2/latest/doc/12-icinga2-api/"  # type: ignore[assignment]  # parsed by Prefect

    settle_seconds: ClassVar[float] = 5.0

    address: str = Field(description="The API's address (https://monitor.example.com:5665/).")
    login: str = Field(description="The ApiUser that Lockstep works with; its comments carry this name.")
    password: SecretStr = Field(description="That user's password.")
    ca_file: str = Field(
        default="", description="File with Icinga's own certificate authority (PEM): /var/lib/icinga2/certs/ca.crt."
    )
    host_groups: list[str] = Field(
        default=[], description="Only hosts in one of these groups, and their services. Empty: all."
    )
    service_groups: list[str] = Field(default=[], description="Only services in one of these groups. Empty: all.")
    web: str = Field(default="", description="Where people see Icinga (https://monitor.example.com/icingaweb2/).")

    @field_validator("address", "web")
    @classmethod
    def _whole(cls, value: str, info: ValidationInfo) -> str:
        if info.field_name == "web" and not value.strip():
            return ""
        return address_of(value, "https://host:5665/")

    @property
    def capabilities(self) -> Capabilities:
        """A page's calls are those of a whole snapshot, however many pages it makes: hosts, services, comments. One or
        two more tell what is over. An update reads, acts, and reads again.
        """
        return Capabilities(
            calls=Calls(page=3, entries=0, changed=0, create=0, update=3, entry=1, file=0),
            lock="compared",
            create_key="none",
            entry_key="match",
            settle_seconds=self.settle_seconds,
            clock_seconds=0.001,
            create=False,
            close=False,
            reopen=False,
            files=False,
            closing_notes=False,
            lists_over=False,
        )

    @property
    def fields(self) -> FieldMap:
        """Only the status can be told, by acknowledging or not; all else is what Icinga found."""
        return records.FIELDS

    def _connect(self) -> Monitor:
        http = Http(
            self.fingerprint(),
            f"{self.address}v1/",
            auth=httpx.BasicAuth(self.login, self.password.get_secret_value()),
            ca_file=self.ca_file,
            transport=self._transport,
        )
        groups = {HOST.name: self.host_groups, SERVICE.name: self.service_groups}
        return Monitor(http, self.fingerprint(), self.login, groups)

    @property
    def _monitor(self) -> Monitor:
        return self._opened(Monitor)

    def fingerprint(self) -> str:
        scope = {"hosts": sorted(set(self.host_groups)), "services": sorted(set(self.service_groups))}
        limits = "".join(f" {name} {orjson.dumps(groups).decode()}" for name, groups in scope.items() if groups)
        return f"icinga {self.address}{limits}"

    def url(self, id: str) -> str:
        """In Icinga DB Web if its address is known, else the object in the API."""
        problem = Problem.of(id)
        name = problem.name if problem else id
        host, _, service = name.partition("!")
        if not self.web:
            return f"{self.address}v1/objects/{records.kind_of(name).path}/{quote(name, safe='')}"
        where = {"name": service, "host.name": host} if service else {"name": host}
        return f"{self.web}icingadb/{records.kind_of(name).name}?{urlencode(where)}"

    def start(self, at: datetime) -> Cursor:
        return feed.Mark(at.astimezone(UTC)).text()

    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        mark = self._read(cursor)
        return feed.Mark(mark.at - by, mark.known).text()

    def _read(self, cursor: Cursor) -> feed.Mark:
        try:
            return feed.Mark.of(cursor)
        except ValueError:
            message = f"not a cursor of Icinga: {cursor[:40]!r}"
            raise Misconfigured(message, system=self.fingerprint()) from None

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        """One snapshot, in pages."""
        mark = self._read(since)
        for page in feed.pages(mark, await self._monitor.snapshot(mark), self.login, size):
            yield page

    async def everything(self, size: int) -> AsyncIterator[Page]:
        """What is open. Icinga keeps no list of what is over."""
        async for page in self.changes(self.start(records.EPOCH), size):
            yield page

    async def matching(self, ids: list[str], query: str) -> set[str]:
        """`host.vars.team == "soc"`: Icinga's own filter, on the objects as they are now."""
        return await tell.matching(self._monitor, [one for id in ids if (one := Problem.of(id))], query)

    async def get(self, id: str) -> Incident:
        """An old problem of an object that is there is over."""
        return await tell.show(self._monitor, self._problem(id))

    def _problem(self, id: str) -> Problem:
        problem = Problem.of(id)
        if problem is None:
            message = "no problem has such an id"
            raise NotFound(message, system=self.fingerprint(), call="get", id=id)
        return problem

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        """What was said of what is open; the page that tells a problem's end brings its last ones."""
        found = {one.id: Problem.of(one.id) for one in incidents if one.fields.get("status") != OVER}
        problems = [one for one in found.values() if one is not None]
        if not problems:
            return []
        comments = await self._monitor.comments([one.name for one in problems], min(one.well for one in problems))
        entries = [entry for one in problems for entry in feed.said(one, comments, self.login) if entry.id not in known]
        return sorted(entries, key=lambda one: one.created)

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        message = "Icinga keeps no files"
        raise NotFound(message, system=self.fingerprint(), call="content", id=entry.id)
        yield b""

    async def create(self, fields: Fields, key: str) -> Incident:  # noqa: ARG002  the contract's
        message = "Icinga finds its problems itself: none can be created"
        raise Refused(message, fields=dict.fromkeys(fields, message), system=self.fingerprint(), call="create")

    async def find(self, key: str) -> Incident | None:  # noqa: ARG002  the contract's
        return None

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        """Acknowledge, or take it back."""
        return await tell.tell(self._monitor, self._problem(incident.id), incident.fields, patch)

    async def add_entry(
        self,
        incident: Incident,
        entry: Entry,
        key: str,  # noqa: ARG002  a comment has no room for it
    ) -> str:
        """A comment of the object. After the problem's end only while all is well: else it would be the next one's."""
        problem, monitor = self._problem(incident.id), self._monitor
        wrong = "" if entry.kind != "file" and entry.text.strip() else "Icinga takes no files, and no empty comments"
        if incident.fields.get("status") == OVER and not (await monitor.one(problem.name, incident.id)).fine:
            wrong = "the problem is over, and its object fails again: a comment would be the next problem's"
        if wrong:
            raise Refused(wrong, system=self.fingerprint(), call="add_entry", id=incident.id)
        added = await monitor.act("add-comment", problem.name, incident.id, comment=entry.text)
        return str(added["name"])

    async def find_entry(
        self,
        incident: Incident,
        entry: Entry,
        key: str,  # noqa: ARG002  a comment has no room for it
        after: datetime,
        known: AbstractSet[str] = frozenset(),
    ) -> str | None:
        """By our own account, content and time, the newest. Of the object, as the problem may be over by now."""
        name, since = self._problem(incident.id).name, after - AROUND
        comments = await self._monitor.comments([name], int(since.timestamp() * 1e6))
        for one in sorted(comments, key=lambda one: one.at, reverse=True):
            own = one.name == name and one.author == self.login and not one.acknowledges
            if own and one.text == entry.text and one.id not in known:
                return one.id
        return None

    async def check(self) -> Report:
        return Report(self.fingerprint(), await findings(self._monitor))
