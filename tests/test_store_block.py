"""The store's block: where it points, how it opens, and what it never says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import delete
from sqlalchemy.engine import make_url

from blocks.errors import LockstepError, Misconfigured, Unauthorized, Unavailable
from blocks.store import Store, block
from blocks.store.incidents import Actor, create
from blocks.store.tables import Counter, Setting, table_of
from tests.stores import NOW


def store(url: str) -> Store:
    return Store(url=SecretStr(url))


async def failure(url: str) -> LockstepError:
    with pytest.raises(LockstepError) as caught:
        await store(url).open()
    return caught.value


async def test_a_store_opened_again_is_the_same_store(store_url: str) -> None:
    database = await store(store_url).open()
    assert await store(store_url).open() is database
    assert len(database.id) == 8
    assert int(database.id, 16) >= 0
    number = await create(database, {"title": "a"}, Actor("ann"), NOW)
    assert number == 1
    await database.close()


async def test_tasks_that_open_at_once_get_one_database(empty_url: str) -> None:
    opened = await asyncio.gather(*(store(empty_url).open() for _ in range(5)))
    assert len(set(map(id, opened))) == 1
    await opened[0].close()


def test_each_event_loop_has_a_database_of_its_own_and_a_closed_one_is_forgotten(store_url: str) -> None:
    async def opened() -> tuple[int, str]:
        database = await store(store_url).open()
        await database.close()
        return len([url for url, _ in block._databases if url == block.address(store_url)]), database.id

    (count, first), (other, second) = asyncio.run(opened()), asyncio.run(opened())
    assert (count, other) == (1, 1)
    assert first == second


async def test_the_stores_id_and_counters_stay(store_url: str) -> None:
    database = await store(store_url).open()
    before = database.id
    await create(database, {"title": "a"}, Actor("ann"), NOW)
    async with database.begin("test") as connection:
        await connection.execute(delete(table_of(Counter)).where(table_of(Counter).c.name == "plan"))
    assert await block._identity(database) == before
    async with database.begin("test") as connection:
        assert await database.draw(connection, "plan", 1) == 1
        assert await database.draw(connection, "incident", 1) == 2
    async with database.begin("test") as connection:
        await connection.execute(delete(table_of(Setting)))
    assert await block._identity(database) != before
    await database.close()


async def test_a_new_file_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(0)
    try:
        database = await store("sqlite:///~/.lockstep/lockstep.db").open()
    finally:
        os.umask(before)
    await create(database, {"title": "a"}, Actor("ann"), NOW)
    folder = tmp_path / ".lockstep"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()} == {0o600}
    await database.close()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:////var/x.db", "sqlite+aiosqlite:////var/x.db"),
        ("sqlite+aiosqlite:////var/x.db", "sqlite+aiosqlite:////var/x.db"),
        ("postgres://a@h/d", "postgresql+asyncpg://a@h/d"),
        ("postgresql://a@h/d", "postgresql+asyncpg://a@h/d"),
        ("postgresql://a@h/d?sslmode=verify-full", "postgresql+asyncpg://a@h/d?ssl=verify-full"),
        ("postgresql+asyncpg:///d?host=/run/pg", "postgresql+asyncpg:///d?host=/run/pg"),
    ],
)
def test_plain_addresses_are_made_async(given: str, used: str) -> None:
    assert block.address(given) == make_url(used)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "cannot be read"),
        ("s3cret", "cannot be read"),
        ("mysql://ann:s3cret@h/d", "'mysql' is not supported"),
        ("postgresql+psycopg2://ann:s3cret@h/d", "not supported"),
        ("sqlite://", "absolute path"),
        ("sqlite:///:memory:", "absolute path"),
        ("sqlite:///lockstep.db", "absolute path"),
        ("sqlite:////x.db?mode=memory", "absolute path"),
        ("postgresql://ann:s3cret@127.0.0.1:port/d", "cannot be read"),
        ("postgresql://ann:s3cret@127.0.0.1:1/d?colour=red", "colour"),
    ],
)
async def test_an_address_that_cannot_be_used_is_said_in_words(url: str, says: str) -> None:
    error = await failure(url)
    assert isinstance(error, Misconfigured)
    assert says in str(error)
    assert "s3cret" not in str(error)


async def test_a_server_that_is_not_there_is_unavailable_and_the_password_stays_ours() -> None:
    error = await failure("postgresql://ann:s3cret@127.0.0.1:1/lockstep")
    assert isinstance(error, Unavailable)
    assert "127.0.0.1" in str(error)
    assert "s3cret" not in f"{error!r} {error} {error.__cause__!r}"


@pytest.mark.parametrize("store_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_a_login_that_is_refused_and_a_database_that_is_not_there_are_told_apart(store_url: str) -> None:
    url = make_url(store_url)
    stranger = url.set(username="nobody_we_know", password="s3cret").render_as_string(hide_password=False)
    assert isinstance(await failure(stranger), Unauthorized)
    missing = await failure(url.set(database="no_such_database").render_as_string(hide_password=False))
    assert isinstance(missing, Misconfigured)
    assert "no_such_database" in str(missing)


async def test_a_path_that_is_no_file_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "text.db").write_text("This is no database, and never was one. " * 100)
    for path, says in (("folder", "directory"), ("file/x.db", "written"), ("text.db", "not a database")):
        error = await failure(f"sqlite:///{tmp_path}/{path}")
        assert isinstance(error, Misconfigured)
        assert says in str(error)
        assert path in str(error)


async def test_what_fails_to_open_is_tried_anew(tmp_path: Path) -> None:
    path = tmp_path / "lockstep.db"
    path.mkdir()
    await failure(f"sqlite:///{path}")
    path.rmdir()
    await (await store(f"sqlite:///{path}").open()).close()


def test_the_address_is_a_secret_that_must_be_given() -> None:
    with pytest.raises(ValidationError):
        Store()  # type: ignore[call-arg]
    shown = store("postgresql://ann:s3cret@h/d")
    assert "s3cret" not in f"{shown!r} {shown} {shown.model_dump()}"
    assert Store.get_block_type_slug() == "lockstep-store"
