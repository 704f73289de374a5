"""The schema that migrations make is the schema that the tables say."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, inspect, text

from blocks import points
from blocks.errors import Misconfigured
from blocks.store import Database, Store, block, migrations
from blocks.store.tables import Table
from tests.stores import add_system

OPEN = """
import asyncio, sys
from blocks.store import Store

async def main():
    database = await Store(url=sys.argv[1]).open()
    async with database.begin("test") as connection:
        print(database.id, await database.draw(connection, "incident", 10))
    await database.close()

asyncio.run(main())
"""


def _schema(connection: Connection) -> dict[str, Any]:
    """Everything that reflection sees, the sequences of numbers aside."""
    looked = inspect(connection)
    found: dict[str, Any] = {}
    for name in sorted(set(looked.get_table_names()) - {"alembic_version"}):
        columns = [(c["name"], str(c["type"]), c["nullable"]) for c in looked.get_columns(name)]
        indexes = sorted(
            (
                i["name"],
                i["column_names"],
                bool(i["unique"]),
                sorted((k, str(v)) for k, v in i["dialect_options"].items()),
            )
            for i in looked.get_indexes(name)
        )
        uniques = sorted((u["name"] or "", u["column_names"]) for u in looked.get_unique_constraints(name))
        found[name] = (columns, indexes, uniques, looked.get_pk_constraint(name)["constrained_columns"])
    return found


async def test_migrations_make_what_the_tables_say(database: Database) -> None:
    def compared(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), Table.metadata))

    async with database.read() as connection:
        assert await connection.run_sync(compared) == []


async def test_migrations_make_what_create_all_makes(database: Database, empty_url: str) -> None:
    other = Database(empty_url)
    if other.sqlite:
        Path(other.url.database or "").parent.mkdir()
    async with other.begin("test") as connection:
        await connection.run_sync(Table.metadata.create_all)
    async with other.read() as one, database.read() as two:
        wanted, found = await one.run_sync(_schema), await two.run_sync(_schema)
    await other.close()
    if other.sqlite == database.sqlite:
        assert found == wanted
    assert set(found) == set(wanted) == set(Table.metadata.tables)


async def test_the_head_that_is_compared_is_the_scripts_head() -> None:
    assert ScriptDirectory.from_config(migrations.settings()).get_heads() == [migrations.HEAD]


async def test_an_empty_store_is_brought_up_from_any_folder(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    database = await Store(url=SecretStr(empty_url)).open()
    assert await migrations.revision(database) == migrations.HEAD
    assert await add_system(database, "a") == 1
    await database.close()


async def test_a_store_at_head_is_not_upgraded_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_upgrade", None)
    await migrations.upgrade(database)


async def test_going_back_leaves_nothing(database: Database) -> None:
    def down(connection: Connection) -> list[str]:
        config = migrations.settings()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        return inspect(connection).get_table_names()

    async with database.begin("test") as connection:
        assert await connection.run_sync(down) == ["alembic_version"]


async def test_an_upgrade_that_fails_leaves_nothing_and_can_be_repeated(empty_url: str) -> None:
    def die(point: str) -> None:
        if point == "before commit migrate":
            raise KeyboardInterrupt

    store = Store(url=SecretStr(empty_url))
    points.watch(die)
    try:
        with pytest.raises(KeyboardInterrupt):
            await store.open()
    finally:
        points.watch(None)
    database = Database(empty_url)
    async with database.read() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []
    await database.close()
    opened = await store.open()
    assert await add_system(opened, "a") == 1
    await opened.close()


async def test_a_store_of_a_newer_program_is_left_alone(database: Database) -> None:
    async with database.begin("test") as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Misconfigured, match=r"9999.*update the program"):
        await migrations.upgrade(database)
    assert await migrations.revision(database) == "9999"


async def test_many_who_open_a_new_store_at_once_agree(empty_url: str) -> None:
    opened = await asyncio.gather(*(block._opened(block.address(empty_url)) for _ in range(5)))
    assert len({database.id for database in opened}) == 1
    for database in opened:
        assert await migrations.revision(database) == migrations.HEAD
        await database.close()


@pytest.mark.slow
async def test_processes_that_open_a_new_store_at_once_agree(empty_url: str) -> None:
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPEN, empty_url, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent
        )
        for _ in range(2)
    ]
    said = [(await child.communicate())[0].decode().split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert len({id for id, _ in said}) == 1
    assert sorted(int(first) for _, first in said) == [1, 11]


async def test_a_new_file_that_another_is_writing_to_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "lockstep.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opening = asyncio.create_task(Store(url=SecretStr(f"sqlite:///{tmp_path}/lockstep.db")).open())
    await asyncio.sleep(0.3)
    assert not opening.done()
    other.execute("ROLLBACK")
    database = await opening
    other.close()
    assert await migrations.revision(database) == migrations.HEAD
    await database.close()
