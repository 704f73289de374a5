"""A reconcile at work: what it has read and found so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from sqlalchemy import func, select

from blocks.model import Page
from blocks.store.links import LINK, SYSTEM
from tasks.mirroring.findings import KINDS, Findings
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import Planned
from tasks.mirroring.pull import PAGE, ahead, first_fetch

REPEATED = ("twin", "orphan", "unreadable")
"""Kinds that a second read finds again; the others are mended where they are found."""


class Bits:
    """A set of numbers of links, one bit for each: 12.5 kB for 100,000 links, and no work for the store."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, numbers: Iterable[int]) -> None:
        """Put these in."""
        for number in numbers:
            place = number >> 3
            if place >= len(self._bits):
                self._bits.extend(bytes(place + 1 - len(self._bits)))
            self._bits[place] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        return number >> 3 < len(self._bits) and bool(self._bits[number >> 3] & 1 << (number & 7))


async def _alone() -> None:
    return None


@dataclass(slots=True)
class Reconciling:
    """One reconcile of one mirror. It holds no lock itself: whoever calls its steps holds the mirror's meanwhile.

    `guard` raises LockLost before anything that was read is kept. `since`: strangers older than this are none of ours;
    `read_at`: when the feed was last read. `last`: the newest link of the beginning. `looked`: links whose record the
    read showed, `shown` how many. `after`: the last link that was compared. Of a dry run, `decided` has the links whose
    writes are in `plan` already.
    """

    m: Mirroring
    dry: bool
    since: datetime
    read_at: datetime | None
    last: int
    linked: int
    guard: Callable[[], Awaitable[None]] = _alone
    findings: Findings = field(default_factory=Findings)
    looked: Bits = field(default_factory=Bits)
    shown: int = 0
    decided: Bits = field(default_factory=Bits)
    plan: Planned = field(default_factory=Planned)
    after: int = 0
    size: int = PAGE
    feed: AsyncGenerator[Page, None] | None = None

    @classmethod
    async def begin(cls, m: Mirroring, *, dry: bool, guard: Callable[[], Awaitable[None]] = _alone) -> Self:
        """Look how far the mirror is. Its cursor is not moved, so that a later pull finds what it would have found."""
        mine = LINK.c.system_id == m.system_id
        async with m.database.read() as connection:
            system = (await connection.execute(select(SYSTEM).where(SYSTEM.c.id == m.system_id))).one()
            last = (await connection.execute(select(func.max(LINK.c.id)).where(mine))).scalar() or 0
            counting = select(func.count()).select_from(LINK).where(mine, LINK.c.state == "linked")
            linked = (await connection.execute(counting)).scalar_one()
        return cls(m, dry, first_fetch(m.intake, system.created), system.read_at, last, linked, guard)

    @property
    def share(self) -> float:
        """How far it is, in percent: the read is half of it, as far as can be told by the links that it showed."""
        if self.after:
            return 50.0 + 50.0 * self.after / self.last
        return 50.0 * min(1.0, self.shown / self.linked) if self.linked else 0.0

    async def open_feed(self) -> AsyncGenerator[Page, None]:
        """The full read; after an error it begins anew, and what would be found twice is forgotten."""
        if self.feed is None:
            self.shown = 0
            self.findings.forget(KINDS if self.dry else REPEATED)
            if self.dry:
                self.decided, self.plan = Bits(), Planned()
            self.feed = ahead(self.m.system.everything(self.size), "everything")
        return self.feed

    async def close_feed(self) -> None:
        """End the read."""
        feed, self.feed = self.feed, None
        if feed is not None:
            await feed.aclose()
