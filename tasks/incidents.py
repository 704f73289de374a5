"""The tasks of a mirror: a batch of pages, a plan, a batch of writes. Each may fail and is tried again.

The engine is in `tasks.mirroring`; here is what makes its steps visible in Prefect, and when they are tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from blocks.errors import Busy, Unavailable
from blocks.model import Cursor
from blocks.store.locks import Lock
from tasks.mirroring.apply import Applied, apply_batch
from tasks.mirroring.cycle import Steps, plan, prepare, remote_ids
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import Planned
from tasks.mirroring.pull import pull, pull_these
from tasks.mirroring.replay import asked, read_asked
from tasks.progress import Progress

P = ParamSpec("P")
R = TypeVar("R")

PAGES, SECONDS = 25, 20.0
"""What one task run reads at most: a run costs the server 25 ms."""

FIRST_LOOK = 2
"""Pages that an idle look may read without a task: a feed that reads a little again shows one."""

DELAYS = [2.0, 10.0, 30.0]
"""Seconds before each further try."""

PATIENCE = 120.0
"""A system that wants to be left alone for longer than this ends the run: the next one goes on where it stopped."""


async def worth_a_try(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: only where the system or a lock was busy, and as late as the system asks."""
    error = await state.aresult(raise_on_failure=False)
    wait = (error.retry_after if isinstance(error, Unavailable) else None) or 0.0
    if not isinstance(error, (Unavailable, Busy)) or wait > PATIENCE:
        return False
    await asyncio.sleep(max(0.0, wait - DELAYS[0]))
    return True


def remote(
    name: str, run_name: str
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Task[P, Coroutine[Any, Any, R]]]:
    """A task that talks to a system: tried again where that may help, never answered from a cache."""
    return task(
        name=name,
        task_run_name=run_name,
        retries=len(DELAYS),
        retry_delay_seconds=DELAYS,
        retry_condition_fn=worth_a_try,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


class Turn(Steps):
    """One cycle under the mirror's lock, its steps as tasks.

    A plain class: Prefect walks dataclasses, models and collections among a task's arguments, but not this. `quiet`: a
    cycle that finds nothing to do leaves no task run. `shown`: the plan that a report shows, held or a dry run's.
    """

    def __init__(self, m: Mirroring, mirror: str, lock: Lock, *, quiet: bool = False) -> None:
        super().__init__(m)
        self.mirror, self.lock, self.quiet = mirror, lock, quiet
        self.first_fetch = not m.caught_up
        self.resume: Cursor | None = None
        self.again = False
        self.progress = Progress(mirror)
        self.planned = False
        self.shown: int | None = None

    @property
    def system(self) -> str:
        """The system's fingerprint."""
        return self.m.system.fingerprint()

    async def pull(self, only: Sequence[int] | None = None) -> None:
        """Read what a person wants to be read again, and what changed, batch by batch, or only these incidents."""
        if await asked(self.m):
            await read_parked(self)
        if only is not None:
            await read_these(self, only)
        elif not (self.quiet and await self.read(FIRST_LOOK)):
            while not await pull_pages(self):
                await self.progress.show(self.m.tally, self.m.span, self.m.now())
            await self.progress.done(self.m.tally)

    async def read(self, pages: int, seconds: float = SECONDS) -> bool:
        """Read so many pages; answers whether the feed is at its end. A second try goes on after the last page."""
        before = self.m.tally.counts["pages"]
        try:
            return (await pull(self.m, pages=pages, seconds=seconds, resume=self.resume)).done
        finally:
            if self.m.tally.counts["pages"] > before:
                self.resume = self.m.cursor

    async def plan(self, *, first: bool, dry: bool, only: Sequence[int] | None) -> Planned:
        """Settle and plan, as a task."""
        planned, self.planned = await plan_writes(self, first, dry, only), True
        if planned.lines and (dry or planned.held):
            self.shown = planned.plan_id
        return planned

    async def apply(self, plan_id: int, after: int) -> Applied:
        """Apply a batch, as a task. What an earlier try did not send wants another round."""
        applied = await apply_writes(self, plan_id, after)
        again, self.again = self.again, False
        return replace(applied, again=again)


@remote("read pages", "read pages of {turn.system}")
async def pull_pages(turn: Turn) -> bool:
    """Read a batch of pages into the store; answers whether the feed is at its end."""
    return await turn.read(PAGES)


@remote("read these incidents", "read incidents of {turn.system}")
async def read_these(turn: Turn, incidents: Sequence[int]) -> None:
    """Read only these incidents of the store again."""
    await pull_these(turn.m, await remote_ids(turn.m, incidents))


@remote("read parked again", "read parked of {turn.system} again")
async def read_parked(turn: Turn) -> None:
    """Read again what came from the system and was parked."""
    await read_asked(turn.m)


@remote("plan writes", "plan writes for {turn.system}")
async def plan_writes(turn: Turn, first: bool, dry: bool, only: Sequence[int] | None) -> Planned:  # noqa: FBT001  Prefect's arguments
    """Settle what a dead process left, in the first round, and plan what to write."""
    if first:
        await prepare(turn.m)
    return await plan(turn.m, dry=dry, only=only)


@remote("apply writes", "apply plan {plan_id} to {turn.system}")
async def apply_writes(turn: Turn, plan_id: int, after: int) -> Applied:
    """Apply the plan's next batch beyond line `after`, if the mirror's lock is still ours."""
    await turn.lock.check()
    applied = await apply_batch(turn.m, plan_id, after)
    turn.again |= applied.again
    if applied.stopped is not None:
        raise applied.stopped
    return applied
