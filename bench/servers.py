"""The processes that are measured against: a fake tracker, a Prefect server, dlt."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from pydantic import SecretStr

from bench.harness import ROOT, NotMeasured
from blocks.incidents import Roundup

VENV = ROOT / ".venv-bench"
LOCK = ROOT / "bench" / "requirements.lock"


@dataclass(slots=True)
class Tracker:
    """A fake Roundup in a process of its own."""

    address: str
    client: httpx.AsyncClient

    def system(self) -> Roundup:
        """The connector to it."""
        return Roundup(address=self.address, login="admin", password=SecretStr("secret"))

    async def tell(self, what: str, **sent: Any) -> Any:  # noqa: ANN401  any JSON
        """Set its knobs, or let its people work."""
        answer = await self.client.post(f"/_fake/{what}", json=sent)
        return answer.raise_for_status().json()

    async def calls(self) -> int:
        """How many calls it has counted since its last `reset`."""
        state = await self.client.get("/_fake/state")
        calls: dict[str, int] = state.raise_for_status().json()["calls"]
        return sum(calls.values())


@asynccontextmanager
async def tracker(issues: int) -> AsyncIterator[Tracker]:
    """A tracker with so many issues, one a second until now."""
    command = ("-m", "tests.fakes.roundup", "--issues", str(issues))
    async with _running(*command, stdout=PIPE) as process:
        address = (await _said(process)).strip()
        async with httpx.AsyncClient(base_url=address.removesuffix("/tracker/"), timeout=60) as client:
            await _answers(client, "/_fake/none", 30)
            yield Tracker(address, client)


@asynccontextmanager
async def prefect_server(folder: Path) -> AsyncIterator[dict[str, str]]:
    """A Prefect server with a database of its own; the environment of its clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LOCKSTEP_"))},
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "LOCKSTEP_HOME": str(folder / "home"),
    }
    command = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    async with _running(*command, env=env, stdout=DEVNULL), httpx.AsyncClient() as client:
        await _answers(client, f"{env['PREFECT_API_URL']}/health", 120)
        yield env


@dataclass(slots=True)
class Worker:
    """A `bench.worker` process: it has imported everything, and does one thing at a time."""

    process: Process

    async def do(self, what: str, **how: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
        """Have it done; what it answers."""
        assert self.process.stdin  # noqa: S101  it is a pipe
        self.process.stdin.write(json.dumps({"do": what, **how}).encode() + b"\n")
        await self.process.stdin.drain()
        answer: dict[str, Any] = json.loads(await _said(self.process))
        return answer


@asynccontextmanager
async def worker(env: Mapping[str, str] | None = None) -> AsyncIterator[Worker]:
    """A worker, with this environment."""
    async with _running("-m", "bench.worker", env=env, stdin=PIPE, stdout=PIPE) as process:
        await _said(process)
        yield Worker(process)


async def dlt_once(addresses: list[str]) -> tuple[float, int]:
    """Seconds of dlt's first run over these pages, and how many incidents it has then. NotMeasured: no dlt."""
    python = await _venv()
    with TemporaryDirectory() as folder:
        argv = (str(python), "-W", "ignore", str(ROOT / "bench" / "with_dlt.py"), folder)
        process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE)
        said, _ = await process.communicate(json.dumps(addresses).encode())
    if process.returncode:
        message = "dlt failed; what it said is above"
        raise NotMeasured(message)
    answer = json.loads(said)
    return answer["seconds"], answer["rows"]


async def _venv() -> Path:
    """The Python of .venv-bench, made on first use."""
    python, ready = VENV / "bin" / "python", VENV / ".from-lock"
    if not ready.exists() or ready.stat().st_mtime < LOCK.stat().st_mtime:
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
        for argv in ((sys.executable, "-m", "venv", str(VENV)), (str(python), *install, "-r", str(LOCK))):
            process = await asyncio.create_subprocess_exec(*argv)
            if await process.wait():
                message = f"dlt could not be installed into {VENV.name}"
                raise NotMeasured(message)
        ready.touch()
    return python


@asynccontextmanager
async def _running(*command: str, **how: Any) -> AsyncIterator[Process]:  # noqa: ANN401  asyncio's
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, **how)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _said(process: Process) -> str:
    assert process.stdout  # noqa: S101  it is a pipe
    line = await process.stdout.readline()
    if not line:
        message = "a process ended; what it said is above"
        raise NotMeasured(message)
    return line.decode()


async def _answers(client: httpx.AsyncClient, path: str, seconds: float) -> None:
    """Wait until a server that was started does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await client.get(path)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
