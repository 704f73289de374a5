"""How far each connector is: one row for each, an item in it for each thing that a connector should do.

Capabilities and calls are read from the connector itself. `python -m blocks.quality README.md` brings the README's
matrix up to date; a test compares all three.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import blocks.incidents
from blocks.contracts import IncidentSystem
from blocks.model import Capabilities

Status = Literal["done", "todo", "exempt"]
Verified = Literal["real server", "vendor's contract", "our fake only"]

BEGIN: Final = "<!-- quality -->"
END: Final = "<!-- /quality -->"

ITEMS: Final[Mapping[str, str]] = {
    "check": "a check says in words what is wrong and what to do",
    "first fetch": "reads from a given time on",
    "incremental feed": "reads what changed since a cursor, and loses nothing that changes meanwhile",
    "inclusive cursor": "many records of one moment are all found",
    "bad record parked": "one unreadable record does not stop its page",
    "gone": "a deleted incident is told from one that cannot be read",
    "comments in": "",
    "comments out": "",
    "files in": "",
    "files out": "",
    "create with key": "a new incident carries a key of ours from its first moment",
    "find after lost answer": "a write whose answer was lost is found again, by key or by content",
    "optimistic lock": "a person's edit between our read and our write is noticed",
    "close": "",
    "reopen": "",
    "closing notes": "",
    "rate limit headers": "waits before the limit is hit",
    "private CA": "a certificate authority of one's own, as a file",
    "contract suite against fake": "",
    "contract suite against real server": "",
}
"""What a connector should do, and what that means where the name does not say it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one item stands. Without a reason only if it is done."""

    status: Status
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One connector. `against`: the version, or the document, that it was verified against."""

    verified: Verified
    against: str
    done: frozenset[str]
    open: Mapping[str, Mark]

    def mark(self, item: str) -> Mark:
        """Where this item stands. KeyError: the row does not say."""
        return Mark("done") if item in self.done else self.open[item]


TABLE: Final[Mapping[str, Row]] = {
    "Icinga": Row(
        verified="real server",
        against="Icinga 2.13, its REST API, with passive checks",
        done=frozenset(
            (
                *("check", "first fetch", "incremental feed", "inclusive cursor", "bad record parked", "gone"),
                *("comments in", "comments out", "find after lost answer", "optimistic lock", "private CA"),
                *("contract suite against fake", "contract suite against real server"),
            )
        ),
        open={
            "files in": Mark("exempt", "it keeps no files"),
            "files out": Mark("exempt", "it keeps no files"),
            "create with key": Mark("exempt", "it finds its problems itself"),
            "close": Mark("exempt", "a problem is over when all is well: closed here, it stays as it is there"),
            "reopen": Mark("exempt", "what comes back is a new problem, and a new incident"),
            "closing notes": Mark("exempt", "nobody closes a problem"),
            "rate limit headers": Mark("exempt", "it limits nothing"),
        },
    ),
    "RequestTracker": Row(
        verified="real server",
        against="Request Tracker 5.0.3, default lifecycle, SQLite",
        done=frozenset(
            (
                *("check", "first fetch", "incremental feed", "inclusive cursor", "bad record parked", "gone"),
                *("comments in", "comments out", "files in", "files out"),
                *("create with key", "find after lost answer", "optimistic lock", "close", "reopen"),
                *("private CA", "contract suite against fake", "contract suite against real server"),
            )
        ),
        open={
            "closing notes": Mark("exempt", "it has no field for them; your own custom field travels"),
            "rate limit headers": Mark("exempt", "it limits nothing; a 429 of a proxy before it is waited for"),
        },
    ),
    "RestSystem": Row(
        verified="real server",
        against="Roundup 2.6 and Request Tracker 5.0.3 as docs/rest-system.md describes them; here: an empty form",
        done=frozenset(
            (
                *("check", "first fetch", "incremental feed", "inclusive cursor", "bad record parked", "gone"),
                *("comments in", "comments out", "find after lost answer", "optimistic lock", "close", "reopen"),
                *("rate limit headers", "private CA"),
                *("contract suite against fake", "contract suite against real server"),
            )
        ),
        open={
            "files in": Mark("exempt", "too different to be described: a system with files deserves a connector"),
            "files out": Mark("exempt", "as files in"),
            "create with key": Mark("exempt", "only where the form names a field for it, as for both systems"),
            "closing notes": Mark("exempt", "only where the form maps a field to them"),
        },
    ),
    "Roundup": Row(
        verified="real server",
        against="Roundup 2.6, classic template, SQLite",
        done=frozenset(
            (
                *("check", "first fetch", "incremental feed", "inclusive cursor", "bad record parked", "gone"),
                *("comments in", "comments out", "files in", "files out"),
                *("create with key", "find after lost answer", "optimistic lock", "close", "reopen"),
                *("rate limit headers", "private CA"),
                *("contract suite against fake", "contract suite against real server"),
            )
        ),
        open={
            "closing notes": Mark("exempt", "a classic tracker lacks the property; your own travels as a custom field"),
        },
    ),
    "Xsoar": Row(
        verified="our fake only",
        against="the API references of XSOAR 6 and 8, and the vendor's own client; how it reopens is not documented",
        done=frozenset(
            (
                *("check", "first fetch", "incremental feed", "inclusive cursor", "bad record parked", "gone"),
                *("comments in", "comments out", "files in", "files out"),
                *("create with key", "find after lost answer", "optimistic lock", "close", "reopen", "closing notes"),
                *("private CA", "contract suite against fake"),
            )
        ),
        open={
            "rate limit headers": Mark(
                "exempt", "none are documented; at most 4 calls run at a time, a 429 is waited for"
            ),
            "contract suite against real server": Mark("todo", "no server could be had"),
        },
    ),
}
"""By the connector's class."""


def connectors() -> list[type[IncidentSystem]]:
    """The incident systems that flows can take, by name."""
    named = (getattr(blocks.incidents, name) for name in blocks.incidents.__all__)
    found = {one for one in named if isinstance(one, type) and issubclass(one, IncidentSystem)}
    return sorted(found, key=lambda one: one.__name__)


def capabilities(connector: type[IncidentSystem]) -> Capabilities:
    """What it declares; no address or password is needed for it."""
    return connector.model_construct().capabilities


def matrix(systems: Iterable[type[IncidentSystem]]) -> str:
    """The README's table in Markdown: a column for each connector, its reasons below."""
    columns = list(systems)
    notes: list[str] = []
    lines = [_line("", (one.__name__ for one in columns)), _line("---", ("---" for _ in columns))]
    lines.append(_line("**verified against**", (_verified(TABLE[one.__name__]) for one in columns)))
    for item, meaning in ITEMS.items():
        cells = [_cell(one.__name__, item, notes) for one in columns]
        lines.append(_line(f"{item}: {meaning}" if meaning else item, cells))
    declared = [dict(_declared(capabilities(one))) for one in columns]
    lines += [_line(name, (one[name] for one in declared)) for name in declared[0]] if declared else []
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]).rstrip() + "\n"


def updated(readme: str) -> str:
    """A README with this matrix between its two marks. ValueError where it lacks them."""
    before, begin, rest = readme.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the file lacks {BEGIN} or {END}")
    return f"{before}{begin}{matrix(connectors())}{end}{after}"


def _line(head: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join((head, *cells))} |"


def _verified(row: Row) -> str:
    return f"{row.verified} ({row.against})"


def _cell(connector: str, item: str, notes: list[str]) -> str:
    mark = TABLE[connector].mark(item)
    if not mark.reason:
        return mark.status
    notes.append(f"{connector}, {item}: {mark.reason}.")
    return f"{mark.status} ({len(notes)})"


def _declared(can: Capabilities) -> Iterator[tuple[str, str]]:
    calls = can.calls
    yield "lock: how a stale write is refused", can.lock
    yield "key of an incident / of an entry", f"{can.create_key} / {can.entry_key}"
    yield "its search may lag behind its writes by", f"{can.settle_seconds:g} s"
    yield "its times are cut to", f"{can.clock_seconds:g} s"
    yield "calls for a page / the new entries of a page", f"{calls.page} / {calls.entries}"
    yield "calls for each changed incident beside the page", f"{calls.changed}"
    yield (
        "calls to create / update / add an entry / add a file",
        f"{calls.create} / {calls.update} / {calls.entry} / {calls.file}",
    )


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")
