"""A person agrees that a report is published, or has it deleted: once, and before its deadline."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Refused
from blocks.store import Database
from blocks.store.audit import Act, Actor, record
from blocks.store.links import Row, rows_of
from tasks.reporting.keep import REPORT, cache_of, file_names

Decision = Literal["approve", "reject"]
STATES: Final = {"approve": "approved", "reject": "rejected"}
TO_PUBLISH: Final = timedelta(days=7)
"""How long an approved report is kept whose target cannot be written."""


async def decide_report(
    database: Database, number: int, decision: Decision, actor: Actor, reason: str, now: datetime
) -> Row:
    """Record the decision; answers the report. A rejected one is deleted in the same commit.

    One that was approved and never published, as its target could not be written or the process died, is answered
    again: whoever approves now has it published, and the first one's name stays.

    Raises:
        Refused: there is no such report, it waits for nobody, or its deadline is over: then it is deleted.
    """
    async with database.begin("report decision") as connection:
        row = next(iter(await rows_of(connection, select(REPORT).where(REPORT.c.id == number))), None)
        late = row is not None and row["state"] == "waiting" and row["deadline"] < now
        if row is not None and late:
            await _delete(database, connection, row, now, state="expired")
        elif row is not None and row["state"] == "waiting":
            row = await _decided(database, connection, row, decision, actor, reason, now)
        elif row is None or row["state"] != "approved" or decision != "approve":
            raise _refused(number, row)
    if late:
        raise _refused(number, row)
    return row


async def _decided(
    database: Database,
    connection: AsyncConnection,
    row: Row,
    decision: Decision,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Row:
    values = {"state": STATES[decision], "decided_by": actor.name, "decided_why": reason}
    if decision == "approve":
        await cache_of(database, now).extend(connection, file_names(row), TO_PUBLISH)
        await connection.execute(update(REPORT).where(REPORT.c.id == row["id"]).values(**values))
    else:
        await _delete(database, connection, row, now, **values)
    act = Act(f"{STATES[decision]} report", None, {"report": (None, row["id"]), "why": (None, reason)})
    await record(database, connection, [act], actor, now)
    return {**row, **values}


async def _delete(database: Database, connection: AsyncConnection, row: Row, now: datetime, **values: str) -> None:
    await cache_of(database, now).forget(connection, file_names(row))
    await connection.execute(update(REPORT).where(REPORT.c.id == row["id"]).values(facts=None, **values))


def _refused(number: int, row: Row | None) -> Refused:
    if row is None:
        words = "there is no such report"
    elif row["state"] == "waiting":
        words = f"its deadline was {row['deadline']:%Y-%m-%d %H:%M} UTC, and it is deleted: make it anew"
    else:
        by = f" by {row['decided_by']}" if row["decided_by"] else ""
        words = f"it does not wait for a decision: it is {row['state']}{by}"
    return Refused(f"report {number}: {words}", system="store", call="decide")
