"""The schema's history, and how a store is brought up to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from blocks.errors import Misconfigured
from blocks.store import locks
from blocks.store.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0003"
"""The newest revision. Known here, because Alembic takes a second to find that there is nothing to do."""

WAIT = 120.0
"""Seconds to wait for another process that upgrades."""


async def upgrade(database: Database) -> None:
    """Bring the schema up to date, if it is not; one process at a time, all or nothing.

    Raises:
        Misconfigured: a newer version of this program has already changed the store.
        Busy: another process is still upgrading after two minutes.
    """
    if await revision(database) == HEAD:
        return
    async with locks.hold(database, "migrate", wait=WAIT) as lock:
        if await revision(database) == HEAD:
            return
        async with database.begin("migrate") as connection:
            await connection.run_sync(_upgrade)
            await lock.check()


async def revision(database: Database) -> str | None:
    """The schema's revision; None: the database is empty."""
    async with database.read() as connection:
        return await connection.run_sync(_revision)


def settings() -> Config:
    """Alembic's settings, without a file of them."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config, current = settings(), _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        message = f"the store is at revision {current}, newer than this program ({HEAD}): update the program"
        raise Misconfigured(message, system="store", call="upgrade")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
