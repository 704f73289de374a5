"""Tiny flows for the tests with a real server: each leaves a file that says that it ran, and with what."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from blocks.errors import Busy
from blocks.store.block import Store
from flows.forever import forever


def leave(name: str, **what: Any) -> None:
    """A line in the file of this name."""
    with (Path(os.environ["LOCKSTEP_TRACES"]) / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": flow_run.id, "pid": os.getpid(), **what}) + "\n")


@flow
async def tick(word: str = "tick") -> None:
    """Ran once."""
    leave("tick", word=word)


@flow
async def hear(incident_id: str, raw: dict[str, Any]) -> None:
    """Started by an event."""
    leave("hear", incident_id=incident_id, raw=raw)


@flow
async def last() -> State[Any]:
    """Goes on for ever."""
    store: Store = await Store.aload("main")
    try:
        async with forever(await store.open()):
            leave("last")
            await asyncio.sleep(3600)
    except Busy:
        return Completed(name="Busy", message="another run of this deployment goes on")
    return Completed()
