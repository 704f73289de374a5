"""How a run that goes on for ever meets trouble: it waits, longer and longer, and says so once."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.context import FlowRunContext

from blocks.contracts import IncidentSystem
from blocks.errors import Busy, LockLost, LockstepError, Unavailable
from blocks.store import Database
from flows.cycle import tell_failure
from tasks.mirroring.trouble import forget

PASSING = (Unavailable, Busy, LockLost)
"""Errors that go by themselves; for all others a person must act."""

LONGEST = 300.0
FIRST = 2.0


class Patience:
    """Of one mirror's run. A person is told once, and the log hears when trouble begins and when it is over."""

    def __init__(self, mirror: str, database: Database) -> None:
        self.mirror, self.database = mirror, database
        self.kind = ""
        self.times = 0
        self.worked = False

    async def met(self, system: IncidentSystem, error: LockstepError) -> float:
        """Something is wrong; answers for how many seconds to leave the system alone."""
        if type(error).__name__ != self.kind:
            self.kind, self.times = type(error).__name__, 0
            get_run_logger().warning("%s; trying again until it works", error)
            await tell_failure(self.mirror, system, error, self.database)
        self.times += 1
        self.worked = False
        return pause(error, self.times)

    async def over(self) -> None:
        """It works."""
        if not self.worked:
            await forget(self.database, self.mirror)
            self.worked = True
        if self.kind:
            get_run_logger().info("the mirror %s works again", self.mirror)
            self.kind = ""


def pause(error: LockstepError, times: int) -> float:
    """Seconds to wait after so many failures running; at least as long as the system asks for."""
    if not isinstance(error, PASSING):
        return LONGEST
    asked = (error.retry_after if isinstance(error, Unavailable) else None) or 0.0
    return max(asked, min(LONGEST, FIRST * 2.0 ** min(times - 1, 20)))


def forget_results() -> None:
    """Let go what Prefect remembers of each task run until the run ends: about 4 KB each, and this run never ends."""
    context = FlowRunContext.get()
    if context is not None:
        context.run_results.clear()
        context.task_run_assets.clear()


async def again(system: IncidentSystem) -> IncidentSystem:
    """The block as it is now: a person may have mended its password or address. As it was, if it is gone."""
    name = system._block_document_name  # noqa: SLF001  where Prefect keeps the name that a block was loaded by
    if not name:
        return system
    try:
        return await type(system).aload(name)
    except ValueError:
        return system
