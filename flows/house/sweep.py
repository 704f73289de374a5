"""Runs whose process is gone: Prefect would show them as running for ever. For a server of our own, with one worker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.house.processes import runs_alive
from flows.house.settings import POOL, House

OPEN = ("PENDING", "RUNNING", "CANCELLING")
GRACE = timedelta(seconds=60)
"""How long the worker may take between accepting a run and its process."""


def connect(house: House) -> httpx.Client:
    """A client for the server's API."""
    secret = os.environ.get("PREFECT_API_AUTH_STRING", "")
    name, _, password = secret.partition(":")
    return httpx.Client(base_url=house.api, timeout=10, auth=(name, password) if secret else None)


def ask(api: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  JSON
    """The server's answer; None if it has none, or the object is gone.

    With SQLite the server answers 503 when two of its writers meet, and expects to be asked again.

    Raises:
        httpx.HTTPError: the server does not answer, or refuses.
    """
    for pause in (0.2, 0.5, 1.0, 2.0, 0.0):
        answer = api.request(method, path, json=body)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(pause)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    answer.raise_for_status()
    return answer.json() if answer.content else None


def healthy(house: House) -> bool:
    """Whether the server answers."""
    try:
        with connect(house) as api:
            return api.get("/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def sweep(house: House, *, grace: timedelta = GRACE, why: str) -> int:
    """Set runs without a process, whose state is older than `grace`, to Crashed; answers how many.

    Raises:
        httpx.HTTPError: the server does not answer, or refuses.
    """
    with connect(house) as api:
        runs = _open_runs(api)
        # Looked for after the runs were read: a process that starts in between is seen.
        dead = list(_dead(runs, runs_alive(), datetime.now(UTC) - grace))
        for run in dead:
            state = {"type": "CRASHED", "name": "Crashed", "message": why}
            ask(api, "POST", f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    return len(dead)


def drop_missed(house: House) -> int:
    """Delete the scheduled runs that were missed while nothing ran, but the last of each deployment; answers how many.

    A night off leaves up to a hundred for each schedule, and Prefect would start them all at once.

    Raises:
        httpx.HTTPError: the server does not answer, or refuses.
    """
    dropped = 0
    with connect(house) as api:
        while ids := missed(_late_runs(api)):
            for run in ids:
                ask(api, "DELETE", f"/flow_runs/{run}")
            dropped += len(ids)
    return dropped


def missed(late: Iterable[dict[str, Any]]) -> list[str]:
    """Of runs that are late, the newest first: those that a later one of the same deployment makes superfluous."""
    kept: set[str] = set()
    superfluous = []
    for run in late:
        if run["auto_scheduled"]:
            superfluous += [run["id"]] if run["deployment_id"] in kept else []
            kept.add(run["deployment_id"])
    return superfluous


def _late_runs(api: httpx.Client) -> list[dict[str, Any]]:
    query = {
        "flow_runs": {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "next_scheduled_start_time": {"before_": datetime.now(UTC).isoformat()},
        },
        "work_pools": {"name": {"any_": [POOL]}},
        "sort": "EXPECTED_START_TIME_DESC",
        "limit": 200,
    }
    runs: list[dict[str, Any]] = ask(api, "POST", "/flow_runs/filter", query)
    return runs


def _open_runs(api: httpx.Client) -> list[dict[str, Any]]:
    query = {
        "flow_runs": {"state": {"type": {"any_": list(OPEN)}}},
        "work_pools": {"name": {"any_": [POOL]}},
        "limit": 200,
    }
    runs: list[dict[str, Any]] = ask(api, "POST", "/flow_runs/filter", query)
    return runs


def _dead(runs: Iterable[dict[str, Any]], alive: set[str], before: datetime) -> Iterable[str]:
    for run in runs:
        since = datetime.fromisoformat(run["state"]["timestamp"])
        if run["id"] not in alive and since < before:
            yield run["id"]
