"""Whole flow runs on a real Prefect server, against the fake Roundup: what they end with, cost and leave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from pydantic import SecretStr

from blocks.incidents import Roundup
from blocks.rules import Intake
from blocks.store import Database, Store
from blocks.store.crypto import new_key
from blocks.store.incidents import Actor, create, edit
from blocks.store.locks import is_free
from flows.approve import approve_or_reject
from flows.check import check_connection
from flows.cycle import lock_name
from flows.edit import edit_incident
from flows.fetch import fetch_incidents
from flows.find import find_incidents
from flows.forever import lock_name as forever_lock
from flows.links import link, unlink
from flows.mirror import mirror_incidents
from flows.patience import forget_results
from flows.reconcile import reconcile_mirror
from flows.reports import make_report
from tasks.mirroring.mirror import utc_now
from tasks.mirroring.plan import Planned
from tests.mirrors import Bench, copy_of
from tests.peers.server import free_port
from tests.reconciling import put
from tests.running import CODE
from tests.running import until as wait_for

pytestmark = [pytest.mark.server, pytest.mark.slow]
ALL = Intake(first_fetch_from="2000-01-01T00:00:00Z")
SOON = 60.0


def answers(address: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(f"{address}/health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server of this file's own."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    argv = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/api"
    try:
        wait_for(lambda: answers(address), 100, "the server answers")
        yield address
    finally:
        # What is still to be sent goes out while there is a server.
        APILogWorker.instance().drain()
        EventsWorker.drain_all()
        server.terminate()
        server.wait(30)


@pytest.fixture
def tracker() -> Iterator[str]:
    """A fake Roundup with five issues."""
    argv = [sys.executable, "-m", "tests.fakes.roundup", "--port", "0", "--issues", "5"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=CODE) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture
async def client(api: str) -> AsyncIterator[PrefectClient]:
    """The server, as flows and tests reach it."""
    with temporary_settings({PREFECT_API_URL: api}):
        async with get_client() as opened:
            yield opened


@pytest.fixture
async def store(client: PrefectClient, sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Database]:
    """The installation's store, as its block names it."""
    block = Store(url=SecretStr(copy_of(sqlite_template, tmp_path, "lockstep")))
    await block.asave("main", overwrite=True)
    database = await block.open()
    yield database
    await database.close()


@pytest.fixture
async def roundup(client: PrefectClient, tracker: str) -> Roundup:
    """The block of the tracker, saved and loaded again."""
    block = Roundup(address=tracker, login="admin", password=SecretStr("secret"))
    await block.asave("fake", overwrite=True)
    return await Roundup.aload("fake")


async def task_runs(client: PrefectClient, run: UUID) -> list[str]:
    """The names of a run's task runs, once the server has them all."""
    await asyncio.sleep(3)
    found = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    return sorted(one.name.partition(" of ")[0] for one in found)


async def artifacts(client: PrefectClient, run: UUID) -> list[dict[str, Any]]:
    """What a run left."""
    answer = await client._client.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [str(run)]}}})
    found: list[dict[str, Any]] = answer.json()
    return found


async def done(flow: Any, *args: Any, **kwargs: Any) -> tuple[Any, UUID]:
    """Run a flow; answers its end and the run's id."""
    state = await flow(*args, **kwargs, return_state=True)
    return state, state.state_details.flow_run_id


async def test_a_fetch_a_mirror_and_an_idle_cycle(client: PrefectClient, store: Database, roundup: Roundup) -> None:
    state, run = await done(fetch_incidents, "fake", roundup, ALL)
    assert (state.is_completed(), state.message) == (True, "5 created in the store")
    assert [one["key"] for one in await artifacts(client, run)] == ["mirror-fake"]
    await edit(store, 1, {"title": "by bob"}, Actor("bob"), utc_now())
    state, run = await done(mirror_incidents, "fake", roundup, ALL)
    assert state.message == "1 updated in the system"
    assert (await artifacts(client, run))[0]["description"] == "1 updated in the system"
    async with roundup:
        assert (await roundup.get("1")).fields["title"] == "by bob"
    state, run = await done(mirror_incidents, "fake", roundup, ALL)
    assert state.message == "nothing to do"
    assert await task_runs(client, run) == ["read pages"]
    assert await artifacts(client, run) == []


async def test_a_reconcile_looks_first_and_mends_when_told_to(
    client: PrefectClient, store: Database, roundup: Roundup
) -> None:
    await done(fetch_incidents, "fake", roundup, ALL)
    await put(Bench(store), 1, owner="admin")
    state, run = await done(reconcile_mirror, "fake", roundup, ALL)
    assert state.message == "5 records read: 1 drift; 1 writes planned, nothing sent"
    assert await task_runs(client, run) == ["compare links", "read everything"]
    keys = {"reconcile-fake", "reconcile-fake-found"}
    assert {one["key"] for one in await artifacts(client, run)} == keys
    state, run = await done(reconcile_mirror, "fake", roundup, ALL, dry_run=False)
    assert state.message == "5 records read: 1 drift; 1 updated in the system"
    async with roundup:
        assert (await roundup.get("1")).fields["assignedto"] == "admin"
    state, _ = await done(reconcile_mirror, "fake", roundup, ALL, dry_run=False)
    assert state.message == "5 records read: both sides are as they should be; nothing to do"


async def test_a_check_says_what_is_wrong(client: PrefectClient, store: Database, roundup: Roundup) -> None:
    state, run = await done(check_connection, roundup)
    assert state.is_completed(), state.message
    assert len(await artifacts(client, run)) == 1
    state, _ = await done(check_connection, roundup.model_copy(update={"password": SecretStr("wrong")}))
    assert state.is_failed()
    assert "login" in state.message


async def test_a_sample_is_an_artifact(client: PrefectClient, store: Database, roundup: Roundup) -> None:
    state, run = await done(fetch_incidents, "fake", roundup, ALL, sample=True)
    assert state.message == "5 records read, nothing stored"
    assert [one["key"] for one in await artifacts(client, run)] == ["sample-fake"]


async def made_by(client: PrefectClient, flow: Flow[..., Any], roundup: Roundup, **more: Any) -> tuple[UUID, FlowRun]:
    """A deployment of this flow, and one run of it that waits for a worker."""
    flow_id: UUID = await client.create_flow(flow)
    block = {"$ref": {"block_document_slug": "roundup/fake"}}
    parameters = {"mirror": "fake", "system": block, "intake": {"first_fetch_from": "2000-01-01T00:00:00Z"}, **more}
    entrypoint = f"{flow.fn.__module__}:{flow.fn.__name__}"
    deployment = await client.create_deployment(
        flow_id, name=f"{flow.name} {free_port()}", parameters=parameters, entrypoint=entrypoint
    )
    return deployment, await client.create_flow_run_from_deployment(deployment)


def execute(run: FlowRun, api: str, home: Path) -> subprocess.Popen[bytes]:
    """Run it in a process, as a worker does."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {"PREFECT_API_URL": api, "PREFECT_HOME": str(home), "PREFECT__FLOW_RUN_ID": str(run.id)}
    with (home / "run.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "prefect.engine"], env=env, cwd=CODE, stdout=log, stderr=log)


async def until(what: Any, why: str) -> None:
    """Wait until this holds."""
    for _ in range(int(SOON / 0.25)):
        if await what():
            return
        await asyncio.sleep(0.25)
    pytest.fail(f"not within {SOON} s: {why}")


async def test_a_held_plan_is_approved_and_its_deployment_runs_at_once(
    client: PrefectClient, store: Database, roundup: Roundup, api: str, tmp_path: Path
) -> None:
    deployment, run = await made_by(client, mirror_incidents, roundup, limits={"updates": 0})
    assert execute(run, api, tmp_path).wait(SOON) == 0
    await edit(store, 1, {"title": "held"}, Actor("bob"), utc_now())
    run = await client.create_flow_run_from_deployment(deployment)
    assert execute(run, api, tmp_path).wait(SOON) == 0
    state = (await client.read_flow_run(run.id)).state
    assert state
    assert state.message == "plan 1 with 1 writes waits for approval"
    state, _ = await done(approve_or_reject, 1, "approve", "ann", "looks right")
    assert state.message == "plan 1 is approved: its mirror runs now"
    newest = await _runs(client, deployment)
    assert [one.state_type.value for one in newest if one.state_type] == ["SCHEDULED", "COMPLETED", "COMPLETED"]
    assert execute(newest[0], api, tmp_path).wait(SOON) == 0
    async with roundup:
        assert (await roundup.get("1")).fields["title"] == "held"


async def test_a_report_awaits_approval_and_is_published_once_it_has_it(
    client: PrefectClient, store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKSTEP_KEYS", new_key())
    await create(store, {"title": "<b>one</b>"}, Actor("bob"), utc_now())
    state, run = await done(make_report, "Weekly", {"created_days": 1}, str(tmp_path / "published"))
    assert (state.name, state.is_completed()) == ("AwaitingApproval", True)
    assert state.message.startswith("awaiting approval 1: 1 incidents")
    (preview,) = await artifacts(client, run)
    assert "<b>" not in preview["data"]
    state, run = await done(approve_or_reject, 1, "approve", "ann", "looks right")
    assert state.is_completed(), state.message
    (summary,) = await artifacts(client, run)
    assert (preview["key"], summary["key"]) == ("report-1", "report-1")
    published = list((tmp_path / "published").glob("weekly-*-1.*"))
    assert len(published) == 3


async def _runs(client: PrefectClient, deployment: UUID) -> list[FlowRun]:
    mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    found = await client.read_flow_runs(flow_run_filter=mine)
    return sorted(found, key=lambda one: one.created or utc_now(), reverse=True)


async def test_a_mirror_for_ever_costs_nothing_while_idle_and_ends_cleanly_when_told_to(
    client: PrefectClient, store: Database, roundup: Roundup, api: str, tmp_path: Path
) -> None:
    deployment, run = await made_by(client, mirror_incidents, roundup, every_seconds=1)
    process = execute(run, api, tmp_path)
    try:
        await until(lambda: _read(store), "the first cycle is over")
        await asyncio.sleep(5)
        assert await task_runs(client, run.id) == []
        other = await client.create_flow_run_from_deployment(deployment)
        assert execute(other, api, tmp_path).wait(SOON) == 0
        ended = await client.read_flow_run(other.id)
        assert (ended.state_name, ended.state_type and ended.state_type.value) == ("AlreadyRunning", "COMPLETED")
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
    assert await is_free(store, forever_lock(deployment))
    assert await is_free(store, lock_name(roundup))
    assert "Traceback" not in (tmp_path / "run.log").read_text()


async def _read(store: Database) -> bool:
    async with store.read() as connection:
        return bool((await connection.exec_driver_sql("SELECT caught_up FROM system")).scalar())


async def test_a_run_for_ever_keeps_nothing_of_its_task_runs(client: PrefectClient) -> None:
    @task(cache_policy=NO_CACHE, persist_result=False)
    async def planned() -> Planned:
        return Planned(7)

    @flow(persist_result=False)
    async def many() -> list[int]:
        for _ in range(3):
            await planned()
        context = FlowRunContext.get()
        assert context
        before = len(context.run_results) + len(context.task_run_assets)
        forget_results()
        return [before, len(context.run_results) + len(context.task_run_assets)]

    before, after = await many()
    assert before > 0
    assert after == 0


async def test_no_secret_is_in_what_runs_keep(client: PrefectClient, store: Database, roundup: Roundup) -> None:
    _, run = await done(fetch_incidents, "fake", roundup, ALL)
    kept = str((await client.read_flow_run(run)).model_dump(mode="json")) + str(await artifacts(client, run))
    assert "secret" not in kept.replace("SecretStr", "")


async def test_an_analyst_finds_edits_links_and_unlinks_and_the_links_lead_to_the_blocks_system(
    client: PrefectClient, store: Database, roundup: Roundup
) -> None:
    await done(fetch_incidents, "fake", roundup, ALL)
    # Half filled in, as a form may leave one: it is passed over.
    schema, kind = roundup._block_schema_id, roundup._block_type_id
    assert schema
    assert kind
    half = BlockDocumentCreate(name="half", data={}, block_schema_id=schema, block_type_id=kind)
    await client.create_block_document(half)
    state, run = await done(find_incidents, page_size=2)
    assert str(state.message).startswith("5 incidents found, page 1 of 3")
    found = {one["key"]: one for one in await artifacts(client, run)}
    assert set(found) == {"found-incidents", "found-incidents-table"}
    assert f"[5]({roundup.url('5')})" in found["found-incidents"]["data"]
    assert found["found-incidents"]["id"] in state.message or not get_current_settings().ui_url
    assert json.loads(found["found-incidents-table"]["data"])[0]["there"] == roundup.url("5")
    state, _ = await done(unlink, 1, "cleo")
    assert state.message == f"incident 1 is not linked with {roundup.fingerprint()} any more"
    state, _ = await done(edit_incident, 1, "cleo", title="by cleo")
    assert state.message == "incident 1: title changed"
    state, _ = await done(link, 1, roundup, "1", "store", "cleo")
    assert state.message == "incident 1 is linked with 1: its mirror's next cycle writes title to it"
    await done(mirror_incidents, "fake", roundup, ALL)
    async with roundup:
        assert (await roundup.get("1")).fields["title"] == "by cleo"
    state, run = await done(find_incidents, 1)
    (shown,) = await artifacts(client, run)
    assert shown["key"] == "incident-1"
    assert "secret" not in shown["data"]
