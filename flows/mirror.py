"""Mirror: a system's incidents and ours are kept in step, both ways."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Never

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.contracts import IncidentSystem
from blocks.errors import Busy, LockstepError
from blocks.incidents import AnyIncidentSystem
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.block import the_store
from flows.cycle import one_turn, told, turn_of
from flows.forever import forever
from flows.patience import Patience, again, forget_results
from tasks.incidents import Turn
from tasks.mirroring.cycle import cycle
from tasks.reports import did_something

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
        intake: Which incidents to take, from when on, and as which type. Reading again never makes a duplicate.
        rules: For each field, which way it travels, and who wins when both sides changed it.
        limits: The brake. A plan beyond these limits waits until a person approves it.
        every_seconds: 0 mirrors once. Otherwise the run goes on for ever and looks each so many seconds. Leave the
            schedule off then, and give the deployment the tag long-running.
        dry_run: Show what would be written, and write nothing to the system.
        incidents: Only these incidents of the store, by number, now. Empty means all that changed.
    """

    async def work(turn: Turn) -> None:
        await cycle(turn.m, dry=dry_run, only=incidents or None, steps=turn)

    if not every_seconds:
        return await one_turn(system, mirror, work, intake=intake, rules=rules, limits=limits)
    try:
        database = await the_store()
        async with forever(database):
            await _go_on(database, system, mirror, work, every_seconds, intake, rules, limits)
    except Busy:
        return Completed(name="AlreadyRunning", message="another run of this deployment goes on already", data={})
    except LockstepError as error:
        return Failed(message=str(error), data=error)


async def _go_on(
    database: Database,
    system: IncidentSystem,
    mirror: str,
    work: Callable[[Turn], Awaitable[None]],
    every_seconds: int,
    intake: Intake,
    rules: Rules,
    limits: Limits,
) -> Never:
    """Mirror until the run is cancelled; trouble with the system is waited for."""
    patience = Patience(mirror, database)
    while True:
        try:
            async with system:
                while True:
                    async with turn_of(
                        database, system, mirror, intake=intake, rules=rules, limits=limits, quiet=True
                    ) as turn:
                        words = await told(turn, work(turn))
                    await patience.over()
                    if did_something(turn.m.tally):
                        get_run_logger().info("%s", words)
                    forget_results()
                    await asyncio.sleep(every_seconds)
        except LockstepError as error:
            await asyncio.sleep(await patience.met(system, error))
            system = await again(system)
