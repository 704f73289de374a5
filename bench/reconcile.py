"""What it costs to read everything on both sides."""

from __future__ import annotations

from bench.harness import Bound, Figure, Workshop, must_be
from bench.servers import tracker, worker

LINKS, DRIFTED = 100_000, 50


async def full(workshop: Workshop, links: int = LINKS, drifted: int = DRIFTED) -> list[Figure]:
    """One reconcile that reads so many records, compares as many links, and mends a few of them."""
    served = await workshop.keep(f"tracker {links}", lambda: tracker(links))
    store = str(await workshop.fresh())
    async with worker() as busy:
        fetched = await busy.do("engine", address=served.address, store=store)
    must_be("incidents fetched", fetched["counts"]["created in the store"], links)
    async with worker() as busy:
        answer = await busy.do("reconcile", address=served.address, store=store, drifted=drifted)
    must_be("records read", answer["counts"]["read"], links)
    must_be("drift found", answer["found"].get("drift", 0), drifted)
    must_be("kinds found", len(answer["found"]), 1)
    must_be("drift mended", answer["counts"]["updated in the system"], drifted)
    value, before = answer["bytes"] / 1e6, answer["idle"] / 1e6
    note = f"{links:,} links, {drifted} of them mended; the idle process has {before:.0f} MB"
    return [
        Figure("reconcile.cpu_seconds", [answer["cpu"]], ["s"], note="processor time of all its threads"),
        Figure(
            "reconcile.100k",
            [answer["seconds"], value],
            ["s", "MB over idle"],
            [Bound("≤", 60.0), Bound("≤", 300.0)],
            note=note,
        ),
    ]
