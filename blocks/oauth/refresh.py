"""One refresh for all processes, which survives its own death.

Under the lock: both copies are read again, as another may have renewed meanwhile; a note is written; one request; the
new pair is kept. After a note without a newer pair nobody knows whether the old refresh token was used up: it is tried
once more, when the lost request can no longer arrive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from blocks.errors import Busy, LockstepError, Misconfigured, Unauthorized, Unavailable
from blocks.oauth import journal
from blocks.oauth.custody import WAIT, Custody, custody
from blocks.oauth.errors import AnswerLost, GrantEnded
from blocks.oauth.journal import Note
from blocks.oauth.pairs import Held, State, mark, serves, suited
from blocks.oauth.wire import TOTAL
from blocks.points import at
from blocks.ratelimit import Clock
from blocks.store import Database

if TYPE_CHECKING:
    from blocks.oauth.grant import Grant

ON_THE_WAY: Final = 5.0
"""Seconds that a request may take to arrive after its sender has given up."""

STEP: Final = 0.2
"""Seconds of waiting for the lock, after which the store is looked at again."""

log = logging.getLogger("lockstep.oauth")


async def look(database: Database, grant: Grant, failed: str, clock: Clock) -> Held | None:
    """What the store has, if it serves: one read, without the lock."""
    entry = await journal.read(database, grant.grant_name)
    held = suited(entry.held, grant.about, grant.seed, grant.typed) if entry else Held()
    return held if serves(held, failed, clock.now()) else None


async def renew(
    database: Database,
    grant: Grant,
    failed: str = "",
    known: Held | None = None,
    clock: Clock | None = None,
    arrived: Callable[[Held], None] | None = None,
) -> Held:
    """A grant whose access token serves: another's, or a new one.

    Args:
        database: the store.
        grant: the block.
        failed: an access token that the vendor refused, or that is not to be used any longer.
        known: what this process holds in memory.
        clock: time, injectable.
        arrived: is told what is new as soon as it is safe in the store; what is left then is to publish it.

    Raises:
        GrantEnded: a person must authorise it (again).
        AnswerLost: so, and nobody revoked it.
        Unauthorized, Misconfigured: the vendor does not take the client, or its settings.
        Unavailable, Unreadable: later.
        Busy, LockLost: later; another process has it.
    """
    clock = clock or Clock()
    deadline = clock.monotonic() + WAIT
    while True:
        try:
            async with custody(database, grant.grant_name, STEP) as mine:
                mine.arrived = arrived or mine.arrived
                return await _renewed(mine, grant, failed, known, clock)
        except Busy:
            # Whoever has it has recorded its new token before it lets go.
            if found := await look(database, grant, failed, clock):
                return found
            if clock.monotonic() >= deadline:
                raise


async def _renewed(mine: Custody, grant: Grant, failed: str, known: Held | None, clock: Clock) -> Held:
    held = suited(mine.held, grant.about, grant.seed, grant.typed)
    if mine.published and serves(held, failed, clock.now()):
        return held
    await mine.agree(known)
    held = suited(mine.held, grant.about, grant.seed, grant.typed)
    if serves(held, failed, clock.now()):
        return held
    raise_if_over(held, grant)
    if grant.rotates:
        return await _rotate(mine, grant, held, clock)
    await mine.lock.check()
    try:
        pair = await at("redeem", grant.redeem(held.pair, clock))
    except GrantEnded as error:
        # Nothing is kept of it: the next attempt is as good as this one.
        raise Unauthorized(f"{error.message}: {grant.cure}", system=error.system, call=error.call) from None
    return await mine.keep(replace(held, state="granted", about=grant.about, pair=pair), in_memory=True)


async def _rotate(mine: Custody, grant: Grant, held: Held, clock: Clock) -> Held:
    grant.presents(held.pair, clock.now())
    before = mine.note if held.pair and mine.note and mine.note.names == mark(held.pair.refresh) else None
    if before is not None:
        log.warning("%s: a refresh was cut off; its token is tried once more", grant.grant_name)
        await clock.sleep(_still_on_its_way(before, clock.now()))
    names = mark(held.pair.refresh if held.pair else "")
    await mine.write_note(Note(names, clock.now() + TOTAL + ON_THE_WAY))
    await mine.lock.check()
    try:
        pair = await at("redeem", grant.redeem(held.pair, clock))
    except GrantEnded as error:
        raise await _over(mine, grant, held, error, doubtful=before is not None) from None
    except LockstepError as error:
        if redeemed_nothing(error):
            await mine.write_note(before)
        raise
    return await mine.keep(replace(held, state="granted", about=grant.about, pair=pair), in_memory=True)


def redeemed_nothing(error: LockstepError) -> bool:
    """Whether the vendor certainly did not use up what was presented."""
    if isinstance(error, Unavailable):
        return not error.sent
    return isinstance(error, Unauthorized | Misconfigured) and not isinstance(error, GrantEnded)


def _still_on_its_way(note: Note, now: float) -> float:
    """Seconds until a lost request can no longer arrive, whatever a clock did meanwhile."""
    return max(0.0, min(note.until - now, TOTAL + ON_THE_WAY))


async def _over(mine: Custody, grant: Grant, held: Held, error: GrantEnded, *, doubtful: bool) -> Unauthorized:
    """Remember that the grant is over, so that nobody presents its token again; the error that says so."""
    state: State = "lost" if doubtful else "ended"
    await mine.keep(replace(held, state=state, about=grant.about, pair=None), error.message)
    return _words(state, grant, error.message)


def raise_if_over(held: Held, grant: Grant) -> None:
    """GrantEnded or AnswerLost, if a person must authorise it before anything else."""
    if held.state in {"lost", "ended", "revoked"}:
        raise _words(held.state, grant, "")


def _words(state: State, grant: Grant, said: str) -> Unauthorized:
    cure, system, tail = grant.cure, grant.grant_name, f" ({said})" if said else ""
    if state == "lost":
        message = f"the answer to its last refresh was lost, and with it the grant; nobody revoked it: {cure}{tail}"
        return AnswerLost(message, system=system, call="token")
    if state == "revoked":
        cure = cure if grant.rotates else "fill in new credentials, or run the deployment authorize to allow it again"
        return GrantEnded(f"it was revoked here: {cure}", system=system, call="token")
    return GrantEnded(
        f"the vendor no longer takes it: it was revoked there, or is too old: {cure}{tail}", system=system, call="token"
    )
