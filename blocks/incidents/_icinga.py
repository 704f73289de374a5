"""Icinga's hosts and services as incidents: which problem it is, what it shows, since when. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2s
from typing import Any, Final

import orjson

from blocks.fieldmap import Field, FieldMap
from blocks.model import BadRecord, Entry, Incident, Value

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RAW: Final = 64 * 1024
"""How much of a bad record is kept."""
OVER: Final = "recovered"

FIELDS: Final = FieldMap(
    (
        Field("title", "title", writable="never"),
        Field("description", "output", writable="never"),
        Field(
            "status",
            "status",
            {"unhandled": "new", "acknowledged": "active", "in downtime": "waiting", OVER: "resolved"},
            {
                "new": "unhandled",
                "active": "acknowledged",
                "waiting": "in downtime",
                "resolved": OVER,
                "closed": OVER,
            },
            observed=frozenset({"waiting", "resolved", "closed"}),
        ),
        Field(
            "severity",
            "state",
            {"DOWN": "critical", "CRITICAL": "high", "WARNING": "medium", "UNKNOWN": "low"},
            writable="never",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What can have a problem. `well`: the attribute that tells when it was last well; `states` begin with well."""

    type: str
    path: str
    name: str
    well: str
    states: tuple[str, ...]
    attrs: tuple[str, ...]
    joins: tuple[str, ...] = ()


_ATTRS: Final = (
    *("__name", "display_name", "groups", "state", "state_type", "last_state_change", "last_hard_state_change"),
    *("acknowledgement", "acknowledgement_last_change", "downtime_depth", "last_check", "last_check_result", "version"),
)
HOST: Final = Kind("Host", "hosts", "host", "last_state_up", ("UP", "DOWN"), (*_ATTRS, "last_state_up"))
SERVICE: Final = Kind(
    *("Service", "services", "service", "last_state_ok", ("OK", "WARNING", "CRITICAL", "UNKNOWN")),
    attrs=(*_ATTRS, "last_state_ok", "host_name"),
    joins=("host.display_name",),
)
KINDS: Final = (HOST, SERVICE)


def kind_of(name: str) -> Kind:
    """`web01!login` is a service, `web01` a host: no name of a host holds an exclamation mark."""
    return SERVICE if "!" in name else HOST


@dataclass(frozen=True, slots=True)
class Problem:
    """Which problem of which object. It began after `well`, the microsecond (since 1970) when all was well last: this
    stays while the problem lasts, whereas the time of the last hard change moves from warning to critical.
    """

    name: str
    well: int

    @classmethod
    def of(cls, id: str) -> Problem | None:
        """Out of an incident's id."""
        name, _, well = id.rpartition("@")
        if not name or not (well.isascii() and well.isdigit()) or len(well) > len("1795510483622710") + 1:
            return None
        found = cls(name, int(well))
        return found if found.id == id else None

    @property
    def id(self) -> str:
        """As the incident's id."""
        return f"{self.name}@{self.well}"


@dataclass(frozen=True, slots=True)
class Checkable:
    """A host or service as it is now. `since`: its last hard change; `at` orders its states, checks included."""

    kind: Kind
    name: str
    state: str
    hard: bool
    well: int
    since: datetime
    updated: datetime
    at: datetime
    status: str
    title: str
    output: str
    about: Mapping[str, Value] = field(default_factory=dict)

    @property
    def problem(self) -> Problem | None:
        """The problem that it has now. A soft state is none yet."""
        return Problem(self.name, self.well) if self.hard and not self.fine else None

    @property
    def fine(self) -> bool:
        """Whether all is well: not even a soft state says otherwise."""
        return self.state == self.kind.states[0]

    def incident(self, problem: Problem) -> Incident:
        """One of its problems: the one that it has, or one that is over.

        What is over shows neither state nor output, as those of that time are not told any more.
        """
        fields: dict[str, Value] = {"title": self.title, **self.about}
        version = text(self.at)
        if problem == self.problem:
            fields |= {"status": self.status, "state": self.state, "output": self.output}
            return Incident(problem.id, version, self.updated, fields, created=self.since)
        # With a new problem, all that is known is when it was well in between.
        ended = self.since if self.problem is None else time(self.well / 1e6)
        fields["status"] = OVER
        return Incident(problem.id, version, max(ended, time(problem.well / 1e6)), fields)


def checkable(kind: Kind, row: Any) -> Checkable:  # noqa: ANN401  as it came
    """One result of a query for objects. KeyError, ValueError, TypeError, AttributeError, OverflowError."""
    raw = row["attrs"]
    name, state = _text(raw["__name"]), kind.states[int(raw["state"])]
    host = _text(raw["host_name"]) if kind is SERVICE else name
    shown = _text(raw["display_name"] or name)
    about: dict[str, Value] = {"host": host, "groups": sorted(_text(one) for one in raw["groups"] or ())}
    if kind is SERVICE:
        about["service"] = name.partition("!")[2]
        shown = f"{shown} on {_text(row['joins']['host']['display_name'] or host)}"
    changed = ("last_state_change", "last_hard_state_change", "acknowledgement_last_change", "version")
    updated = max(time(raw[one]) for one in changed)
    handled = "in downtime" if raw["downtime_depth"] else "unhandled"
    return Checkable(
        kind,
        name,
        state,
        hard=int(raw["state_type"]) == 1,
        well=micros(raw[kind.well]),
        since=time(raw["last_hard_state_change"]),
        updated=updated,
        at=max(updated, time(raw["last_check"])),
        status="acknowledged" if raw["acknowledgement"] else handled,
        title=shown,
        output=_text((raw["last_check_result"] or {}).get("output") or ""),
        about=about,
    )


ODD: Final = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError)
"""What a record that cannot be read raises."""


def bad(row: Any, error: Exception) -> BadRecord:  # noqa: ANN401  as it came
    """A record that cannot be read, by its object's name."""
    named = str(row.get("name", ""))[:512] if isinstance(row, dict) else ""
    return BadRecord(named, orjson.dumps(row).decode()[:RAW], f"{type(error).__name__}: {error}"[:200])


def _text(value: Any) -> str:  # noqa: ANN401  as it came
    if not isinstance(value, str):
        message = f"not a text: {value!r:.40}"
        raise TypeError(message)
    return value


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of an object, `at` this microsecond; `acknowledges` if it came with an acknowledgement."""

    id: str
    name: str
    at: int
    author: str
    text: str
    acknowledges: bool

    @classmethod
    def of(cls, row: Any) -> Comment:  # noqa: ANN401  as it came
        """One result of a query for comments. Raises as `checkable`."""
        raw = row["attrs"]
        host, service = _text(raw["host_name"]), _text(raw["service_name"])
        return cls(
            _text(raw["__name"]),
            f"{host}!{service}" if service else host,
            micros(raw["entry_time"]),
            _text(raw["author"]),
            _text(raw["text"]),
            int(raw["entry_type"]) == ACKNOWLEDGES,
        )

    def entry(self, incident_id: str, login: str) -> Entry:
        """As an entry; `own` if our account wrote it."""
        at = time(self.at / 1e6)
        return Entry(self.id, incident_id, "comment", at, self.author, self.text, own=self.author == login)


ACKNOWLEDGES: Final = 4
"""The type of a comment that comes with an acknowledgement; 1 is a person's, others are Icinga's own remarks."""


def time(seconds: float) -> datetime:
    """Seconds since 1970, cut to milliseconds; what never happened (0 or -1) is 1970. OverflowError, TypeError."""
    return EPOCH + timedelta(milliseconds=max(micros(seconds), 0) // 1000)


def micros(seconds: float) -> int:
    """Seconds as microseconds, which is what Icinga's clock has. TypeError."""
    return round(seconds * 1e6)


def text(at: datetime) -> str:
    """A time as version or cursor, which orders as text."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def digest(*parts: object) -> str:
    """Tells contents apart."""
    return blake2s(orjson.dumps(parts), digest_size=6).hexdigest()
