"""The parts of `make run` that need no server: keys, processes, the watch's decisions, the words for a person."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
from cryptography.fernet import Fernet
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.objects import State as RunState
from starlette.types import Message, Receive, Scope, Send

from flows.house import keys
from flows.house.processes import MARK, Child, Family, leftovers
from flows.house.server import guarded, policy
from flows.house.settings import client, house, server, setup
from flows.house.sweep import missed
from flows.house.watch import LONGEST, is_dead, may_start
from flows.notify import words

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_keys_are_made_once_and_then_stay(tmp_path: Path) -> None:
    first, made = keys.ensure(tmp_path, {})
    again, made_again = keys.ensure(tmp_path, {})
    assert (made, made_again) == (True, False)
    assert first == again
    assert (tmp_path / "keys.env").stat().st_mode & 0o777 == 0o600


def test_a_key_in_the_environment_wins_and_is_not_written_down(tmp_path: Path) -> None:
    given = f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}"
    made, _ = keys.ensure(tmp_path, {"LOCKSTEP_KEYS": given})
    assert made["LOCKSTEP_KEYS"] == given
    assert given not in (tmp_path / "keys.env").read_text()


def test_a_key_file_that_others_may_read_is_closed_again(tmp_path: Path) -> None:
    keys.ensure(tmp_path, {})
    (tmp_path / "keys.env").chmod(0o644)
    keys.ensure(tmp_path, {})
    assert (tmp_path / "keys.env").stat().st_mode & 0o777 == 0o600


def test_a_malformed_key_is_refused_by_name_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(keys.KeysError, match="LOCKSTEP_KEYS") as caught:
        keys.ensure(tmp_path, {"LOCKSTEP_KEYS": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_lost_server_key_is_not_replaced_while_there_is_what_it_encrypted(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    database.touch()
    with pytest.raises(keys.KeysError, match="put the file back"):
        keys.ensure(tmp_path, {}, database)
    assert not (tmp_path / "keys.env").exists()


def test_the_stores_address_and_the_keys_go_only_where_they_are_needed(tmp_path: Path) -> None:
    environ = {"LOCKSTEP_HOME": str(tmp_path), "LOCKSTEP_STORE_URL": "postgresql://user:secret@host/db"}
    made, _ = keys.ensure(tmp_path, environ)
    at = house(environ)
    everything = environ | made
    assert "secret" in setup(at, made, everything)["LOCKSTEP_STORE_URL"]
    for env in (client(at, made, everything), server(at, made, everything)):
        assert not any("secret" in value for value in env.values())
    assert "PREFECT_SERVER_ENCRYPTION_KEY" not in client(at, made, everything)
    assert "LOCKSTEP_KEYS" not in server(at, made, everything)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_process_that_only_has_the_number_of_an_earlier_child_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    born = psutil.Process(sleeper.pid).create_time()
    argv = psutil.Process(sleeper.pid).cmdline()

    def found(born: float, argv: list[str]) -> list[int]:
        row = {"name": "worker", "pid": sleeper.pid, "born": born, "argv": argv}
        (tmp_path / "run.json").write_text(json.dumps({"mark": "another", "children": [row]}))
        return [process.pid for process in leftovers(tmp_path)]

    assert found(born, argv) == [sleeper.pid]
    assert found(born - 100, argv) == []
    assert found(born, [*argv, "more"]) == []


def test_what_a_child_started_and_left_is_found_by_its_mark_and_ended(tmp_path: Path) -> None:
    family = Family(tmp_path, tmp_path)
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    family.start(Child("parent", (sys.executable, "-c", program), {}))
    parent = family.children["parent"].process
    assert parent
    parent.wait(20)
    orphans = leftovers(tmp_path)
    assert len(orphans) == 1
    assert orphans[0].environ()[MARK] == family.mark
    orphans[0].kill()
    psutil.wait_procs(orphans, timeout=5)
    assert leftovers(tmp_path) == []


def test_a_child_that_dies_again_and_again_waits_longer_each_time() -> None:
    child = Child("worker", ("true",), {}, started=time.monotonic())
    family = Family(Path(), Path())
    assert [family.died(child) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    child.started = time.monotonic() - 3600
    assert family.died(child) == 1


def run(state: StateType, *, since: int = 0, start: int | None = None, end: int | None = None) -> FlowRun:
    """A run in this state for so many seconds, that started and ended so many seconds ago."""

    def ago(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOW - timedelta(seconds=seconds)

    at = RunState(type=state, timestamp=NOW - timedelta(seconds=since))
    return FlowRun.model_validate(
        {"flow_id": uuid4(), "state": at, "state_type": state, "start_time": ago(start), "end_time": ago(end)}
    )


@pytest.mark.parametrize(
    ("state", "since", "dead"),
    [
        (StateType.RUNNING, 29, False),
        (StateType.RUNNING, 31, True),
        (StateType.CANCELLING, 31, True),
        (StateType.PENDING, 119, False),
        (StateType.PENDING, 121, True),
        (StateType.SCHEDULED, 9999, False),
        (StateType.COMPLETED, 9999, False),
        (StateType.PAUSED, 9999, False),
    ],
)
def test_a_run_without_its_lock_is_dead_after_its_grace(state: StateType, since: int, dead: bool) -> None:  # noqa: FBT001
    assert is_dead(run(state, since=since), NOW) is dead


def test_a_run_that_lived_long_is_followed_at_once() -> None:
    assert may_start([run(StateType.CRASHED, start=900, end=1)]) <= NOW


def test_runs_that_end_at_once_are_followed_later_and_later() -> None:
    waits = []
    for count in range(1, 10):
        runs = [run(StateType.FAILED, start=10 + 60 * n, end=60 * n) for n in range(count)]
        waits.append(may_start(runs) - NOW)
    assert waits[:3] == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert waits[-1] == LONGEST


def test_a_deployment_without_runs_is_started_at_once() -> None:
    assert may_start([]) <= NOW


def test_of_runs_that_were_missed_the_last_of_each_deployment_is_kept() -> None:
    def late(id: str, deployment: str, *, auto: bool = True) -> dict[str, object]:
        return {"id": id, "deployment_id": deployment, "auto_scheduled": auto}

    asked_for = late("by a person", "a", auto=False)
    runs = [late("a3", "a"), late("b2", "b"), asked_for, late("a2", "a"), late("b1", "b"), late("a1", "a")]
    assert missed(runs) == ["a2", "b1", "a1"]


async def test_the_servers_pages_may_talk_to_nobody_else() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await guarded(app, policy("127.0.0.1", 4200, None))({"type": "http"}, receive, send)
    headers = dict(sent[0]["headers"])
    assert headers[b"x"] == b"y"
    allowed = headers[b"content-security-policy"].decode().partition(";")[0].split()
    assert {urlsplit(word).hostname for word in allowed if "://" in word} == {"127.0.0.1", "localhost"}
    assert not any("*" in word for word in allowed)


def test_a_person_is_told_in_words_and_values_from_a_system_cannot_become_markup() -> None:
    subject, body = words("lockstep.attention.brake", "lockstep.plan.3", {"title": "![x](http://evil.example/a) | <b>"})
    assert subject == "Lockstep: brake · lockstep.plan.3"
    assert "approve_or_reject" in body
    assert "![x](" not in body
    assert "<b>" not in body.replace("\\<", "")
    assert body.splitlines()[-1].replace("\\|", "").count("|") == 3
