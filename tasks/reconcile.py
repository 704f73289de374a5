"""The tasks of a reconcile: a batch of pages, a batch of links. What follows is planned and applied as by any cycle."""

from __future__ import annotations

from blocks.store.locks import Lock
from tasks.incidents import PAGES, SECONDS, Turn, remote
from tasks.mirroring.compare import compare_links
from tasks.mirroring.full_read import read_pages
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.reconcile import mend
from tasks.mirroring.reconciling import Reconciling


class Reconcile(Turn):
    """One reconcile. `lock` is the mirror's, of this spell: it is let go between two of them, so that cycles run."""

    def __init__(self, m: Mirroring, mirror: str, lock: Lock, found: Reconciling) -> None:
        super().__init__(m, mirror, lock)
        self.found = found
        found.guard = self.guard

    async def guard(self) -> None:
        """LockLost, unless the mirror's lock is still ours."""
        await self.lock.check()

    async def mend(self) -> None:
        """Plan and apply."""
        await mend(self.found, self)
        if self.found.dry and self.found.plan.lines:
            self.shown = self.found.plan.plan_id


@remote("read everything", "read everything of {turn.system}")
async def read_everything(turn: Reconcile) -> bool:
    """Read a batch of pages; answers whether everything is read. A second try begins the read anew."""
    return await read_pages(turn.found, pages=PAGES, seconds=SECONDS)


@remote("compare links", "compare links of {turn.system}")
async def compare_both(turn: Reconcile) -> bool:
    """Compare a batch of links; answers whether all are compared."""
    return await compare_links(turn.found, seconds=SECONDS)
