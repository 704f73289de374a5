"""A mirror's cycle against a real Request Tracker: what is ours of its time, and what is RT's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import httpx
from pydantic import SecretStr

from bench import jobs
from bench.harness import Bound, Figure, NotMeasured, Workshop, must_be
from blocks.incidents import RequestTracker
from blocks.store import Database
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tests.peers import rt
from tests.peers.server import Unstarted

EACH = 200
RUNS = 3


class Timed(httpx.AsyncBaseTransport):
    """Adds up the seconds in which RT has a request to answer, up to its last byte: two at once count once."""

    def __init__(self) -> None:
        self.inner = httpx.AsyncHTTPTransport()
        self.seconds, self.calls, self.waiting, self.since = 0.0, 0, 0, 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        self.since = self.since if self.waiting else perf_counter()
        self.waiting += 1
        answer = await self.inner.handle_async_request(request)
        body = b"".join([part async for part in answer.aiter_raw()])
        await answer.aclose()
        self.waiting -= 1
        self.calls += 1
        if not self.waiting:
            self.seconds += perf_counter() - self.since
        return httpx.Response(answer.status_code, headers=answer.headers, content=body, request=request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.inner.aclose()


@dataclass(slots=True)
class Side:
    """The store and RT, with so many tickets for either to change."""

    database: Database
    system: RequestTracker
    people: httpx.AsyncClient
    wire: Timed
    ids: list[str]
    turn: int = 0

    async def run(self) -> tuple[float, float, int]:
        """A cycle with changes on both sides, one request at a time: its seconds, RT's, and calls."""
        self.turn += 1
        each = len(self.ids) // 2
        await jobs.edit_each(self.database, range(1, each + 1), self.turn)
        for id in self.ids[each:]:
            answer = await self.people.put(f"ticket/{id}", json={"Subject": f"{id} in turn {self.turn}"})
            answer.raise_for_status()
        self.wire.seconds, self.wire.calls = 0.0, 0
        begin = perf_counter()
        m = await Mirroring.open(self.database, self.system, "bench")
        m.parallel = 1
        await cycle(m)
        seconds = perf_counter() - begin
        must_be("changes out", m.tally.counts["updated in the system"], each)
        must_be("changes in", m.tally.counts["updated in the store"], each)
        return seconds, self.wire.seconds, self.wire.calls


async def cycles(workshop: Workshop, each: int = EACH, runs: int = RUNS) -> list[Figure]:
    """The median cycle with so many changes each way, against the sum of RT's own times in it."""
    async with _side(workshop, each) as side:
        measured = sorted([await side.run() for _ in range(runs)], key=lambda one: (one[0] - one[1]) / one[1])
    wall, theirs, calls = measured[len(measured) // 2]
    note = f"{each} changes each way, {calls} calls, one at a time"
    return [
        Figure("rt.seconds", [wall, theirs], ["s", "s of them RT's own"], note=note),
        Figure("rt.cycle", [(wall - theirs) / theirs], ["ours / RT's own"], [Bound("≤", 0.2)]),
    ]


@asynccontextmanager
async def _side(workshop: Workshop, each: int) -> AsyncIterator[Side]:
    with TemporaryDirectory(prefix="lockstep-rt-") as folder:
        try:
            peer = rt.start(Path(folder))
        except Unstarted as error:
            message = f"no Request Tracker: {error}"
            raise NotMeasured(message) from None
        try:
            async with _opened(workshop, peer, each) as side:
                yield side
        finally:
            peer.stop()


@asynccontextmanager
async def _opened(workshop: Workshop, peer: rt.Peer, each: int) -> AsyncIterator[Side]:
    login = (rt.ANALYST, rt.ANALYST_PASSWORD)
    system = RequestTracker(
        address=peer.url, login=peer.login, password=SecretStr(peer.password), queue=rt.QUEUE, entry_field="EntryKey"
    )
    system._transport = wire = Timed()  # noqa: SLF001  measured, not replaced
    async with (
        httpx.AsyncClient(base_url=f"{peer.url}REST/2.0/", auth=login, timeout=60) as people,
        workshop.store() as database,
        system,
    ):
        side = Side(database, system, people, wire, [])
        for number in range(1, 2 * each + 1):
            severity = jobs.SEVERITIES[number % len(jobs.SEVERITIES)]
            sent = {"Queue": rt.QUEUE, "Subject": f"incident {number}", "CustomFields": {"Severity": severity}}
            made = await people.post("ticket", json=sent)
            side.ids.append(str(made.raise_for_status().json()["id"]))
        _, counts = await jobs.fetch(database, system)
        must_be("incidents fetched", counts["created in the store"], 2 * each)
        yield side
