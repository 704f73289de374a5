"""What keeps a mirror from working, remembered between runs, so that a person is told once."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from blocks.store import Database
from blocks.store.tables import Setting, table_of

SETTING = table_of(Setting)


async def remember(database: Database, mirror: str, kind: str) -> bool:
    """Remember the kind of error that a run of this mirror met; answers whether it is news."""
    mine = SETTING.c.name == _name(mirror)
    async with database.begin("trouble") as connection:
        before = (await connection.execute(select(SETTING.c.value).where(mine))).scalar()
        if before is None:
            await connection.execute(insert(SETTING).values(name=_name(mirror), value=kind))
        elif before != kind:
            await connection.execute(update(SETTING).where(mine).values(value=kind))
    return before != kind


async def forget(database: Database, mirror: str) -> bool:
    """The mirror works; answers whether it did not before."""
    mine = SETTING.c.name == _name(mirror)
    async with database.read() as connection:
        if (await connection.execute(select(SETTING.c.value).where(mine))).scalar() is None:
            return False
    async with database.begin("trouble over") as connection:
        await connection.execute(delete(SETTING).where(mine))
    return True


def _name(mirror: str) -> str:
    return f"trouble: {mirror}"
