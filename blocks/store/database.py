"""One async engine for SQLite and PostgreSQL: short transactions with a name, and rows written a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.util import await_only

from blocks.points import reach
from blocks.store.file import READ, Body, File, begin, prepare
from blocks.store.tables import Table

T = TypeVar("T")

BLOCK = 200
"""So many rows are one statement on SQLite, which takes 30 % less time than one for each."""
ONE_WRITER = text("SELECT pg_advisory_xact_lock(7814119027451263)")


class Database:
    """The store's database.

    Args:
        url: an SQLAlchemy URL of aiosqlite or asyncpg.
        clock: tells the time; aware, UTC.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = create_async_engine(self.url, hide_parameters=True, pool_pre_ping=not self.sqlite)
        self.id = ""
        self.file = File(self.url) if self.sqlite else None
        if self.sqlite:
            event.listen(self.engine.sync_engine, "connect", _open_sqlite)
            event.listen(self.engine.sync_engine, "begin", begin)

    @asynccontextmanager
    async def begin(self, point: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes, committed at the end; `point` names its commit."""
        async with self.engine.connect() as connection:
            async with connection.begin():
                if not self.sqlite:
                    # One writer at a time, as on SQLite: pages and people's edits lock rows in orders of their own.
                    await connection.execute(ONE_WRITER)
                yield connection
                reach(f"before commit {point}")
            reach(f"after commit {point}")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that only reads: each statement sees what is committed, and waits for no writer."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(**READ)

    async def commit(self, point: str, body: Body[T]) -> T:
        """As `begin`, but on SQLite the whole of it is one visit to a thread: `body` awaits its connection alone."""
        if self.file is not None:
            return await self.file.commit(point, body)
        async with self.begin(point) as connection:
            return await body(connection)

    async def look(self, body: Body[T]) -> T:
        """As `read`, in the manner of `commit`."""
        if self.file is not None:
            return await self.file.look(body)
        async with self.read() as connection:
            return await body(connection)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
        if self.file is not None:
            await self.file.close()

    def value(self, value: Any) -> Any:  # noqa: ANN401  whatever a driver takes
        """A value as the driver takes it, for statements that bypass SQLAlchemy's types."""
        if isinstance(value, datetime):
            if value.tzinfo is None:
                message = f"a time without zone: {value.isoformat()}"
                raise ValueError(message)
            if value.tzinfo is not UTC:
                value = value.astimezone(UTC)
            # The form in which SQLAlchemy keeps times in SQLite: without zone.
            return value.isoformat(" ", "microseconds")[:26] if self.sqlite else value
        return value

    async def insert(
        self, connection: AsyncConnection, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert rows through the driver's own executemany: half of the time that SQLAlchemy's takes.

        JSON columns take text, times must have gone through `value`.
        """
        names = tuple(columns)
        if not self.sqlite:
            if rows:
                await connection.exec_driver_sql(_insert(table, names, self.sqlite, 1), [tuple(row) for row in rows])
            return
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            statement = _insert(table, names, self.sqlite, len(block))
            await connection.exec_driver_sql(statement, tuple(chain.from_iterable(block)))

    async def update(
        self, connection: AsyncConnection, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Update rows by id, set-based: each row holds the columns' values, then the id."""
        if rows:
            statement = _update(table, tuple(columns), self.sqlite)
            await connection.exec_driver_sql(statement, [tuple(row) for row in rows])

    async def draw(self, connection: AsyncConnection, name: str, count: int) -> int:
        """Draw `count` numbers; answers the first. The row stays locked until the transaction ends."""
        last = await connection.execute(
            text("UPDATE counter SET value = value + :n WHERE name = :name RETURNING value"),
            {"n": count, "name": name},
        )
        return int(last.scalar_one()) - count + 1


def _open_sqlite(connection: Any, record: object) -> None:  # noqa: ANN401  aiosqlite's adapted connection
    prepare(connection, record, lambda seconds: await_only(asyncio.sleep(seconds)))


def _mark(n: int, *, sqlite: bool) -> str:
    return "?" if sqlite else f"${n}"


@lru_cache
def _insert(table: type[Table], columns: tuple[str, ...], sqlite: bool, rows: int) -> str:  # noqa: FBT001  a cache key
    marks = ", ".join(_mark(n, sqlite=sqlite) for n in range(1, len(columns) + 1))
    names = ", ".join(f'"{c}"' for c in columns)
    lines = ", ".join([f"({marks})"] * rows)
    return f'INSERT INTO "{table.__tablename__}" ({names}) VALUES {lines}'  # noqa: S608  names are ours


@lru_cache
def _update(table: type[Table], columns: tuple[str, ...], sqlite: bool) -> str:  # noqa: FBT001  a cache key
    sets = ", ".join(f'"{c}" = {_mark(n, sqlite=sqlite)}' for n, c in enumerate(columns, 1))
    key = _mark(len(columns) + 1, sqlite=sqlite)
    return f'UPDATE "{table.__tablename__}" SET {sets} WHERE id = {key}'  # noqa: S608  names are ours
