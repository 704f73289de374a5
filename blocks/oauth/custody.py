"""A grant under its lock: both copies read and agreed, what is new kept in both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from blocks.errors import Unavailable
from blocks.oauth import journal
from blocks.oauth.document import Shelf, shelf
from blocks.oauth.pairs import Held, Pair, State, newest
from blocks.store import Database
from blocks.store.locks import Lock, hold

WAIT: Final = 60.0
"""Seconds that another process may take: it may be waiting for a dead one's request, and then for the vendor."""

_STORE_AWAY: Final = (SQLAlchemyError, OSError)
log = logging.getLogger("lockstep.oauth")


@dataclass(slots=True)
class Custody:
    """One grant, ours alone while the lock is held. `held` is what both copies hold."""

    database: Database
    name: str
    lock: Lock
    shelf: Shelf
    held: Held
    note: journal.Note | None

    async def keep(
        self, state: State, about: str, seed: str, pair: Pair | None, error: str = "", *, in_memory: bool = False
    ) -> Held:
        """Keep this as the next generation: first in the store, at once and though we are cancelled; then published.

        Where one of the two places is away, the other has it, and whoever comes next repairs the first. Where both are,
        it is answered all the same if it is enough that it is `in_memory`.
        """
        new = Held(self.held.generation + 1, state, about, seed, pair)
        self.held, self.note = new, None
        recorded = await _recorded(self, new, error)
        try:
            await self.shelf.publish(new)
        except Unavailable as failure:
            if not (recorded or in_memory):
                raise
            where = "the store has it" if recorded else "this process alone has it"
            log.warning("%s; %s, and the next renewal publishes it", failure, where)
        return new

    async def write_note(self, note: journal.Note | None) -> None:
        """Write a note, put an older one back, or clear it."""
        await journal.note(self.database, self.name, note)
        self.note = note


@asynccontextmanager
async def custody(database: Database, name: str, known: Held | None = None) -> AsyncIterator[Custody]:
    """Take a grant into custody. `known`: what this process holds in memory; it may be all that is left.

    Raises:
        Busy: another process has had it for a minute.
        Unavailable: the store or Prefect does not answer; nothing was sent to the vendor.
        Misconfigured: another store guards it.
    """
    try:
        async with AsyncExitStack() as stack:
            lock = await stack.enter_async_context(hold(database, f"grant:{name}", wait=WAIT))
            opened = await stack.enter_async_context(shelf(name, database.id))
            yield await _agreed(database, name, lock, opened, known)
    except _STORE_AWAY as failure:
        kind = type(failure).__name__
    else:
        return
    raise Unavailable(f"the store's database does not answer ({kind})", sent=False, system=name, call="token")


async def _agreed(database: Database, name: str, lock: Lock, opened: Shelf, known: Held | None) -> Custody:
    """Read both copies; the newest repairs the others."""
    entry = await journal.read(database, name)
    row, document = entry.held if entry else None, await opened.load()
    held = newest(row, document, known)
    if document is None or document.generation < held.generation:
        # Also before the first redemption: from then on it names the store that guards it.
        await opened.publish(held)
    if row is None or row.generation < held.generation:
        await journal.record(database, name, held)
    note = entry.note if entry and row is held else None
    return Custody(database, name, lock, opened, held, note)


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
