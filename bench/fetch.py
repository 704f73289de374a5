"""Fetching 20,000 incidents: the engine against the floor, the flow against the engine and dlt."""

from __future__ import annotations

from collections.abc import Awaitable
from statistics import median
from time import perf_counter, process_time

import httpx

from bench import floor, jobs
from bench.harness import Bound, Figure, Workshop, in_turns, must_be
from bench.servers import Tracker, Worker, dlt_once, prefect_server, tracker, worker
from blocks.http import Http

INCIDENTS = 20_000


class Listing(httpx.AsyncHTTPTransport):
    """Notes which pages are read."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on."""
        if request.url.params.get("@page_size") not in {None, "1"}:
            self.pages.append(str(request.url))
        return await super().handle_async_request(request)


async def pages(workshop: Workshop, served: Tracker) -> list[str]:
    """The addresses of the pages that our fetch reads; also warms server and engine."""
    listing, system = Listing(), served.system()
    system._transport = listing  # noqa: SLF001  where the connector takes another transport
    async with system, workshop.store() as database:
        await jobs.fetch(database, system)
    return listing.pages


async def engine_once(workshop: Workshop, served: Tracker, incidents: int) -> float:
    """Seconds of our fetch into a fresh store."""
    async with served.system() as system, workshop.store() as database:
        seconds, counts = await jobs.fetch(database, system)
    must_be("incidents fetched", counts["created in the store"], incidents)
    return seconds


async def floor_once(workshop: Workshop, served: Tracker, addresses: list[str], incidents: int) -> float:
    """Seconds of the floor, into a fresh store's incident table."""
    path = await workshop.fresh()
    auth = httpx.BasicAuth("admin", "secret")
    async with Http("floor", f"{served.address}rest/data/", auth=auth) as http:
        begin = perf_counter()
        read = await floor.fetch(http, addresses, path)
        seconds = perf_counter() - begin
    must_be("incidents fetched", read, incidents)
    return seconds


async def engine_ratio(workshop: Workshop, incidents: int = INCIDENTS) -> list[Figure]:
    """Our fetch against the floor."""
    served = await _tracker(workshop, incidents)
    addresses = await pages(workshop, served)
    spent: dict[str, list[float]] = {"floor": [], "ours": []}

    async def ours_once() -> float:
        return await _counted(spent["ours"], engine_once(workshop, served, incidents))

    async def least_once() -> float:
        return await _counted(spent["floor"], floor_once(workshop, served, addresses, incidents))

    ours, least = await in_turns(ours_once, least_once)
    cpu = {side: median(values) for side, values in spent.items()}
    note = f"{incidents:,} incidents in {len(addresses)} pages"
    return [
        Figure("fetch.floor_seconds", [least], ["s"], note=f"the same client and pages, one table; {note}"),
        Figure("fetch.engine_seconds", [ours], ["s"], note=f"ours without Prefect; {note}"),
        Figure(
            "fetch.cpu_seconds",
            [cpu["floor"], cpu["ours"]],
            ["s, floor", "s, ours"],
            note=f"{cpu['ours'] / cpu['floor']:.2f} times: a busy machine hardly changes this one",
        ),
        Figure("fetch.engine_ratio", [ours / least], ["engine / floor"], [Bound("≤", 2.0)]),
    ]


async def _counted(spent: list[float], work: Awaitable[float]) -> float:
    """Note the processor time of all threads, opening of client and store included."""
    begin = process_time()
    seconds = await work
    spent.append(process_time() - begin)
    return seconds


async def flow_overhead(workshop: Workshop, incidents: int = INCIDENTS) -> list[Figure]:
    """The flow against the engine, in one process that has imported everything."""
    served, busy = await _tracker(workshop, incidents), await prefect_worker(workshop)
    count = len(await pages(workshop, served))
    await _by(workshop, served, busy, "flow", incidents)
    flow, engine = await in_turns(
        lambda: _by(workshop, served, busy, "flow", incidents),
        lambda: _by(workshop, served, busy, "engine", incidents),
    )
    overhead = (flow - engine) * 1000 / count
    return [
        Figure("fetch.flow_seconds", [flow], ["s"], note=f"with Prefect; {engine:.3f} s of it the engine's"),
        Figure("fetch.flow_overhead", [overhead], ["ms a page"], [Bound("≤", 8.0)]),
    ]


async def ratio_to_dlt(workshop: Workshop, incidents: int = INCIDENTS) -> list[Figure]:
    """The flow against dlt's first run."""
    served, busy = await _tracker(workshop, incidents), await prefect_worker(workshop)
    addresses = await pages(workshop, served)

    async def theirs() -> float:
        seconds, rows = await dlt_once(addresses)
        must_be("incidents fetched by dlt", rows, incidents)
        return seconds

    await _by(workshop, served, busy, "flow", incidents)
    flow, dlt = await in_turns(lambda: _by(workshop, served, busy, "flow", incidents), theirs)
    return [
        Figure("fetch.dlt_seconds", [dlt], ["s"], note="dlt's first run: the same pages, merged on id into SQLite"),
        Figure("fetch.ratio_to_dlt", [flow / dlt], ["flow / dlt"], [Bound("≤", 0.33)]),
    ]


async def _tracker(workshop: Workshop, incidents: int) -> Tracker:
    return await workshop.keep(f"tracker {incidents}", lambda: tracker(incidents))


async def prefect_worker(workshop: Workshop) -> Worker:
    """A worker beside a Prefect server."""
    env = await workshop.keep("prefect", lambda: prefect_server(workshop.folder))
    return await workshop.keep("prefect worker", lambda: worker(env))


async def _by(workshop: Workshop, served: Tracker, busy: Worker, how: str, incidents: int) -> float:
    answer = await busy.do(how, address=served.address, store=str(await workshop.fresh()))
    must_be("incidents fetched", answer["counts"]["created in the store"], incidents)
    return float(answer["seconds"])
