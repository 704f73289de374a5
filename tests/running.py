"""The house as a person starts it, for tests: on a free port, with a state folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import psutil

from flows.house.processes import MARK
from flows.house.sweep import ask
from tests.peers.server import free_port

CODE = Path(__file__).resolve().parents[1]
T = TypeVar("T")


def until(what: Callable[[], T], seconds: float, why: str) -> T:
    """Ask again and again, until the answer is true; fails, saying why, when it is not in so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, f"not within {seconds} s: {why}"
        time.sleep(0.25)
    return answer


class Running:
    """One state folder, and the house that is started on it, again and again."""

    def __init__(self, folder: Path, deployments: Path, **more: str) -> None:
        self.folder, self.traces, self.port = folder / "state folder", folder / "traces", free_port()
        self.traces.mkdir()
        self.output = folder / "output"
        self.api = more.get("PREFECT_API_URL") or f"http://127.0.0.1:{self.port}/api"
        names = ("PREFECT_", "LOCKSTEP_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(names)} | {
            "LOCKSTEP_HOME": str(self.folder),
            "LOCKSTEP_PORT": str(self.port),
            "LOCKSTEP_DEPLOYMENTS": str(deployments),
            "LOCKSTEP_TRACES": str(self.traces),
            **more,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 150) -> None:
        """Start it, and wait until it says what to do next."""
        self.output.unlink(missing_ok=True)
        with self.output.open("wb") as out:
            argv = [sys.executable, "-m", "flows.up"]
            self.process = subprocess.Popen(argv, env=self.env, cwd=CODE, stdout=out, stderr=out)
        until(lambda: "What to do next" in self.said() or self.process.poll() is not None, seconds, "it runs")  # type: ignore[union-attr]
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """What it printed."""
        return self.output.read_text(encoding="utf-8")

    def ctrl_c(self) -> int:
        """What the terminal does at Ctrl-C; answers the exit code."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill -9 of the supervisor, which leaves its children alone."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def record(self) -> dict[str, Any]:
        """What it wrote down of its children."""
        record: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return record

    def pid(self, name: str) -> int:
        """The process of this child; 0 while there is none."""
        return next((row["pid"] for row in self.record()["children"] if row["name"] == name), 0)

    def processes(self) -> list[psutil.Process]:
        """Everything on this machine that uses this state folder, the supervisor aside."""
        found = []
        for process in psutil.process_iter():
            try:
                environ = process.environ()
                if MARK in environ and environ.get("LOCKSTEP_HOME") == str(self.folder):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def left(self, name: str) -> list[dict[str, Any]]:
        """What the test flow of this name left when it ran."""
        file = self.traces / name
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Ask the server, as the UI does."""
        with httpx.Client(base_url=self.api, timeout=20) as api:
            return ask(api, method, path, body or None)

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment, as the server has it."""
        found = self.call("POST", "/deployments/filter", deployments={"name": {"any_": [name]}})
        assert len(found) == 1
        deployment: dict[str, Any] = found[0]
        return deployment

    def runs(self, deployment_id: str) -> list[dict[str, Any]]:
        """Its runs, the newest first."""
        query = {"deployments": {"id": {"any_": [deployment_id]}}, "sort": "EXPECTED_START_TIME_DESC"}
        runs: list[dict[str, Any]] = self.call("POST", "/flow_runs/filter", **query)
        return runs

    def signal(self, event: str, resource: str, **payload: Any) -> None:
        """Emit a Prefect event."""
        body = {
            "id": str(uuid4()),
            "event": event,
            "resource": {"prefect.resource.id": resource},
            "payload": payload,
            "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        answer = httpx.post(f"{self.api}/events", json=[body], timeout=20)
        assert answer.is_success, answer.text
