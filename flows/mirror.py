"""Mirror: a system's incidents and ours are kept in step, both ways."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.contracts import IncidentSystem
from blocks.errors import Busy, LockstepError
from blocks.incidents import AnyIncidentSystem
from blocks.rules import Intake, Limits, Rules
from flows.cycle import busy, conclude, ended, failed, the_store, turn_of
from tasks.mirroring.cycle import cycle

INTAKE, RULES, LIMITS = Intake(), Rules(), Limits()


@flow(name="mirror_incidents", flow_run_name="mirror {mirror}", persist_result=False)
async def mirror_incidents(
    mirror: str,
    system: AnyIncidentSystem,
    intake: Intake = INTAKE,
    rules: Rules = RULES,
    limits: Limits = LIMITS,
    every_seconds: Annotated[int, Field(ge=0, le=86400)] = 0,
    dry_run: bool = False,  # noqa: FBT001, FBT002  a form's switch
    incidents: list[int] = [],  # noqa: B006  never changed; a form's list
) -> State[Any]:
    """Keep a system's incidents and the store's in step, both ways.

    Args:
        mirror: A name of yours for this connection. It stays bound to the system it is first used with, so that a test
            system can never be mixed with the production one.
        system: Where the incidents live. Add it under Blocks first.
        intake: Which incidents to take, from when on, and as which type. Reading the same again never makes a duplicate.
        rules: For each field: which way it travels, and who wins when both sides changed it.
        limits: The brake. A plan beyond these limits waits until a person approves it.
        every_seconds: 0 mirrors once. Otherwise the run goes on for ever and looks each so many seconds: leave the
            schedule off then, and give the deployment the tag long-running.
        dry_run: Show what would be written, and write nothing to the system.
        incidents: Only these incidents of the store, by number, now. Empty: all that changed.
    """
    async with system:
        try:
            database = await the_store()
            async with turn_of(database, system, mirror, intake=intake, rules=rules, limits=limits) as turn:
                await cycle(turn.m, dry=dry_run, only=incidents or None, steps=turn)
                return ended(await conclude(turn), dict(turn.m.tally.counts))
        except Busy as error:
            return busy(error)
        except LockstepError as error:
            return await failed(mirror, system, error)
