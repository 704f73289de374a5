"""Fetch: a system's incidents become ours."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.errors import Busy, LockstepError
from blocks.incidents import AnyIncidentSystem
from blocks.rules import Intake, Rules
from flows.cycle import busy, conclude, ended, failed, the_store, turn_of

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
        intake: Which incidents to take, from when on, and as which type. Reading the same again never makes a duplicate.
        rules: What is read of each incident: comments, files and further fields. Nothing is written to the system.
        sample: Read one page and only show what would become of each record. Nothing is stored.
    """
    async with system:
        try:
            database = await the_store()
            async with turn_of(database, system, mirror, intake=intake, rules=rules) as turn:
                await turn.pull()
                return ended(await conclude(turn), dict(turn.m.tally.counts))
        except Busy as error:
            return busy(error)
        except LockstepError as error:
            return await failed(mirror, system, error)
