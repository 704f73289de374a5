"""Puts a grant's token into requests. In a process it is read once, and kept until shortly before it ends."""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import httpx

from blocks.errors import Busy, LockLost, LockstepError, Unavailable
from blocks.oauth.pairs import Held, leeway
from blocks.oauth.refresh import look, renew
from blocks.ratelimit import Clock
from blocks.store import Database
from blocks.store.block import the_store

if TYPE_CHECKING:
    from blocks.oauth.grant import Grant

REST: Final = 30.0
"""Seconds without another try after a failure that a person must mend; so that no vendor locks the client out."""

_LAST_PART: Final = 5
"""The last fifth of the leeway is for the way of a request: a token is not used in it."""


log = logging.getLogger("lockstep.oauth")


@dataclass(frozen=True, slots=True)
class Ready:
    """A token as requests take it; times are monotonic."""

    access: str = field(repr=False)
    header: str = field(repr=False)
    renew_at: float
    ends: float


class Source:
    """One grant's token in one process and event loop."""

    def __init__(self, grant: Grant, clock: Clock | None = None) -> None:
        self.grant, self.clock = grant, clock or Clock()
        self.open_store: Callable[[], Awaitable[Database]] = the_store
        self._database: Database | None = None
        self._ready: Ready | None = None
        self._held: Held | None = None
        self._flight: asyncio.Task[None] | None = None
        self._arrived: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._failure: LockstepError | None = None
        self._failures = 0
        self._rest_until = self._trust_until = float("-inf")

    async def token(self) -> Ready:
        """A token that serves. In its leeway it is used on while a new one is fetched.

        Raises:
            Unauthorized (GrantEnded, AnswerLost), Misconfigured: a person must act.
            Unavailable: later; for the caller's own request nothing was sent.
        """
        ready = self._ready
        now = self.clock.monotonic()
        if ready is not None and now < ready.renew_at:
            return ready
        usable = ready is not None and now < ready.ends
        if self._flight is None and now < self._rest_until:
            if usable and ready is not None:
                return ready
            raise self._again()
        if usable and ready is not None:
            if self._flight is None:
                self._start("")
            return ready
        return await self._next("")

    async def instead_of(self, failed: Ready) -> Ready | None:
        """Another token than the one that was refused; None: it is not the token's fault.

        What is stored is looked at first; only if it is the one that failed, it is redeemed.
        """
        for _ in range(2):
            ready, now = self._ready, self.clock.monotonic()
            if ready is not None and ready.access != failed.access and now < ready.ends:
                return ready
            if now < self._trust_until:
                return None
            if self._flight is None and now < self._rest_until:
                raise self._again()
            await self._next(failed.access)
        return None

    def refused_twice(self) -> None:
        """A new token was refused at once, too: for a while, none is renewed for being refused."""
        self._trust_until = self.clock.monotonic() + REST

    async def _next(self, failed: str) -> Ready:
        """The token that is on its way, or of a new flight."""
        while self._flight is not None and self._arrived.done():
            # It has arrived, and was no good any more: it is only being published.
            await asyncio.wait([self._flight])
        if self._flight is None:
            self._start(failed)
        return await asyncio.shield(self._arrived)

    def _start(self, failed: str) -> None:
        # A task of its own: who is cancelled while waiting takes nobody's refresh along.
        loop = asyncio.get_running_loop()
        self._arrived = loop.create_future()
        self._flight = loop.create_task(self._fly(failed, self._arrived))
        self._flight.add_done_callback(self._landed)

    async def _fly(self, failed: str, arrived: asyncio.Future[Ready]) -> None:
        def here(held: Held) -> None:
            if not arrived.done():
                self._failures, self._held = 0, held
                self._ready = self._as_ready(held)
                arrived.set_result(self._ready)

        try:
            here(await self._renewed(failed, here))
        except LockstepError as error:
            if arrived.done():
                log.warning("%s", error)  # it was only to be published
            else:
                self._failed(error)
                arrived.set_exception(self._again())
                arrived.exception()  # seen, whether anybody waits or not

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None
        error = None if flight.cancelled() else flight.exception()
        if not self._arrived.done():
            self._arrived.set_exception(error) if error else self._arrived.cancel()

    async def _renewed(self, failed: str, here: Callable[[Held], None]) -> Held:
        database = self._database = self._database or await self.open_store()
        # Without the lock first: mostly another process has renewed it already.
        found = await look(database, self.grant, failed, self.clock)
        return found or await renew(database, self.grant, failed, self._held, self.clock, here)

    def _as_ready(self, held: Held) -> Ready:
        pair = held.pair
        assert pair is not None  # noqa: S101  what serves has one
        margin = leeway(pair.lifetime)
        end = self.clock.monotonic() + pair.left(self.clock.now())
        return Ready(pair.access, f"Bearer {pair.access}", end - margin, end - margin / _LAST_PART)

    def _failed(self, error: LockstepError) -> None:
        self._failures += 1
        wait = REST
        if isinstance(error, Unavailable | Busy | LockLost):
            asked = error.retry_after if isinstance(error, Unavailable) else None
            wait = asked or min(2.0 ** (self._failures - 1), REST)
            error = Unavailable(
                error.message, retry_after=wait, sent=False, system=error.system, call=error.call, id=error.id
            )
        self._failure, self._rest_until = error, self.clock.monotonic() + wait

    def _again(self) -> LockstepError:
        """The last failure, as if it were new: an exception that is raised twice grows with each."""
        assert self._failure is not None  # noqa: S101  there is a rest only after one
        error = self._failure
        again = type(error).__new__(type(error))
        again.__dict__.update(error.__dict__)
        again.args = error.args
        return again


class TokenAuth(httpx.Auth):
    """A bearer token in each request; one that is refused is replaced, once."""

    def __init__(self, grant: Grant) -> None:
        self.source = source_of(grant)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with a token; after a 401 with another one, if there is one."""
        ready = await self.source.token()
        request.headers["Authorization"] = ready.header
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        other = await self.source.instead_of(ready)
        if other is None:
            return
        request.headers["Authorization"] = other.header
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self.source.refused_twice()


_sources: WeakKeyDictionary[AbstractEventLoop, dict[tuple[str, str, str], Source]] = WeakKeyDictionary()


def source_of(grant: Grant) -> Source:
    """The source of this grant in this process and event loop; the block's newest settings count."""
    mine = _sources.setdefault(asyncio.get_running_loop(), {})
    key = (grant.grant_name, grant.about, grant.seed)
    source = mine.get(key)
    if source is None:
        source = mine[key] = Source(grant)
    source.grant = grant
    return source
