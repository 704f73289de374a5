"""Flows and tasks without a Prefect server: a task runs its function, events and artifacts are kept in lists."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import prefect
import pytest
from prefect.logging import disable_run_logger

import flows.approve
import flows.cycle
import flows.edit
import flows.find
import flows.incidents
import flows.keys
import flows.links
import flows.mirror
import flows.playbooks.triage
import flows.reports
import tasks.progress
import tasks.reports
import tasks.signals
from blocks.errors import Unavailable
from blocks.rules import Intake, Limits, Rules
from blocks.store import Database
from blocks.store.locks import hold
from tasks.incidents import Turn
from tests.mirrors import Bench, copy_of


@dataclass(slots=True)
class Told:
    """What a run left: its events (name, resource, payload), its artifacts by key, its task runs by name.

    `second_try`: a task that could not reach its system is run again at once.
    """

    events: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    artifacts: list[tuple[str, str]] = field(default_factory=list)
    tables: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    second_try: bool = False
    tried_again: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """The events' names."""
        return [name for name, _, _ in self.events]

    def payload(self, name: str) -> dict[str, Any]:
        """The payload of the one event of this name."""
        (found,) = [payload for event, _, payload in self.events if event == name]
        return found

    def clear(self) -> None:
        """Forget what was told so far."""
        for kept in (self.events, self.artifacts, self.tables, self.progress, self.tasks):
            kept.clear()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Runs tasks as plain functions, and keeps what is told."""
    kept = Told()

    async def call(task: Any, *args: Any, **kwargs: Any) -> Any:
        kept.tasks.append(task.name)
        try:
            return await task.fn(*args, **kwargs)
        except Unavailable:
            if not kept.second_try:
                raise
            kept.tried_again.append(task.name)
            return await task.fn(*args, **kwargs)

    async def markdown(text: str, *, key: str, description: str) -> UUID:
        kept.artifacts.append((key, text))
        return uuid4()

    async def table(rows: list[dict[str, Any]], *, key: str, description: str) -> UUID:
        kept.tables.append((key, rows))
        return uuid4()

    async def moved(share: float, **_: Any) -> UUID:
        kept.progress.append(share)
        return uuid4()

    async def moved_again(_id: UUID, share: float, **_: Any) -> None:
        kept.progress.append(share)

    def event(name: str, *, resource: dict[str, str], payload: dict[str, Any]) -> None:
        kept.events.append((name, resource, payload))

    monkeypatch.setattr(prefect.Task, "__call__", call)
    monkeypatch.setattr(tasks.reports, "acreate_markdown_artifact", markdown)
    monkeypatch.setattr(tasks.reports, "acreate_table_artifact", table)
    monkeypatch.setattr(tasks.progress, "acreate_progress_artifact", moved)
    monkeypatch.setattr(tasks.progress, "aupdate_progress_artifact", moved_again)
    monkeypatch.setattr(tasks.signals, "emit_event", event)
    with disable_run_logger():
        yield kept
    wrong = {name for name, _, payload in kept.events if set(payload) != documented()[name]}
    assert not wrong, "a payload is not as it is documented"


def documented() -> dict[str, set[str]]:
    """Signal → the names in its payload, from the table in the docstring of `tasks.signals`."""
    found: dict[str, set[str]] = {}
    for row in (tasks.signals.__doc__ or "").splitlines():
        if row.startswith("| lockstep."):
            names, about, payload = (cell.strip() for cell in row.strip("|").split("|"))
            beside = set() if about.startswith(("report.", "grant.")) else {"mirror", "system"}
            first, *others = names.split(", ")
            stem = first.rpartition(".")[0]
            words = set(re.sub(r": .*", "", payload).split(", "))
            for name in (first, *(f"{stem}{other}" for other in others)):
                found[name] = words | beside
    return found


@pytest.fixture
def in_store(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The flows' store is the test's."""

    async def the_store() -> Database:
        return database

    for module in (
        flows.cycle, flows.mirror, flows.incidents, flows.approve, flows.playbooks.triage, flows.find, flows.edit,
        flows.links, flows.reports, flows.keys,
    ):  # fmt: skip
        monkeypatch.setattr(module, "the_store", the_store)
    return database


@pytest.fixture
def store_url(sqlite_template: Path, tmp_path: Path) -> str:
    """What flows do is the same on both databases; the tests of the engine use both."""
    return copy_of(sqlite_template, tmp_path, "lockstep")


@asynccontextmanager
async def turn(bench: Bench, name: str = "a", *, quiet: bool = False, after: float = 5) -> AsyncIterator[Turn]:
    """A bench's mirror, as a flow opens it for one cycle."""
    bench.clock.go(after)
    mirroring = await bench.open(name)
    bench.mirrors[name].world.calls.clear()
    async with hold(bench.database, f"mirror:{name}") as lock:
        yield Turn(mirroring, name, lock, quiet=quiet)


def settings(bench: Bench, name: str = "a") -> tuple[Intake, Rules, Limits]:
    """What a person set for this mirror."""
    one = bench.mirrors[name]
    return one.intake, one.rules, one.limits
