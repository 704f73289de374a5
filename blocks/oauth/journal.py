"""The journal of a grant: its row in the store, in the lock's own database.

A note names the refresh token that is about to be presented, and until when that request may arrive. The new pair takes
its place in the same row. A note without a newer pair: the answer may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import LockLost
from blocks.oauth.pairs import Held, State, from_json
from blocks.store import Database
from blocks.store.crypto import keys
from blocks.store.tables import Grant, table_of

GRANT: Final = table_of(Grant)


@dataclass(frozen=True, slots=True)
class Note:
    """Which refresh token was about to be presented, by its mark; until when its request may arrive (epoch seconds)."""

    names: str
    until: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A grant's row. `published`: the generation that the document is known to have."""

    held: Held
    note: Note | None = None
    error: str = ""
    told: str = ""
    published: int = 0


async def read(database: Database, name: str) -> Entry | None:
    """The row of this grant. Misconfigured: it was written under a key that is not here."""
    async with database.read() as connection:
        return await _read(connection, name)


async def _read(connection: AsyncConnection, name: str) -> Entry | None:
    row = (await connection.execute(select(GRANT).where(GRANT.c.name == name))).mappings().first()
    return None if row is None else _entry(row)


async def names(database: Database) -> list[str]:
    """The names of all grants; their rows are read one by one, as one may be under a key that is not here."""
    async with database.read() as connection:
        return list((await connection.execute(select(GRANT.c.name).order_by(GRANT.c.name))).scalars())


async def head(database: Database, name: str) -> tuple[int, str]:
    """A row's generation, and what a person was told of it: what can be read without a key."""
    async with database.read() as connection:
        row = (await connection.execute(select(GRANT.c.generation, GRANT.c.told).where(GRANT.c.name == name))).first()
    return (row.generation, row.told) if row else (0, "")


async def note(database: Database, name: str, new: Note | None) -> None:
    """Write a note, put an older one back, or clear it."""
    values = {"noted": "" if new is None else new.names, "noted_until": None if new is None else _time(new.until)}
    async with database.begin("grant note") as connection:
        await connection.execute(update(GRANT).where(GRANT.c.name == name).values(values))


async def record(database: Database, name: str, held: Held, error: str = "") -> None:
    """Keep what is held now; a note is over with it. May be done twice.

    Raises:
        LockLost: something newer is there already: somebody else had the lock meanwhile.
    """
    token = keys().encrypt(held.to_json())
    values: dict[str, Any] = {
        "generation": held.generation,
        "state": held.state,
        "held": token,
        "expires": _time(held.pair.expires) if held.pair else None,
        "ages": _time(held.pair.ages) if held.pair and held.pair.ages else None,
        "noted": "",
        "noted_until": None,
        "error": error,
    }
    insert = (sqlite if database.sqlite else postgresql).insert(GRANT).values(name=name, told="", published=0, **values)
    newer = insert.on_conflict_do_update(
        index_elements=[GRANT.c.name], set_=values, where=GRANT.c.generation < held.generation
    )
    async with database.begin("grant pair") as connection:
        written = (await connection.execute(newer)).rowcount
        there = None if written else await _read(connection, name)
        if there is not None and there.held != held:
            message = "another process has renewed it meanwhile, though we had its lock"
            raise LockLost(message, system=name, call="token")


async def published(database: Database, name: str, generation: int) -> None:
    """Remember that the document has this generation."""
    async with database.begin("grant published") as connection:
        await connection.execute(update(GRANT).where(GRANT.c.name == name).values(published=generation))


async def told(database: Database, name: str, words: str) -> None:
    """Remember what a person was told of it."""
    async with database.begin("grant told") as connection:
        await connection.execute(update(GRANT).where(GRANT.c.name == name).values(told=words))


async def remove(database: Database, name: str) -> bool:
    """Delete a grant's row; whether there was one."""
    async with database.begin("grant removed") as connection:
        return bool((await connection.execute(delete(GRANT).where(GRANT.c.name == name))).rowcount)


def _entry(row: Any) -> Entry:  # noqa: ANN401  a row's mapping
    state: State = row["state"]
    held = from_json(keys().decrypt(row["held"])) or Held(row["generation"], state)
    until = row["noted_until"]
    noted = Note(row["noted"], until.timestamp()) if row["noted"] and until else None
    return Entry(held, noted, row["error"], row["told"], row["published"])


def _time(seconds: float) -> datetime:
    """Within the years that databases know."""
    return datetime.fromtimestamp(max(0.0, min(seconds, 253370764800.0)), UTC)
