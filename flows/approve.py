"""Approve or reject: a person agrees to a plan that the brake holds, or to a report that waits, or does not."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect import flow, get_client
from prefect.client.schemas.objects import State
from prefect.deployments.flow_runs import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.errors import LockstepError
from blocks.store import Database
from blocks.store.audit import Actor
from blocks.store.block import the_store
from tasks.approvals import kind_of
from tasks.mirroring.approval import Decision, decide
from tasks.reporting.decide import decide_report
from tasks.reporting.publish import publish


@flow(name="approve_or_reject", flow_run_name="{decision} {number}", persist_result=False)
async def approve_or_reject(
    number: int,
    decision: Literal["approve", "reject"],
    your_name: Annotated[str, Field(min_length=1)],
    reason: str = "",
) -> State[Any]:
    """Let go what waits for a person, or not: a plan that the brake holds, or a report. Once, before its deadline.

    Args:
        number: The number of the plan or the report, as its artifact and its signal give it.
        decision: For a plan, approve writes exactly this plan, in a new run of its mirror, and what no longer fits is
            planned anew; reject parks its writes, so that the same ones are not planned again. For a report, approve
            publishes it and reject deletes it.
        your_name: Who decides. It goes into the audit as it is typed.
        reason: Why. It goes into the audit.
    """
    try:
        database = await the_store()
        decided = DECIDED[await kind_of(database, number)]
        words = await decided(database, number, decision, Actor(your_name, str(flow_run.id or "")), reason)
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=words)


async def _plan(database: Database, number: int, decision: Decision, actor: Actor, reason: str) -> str:
    row = await decide(database, number, decision, actor, reason, datetime.now(UTC))
    if decision == "reject":
        return f"plan {number} is rejected: its writes are parked"
    started = await run_again(str(row["run"]))
    how = "its mirror runs now" if started else "its mirror's next cycle applies it"
    return f"plan {number} is approved: {how}"


async def _report(database: Database, number: int, decision: Decision, actor: Actor, reason: str) -> str:
    await decide_report(database, number, decision, actor, reason, datetime.now(UTC))
    if decision == "reject":
        return f"report {number} is rejected and deleted"
    places = await publish(database, number, lambda: datetime.now(UTC))
    return f"report {number} is approved and published: {', '.join(places)}"


DECIDED = {"plan": _plan, "report": _report}


async def run_again(run: str) -> bool:
    """Run the deployment that made a plan, as that run was; not where it goes on for ever, or where there is none."""
    if not run:
        return False
    try:
        async with get_client() as client:
            made = await client.read_flow_run(UUID(run))
        if made.deployment_id is None or made.parameters.get("every_seconds"):
            return False
        await arun_deployment(made.deployment_id, parameters=made.parameters, timeout=0, as_subflow=False)
    except ObjectNotFound:
        # The run was cleaned away, or its deployment deleted.
        return False
    return True
