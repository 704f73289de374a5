"""XSOAR passes the contract: fakes of a 6 and of an 8."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
from pydantic import SecretStr

from blocks.incidents.xsoar import Xsoar
from blocks.model import Fields
from tests.contracts.incident_system import IncidentSystemSuite, World
from tests.fakes.xsoar import KEY_ID, FakeTransport, FakeXsoar

BAD = (
    *("", " ", "(", "status:active)", "x) or (id:1", '"', 'name:"open', "status:", "and", "status:active or", "()"),
    *("status:active and and", "modified:>=yesterday", "-", '\\"a) or (b\\"'),
)


class FakeWorld(World):
    """A fake in process, with a clock that can be moved on."""

    clock_moves = True
    bad_queries = BAD
    # Nobody can write into the War Room of a pending incident: it opens, and the incident is active.
    quiet_statuses = ("active", "resolved")
    keeps_media_types = False

    def __init__(self, *, cloud: bool) -> None:
        self.ahead = 0.0
        self.fake = FakeXsoar(lambda: time.time() + self.ahead, cloud=cloud, touch=cloud)

    def system(self, *, password: str | None = None, address: str | None = None) -> Xsoar:
        key = SecretStr(password or "secret")
        url = address or ("https://api-soc.xsoar.test" if self.fake.cloud else "https://xsoar.test")
        system = Xsoar(address=url, api_key=key, login="lockstep", key_id=KEY_ID if self.fake.cloud else "")
        system._transport = FakeTransport(self.fake)
        return system

    async def create(self, fields: Fields) -> str:
        return self.fake.people.create(fields)

    async def edit(self, id: str, fields: Fields) -> None:
        self.fake.people.edit(id, fields)

    async def comment(self, id: str, text: str) -> str:
        return self.fake.people.say(id, text)

    async def attach(self, id: str, name: str, data: bytes, media_type: str) -> str:  # noqa: ARG002  XSOAR looks itself
        return self.fake.people.attach(id, name, data)

    async def remove(self, id: str) -> None:
        self.fake.people.remove(id)

    async def later(self, seconds: float) -> None:
        self.ahead += seconds

    queries: ClassVar[dict[str, str]] = {"new": "status:pending", "active": "status:active"}


class TestFakeXsoar6(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld(cloud=False)


class TestFakeXsoar8(IncidentSystemSuite):
    @pytest.fixture
    def world(self) -> World:
        return FakeWorld(cloud=True)
