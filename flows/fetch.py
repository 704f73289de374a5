"""Fetch: a system's incidents become ours."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.incidents import AnyIncidentSystem
from blocks.rules import Intake, Rules
from flows.cycle import one_turn, take_sample
from tasks.incidents import Turn

INTAKE, RULES = Intake(), Rules()


@flow(name="fetch_incidents", flow_run_name="fetch {mirror}", persist_result=False)
async def fetch_incidents(
    mirror: str,
    system: AnyIncidentSystem,
    intake: Intake = INTAKE,
    rules: Rules = RULES,
    sample: bool = False,  # noqa: FBT001, FBT002  a form's switch
) -> State[Any]:
    """Bring a system's incidents into the store: new ones, and what changed in those it has.

    Args:
        mirror: A name of yours for this connection. It stays bound to the system it is first used with, so that a test
            system can never be mixed with the production one.
        system: Where the incidents live. Add it under Blocks first.
        intake: Which incidents to take, from when on, and as which type. Reading again never makes a duplicate.
        rules: What is read of each incident: comments, files and further fields. Nothing is written to the system.
        sample: Read one page and only show what would become of each record. Nothing is stored.
    """
    if sample:
        return await take_sample(system, mirror, intake=intake, rules=rules)
    return await one_turn(system, mirror, Turn.pull, intake=intake, rules=rules)
