"""What each process of the house finds in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.house import keys

POOL = "lockstep"
STORE = "main"
"""The block `lockstep-store/main`."""

CODE = Path(__file__).resolve().parents[2]
SERVER_KEY = "PREFECT_SERVER_ENCRYPTION_KEY"
STORE_URL = "LOCKSTEP_STORE_URL"

# A variable of the same name in the user's environment wins.
SERVER = {
    # In memory, the default, a restart would lose who holds which slot.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # SQLite has one writer: a burst of runs waits for it instead of failing.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
}
CLIENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # A run starts 2 to 4 seconds after it was asked for; at the default of 10, after 9.
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
}


@dataclass(frozen=True)
class House:
    """Where things are. `own` is False when PREFECT_API_URL names a server that runs already."""

    folder: Path
    api: str
    own: bool
    port: int
    deployments: Path
    store: str
    parallel: int

    @property
    def ui(self) -> str:
        """What a person opens in a browser."""
        return self.api.removesuffix("/api")


def house(environ: Mapping[str, str]) -> House:
    """The house that these variables describe."""
    folder = keys.home(environ)
    port = int(environ.get("LOCKSTEP_PORT") or 4200)
    given = environ.get("PREFECT_API_URL", "")
    return House(
        folder=folder,
        api=given.rstrip("/") or f"http://127.0.0.1:{port}/api",
        own=not given,
        port=port,
        deployments=Path(environ.get("LOCKSTEP_DEPLOYMENTS") or CODE / "prefect.yaml").resolve(),
        store=environ.get(STORE_URL) or f"sqlite+aiosqlite:///{folder / 'lockstep.db'}",
        parallel=int(environ.get("LOCKSTEP_PARALLEL_RUNS") or 16),
    )


def client(at: House, made: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of whatever talks to the server: it never sees the server's key, nor the store's address."""
    own = {"PREFECT_HOME": str(at.folder / "prefect")} if at.own else {}
    hidden = {SERVER_KEY, STORE_URL}
    env = {name: value for name, value in (CLIENT | own | dict(environ)).items() if name not in hidden and value}
    return env | {
        "PREFECT_API_URL": at.api,
        "LOCKSTEP_KEYS": made["LOCKSTEP_KEYS"],
        "LOCKSTEP_HOME": str(at.folder),
        "LOCKSTEP_DEPLOYMENTS": str(at.deployments),
        "LOCKSTEP_CODE": str(CODE),
        "PYTHONUNBUFFERED": "1",
    }


def server(at: House, made: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of the server: it never sees the store's keys."""
    env = {name: value for name, value in (SERVER | client(at, made, environ)).items() if name != "LOCKSTEP_KEYS"}
    return env | {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(at.port),
        SERVER_KEY: made[SERVER_KEY],
    }


def setup(at: House, made: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of what sets the server up: it alone is told the store's address, which may hold a password."""
    # Known to Prefect here, the place of the code would be written into the deployments: then no other host could run
    # them, nor this one when the code has moved.
    env = {name: value for name, value in client(at, made, environ).items() if name != "LOCKSTEP_CODE"}
    return env | {STORE_URL: at.store}
