"""A run that goes on for ever: one at a time for each deployment, kept up by the watch in `flows/serve.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from prefect.runtime import deployment, flow_run

from blocks.store.database import Database
from blocks.store.locks import Lock, hold


def lock_name(deployment_id: UUID | str) -> str:
    """The lock that the one run of this deployment holds for as long as it lives."""
    return f"forever:{deployment_id}"


@asynccontextmanager
async def forever(database: Database) -> AsyncIterator[Lock]:
    """Be the one run of the current deployment; a run without deployment is alone by its own id.

    Raises:
        Busy: another run of this deployment goes on already.
    """
    async with hold(database, lock_name(deployment.id or flow_run.id or "")) as lock:
        yield lock
