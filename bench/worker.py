"""A process that the bench measures in: a JSON line says what to do, a JSON line answers.

Its imports are done before the first line. `engine` and `flow` answer seconds, `idle` and `forever` task runs,
`backfill` bytes, `reconcile` seconds and bytes.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from pydantic import SecretStr

from bench.jobs import fetch
from blocks.incidents import Roundup
from blocks.rules import Intake
from blocks.store import Store
from flows.fetch import fetch_incidents
from flows.mirror import mirror_incidents
from tasks.mirroring.cycle import cycle
from tasks.mirroring.mirror import Mirroring
from tasks.mirroring.reconcile import reconcile

Answer = dict[str, Any]


def system(address: str) -> Roundup:
    """The connector."""
    return Roundup(address=address, login="admin", password=SecretStr("secret"))


async def engine(address: str, store: str) -> Answer:
    """A first fetch without Prefect."""
    database = await Store(url=SecretStr(f"sqlite:///{store}")).open()
    async with system(address) as opened:
        seconds, counts = await fetch(database, opened)
    await database.close()
    return {"seconds": seconds, "counts": counts}


async def flow(address: str, store: str) -> Answer:
    """A first fetch by the flow, from call to return."""
    await _use(store)
    tracker = system(address)
    begin = perf_counter()
    state = await fetch_incidents("bench", tracker, return_state=True)
    seconds = perf_counter() - begin
    return {"seconds": seconds, "counts": await state.aresult()}


async def idle(address: str, store: str) -> Answer:
    """Task runs of a cycle without changes, as a schedule runs it; the first one fetches."""
    await _use(store)
    for _ in range(2):
        await mirror_incidents("bench", system(address), return_state=True)
    return {"task_runs": (await _task_runs("mirror bench"))[-1]}


async def forever(address: str, store: str, seconds: float) -> Answer:
    """Task runs of a run with `every`, in so many seconds without changes. Its store is as `idle` left it."""
    await _use(store)
    before = len(await _task_runs("mirror bench"))

    async def for_ever() -> None:
        await mirror_incidents("bench", system(address), every_seconds=1, return_state=True)

    run = asyncio.create_task(for_ever())
    await asyncio.sleep(seconds)
    ended = run.done()
    counts = await _task_runs("mirror bench")
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    return {"task_runs": sum(counts[before:]), "runs": len(counts) - before, "ended": ended}


async def _use(store: str) -> None:
    block = Store(url=SecretStr(f"sqlite:///{store}"))
    await block.save("main", overwrite=True)
    await block.open()


async def _task_runs(name: str) -> list[int]:
    """How many task runs each flow run of this name has, oldest first, when the server has taken all in."""
    async with get_client() as client:
        found = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
        runs = await client.read_flow_runs(flow_run_filter=found)
        runs.sort(key=lambda run: run.created or datetime.now(UTC))
        counts = [-1]
        # The server counts a task run from its events, which come a little later.
        while counts != (counts := [await _count(client, run.id) for run in runs]):  # noqa: ASYNC110  in another process
            await asyncio.sleep(3)
        return counts


async def _count(client: Any, run: UUID) -> int:  # noqa: ANN401  Prefect's client, whose class is not public
    body = {"flow_runs": {"id": {"any_": [str(run)]}}}
    answer = await client.request("POST", "/task_runs/count", json=body)
    return int(answer.json())


async def backfill(address: str, store: str) -> Answer:
    """Peak resident memory of a cycle that reads everything, over that of a process which ran an empty one."""
    database = await Store(url=SecretStr(f"sqlite:///{store}")).open()
    async with system(address) as opened:
        nothing = Intake(first_fetch_from=(datetime.now(UTC) + timedelta(days=1)).isoformat())
        await cycle(await Mirroring.open(database, opened, "bench", intake=nothing))
        async with database.begin("again") as connection:
            await connection.exec_driver_sql("UPDATE system SET cursor = NULL")
        before = _forget_peak()
        m = await Mirroring.open(database, opened, "bench")
        await cycle(m)
        peak = _peak()
    await database.close()
    return {"bytes": peak - before, "idle": before, "counts": dict(m.tally.counts)}


async def reconcile_all(address: str, store: str, drifted: int) -> Answer:
    """A whole reconcile of a fetched store, so many of whose links have drifted, after a cycle without changes."""
    database = await Store(url=SecretStr(f"sqlite:///{store}")).open()
    async with system(address) as opened:
        await cycle(await Mirroring.open(database, opened, "bench"))
        async with database.begin("drift") as connection:
            first = f"<= {int(drifted)}"
            base = "json_set(base_store, '$.owner', 'admin')"
            await connection.exec_driver_sql(f"UPDATE incident SET owner = 'admin' WHERE id {first}")  # noqa: S608  a number
            await connection.exec_driver_sql(f"UPDATE link SET base_store = {base} WHERE incident_id {first}")  # noqa: S608  as above
        before, cpu, begin = _forget_peak(), process_time(), perf_counter()
        m = await Mirroring.open(database, opened, "bench", as_before=True)
        found = await reconcile(m, dry=False)
        seconds, cpu, peak = perf_counter() - begin, process_time() - cpu, _peak()
    await database.close()
    counts = {"found": dict(found.counts), "counts": dict(m.tally.counts)}
    return {"seconds": seconds, "cpu": cpu, "bytes": peak - before, "idle": before, **counts}


def _forget_peak() -> int:
    """Resident memory now; the peak is counted anew, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(psutil.Process().memory_info().rss)


def _peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    # Of the whole life of the process; macOS tells bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


DO: dict[str, Callable[..., Awaitable[Answer]]] = {
    "engine": engine, "flow": flow, "idle": idle, "forever": forever, "backfill": backfill,
    "reconcile": reconcile_all,
}  # fmt: skip


async def main() -> None:
    """Work until the input ends."""
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        print(json.dumps(await DO[asked.pop("do")](**asked)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
