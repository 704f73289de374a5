"""The integration cache: typed values kept between runs, encrypted, each until it expires.

What expired is as good as gone at once; each write deletes some of it, so that it never piles up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson
from sqlalchemy import and_, bindparam, delete, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Busy, Refused, Stale
from blocks.flights import Flights
from blocks.store import checks
from blocks.store.crypto import keys
from blocks.store.database import Database
from blocks.store.locks import hold
from blocks.store.tables import CacheItem, table_of

ITEM: Final = table_of(CacheItem)
LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a value: the database reads and writes it whole."""

LONGEST: Final = 500
"""Characters of a name: PostgreSQL's indexes hold no more than 2,700 bytes."""

SWEEP: Final = 100
"""How many expired values a write deletes. It adds one, so that they get fewer."""

WAIT: Final = 60.0
"""Seconds that another's computation is waited for."""

_MINE = and_(ITEM.c.integration == bindparam("of"), ITEM.c.name == bindparam("one"))
_LOOK = select(ITEM.c.version, ITEM.c.expires).where(_MINE)
_READ = select(ITEM.c.value, ITEM.c.version, ITEM.c.expires).where(_MINE)
_BYTES, _JSON = b"b", b"j"
_flights: WeakKeyDictionary[Database, Flights[tuple[str, str], bytes]] = WeakKeyDictionary()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Kept:
    """A value, the version that compare-and-set asks for, and when it expires (None: never)."""

    value: Any
    version: int
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Item:
    """What is kept under a name, without its value; `size` is in bytes."""

    name: str
    size: int
    version: int
    expires: datetime | None


class Cache:
    """The values of one integration. A value is anything that JSON keeps, or bytes; it comes back as its own type.

    Any call raises Misconfigured where LOCKSTEP_KEYS is missing, or lacks the key of what is kept; a write raises
    Refused where a value is no JSON or over 16 MiB, or a name is empty or over 500 characters.

    Args:
        database: the store.
        integration: whose values: a name of your choice, or a system's fingerprint.
        now: tells the time; aware.
    """

    def __init__(self, database: Database, integration: str, *, now: Callable[[], datetime] = _utc_now) -> None:
        self.database, self.now = database, now
        self.integration = _named("integration", integration)

    async def get(self, name: str) -> Kept | None:
        """What is kept under this name; None: nothing, or it expired."""
        mine = {"of": self.integration, "one": _named("name", name)}
        async with self.database.read() as connection:
            row = (await connection.execute(_READ, mine)).first()
        if row is None or not self._lasts(row.expires):
            return None
        return Kept(_value(keys().decrypt(row.value)), row.version, row.expires)

    async def set(self, name: str, value: object, lasts: timedelta | None = None) -> int:
        """Keep a value, whatever was there, for so long (None: until it is deleted); answers its version."""
        return await self._write(name, _plain(name, value), lasts, lambda _: True) or 0

    async def set_if_absent(self, name: str, value: object, lasts: timedelta | None = None) -> int | None:
        """Keep a value where there is none; answers its version, None where there was one."""
        return await self._write(name, _plain(name, value), lasts, lambda found: found is None)

    async def compare_and_set(self, name: str, value: object, version: int, lasts: timedelta | None = None) -> int:
        """Keep a value in the place of that version; answers the new version.

        Raises:
            Stale: another version is there by now, or none.
        """
        written = await self._write(name, _plain(name, value), lasts, lambda found: found == version)
        if written is None:
            message = f"the cache's value '{name}' is no longer at version {version}: read it again"
            raise Stale(message, system=self.integration, call="compare and set")
        return written

    async def get_or_compute(
        self, name: str, compute: Callable[[], Awaitable[object]], lasts: timedelta, *, wait: float = WAIT
    ) -> Any:  # noqa: ANN401  what JSON keeps, or bytes
        """What is kept; else it is computed, once for any number of callers in all processes, and kept.

        An error of `compute` reaches those of this process who wait for it, and is kept for nobody. Where the computing
        process or caller dies, the next one computes. `compute` must not ask for the same name.

        Raises:
            Busy: another process still computes after `wait` seconds.
        """
        found = await self.get(name)
        if found is not None:
            return found.value
        flights = _flights.setdefault(self.database, Flights())
        work = partial(self._computed, name, compute, lasts, wait)
        return _value(await flights.join((self.integration, name), work))

    async def delete(self, name: str) -> bool:
        """Forget a value; answers whether one was there."""
        return bool(await self._delete(ITEM.c.name == name))

    async def clear(self) -> int:
        """Forget all values of this integration; answers how many."""
        return await self._delete()

    async def items(self) -> list[Item]:
        """What is kept, by name, without the values."""
        columns = (ITEM.c.name, ITEM.c.size, ITEM.c.version, ITEM.c.expires)
        mine = (ITEM.c.integration == self.integration, or_(ITEM.c.expires.is_(None), ITEM.c.expires > self.now()))
        async with self.database.read() as connection:
            rows = await connection.execute(select(*columns).where(*mine).order_by(ITEM.c.name))
            return [Item(*row) for row in rows]

    async def extend(self, connection: AsyncConnection, names: Sequence[str], lasts: timedelta) -> None:
        """Have these values, where they are still there, last so long from now on; in the caller's transaction."""
        mine = (ITEM.c.integration == self.integration, ITEM.c.name.in_(names))
        await connection.execute(update(ITEM).where(*mine).values(expires=self.now() + lasts))

    async def forget(self, connection: AsyncConnection, names: Sequence[str]) -> None:
        """Forget these values, in the caller's transaction."""
        await connection.execute(delete(ITEM).where(ITEM.c.integration == self.integration, ITEM.c.name.in_(names)))

    async def _computed(
        self, name: str, compute: Callable[[], Awaitable[object]], lasts: timedelta, wait: float
    ) -> bytes:
        async with AsyncExitStack() as stack:
            try:
                lock = hold(self.database, f"cache\0{self.integration}\0{name}", wait=wait, passing=True)
                await stack.enter_async_context(lock)
            except Busy:
                message = f"another process still computes '{name}' after {wait:g} s: ask again later"
                raise Busy(message, system=self.integration, call="get or compute") from None
            found = await self.get(name)
            plain = _plain(name, await compute() if found is None else found.value)
            if found is None:
                await self._write(name, plain, lasts, lambda _: True)
            return plain

    async def _write(
        self, name: str, plain: bytes, lasts: timedelta | None, allowed: Callable[[int | None], bool]
    ) -> int | None:
        """Write where the version that is there (None: none) allows it; answers the new version."""
        token, now = keys().encrypt(plain), self.now()
        mine = {"of": self.integration, "one": _named("name", name)}
        async with self.database.begin("cache") as connection:
            row = (await connection.execute(_LOOK, mine)).first()
            if not allowed(row.version if row and self._lasts(row.expires) else None):
                return None
            version = await self.database.draw(connection, "cache", 1)
            expires = None if lasts is None else now + lasts
            values: dict[str, Any] = {"version": version, "expires": expires, "size": len(plain) - 1, "value": token}
            if row is None:
                await connection.execute(insert(ITEM).values(integration=self.integration, name=name, **values))
            else:
                await connection.execute(update(ITEM).where(_MINE), {**mine, **values})
            await _sweep(connection, now)
        return version

    async def _delete(self, *which: Any) -> int:  # noqa: ANN401  conditions
        async with self.database.begin("cache") as connection:
            mine = (ITEM.c.integration == self.integration, *which)
            lasting = or_(ITEM.c.expires.is_(None), ITEM.c.expires > self.now())
            done = await connection.execute(delete(ITEM).where(*mine, lasting))
            await connection.execute(delete(ITEM).where(*mine))
            return done.rowcount

    def _lasts(self, expires: datetime | None) -> bool:
        return expires is None or expires > self.now()


async def _sweep(connection: AsyncConnection, now: datetime) -> None:
    """Delete some of what expired, whoever kept it."""
    key = (ITEM.c.integration, ITEM.c.name)
    old = select(*key).where(ITEM.c.expires <= now).limit(SWEEP)
    await connection.execute(delete(ITEM).where(tuple_(*key).in_(old)))


def _plain(name: str, value: object) -> bytes:
    """A value as it is encrypted: a letter for its type, then itself. Refused: it is no JSON, or too large."""
    plain = _BYTES + value if isinstance(value, bytes) else _json(value)
    if plain is None:
        raise _refused(name, "is no value that comes back from JSON as it went in")
    if len(plain) - 1 > LARGEST:
        raise _refused(name, f"has {len(plain) - 1:,} bytes, {LARGEST:,} are allowed: keep less, or in parts")
    return plain


def _json(value: object) -> bytes | None:
    """As JSON; None where a tuple, a time or a NaN would come back as something else."""
    try:
        plain = orjson.dumps(value)
    except TypeError:
        return None
    return _JSON + plain if orjson.loads(plain) == value else None


def _value(plain: bytes) -> Any:  # noqa: ANN401  what JSON keeps, or bytes
    return plain[1:] if plain[:1] == _BYTES else orjson.loads(plain[1:])


def _named(what: str, name: str) -> str:
    if not name:
        raise checks.refused(f"the cache's {what}", "must not be empty")
    return checks.text(f"the cache's {what}", name, LONGEST)


def _refused(name: str, reason: str) -> Refused:
    return Refused(f"the cache's value '{name}' {reason}", system="store", call="cache")
