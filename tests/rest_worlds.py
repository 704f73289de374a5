"""People who work in systems that forms describe: plain APIs of every kind, and those of docs/rest-system.md."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from blocks.incidents._rest_form import RestField
from blocks.incidents.rest import RestSystem
from blocks.model import Fields
from blocks.rules import ValueMap
from tests import rt_worlds, test_roundup
from tests.contracts.incident_system import World
from tests.fakes import roundup as fake_roundup
from tests.fakes.plain import TOKEN, US, Paging, PlainApi
from tests.peers import rt as real_rt
from tests.rest_examples import example

STATUS = {"open": "new", "working": "active", "waiting": "waiting", "done": "resolved", "closed": "closed"}
SEVERITY = {"4": "critical", "3": "high", "2": "medium", "1": "low", "0": "info"}
VALUES = [ValueMap("status", theirs, ours) for theirs, ours in STATUS.items()]
VALUES += [ValueMap("severity", theirs, ours) for theirs, ours in SEVERITY.items()]
MAPPED = [
    *(RestField(name, name) for name in ("title", "description", "status")),
    RestField("severity", "severity", kind="number"),
    RestField("owner", "assignee"),
    RestField("labels", "labels", kind="list"),
]
LISTS: dict[Paging, dict[str, Any]] = {
    "page": {"list_path": "incidents?updated_since={since}&sort=updated_at&page={page}&per_page={size}"},
    "offset": {"list_path": "incidents?updated_since={since}&sort=updated_at&offset={offset}&limit={size}"},
    "cursor": {
        "list_path": "incidents?updated_since={since}&sort=updated_at&cursor={cursor}&limit={size}",
        "next_at": "meta.next",
    },
    "next link": {
        "list_path": "incidents?updated_since={since}&sort=updated_at&per_page={size}",
        "next_at": "header:Link",
    },
}
BASICS: dict[str, Any] = {
    "account": US,
    "mapped": MAPPED,
    "values": VALUES,
    "key_at": "external_id",
    "find_path": "incidents?external_id={key}",
    "query_path": "incidents?q={query}&id={ids}",
    "comment_author": "author.name",
    "comment_added_id": "header:Location",
}
"""What differs from the form's defaults."""
BAD = ("", " ", "status", "status:", "nosuchfield:x", "status:open OR id:1", "status:open)&id=1", "' OR 1=1")


class PlainPeople(World):
    """The people of a plain API in process, with a clock that can be moved on."""

    clock_moves = True
    bad_queries = BAD

    def __init__(self, paging: Paging = "page", **api: Any) -> None:
        self.ahead = 0.0
        self.api = PlainApi(lambda: time.time() + self.ahead, paging=paging, **api)

    async def create(self, fields: Fields) -> str:
        return self.api.create(self._sent(fields))

    def _sent(self, fields: Fields) -> dict[str, Any]:
        return {name: int(str(value)) if name == "severity" else value for name, value in fields.items()}

    async def edit(self, id: str, fields: Fields) -> None:
        self.api.edit(id, self._sent(fields))

    async def comment(self, id: str, text: str) -> str:
        return self.api.comment(id, text)

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:
        raise NotImplementedError

    async def remove(self, id: str) -> None:
        self.api.remove(id)

    async def later(self, seconds: float) -> None:
        self.ahead += seconds

    @property
    def queries(self) -> dict[str, str]:
        return {"new": "status:open", "active": "status:working"}


class PlainWorld(PlainPeople):
    """A plain API as a form describes it: `form` holds what differs."""

    def __init__(
        self, paging: Paging = "page", *, since: bool = True, form: dict[str, Any] | None = None, **api: Any
    ) -> None:
        super().__init__(paging, since=since, **api)
        listed = LISTS[paging]
        if not since:
            listed = {**listed, "list_path": listed["list_path"].replace("updated_since={since}&sort=updated_at&", "")}
        self.form = {**BASICS, "paging": paging, **listed, **(form or {})}

    def system(self, *, password: str | None = None, address: str | None = None) -> RestSystem:
        system = RestSystem(
            address=address or "http://plain.test/api", secret=SecretStr(password or TOKEN), **self.form
        )
        system._transport = self.api
        return system


def just_now() -> datetime:
    """Where a first fetch of a test begins."""
    return datetime.now(UTC) - timedelta(minutes=1)


def answering(*answers: httpx.Response, **form: Any) -> RestSystem:
    """A system that gives these answers, one after another, the last for ever."""
    left = list(answers)
    system = RestSystem(
        **{
            "address": "http://plain.test/api",
            "secret": SecretStr("hunter2"),
            "account": US,
            "lag_seconds": 0.0,
            **form,
        }
    )
    system._transport = httpx.MockTransport(lambda _: left.pop(0) if len(left) > 1 else left[0])
    return system


def told(*rows: dict[str, Any], **more: Any) -> httpx.Response:
    """A page of these records."""
    return httpx.Response(200, json={"items": list(rows), **more})


def row(id: int, second: int = 0, **more: Any) -> dict[str, Any]:
    """A record, changed in this second."""
    return {"id": id, "title": f"number {id}", "updated_at": f"2026-11-24T00:00:{second:02}Z", **more}


def roundup(url: str, login: str, password: str) -> RestSystem:
    """As the document describes Roundup."""
    form = example("Roundup", "https://tracker.example.org/soc/", url)
    return RestSystem(**{**form, "login": login, "secret": SecretStr(password)})


def request_tracker(url: str, login: str, password: str) -> RestSystem:
    """As the document describes Request Tracker."""
    form = example("Request Tracker", "https://rt.example.org/", url)
    return RestSystem(**{**form, "login": login, "secret": SecretStr(password)})


class FakeRoundup(test_roundup.FakeWorld):
    """The fake Roundup, with a property for our key."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = fake_roundup.FakeRoundup(lambda: time.time() + self.ahead, extra=("synckey",))

    def system(self, *, password: str | None = None, address: str | None = None) -> RestSystem:  # type: ignore[override]  # another connector to the same world
        system = roundup(address or "http://roundup.test/tracker/", "admin", password or "secret")
        system._transport = fake_roundup.FakeTransport(self.fake)
        return system

    async def comment(self, id: str, text: str) -> str:
        return (await super().comment(id, text)).removeprefix("msg")


class RealRoundup(test_roundup.PeerWorld):
    """The real Roundup."""

    def system(self, *, password: str | None = None, address: str | None = None) -> RestSystem:  # type: ignore[override]  # another connector to the same world
        return roundup(address or self.peer.url, self.peer.login, password or self.peer.password)

    async def comment(self, id: str, text: str) -> str:
        return (await super().comment(id, text)).removeprefix("msg")


BAD_SQL = (
    *("", "Status", "Status =", "Status = 'open' OR", "nosuchfield = 1", "id", "(id > 0", ") OR (id > 0"),
    *("Status = 'new') OR (id > 0", "id > 0) --", "Status = 'new", "Status = 'new\\'", "Status = `open`"),
)


class RealRequestTracker(rt_worlds.PeerWorld):
    """The real RT. Its account lockstep has a time zone of its own: the form needs one in UTC."""

    counts_changes = False
    bad_queries = BAD_SQL  # type: ignore[assignment]  # as many, or as few

    def system(self, *, password: str | None = None, address: str | None = None) -> RestSystem:  # type: ignore[override]  # another connector to the same world
        return request_tracker(address or self.peer.url, real_rt.ROOT, password or real_rt.ROOT_PASSWORD)

    async def comment(self, id: str, text: str) -> str:
        return (await super().comment(id, text)).removeprefix("transaction/")
