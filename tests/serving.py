"""A Prefect server of a test file's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.peers.server import free_port
from tests.running import until


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its things."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def api(server_home: Path) -> Iterator[str]:
    """The address of a server that encrypts under a key of its own, as `make run` starts it."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env |= {
        "PREFECT_HOME": str(server_home),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }
    argv = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (server_home / "log").open("wb") as log:
        server = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/api"
    try:
        until(lambda: _answers(address), 100, "the server answers")
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
async def client(api: str) -> AsyncIterator[PrefectClient]:
    """The server, as flows and tests reach it."""
    with temporary_settings({PREFECT_API_URL: api}):
        async with get_client() as opened:
            yield opened
