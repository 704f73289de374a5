"""What the flows over a mirror share: the store, the turn under the lock, what a cycle leaves, how a run ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from blocks.contracts import IncidentSystem
from blocks.errors import Busy, LockstepError
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.block import the_store
from blocks.store.locks import hold
from tasks.incidents import Turn
from tasks.mirroring.facts import gather_facts, incidents_of
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import waiting_plan
from tasks.mirroring.sample import sample
from tasks.mirroring.trouble import forget, remember
from tasks.reports import cycle_report, did_something, key_of, leave, sample_report, summary
from tasks.signals import emit, named, of_cycle, of_failure, of_incidents, of_waiting

WAIT = 60.0
"""Seconds that a run waits for the one before it."""


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
    async with hold(database, lock_name(system), wait=WAIT) as lock:
        run = str(flow_run.id or "")
        m = await Mirroring.open(database, system, mirror, rules=rules, intake=intake, limits=limits, run=run)
        yield Turn(m, mirror, lock, quiet=quiet)


def lock_name(system: IncidentSystem) -> str:
    """The lock under which one cycle at a time runs."""
    return lock_of(system.fingerprint())


def lock_of(fingerprint: str) -> str:
    """The same, by the system's fingerprint."""
    return f"mirror:{fingerprint}"


async def told(turn: Turn, work: Awaitable[None]) -> str:
    """Do a turn's work and tell of it, also of what was done before an error; answers the summary."""
    try:
        await work
    except LockstepError:
        await _tell(turn)
        raise
    return await _tell(turn)


async def _tell(turn: Turn) -> str:
    m, mirror = turn.m, turn.mirror
    held = None if turn.quiet else await waiting_plan(m)
    waiting = f"; plan {held[0]} waits for approval" if held and held[1] == "held" else ""
    if not (turn.planned or did_something(m.tally)):
        return summary(m.tally) + waiting
    facts = await gather_facts(m, turn.shown)
    if did_something(m.tally) or facts.plan is not None:
        kinds = {} if turn.first_fetch else named(m.tally)
        emit([
            *of_incidents(mirror, turn.system, kinds, await incidents_of(m, list(kinds))),
            *of_cycle(mirror, turn.system, m.tally, first_fetch=turn.first_fetch),
            *of_waiting(m, mirror, facts),
        ])  # fmt: skip
        report = cycle_report(mirror, m.system, m.tally, facts)
        await leave(report, key_of("mirror", mirror), summary(m.tally, facts))
    return summary(m.tally, facts) + (waiting if turn.shown is None else "")


async def one_turn(
    system: IncidentSystem,
    mirror: str,
    work: Callable[[Turn], Awaitable[None]],
    *,
    intake: Intake,
    rules: Rules,
    limits: Limits | None = None,
) -> State[Any]:
    """Do one turn's work; answers how the run ends."""

    async def one(database: Database) -> tuple[str, Counter[str]]:
        async with turn_of(database, system, mirror, intake=intake, rules=rules, limits=limits) as turn:
            return await told(turn, work(turn)), turn.m.tally.counts

    return await ended(system, mirror, one)


async def ended(
    system: IncidentSystem, mirror: str, work: Callable[[Database], Awaitable[tuple[str, Counter[str]]]]
) -> State[Any]:
    """Do a mirror's work; answers how the run ends: Completed with its counts, Busy, or Failed in the error's words."""
    database = None
    try:
        database = await the_store()
        async with system:
            words, counts = await work(database)
        await forget(database, mirror)
    except Busy as error:
        return Completed(name="Busy", message=str(error), data={})
    except LockstepError as error:
        await tell_failure(mirror, system, error, database)
        return Failed(message=str(error), data=error)
    return Completed(message=words, data=dict(counts))


async def tell_failure(mirror: str, system: IncidentSystem, error: LockstepError, database: Database | None) -> None:
    """Emit that a run failed. A person is told once for each kind of error, until the mirror works again."""
    new = database is None or await remember(database, mirror, type(error).__name__)
    emit(of_failure(mirror, system.fingerprint(), error, new=new))


async def take_sample(system: IncidentSystem, mirror: str, *, intake: Intake, rules: Rules) -> State[Any]:
    """Read one page and show what would become of each record."""
    try:
        database = await the_store()
        async with system:
            found = await sample(database, system, intake, rules)
            await leave(sample_report(system, found), key_of("sample", mirror), f"sample of {system.fingerprint()}")
    except LockstepError as error:
        return Failed(message=str(error), data=error)
    return Completed(message=f"{len(found.outcomes)} records read, nothing stored", data={})
