"""What waits for a person's agreement: plans and reports, in one sequence of numbers."""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import select

from blocks.errors import Refused
from blocks.store import Database
from tasks.mirroring.plan import PLAN
from tasks.reporting.keep import REPORT

Kind = Literal["plan", "report"]
TABLES: Final = (("plan", PLAN, "held"), ("report", REPORT, "waiting"))
"""What it is, its table, its state while it waits. One counter gives their numbers, so that each means one thing."""


async def kind_of(database: Database, number: int) -> Kind:
    """What this number is of, whether it still waits or not. Refused: of nothing; lists what waits."""
    async with database.read() as connection:
        for kind, table, _ in TABLES:
            if (await connection.execute(select(table.c.id).where(table.c.id == number))).first() is not None:
                return "plan" if kind == "plan" else "report"
        waits = []
        for kind, table, state in TABLES:
            ids = await connection.execute(select(table.c.id).where(table.c.state == state).order_by(table.c.id))
            waits += [f"{kind} {one}" for one in ids.scalars()]
    message = f"nothing has the number {number}. What waits: {', '.join(waits) or 'nothing'}"
    raise Refused(message, system="store", call="decide")
