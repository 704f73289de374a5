"""Fetching 20,000 incidents, without Prefect and with it."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import httpx

from bench import floor
from bench.harness import Bound, Figure, Tracker, Workshop, in_turns, median, tracker
from blocks.http import Http
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.pull import pull

INCIDENTS = 20_000


class Listing(httpx.AsyncHTTPTransport):
    """Notes which pages are read."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on."""
        if request.url.params.get("@page_size") not in (None, "1"):
            self.pages.append(str(request.url))
        return await super().handle_async_request(request)


async def pages(workshop: Workshop, served: Tracker) -> list[str]:
    """The addresses of the pages that our fetch reads; also warms server and engine."""
    listing, system = Listing(), served.system()
    system._transport = listing  # noqa: SLF001  as the tests replace it
    async with system, workshop.store() as database:
        await pull(await Mirroring.open(database, system, "bench"))
    return listing.pages


async def engine_once(workshop: Workshop, served: Tracker, issues: int) -> float:
    """Seconds of a first fetch into a fresh store, client and store open."""
    async with served.system() as system, workshop.store() as database:
        begin = perf_counter()
        m = await Mirroring.open(database, system, "bench")
        await pull(m)
        seconds = perf_counter() - begin
    _same(m.tally.counts["created in the store"], issues)
    return seconds


async def floor_once(workshop: Workshop, served: Tracker, addresses: list[str], issues: int) -> float:
    """Seconds of the floor, into a fresh store's incident table."""
    path: Path = await workshop.copy()
    auth = httpx.BasicAuth("admin", "secret")
    async with Http("floor", f"{served.address}rest/data/", auth=auth) as http:
        begin = perf_counter()
        read = await floor.fetch(http, addresses, path)
        seconds = perf_counter() - begin
    _same(read, issues)
    return seconds


async def engine_ratio(workshop: Workshop, issues: int = INCIDENTS) -> list[Figure]:
    """Our fetch against the floor, in turns."""
    async with tracker(issues) as served:
        addresses = await pages(workshop, served)
        ours, theirs = await in_turns(
            lambda: engine_once(workshop, served, issues),
            lambda: floor_once(workshop, served, addresses, issues),
        )
    note = f"{len(addresses)} pages"
    return [
        Figure("fetch.floor_seconds", [median(theirs)], ["s"], note=note),
        Figure("fetch.engine_seconds", [median(ours)], ["s"], note=note),
        Figure("fetch.engine_ratio", [median(ours) / median(theirs)], ["x the floor"], [Bound("≤", 2.0)]),
    ]


def _same(read: int, wanted: int) -> None:
    if read != wanted:
        message = f"{read} incidents were read, there are {wanted}"
        raise RuntimeError(message)
