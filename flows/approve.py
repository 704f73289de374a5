"""Approve or reject: a person agrees to a plan that the brake holds, or does not."""

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
from blocks.store.audit import Actor
from flows.cycle import the_store
from tasks.mirroring.approval import decide


@flow(name="approve_or_reject", flow_run_name="{decision} plan {plan}", persist_result=False)
async def approve_or_reject(
    plan: int,
    decision: Literal["approve", "reject"],
    your_name: Annotated[str, Field(min_length=1)],
    reason: str = "",
) -> State[Any]:
    """Let a plan go that the brake holds, or not: once, and before its deadline.

    Args:
        plan: The plan's number, as its report and its signal give it.
        decision: approve writes exactly this plan, in a new run of its mirror; what no longer fits is planned anew.
            reject parks its writes, so that the same ones are not planned again.
        your_name: Who decides. It goes into the audit as it is typed.
        reason: Why. It goes into the audit.
    """
    try:
        database = await the_store()
        actor = Actor(your_name, str(flow_run.id or ""))
        row = await decide(database, plan, decision, actor, reason, datetime.now(UTC))
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    if decision == "reject":
        return Completed(message=f"plan {plan} is rejected: its writes are parked")
    started = await run_again(str(row["run"]))
    how = "its mirror runs now" if started else "its mirror's next cycle applies it"
    return Completed(message=f"plan {plan} is approved: {how}")


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
