"""Locks for mirrors, refreshes, migrations and listeners, which their holder's death releases.

PostgreSQL: a session's advisory lock, on a connection of its own, never through a pooler of transactions. SQLite: flock
on a file beside the database, which works on one host only. A free lock means that nobody is alive.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg

from blocks.errors import Busy, LockLost, Unavailable
from blocks.store.database import Database

PAUSE = 0.05
"""Seconds between two tries."""

GRACE = 0.1
"""Seconds that a file's lock is tried at least: `is_free` takes it for an instant."""

ANSWER = 10.0
"""Seconds that the database may take to answer for a lock."""

_OWN_OPTIONS = frozenset({"prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"})
_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
_HELD = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = """
T = TypeVar("T")
# The last: a connection that is cut in the moment in which it is used.
_GONE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Lock(ABC):
    """A lock that is held."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    async def check(self) -> None:
        """LockLost, unless it is still ours: asked right before a call that must not happen twice."""

    def _lost(self) -> LockLost:
        return LockLost(f"the lock '{self.name}' is gone", system="store", call="check lock")


@asynccontextmanager
async def hold(database: Database, name: str, *, wait: float = 0.0, passing: bool = False) -> AsyncIterator[Lock]:
    """Hold the lock of this name; one that is `passing` leaves no file, for names that come and go.

    Raises:
        Busy: somebody, in this process or another, still holds it after `wait` seconds.
        Unavailable: the database cannot be reached.
    """
    taken = _hold_file(database, name, wait) if database.sqlite else _hold_session(database, name, wait)
    async with taken as lock:
        try:
            yield lock
        finally:
            if passing and isinstance(lock, _FileLock):
                lock.remove()


async def is_free(database: Database, name: str) -> bool:
    """Whether nobody holds the lock of this name."""
    if database.sqlite:
        return _file_is_free(_path(database, name))
    async with database.read() as connection:
        held = await connection.exec_driver_sql(f"{_HELD} $1", (_key(database, name),))
        return held.first() is None


class _FileLock(Lock):
    def __init__(self, name: str, path: Path, handle: int) -> None:
        super().__init__(name)
        self.path, self.handle = path, handle

    async def check(self) -> None:
        if not _is_at(self.path, self.handle):
            raise self._lost()

    def remove(self) -> None:
        """Remove the file while it is held: who opened it before sees that it is no longer there, and tries again."""
        if _is_at(self.path, self.handle):
            self.path.unlink(missing_ok=True)


@asynccontextmanager
async def _hold_file(database: Database, name: str, wait: float) -> AsyncIterator[Lock]:
    path = _path(database, name)

    async def take() -> int | None:
        return _take_file(path)

    handle = await _until(take, name, max(wait, GRACE))
    _handles.add(handle)
    try:
        yield _FileLock(name, path, handle)
    finally:
        _handles.discard(handle)
        os.close(handle)


async def _until(take: Callable[[], Awaitable[T | None]], name: str, wait: float) -> T:
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait
    while (taken := await take()) is None:
        if clock() >= deadline:
            message = f"somebody else holds the lock '{name}'"
            raise Busy(message, system="store", call="lock")
        await asyncio.sleep(PAUSE)
    return taken


def _path(database: Database, name: str) -> Path:
    folder = Path(f"{database.url.database}.locks")
    return folder / hashlib.sha256(name.encode()).hexdigest()[:32]


def _open_file(path: Path) -> int:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _take_file(path: Path) -> int | None:
    handle = _open_file(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if _is_at(path, handle):
        return handle
    # Somebody removed the file in between: the lock of the one that is there now counts.
    os.close(handle)
    return None


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _file_is_free(path: Path) -> bool:
    if not path.exists():
        return True
    handle = _open_file(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


_handles: set[int] = set()


def _drop_handles() -> None:
    # A forked child shares the lock, and would keep it when its parent dies.
    for handle in _handles:
        os.close(handle)
    _handles.clear()


os.register_at_fork(after_in_child=_drop_handles)


class _SessionLock(Lock):
    def __init__(self, name: str, key: int, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        super().__init__(name)
        self.key, self.connection, self.turn = key, connection, asyncio.Lock()

    async def check(self) -> None:
        try:
            async with self.turn:
                held = await self.connection.fetch(f"{_HELD} $1 AND pid = pg_backend_pid()", self.key, timeout=ANSWER)
        except _GONE:
            raise self._lost() from None
        if not held:
            raise self._lost()


@asynccontextmanager
async def _hold_session(database: Database, name: str, wait: float) -> AsyncIterator[Lock]:
    key = _key(database, name)
    connection = await _session(database)

    async def take() -> bool | None:
        try:
            return await connection.fetchval("SELECT pg_try_advisory_lock($1)", key, timeout=ANSWER) or None
        except _GONE as error:
            raise _unreachable(error) from None

    try:
        await _until(take, name, wait)
        yield _SessionLock(name, key, connection)
    finally:
        await _close(connection)


async def _session(database: Database) -> asyncpg.Connection[asyncpg.Record]:
    _, options = database.engine.dialect.create_connect_args(database.url)
    settings = {"application_name": "lockstep lock", **_KEEPALIVE}
    wanted = {name: value for name, value in options.items() if name not in _OWN_OPTIONS}
    try:
        return await asyncpg.connect(**{"timeout": ANSWER, **wanted, "server_settings": settings})
    except _GONE as error:
        raise _unreachable(error) from None


async def _close(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    # A closed connection alone releases the lock a moment later, when the server notices.
    try:
        await connection.execute("SELECT pg_advisory_unlock_all()", timeout=ANSWER)
        await connection.close(timeout=ANSWER)
    except _GONE:
        pass
    finally:
        connection.terminate()


def _key(database: Database, name: str) -> int:
    digest = hashlib.sha256(f"{database.url.database}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _unreachable(error: BaseException) -> Unavailable:
    message = f"the store's database does not answer ({type(error).__name__})"
    return Unavailable(message, sent=False, system="store", call="lock")
