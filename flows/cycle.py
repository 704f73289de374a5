"""What the flows over a mirror share: the store, the lock, how a run ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.contracts import IncidentSystem
from blocks.errors import Busy, LockstepError, Misconfigured
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database, Store
from blocks.store.locks import hold
from tasks.incidents import Turn
from tasks.mirroring.mirror import Mirroring
from tasks.reports import leave, summary
from tasks.signals import say_failed, say_what_happened

STORE = "main"
WAIT = 60.0
"""Seconds that a run waits for the one before it."""


async def the_store() -> Database:
    """This installation's store, opened: the block `lockstep-store/main`. Misconfigured if there is none."""
    try:
        store: Store = await Store.aload(STORE)
    except ValueError:
        message = (
            f"there is no block {Store.get_block_type_slug()}/{STORE}: `make run` makes it, or add it under Blocks "
            "with the address of your store"
        )
        raise Misconfigured(message, system="store", call="open") from None
    return await store.open()


@asynccontextmanager
async def turn_of(
    database: Database,
    system: IncidentSystem,
    mirror: str,
    *,
    intake: Intake,
    rules: Rules,
    limits: Limits | None = None,
    quiet: bool = False,
) -> AsyncIterator[Turn]:
    """One cycle's turn, under the mirror's lock. `system` is open.

    Raises:
        Busy: another run had the lock for a minute.
        Misconfigured: the mirror's name is bound to another system, or the rules ask for what it cannot do.
    """
    async with hold(database, f"mirror:{system.fingerprint()}", wait=WAIT) as lock:
        run = str(flow_run.id or "")
        m = await Mirroring.open(database, system, mirror, rules=rules, intake=intake, limits=limits, run=run)
        yield Turn(m, lock, quiet=quiet)


async def conclude(turn: Turn) -> str:
    """Leave the artifact and emit the signals of a cycle that did something; answers the summary."""
    await say_what_happened(turn)
    await leave(turn)
    return summary(turn.m.tally)


def ended(words: str, counts: dict[str, int]) -> State[Any]:
    """The end of a run that did what it should."""
    return Completed(message=words, data=counts)


def busy(error: Busy) -> State[Any]:
    """The end of a run whose turn did not come: another does the work."""
    return Completed(name="Busy", message=str(error), data={})


async def failed(mirror: str, system: IncidentSystem, error: LockstepError) -> State[Any]:
    """The end of a run in the error's words; says so to automations."""
    await say_failed(mirror, system, error)
    return Failed(message=str(error), data=error)
