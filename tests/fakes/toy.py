"""A small incident system in memory, with every weakness that a vendor may have among its settings.

It is a real connector to a world that keeps state: it passes the contract suite, and the state machine plays with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from pydantic import PrivateAttr

from blocks.contracts import IncidentSystem
from blocks.errors import NotFound, Refused, Stale, Unavailable
from blocks.fieldmap import Field, FieldMap
from blocks.model import Calls, Capabilities, Cursor, Entry, Fields, Finding, Incident, Page, Report, Value

STATES = {"open": "new", "doing": "active", "asleep": "waiting", "done": "resolved", "shut": "closed"}
LEVELS = {"p1": "critical", "p2": "high", "p3": "medium", "p4": "low", "p5": "info"}
MAP = FieldMap((
    Field("title", "name"),
    Field("status", "state", STATES, {ours: theirs for theirs, ours in STATES.items()}),
    Field("severity", "level", {**LEVELS, "p6": "info"}, {ours: theirs for theirs, ours in LEVELS.items()}),
    Field("owner", "who"),
    Field("labels", "tags", many=True),
    Field("close_reason", "why"),
    Field("close_notes", "notes"),
))  # fmt: skip
EMPTY: Fields = {row.theirs: None for row in MAP.rows}
CALLS = Calls(page=1, entries=1, changed=0, create=1, update=1, entry=1, file=1)
ME = "robot"


@dataclass(slots=True)
class Record:
    """One incident of the world, with all states it ever had: (when, fields, version, entry count)."""

    id: str
    key: str | None
    created: datetime
    states: list[tuple[datetime, dict[str, Value], int, int]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    retired: bool = False


@dataclass(slots=True)
class World:
    """What the toy keeps, and how it misbehaves."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    lock: Literal["atomic", "compared", "none"] = "atomic"
    keys: bool = True
    entry_keys: bool = True
    counter: bool = False
    tick: float = 1.0
    lag: float = 0.0
    settle: float = 10.0
    compute: Callable[[str, Value], Value] = lambda _key, value: value
    refuse: set[str] = field(default_factory=set)
    records: dict[str, Record] = field(default_factory=dict)
    fault: Callable[[str], str | None] = lambda _call: None
    calls: list[str] = field(default_factory=list)
    between: Callable[[str], None] = lambda _call: None

    def stamp(self, at: datetime) -> datetime:
        """A time at the resolution of this world's clock."""
        return datetime.fromtimestamp(at.timestamp() // self.tick * self.tick, UTC)

    def add(self, fields: Fields, *, key: str | None = None) -> str:
        """A new incident; answers its id."""
        number = str(len(self.records) + 1)
        self.records[number] = Record(number, key, self.now())
        self._show(self.records[number], {**EMPTY, "state": "open", **fields})
        return number

    def edit(self, number: str, **fields: Value) -> None:
        """A person edits fields."""
        record = self.records[number]
        self._show(record, {**record.states[-1][1], **fields})

    def comment(self, number: str, text: str, author: str = "ann", **more: Any) -> str:
        """A person adds an entry; answers its id."""
        record = self.records[number]
        name = f"{number}-{len(record.entries) + 1}"
        kind = more.pop("kind", "comment")
        record.entries.append(Entry(name, number, kind, self.stamp(self.now()), author, text, own=author == ME, **more))
        self._show(record, dict(record.states[-1][1]))
        return name

    def fields(self, number: str) -> dict[str, Value]:
        """An incident's fields now."""
        return self.records[number].states[-1][1]

    def _show(self, record: Record, fields: dict[str, Value]) -> None:
        version = record.states[-1][2] + 1 if record.states else 1
        record.states.append((self.now(), fields, version, len(record.entries)))

    def incident(self, record: Record, at: datetime | None = None) -> Incident | None:
        """An incident as it was shown at a time, None before it was there."""
        states = [s for s in record.states if at is None or s[0] <= at]
        if not states or record.retired:
            return None
        when, fields, number, entries = states[-1]
        updated = self.stamp(when)
        version = f"{number:09d}" if self.counter else updated.isoformat()
        ids = tuple(e.id for e in record.entries[:entries])
        return Incident(record.id, version, updated, dict(fields), self.stamp(record.created), record.key, ids)


class Toy(IncidentSystem):
    """The connector. `address` names the world; the world itself is put in by the test."""

    _block_type_name = "Toy"
    _world: World = PrivateAttr(default_factory=World)
    address: str

    @classmethod
    def of(cls, world: World, address: str = "toy") -> Self:
        """A connector to this world."""
        toy = cls(address=address)
        toy._world = world
        return toy

    @property
    def capabilities(self) -> Capabilities:
        """By the world's settings."""
        w = self._world
        return Capabilities(
            CALLS, w.lock, "field" if w.keys else "none", "native" if w.entry_keys else "match", w.settle, w.tick
        )

    @property
    def fields(self) -> FieldMap:
        """The toy's table."""
        return MAP

    @property
    def skew(self) -> timedelta:
        """None: it is the test's clock."""
        return timedelta(0)

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing to close."""

    def fingerprint(self) -> str:
        """Its address."""
        return f"toy:{self.address}"

    def url(self, id: str) -> str:
        """An address that leads nowhere."""
        return f"http://127.0.0.1/{self.address}/{id}"

    async def check(self) -> Report:
        """Always well."""
        return Report(self.fingerprint(), [Finding("address", ok=True)])

    def start(self, at: datetime) -> Cursor:
        """A time."""
        return at.isoformat()

    def rewound(self, cursor: Cursor, by: timedelta) -> Cursor:
        """An earlier time."""
        return (datetime.fromisoformat(cursor) - by).isoformat()

    async def changes(self, since: Cursor, size: int) -> AsyncIterator[Page]:
        """As the feed shows it: `lag` seconds late."""
        w = self._world
        begin = datetime.fromisoformat(since) - timedelta(seconds=w.settle)
        view = w.now() - timedelta(seconds=w.lag)
        shown = [i for i in (w.incident(r, view) for r in list(w.records.values())) if i and i.updated >= begin]
        shown.sort(key=lambda i: (i.updated, int(i.id)))
        for start in range(0, max(1, len(shown)), size):
            self._call("changes")
            part = shown[start : start + size]
            since = max(since, *(i.updated.isoformat() for i in part)) if part else since
            yield Page(part, since)
            self._after("changes")

    async def matching(self, ids: list[str], query: str) -> set[str]:
        """Its query language: `key=value`."""
        self._call("matching")
        key, _, value = query.partition("=")
        return {i for i in ids if self._world.fields(i).get(key) == value}

    async def get(self, id: str) -> Incident:
        """As it is now."""
        self._call("get")
        result = self._current(id)
        self._after("get")
        return result

    async def entries(self, incidents: Sequence[Incident], known: AbstractSet[str]) -> list[Entry]:
        """Of the records as they are now."""
        self._call("entries")
        wanted = [e for i in incidents for e in self._world.records[i.id].entries if e.id not in known]
        return sorted(wanted, key=lambda e: e.created)

    async def create(self, fields: Fields, key: str) -> Incident:
        """With our key in the same call, where the world keeps keys."""
        self._call("create")
        self._refuse(fields)
        number = self._world.add(self._computed(fields), key=key if self._world.keys else None)
        self._after("create")
        return self._current(number)

    async def find(self, key: str) -> Incident | None:
        """By key; its search lags as the feed does."""
        self._call("find")
        w = self._world
        view = w.now() - timedelta(seconds=w.lag)
        found = [w.incident(r, view) for r in w.records.values() if r.key == key]
        return next((i for i in found if i is not None), None)

    async def update(self, incident: Incident, patch: Fields) -> Incident:
        """Under the world's lock, or none."""
        self._call("update")
        w = self._world
        now = self._current(incident.id)
        if w.lock != "none" and (now.version, now.fields) != (incident.version, incident.fields):
            raise Stale("it changed", system=self.fingerprint(), call="update", id=incident.id)
        self._refuse(patch)
        w.edit(incident.id, **self._computed(patch))
        answer = self._current(incident.id)
        self._after("update")
        return answer

    async def add_entry(self, incident: Incident, entry: Entry, key: str) -> str:
        """With our key, where the world keeps keys."""
        self._call("add_entry")
        self._current(incident.id)
        w = self._world
        name = w.comment(
            incident.id, entry.text, ME, kind=entry.kind, key=key if w.entry_keys else None, name=entry.name,
            media_type=entry.media_type, size=entry.size, data=entry.data,
        )  # fmt: skip
        self._after("add_entry")
        return name

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        """A file's bytes."""
        self._call("content")
        yield next(e.data or b"" for e in self._world.records[entry.incident_id].entries if e.id == entry.id)

    async def everything(self, size: int) -> AsyncIterator[Page]:
        """All there is, `lag` seconds late, each page as of when it is asked for; what is new meanwhile comes last."""
        w, start = self._world, 0
        while start < len(w.records):
            self._call("everything")
            part = list(w.records.values())[start : start + size]
            start += size
            view = w.now() - timedelta(seconds=w.lag)
            yield Page([i for i in (w.incident(r, view) for r in part) if i], "")
            self._after("everything")

    async def find_entry(
        self, incident: Incident, entry: Entry, key: str, after: datetime, known: AbstractSet[str] = frozenset()
    ) -> str | None:
        """By key, else by own account, content and time."""
        self._call("find_entry")
        for e in self._world.records[incident.id].entries:
            same = (e.kind, e.text, e.name) == (entry.kind, entry.text, entry.name) and e.id not in known
            same = same and e.own and e.created >= after
            if e.key == key if self._world.entry_keys else same:
                return e.id
        return None

    def _current(self, id: str) -> Incident:
        record = self._world.records.get(id)
        incident = self._world.incident(record) if record else None
        if incident is None:
            raise NotFound("no such incident", system=self.fingerprint(), call="get", id=id)
        return incident

    def _call(self, call: str) -> None:
        self._world.calls.append(call)
        self._world.between(call)
        if self._world.fault(call) == "before":
            raise Unavailable("the connection was refused", sent=False, system=self.fingerprint(), call=call)

    def _after(self, call: str) -> None:
        if self._world.fault(call) == "after":
            raise Unavailable("no answer came", sent=True, system=self.fingerprint(), call=call)

    def _refuse(self, fields: Fields) -> None:
        bad = {key: "not allowed" for key in fields if key in self._world.refuse}
        if fields.get("state", "open") not in STATES:
            bad["state"] = "no such state"
        if bad:
            raise Refused("refused", fields=bad, system=self.fingerprint(), call="update")

    def _computed(self, fields: Fields) -> dict[str, Value]:
        return {key: self._world.compute(key, value) for key, value in fields.items()}


__all__ = ["ME", "Toy", "World"]
