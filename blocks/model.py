"""The nouns: frozen, vendor-free. Times are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Value = str | int | float | bool | list[str] | None
"""What a field can hold: anything that JSON keeps; several values are a sorted list."""

Fields = Mapping[str, Value]
Cursor = str
"""How far a source has been read: opaque text that only its connector understands."""

STATUSES = ("new", "active", "waiting", "resolved", "closed")
OVER = frozenset({"resolved", "closed"})
SEVERITIES = ("info", "low", "medium", "high", "critical")
FIELDS = ("title", "description", "status", "severity", "owner", "labels", "close_reason", "close_notes")
"""Our fields that every mirror may carry; custom fields come beside them."""

EntryKind = Literal["comment", "note", "file"]


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as its system shows it.

    `fields` holds the system's own keys and values, flattened to what JSON keeps: maps are applied later, so that a
    changed map never looks like a changed incident. `version` orders as text: the vendor's counter, zero-padded, or
    else its time of update. `updated` is that time. `key` is the key of ours that the record carries, if any.
    `entry_ids` names all its entries where the vendor lists them with the incident, else None.
    """

    id: str
    version: str
    updated: datetime
    fields: Fields
    created: datetime | None = None
    key: str | None = None
    entry_ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A comment, work note or file of an incident.

    `id` is the remote id when it was read from a system, the store's when it is sent. `key` is the key of ours that it
    carries, `own` tells that our own account wrote it. `data` holds a file's bytes when it is sent.
    """

    id: str
    incident_id: str
    kind: EntryKind
    created: datetime
    author: str = ""
    text: str = ""
    name: str = ""
    media_type: str = ""
    size: int = 0
    tags: tuple[str, ...] = ()
    key: str | None = None
    own: bool = False
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record of a page that could not be read, as it came."""

    id: str
    raw: str
    error: str


@dataclass(frozen=True, slots=True)
class Page:
    """Whole incidents, oldest first where the vendor can, and the cursor to commit with them.

    `entries` holds their entries where the vendor gives them in bulk with the page; None means: ask `entries()`.
    """

    incidents: list[Incident]
    cursor: Cursor
    entries: list[Entry] | None = None
    bad: list[BadRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check: what was looked at, whether it is as it must be, and what to do if not."""

    what: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a connection check found, in words."""

    system: str
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether everything is as it must be."""
        return all(f.ok for f in self.findings)


@dataclass(frozen=True, slots=True)
class Calls:
    """HTTP calls that a connector makes: for a page, for the new entries of a page, and for each write.

    `changed` is what one changed incident costs beside the page: 0 where pages are whole.
    """

    page: int
    entries: int
    changed: int
    create: int
    update: int
    entry: int
    file: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a vendor can and cannot do: declared, never faked.

    `lock`: how a stale write is refused: by the vendor in the same call (atomic), by reading just before (compared), or
    not at all. `create_key`, `entry_key`: how a write whose answer was lost is found again. `settle_seconds`: how long
    the vendor's search may lag behind its writes. `clock_seconds`: the resolution of its time of update. `lists_over`:
    whether its list of everything shows what is over, too.
    """

    calls: Calls
    lock: Literal["atomic", "compared", "none"]
    create_key: Literal["native", "field", "label", "none"]
    entry_key: Literal["native", "match"]
    settle_seconds: float
    clock_seconds: float
    create: bool = True
    comments_out: bool = True
    close: bool = True
    reopen: bool = True
    files: bool = True
    closing_notes: bool = True
    read_only: bool = False
    lists_over: bool = True
