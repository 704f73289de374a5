"""Reconcile: everything is read on both sides; what the feed missed and what changed rules left behind is mended."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from blocks.contracts import IncidentSystem
from blocks.errors import LockstepError
from blocks.incidents import AnyIncidentSystem
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.locks import hold
from flows.cycle import WAIT, ended, lock_name
from tasks.mirroring.facts import gather_facts, incidents_of
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.reconcile import first_what_was_approved
from tasks.mirroring.reconciling import Reconciling
from tasks.reconcile import Reconcile, compare_both, read_everything
from tasks.reconcile_report import reconcile_report, rows_of, words_of
from tasks.reports import did_something, key_of, leave, leave_table, summary
from tasks.signals import emit, named, of_cycle, of_incidents, of_reconcile, of_waiting

INTAKE, RULES, LIMITS = Intake(), Rules(), Limits()
PATIENCE = 900.0
"""Seconds that a reconcile which has begun waits for a cycle: a large plan is applied in one."""

LET_GO = 0.5
"""Seconds between two spells. A cycle that waits for the lock tries many times in them."""


@flow(name="reconcile_mirror", flow_run_name="reconcile {mirror}", persist_result=False)
async def reconcile_mirror(
    mirror: str,
    system: AnyIncidentSystem,
    intake: Intake = INTAKE,
    rules: Rules = RULES,
    limits: Limits = LIMITS,
    dry_run: bool = True,  # noqa: FBT001, FBT002  a form's switch
) -> State[Any]:
    """Read everything on both sides, show what is not in step, and mend it under the same rules and brake as a cycle.

    Args:
        mirror: The mirror's name, as in its own deployment.
        system: Its system, as in its own deployment.
        intake: The same values as in the mirror's own deployment. Others are refused.
        rules: The same values as in the mirror's own deployment. Others are refused.
        limits: The brake. A plan beyond these limits waits until a person approves it.
        dry_run: Show what was found and what would be written, and change nothing.
    """

    async def work(database: Database) -> tuple[str, Counter[str]]:
        async with hold(database, f"reconcile:{system.fingerprint()}"):
            turn = await _begin(database, system, mirror, intake, rules, limits, dry=dry_run)
            return await _told(turn, _work(turn))

    return await ended(system, mirror, work)


async def _begin(
    database: Database, system: IncidentSystem, mirror: str, intake: Intake, rules: Rules, limits: Limits, *, dry: bool
) -> Reconcile:
    async with hold(database, lock_name(system), wait=WAIT) as lock:
        run = str(flow_run.id or "")
        m = await Mirroring.open(
            database, system, mirror, rules=rules, intake=intake, limits=limits, run=run, as_before=True
        )
        turn = Reconcile(m, mirror, lock, await Reconciling.begin(m, dry=dry))
        await first_what_was_approved(turn, dry=dry)
        return turn


async def _work(turn: Reconcile) -> None:
    """Read, compare, mend. The lock is held for seconds at a time, so that the mirror's cycles go on meanwhile."""
    try:
        await _in_spells(turn, read_everything)
        await _in_spells(turn, compare_both)
        await _in_spells(turn, _mend)
        await turn.progress.done(turn.m.tally)
    finally:
        await turn.found.close_feed()


async def _in_spells(turn: Reconcile, step: Callable[[Reconcile], Awaitable[bool]]) -> None:
    while True:
        async with hold(turn.m.database, lock_name(turn.m.system), wait=PATIENCE) as lock:
            turn.lock = lock
            await turn.m.must_be_as_before()
            done = await step(turn)
        if done:
            return
        await turn.progress.reach(turn.found.share, f"{turn.m.tally.counts['read']:,} records read")
        await asyncio.sleep(LET_GO)


async def _mend(turn: Reconcile) -> bool:
    await turn.mend()
    return True


async def _told(turn: Reconcile, work: Awaitable[None]) -> tuple[str, Counter[str]]:
    """Do the work and tell of it, also of what was done before an error; answers it in words and counted."""
    try:
        await work
    except LockstepError:
        await _tell(turn)
        raise
    return await _tell(turn), turn.found.findings.counts + turn.m.tally.counts


async def _tell(turn: Reconcile) -> str:
    m, mirror, findings, dry = turn.m, turn.mirror, turn.found.findings, turn.found.dry
    facts = await gather_facts(m, turn.shown)
    kinds = {} if turn.first_fetch else named(m.tally)
    emit([
        *of_incidents(mirror, turn.system, kinds, await incidents_of(m, list(kinds))),
        *(of_cycle(mirror, turn.system, m.tally, first_fetch=False) if did_something(m.tally) else []),
        *of_waiting(m, mirror, facts),
        of_reconcile(mirror, turn.system, findings.counts, dry=dry),
    ])  # fmt: skip
    words = words_of(findings, m.tally)
    report = reconcile_report(mirror, m.system, findings, m.tally, facts, dry=dry)
    await leave(report, key_of("reconcile", mirror), words)
    if rows := rows_of(m.system, findings):
        await leave_table(rows, key_of("reconcile", mirror, "found"), words)
    return f"{words}; {summary(m.tally, facts)}"
