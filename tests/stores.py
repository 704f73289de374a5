"""Stores for tests: each test gets one of its own, on SQLite and on PostgreSQL, copied from a migrated template."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import insert, select
from sqlalchemy.engine import URL, make_url

from blocks.store import Database, Store
from blocks.store.tables import Link, System, table_of

POSTGRES = "LOCKSTEP_TEST_POSTGRES"
HERE = "postgresql+asyncpg:///test?host=/var/run/postgresql"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LINK, SYSTEM = table_of(Link), table_of(System)
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

T = TypeVar("T")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("template") / "lockstep.db"
    _elsewhere(_prepare(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgres() -> URL:
    """A PostgreSQL that answers; without one the test is skipped, or fails where peers are required."""
    url = make_url(os.environ.get(POSTGRES, HERE))
    try:
        _elsewhere(_statement(url, "SELECT 1"))
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        reason = f"no PostgreSQL at {url.render_as_string()} ({type(error).__name__}); {POSTGRES} names another"
        if os.environ.get("LOCKSTEP_REQUIRE_PEERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return url


@pytest.fixture(scope="session")
def postgres_template(postgres: URL) -> Iterator[str]:
    """The name of a migrated PostgreSQL database."""
    name = _name("template")
    _elsewhere(_statement(postgres, f'CREATE DATABASE "{name}"'))
    try:
        _elsewhere(_prepare(_address(postgres, name)))
        yield name
    finally:
        _elsewhere(_statement(postgres, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(params=BOTH)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated store that only this test uses."""
    if request.param == "sqlite":
        path = tmp_path / "lockstep.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite+aiosqlite:///{path}"
    else:
        yield from _database(request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template"))


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a store that nobody has opened yet."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'new' / 'lockstep.db'}"
    else:
        yield from _database(request.getfixturevalue("postgres"), "template1")


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """An open store that only this test uses."""
    opened = await Store(url=SecretStr(store_url)).open()
    yield opened
    await opened.close()


async def add_system(database: Database, fingerprint: str, *, creates: bool = True) -> int:
    """A system, as a mirror registers it; answers its id."""
    row = {"fingerprint": fingerprint, "kind": "roundup", "creates": creates, "created": NOW}
    async with database.begin("system") as connection:
        number = await database.draw(connection, "system", 1)
        await connection.execute(insert(SYSTEM).values(id=number, **row))
    return number


async def add_link(database: Database, system_id: int, incident_id: int | None, **values: Any) -> int:
    """A link, clean unless told otherwise; answers its id."""
    async with database.begin("link") as connection:
        number = await database.draw(connection, "link", 1)
        row = {"state": "linked", "dirty": 0, "remote_id": f"r{number}", **values}
        await connection.execute(insert(LINK).values(id=number, system_id=system_id, incident_id=incident_id, **row))
    return number


async def links_of(database: Database, incident_id: int) -> list[Link]:
    """The links of an incident, by system."""
    statement = select(LINK).where(LINK.c.incident_id == incident_id).order_by(LINK.c.system_id)
    async with database.read() as connection:
        return [Link(**row) for row in (await connection.execute(statement)).mappings()]


def _database(server: URL, template: str) -> Iterator[str]:
    name = _name("store")
    _elsewhere(_statement(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    try:
        yield _address(server, name)
    finally:
        _elsewhere(_statement(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


def _name(kind: str) -> str:
    return f"lockstep_{kind}_{os.getpid()}_{secrets.token_hex(4)}"


def _address(server: URL, name: str) -> str:
    return server.set(database=name).render_as_string(hide_password=False)


async def _prepare(url: str) -> None:
    await (await Store(url=SecretStr(url)).open()).close()


async def _statement(url: URL, statement: str) -> None:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain, timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _elsewhere(work: Coroutine[Any, Any, T]) -> T:
    # In a thread of its own: the test's event loop stays untouched.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
