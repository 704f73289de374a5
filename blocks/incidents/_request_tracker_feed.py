"""How far RT has been read: by transactions, as each change is one and their ids only rise. No I/O.

A transaction that began earlier may be committed after a later one, so the last `OVERLAP` ids are looked through again;
which of them were seen is kept in the cursor, so that an idle look finds nothing new and costs one call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

OVERLAP: Final = 100
_PLACE: Final = re.compile(r"(\d{1,18}) (\S{20}) ([0-9a-f]{1,25})")


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction of a ticket."""

    id: int
    ticket: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """The last transaction that was read (0: none), when it was made, and which of those before it were seen.

    Without a last one: read what was made since this time.
    """

    at: datetime
    last: int | None = None
    seen: frozenset[int] = frozenset()

    @classmethod
    def of(cls, cursor: str) -> Place:
        """A cursor as it was written. ValueError: it is none of RT's."""
        found = _PLACE.fullmatch(cursor)
        if not found:
            return cls(_time(cursor))
        last, mask = int(found[1]), int(found[3], 16)
        return cls(_time(found[2]), last, frozenset(last - n for n in range(OVERLAP) if mask >> n & 1))

    def __str__(self) -> str:
        at = self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.last is None:
            return at
        mask = sum(1 << self.last - one for one in self.seen if 0 <= self.last - one < OVERLAP)
        return f"{self.last:012d} {at} {mask:x}"

    def rewound(self, by: timedelta) -> Place:
        """The same, moved back by a look-back."""
        return Place(self.at - by) if by else self

    @property
    def begin(self) -> int:
        """Where to look from, exclusive."""
        return max((self.last or 0) - OVERLAP, 0)

    def new(self, changes: Iterable[Change]) -> list[Change]:
        """Those that were not seen."""
        return [one for one in changes if one.id not in self.seen]

    def after(self, changes: Sequence[Change], taken: int) -> Place:
        """The place when all of these up to id `taken` have been taken."""
        seen = self.seen | {one.id for one in changes if one.id <= taken}
        last = max(self.last or 0, taken)
        at = max((one.created for one in changes if one.id == last), default=self.at)
        return replace(self, at=at, last=last, seen=frozenset(one for one in seen if one > last - OVERLAP))


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return at.astimezone(UTC)


def portions(changes: Iterable[Change], size: int) -> Iterator[dict[str, int]]:
    """Tickets with their greatest transactions, so many at a time, in the order of these.

    All transactions up to the greatest of a portion are those of its tickets, or of tickets that come with a later one.
    """
    newest: dict[str, int] = {}
    for one in changes:
        newest[one.ticket] = max(one.id, newest.get(one.ticket, 0))
    order = sorted(newest, key=newest.__getitem__)
    for begin in range(0, len(order), size):
        yield {ticket: newest[ticket] for ticket in order[begin : begin + size]}


@dataclass(slots=True)
class Gap:
    """A search for the last transaction from before a time: RT would read a time in the login's own zone.

    Pages are read backwards, each further back, then by halves: a short look-back costs one call.
    `low`: up to here all are older, or there is none; `high`: from here on all are newer (None: not known yet).
    """

    at: datetime
    low: int = 0
    high: int | None = None
    jump: int = 0

    @property
    def below(self) -> int | None:
        """The page to read: the newest with ids below this. None: of all."""
        return None if self.high is None else self.high - self.jump

    def read(self, page: Sequence[Change]) -> int | None:
        """Learn from that page; the id that was searched for, once it is known."""
        older = [one.id for one in page if one.created < self.at]
        newer = [one.id for one in page if one.created >= self.at]
        if older and (newer or not self.jump):
            return max(older)
        if newer:
            self.high = min(newer)
        elif not self.jump:
            return self.low
        elif self.high is not None:
            self.low = self.high - self.jump - 1
        between = (self.high or 0) - self.low - 1
        self.jump = max(min(4 * self.jump + OVERLAP, between // 2), 0)
        return None
