"""The watch: keeps deployments tagged `long-running` up. Pausing one switches it off.

Every 5 seconds it first looks for runs that hold no lock although they should, and forces them to Crashed; then it
starts what has neither lock nor run, through the API, wherever its worker is. A run that ends soon after its start,
again and again, is started again later and later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from blocks.errors import LockstepError
from blocks.store.block import Store
from blocks.store.database import Database
from blocks.store.locks import is_free
from flows.forever import lock_name
from flows.house.settings import STORE

TAG = "long-running"
EVERY = 5.0
"""Seconds between two looks."""

GRACE = {
    StateType.RUNNING: timedelta(seconds=30),
    StateType.CANCELLING: timedelta(seconds=30),
    # Its process is still starting: 2 to 4 seconds, and more on a busy machine.
    StateType.PENDING: timedelta(seconds=120),
}
"""How long a run may be in a state without holding its lock."""

WAITING = {StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED}
SHORT = timedelta(seconds=60)
LONGEST = timedelta(minutes=5)
RECENT = 10

log = logging.getLogger("lockstep.watch")


async def watch(stop: asyncio.Event) -> None:
    """Look every few seconds, until told to stop. A server or store that does not answer is waited for."""
    silent = False
    while not stop.is_set():
        try:
            async with get_client() as client:
                await look(client)
            silent = False
        except (httpx.HTTPError, PrefectException, LockstepError, OSError, ValueError) as error:
            # Said once when it goes away: the next look says that it is back.
            if not silent:
                log.warning("the watch cannot look: %s", error)
            silent = True
        await _sleep(stop, EVERY)


async def look(client: PrefectClient) -> None:
    """Look at each deployment once."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    store: Store = await Store.aload(STORE)
    database = await store.open()
    for deployment in await client.read_deployments(deployment_filter=tagged, limit=200):
        await keep_up(client, database, deployment, datetime.now(UTC))


async def keep_up(client: PrefectClient, database: Database, deployment: DeploymentResponse, now: datetime) -> None:
    """Force runs that are dead to Crashed, then start one if there is none and the deployment is not paused."""
    # The runs first: one that takes its lock in between is then seen to hold it.
    runs = await _runs(client, deployment.id)
    if not await is_free(database, lock_name(deployment.id)):
        return
    dead = [run for run in runs if is_dead(run, now)]
    for run in dead:
        log.warning("the run %s of %s holds no lock: crashed", run.name, deployment.name)
        message = "It held no lock: its process is gone."
        await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    waiting = [run for run in runs if run.state_type in WAITING and run not in dead]
    if not waiting and not deployment.paused and now >= may_start(runs):
        run = await client.create_flow_run_from_deployment(deployment.id)
        log.info("started %s as %s", deployment.name, run.name)


def is_dead(run: FlowRun, now: datetime) -> bool:
    """Whether a run without lock has been in its state for longer than it needs to take one."""
    grace = GRACE.get(run.state_type) if run.state_type else None
    return bool(grace and run.state and now - run.state.timestamp > grace)


def may_start(runs: Sequence[FlowRun]) -> datetime:
    """When the next run may start. The newest run comes first; those that ended within a minute count."""
    short = 0
    for run in runs:
        if not (run.start_time and run.end_time) or run.end_time - run.start_time > SHORT:
            break
        short += 1
    ended = [run.end_time for run in runs if run.end_time]
    if not short or not ended:
        return datetime.min.replace(tzinfo=UTC)
    return max(ended) + min(LONGEST, timedelta(seconds=EVERY * 2 ** (short - 1)))


async def _runs(client: PrefectClient, deployment: UUID) -> list[FlowRun]:
    return await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=RECENT,
    )


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
