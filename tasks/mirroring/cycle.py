"""One cycle without Prefect: what bench, chaos and tests run. The flows put a task around each of its steps."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, literal, not_, or_, select

from blocks.store.links import INTENT, IS_DIRTY, LINK, rows_by
from tasks.mirroring.apply import Applied, apply_batch
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import PLAN, Planned, make_plan, waiting_plan
from tasks.mirroring.pull import pull, pull_these
from tasks.mirroring.replay import read_asked
from tasks.mirroring.settle import confirm_missing, settle

ROUNDS = 4
"""The first, and three more where a write was stale or a new incident has entries to follow."""


class Steps:
    """The steps of a cycle, each one thing that can fail and be tried again."""

    def __init__(self, m: Mirroring) -> None:
        self.m = m

    async def pull(self, only: Sequence[int] | None) -> None:
        """Read what a person wants to be read again, and what changed, or only these incidents of the store."""
        await read_asked(self.m)
        if only is None:
            await pull(self.m)
        else:
            await pull_these(self.m, await remote_ids(self.m, only))

    async def plan(self, *, first: bool, dry: bool, only: Sequence[int] | None) -> Planned:
        """Settle, if it is the first round, and plan."""
        if first:
            await prepare(self.m)
        return await plan(self.m, dry=dry, only=only)

    async def apply(self, plan_id: int, after: int) -> Applied:
        """Apply the plan's next batch beyond line `after`."""
        applied = await apply_batch(self.m, plan_id, after)
        if applied.stopped is not None:
            raise applied.stopped
        return applied


async def cycle(
    m: Mirroring, *, dry: bool = False, only: Sequence[int] | None = None, steps: Steps | None = None
) -> None:
    """Pull, settle, decide, plan, apply.

    Args:
        m: the mirror, opened for this cycle under its lock.
        dry: plan, but send nothing.
        only: only these incidents of the store.
        steps: how each step is done; plainly, unless told otherwise.

    Raises:
        Unavailable, Unauthorized, Misconfigured, Unreadable: from the system; what was done stays, the rest waits.
    """
    steps = steps or Steps(m)
    await steps.pull(only)
    await act(steps, dry=dry, only=only)


async def act(steps: Steps, *, dry: bool = False, only: Sequence[int] | None = None) -> None:
    """Settle, decide, plan, apply: what a cycle does with what was read."""
    if not await waits(steps.m, dry=dry):
        return
    for number in range(ROUNDS):
        planned = await steps.plan(first=number == 0, dry=dry, only=only)
        if planned.plan_id is None or planned.held or dry or not await apply_all(steps, planned.plan_id):
            return


async def waits(m: Mirroring, *, dry: bool = False) -> bool:
    """Whether there is anything to settle, to decide or to apply. While a plan is held, only a dry run decides."""
    dirty = select(literal(1)).where(LINK.c.system_id == m.system_id, IS_DIRTY)
    intents = select(literal(1)).where(INTENT.c.system_id == m.system_id)
    plans = select(literal(1)).where(PLAN.c.system_id == m.system_id)
    approved = plans.where(PLAN.c.state == "approved").exists()
    held = plans.where(PLAN.c.state == "held", PLAN.c.deadline >= m.now()).exists()
    due = dirty.exists() if dry else and_(dirty.exists(), not_(held))
    async with m.database.read() as connection:
        return bool((await connection.execute(select(or_(due, intents.exists(), approved)))).scalar_one())


async def prepare(m: Mirroring) -> None:
    """What must be known before anything is decided: lost answers, records that vanished."""
    m.tally.counts["unsettled"] = await settle(m)
    await confirm_missing(m)


async def plan(m: Mirroring, *, dry: bool, only: Sequence[int] | None = None) -> Planned:
    """The next plan: one that a person approved goes first; while one is held, none is made."""
    waiting = await waiting_plan(m)
    if waiting is None or dry:
        return await make_plan(m, only=only, dry=dry)
    plan_id, state, reason = waiting
    if state == "held":
        return Planned(plan_id, held=[reason])
    return Planned(plan_id)


async def apply_all(steps: Steps, plan_id: int) -> bool:
    """Apply a whole plan; answers whether another round is wanted."""
    after, again = -1, False
    while True:
        applied = await steps.apply(plan_id, after)
        again |= applied.again
        if applied.last is None:
            return again
        after = applied.last


async def remote_ids(m: Mirroring, incident_ids: Sequence[int]) -> list[str]:
    """The system's ids of these incidents."""
    async with m.database.read() as connection:
        query = select(LINK.c.remote_id).where(LINK.c.system_id == m.system_id, LINK.c.remote_id.is_not(None))
        return [row["remote_id"] for row in await rows_by(connection, query, LINK.c.incident_id, incident_ids)]
