"""`make run`, with a real server, worker and watch. One start serves all tests but the last ones, in their order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from pydantic import SecretStr

from blocks.store import Store
from blocks.store.entries import entries_of
from blocks.store.incidents import Actor, create, get
from flows.house.setup import read_entries
from tests.running import CODE, Running, until

pytestmark = [pytest.mark.server, pytest.mark.slow]
DEPLOYMENTS = CODE / "tests" / "prefect-for-tests.yaml"
COPIED = (
    *("flow_id", "entrypoint", "path", "pull_steps", "work_pool_name", "work_queue_name", "job_variables"),
    *("parameter_openapi_schema", "enforce_parameter_schema", "description", "version", "tags"),
)


WHEN = [{"field": "title", "op": "contains", "value": "ransomware"}]
RULES = [{"when": WHEN, "severity": "critical", "owner": "ana"}]


def with_triage(folder: Path) -> Path:
    """The tests' deployments, and the shipped one of the playbook, with its automation switched on."""
    content = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))
    triage = read_entries(CODE / "prefect.yaml")["triage_incident"]
    triage["triggers"][0]["enabled"] = True
    content["deployments"].append(triage | {"parameters": {"rules": RULES}})
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("up")
    running = Running(folder, with_triage(folder))
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.ctrl_c()
    for process in running.processes():
        process.kill()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_first_start_keeps_its_keys_for_this_user_alone_and_shows_none(up: Running) -> None:
    assert mode(up.folder) == 0o700
    assert mode(up.folder / "keys.env") == 0o600
    assert str(up.folder / "keys.env") in up.said()
    lines = (up.folder / "keys.env").read_text().splitlines()
    values = [line.partition("=")[2] for line in lines if not line.startswith("#")]
    assert len(values) == 2
    logs = "".join(file.read_text() for file in (up.folder / "logs").iterdir())
    argv = " ".join(word for process in up.processes() for word in process.cmdline())
    assert not any(value in text for value in values for text in (up.said(), logs, argv))


def test_the_servers_key_is_with_the_server_alone(up: Running) -> None:
    holders = {process.pid for process in up.processes() if "PREFECT_SERVER_ENCRYPTION_KEY" in process.environ()}
    assert holders == {up.pid("server")}


def test_a_deployment_finds_the_code_where_its_worker_has_it(up: Running) -> None:
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $LOCKSTEP_CODE }}"}}
    assert up.deployment("tick")["pull_steps"] == [step]


def test_a_schedule_starts_runs(up: Running) -> None:
    until(lambda: up.left("tick"), 60, "the schedule's run left its line")
    run = up.call("GET", f"/flow_runs/{up.left('tick')[0]['run']}")
    assert run["auto_scheduled"]
    assert run["parameters"] == {"word": "scheduled"}


def test_an_event_starts_its_flow_with_typed_parameters(up: Running) -> None:
    raw = {"severity": 3, "labels": ["vip", 'with "quotes"'], "nested": {"open": True}}
    up.signal("lockstep.incident.created", "lockstep.incident.42", incident_id="42", raw=raw)
    until(lambda: up.left("hear"), 60, "the automation's run left its line")
    assert up.left("hear")[0]["incident_id"] == "42"
    assert up.left("hear")[0]["raw"] == raw


async def test_a_new_incident_is_triaged_by_its_automation(up: Running) -> None:
    database = await Store(url=SecretStr(f"sqlite:///{up.folder / 'lockstep.db'}")).open()
    number = await create(database, {"title": "ransomware on a server"}, Actor("test"), datetime.now(UTC))
    up.signal("lockstep.incident.created", f"lockstep.incident.{number}", incident_id=number, raw={})
    triage = up.deployment("triage_incident")["id"]
    until(lambda: [run["state_type"] for run in up.runs(triage)][:1] == ["COMPLETED"], 60, "the playbook ran")
    incident = await get(database, number)
    assert (incident.severity, incident.owner) == ("critical", "ana")
    assert [entry.tags for entry in await entries_of(database, number)] == [["triage"]]
    assert up.runs(triage)[0]["parameters"]["incident_id"] == number
    await database.close()


def test_a_copy_made_in_the_ui_runs_on_the_worker(up: Running) -> None:
    original = up.deployment("tick")
    copy = {key: original[key] for key in COPIED if original.get(key) is not None}
    made = up.call("POST", "/deployments/", **copy | {"name": "tick-copy", "parameters": {"word": "copied"}})
    up.call("POST", f"/deployments/{made['id']}/create_flow_run", state={"type": "SCHEDULED"})
    until(lambda: any(line["word"] == "copied" for line in up.left("tick")), 60, "the copy's run left its line")


def test_what_waits_for_a_person_is_told_with_what_to_do(up: Running) -> None:
    up.signal("lockstep.attention.conflict", "lockstep.incident.7", incident_id="7", field="owner")
    notify = up.deployment("notify")["id"]

    def told() -> list[dict[str, Any]]:
        artifacts: list[dict[str, Any]] = up.call(
            "POST", "/artifacts/filter", artifacts={"key": {"any_": ["attention"]}}
        )
        return artifacts

    until(told, 60, "the artifact is there")
    assert "resolve_conflict" in told()[0]["data"]
    assert "owner" in told()[0]["data"]
    assert len(up.runs(notify)) == 1


def test_a_run_that_goes_on_for_ever_is_started_once_and_brought_back_after_kill_9(up: Running) -> None:
    until(lambda: up.left("last"), 60, "the watch started it")
    first = up.left("last")[0]
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: len(up.left("last")) == 2, 60, "the watch started it again")
    runs = up.runs(up.deployment("last")["id"])
    assert [run["state_type"] for run in runs] == ["RUNNING", "CRASHED"]


def test_a_paused_deployment_is_not_brought_back(up: Running) -> None:
    last = up.deployment("last")["id"]
    up.call("POST", f"/deployments/{last}/pause_deployment")
    os.kill(up.left("last")[-1]["pid"], signal.SIGKILL)
    until(lambda: up.runs(last)[0]["state_type"] == "CRASHED", 30, "its run crashed")
    watched = up.left("tick")
    until(lambda: len(up.left("tick")) > len(watched) + 1, 60, "two more runs of another deployment went by")
    assert len(up.runs(last)) == 2
    up.call("POST", f"/deployments/{last}/resume_deployment")
    until(lambda: len(up.left("last")) == 3, 60, "it is brought back when it is resumed")


@pytest.mark.parametrize("name", ["serve", "worker", "server"])
def test_a_part_that_is_killed_comes_back(up: Running, name: str) -> None:
    before = up.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: up.pid(name) not in {0, before}, 60, f"{name} has a new process")
    ran = len(up.left("tick"))
    until(lambda: len(up.left("tick")) > ran, 90, "scheduled runs go on")
    assert f"{name} ended (-9)" in up.said()


def test_a_second_house_on_the_same_folder_is_refused_in_words(up: Running) -> None:
    argv = [sys.executable, "-m", "flows.up"]
    second = subprocess.run(argv, env=up.env, cwd=CODE, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert "runs already" in second.stderr


def test_a_port_that_is_taken_is_named_in_words(up: Running, tmp_path: Path) -> None:
    env = up.env | {"LOCKSTEP_HOME": str(tmp_path / "other")}
    argv = [sys.executable, "-m", "flows.up"]
    second = subprocess.run(argv, env=env, cwd=CODE, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert f"port {up.port} is taken" in second.stderr


def test_with_another_server_only_worker_and_watch_are_started(up: Running, tmp_path: Path) -> None:
    guest = Running(tmp_path, DEPLOYMENTS, PREFECT_API_URL=up.api)
    guest.start()
    assert {row["name"] for row in guest.record()["children"]} == {"worker", "serve"}
    assert guest.ctrl_c() == 0
    assert not guest.processes()
    assert httpx.get(f"{up.api}/health").json() is True


def test_after_kill_9_of_everything_the_next_start_takes_up_and_keeps_what_a_person_set(up: Running) -> None:
    tick = up.deployment("tick")["id"]
    up.call("PATCH", f"/deployments/{tick}", parameters={"word": "set by a person"})
    up.kill()
    orphans = up.processes()
    assert {up.pid("server"), up.pid("worker"), up.pid("serve")} <= {process.pid for process in orphans}
    for process in orphans:
        if process.pid == up.pid("worker"):
            process.kill()
    up.start()
    # The orphans are gone: the port was free again, and nobody works twice.
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in orphans)
    until(lambda: any(line["word"] == "set by a person" for line in up.left("tick")), 90, "it goes on as it was set")
    last = up.deployment("last")["id"]
    until(
        lambda: [run["state_type"] for run in up.runs(last)][:2] == ["RUNNING", "CRASHED"],
        60,
        "so does what never ends",
    )


def test_ctrl_c_leaves_no_process_and_no_run_that_seems_to_go_on(up: Running) -> None:
    last = up.deployment("last")["id"]
    until(lambda: up.runs(last)[0]["state_type"] == "RUNNING", 60, "something runs")
    interrupted = up.runs(last)[0]["id"]
    pids = {process.pid for process in up.processes()}
    assert up.ctrl_c() == 0
    assert not up.processes()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not (up.folder / "run.json").exists()
    up.start()
    assert up.call("GET", f"/flow_runs/{interrupted}")["state_type"] == "CRASHED"
    assert not (up.folder / "logs" / "setup.log").read_text().count("follows its flow")
