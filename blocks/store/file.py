"""A SQLite file, used in a thread of its own: a whole transaction is one visit there, not one for each statement."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Executable, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.points import reach

T = TypeVar("T")

Body = Callable[[AsyncConnection], Coroutine[Any, Any, T]]
"""What a transaction does. It awaits its connection, and nothing else."""

READ = {"lockstep_read": True}


class File:
    """A SQLite file and the thread that works on it.

    Args:
        url: the file's address, of any driver.
    """

    def __init__(self, url: URL) -> None:
        self.engine = create_engine(url.set(drivername="sqlite+pysqlite"), hide_parameters=True)
        self._thread: ThreadPoolExecutor | None = None
        event.listen(self.engine, "connect", prepare)
        event.listen(self.engine, "begin", begin)

    async def commit(self, point: str, body: Body[T]) -> T:
        """Run `body` in a transaction that writes, and commit it; `point` names the commit."""
        return await self._aside(self._commit, point, body)

    async def look(self, body: Body[T]) -> T:
        """Run `body`, which only reads: each statement sees what is committed, and waits for no writer."""
        return await self._aside(self._look, body)

    async def close(self) -> None:
        """Close the file and end the thread; whoever uses it again opens it again."""
        await self._aside(self.engine.dispose)
        self.forget()

    def forget(self) -> None:
        """End the thread when it has nothing left to do, without waiting for it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)

    async def _aside(self, work: Callable[..., T], *arguments: object) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lockstep-store")
        context = copy_context()
        done = asyncio.get_running_loop().run_in_executor(self._thread, partial(context.run, work, *arguments))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            # A thread cannot be stopped: what it began is over before whoever was cancelled goes on.
            await asyncio.wait([done])
            raise

    def _commit(self, point: str, body: Body[T]) -> T:
        with self.engine.connect() as connection:
            with connection.begin():
                result = _run(body, connection)
                reach(f"before commit {point}")
            reach(f"after commit {point}")
        return result

    def _look(self, body: Body[T]) -> T:
        with self.engine.connect() as connection:
            return _run(body, connection.execution_options(**READ))


class _Here:
    """A connection whose awaitable calls are done when they return."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:  # noqa: ANN401  SQLAlchemy's
        return self._connection.execute(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> CursorResult[Any]:  # noqa: ANN401  SQLAlchemy's
        return self._connection.exec_driver_sql(statement, parameters)


def _run(body: Body[T], connection: Connection) -> T:
    """A body's result: it never waits, since all that it awaits is done at once."""
    work = body(cast("AsyncConnection", _Here(connection)))
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    work.close()
    message = "inside a transaction only its connection may be awaited"
    raise RuntimeError(message)


def prepare(connection: Any, _record: object, wait: Callable[[float], object] = time.sleep) -> None:  # noqa: ANN401  a driver's connection
    """What every connection to a SQLite file begins with."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=30000")
    _switch_to_wal(cursor, wait)
    for pragma in ("synchronous=FULL", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any, wait: Callable[[float], object]) -> None:  # noqa: ANN401  a driver's cursor
    # Two that switch a new file at once each hold what the other waits for: SQLite refuses one at once, whatever the
    # timeout.
    for left in reversed(range(300)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not left:
                raise
            wait(0.1)
        else:
            return


def begin(connection: Connection) -> None:
    """How a transaction begins: with plain BEGIN two writers fail at once with "database is locked"."""
    if not connection.get_execution_options().get("lockstep_read"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
