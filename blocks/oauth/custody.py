"""A grant under its lock: both copies read and agreed, what is new kept in both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from blocks.errors import Unavailable
from blocks.oauth import journal
from blocks.oauth.document import Shelf, shelf
from blocks.oauth.pairs import Held, newest
from blocks.store import Database
from blocks.store.locks import Lock, hold

WAIT: Final = 60.0
"""Seconds that another process may take: it may be waiting for a dead one's request, and then for the vendor."""

_STORE_AWAY: Final = (SQLAlchemyError, OSError)
log = logging.getLogger("lockstep.oauth")


def _nobody_waits(_: Held) -> None:
    return None


@dataclass(slots=True)
class Custody:
    """One grant, ours alone while the lock is held. `held` is what the store has; after `agree`, what both have.

    `arrived` is called with what is new as soon as it is safe, before it is published.
    """

    database: Database
    name: str
    lock: Lock
    stack: AsyncExitStack
    entry: journal.Entry | None
    arrived: Callable[[Held], None] = _nobody_waits
    shelf: Shelf | None = None
    held: Held = field(init=False)
    note: journal.Note | None = field(init=False)

    def __post_init__(self) -> None:
        self.held = self.entry.held if self.entry else Held()
        self.note = self.entry.note if self.entry else None

    @property
    def published(self) -> bool:
        """Whether the store knows that the document has this generation."""
        return self.entry is not None and self.entry.published == self.held.generation

    async def agree(self, known: Held | None = None) -> None:
        """Read the document too; the newest of all repairs the others. `known`: what this process has in memory."""
        self.shelf = await self.stack.enter_async_context(shelf(self.name, self.database.id))
        row, document = self.entry.held if self.entry else None, await self.shelf.load()
        self.held = newest(row, document, known)
        if document is None or document.generation < self.held.generation:
            # Also before the first redemption: from then on it names the store that guards it.
            await self.shelf.publish(self.held)
        if row is None or row.generation < self.held.generation:
            await journal.record(self.database, self.name, self.held)
            self.note = None
        if not self.published:
            await journal.published(self.database, self.name, self.held.generation)

    async def keep(self, held: Held, error: str = "", *, in_memory: bool = False) -> Held:
        """Keep this as the next generation: first in the store, at once and though we are cancelled; then published.

        Where one of the two places is away, the other has it, and whoever comes next repairs the first. Where both are,
        it is answered all the same if it is enough that it is `in_memory`.
        """
        assert self.shelf is not None  # noqa: S101  both copies agree before one is replaced
        new = replace(held, generation=self.held.generation + 1)
        self.held, self.note = new, None
        recorded = await _recorded(self, new, error)
        if new.pair is not None and (recorded or in_memory):
            self.arrived(new)
        try:
            await self.shelf.publish(new)
        except Unavailable as failure:
            if not (recorded or in_memory):
                raise
            where = "the store has it" if recorded else "this process alone has it"
            log.warning("%s; %s, and the next renewal publishes it", failure, where)
        else:
            if recorded:
                await journal.published(self.database, self.name, new.generation)
        return new

    async def write_note(self, note: journal.Note | None) -> None:
        """Write a note, put an older one back, or clear it."""
        await journal.note(self.database, self.name, note)
        self.note = note


@asynccontextmanager
async def custody(database: Database, name: str, wait: float = WAIT) -> AsyncIterator[Custody]:
    """Take a grant into custody.

    Raises:
        Busy: another process still has it after `wait` seconds.
        Unavailable: the store or Prefect does not answer; nothing was sent to the vendor.
        Misconfigured: another store guards it.
    """
    async with _locked(database, name, wait) as (lock, stack):
        yield Custody(database, name, lock, stack, await journal.read(database, name))


async def forget(database: Database, name: str) -> bool:
    """Forget a grant whose block is gone, in both places, unread; whether there was one. Raises as `custody`."""
    async with _locked(database, name, WAIT) as (_, stack):
        there = await stack.enter_async_context(shelf(name, database.id))
        # The document first: what it holds would begin a new grant of this name.
        removed = await there.remove()
        return await journal.remove(database, name) or removed


@asynccontextmanager
async def _locked(database: Database, name: str, wait: float) -> AsyncIterator[tuple[Lock, AsyncExitStack]]:
    try:
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(hold(database, f"grant:{name}", wait=wait)), stack
    except _STORE_AWAY as failure:
        kind = type(failure).__name__
    else:
        return
    raise Unavailable(f"the store's database does not answer ({kind})", sent=False, system=name, call="token")


async def _recorded(mine: Custody, new: Held, error: str) -> bool:
    try:
        await stubbornly(lambda: journal.record(mine.database, mine.name, new, error))
    except _STORE_AWAY as failure:
        log.error("%s: the store does not take its new token (%s)", mine.name, type(failure).__name__)  # noqa: TRY400  a traceback may show values
        return False
    return True


async def stubbornly(work: Callable[[], Awaitable[None]], tries: int = 5) -> None:
    """Do it to its end though we are being cancelled, which is raised afterwards. It may be done twice."""
    cancelled: asyncio.CancelledError | None = None
    for left in reversed(range(tries)):
        try:
            await work()
            break
        except asyncio.CancelledError as error:
            if not left:
                raise
            cancelled = error
    if cancelled is not None:
        raise cancelled
