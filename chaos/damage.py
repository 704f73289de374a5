"""What happens to a store that was restored: one side is not what the bases say, and nobody was told."""

from __future__ import annotations

from random import Random

from sqlalchemy import select, update

from blocks.model import SEVERITIES
from blocks.store import Database
from blocks.store.links import CLEAN, INCIDENT, LINK, rows_of


async def drift(database: Database, system_id: int, dice: Random) -> None:
    """Give an incident that is in step another severity, here and in its base, without a trace: only reconcile sees it.

    Under the mirror's lock.
    """
    clean = (LINK.c.system_id == system_id, LINK.c.state == "linked", LINK.c.dirty == CLEAN)
    async with database.begin("damage") as connection:
        rows = await rows_of(connection, select(LINK.c.id, LINK.c.incident_id, LINK.c.base_store).where(*clean))
        row = dice.choice(rows) if rows else None
        if row is None or "severity" not in (row["base_store"] or {}):
            return
        severity = dice.choice(SEVERITIES)
        await connection.execute(update(INCIDENT).where(INCIDENT.c.id == row["incident_id"]).values(severity=severity))
        base = {**row["base_store"], "severity": severity}
        await connection.execute(update(LINK).where(LINK.c.id == row["id"]).values(base_store=base))
