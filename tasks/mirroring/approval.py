"""A person agrees to a plan that the brake holds, or does not: once, and before its deadline."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from blocks.errors import Refused
from blocks.store import Database
from blocks.store.audit import Act, Actor, record
from blocks.store.links import CHUNK, CLEAN, DIRTY, LINK, Row, mark, park, rows_by, rows_of
from tasks.mirroring.answers import PLAN_LINE
from tasks.mirroring.plan import PLAN

Decision = Literal["approve", "reject"]
STATES = {"approve": "approved", "reject": "rejected"}


async def decide(database: Database, plan_id: int, decision: Decision, actor: Actor, reason: str, now: datetime) -> Row:
    """Record the decision; answers the plan. An approved plan is applied by the next cycle, before anything else.

    What is rejected is parked, so that the same write is not planned again; another value is another write.

    Raises:
        Refused: there is no such plan, it waits for nobody, or its deadline is over.
    """
    async with database.begin("decision") as connection:
        plan = next(iter(await rows_of(connection, select(PLAN).where(PLAN.c.id == plan_id))), None)
        if plan is None or plan["state"] != "held" or plan["deadline"] < now:
            raise await _refused(connection, plan_id, plan)
        values = {"state": STATES[decision], "decided_by": actor.name, "decided_why": reason}
        held = (PLAN.c.id == plan_id, PLAN.c.state == "held")
        if not (await connection.execute(update(PLAN).where(*held).values(**values))).rowcount:
            raise await _refused(connection, plan_id, plan)
        if decision == "approve":
            # What a person agreed to does not count against the brake afterwards.
            await connection.execute(update(PLAN_LINE).where(PLAN_LINE.c.plan_id == plan_id).values(kind="approved"))
        else:
            await _reject(database, connection, plan, f"rejected by {actor.name}: {reason}", now)
        act = Act(f"{STATES[decision]} plan", None, {"plan": (None, plan_id), "why": (None, reason)})
        await record(database, connection, [act], actor, now, system_id=plan["system_id"])
    return plan


async def _refused(connection: AsyncConnection, plan_id: int, plan: Row | None) -> Refused:
    held = await rows_of(connection, select(PLAN.c.id).where(PLAN.c.state == "held").order_by(PLAN.c.id))
    there = ", ".join(str(row["id"]) for row in held) or "none"
    if plan is None:
        words = "there is no such plan"
    elif plan["state"] != "held":
        by = f" by {plan['decided_by']}" if plan["decided_by"] else ""
        words = f"it does not wait for a decision: it is {plan['state']}{by}"
    else:
        words = f"its deadline was {plan['deadline']:%Y-%m-%d %H:%M} UTC; its writes are planned anew"
    return Refused(f"plan {plan_id}: {words}. Plans that wait: {there}", system="store", call="decide")


async def _reject(database: Database, connection: AsyncConnection, plan: Row, why: str, now: datetime) -> None:
    after = -1
    while True:
        wanted = (PLAN_LINE.c.plan_id == plan["id"], PLAN_LINE.c.n > after)
        lines = await rows_of(connection, select(PLAN_LINE).where(*wanted).order_by(PLAN_LINE.c.n).limit(CHUNK))
        if not lines:
            break
        after = lines[-1]["n"]
        links = {row["id"]: row for row in await rows_by(connection, select(LINK), LINK.c.id, _links(lines))}
        rows = [_parked(line, links[line["link_id"]], why, now) for line in lines if line["verb"] != "gone"]
        await park(database, connection, rows)
        await mark(connection, {row["link_id"] for row in rows}, dirty=DIRTY)
        # Without a reaction: ours stays as it is, and the link stays as it was found.
        gone = {line["link_id"] for line in lines if line["verb"] == "gone"}
        await mark(connection, gone, state="gone", dirty=CLEAN)
    await connection.execute(update(PLAN_LINE).where(PLAN_LINE.c.plan_id == plan["id"]).values(state="rejected"))


def _links(lines: list[Row]) -> set[int]:
    return {line["link_id"] for line in lines}


def _parked(line: Row, link: Row, why: str, now: datetime) -> dict[str, Any]:
    side = {"side": "store" if line["verb"] == "store" else "system"}
    return {
        "system_id": line["system_id"],
        "kind": "rejected",
        "remote_id": link["remote_id"] or "",
        "link_id": line["link_id"],
        "incident_id": line["incident_id"],
        "entry_id": line["entry_id"],
        "payload": {**({} if line["verb"] == "create" else side), "patch": line["patch"]},
        "error": f"plan {line['plan_id']}: {why}",
        "created": now,
    }
