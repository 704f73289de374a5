"""What the tests of Icinga share: a host and a service in the fake one, and reads of what changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from blocks.incidents import Icinga
from blocks.model import Incident
from tests.contracts.incident_system import latest, pages
from tests.fakes.icinga import FakeIcinga
from tests.test_icinga import FakeWorld, Person

__all__ = ["fake", "person", "system", "world"]

SERVICE = "web01!login"


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def fake(world: FakeWorld) -> FakeIcinga:
    return world.fake


@pytest.fixture
async def person(world: FakeWorld) -> Person:
    """With a host that is up, and a service that is well."""
    await world.person.make("web01", "Web 01")
    await world.person.check("web01", "UP")
    await world.person.make(SERVICE, "Log-in", attempts=2)
    await world.person.check(SERVICE, "OK")
    return world.person


@pytest.fixture
async def system(world: FakeWorld, person: Person) -> AsyncIterator[Icinga]:
    async with world.system() as opened:
        yield opened


async def hard(person: Person, state: str, output: str = "as reported") -> None:
    for _ in range(2):
        await person.check(SERVICE, state, output)


def begun(system: Icinga) -> str:
    return system.start(datetime.now(UTC) - timedelta(minutes=5))


async def read(system: Icinga, since: str, size: int = 50) -> tuple[list[Incident], str]:
    """What changed since, and where the next read begins."""
    walked = await pages(system.changes(since, size))
    return list(latest(walked).values()), walked[-1].cursor if walked else since


async def one_problem(system: Icinga, person: Person) -> tuple[Incident, str]:
    await hard(person, "CRITICAL")
    (found,), cursor = await read(system, begun(system))
    return found, cursor
