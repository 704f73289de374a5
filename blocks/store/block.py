"""The store, as a block: one secret address, and the database behind it."""

import asyncio
import os
import secrets
import ssl
from asyncio import AbstractEventLoop
from pathlib import Path

import asyncpg
from prefect.blocks.core import Block
from pydantic import Field, SecretStr
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from blocks.errors import LockstepError, Misconfigured, Unauthorized, Unavailable
from blocks.store import migrations
from blocks.store.database import Database

COUNTERS = ("system", "incident", "entry", "link", "plan", "intent", "parked", "cache")
MAIN = "main"
"""The installation's store is the block of this name."""

PATIENCE = 180.0
"""Seconds that opening may take, an upgrade by another process included."""

_ASYNC = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_SETTINGS = frozenset({"3D000", "42501", "25006"})
"""PostgreSQL's states: no such database, no permission, read-only."""

_FAILURES = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_FORMS = "sqlite:///~/.lockstep/lockstep.db, or postgresql://user:password@host/database"


class Store(Block):
    """Our own incidents, in SQLite or PostgreSQL: one side of every mirror."""

    _block_type_name = "Lockstep Store"
    _block_type_slug = "lockstep-store"
    _description = "Where Lockstep keeps its incidents: one side of every mirror."

    url: SecretStr = Field(
        title="Address",
        description="sqlite:///~/.lockstep/lockstep.db, or postgresql://user:password@host/database. "
        "A SQLite file is made if it is not there.",
    )

    async def open(self) -> Database:
        """The database, its schema up to date; opened once for each process and event loop.

        Raises:
            Misconfigured: the address cannot be used; says why, without the password.
            Unauthorized: the database refuses the login.
            Unavailable: it does not answer.
            Busy: another process is still upgrading its schema after two minutes.
        """
        loop, url = asyncio.get_running_loop(), address(self.url.get_secret_value())
        _forget_closed_loops()
        key = (url, loop)
        async with _turns.setdefault(loop, asyncio.Lock()):
            if key not in _databases:
                _databases[key] = await _opened(url)
            return _databases[key]


async def the_store() -> Database:
    """This installation's store, opened: the block `lockstep-store/main`. Misconfigured if there is none."""
    try:
        store: Store = await Store.aload(MAIN)
    except ValueError:
        message = (
            f"there is no block {Store.get_block_type_slug()}/{MAIN}: `make run` makes it, or add it under Blocks "
            "with the address of your store"
        )
        raise Misconfigured(message, system="store", call="open") from None
    return await store.open()


_databases: dict[tuple[URL, AbstractEventLoop], Database] = {}
_turns: dict[AbstractEventLoop, asyncio.Lock] = {}


def _forget_closed_loops() -> None:
    for url, loop in list(_databases):
        if loop.is_closed() and (database := _databases.pop((url, loop), None)):
            database.engine.sync_engine.dispose(close=False)
            if database.file is not None:
                database.file.forget()
    for loop in [loop for loop in _turns if loop.is_closed()]:
        _turns.pop(loop, None)


def address(url: str) -> URL:
    """The address for an async driver. Misconfigured says what is wrong, and never repeats it."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _misconfigured(f"the address cannot be read: write {_FORMS}") from None
    if parsed.drivername not in _ASYNC:
        raise _misconfigured(f"'{parsed.drivername}' is not supported: write {_FORMS}")
    parsed = parsed.set(drivername=_ASYNC[parsed.drivername])
    return _file(parsed) if parsed.get_backend_name() == "sqlite" else _server(parsed)


def _file(url: URL) -> URL:
    path = Path(url.database or "").expanduser()
    if not path.is_absolute() or "mode" in url.query:
        raise _misconfigured(f"a SQLite store is a file with an absolute path, or one with ~: write {_FORMS}")
    return url.set(database=str(path))


def _server(url: URL) -> URL:
    if "sslmode" not in url.query:
        return url
    # The same setting, as asyncpg calls it.
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})


async def _opened(url: URL) -> Database:
    if url.get_backend_name() == "sqlite":
        _make_file(Path(url.database or ""))
    database = Database(url.render_as_string(hide_password=False))
    try:
        async with asyncio.timeout(PATIENCE):
            await migrations.upgrade(database)
            database.id = await _identity(database)
    except BaseException as error:
        await database.close()
        if isinstance(error, _FAILURES) or _is_setting(error):
            raise _in_words(error, url) from None
        raise
    return database


def _is_setting(error: BaseException) -> bool:
    # How asyncpg says that it does not know a setting of the address.
    return isinstance(error, TypeError) and "unexpected keyword argument" in str(error)


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise _misconfigured(f"the file {path} cannot be written: {error.strerror}") from None


async def _identity(database: Database) -> str:
    async with database.read() as connection:
        found = (await connection.execute(_ID)).scalar()
        counters = set((await connection.execute(text("SELECT name FROM counter"))).scalars())
    missing = [name for name in COUNTERS if name not in counters]
    if found is None or missing:
        async with database.begin("identity") as connection:
            await connection.execute(_MAKE_ID, {"id": secrets.token_hex(4)})
            for name in missing:
                await connection.execute(_MAKE_COUNTER, {"name": name})
            found = (await connection.execute(_ID)).scalar_one()
    return str(found)


def _in_words(error: BaseException, url: URL) -> LockstepError:
    sqlite = url.get_backend_name() == "sqlite"
    where = url.database if sqlite else f"{url.host or url.query.get('host')}/{url.database}"
    cause = (error.orig and error.orig.__cause__) or error.orig if isinstance(error, DBAPIError) else error
    state, name = str(getattr(cause, "sqlstate", "") or ""), type(cause).__name__
    if state.startswith("28") or isinstance(cause, ssl.SSLCertVerificationError):
        message = f"the database {where} refuses the login, or its certificate is wrong ({name})"
        return Unauthorized(message, system="store", call="open")
    if state in _SETTINGS or isinstance(cause, (TypeError, asyncpg.InterfaceError)):
        return _misconfigured(f"the database {where} cannot be used: {cause}")
    if sqlite and "locked" not in str(cause):
        return _misconfigured(f"the database {where} cannot be used: {cause}")
    return Unavailable(f"the database {where} does not answer ({name})", system="store", call="open")


def _misconfigured(message: str) -> Misconfigured:
    return Misconfigured(message, system="store", call="open")


_ID = text("SELECT value FROM setting WHERE name = 'id'")
_MAKE_ID = text("INSERT INTO setting (name, value) VALUES ('id', :id) ON CONFLICT DO NOTHING")
_MAKE_COUNTER = text("INSERT INTO counter (name, value) VALUES (:name, 0) ON CONFLICT DO NOTHING")
