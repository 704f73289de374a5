"""Everything that is encrypted, written again under the first of LOCKSTEP_KEYS, so that the older ones can go."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, LargeBinary, bindparam, func, select, update

from blocks.errors import Misconfigured
from blocks.store.crypto import LONG, Keys, keys
from blocks.store.database import Database
from blocks.store.tables import CacheItem, Grant, Table, table_of

ENCRYPTED: Final[tuple[tuple[type[Table], str], ...]] = ((CacheItem, "value"), (Grant, "held"))
"""Every column that holds a token of `blocks.store.crypto`. An empty one holds nothing."""

BATCH: Final = 20
"""Rows of a commit: a value has 16 MiB at most."""


async def rekey(database: Database) -> tuple[int, int]:
    """Encrypt again, a batch at a time; answers how many values were, and how many cannot be, as their key is missing.

    What is written meanwhile is under the first key already. May be run again at any time.
    """
    own, done, lost = keys(), 0, 0
    for table, column in ENCRYPTED:
        more, without = await _rekey(database, own, table, column)
        done, lost = done + more, lost + without
    return done, lost


async def _rekey(database: Database, own: Keys, model: type[Table], name: str) -> tuple[int, int]:
    table = table_of(model)
    token, key = table.c[name], list(table.primary_key.columns)
    beginning: ColumnElement[bytes] = func.substr(token, 1, LONG, type_=LargeBinary)
    older = (func.length(token) > 0, beginning != own.first)
    one = [column == bindparam(f"key_{column.name}") for column in key]
    write = update(table).where(*one, token == bindparam("before")).values({name: bindparam("after")})
    done, lost = 0, 0
    while True:
        async with database.begin("rekey") as connection:
            # What cannot be read stays, and is stepped over: rows have no order of their own, their keys have.
            query = select(*key, token).where(*older).order_by(*key).limit(BATCH).offset(lost)
            rows = list(await connection.execute(query))
            for row in rows:
                after = _again(own, row[-1])
                if after is None:
                    lost += 1
                    continue
                where = {f"key_{column.name}": value for column, value in zip(key, row[:-1], strict=True)}
                done += (await connection.execute(write, {**where, "before": row[-1], "after": after})).rowcount
        if not rows:
            return done, lost


def _again(own: Keys, token: bytes) -> bytes | None:
    try:
        return own.encrypt(own.decrypt(token))
    except Misconfigured:
        return None
