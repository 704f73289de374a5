"""Reconcile: read everything on both sides, find what the feed and the rules left behind, and mend it as a cycle does.

A plain run, as bench, chaos and tests do it. The flow holds the mirror's lock for a while at a time instead, and puts a
task around each step.
"""

from __future__ import annotations

from tasks.mirroring.compare import compare_links
from tasks.mirroring.cycle import Steps, act
from tasks.mirroring.findings import Findings
from tasks.mirroring.full_read import read_pages
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.plan import release, waiting_plan
from tasks.mirroring.reconciling import Reconciling


async def reconcile(m: Mirroring, *, dry: bool = True, steps: Steps | None = None) -> Findings:
    """Read, compare, plan and apply, under the mirror's lock; answers what was found.

    Args:
        m: the mirror, opened as before.
        dry: change nothing: neither there nor here, but for the plan that is shown.
        steps: how plans are made and applied; plainly, unless told otherwise.

    Raises:
        Unavailable, Unauthorized, Misconfigured, Unreadable: from the system; what was mended stays.
    """
    steps = steps or Steps(m)
    await first_what_was_approved(steps, dry=dry)
    r = await Reconciling.begin(m, dry=dry)
    while not await read_pages(r):
        pass
    while not await compare_links(r):
        pass
    await mend(r, steps)
    return r.findings


async def first_what_was_approved(steps: Steps, *, dry: bool) -> None:
    """A plan that a person approved goes before anything else."""
    waiting = None if dry else await waiting_plan(steps.m)
    if waiting is not None and waiting[1] == "approved":
        await act(steps)


async def mend(r: Reconciling, steps: Steps) -> None:
    """Plan what was found and apply it, as a cycle does; of a dry run, the plan is complete."""
    if r.dry:
        await release(r.m, r.plan, dry=True)
    else:
        await act(steps)
