"""What a backfill takes in memory."""

from __future__ import annotations

from bench.harness import Bound, Figure, Workshop, must_be
from bench.servers import tracker, worker

INCIDENTS = 100_000


async def backfill(workshop: Workshop, incidents: int = INCIDENTS) -> list[Figure]:
    """Peak resident memory of a first cycle, over that of the same process after an empty one."""
    served = await workshop.keep(f"tracker {incidents}", lambda: tracker(incidents))
    async with worker() as busy:
        answer = await busy.do("backfill", address=served.address, store=str(await workshop.fresh()))
    must_be("incidents fetched", answer["counts"]["created in the store"], incidents)
    value, before = answer["bytes"] / 1e6, answer["idle"] / 1e6
    note = f"{incidents:,} incidents; the idle process has {before:.0f} MB"
    return [Figure("memory.backfill", [value], ["MB over idle"], [Bound("≤", 150.0)], note=note)]
